"""A DAG as a backend, from logs and results that were written by hand: faults that a real DAGMan shows too rarely."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan, step, success
from fiducial.batch.backend import Attempt, Event, Finished, Held, Lost, Queued, Started
from fiducial.batch.dagman.control import manager, rescue_file
from fiducial.batch.dagman.decide import main as decide
from fiducial.batch.dagman.finish import main as finish
from fiducial.batch.dagman.follow import DagBackend
from fiducial.batch.dagman.write import write
from fiducial.batch.planned import followed
from fiducial.batch.planned.plan import Plan
from fiducial.runner import runner

STEPS = {
    "reco": step(iterate=True, fanout=fan(2), tolerate=0.5),
    "fit": step(iterate=True, after=["reco"], metrics=["x"]),
}


class Dag:
    """A DAG that nobody runs, with logs to be written."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.folder = plan, plan.folder
        write(plan, plan.folder)
        self.manage("000", "submitted from host: <127.0.0.1:9>")
        self.manage("001", "executing on host: <127.0.0.1:9>")

    def _write(self, log: Path, kind: str, cluster: int, text: str, body: str = "") -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - 60))
        with log.open("a") as file:
            file.write(f"{kind} ({cluster:03d}.000.000) {stamp} Job {text}\n{body}...\n")

    def manage(self, kind: str, text: str, body: str = "") -> None:
        self._write(self.folder / "w.dag.dagman.log", kind, 7, text, body)

    def say(self, kind: str, cluster: int, text: str, body: str = "") -> None:
        self._write(self.folder / "w.dag.nodes.log", kind, cluster, text, body)

    def submitted(self, node: str, cluster: int) -> None:
        self.say("000", cluster, "submitted from host: <127.0.0.1:9>", f"    DAG Node: {node}\n")

    def directory(self, step: str, key: str, attempt: int, iteration: int = 1) -> Path:
        return self.folder / ".fiducial" / step / f"{iteration:02d}" / f"{key}.{attempt}"

    def leave(self, step: str, key: str, attempt: int = 1, iteration: int = 1, **result: Any) -> None:
        """A result as a runner leaves it."""
        directory = self.directory(step, key, attempt, iteration)
        directory.mkdir(parents=True)
        content = {**success(), "folder": "/before", **result}
        (directory / "result.json").write_text(json.dumps(content))

    def look_for(self, backend: DagBackend, *jobs: tuple[int, str, str]) -> None:
        backend.submit(
            [{"job": job, "attempt": 1, "directory": str(self.directory(step, key, 1))} for job, step, key in jobs]
        )


@pytest.fixture
def dag(make_plan: Callable[..., Plan]) -> Dag:
    return Dag(make_plan(STEPS, iteration={"max": 2, "until": "fit.x < 1"}))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "_RESULT_SECONDS", 0.0)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_job_from_its_submission_to_its_result(dag: Dag) -> None:
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"))
    dag.submitted("reco_01_00000", 31)
    assert backend.poll(0.0) == []
    dag.say("012", 31, "was held.", "\tby hand\n\tCode 1 Subcode 0\n")
    dag.say("012", 31, "was held.", "\tby hand\n\tCode 1 Subcode 0\n")  # repeats happen
    assert backend.poll(0.0) == [Held(5, 1, "by hand")]
    dag.say("013", 31, "was released.", "\tvia condor_release\n")
    assert backend.poll(0.0) == [Queued(5, 1)]
    dag.say("001", 31, "executing on host: <127.0.0.1:9>", "\tSlotName: slot1@node7\n")
    (begun,) = backend.poll(0.0)
    assert isinstance(begun, Started)
    assert begun.host == "node7"
    dag.leave("reco", "00000", outputs=[{"key": "a", "path": "/before/x", "size": 1, "adler32": "0"}])
    dag.say("005", 31, "terminated.", "\t(1) Normal termination (return value 0)\n")
    (event,) = backend.poll(0.0)
    assert isinstance(event, Finished)
    assert (event.result["job"], event.result["attempt"]) == (5, 1)
    assert event.result["outputs"][0]["path"] == f"{dag.folder}/x"
    assert backend.poll(0.0) == []


def test_what_ended_before_anybody_looked(dag: Dag) -> None:
    dag.leave("fit", "all")
    backend = DagBackend(dag.folder)
    assert kinds(backend.recover([Attempt(9, 1, dag.directory("fit", "all", 1))])) == ["Finished"]


def test_a_node_that_died_and_was_begun_again(dag: Dag) -> None:
    dag.directory("reco", "00000", 1).mkdir(parents=True)
    dag.leave("reco", "00000", 2)
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"))
    (event,) = backend.poll(0.0)
    assert event == Lost(5, 1, "its runner died, and the node was begun again")


def test_a_job_that_was_removed_before_it_began(dag: Dag) -> None:
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"))
    dag.submitted("reco_01_00000", 31)
    dag.say("009", 31, "was aborted.", "\tvia condor_rm (by user ada)\n")
    (event,) = backend.poll(0.0)
    assert isinstance(event, Finished)
    assert (event.result["state"], event.result["cause"]) == ("killed", "removed")
    assert "ada" in event.result["message"]
    assert (dag.directory("reco", "00000", 1) / "revoked").exists()  # so the next runner takes number 2


