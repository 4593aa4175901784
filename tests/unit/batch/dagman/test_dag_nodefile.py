"""What a node file says is what the engine would have told the runner, job by job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan, step
from fiducial.batch.planned.nodefile import NodeFile, ladder, retries
from fiducial.batch.planned.plan import Plan
from fiducial.core.errors import WorkflowError
from fiducial.core.jobspec import Artifact, JobFacts, StepRenderer
from fiducial.core.workflow import Step
from fiducial.runner import runner

FIT = {
    "iterate": True,
    "after": ["reco"],
    "inputs": {"all": {"from": "reco", "link": "in"}, "words": {"from": "reco"}},
    "command": ["fit", "{{ inputs.words }}", "{{ output }}"],
    "outputs": {"constants": "iter{{ iteration }}/c.txt"},
}
RECO = {
    "iterate": True,
    "fanout": fan(12),
    "inputs": {
        "raw": "/raw/{{ file | pad(5) }}.raw",
        "before": {"from": "fit", "output": "constants", "previous": True, "initial": "/dev/null"},
    },
    "environment": {"FILE": "{{ file }}", "JOB": "{{ job }}"},
    "script": 'reco "{{ inputs.raw }}" {{ memory_mb }} {{ attempt }} > {{ output }}\n',
    "outputs": ["iter{{ iteration }}/r_{{ file | pad(3) }}.txt"],
    "resources": {"memory": "1 GB", "flavour": "espresso"},
    "retry": {"max": 3, "memory_max": "3 GB", "final_exit_codes": [9], "by_cause": {"exit": 1}},
}
ITERATED = {"iteration": {"max": 3, "until": "fit.x < 1"}}


class _Told:
    """What the ledger would say that others have published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def artifacts(self, step: str, iteration: int, output: str, key: str | None) -> list[Artifact]:
        return [Artifact(f"{self.folder}/iter{iteration}/c.txt", 5, "0")]


def content(plan: Plan, name: str, iteration: int) -> dict[str, Any]:
    return dict(json.loads(NodeFile(plan, plan.group(name, iteration)).text()))


@pytest.mark.parametrize("iteration", [1, 2])
def test_filled_in_it_is_what_the_engine_says(make_plan: Any, iteration: int) -> None:
    plan = make_plan({"reco": RECO, "fit": FIT}, **ITERATED)
    template = content(plan, "reco", iteration)["job"]
    renderer = StepRenderer(plan.workflow, "reco", plan.scope, plan.folder, plan.ledger)
    for instance in plan.instances("reco", iteration):
        facts = JobFacts(5, 1, "reco", iteration, instance.key, instance.values)
        wanted = renderer.spec(facts, _Told(plan.folder))
        names = {**instance.values, "key": instance.key, "folder": str(plan.folder), "attempt": 1, "memory_mb": 1024}
        found = runner.filled(template, names)
        found["script"] = "\n".join(found["script"])
        same = ("name", "script", "interpreter", "environment", "directory", "outputs", "keep_scratch", "ledger")
        assert {key: found[key] for key in same} == {key: wanted[key] for key in same}
        assert found["inputs"][0] == wanted["inputs"][0]


def test_what_others_publish_is_found_on_the_node(make_plan: Any) -> None:
    plan = make_plan({"reco": RECO | {"tolerate": 0.25}, "fit": FIT}, **ITERATED)
    found = content(plan, "fit", 2)["job"]
    assert found["argv"] == ["fit", "@{inputs.1}", "c.txt"]
    base = {"from": "@{folder}/.fiducial/reco", "iteration": 2, "key": None, "output": "0", "many": True, "least": 9}
    assert found["inputs"] == [{**base, "name": "in"}, {**base, "name": None}]
    before = content(plan, "reco", 2)["job"]["inputs"][1]
    assert (before["from"], before["iteration"], before["key"]) == ("@{folder}/.fiducial/fit", 1, "all")
    assert content(plan, "reco", 1)["job"]["inputs"][1]["path"] == "/dev/null"


