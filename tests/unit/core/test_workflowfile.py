"""Reading workflow files: places, mistakes, snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiducial.core.errors import NotFoundError, WorkflowError
from fiducial.core.findings import InvalidWorkflowError
from fiducial.core.positions import positions
from fiducial.core.workflow import After, Fanout, Input, Iteration, Output, Retry, Step, Workflow
from fiducial.core.workflowfile import WorkflowFile, build, dump_json, load, parse_json, resolved

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str) -> Path:
        path = tmp_path / "flow.toml"
        path.write_text(text, "utf-8")
        return path

    return make


def mistakes(path: Path) -> list[str]:
    """Lines of the message without the folder."""
    with pytest.raises(WorkflowError) as caught:
        load(path)
    assert caught.value.exit_code == 3
    return [line.removeprefix(f"{path.parent}/") for line in caught.value.message.split("\n")]


GOOD = """\
name = "align"

[variables]
shift = 0.5
day = 2024-02-01

[steps.reco]
fanout = { files = "450-452" }
command = [
  "reco",   # a comment with ] and "
  "{{ file | pad(5) }}",
]
outputs = ["reco_{{ file }}.root"]

[steps.fit]
script = '''
# not = a key
[not a table]
'''
after = ["reco"]
inputs = [{ from = "reco" }]
resources.memory = "4 GB"
resources.walltime = "01:30:00"
"""


def test_load_reads_what_is_written(write: Write) -> None:
    path = write(GOOD)
    file = load(path)
    assert file.folder == path.parent
    assert list(file.workflow.steps) == ["reco", "fit"]
    fit = file.workflow.steps["fit"]
    assert (fit.resources.memory, fit.resources.walltime) == (4 * 2**30, 5400)
    assert file.workflow.variables == {"shift": 0.5, "day": "2024-02-01"}


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("name", 1),
        ("variables.day", 5),
        ("steps.reco", 7),
        ("steps.reco.fanout.files", 8),
        ("steps.reco.command", 9),
        ("steps.reco.command.1", 11),
        ("steps.reco.outputs.0", 13),
        ("steps.reco.outputs.0.path", 13),
        ("steps.fit.after.0", 20),
        ("steps.fit.inputs.0.from", 21),
        ("steps.fit.resources.walltime", 23),
        ("nothing.there", None),
    ],
)
def test_line_of_a_place(write: Write, where: str, line: int | None) -> None:
    assert load(write(GOOD)).line(where) == line


def test_positions_of_every_kind_of_toml() -> None:
    text = """\
a."b.c".d = 1
'q' = \"\"\"two
lines \\\"\"\" and a quote\"\"\"\"
[[t]]
x = [ [1, 2],
  [ { y = 1979-05-27 07:32:00 }, 'a]' ] ]
[[t.u]]
v = 1
[[t]]
[[t.u]]
[[t.u]]
w = { k.l = 1, m = "}" }  # end
"""
    found = positions(text)
    assert found["a"] == found["a.b.c"] == found["a.b.c.d"] == 1
    assert found["q"] == 2
    assert found["t"] == found["t.0"] == 4
    assert found["t.0.x.0.1"] == 5
    assert found["t.0.x.1.0.y"] == found["t.0.x.1.1"] == 6
    assert found["t.0.u.0.v"] == 8
    assert found["t.1"] == 9
    assert found["t.1.u.1"] == 11
    assert found["t.1.u.1.w.k.l"] == found["t.1.u.1.w.m"] == 12


def test_lines_hold_with_windows_ends(tmp_path: Path) -> None:
    path = tmp_path / "dos.toml"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert load(path).line("steps.fit.after") == 20


def test_every_mistake_is_told_at_once(write: Write) -> None:
    text = """\
