"""Whoever claims first has it, and nobody has it twice."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.claims import state_of
from fiducial.core.errors import BackendError
from fiducial.runner import runner


def test_second_runner_is_refused(job: Any) -> None:
    job.payload(f'echo ran >> "{job.folder}/count"').run()
    before = (job.directory / "result.json").read_bytes()
    process = job.start()
    assert process.communicate() == (None, b"")
    assert process.returncode == runner.EXIT_CODES["refused"]
    assert (job.folder / "count").read_text() == "ran\n"
    assert (job.directory / "result.json").read_bytes() == before
    assert [path.name for path in job.directory.parent.iterdir()] == ["7.2"]


def test_revoked_job_is_refused(job: Any) -> None:
    assert runner.revoke(str(job.directory))
    assert runner.revoke(str(job.directory))
    process = job.payload(f'touch "{job.folder}/ran"').start()
    process.communicate()
    assert process.returncode == runner.EXIT_CODES["refused"]
    assert not (job.folder / "ran").exists()


def test_started_job_cannot_be_revoked(job: Any) -> None:
    job.payload("true").run()
    assert not runner.revoke(str(job.directory))
    assert [path.name for path in job.directory.parent.iterdir()] == ["7.2"]


def test_empty_directory_is_taken(job: Any) -> None:
    job.directory.mkdir(parents=True)
    assert job.payload("true").run()["state"] == "done"


def test_many_runners_at_once(job: Any) -> None:
    job.payload(f'echo ran >> "{job.folder}/count"')
    processes = [job.start() for _ in range(6)]
    for process in processes:
        process.communicate()
    codes = sorted(process.returncode for process in processes)
    assert codes == [0] + 5 * [runner.EXIT_CODES["refused"]]
    assert (job.folder / "count").read_text() == "ran\n"


RACER = """
import os, sys
sys.path.insert(0, sys.argv[1])
import runner
for line in sys.stdin:
    directory = line.rstrip("\\n")
    try:
        runner.claim(directory).release()
        print("claimed", flush=True)
    except runner.Refused:
        print("refused", flush=True)
"""


def test_claims_and_revocations_race(tmp_path: Path) -> None:
    """Two processes claim, two threads revoke, all at once, many times: one claim, or a revocation, never both."""
    command = [sys.executable, "-c", RACER, str(Path(runner.__file__).parent)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outcomes = set()
    try:
        for number in range(300):
            outcomes.add(_race(racers, tmp_path / f"{number}.1", number % 3))
    finally:
        for racer in racers:
            racer.communicate()
    assert outcomes == {"claimed", "revoked"}, "a race that always ends alike is none"


def _race(racers: list[Any], directory: Path, lead: int) -> str:
    revoked: list[bool] = []
    threads = [threading.Thread(target=lambda: revoked.append(runner.revoke(str(directory)))) for _ in range(2)]
    if lead == 0:
        threads[0].start()
    for racer in racers:
        racer.stdin.write(f"{directory}\n")
        racer.stdin.flush()
    for thread in threads[1 if lead == 0 else 0 :]:
        thread.start()
    answers = sorted(racer.stdout.readline().strip() for racer in racers)
    for thread in threads:
        thread.join()
    if revoked == [True, True]:
        assert answers == ["refused", "refused"]
        return "revoked"
    assert revoked == [False, False]
    assert answers == ["claimed", "refused"]
    return "claimed"


def test_file_system_that_locks_no_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS: the lock is then on a file in the directory."""
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "as NFS says")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    directory = tmp_path / "1.1"
    held = runner.claim(str(directory))
    assert state_of(directory) == "alive"
    with pytest.raises(runner.Refused):
        runner.claim(str(directory))
    held.release()
    assert state_of(directory) == "dead"
    assert [path.name for path in tmp_path.iterdir()] == ["1.1"]


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    directory = tmp_path / "1.1"
    runner.claim(str(directory)).release()
    with pytest.raises(runner.Refused):
        runner.claim(str(directory))
    with pytest.raises(BackendError, match="has no locks"):
        state_of(directory)