def test_steps_behind_the_iterations_take_the_last_or_every_one(make_plan: Any) -> None:
    report = step(
        after=["fit"],
        command=["report", "{{ inputs.last }}", "{{ inputs.all }}"],
        inputs={"last": {"from": "fit"}, "all": {"from": "fit", "every": True}},
    )
    plan = make_plan({"reco": RECO, "fit": FIT, "report": report}, **ITERATED)
    found = content(plan, "report", 0)["job"]
    assert [one["iteration"] for one in found["inputs"]] == ["last", "every"]
    assert found["argv"] == ["report", "@{inputs.0}", "@{inputs.1}"]
    without = make_plan({"reco": RECO, "fit": FIT, "report": report}, iteration={"max": 3})
    found = content(without, "report", 0)["job"]
    assert found["inputs"][0]["iteration"] == 3
    assert found["argv"][1] == "@{folder}/iter3/c.txt"


def test_limits_grow_as_the_engine_lets_them(make_plan: Any) -> None:
    plan = make_plan({"reco": RECO, "fit": FIT}, **ITERATED)
    policy = content(plan, "reco", 1)["retry"]
    assert (policy["most"], policy["final_exit_codes"]) == (3, [9])
    assert (policy["causes"]["exit"], policy["causes"]["input"]) == (1, 0)
    assert [size >> 20 for size in policy["memory"]] == [1024, 2048, 3072, 3072]
    assert policy["wall_time"] == [1200, 2400, 4800, 9600]
    assert content(plan, "fit", 1)["retry"]["memory"] is None


def test_ladder_ends_where_nothing_more_is_allowed() -> None:
    one = Step.model_validate(step(resources={"memory": "4 GB"}, retry={"max": 2, "memory_max": "4 GB"}))
    assert ladder(one, "memory") == [4 << 30] * 3
    assert retries(Step.model_validate(step(retry={"max": 1, "by_cause": {"memory": 4, "lost": 9}}))) == 4


def test_templates_that_compute_with_values_are_told_job_by_job(make_plan: Any) -> None:
    odd = step(fanout=fan(3), command=["run", "{{ file + 1 }}", "{{ attempt }}", "{{ folder }}/x"])
    plan = make_plan({"odd": odd})
    file = NodeFile(plan, plan.group("odd", 0))
    jobs = [json.loads(file.line(instance)) for instance in plan.instances("odd", 0)]
    assert all(file.words(instance) is None for instance in plan.instances("odd", 0))
    assert [job["job"]["argv"] for job in jobs] == [["run", str(n), "@{attempt}", "@{folder}/x"] for n in (1, 2, 3)]


@pytest.mark.parametrize("values", [["a b", "c"], [{"x": 1, "y": "ü;"}], ["$(HOME)", "'"], [1.5, 2.5]])
def test_values_that_are_no_plain_words_have_lines(make_plan: Any, values: list[Any]) -> None:
    plan = make_plan({"one": step(fanout={"list": values}, command=["run", "{{ item }}"])})
    file = NodeFile(plan, plan.group("one", 0))
    first = next(plan.instances("one", 0))
    assert file.words(first) is None
    told = json.loads(file.line(first))
    assert told["key"] == first.key
    assert told.get("values", first.values) == first.values


def test_what_only_the_node_knows_cannot_be_computed_with(make_plan: Any) -> None:
    wrong = step(resources={"memory": "2 GB"}, command=["java", "-Xmx{{ memory_mb - 500 }}m"])
    plan = make_plan({"wrong": wrong})
    with pytest.raises(WorkflowError, match=r"steps.wrong: '-Xmx.*computes with.*memory_mb"):
        NodeFile(plan, plan.group("wrong", 0))
    counted = FIT | {"command": ["fit", "{{ inputs.words | length }}"]}
    plan = make_plan({"reco": RECO, "fit": counted}, **ITERATED)
    with pytest.raises(WorkflowError, match=r"inputs.words"):
        NodeFile(plan, plan.group("fit", 1))
