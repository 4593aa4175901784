"""Everything that the check of a workflow finds, and what it lets pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fiducial.core.check import check, job_counts
from fiducial.core.errors import WorkflowError
from fiducial.core.workflowfile import WorkflowFile, build, load

Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Findings about a text, as ``line: severity: place: message``."""

    def find(text: str, **overrides: Any) -> list[str]:
        path = tmp_path / "flow.toml"
        path.write_text(text, "utf-8")
        return [finding.text("", severity=True)[1:] for finding in check(load(path), overrides)]

    return find


GOOD = """\
name = "align"
campaign = "{{ workflow }}_{{ first }}"
folder = "{{ campaign }}/{{ detector }}"
[variables]
first = 450
last = "{{ first + 3 }}"
detector = "ift"
base = "{{ folder }}/data"
mine = "{{ base }}/{{ file }}.raw"
[iteration]
max = "{{ first - 447 }}"
until = "fit.shift < 0.1 and (reco.tracks | sum > 3) and previous.fit.shift - fit.shift < 1 and iteration > 1"
[steps.reco]
fanout = { files = "{{ first }}-{{ last }}" }
variables = { name = "{{ mine }}", out = "{{ name }}.{{ iteration }}" }
command = ["reco", "{{ file | pad(5) }}", "{{ name }}", "{{ out }}", "{{ output }}", "{{ inputs[0] }}", "{{ job }}"]
inputs = [{ from = "fit", output = "c", previous = true, initial = "{{ base }}/none", link = "constants.json" }]
outputs = ["reco_{{ iteration }}_{{ file }}.root"]
metrics = ["tracks"]
iterate = true
[steps.skim]
script = '''
{% for f in inputs.values() %}{{ f }}{% endfor %}
{% set y = 3 %}{{ y }} {{ outputs.o }} {{ inputs["a"] }} {{ attempt }} {{ cpus }} {{ memory_mb }} {{ python }}
'''
fanout = { files = "{{ first }}-{{ last }}" }
after = [{ step = "reco", matching = true }]
inputs.a = { from = "reco" }
outputs.o = "skim_{{ iteration }}_{{ file }}.root"
iterate = true
[steps.fit]
command = ["fit", "{{ inputs.skims }}", "{{ outputs.c }}"]
after = "skim"
inputs.skims = { from = "skim" }
inputs.reco = { from = "reco" }
outputs = { c = "c_{{ iteration }}.json", log = { path = "log_{{ iteration }}", optional = true } }
metrics = ["shift"]
iterate = true
[steps.plot]
command = ["plot", "{{ inputs.last }}", "{{ inputs.all }}", "{{ output }}"]
after = ["fit"]
inputs = { last = { from = "fit" }, all = { from = "fit", every = true } }
outputs = ["plot.pdf"]
"""


def test_a_good_workflow_passes(told: Told) -> None:
    assert told(GOOD) == []
    assert told(GOOD, first=448, detector="all") == []


