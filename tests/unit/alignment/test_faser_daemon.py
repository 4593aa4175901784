"""The daemon that came before is noticed: by its process, or by a log that grows."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fiducial.alignment.faser.daemon import LOG, Daemon, Story, find_daemons, must_not_work_here, read_log
from fiducial.core.errors import StateError

NAME = "Y2023_R011705_F450-500"
OPTIONS = ["-y", "2023", "-r", "11705", "--files=450-500", "-i", "10"]


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    return folder


def process(processes: Path, pid: int, folder: Path, *words: str) -> None:
    folder.mkdir(exist_ok=True)
    (processes / str(pid)).mkdir()
    (processes / str(pid) / "cmdline").write_text("".join(f"{word}\0" for word in words))
    (processes / str(pid) / "cwd").symlink_to(folder)


@pytest.mark.parametrize(
    "words",
    [
        ["python3", "auto_iter.py", *OPTIONS],
        ["/usr/bin/python3.11", "-u", "/repo/auto_iter.py", *OPTIONS],
        ["./auto_iter.py", *OPTIONS],
    ],
)
def test_a_process_is_told_with_its_folder_and_how_to_stop_it(processes: Path, words: list[str]) -> None:
    work = processes.parent / "repo"
    process(processes, 4711, work, *words)
    (daemon,) = find_daemons([], processes)
    assert (daemon.pid, daemon.folder, daemon.name) == (4711, work, NAME)
    assert f"process 4711 in {work}, at {NAME}" in daemon.told
    assert "kill 4711" in daemon.stop
    with pytest.raises(StateError, match="where this alignment lies") as caught:
        must_not_work_here([daemon], [work / NAME])
    assert "kill 4711 stops it" in caught.value.hint
    assert "--despite-daemon" in caught.value.hint
    must_not_work_here([daemon], [work / "Y2023_R011705_F450-501", work.parent / NAME])


@pytest.mark.parametrize(
    "words",
    [
        ["vim", "auto_iter.py"],
        ["python3", "dag_manager.py", "auto_iter.py"],
        ["python3", "-m", "pytest"],
        ["grep", "auto_iter.py"],
        ["python3"],
        [],
    ],
)
def test_what_only_names_it_is_none(processes: Path, words: list[str]) -> None:
    process(processes, 12, processes.parent / "repo", *words)
    assert find_daemons([], processes) == []


def test_one_whose_options_are_not_known_may_be_at_anything(processes: Path) -> None:
    process(processes, 12, processes.parent / "repo", "python3", "auto_iter.py", "--continue")
    (daemon,) = find_daemons([], processes)
    assert daemon.name == ""
    assert daemon.works_in([processes.parent / "repo" / "anything"])
    assert not daemon.works_in([processes.parent / "elsewhere" / "anything"])


def test_one_that_ends_meanwhile_is_none(processes: Path) -> None:
    (processes / "99").mkdir()
    (processes / "self").mkdir()
    assert find_daemons([], processes) == []


def test_a_log_that_grows_tells_of_one_elsewhere(processes: Path, tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text("Starting iteration: 3\n")
    (daemon,) = find_daemons([tmp_path, tmp_path / "nothing"], processes)
    assert daemon == Daemon(None, tmp_path, log=log)
    assert "is still growing" in daemon.told
    assert daemon.works_in([tmp_path / NAME])
    process(processes, 5, tmp_path, "python3", "auto_iter.py", *OPTIONS)
    assert [found.pid for found in find_daemons([tmp_path], processes)] == [5]  # its log is no second one
    os.utime(log, (time.time() - 3600,) * 2)
    assert [found.pid for found in find_daemons([tmp_path], processes)] == [5]


@pytest.mark.parametrize(
    ("text", "story"),
    [
        ("", None),
        ("nothing of the kind\n", None),
        ("Starting iteration: 1\niter: 1, cluster: 100, jobs: 50.\nStarting iteration: 2\n", Story(2)),
        ("Starting iteration: 1\niter: 1, cluster: 100, jobs: 50.\n\nStarting iteration: 2\n"
         "iter: 2, cluster: 123, jobs: 49.\nwaiting\n", Story(2, 123, 49)),
    ],
)  # fmt: skip
def test_its_log_is_read(tmp_path: Path, text: str, story: Story | None) -> None:
    log = tmp_path / LOG
    log.write_text(text)
    assert read_log(log) == story
    assert read_log(tmp_path / "none") is None
