"""Outputs that have to go to another file system, or have no room there."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the job's."""
    folder = Path("/dev/shm") / f"fiducial-test-{os.getpid()}"
    folder.mkdir()
    try:
        if folder.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is no file system of its own here")
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_to_another_file_system(job: Any, elsewhere: Path) -> None:
    final = job.output(path=elsewhere / "new" / "ö ut")
    result = job.payload("head -c 3000000 /dev/urandom > out; chmod 640 out; cksum < out").run()
    assert result["state"] == "done", result["message"]
    assert [path.name for path in final.parent.iterdir()] == ["ö ut"]
    assert final.stat().st_mode & 0o777 == 0o640
    assert subprocess.run(["cksum"], input=final.read_bytes(), capture_output=True).stdout.decode() == job.log


def test_rest_of_an_interrupted_copy_is_removed(job: Any) -> None:
    final = job.output()
    final.parent.mkdir()
    final.with_name("out.tmp-7.1").write_text("half")
    final.with_name("out.tmp-8.1").write_text("another job's")
    assert job.payload("echo 1 > out").run()["state"] == "done"
    assert {path.name for path in final.parent.iterdir()} == {"out", "out.tmp-8.1"}


def test_scratch_on_another_file_system(job: Any, elsewhere: Path) -> None:
    final = job.output()
    assert job.payload("echo 1 > out", scratch=str(elsewhere)).run()["state"] == "done"
    assert final.read_text() == "1\n"
    assert list(elsewhere.iterdir()) == []


def test_disk_is_full(job: Any, small_disk: Path) -> None:
    final = job.output(path=small_disk / "out")
    result = job.payload("head -c 2000000 /dev/zero > out").run()
    assert (result["state"], result["cause"]) == ("failed", "publish")
    assert "No space left on device" in result["message"]
    assert list(small_disk.iterdir()) == []
    assert not final.exists()


def test_file_that_is_larger_than_allowed(job: Any, elsewhere: Path) -> None:
    """The same without root: the runner may not write as much as the payload's cat did before it was limited."""
    big = job.folder / "big"
    big.write_bytes(bytes(200_000))
    job.output(path=elsewhere / "out")
    job.payload(f'ln "{big}" out')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        process = job.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    process.communicate(timeout=30)
    result = job.result()
    assert (result["state"], result["cause"]) == ("failed", "publish")
    assert "File too large" in result["message"]
    assert list(elsewhere.iterdir()) == []


def test_folder_in_the_place_of_an_output(job: Any) -> None:
    final = job.output()
    (final / "full").mkdir(parents=True)
    result = job.payload("echo 1 > out").run()
    assert (result["state"], result["cause"]) == ("failed", "publish")
    assert str(final) in result["message"]


def test_file_in_the_place_of_the_folders(job: Any) -> None:
    (job.folder / "attempts").write_text("")
    process = job.payload("true").start()
    errors = process.communicate()[1].decode()
    assert process.returncode == 76
    assert "the attempt cannot be claimed" in errors
