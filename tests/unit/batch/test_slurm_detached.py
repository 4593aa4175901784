"""Whole campaigns for Slurm: which arrays there are, what they wait for and ask for, and how they are handed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from campaigns import fan, step, success
from fiducial.batch.kinds import read_site
from fiducial.batch.planned.plan import Plan
from fiducial.batch.queue.system import Bundle
from fiducial.batch.slurm.detached import program
from fiducial.batch.slurm.detached.arrays import Array, arrays_of, dependency
from fiducial.batch.slurm.detached.store import Run, last_run, summed_up
from fiducial.batch.slurm.detached.submit import Submitter
from fiducial.batch.slurm.detached.write import (
    left_of,
    plan_in,
    prepare,
    script_of,
    site_in,
    to_bundle,
    write_plan,
)
from fiducial.batch.slurm.site import SlurmSite
from fiducial.core.errors import BackendError, DataError, QueueFullError
from fiducial.core.places import DETACHED, is_detached
from fiducial.runner import runner

MakePlan = Callable[..., Plan]

STEPS = {
    "reco": step(
        iterate=True,
        fanout=fan(4),
        resources={"memory": "1 GB", "walltime": "1h"},
        retry={"max": 2, "memory_max": "3 GB", "walltime_max": "3h"},
    ),
    "fit": step(iterate=True, after=["reco"], metrics=["x"]),
    "report": step(after=["fit"]),
}
UNTIL = {"max": 2, "until": "fit.x < 1"}


def slurm_site(**keys: Any) -> SlurmSite:
    site = read_site("cluster", {"backend": "slurm", **keys}, "test")
    assert isinstance(site, SlurmSite)
    return site


def arrays(plan: Plan, most: int = 1000, **kept: Sequence[int]) -> dict[str, Array]:
    """All arrays by name; of steps that are named only these places are left, in all iterations."""
    left, last = left_of(plan)
    left = {(name, number): list(kept.get(name, places)) for (name, number), places in left.items()}
    return {array.name: array for array in arrays_of(plan, left, last, most)}


def waits(found: dict[str, Array]) -> dict[str, str]:
    """What each waits for, with names in the place of Slurm's numbers."""
    return {name: dependency(array, {other: other for other in found}) for name, array in found.items()}


# ---------------------------------------------------------------------------------------------------------- arrays


def test_what_waits_for_what_where_iterations_may_end_early(make_plan: MakePlan) -> None:
    assert waits(arrays(make_plan(STEPS, iteration=UNTIL))) == {
        "reco_01": "",
        "reco_01.again": "afternotok:reco_01",
        "fit_01": "afterok:reco_01?afterok:reco_01.again",
        "fit_01.again": "afternotok:fit_01",
        "iter02.begin": "afterok:fit_01?afterok:fit_01.again",
        "reco_02": "afterok:iter02.begin",
        "reco_02.again": "afternotok:reco_02,afterok:iter02.begin",
        "fit_02": "afterok:reco_02?afterok:reco_02.again",
        "fit_02.again": "afternotok:fit_02,afterok:iter02.begin",
        "iterations.end": "afterany:fit_02.again",
        "report": "afterok:iterations.end",
        "report.again": "afternotok:report",
        "final": ",".join(
            f"afterany:{name}"
            for name in (
                *("reco_01", "reco_01.again", "fit_01", "fit_01.again", "iter02.begin", "reco_02", "reco_02.again"),
                *("fit_02", "fit_02.again", "iterations.end", "report", "report.again"),
            )
        ),
    }  # fmt: skip


def test_without_a_condition_the_next_iteration_waits_for_no_job_of_ours(make_plan: MakePlan) -> None:
    found = arrays(make_plan(STEPS, iteration={"max": 2}))
    assert waits(found)["reco_02"] == "afterok:fit_01?afterok:fit_01.again"
    assert waits(found)["report"] == "afterok:fit_02?afterok:fit_02.again"
    assert "iterations.end" not in found
    assert found["iter02.begin"].kind == "join"  # of which only what may never begin has to know