def test_a_runner_that_died_without_a_result(dag: Dag) -> None:
    dag.directory("reco", "00000", 1).mkdir(parents=True)
    (dag.directory("reco", "00000", 1) / "log.txt").touch()
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"))
    dag.submitted("reco_01_00000", 31)
    dag.say("005", 31, "terminated.", "\t(0) Abnormal termination (signal 9)\n")
    assert kinds(backend.poll(0.0)) == ["Lost"]


def test_a_result_may_be_late(dag: Dag, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "_RESULT_SECONDS", 3600.0)
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"))
    dag.submitted("reco_01_00000", 31)
    dag.say("005", 31, "terminated.", "\t(1) Normal termination (return value 0)\n")
    assert backend.poll(0.0) == []
    assert backend.waits
    dag.leave("reco", "00000")
    assert kinds(backend.poll(0.0)) == ["Finished"]
    assert not backend.waits


def test_numbers_of_attempts_stay_those_of_the_folders(dag: Dag) -> None:
    backend = DagBackend(dag.folder)
    backend.submit([{"job": 5, "attempt": 3, "directory": str(dag.directory("reco", "00000", 3))}])
    assert runner.last_attempt(str(dag.directory("reco", "00000", 1).with_suffix(""))) == 2


def test_when_dagman_has_ended_the_rest_is_given_back(dag: Dag) -> None:
    dag.leave("reco", "00000")
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"), (6, "reco", "00001"))
    assert kinds(backend.detach()) == ["Finished"]  # while DAGMan is at work, nothing is given back
    dag.manage("009", "was aborted.", "\tvia condor_rm\n")
    (event,) = backend.detach()
    assert isinstance(event, Finished)
    assert (event.job, event.result["cause"]) == (6, "stopped")


def test_what_is_cancelled_and_in_no_queue_needs_no_command(dag: Dag) -> None:
    backend = DagBackend(dag.folder)
    dag.look_for(backend, (5, "reco", "00000"))
    backend.cancel([(5, 1), (9, 9)])
    (event,) = backend.poll(0.0)
    assert isinstance(event, Finished)
    assert event.result["cause"] == "stopped"


def test_a_log_that_cannot_be_read_is_told(dag: Dag) -> None:
    (dag.folder / "w.dag.nodes.log").mkdir()
    backend = DagBackend(dag.folder)
    backend.poll(0.0)
    assert "cannot be read" in backend.trouble


def test_dagman_itself(dag: Dag) -> None:
    assert (manager(dag.folder, "w.dag").phase, manager(dag.folder, "w.dag").cluster) == ("running", 7)
    dag.manage("005", "terminated.", "\t(1) Normal termination (return value 1)\n")
    found = manager(dag.folder, "w.dag")
    assert (found.phase, found.exit_code, found.at_work) == ("over", 1, False)
    assert manager(dag.folder, "other.dag").phase == "new"
    for name in ("rescue001", "rescue002", "rescue001.old"):
        (dag.folder / f"w.dag.{name}").touch()
    assert rescue_file(dag.folder, "w.dag") == dag.folder / "w.dag.rescue002"


@pytest.mark.parametrize(("x", "code", "said"), [(0.5, 10, "converged"), (2.0, 0, "not converged")])
def test_the_script_before_an_iteration_decides(
    dag: Dag, x: float, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dag.leave("fit", "all", state="failed", cause="exit")
    dag.leave("fit", "all", 2, metrics={"x": x})
    assert decide(str(dag.folder), "1") == code
    assert capsys.readouterr().out == f"iteration 1: {said}: fit.x < 1\n"


def test_a_condition_that_cannot_be_told_is_not_tried_again(dag: Dag, capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(str(dag.folder), "1") == runner.NO_RETRY
    assert "neither a step nor a metric 'fit'" in capsys.readouterr().out


def test_the_end_is_summed_up_and_told(dag: Dag) -> None:
    told = dag.folder / "told"
    (dag.folder / "notify.sh").write_text(f'#!/bin/sh\necho "$1 $2" > "{told}"; cat "$3" >> "{told}"; exit 3\n')
    dag.leave("reco", "00000")
    dag.leave("reco", "00001", state="failed", cause="exit")
    dag.leave("fit", "all", metrics={"x": 0.5})
    assert finish(str(dag.folder), "0", "1", "0") == 0
    found = json.loads((dag.folder / "summary.json").read_text())
    assert (found["state"], found["converged"], found["iterations"]) == ("done", True, 1)
    assert found["metrics"] == {"fit": {"x": 0.5}}
    assert told.read_text().splitlines()[0] == "done w"
    assert "  reco, iteration 1: 1 done, 1 failed of 2\n" in told.read_text()
    assert finish(str(dag.folder), "2", "3", "0") == 1
    assert json.loads((dag.folder / "summary.json").read_text())["failed_nodes"] == 3
    assert finish(str(dag.folder), "0", "0", "68") == 1  # of the FINAL node itself
    assert told.read_text().splitlines()[0] == "failed w"


def test_nobody_there_to_be_told(dag: Dag) -> None:
    (dag.folder / "notify.sh").unlink()
    assert finish(str(dag.folder), "0", "0", "0") == 0