STEP = '[steps.a]\ncommand = ["x"]\n'
TWO = 'name = "w"\n[steps.a]\ncommand = ["x"]\noutputs = ["a.txt"]\n[steps.b]\ncommand = ["x"]\n'
LOOP = 'name = "w"\n[iteration]\nmax = 3\n[steps.a]\ncommand = ["x"]\niterate = true\noutputs = ["a{{ iteration }}"]\n'
FAN = 'name = "w"\n[steps.a]\ncommand = ["x"]\nfanout = { files = "0-3" }\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # order
        (TWO + 'after = ["aa"]', "7: error: steps.b.after.0: there is no step 'aa', did you mean 'a'?"),
        (TWO + 'after = ["a", "a"]', "7: error: steps.b.after.1: 'a' stands here twice"),
        (TWO + 'after = "b"', "7: error: steps.b.after: steps wait for each other in a circle: b -> b"),
        (
            'name = "w"\n' + "".join(f'[steps.{a}]\ncommand = ["x"]\nafter = "{b}"\n' for a, b in ("ab", "bc", "ca")),
            "4: error: steps.a.after: steps wait for each other in a circle: a -> b -> c -> a",
        ),
        (
            TWO + 'inputs = [{ from = "aa" }]',
            "7: error: steps.b.inputs.0.from: there is no step 'aa', did you mean 'a'?",
        ),
        (
            TWO + 'inputs = [{ from = "a" }]',
            "7: error: steps.b.inputs.0: this step does not wait for 'a', so its file may not be there yet "
            '(after = ["a"])',
        ),
        (
            TWO + 'after = "a"\ninputs = [{ from = "a", output = "txt" }]',
            "8: error: steps.b.inputs.0.output: step 'a' has no output 'txt' (it has 0)",
        ),
        (
            TWO + '[steps.c]\ncommand = ["x"]\nafter = "b"\ninputs = [{ from = "b" }]',
            "10: error: steps.c.inputs.0: step 'b' has no outputs",
        ),
        (
            TWO + 'inputs = [{ path = "p", initial = "i" }]',
            "7: error: steps.b.inputs.0.initial: 'initial' goes with 'from'",
        ),
        (
            TWO + 'after = "a"\ninputs = [{ from = "a", previous = true, initial = "i" }]',
            "8: error: steps.b.inputs.0.previous: there is no iteration before: this step is not iterated "
            "(set iterate = true)",
        ),
        (
            TWO + 'after = "a"\ninputs = [{ from = "a", every = true }]',
            "8: error: steps.b.inputs.0.every: every iteration can be taken only from an iterated step, "
            "by a step that is not",
        ),
        (
            FAN + '[steps.b]\ncommand = ["x"]\nafter = { step = "a", matching = true }',
            "7: error: steps.b.after.0: matching pairs jobs of equal fan-out, and this step has none "
            "(leave out matching to wait for all of it)",
        ),
        (
            FAN + '[steps.b]\ncommand = ["x"]\nfanout.files = "0-4"\nafter = { step = "a", matching = true }',
            "8: error: steps.b.after.0: matching pairs jobs of equal fan-out; only one of the two steps has a job "
            "'00003' (leave out matching to wait for all of it)",
        ),
        # iterations
        (
            'name = "w"\n[iteration]\nmax = 3\n' + STEP,
            "2: error: iteration: no step is iterated (set iterate = true in the steps that are to be repeated)",
        ),
        (
            'name = "w"\n' + STEP + "iterate = true",
            "4: error: steps.a.iterate: the workflow does not say how often (add [iteration] with max = 5)",
        ),
        (
            LOOP + '[steps.b]\ncommand = ["x"]\nafter = "a"\n[steps.c]\ncommand = ["x"]\nafter = "b"\niterate = true',
            "8: error: steps.b: this step runs once, but lies inside the iterations: after 'a', before 'c' "
            "(set iterate = true here too)",
        ),
        (LOOP.replace("max = 3", "max = 0"), "3: error: iteration.max: 0 is no number of iterations"),
        (LOOP.replace("max = 3", 'max = "x"'), "3: error: iteration.max: 'x' is not a whole number"),
        # until
        (
            LOOP.replace("max = 3", 'until = "a.chi < 3"'),
            "3: warning: iteration.until: 'a.chi': step 'a' does not say that it reports 'chi' "
            '(write metrics = ["chi"] there)',
        ),
        (
            LOOP.replace("max = 3", 'until = "a.chi < 3"') + 'metrics = ["chi2"]',
            "3: error: iteration.until: 'a.chi': step 'a' does not say that it reports 'chi', did you mean 'chi2'?",
        ),
        (
            LOOP.replace("max = 3", 'until = "chi < 3"') + 'metrics = ["chi2"]',
            "3: error: iteration.until: no step reports 'chi', did you mean 'chi2'?",
        ),
        (
            LOOP.replace("max = 3", 'until = "chi < 3"'),
            "3: warning: iteration.until: no step says that it reports 'chi'",
        ),
        (
            LOOP.replace("max = 3", 'until = "chi < limi"\n[variables]\nlimit = 3') + 'metrics = ["chi"]',
            "3: error: iteration.until: no step reports 'limi', did you mean 'limit'?",
        ),
        (
            LOOP.replace("max = 3", 'until = "chi < 3"')
            + 'metrics = ["chi"]\n[steps.b]\ncommand = ["x"]\niterate = true\nmetrics = ["chi"]',
            "3: error: iteration.until: 'chi' is a metric of a and of b (write a.chi)",
        ),
        (
            LOOP.replace("max = 3", 'until = "b.chi < 3"') + '[steps.b]\ncommand = ["x"]\nmetrics = ["chi"]',
            "3: error: iteration.until: 'b.chi': step 'b' is not iterated",
        ),
        (
            LOOP.replace("max = 3", 'until = "a < 3"'),
            "3: error: iteration.until: 'a' is a step; name one of its metrics (write a.NAME)",
        ),
        (
            LOOP.replace("max = 3", 'until = "previous.chi < 3"') + 'metrics = ["chi"]',
            "3: error: iteration.until: 'previous.chi': after 'previous' comes a step (write previous.a.chi)",
        ),
        (
            LOOP.replace("max = 3", 'until = "chi < 3"').replace("{{ iter", "{{ file }}{{ iter")
            + 'metrics = ["chi"]\nfanout.files = "0-3"',
            "3: error: iteration.until: 'chi' has one value of each job, which cannot be compared "
            "(write for example chi | max)",
        ),
        (
            LOOP.replace("max = 3", 'until = "iteration > 3"'),
            "3: warning: iteration.until: refers to no metric (write for example fit.max_shift < 0.1)",
        ),
        (LOOP.replace("max = 3", 'until = "a.chi <"'), "3: error: iteration.until: template syntax: "),
        # names
        (
            FAN.replace('"x"', '"{{ fil }}"'),
            "3: error: steps.a.command.0: unknown variable 'fil', did you mean 'file'?",
        ),
        (
            FAN + '[steps.b]\ncommand = ["{{ file }}"]',
            "6: error: steps.b.command.0: unknown variable 'file' (it belongs to the fan-out of step 'a')",
        ),
        (
            'name = "w"\n[steps.a]\nscript = """\necho\necho {{ xyzzy }}\n"""',
            "5: error: steps.a.script: unknown variable 'xyzzy' (set it under [variables])",
        ),
        (
            'name = "w"\nvariables.v = "{{ item }}"\n[steps.a]\ncommand = ["{{ v }}"]',
            "2: error: variables.v: unknown variable 'item' (set it under [variables])",
        ),
        (
            FAN + '[steps.b]\ncommand = ["{{ v }}"]\n[variables]\nv = "{{ file }}"',
            "6: error: steps.b.command.0: variable 'v' needs 'file', not known here",
        ),
        (
            'name = "w"\nvariables = { a = "{{ b }}", b = "{{ a }}" }\n[steps.a]\ncommand = ["{{ a }}"]',
            "2: error: variables: variables refer to each other in a circle: a -> b -> a",
        ),
        (
            'name = "w"\n[steps.a]\nvariables = { a = "{{ b }}", b = "{{ a }}" }\ncommand = ["{{ a }}"]',
            "2: error: steps.a: variables refer to each other in a circle: a -> b -> a",
        ),
        ('name = "w"\nvariables.v = 1\n' + STEP, "2: warning: variables.v: is never used"),
        ('name = "w"\n' + STEP + "variables.v = 1\n", "4: warning: steps.a.variables.v: is never used"),
        (
            'name = "w"\nvariables.job = 1\n' + STEP,
            "2: error: variables.job: 'job' is a name that every job has already (choose another one)",
        ),
        (
            'name = "w"\nvariables."a-b" = 1\n' + STEP,
            "2: error: variables.a-b: templates cannot refer to 'a-b' (use letters, digits and _)",
        ),
        (
            'name = "w"\n' + STEP + 'fanout = { files = "0-2", as = "job" }',
            "4: error: steps.a.fanout: 'job' is a name that every job has already (choose another one with as = \"…\")",
        ),
        (
            'name = "w"\n' + STEP + 'fanout = { files = "0-2", runs = "0-2", as = "x" }',
            "4: error: steps.a.fanout.as: cannot name files and runs at once (leave it out)",
        ),
        (
            'name = "w"\n' + STEP + 'fanout = { files = "0-{{ job }}" }',
            "4: error: steps.a.fanout.files: 'job' is known only inside a job",
        ),
        (
            'name = "w"\n[steps.a]\ncommand = ["{{ output }}"]',
            "3: error: steps.a.command.0: 'output' is not known: this step has no outputs",
        ),
        (
            'name = "w"\n' + STEP + 'outputs = ["{{ input }}"]\ninputs = ["i"]',
            "4: error: steps.a.outputs.0.path: 'input' is not known before the step's paths are",
        ),
        (
            'name = "w"\n[steps.a]\ncommand = ["{{ outputs.rot }}"]\noutputs.root = "o"',
            "3: error: steps.a.command.0: there is no outputs.rot, did you mean 'root'?",
        ),
        (
            'name = "w"\n[steps.a]\ncommand = ["{{ inputs[2] }}"]\ninputs = ["i"]',
            "3: error: steps.a.command.0: there is no inputs.2 (this step has 0)",
        ),
        (
            'name = "w"\ncampaign = "{{ campaign }}"\n' + STEP,
            "2: error: campaign: unknown variable 'campaign' (set it under [variables])",
        ),
        (
            'name = "w"\n[steps.a]\ncommand = ["{{ step | padd }}"]',
            "3: error: steps.a.command.0: unknown filter 'padd' in '{{ step | padd }}', did you mean 'pad'?",
        ),
        ('name = "w"\n[steps.a]\ncommand = ["{{ step"]', "3: error: steps.a.command.0: template syntax: "),
        ('name = "w"\n[steps.a]\ncommand = ["{{ \'a\' - 1 }}"]', "3: error: steps.a.command: cannot evaluate "),
        # jobs
        (
            FAN + 'outputs = ["o"]',
            "5: error: steps.a.outputs.0: jobs '00000' and '00001' would overwrite each other's 'o' "
            "(put {{ job }} or a name of the fan-out into the path)",
        ),
        (
            FAN + 'outputs = ["{{ file % 2 }}"]',
            "5: error: steps.a.outputs.0: jobs '00000' and '00002' would overwrite each other's '0' "
            "(put {{ job }} or a name of the fan-out into the path)",
        ),
        (TWO + 'outputs = ["a.txt"]', "7: error: steps.b.outputs.0: step 'a' publishes 'a.txt' too"),
        (TWO + 'outputs = ["b", "b"]', "7: error: steps.b.outputs.1: output '0' is 'b' too"),
        (
            LOOP.replace("a{{ iteration }}", "a"),
            "7: error: steps.a.outputs.0: every iteration would overwrite 'a' (put {{ iteration }} into the path)",
        ),
        ('name = "w"\n' + STEP + 'fanout.files = "5-5"', "4: error: steps.a.fanout.files: the range '5-5' is empty"),
        ('name = "w"\n' + STEP + "fanout.list = []", "4: error: steps.a.fanout: "),
        (
            'name = "w"\n' + STEP + 'fanout.list = ["a", "a"]',
            "4: error: steps.a.fanout: two jobs would have the same name",
        ),
        (
            'name = "w"\n' + STEP + 'fanout.files.glob = "*.none"',
            "4: warning: steps.a.fanout.files: no file matches '*.none'",
        ),
        # payload
        (
            'name = "w"\n[steps.a]\ncommand = ["./run.sh", "x"]',
            "3: error: steps.a.command.0: jobs run in a scratch folder, where './run.sh' is not "
            '(write "{{ workflow_folder }}/run.sh")',
        ),
        (
            'name = "w"\n[steps.a]\ncommand = ["python", "flow.toml"]',
            "3: warning: steps.a.command.1: jobs run in a scratch folder; 'flow.toml' is a file beside the workflow "
            '(write "{{ workflow_folder }}/flow.toml")',
        ),
        ('name = "w"\n[steps.a]\nscript = " "', "3: error: steps.a.script: the script is empty"),
        (
            'name = "w"\n[steps.a]\nscript = "flow.toml"',
            "3: warning: steps.a.script: script holds the text itself, and 'flow.toml' is a file "
            '(write template = "flow.toml")',
        ),
        ('name = "w"\n[steps.a]\ntemplate = "none.sh"', "3: error: steps.a.template: cannot read "),
        ('name = "w"\n[steps.a]\ncall = "none.py:f"', "3: error: steps.a.call: cannot read "),
        ('name = "w"\n[steps.a]\ncall = "flow.toml/x:f"', "3: error: steps.a.call: cannot read "),
        (
            'name = "w"\n[steps.a]\ncall = "f"',
            '3: error: steps.a.call: \'f\' is no function (write "module:function" or "path/file.py:function")',
        ),
        (
            'name = "w"\n' + STEP + 'arguments = ["y"]',
            "4: error: steps.a.arguments: a command has its arguments in command",
        ),
        (
            'name = "w"\n[steps.a]\ncall = "m:f"\narguments = ["y"]',
            "4: error: steps.a.arguments: a call takes a table of keyword arguments",
        ),
        (
            'name = "w"\n[steps.a]\nscript = "ls y"\narguments = { a = 1 }',
            "4: error: steps.a.arguments: a script takes a list of words",
        ),
        ('name = "w"\nenvironment_script = "none.sh"\n' + STEP, "2: warning: environment_script: there is no "),
        (
            'name = "w"\n' + STEP + 'resources.memory = "5000 TB"',
            "4: warning: steps.a.resources.memory: 5,120,000 GB is more than any machine gives (is the unit right?)",
        ),
        (
            'name = "w"\n' + STEP + 'resources.walltime = "90d"',
            "4: warning: steps.a.resources.walltime: 90 days is more than any machine gives (is the unit right?)",
        ),
        (
            'name = "w"\n' + STEP + "resources.memory = 4",
            '4: error: steps.a.resources.memory: 4 bytes is too little for any program (write for example "4 GB")',
        ),
        (
            'name = "w"\n' + STEP + 'resources = { memory = "4 GB" }\nretry.memory_max = "2 GB"',
            "5: error: steps.a.retry.memory_max: is less than the first try gets",
        ),
        (
            'name = "w"\n' + STEP + 'resources = { flavour = "workday" }\nretry.walltime_max = "2h"',
            "5: error: steps.a.retry.walltime_max: is less than the first try gets",
        ),
        (
            'name = "w"\n' + STEP + "retry.by_cause.walltime = 3",
            "4: warning: steps.a.retry.by_cause.walltime: no job fails by 'walltime', did you mean 'wall_time'?",
        ),
    ],
)
def test_findings(told: Told, text: str, expected: str) -> None:
    found = told(text)
    assert found
    assert found[0].startswith(expected) if expected.endswith(": ") else expected in found[0]


