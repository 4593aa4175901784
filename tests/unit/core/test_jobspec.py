"""What the runner is told about a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fiducial.core.errors import WorkflowError
from fiducial.core.jobspec import EVERY, LAST, Artifact, JobFacts, StepRenderer, attempt_directory
from fiducial.core.plan import SINGLE, campaign_scope
from fiducial.core.workflowfile import build

FOLDER = Path("/data/c1")


class Files:
    """What other steps published, by step, iteration, output and key; keeps what was asked."""

    def __init__(self, files: dict[tuple[str, int, str, str | None], list[str]] | None = None) -> None:
        self.files = files or {}
        self.asked: list[tuple[str, int, str, str | None]] = []

    def artifacts(self, step: str, iteration: int, output: str, key: str | None) -> Sequence[Artifact]:
        self.asked.append((step, iteration, output, key))
        return [Artifact(path, 10, "0a0b0c0d") for path in self.files.get(self.asked[-1], [])]


def spec(steps: dict[str, Any], name: str = "s", files: Files | None = None, **facts: Any) -> dict[str, Any]:
    """The spec of one job; ``facts`` may hold workflow fields under ``workflow``."""
    fields = facts.pop("workflow", {})
    workflow = build(**({"name": "w", "steps": steps} | fields))
    scope = campaign_scope(workflow, [{}], {"campaign": "c1", "folder": str(FOLDER), "python": "/usr/bin/python3"})
    given = {"job": 5, "attempt": 2, "step": name, "iteration": 0, "key": SINGLE} | facts
    return StepRenderer(workflow, name, scope, FOLDER, "ledger").spec(JobFacts(**given), files or Files())


def test_a_command() -> None:
    step = {
        "command": ["reco", "{{ file | pad(5) }}", "{{ output }}", "{{ cpus }}", "{{ memory_mb }}", "{{ job }}"],
        "fanout": {"files": "0-9"},
        "outputs": ["out/reco_{{ file }}.root"],
        "environment": {"N": "{{ attempt }}"},
        "environment_script": "/setup_{{ step }}.sh",
        "metrics": ["chi2"],
        "keep_scratch": "failure",
        "resources": {"cpus": 4, "memory": "2 GB", "walltime": "2h", "cputime": "8h", "disk": "1 GB"},
    }
    made = spec({"s": step}, key="00003", values={"file": 3})
    assert made["argv"] == ["reco", "00003", "reco_3.root", "4", "2048", "00003"]
    place = {"key": "0", "path": "/data/c1/out/reco_3.root", "name": "reco_3.root"}
    assert made["outputs"] == [{**place, "min_size": 1, "check": None, "optional": False}]
    assert (made["name"], made["job"], made["attempt"], made["ledger"]) == ("c1/s/00/00003", 5, 2, "ledger")
    assert made["environment"] == {"N": "2"}
    assert made["environment_script"] == "/setup_s.sh"
    assert made["directory"] == "/data/c1/.fiducial/s/00/00003.2"
    assert (made["required_metrics"], made["keep_scratch"]) == (["chi2"], "failure")
    assert made["limits"] == {"memory": 2**31, "cpu_time": 28800, "wall_time": 7200, "disk": 2**30}
    assert made["resources"] == {"cpus": 4, "memory": 2**31}


def test_a_retry_gets_what_was_decided() -> None:
    step = {"command": ["{{ memory_mb }}"], "resources": {"memory": "1 GB", "flavour": "espresso"}}
    made = spec({"s": step}, memory=2**32, walltime=99.0)
    assert (made["argv"], made["limits"]["memory"], made["limits"]["wall_time"]) == (["4096"], 2**32, 99)
    made = spec({"s": step})
    assert (made["limits"]["memory"], made["limits"]["wall_time"]) == (2**30, 1200)


def test_lists_become_words() -> None:
    files = Files({("a", 0, "0", None): ["/d/1", "/d/2"]})
    steps = {
        "a": {"command": ["x"], "fanout": {"files": "1-3"}, "outputs": ["{{ file }}"]},
        "s": {"command": ["{{ inputs.f }}", "-f={{ inputs.f | join(',') }}", "{{ [] }}"], "after": "a",
              "inputs": {"f": {"from": "a"}}},
    }  # fmt: skip
    made = spec(steps, files=files)
    assert made["argv"] == ["/d/1", "/d/2", "-f=/d/1,/d/2"]
    assert [(entry["path"], entry["size"]) for entry in made["inputs"]] == [("/d/1", 10), ("/d/2", 10)]


def test_scripts_and_calls() -> None:
    step = {"script": "echo {{ input }}\n", "arguments": ["{{ [1, 2] }}"], "inputs": "in.txt", "interpreter": ["sh"]}
    made = spec({"s": step})
    assert (made["script"], made["arguments"], made["interpreter"]) == ("echo /data/c1/in.txt\n", ["1", "2"], ["sh"])
    step = {"call": "m:{{ step }}", "arguments": {"n": "{{ attempt }}", "deep": {"a": ["{{ attempt }}"]}, "k": 1.5}}
    made = spec({"s": step})
    assert (made["call"], made["python"]) == ("m:s", "/usr/bin/python3")
    assert made["kwargs"] == {"n": 2, "deep": {"a": [2]}, "k": 1.5}


@pytest.mark.parametrize("iterate", [False, True])
@pytest.mark.parametrize("fanout", [None, {"files": "0-9"}])
@pytest.mark.parametrize("matching", [False, True])
def test_which_files_of_another_step(iterate: bool, fanout: Any, matching: bool) -> None:
    if matching and fanout is None:
        return
    step = {"command": ["x"], "fanout": fanout, "iterate": iterate}
    steps = {
        "a": {**step, "outputs": {"one": "1", "two": "2"}},
        "s": {**step, "after": {"step": "a", "matching": matching}, "inputs": {"f": {"from": "a", "output": "two"}}},
    }
    files = Files()
    with pytest.raises(WorkflowError, match=r"steps\.s\.inputs\.f: step 'a' has published no 'two'"):
        spec(steps, files=files, iteration=3 if iterate else 0, key="00004")
    key = "00004" if matching else None if fanout else SINGLE
    assert files.asked == [("a", 3 if iterate else 0, "two", key)]


@pytest.mark.parametrize(
    ("inside", "more", "expected"),
    [
        (False, {}, ("a", LAST, "0", SINGLE)),
        (False, {"every": True}, ("a", EVERY, "0", SINGLE)),
        (True, {"previous": True, "initial": "i"}, ("a", 2, "0", SINGLE)),
    ],
)
def test_files_of_iterations(inside: bool, more: dict[str, Any], expected: Any) -> None:
    steps = {
        "a": {"command": ["x"], "iterate": True, "outputs": ["o"]},
        "s": {"command": ["{{ inputs.f }}"], "iterate": inside, "inputs": {"f": {"from": "a", **more}}},
    }
    files = Files({expected: ["/d/o"]})
    made = spec(steps, files=files, iteration=3 if inside else 0)
    assert files.asked == [expected]
    assert made["argv"] == ["/d/o"]


def test_the_first_iteration_takes_the_initial_file() -> None:
    steps = {"s": {"command": ["{{ input }}"], "iterate": True, "outputs": ["o{{ iteration }}"],
                   "inputs": [{"from": "s", "previous": True, "initial": "/start/{{ step }}"}]}}  # fmt: skip
    files = Files({("s", 1, "0", SINGLE): ["/data/c1/o1"]})
    assert spec(steps, files=files, iteration=1)["argv"] == ["/start/s"]
    assert spec(steps, files=files, iteration=2)["argv"] == ["/data/c1/o1"]


def test_links() -> None:
    steps = {
        "a": {"command": ["x"], "fanout": {"files": "1-3"}, "outputs": ["{{ file }}"]},
        "s": {"command": ["{{ inputs[0] }}", "{{ inputs['1'] }}"], "after": "a",
              "inputs": [{"path": "p_{{ step }}", "link": "in.txt"}, {"from": "a", "link": "all"}]},
    }  # fmt: skip
    made = spec(steps, files=Files({("a", 0, "0", None): ["/d/1", "/d/2"]}))
    assert made["argv"] == ["in.txt", "all/1", "all/2"]
    assert [(entry["path"], entry["name"]) for entry in made["inputs"]] == [
        ("/data/c1/p_s", "in.txt"),
        ("/d/1", "all/1"),
        ("/d/2", "all/2"),
    ]


def test_outputs() -> None:
    outputs = {
        "a": "x/same.root",
        "b": "y/same.root",
        "c": {"path": "/abs/c.txt", "min_size": 0, "optional": True, "check": ["test", "-s", "{{ step }}"]},
        "d": {"path": "root://eos/d.root", "direct": True},
    }
    made = spec({"s": {"command": ["{{ outputs.a }}", "{{ outputs.b }}", "{{ outputs.d }}"], "outputs": outputs}})
    assert [entry["name"] for entry in made["outputs"]] == ["same.root", "_same.root", "c.txt", None]
    assert made["argv"] == ["same.root", "_same.root", "root://eos/d.root"]
    assert made["outputs"][2] == {
        "key": "c", "path": "/abs/c.txt", "name": "c.txt", "min_size": 0, "check": ["test", "-s", "s"], "optional": True
    }  # fmt: skip


def test_an_output_of_several_files() -> None:
    steps = {
        "a": {"command": ["x", "{{ output }}"], "outputs": {"all": {"path": "fit", "files": ["*/m_{{ step }}.*"]}}},
        "s": {"command": ["{{ inputs.fit }}"], "after": "a", "inputs": {"fit": {"from": "a", "link": "in"}}},
    }
    (output,) = spec(steps, "a")["outputs"]
    assert (output["path"], output["name"], output["files"]) == ("/data/c1/fit", ".", ["*/m_a.*"])
    one = spec(steps, files=Files({("a", 0, "all", SINGLE): ["/data/c1/fit/one/m.res"]}))
    assert one["argv"] == ["in/m.res"]  # a list, however many they are
    same = ["/data/c1/fit/one/m.res", "/data/c1/fit/two/m.res"]
    assert spec(steps, files=Files({("a", 0, "all", SINGLE): same}))["argv"] == ["in/one/m.res", "in/two/m.res"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"files": "../*"}, "'../\\*' does not stay inside"),
        ({"files": ["/etc/*"]}, "does not stay inside"),
        ({"files": "*", "direct": True}, "do not go with direct"),
    ],
)
def test_patterns_of_files_that_cannot_be(output: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        spec({"s": {"command": ["x"], "outputs": [{"path": "p", **output}]}})


def test_variables_of_the_step_reach_everything() -> None:
    step = {
        "command": ["{{ full }}", "{{ shared }}"],
        "fanout": {"files": "0-9"},
        "variables": {"full": "{{ base }}.{{ iteration }}", "base": "f{{ file }}"},
        "outputs": ["{{ full }}.root"],
    }
    made = spec({"s": step}, values={"file": 3}, workflow={"variables": {"shared": "{{ base }}+"}})
    assert made["argv"] == ["f3.0", "f3+"]
    assert made["outputs"][0]["path"] == "/data/c1/f3.0.root"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"command": ["{{ fil }}"]}, r"steps\.s\.command: unknown variable 'fil'"),
        ({"command": ["x"], "outputs": ["{{ output }}"]}, r"steps\.s\.outputs\.0: unknown variable 'output'"),
        ({"command": ["x"], "outputs": ["{{ '' }}"]}, r"steps\.s\.outputs\.0: the path is empty"),
        ({"command": ["{{ inputs[4] }}"], "inputs": ["a"]}, r"steps\.s\.command: unknown variable '4'"),
    ],
)
def test_mistakes_name_their_place(step: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        spec({"s": step})


def test_paths_of_outputs_without_a_spec() -> None:
    workflow = build(name="w", steps={"s": {"command": ["x"], "outputs": {"a": "{{ job }}.txt", "b": "/b"}}})
    renderer = StepRenderer(workflow, "s", campaign_scope(workflow, [{}], {}), FOLDER, "ledger")
    assert renderer.output_paths(JobFacts(1, 1, "s", 0, "k")) == {"a": "/data/c1/k.txt", "b": "/b"}


def test_every_attempt_has_its_own_folder() -> None:
    places = {
        attempt_directory(FOLDER, step, iteration, key, attempt)
        for step in "ab" for iteration in (1, 11) for key in ("1", "11") for attempt in (1, 11)
    }  # fmt: skip
    assert len(places) == 16