name = "align"
nmae = "x"
[steps.a-b]
command = ["x"]
[steps.reco]
comand = ["reco"]
outputs = ["a", { path = "x", min_size = "3 apples" }, { min_size = 4 }]
resources = { memory = "4 potatoes", cpus = "many" }
after = ["x", { step = "a", matchin = true }]
[steps.fit]
command = ["a", 5]
fanout.files = { glb = "x" }
iterate = "maybe"
inputs.a = 4
[steps.echo]
command = "echo hello"
tolerate = 3
[steps.two]
command = ["a"]
script = "b"
"""
    assert mistakes(write(text)) == [
        "flow.toml:2: unknown key 'nmae', did you mean 'name'?",
        "flow.toml:3: steps.a-b: 'a-b' is no name (a name has letters, digits and _ and begins with a letter)",
        "flow.toml:6: steps.reco: unknown key 'comand', did you mean 'command'?",
        'flow.toml:7: steps.reco.outputs.1.min_size: \'3 apples\' is not a size; write for example "4 GB" or "500 MB"',
        "flow.toml:7: steps.reco.outputs.2: 'path' is missing",
        "flow.toml:8: steps.reco.resources.cpus: must be a whole number; here: 'many'",
        'flow.toml:8: steps.reco.resources.memory: \'4 potatoes\' is not a size; write for example "4 GB" or "500 MB"',
        "flow.toml:9: steps.reco.after.1: unknown key 'matchin', did you mean 'matching'?",
        'flow.toml:11: steps.fit.command.1: must be text in quotes; here: 5 (write "5")',
        "flow.toml:12: steps.fit.fanout.files: unknown key 'glb', did you mean 'glob'?",
        "flow.toml:13: steps.fit.iterate: must be true or false; here: 'maybe'",
        'flow.toml:14: steps.fit.inputs.a: must be text in quotes or a table; here: 4 (write "4")',
        'flow.toml:16: steps.echo.command: must be a list; here: \'echo hello\' (write ["echo", "hello"])',
        "flow.toml:17: steps.echo.tolerate: must be less than 1",
        "flow.toml:18: steps.two: a step runs exactly one of command, script, template, call; here: command and script",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "a"\nsteps = = 3\n', "flow.toml:2: not TOML: invalid value"),
        ('name = "a"\nname = "b"\n', "flow.toml:2: not TOML: cannot overwrite a value"),
        ("steps = [\n\n", "flow.toml:1: not TOML: "),
        ("", "flow.toml: 'name' is missing"),
    ],
)
def test_damaged_files(write: Write, text: str, told: str) -> None:
    assert mistakes(write(text))[0].startswith(told)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_bytes(b'name = "a"\n# \xff\n')
    assert mistakes(path) == ["flow.toml:2: this is not UTF-8 text"]


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no workflow file"):
        load(tmp_path / "none.toml")
    with pytest.raises(NotFoundError, match="is a folder"):
        load(tmp_path)


def test_python_workflows_get_the_same_words() -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        build(name="a", steps={"s": {"comand": ["x"]}, "t": Step(command=["y"]), "u": {"command": "ls -l"}})
    assert caught.value.message.split("\n") == [
        "steps.s: unknown key 'comand', did you mean 'command'?",
        'steps.u.command: must be a list; here: \'ls -l\' (write ["ls", "-l"])',
    ]
    assert build(name="a", steps={"t": Step(command=["y"], after="s", inputs="i")}).steps["t"].after[0].step == "s"


def test_resolved_needs_its_file_no_more(tmp_path: Path) -> None:
    (tmp_path / "fit.sh").write_text("echo {{ iteration }}\n")
    path = tmp_path / "flow.toml"
    path.write_text(
        'name = "a"\nenvironment_script = "setup.sh"\n'
        '[steps.fit]\ntemplate = "fit.sh"\nenvironment_script = "{{ site_setup }}"\n'
        '[steps.call]\ncall = "code/x.py:f"\nenvironment_script = "$HOME/x.sh"\n'
        '[steps.module]\ncall = "pkg.mod:f"\nenvironment_script = "/abs/x.sh"\n'
    )
    workflow = resolved(load(path))
    assert workflow.environment_script == str(tmp_path / "setup.sh")
    assert workflow.steps["fit"].script == "echo {{ iteration }}\n"
    assert workflow.steps["fit"].template is None
    assert workflow.steps["fit"].environment_script == "{{ site_setup }}"
    assert workflow.steps["call"].call == f"{tmp_path}/code/x.py:f"
    assert workflow.steps["call"].environment_script == "$HOME/x.sh"
    assert workflow.steps["module"].call == "pkg.mod:f"
    assert workflow.steps["module"].environment_script == "/abs/x.sh"


def test_a_missing_template_is_told_with_its_line(write: Write) -> None:
    file = load(write('name = "a"\n[steps.fit]\ntemplate = "fit.sh"\n'))
    with pytest.raises(
        InvalidWorkflowError, match=r"flow.toml:3: steps.fit.template: cannot read 'fit.sh': No such file"
    ):
        resolved(file)


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FANOUTS = st.builds(
    Fanout,
    files=st.sampled_from(["1-5", 7, ["a", 3], {"glob": "*.x"}]),
    chunks=st.sampled_from([None, {"total": 5, "size": 2}, {"total": "{{ n }}", "count": 2}]),
    values=st.none() | st.just("{{ v }}") | st.lists(st.integers() | TEXT | st.dictionaries(NAMES, TEXT, max_size=2)),
    name=st.none() | NAMES,
)
INPUTS = st.builds(Input, path=TEXT) | st.builds(
    Input, source=NAMES, output=st.none() | NAMES, previous=st.booleans(), initial=TEXT
)
OUTPUTS = st.builds(Output, path=TEXT, min_size=st.sampled_from([0, 1, 2048, "4 GB"]), optional=st.booleans())
RETRIES = st.builds(Retry, max=st.integers(0, 9), by_cause=st.dictionaries(NAMES, st.integers(0, 5), max_size=2))
STEPS = st.builds(
    Step,
    command=st.lists(TEXT, min_size=1, max_size=3),
    fanout=st.none() | FANOUTS,
    after=st.lists(st.builds(After, step=NAMES, matching=st.booleans()), max_size=2),
    iterate=st.booleans(),
    variables=st.dictionaries(NAMES, VALUES, max_size=3),
    inputs=st.dictionaries(NAMES, INPUTS, max_size=2) | st.lists(TEXT, max_size=2),
    outputs=st.dictionaries(NAMES, OUTPUTS, max_size=2),
    retry=RETRIES,
)
WORKFLOWS = st.builds(
    Workflow,
    name=st.just("w"),
    variables=st.dictionaries(NAMES, VALUES, max_size=3),
    iteration=st.none() | st.builds(Iteration, max=st.integers(1, 9) | st.just("{{ n }}"), until=st.none() | TEXT),
    steps=st.dictionaries(NAMES, STEPS, min_size=1, max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(WORKFLOWS)
def test_a_snapshot_comes_back_as_it_was(workflow: Workflow) -> None:
    text = dump_json(workflow)
    assert parse_json(text) == workflow
    assert dump_json(parse_json(text)) == text


def test_a_snapshot_holds_no_defaults() -> None:
    workflow = build(name="a", steps={"s": {"command": ["x"], "inputs": [{"from": "s"}]}})
    assert dump_json(workflow) == '{"name":"a","steps":{"s":{"command":["x"],"inputs":{"0":{"from":"s"}}}}}'


def test_a_workflow_built_in_python_has_no_lines(tmp_path: Path) -> None:
    workflow = build(name="a", steps={"s": {"command": ["x"]}})
    assert WorkflowFile(workflow, tmp_path / "here").line("steps.s") is None