def test_one_mistake_is_told_once(told: Told) -> None:
    assert told(FAN.replace('"x"', '"{{ fil }}"')) == [
        "3: error: steps.a.command.0: unknown variable 'fil', did you mean 'file'?"
    ]


def test_mistakes_do_not_hide_each_other(told: Told) -> None:
    found = told(TWO + 'after = "c"\nresources.memory = 4\n[steps.d]\ncommand = ["{{ x }}"]\n')
    assert [line.split(":")[0] for line in found] == ["7", "8", "10"]


def test_an_unknown_variable_is_set(told: Told) -> None:
    found = told('name = "w"\nvariables.shift = 1\n[steps.a]\ncommand = ["{{ shift }}"]', shfit=2)
    assert found == [" error: variable 'shfit' is set, but the workflow has none of this name, did you mean 'shift'?"]


def test_a_mistake_in_a_template_names_its_line(told: Told, tmp_path: Path) -> None:
    (tmp_path / "fit.sh").write_text("echo\necho {{ input }}\necho {{ inpt }}\n")
    found = told('name = "w"\n[steps.a]\ntemplate = "fit.sh"\ninputs = ["i"]')
    assert found == [
        "3: error: steps.a.template: unknown variable 'inpt' in line 3 of fit.sh, did you mean 'input'?",
    ]


