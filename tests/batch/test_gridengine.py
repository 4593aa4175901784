"""Grid Engine itself: what is particular to it, beside what all batch systems do alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaigns import fan
from rigs.gridengine import GridEngine
from rigs.player import WAIT_FOR_FILE, Player, played_on, script


@pytest.fixture
def player(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    """A campaign on Grid Engine, in a folder whose name has what ends a path for qsub."""
    folder = tmp_path / "run 7: a,b"
    folder.mkdir()
    yield from played_on(GridEngine, request, folder)


def test_a_job_that_cannot_be_started_is_held_with_the_reason_and_released(player: Player, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    player.create({"a": script("true", fanout=fan(2))}, site={"extra": ["-o", f"{log}/$TASK_ID.txt"]})
    player.play(player.has(held=2))
    reasons = set(player.backend._system._errors.values())
    assert all("Not a directory" in reason for reason in reasons)
    assert len(reasons) == 2
    log.unlink()
    log.mkdir()
    held = [row["id"] for row in player.rows()]
    player.stage.scheduler.release(player.campaign.id, held, "me")
    player.play()
    assert player.counts() == {"done": 2}
    assert all(len(player.stage.attempts(job)) == 1 for job in held)


@pytest.mark.parametrize("limit", ["h_rt=2", "s_rt=2"])
def test_a_wall_time_that_grid_engine_enforces_is_told(player: Player, limit: str) -> None:
    player.create({"a": script("sleep 100")}, site={"extra": ["-l", limit]})
    player.play()
    assert player.last("a")["cause"] == "wall_time"


def test_a_cpu_time_is_asked_for_and_our_own_limit_speaks_first(player: Player) -> None:
    player.create({"a": script('python3 -c "while True: pass"', resources={"cputime": "2s"})})
    player.play()
    assert player.last("a")["cause"] == "cpu_time"
    number = player.last("a")["backend_id"].split(".")[0]
    account = ("qacct", "-j", number)  # it is written late
    pool = player.rig.pool
    pool.wait_for(lambda: "h_cpu=92" in pool.ask(*account).stdout, f"an account of job {number} with its limit")


def test_jobs_outlive_a_crash_of_the_qmaster(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))})
    player.play(player.has(running=3))
    player.rig.pool.restart(crash=True)
    player.go()
    player.play()
    assert player.counts() == {"done": 3}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_several_cores_are_asked_for_in_the_parallel_environment(player: Player) -> None:
    text = 'echo "$NSLOTS" > "{{ output }}"'
    player.create({"a": script(text, outputs=["slots.txt"], resources={"cpus": 3})})
    player.play()
    assert (player.campaign.folder / "slots.txt").read_text() == "3\n"


def test_the_commands_may_be_in_a_folder_that_path_does_not_name(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = player.rig.pool.folder / "bin"
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    player.create({"a": script("true")}, site={"commands": str(commands)})
    player.play()
    assert player.counts() == {"done": 1}
