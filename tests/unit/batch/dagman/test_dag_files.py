"""The files of a DAG, as people and DAGMan read them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan, step
from fiducial.batch.dagman.submit import Options
from fiducial.batch.dagman.write import write
from fiducial.batch.planned.plan import Layout, Plan, frozen, read_plan
from fiducial.core.errors import DataError, FolderError, NotFoundError, UsageError, WorkflowError
from fiducial.core.places import DAG_PLAN, is_dag

SMALL = {
    "make": step(fanout=fan(2), outputs=["m{{ file }}"]),
    "reco": step(iterate=True, after=[{"step": "make", "matching": True}], fanout=fan(2), retry={"max": 3}),
    "fit": step(iterate=True, after=["reco"], description="Fit it"),
    "end": step(after=["fit"]),
}
UNTIL = {"iteration": {"max": 2, "until": "fit.x < 1"}}

GOLDEN = """
# What runs once
# make
JOB make_00000 make/make.sub
VARS make_00000 key="00000" values="file=0"
JOB make_00001 make/make.sub
VARS make_00001 key="00001" values="file=1"

# Iteration 1
# reco
JOB reco_01_00000 iter01/reco/reco.sub
VARS reco_01_00000 key="00000" values="file=0"
JOB reco_01_00001 iter01/reco/reco.sub
VARS reco_01_00001 key="00001" values="file=1"
RETRY reco_01_00000 3 UNLESS-EXIT 79
RETRY reco_01_00001 3 UNLESS-EXIT 79
# reco_01.join does nothing, and stands for all dependencies between its parents and its children
JOB reco_01.join iter01/reco/reco.sub NOOP
PARENT make_00000 make_00001 CHILD reco_01.join
PARENT reco_01.join CHILD reco_01_00000 reco_01_00001
# Fit it
JOB fit_01 iter01/fit/fit.sub
VARS fit_01 key="all" values=""
PARENT reco_01_00000 reco_01_00001 CHILD fit_01