def test_each_array_comes_behind_those_that_it_waits_for(make_plan: MakePlan) -> None:
    steps = {"last": step(after=["b", "a"]), "b": step(after=["a"], fanout=fan(2)), "a": step(fanout=fan(2))}
    seen: set[str] = set()
    for name, array in arrays(make_plan(steps), most=2).items():
        assert {other for _, other in array.after} <= seen
        seen.add(name)


def test_and_and_or_do_not_mix(make_plan: MakePlan) -> None:
    steps = {"a": step(fanout=fan(2)), "b": step(), "c": step(after=["a", "b"])}
    found = waits(arrays(make_plan(steps)))
    assert found["c"] == "afterok:a.done,afterok:b.done"
    assert found["a.done"] == "afterok:a?afterok:a.again"


def test_jobs_that_match_follow_one_by_one(make_plan: MakePlan) -> None:
    steps = {
        "a": step(fanout=fan(3)),
        "b": step(fanout=fan(3), after=[{"step": "a", "matching": True}], retry={"max": 0}),
    }
    found = arrays(make_plan(steps), most=2)
    assert waits(found)["b.1"] == "aftercorr:a.1?aftercorr:a.1.again"
    assert waits(found)["b.2"] == "aftercorr:a.2?aftercorr:a.2.again"
    assert (found["b.2"].tasks, found["b.2"].offset) == ("1", 2)
    assert "b.1.again" not in found  # no cause is tried again


def test_large_groups_are_cut(make_plan: MakePlan) -> None:
    steps = {"a": step(fanout=fan(7)), "b": step(after=["a"])}
    found = arrays(make_plan(steps), most=3)
    cut = {name: (found[name].tasks, found[name].offset) for name in ("a.1", "a.2", "a.3")}
    assert cut == {"a.1": ("1-3", 0), "a.2": ("1-3", 3), "a.3": ("1", 6)}
    assert waits(found)["b"] == "afterok:a.1.done,afterok:a.2.done,afterok:a.3.done"


def test_only_what_is_left_is_submitted(make_plan: MakePlan) -> None:
    plan = make_plan(STEPS, iteration=UNTIL)
    for number in (0, 1, 3):
        done(plan, "reco", 1, f"0000{number}")
    found = arrays(plan)
    assert found["reco_01"].tasks == "3"
    done(plan, "reco", 1, "00002")
    done(plan, "fit", 1, "all", metrics={"x": 3.0})
    found = arrays(plan)
    assert next(iter(found)) == "reco_02"
    assert found["reco_02"].after == ()
    for number in range(4):
        done(plan, "reco", 2, f"0000{number}")
    done(plan, "fit", 2, "all", metrics={"x": 0.5})
    assert list(arrays(plan)) == ["report", "report.again", "final"]


def test_a_campaign_that_has_converged_iterates_no_more(make_plan: MakePlan) -> None:
    plan = make_plan({**STEPS, "reco": step(iterate=True)}, iteration={"max": 5, "until": "fit.x < 1"})
    done(plan, "reco", 1, "all")
    done(plan, "fit", 1, "all", metrics={"x": 0.5})
    assert left_of(plan)[1] == 1
    assert list(arrays(plan)) == ["report", "report.again", "final"]


def test_what_may_fail_is_not_left(make_plan: MakePlan) -> None:
    plan = make_plan({"a": step(fanout=fan(5), tolerate=0.2)})
    for number in range(4):
        done(plan, "a", 0, f"0000{number}")
    assert left_of(plan)[0] == {("a", 0): [5]}
    done(plan, "a", 0, "00004", state="failed")
    assert left_of(plan)[0] == {("a", 0): []}


def done(plan: Plan, name: str, iteration: int, key: str, **fields: Any) -> None:
    """A job's result."""
    folder = plan.folder / ".fiducial" / name / f"{iteration:02d}" / f"{key}.1"
    folder.mkdir(parents=True)
    result = {**success(metrics=fields.pop("metrics", None)), **fields}
    (folder / "result.json").write_text(json.dumps(result))


