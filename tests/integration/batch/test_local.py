"""The local backend, with real workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.backend import Backend, Finished, Lost, Refused, Started, Submission
from fiducial.batch.local import LocalBackend, machine_memory, state_of
from fiducial.core.errors import BackendError
from processes import is_running, wait_for

MEGABYTE = 1_000_000


def result(event: Any) -> Any:
    assert isinstance(event, Finished), event
    return event.result


def test_it_is_a_backend(backend: LocalBackend) -> None:
    assert isinstance(backend, Backend)


def test_many_jobs_each_once(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    specs = [campaign.spec(job, campaign.count(job)) for job in range(100)]
    assert backend.submit(specs)[7] == Submission(7, 1, "7.1")
    events = end_of(backend, 100)
    assert {result(event)["cause"] for event in events.values()} == {"ok"}
    assert [campaign.ran(job) for job in range(100)] == [1] * 100
    assert backend.poll(0) == []
    left = {path.name for path in (campaign.folder / "attempts").iterdir() if not path.name.startswith(".scratch")}
    assert left == {f"{job}.1" for job in range(100)}


def test_workers_leave_nothing_behind(campaign: Any, end_of: Any) -> None:
    with LocalBackend(2) as backend:
        backend.submit([campaign.spec(job) for job in range(10)])
        end_of(backend, 10)
    names = {path.name for path in (campaign.folder / "attempts").iterdir()}
    assert names == {f"{job}.1" for job in range(10)}


def test_short_jobs_share_no_files(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    script = "ls -A; touch left.over; chmod 700 .; ln -s . loop; mkdir -p a/b"
    backend.submit([campaign.spec(job, script) for job in range(10)])
    end_of(backend, 10)
    assert {(campaign.directory(job) / "log.txt").read_text() for job in range(10)} == {""}


def test_failures_come_back(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    backend.submit([campaign.spec(1, "exit 7"), campaign.spec(2, "kill -9 $$"), campaign.spec(3, format=9)])
    events = end_of(backend, 3)
    assert (result(events[1, 1])["cause"], result(events[1, 1])["exit_code"]) == ("exit", 7)
    assert (result(events[2, 1])["cause"], result(events[2, 1])["signal"]) == ("signal", 9)
    assert result(events[3, 1])["cause"] == "spec"


def test_long_job_is_announced_and_short_one_is_not(backend: LocalBackend, campaign: Any, until: Any) -> None:
    backend.submit([campaign.spec(1, "sleep 0.5"), campaign.spec(2)])
    events = until(backend, lambda events: sum(isinstance(event, Finished) for event in events) == 2)
    started = [event for event in events if isinstance(event, Started)]
    assert [event.job for event in started] == [1]
    assert abs(started[0].at - time.time()) < 20


def test_payload_has_none_of_our_sockets(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    backend.submit([campaign.spec(1, "ls -l /proc/self/fd")])
    end_of(backend, 1)
    log = (campaign.directory(1) / "log.txt").read_text()
    assert "log.txt" in log
    assert "socket" not in log


def test_large_specification_and_large_result(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    folder = campaign.folder / ("x" * 100)
    outputs = [{"key": "o", "path": f"{folder}/{number}", "name": f"{number}"} for number in range(1000)]
    backend.submit([campaign.spec(1, "for i in $(seq 0 999); do echo 1 > $i; done", outputs=outputs)])
    assert len(result(end_of(backend, 1)[1, 1])["outputs"]) == 1000


def test_many_large_specifications_fill_no_socket_for_good(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    backend.submit([campaign.spec(job, "true # " + "x" * 90_000) for job in range(60)])
    backend.submit([campaign.spec(job, "true # " + "x" * 200_000) for job in range(60, 70)])
    assert {result(event)["state"] for event in end_of(backend, 70).values()} == {"done"}


def test_a_request_larger_than_the_machine_fails_that_job_alone(
    backend: LocalBackend, campaign: Any, end_of: Any
) -> None:
    backend.submit(
        [
            campaign.spec(1, resources={"cpus": 3}),
            campaign.spec(2),
            campaign.spec(3, resources={"cpus": 1, "memory": 2000 * MEGABYTE}),
        ]
    )
    ends = {job: result(event) for (job, _), event in end_of(backend, 3).items()}
    assert [ends[job]["state"] for job in (1, 2, 3)] == ["failed", "done", "failed"]
    assert ends[1]["cause"] == ends[3]["cause"] == "spec"
    assert ends[1]["message"] == "it asks for 3 CPUs, and at most 2 jobs may run at a time here"
    assert ends[3]["message"] == "it asks for 2000 MB of memory, and all jobs here may use 1000 MB"
    assert state_of(campaign.directory(1)) == "absent"


def test_same_attempt_twice(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    backend.submit([campaign.spec(1, "sleep 0.2")])
    with pytest.raises(BackendError, match="attempt 1 at job 1 was submitted before"):
        backend.submit([campaign.spec(1)])
    end_of(backend, 1)
    backend.submit([campaign.spec(1, campaign.count(1))])
    assert isinstance(end_of(backend, 1)[1, 1], Refused)
    assert campaign.ran(1) == 0


OVERLAP = """
ls '{folder}/running' | tee -a '{folder}/seen' >/dev/null; touch '{folder}/running/{job}'
ls '{folder}/running' > '{folder}/with{job}'; sleep 0.15; ls '{folder}/running' >> '{folder}/with{job}'
rm '{folder}/running/{job}'
"""


def run_together(backend: LocalBackend, campaign: Any, end_of: Any, resources: list[dict[str, Any]]) -> list[set[str]]:
    """Run jobs with these requests, and say for each which ran at the same time."""
    (campaign.folder / "running").mkdir()
    backend.submit(
        [
            campaign.spec(job, OVERLAP.format(folder=campaign.folder, job=job), resources=wanted)
            for job, wanted in enumerate(resources)
        ]
    )
    events = end_of(backend, len(resources))
    assert {result(event)["state"] for event in events.values()} == {"done"}
    return [set((campaign.folder / f"with{job}").read_text().split()) for job in range(len(resources))]


def test_job_of_two_cpus_runs_alone(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    wide = {"cpus": 2, "memory": None}
    seen = run_together(backend, campaign, end_of, [{}, wide, {"cpus": 1}, wide, {}])
    assert seen[1] == {"1"}
    assert seen[3] == {"3"}


def test_memory_is_shared_out(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    large, small = {"cpus": 1, "memory": 700 * MEGABYTE}, {"cpus": 1, "memory": 200 * MEGABYTE}
    seen = run_together(backend, campaign, end_of, [large, large, small, large])
    for job in (0, 1, 3):
        assert seen[job] & {"0", "1", "3"} == {str(job)}


def test_as_many_at_once_as_there_are_slots(campaign: Any, end_of: Any) -> None:
    with LocalBackend(5) as backend:
        seen = run_together(backend, campaign, end_of, [{}] * 5)
    assert max(len(together) for together in seen) >= 3


def test_capacity_falls_and_rises(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    before = backend.capacity()
    assert before >= 2
    backend.submit([campaign.spec(1, "sleep 0.1")])
    assert backend.capacity() == before - 1
    end_of(backend, 1)
    after_long = backend.capacity()
    assert 2 <= after_long < before, "long jobs are not"
    backend.submit([campaign.spec(job) for job in range(2, 202)])
    end_of(backend, 200)
    assert backend.capacity() > after_long, "short jobs are worth sending ahead"


def test_cancel_in_every_state(backend: LocalBackend, campaign: Any, until: Any, end_of: Any) -> None:
    jobs = range(30)
    backend.submit([campaign.spec(job, campaign.count(job) + "; sleep 30") for job in jobs])
    until(backend, lambda events: sum(isinstance(event, Started) for event in events) == 2)
    backend.cancel([(job, 1) for job in jobs] + [(99, 1)])
    events = end_of(backend, 30)
    assert {(result(event)["state"], result(event)["cause"]) for event in events.values()} == {("killed", "stopped")}
    assert sorted(campaign.ran(job) for job in jobs) == [0] * 28 + [1] * 2
    assert {state_of(campaign.directory(job)) for job in jobs} <= {"finished", "revoked", "absent"}
    backend.submit([campaign.spec(100)])
    assert result(end_of(backend, 1)[100, 1])["state"] == "done"


def test_cancel_does_not_touch_the_neighbour(backend: LocalBackend, campaign: Any, until: Any, end_of: Any) -> None:
    backend.submit([campaign.spec(1, "sleep 30"), campaign.spec(2, "sleep 0.6")])
    until(backend, lambda events: len(events) == 2)
    backend.cancel([(1, 1)])
    events = end_of(backend, 2)
    assert result(events[1, 1])["cause"] == "stopped"
    assert result(events[2, 1])["cause"] == "ok"


@pytest.mark.parametrize("kill", [True, False])
def test_close(campaign: Any, kill: bool) -> None:
    backend = LocalBackend(2)
    backend.submit([campaign.spec(job, "sleep 0.4") for job in range(4)])
    events = backend.close(kill=kill)
    causes = [event.result["cause"] for event in events if isinstance(event, Finished)]
    assert causes == ["stopped" if kill else "ok"] * 4
    assert backend.close(kill=True) == []


def test_dead_worker_is_noticed_and_replaced(backend: LocalBackend, campaign: Any, until: Any, end_of: Any) -> None:
    pid_file = campaign.folder / "pid"
    script = f"echo $PPID $$ > '{pid_file}.new'; mv '{pid_file}.new' '{pid_file}'; exec sleep 60 > /dev/null 2>&1"
    backend.submit([campaign.spec(1, script), *(campaign.spec(job, "sleep 0.1") for job in range(2, 8))])
    wait_for(pid_file.exists)
    worker, payload = map(int, pid_file.read_text().split())
    os.kill(worker, signal.SIGKILL)
    events = end_of(backend, 7)
    lost = events.pop((1, 1))
    assert isinstance(lost, Lost)
    assert "died" in lost.reason
    assert {result(event)["state"] for event in events.values()} == {"done"}
    assert not is_running(payload)
    assert state_of(campaign.directory(1)) == "dead"


def test_workers_killed_again_and_again(backend: LocalBackend, campaign: Any, end_of: Any) -> None:
    """Kill workers at any moment: each job runs at most once, and each has one last event."""
    kill = "kill -9 $PPID"
    jobs = range(60)
    backend.submit([campaign.spec(j, campaign.count(j) + ("; " + kill if j % 5 == 0 else "")) for j in jobs])
    events = end_of(backend, len(jobs))
    assert all(campaign.ran(job) <= 1 for job in jobs)
    assert all(isinstance(events[job, 1], Lost) for job in jobs if job % 5 == 0)
    assert all(campaign.ran(e.job) == 1 for e in events.values() if isinstance(e, Finished))
    assert sum(isinstance(event, Finished) for event in events.values()) >= 36


def test_workers_that_cannot_start(campaign: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiducial.batch.local._START_WORKER", "raise SystemExit('no licence')")
    backend = LocalBackend(1)
    backend.submit([campaign.spec(1)])
    with pytest.raises(BackendError, match="die as soon as they start") as caught:
        backend.poll(20.0)
    assert "no licence" in caught.value.hint
    monkeypatch.undo()
    assert len(backend.close(kill=True)) == 1


def test_no_slots() -> None:
    with pytest.raises(BackendError, match="0 slots"):
        LocalBackend(0)


def test_memory_of_the_machine() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < machine_memory() <= total