# Iteration 2
# iter02.begin is no job: it waits for all that comes before, and begins the iteration by its script
JOB iter02.begin iter02/reco/reco.sub NOOP
SCRIPT PRE iter02.begin iter02/begin.sh $RETRY
# Converged: fit.x < 1
ABORT-DAG-ON iter02.begin 10 RETURN 0
PARENT fit_01 CHILD iter02.begin
PARENT iter02.begin CHILD reco_02_00000 reco_02_00001
"""


def text(plan: Plan, options: Options | None = None) -> str:
    return (write(plan, plan.folder, options).folder / plan.dag).read_text("utf-8")


def lines(plan: Plan, word: str, options: Options | None = None) -> list[str]:
    return [line for line in text(plan, options).splitlines() if line.startswith(f"{word} ")]


def test_dag_as_people_read_it(make_plan: Any) -> None:
    found = text(make_plan(SMALL, **UNTIL))
    assert GOLDEN in found
    assert found.count("CONFIG w.dag.config\n") == found.count("RETRY ALL_NODES 2 UNLESS-EXIT 79\n") == 1
    assert "JOB end" not in found  # it may end early, and then only the FINAL node runs
    assert "FINAL campaign.final final.sub\n" in found


def test_everything_is_there(make_plan: Any) -> None:
    plan = make_plan(SMALL, **UNTIL)
    text(plan)
    found = {str(path.relative_to(plan.folder)) for path in plan.folder.rglob("*") if path.is_file()}
    per_iteration = {
        f"iter{n:02d}/{name}/{name}.{end}" for n in (1, 2) for name in ("reco", "fit") for end in ("sub", "json")
    }
    assert found == per_iteration | {
        "w.dag", "w.dag.config", "runner.py", "submit.sh", "notify.sh", "final.sub", "final.sh", "finish.sh", DAG_PLAN,
        "make/make.sub", "make/make.json", "iter02/begin.sh", "end/end.json",
    }  # fmt: skip
    assert (plan.folder / "iter02/reco/logs").is_dir()
    for script in (*plan.folder.rglob("*.sh"), plan.folder / "runner.py"):
        assert os.access(script, os.X_OK), script
        if script.suffix == ".sh":
            subprocess.run(["sh", "-n", script], check=True)


def test_submit_description(make_plan: Any) -> None:
    resources = {"cpus": 2, "memory": "1500 MB", "disk": "2 GB", "flavour": "longlunch"}
    plan = make_plan({"reco": step(fanout=fan(2), resources=resources, retry={"max": 2})})
    options = Options(
        requirements={"": "(A =?= 1)"}, lines={"": {"+Group": '"x"'}, "reco": {"+JobFlavour": '"own"'}}, most=7
    )
    text(plan, options)
    commands = (plan.folder / "reco/reco.sub").read_text().splitlines()
    for line in (
        "executable = runner.py",
        'arguments = "--node reco/reco.json --key $(key) --retry $(retry) $(values)"',
        "output = reco/logs/reco_$(key).out",
        "request_cpus = 2",
        "request_memory = $CHOICE(retry,1500,3000,6000)",
        "periodic_remove = (JobStatus == 5) && (HoldReasonCode == 34)",
        "request_disk = 2097152",
        '+JobFlavour = "own"',
        "requirements = (A =?= 1)",
        '+Group = "x"',
        "queue",
    ):
        assert line in commands
    assert "DAGMAN_MAX_JOBS_SUBMITTED = 7\n" in (plan.folder / "w.dag.config").read_text()


def test_flavours_and_wall_times_grow(make_plan: Any) -> None:
    plan = make_plan(
        {
            "a": step(resources={"flavour": "espresso"}, retry={"max": 2, "walltime_factor": 4}),
            "b": step(resources={"walltime": "1h"}, retry={"max": 1, "by_cause": {"wall_time": 1}}),
            "c": step(resources={"flavour": "nextweek"}),
        }
    )
    text(plan)
    found = {name: (plan.folder / f"{name}/{name}.sub").read_text() for name in "abc"}
    assert '+JobFlavour = "$CHOICE(retry,espresso,longlunch,workday)"\n' in found["a"]
    assert "+MaxRuntime = $CHOICE(retry,3600,7200)\n" in found["b"]
    assert '+JobFlavour = "nextweek"\n' in found["c"]


def test_priorities_categories_and_done_jobs(make_plan: Any) -> None:
    plan = make_plan({"a": step(fanout=fan(3), priority=5)}, more={"done": {("a", 0): frozenset({"00001"})}})
    found = text(plan, Options(max_jobs={"a": 2}))
    assert "MAXJOBS a 2\n" in found
    assert found.count("PRIORITY a_0000") == found.count("CATEGORY a_0000") == 3
    assert "JOB a_00001 a/a.sub DONE\n" in found
    assert "JOB a_00002 a/a.sub\n" in found


def test_many_to_many_is_a_join_and_never_all_pairs(make_plan: Any) -> None:
    plan = make_plan({"a": step(fanout=fan(100)), "b": step(fanout=fan(100), after=["a"])})
    found = lines(plan, "PARENT")
    assert len(found) == 10
    assert sum(line.count("a_000") for line in found) == 100
    pairs = make_plan({"a": step(fanout=fan(100)), "b": step(fanout=fan(100), after=[{"step": "a", "matching": True}])})
    assert lines(pairs, "PARENT")[7] == "PARENT a_00007 CHILD b_00007"


def test_an_iteration_that_nothing_begins_waits_for_the_last_one_itself(make_plan: Any) -> None:
    steps = {"reco": step(iterate=True, fanout=fan(2)), "fit": step(iterate=True, after=["reco"])}
    plan = make_plan(steps, iteration={"max": 2})
    assert lines(plan, "PARENT")[1] == "PARENT fit_01 CHILD reco_02_00000 reco_02_00001"
    assert ".begin" not in text(plan)


def test_an_iteration_of_many_after_many_begins_with_one_node(make_plan: Any) -> None:
    plan = make_plan({"reco": step(iterate=True, fanout=fan(2))}, iteration={"max": 2})
    assert lines(plan, "PARENT") == [
        "PARENT reco_01_00000 reco_01_00001 CHILD iter02.begin",
        "PARENT iter02.begin CHILD reco_02_00000 reco_02_00001",
    ]


def test_what_runs_beside_the_iterations_is_waited_for_before_they_may_end(make_plan: Any) -> None:
    plan = make_plan({"fit": step(iterate=True), "beside": step(fanout=fan(2))}, **UNTIL)
    assert "PARENT fit_01 beside_00000 beside_00001 CHILD iter02.begin" in lines(plan, "PARENT")
    free = make_plan({"fit": step(iterate=True), "beside": step(fanout=fan(2))}, iteration={"max": 2})
    assert lines(free, "PARENT") == ["PARENT fit_01 CHILD fit_02"]


def test_without_a_condition_the_last_steps_are_nodes(make_plan: Any) -> None:
    plan = make_plan(SMALL | {"end": step(after=["fit"], fanout=fan(2))}, iteration={"max": 2})
    assert "PARENT fit_02 CHILD end_00000 end_00001" in lines(plan, "PARENT")
    assert lines(plan, "FINAL") == ["FINAL campaign.final final.sub NOOP"]
    with pytest.raises(WorkflowError, match=r"steps.end: it has many jobs and comes after"):
        text(make_plan(SMALL | {"end": step(after=["fit"], fanout=fan(2))}, **UNTIL))


def test_names_that_dagman_has_for_itself(make_plan: Any) -> None:
    steps = {"parent": step(), "a": step(iterate=True, fanout={"list": ["x+y", "ä b"]}), "a_01": step()}
    plan = make_plan(steps, iteration={"max": 1})
    names = [line.split()[1] for line in lines(plan, "JOB")]
    assert names[:3] == ["parent_all", "a_01", "a.01_x%2By"]


def test_steps_that_a_script_runs(make_plan: Any) -> None:
    layout = Layout(local=frozenset({"lay"}), begin="pre.sh", wrappers={"fit": "run_fit.sh"})
    steps = {"lay": step(iterate=True), "fit": step(iterate=True, after=["lay"])}
    plan = make_plan(steps, more={"layout": layout}, **UNTIL)
    assert "SCRIPT PRE iter01.begin iter01/pre.sh $RETRY" in lines(plan, "SCRIPT")
    assert lines(plan, "PARENT") == [
        "PARENT iter01.begin CHILD fit_01",
        "PARENT fit_01 CHILD iter02.begin",
        "PARENT iter02.begin CHILD fit_02",
    ]
    script = (plan.folder / "iter02/pre.sh").read_text()
    assert script.index("batch.dagman.decide . 1") < script.index("--node iter02/lay/lay.json")
    assert "decide" not in (plan.folder / "iter01/pre.sh").read_text()
    assert "executable = iter01/fit/run_fit.sh" in (plan.folder / "iter01/fit/fit.sub").read_text()


def test_values_that_are_no_words_are_found_by_their_place(make_plan: Any) -> None:
    plan = make_plan({"one": step(fanout={"list": ["a b", "ü;$(x)"]}, command=["run", "{{ item }}"])})
    found = lines(plan, "VARS")[1:3]
    places = [int(line.partition("--at ")[2].rstrip('"')) for line in found]
    data = (plan.folder / "one/one.jobs").read_bytes()
    told = [json.loads(data[place:].split(b"\n")[0]) for place in places]
    assert [one["values"]["item"] for one in told] == ["a b", "ü;$(x)"]


def test_logs_of_many_jobs_lie_in_folders(make_plan: Any) -> None:
    plan = make_plan({"a": step(fanout=fan(5001))})
    assert lines(plan, "VARS")[1:][2345].endswith('part="002"')
    assert len(list((plan.folder / "a/logs").iterdir())) == 6
    assert "a/logs/$(part)/a_$(key).err" in (plan.folder / "a/a.sub").read_text()


def test_the_plan_is_read_where_the_folder_is_by_then(make_plan: Any, tmp_path: Path) -> None:
    plan = make_plan(SMALL, **UNTIL)
    text(plan)
    moved = tmp_path / "moved"
    plan.folder.rename(moved)
    found = read_plan(moved)
    assert is_dag(moved)
    assert (found.folder, found.names["folder"], found.workflow) == (moved, str(moved), plan.workflow)
    assert [found.group("reco", 2).node("00001"), found.dag] == ["reco_02_00001", "w.dag"]
    (moved / DAG_PLAN).write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        read_plan(moved)
    with pytest.raises(NotFoundError, match="was given to DAGMan or Slurm"):
        read_plan(tmp_path)


def test_files_of_a_pattern_are_those_of_the_beginning(make_plan: Any, tmp_path: Path) -> None:
    for name in ("1", "b"):
        (tmp_path / f"{name}.raw").touch()
    plan = make_plan({"a": step(fanout={"files": {"glob": f"{tmp_path}/*.raw"}}, command=["run", "{{ stem }}"])})
    kept = replace(plan, workflow=frozen(plan.workflow, plan.scope))
    (tmp_path / "late.raw").touch()
    assert [one.key for one in kept.instances("a", 0)] == ["1", "b"]
    assert [one.values for one in kept.instances("a", 0)] == [one.values for one in plan.instances("a", 0)][:2]


def test_what_was_submitted_is_not_written_over(make_plan: Any) -> None:
    plan = make_plan(SMALL, **UNTIL)
    text(plan)
    (plan.folder / "notify.sh").write_text("mine")
    assert text(plan)  # again, before it is submitted
    assert (plan.folder / "notify.sh").read_text() == "mine"
    (plan.folder / "w.dag.dagman.out").touch()
    with pytest.raises(FolderError, match="was submitted before"):
        text(plan)


def test_folders_that_no_dag_can_hold(make_plan: Any) -> None:
    layout = Layout(step=lambda name, number: f"my {name}")
    with pytest.raises(UsageError, match="the folder 'my a' cannot stand in a DAG"):
        text(make_plan({"a": step()}, more={"layout": layout}))