# ----------------------------------------------------------------------------------------------------------- files


class Given:
    """A campaign that was written, and a Slurm that says what it is told to say."""

    def __init__(self, plan: Plan, site: SlurmSite) -> None:
        self.site = site
        write_plan(plan, site)
        self.plan = plan_in(plan.folder)
        self.run = prepare(self.plan, 1000)
        self.words: list[Sequence[str]] = []
        self.cancelled: list[str] = []
        self.released: list[str] = []
        self.there: dict[str, str] = {}
        self.asked = 0
        self.refuses: Callable[[str], BackendError | None] = lambda name: None

    def hand_over(self, words: Sequence[str]) -> str:
        named = next(word for word in words if word.startswith("--job-name="))
        error = self.refuses(named)
        if error is not None:
            raise error
        self.words.append(words)
        native = str(len(self.there) + 1)
        self.there[named.rpartition(".")[2]] = native
        return native

    def find_all(self, bundles: Sequence[Bundle]) -> dict[str, str]:
        self.asked += 1
        return {bundle.token: self.there[bundle.token] for bundle in bundles if bundle.token in self.there}

    def let_go(self, natives: Iterable[str]) -> None:
        self.released += natives

    def cancel_all(self, natives: Sequence[str]) -> None:
        self.cancelled += natives

    def submit(self, run: Run | None = None) -> None:
        Submitter(self.plan, run or self.run, self, self.site).submit()  # type: ignore[arg-type]

    def of(self, name: str) -> Sequence[str]:
        """How an array was handed over."""
        return next(words for words in self.words if f".{name}.{self.run.tokens[name]}" in " ".join(words))


@pytest.fixture
def given(make_plan: MakePlan) -> Given:
    return Given(make_plan(STEPS, iteration=UNTIL), slurm_site(memory="500 MB", licenses="db:1", at_once=3))


def test_a_task_finds_its_line(given: Given) -> None:
    here = given.plan.folder / DETACHED
    assert is_detached(given.plan.folder)
    assert site_in(given.plan.folder) == "cluster"
    index = (here / "iter02/reco/reco.index").read_bytes()
    lines = (here / "iter02/reco/reco.jobs").read_bytes()
    start = int(index[3 * runner.INDEX_WIDTH : 4 * runner.INDEX_WIDTH])
    assert json.loads(lines[start:].split(b"\n")[0])["key"] == "00003"
    assert json.loads((here / "iter02/reco/reco.json").read_text())["folder"] == "../.."


def test_what_arrays_ask_for(given: Given) -> None:
    given.submit()
    first, again, gate = given.of("reco_01"), given.of("reco_01.again"), given.of("iter02.begin")
    assert {"--array=1-4%3", "--hold", "--requeue", "--mem=1056M", "--time=0-01:01:30", "--licenses=db:1"} <= set(first)
    assert {"--mem=3104M", "--time=0-03:01:30", "--kill-on-invalid-dep=yes"} <= set(again)  # all that a retry may have
    assert "--no-requeue" not in first
    assert "--hold" not in again
    assert not [word for word in gate if word.startswith("--licenses")]
    assert given.released == ["1"]
    natives = given.run.natives
    assert f"--dependency=afterok:{natives['reco_01']}?afterok:{natives['reco_01.again']}" in given.of("fit_01")


def test_scripts(given: Given) -> None:
    plan, run = given.plan, given.run
    by_name = {array.name: array for array in run.arrays}
    script = script_of(plan, run, replace(by_name["reco_02"], offset=1000), given.site)
    assert f"'{plan.folder}/{DETACHED}/runner.py' --node iter02/reco/reco.json" in script
    assert "--place $((SLURM_ARRAY_TASK_ID + 1000)) --run 1 --marks" in script
    assert script.endswith(f"--memory {2**30} --within 3600\n")
    assert script_of(plan, run, by_name["reco_02.again"], given.site).endswith("--within 10800 --again\n")
    assert f"detached.program begin '{plan.folder}' 2 1" in script_of(plan, run, by_name["iter02.begin"], given.site)
    assert to_bundle(plan, run, by_name["reco_02"], given.site).title == "w.reco_02"


