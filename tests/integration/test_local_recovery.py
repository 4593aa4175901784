"""An engine that is killed at any moment, and the next one that takes over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.backend import Attempt, Finished, Lost, Started
from fiducial.batch.claims import state_of
from fiducial.batch.local import LocalBackend
from processes import is_running, wait_for

ENGINE = """
import json, sys
from fiducial.batch.local import LocalBackend
backend = LocalBackend(2)
backend.submit(json.load(open(sys.argv[1])))
print("submitted", flush=True)
while True:
    backend.poll(1.0)
"""


class Scene:
    """A folder, the jobs in it, and an engine that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def directory(self, job: int) -> Path:
        return self.folder / "attempts" / f"{job}.1"

    def attempts(self, jobs: range) -> list[Attempt]:
        return [Attempt(job, 1, self.directory(job)) for job in jobs]

    def spec(self, job: int, script: str) -> dict[str, Any]:
        mark = f"echo $PPID $$ >> '{self.folder}/ran{job}'\n"
        directory = str(self.directory(job))
        return {
            "format": 1, "ledger": "1ed6e7", "job": job, "attempt": 1, "directory": directory,
            "script": mark + script, "grace": 1.0, "resources": {"cpus": 1, "memory": None},
        }  # fmt: skip

    def engine(self, specs: list[dict[str, Any]]) -> subprocess.Popen[str]:
        file = self.folder / "specs.json"
        file.write_text(json.dumps(specs))
        engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(file)], stdout=subprocess.PIPE, text=True)
        assert engine.stdout is not None
        assert engine.stdout.readline() == "submitted\n"
        return engine

    def ran(self, job: int) -> list[list[int]]:
        """Runner and payload, each time that the job has run."""
        path = self.folder / f"ran{job}"
        return [list(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


def kill(engine: subprocess.Popen[str]) -> None:
    engine.kill()
    engine.communicate()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def collect(backend: LocalBackend, count: int) -> dict[int, Any]:
    events: dict[int, Any] = {}
    deadline = time.monotonic() + 30
    while len(events) < count:
        assert time.monotonic() < deadline, f"only {events}"
        events |= {event.job: event for event in backend.poll(0.2) if not isinstance(event, Started)}
    return events


def test_workers_finish_their_jobs_and_go(scene: Scene) -> None:
    engine = scene.engine([scene.spec(job, "sleep 0.6; echo done") for job in range(6)])
    wait_for(lambda: scene.ran(0) and scene.ran(1))
    kill(engine)
    workers = [scene.ran(job)[0][0] for job in (0, 1)]
    assert all(map(is_running, workers)), "they do not die with the engine"
    wait_for(lambda: not any(map(is_running, workers)))
    assert [state_of(scene.directory(job)) for job in range(6)] == ["finished"] * 2 + ["absent"] * 4


def test_next_engine_adopts_what_runs_and_revokes_the_rest(scene: Scene) -> None:
    engine = scene.engine([scene.spec(0, "sleep 2"), *(scene.spec(job, "sleep 1") for job in range(1, 5))])
    wait_for(lambda: (scene.directory(0) / "runner.json").exists() and (scene.directory(1) / "runner.json").exists())
    kill(engine)
    with LocalBackend(2) as backend:
        decided = backend.recover(scene.attempts(range(5)))
        assert [type(event) for event in decided] == [Lost] * 3
        assert {event.job for event in decided} == {2, 3, 4}
        backend.submit([scene.spec(9, "true")])
        assert backend.poll(0.1) == [], "both slots are taken"
        events = collect(backend, 3)
        assert [events[job].result["state"] for job in (0, 1, 9)] == ["done"] * 3
        assert events[9].result["started"] >= min(events[job].result["finished"] for job in (0, 1))
    assert [len(scene.ran(job)) for job in range(5)] == [1, 1, 0, 0, 0]
    assert {state_of(scene.directory(job)) for job in (2, 3, 4)} == {"revoked"}


def test_what_has_ended_meanwhile_is_reported(scene: Scene) -> None:
    engine = scene.engine([scene.spec(0, "exit 3"), scene.spec(1, "true")])
    wait_for(lambda: state_of(scene.directory(0)) == state_of(scene.directory(1)) == "finished")
    kill(engine)
    with LocalBackend(2) as backend:
        events = {event.job: event for event in backend.recover(scene.attempts(range(3)))}
    assert isinstance(events[0], Finished)
    assert events[0].result["exit_code"] == 3
    assert isinstance(events[1], Finished)
    assert isinstance(events[2], Lost)


def test_adopted_job_can_be_cancelled(scene: Scene) -> None:
    engine = scene.engine([scene.spec(0, "sleep 60")])
    wait_for(lambda: scene.ran(0))
    kill(engine)
    with LocalBackend(2) as backend:
        assert backend.recover(scene.attempts(range(1))) == []
        backend.cancel([(0, 1)])
        events = collect(backend, 1)
    assert events[0].result["cause"] == "stopped"
    assert not is_running(scene.ran(0)[0][1])


@pytest.mark.parametrize("quiet", ["", "> /dev/null 2>&1"])
def test_orphan_is_killed_and_lost(scene: Scene, quiet: str) -> None:
    engine = scene.engine([scene.spec(0, f"exec sleep 60 {quiet}")])
    runner, payload = wait_for(lambda: scene.ran(0))[0]
    time.sleep(0.1)
    kill(engine)
    os.kill(runner, signal.SIGKILL)
    wait_for(lambda: not is_running(runner))
    assert is_running(payload)
    assert state_of(scene.directory(0)) == ("dead" if quiet else "orphan")
    with LocalBackend(2) as backend:
        events = backend.recover(scene.attempts(range(1)))
    assert [type(event) for event in events] == [Lost]
    assert not is_running(payload)
    assert state_of(scene.directory(0)) == "dead"


def test_engines_killed_at_any_moment_run_nothing_twice(scene: Scene) -> None:
    """Engines are killed one after the other, some of their workers too; then every attempt is accounted for."""
    jobs = range(300)
    for turn in range(24):
        open_jobs = [job for job in jobs if state_of(scene.directory(job)) == "absent"]
        scripts = {job: "kill -9 $PPID" if job % 17 == 0 else "true" for job in open_jobs[:40]}
        engine = scene.engine([scene.spec(job, script) for job, script in scripts.items()])
        time.sleep(0.03 * (turn % 8))
        kill(engine)
    with LocalBackend(2) as backend:
        decided: dict[int, Any] = {event.job: event for event in backend.recover(scene.attempts(jobs))}
        while len(decided) < len(jobs):
            decided |= {event.job: event for event in backend.poll(0.5)}
    assert all(len(scene.ran(job)) <= 1 for job in jobs)
    finished = {job for job in jobs if isinstance(decided[job], Finished)}
    never = {job for job in jobs if isinstance(decided[job], Lost) and "never started" in decided[job].reason}
    assert {len(scene.ran(job)) for job in finished} == {1}
    assert all(scene.ran(job) == [] for job in never)
    assert 10 < len(finished) < len(jobs)
    assert {job for job in jobs if job % 17 == 0} <= set(jobs) - finished