def test_calls_into_files(told: Told, tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("from os import path as p\ndef f(): ...\nx = f\nclass C: ...\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    for function in ("p", "f", "x", "C.method"):
        assert told(f'name = "w"\n[steps.a]\ncall = "good.py:{function}"') == []
    assert "has no function 'g'" in told('name = "w"\n[steps.a]\ncall = "good.py:g"')[0]
    assert "is not Python" in told('name = "w"\n[steps.a]\ncall = "bad.py:f"')[0]


def test_what_is_linked_is_in_the_scratch_folder(told: Told) -> None:
    text = 'name = "w"\n[steps.a]\ncommand = ["./run.sh"]\ninputs = [{ path = "/x/run.sh", link = "run.sh" }]'
    assert told(text) == []


def test_an_iterated_step_may_match_one_before_the_iterations(told: Told) -> None:
    text = LOOP.replace("a{{", "{{ file }}_{{") + 'fanout.files = "0-3"\nafter = { step = "b", matching = true }\n'
    assert told(text + '[steps.b]\ncommand = ["x"]\nfanout.files = "0-3"') == []


def test_counts(tmp_path: Path) -> None:
    steps = {
        "many": {"command": ["x"], "fanout": {"files": "0-{{ n }}", "list": ["a", "b"]}},
        "one": {"command": ["x"]},
        "unknown": {"command": ["x"], "fanout": {"files": {"glob": "*.none"}}},
    }
    file = WorkflowFile(build(name="w", variables={"n": 10}, steps=steps), tmp_path / "flow")
    assert job_counts(file) == {"many": 20, "one": 1}
    assert job_counts(file, {"n": 5})["many"] == 10
    with pytest.raises(WorkflowError, match=r"steps.many.fanout.files: .* empty"):
        job_counts(file, {"n": 0})