# ------------------------------------------------------------------------------------------------------ submission


def test_what_slurm_did_not_answer_is_looked_for_once(given: Given) -> None:
    given.refuses = lambda name: BackendError("Slurm: timed out", transient=True) if "fit_01.fd" in name else None
    with pytest.raises(BackendError) as caught:
        given.submit()
    assert caught.value.transient
    assert "the same command goes on" in caught.value.hint
    assert given.released == []
    given.refuses = lambda name: None
    given.there[given.run.tokens["fit_01"]] = "77"  # it had come through
    again = last_run(given.plan.folder)
    assert again is not None
    assert again.natives == {"reco_01": "1", "reco_01.again": "2"}
    given.submit(again)
    assert given.asked == 1
    assert again.natives["fit_01"] == "77"
    assert given.released == ["1"]
    assert len(given.words) == len(again.arrays) - 1


def test_a_refusal_leaves_nothing_behind(given: Given) -> None:
    given.refuses = lambda name: BackendError("Slurm: invalid partition", hint="sinfo") if "fit_01.fd" in name else None
    with pytest.raises(BackendError, match="nothing of the campaign is in the queue") as caught:
        given.submit()
    assert caught.value.hint == "sinfo"
    assert given.cancelled == ["1", "2"]
    assert given.run.is_marked("gone")
    assert given.released == []


def test_a_queue_that_is_too_small_is_told(given: Given) -> None:
    given.refuses = lambda name: QueueFullError("Slurm: full") if "fit_02.fd" in name else None
    with pytest.raises(BackendError) as caught:
        given.submit()
    assert "without --detached" in caught.value.hint
    assert given.cancelled


def test_where_no_node_has_what_a_retry_may_ask_for_it_gets_less(given: Given) -> None:
    asked: list[str] = []

    def refuses(name: str) -> BackendError | None:
        asked.append(name)
        first = "reco_01.again" in name and asked.count(name) == 1
        return BackendError("Slurm: node configuration") if first else None

    given.refuses = refuses
    given.submit()
    assert "--mem=1056M" in given.of("reco_01.again")


def test_a_torn_line_is_no_number(given: Given) -> None:
    given.run.note("reco_01", "5")
    with (given.run.folder / "submitted").open("a") as file:
        file.write(given.run.tokens["fit_01"])
    read = last_run(given.plan.folder)
    assert read is not None
    assert read.natives == {"reco_01": "5"}
    read.note("fit_01", "6")
    read = last_run(given.plan.folder)
    assert read is not None
    assert read.natives == {"reco_01": "5", "fit_01": "6"}
    (given.run.folder / "run.json").write_text("[")
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        last_run(given.plan.folder)


# -------------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize(("x", "code"), [(0.5, program.CONVERGED), (2.0, 0)])
def test_an_iteration_begins_or_not(given: Given, capsys: pytest.CaptureFixture[str], x: float, code: int) -> None:
    done(given.plan, "fit", 1, "all", metrics={"x": x})
    assert program.main("begin", str(given.plan.folder), "2", "1") == code
    assert f"iteration 1: {'converged' if code else 'not converged'}: fit.x < 1" in capsys.readouterr().out


def test_what_cannot_be_told_ends_the_iterations(given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main("begin", str(given.plan.folder), "2", "1") == runner.NO_RETRY
    assert "fit.x" in capsys.readouterr().out
    assert program.main("end", str(given.plan.folder), "0", "1") == runner.NO_RETRY


def test_the_end_is_summed_up(given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    here = given.plan.folder
    assert program.main("final", str(here), "0", "1") == 0
    found = summed_up(here, given.run)
    assert found is not None
    assert (found["state"], found["run"]) == ("failed", 1)
    assert f"fiducial campaign resume {given.plan.name} goes on" in (here / "summary.txt").read_text()
    assert summed_up(here, replace(given.run, number=2)) is None
    assert "campaign w: failed" in capsys.readouterr().out
