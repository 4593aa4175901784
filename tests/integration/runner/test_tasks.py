"""The runner as a task of an array that nobody looks after: tries again in its allocation, or leaves it to a second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fiducial.runner import runner

EXIT, MEMORY = runner.EXIT_CODES["exit"], runner.EXIT_CODES["memory"]
HUNGRY = "python3 -c 'import time; x = b\"x\" * (80 << 20); time.sleep(1)'; echo x > out"


class Group:
    """The jobs ``a`` and ``b`` of a group, with the runner, and marks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("begun", "ended"):
            (folder / "marks" / name).mkdir(parents=True)
        (folder / "runner.py").write_text(Path(runner.__file__).read_text())
        lines = [json.dumps({"key": key, "values": {"item": key}}) + "\n" for key in ("a", "b")]
        (folder / "g.jobs").write_text("".join(lines))
        width = runner.INDEX_WIDTH - 1
        (folder / "g.index").write_text(f"{0:<{width}}\n{len(lines[0]):<{width}}\n")

    def write(self, script: str, **retry: Any) -> None:
        job = {
            "format": 1,
            "ledger": "5f0c",
            "name": "c/g/01/@{key}",
            "script": script.split("\n"),
            "directory": "@{folder}/.fiducial/g/01/@{key}.@{attempt}",
            "outputs": [{"key": "out", "path": "@{folder}/out/@{key}", "name": "out"}],
        }
        policy = {"most": 2, "causes": {}, "final_exit_codes": [9], **retry}
        about = {"format": 1, "folder": ".", "jobs": "g.jobs", "retry": policy, "tolerate": 0, "job": job}
        (self.folder / "g.json").write_text(json.dumps(about))

    def run(self, *words: str, place: int = 2, run: int = 1) -> int:
        command = [sys.executable, str(self.folder / "runner.py"), "--node", "g.json", "--place", str(place)]
        command += ["--run", str(run), "--marks", str(self.folder / "marks"), *words]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)
        self.said = done.stdout + done.stderr
        return done.returncode

    def causes(self, key: str = "b") -> list[str]:
        found = sorted((self.folder / ".fiducial/g/01").glob(f"{key}.*/result.json"))
        return [json.loads(path.read_text())["cause"] for path in found]

    def marks(self, kind: str) -> list[str]:
        return sorted(path.name for path in (self.folder / "marks" / kind).iterdir())


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(tmp_path / "Gruppe ø 1")


def test_a_place_is_a_line(group: Group) -> None:
    group.write("echo @{item} @{attempt} > out")
    assert group.run() == 0
    assert (group.folder / "out/b").read_text() == "b 1\n"
    assert group.marks("begun") == group.marks("ended") == ["b.1"]
    assert group.run() == 0
    assert "it is done already" in group.said
    assert group.causes() == ["ok"]


def test_it_is_tried_again_in_its_allocation(group: Group) -> None:
    group.write("[ @{attempt} = 3 ] || exit 5\necho > out")
    assert group.run() == 0
    assert group.causes() == ["exit", "exit", "ok"]
    assert group.marks("ended") == ["b.1", "b.2", "b.3"]


def test_no_more_often_than_its_step_says(group: Group) -> None:
    group.write("exit 5", causes={"exit": 1})
    assert group.run() == runner.NO_RETRY
    assert group.causes() == ["exit", "exit"]
    assert group.run("--again") == runner.NO_RETRY
    assert "it has failed for good" in group.said
    assert group.run(run=2) == runner.NO_RETRY  # another submission, with fresh retries
    assert len(group.causes()) == 4


def test_no_longer_than_its_allocation(group: Group) -> None:
    group.write("sleep 0.7; exit 5", wall_time=[1.2, 2.4])
    assert group.run("--within", "1") == EXIT
    assert group.causes() == ["exit"]


def test_more_memory_is_for_the_second_array(group: Group) -> None:
    group.write(HUNGRY, memory=[50 << 20, 400 << 20])
    assert group.run("--memory", str(50 << 20)) == MEMORY
    assert group.causes() == ["memory"]
    assert group.run("--memory", str(400 << 20), "--again") == 0
    assert group.causes() == ["memory", "ok"]


def test_where_the_second_array_has_too_little_it_is_over(group: Group) -> None:
    group.write(HUNGRY, memory=[50 << 20, 400 << 20])
    assert group.run("--memory", str(50 << 20)) == MEMORY
    assert group.run("--memory", str(60 << 20), "--again") == runner.NO_RETRY
    assert group.causes() == ["memory", "memory"]


def test_what_was_taken_out_of_the_queue_is_not_begun_by_the_second_array(group: Group) -> None:
    group.write("echo > out")
    assert group.run("--again") == runner.NO_RETRY
    assert "taken out of the queue before it began" in group.said
    (group.folder / "marks/begun/b.1").touch()  # and then its node died
    assert group.run("--again") == 0


def test_what_was_stopped_stays_so_but_for_a_requeue(group: Group) -> None:
    group.write("[ @{attempt} = 1 ] && kill -TERM $PPID && sleep 20\necho > out")
    assert group.run() == runner.EXIT_CODES["stopped"]
    assert group.run("--again") == runner.NO_RETRY
    assert "it was stopped" in group.said
    assert group.causes() == ["stopped"]
    assert group.run() == 0
    assert group.causes() == ["stopped", "ok"]
