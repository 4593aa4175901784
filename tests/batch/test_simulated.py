"""PBS and LSF, as far as simulators tell: faults that their commands show, and limits that they enforce."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaigns import fan
from pools.simulated_queue import SimulatedPool
from rigs.lsf import Lsf
from rigs.pbs import OpenPbs, Torque
from rigs.player import WAIT_FOR_FILE, Player, script
from rigs.rig import Rig

SUBMIT = {Lsf: "bsub", OpenPbs: "qsub", Torque: "qsub"}


@pytest.fixture(params=SUBMIT, ids=lambda rig: rig.__name__)
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rig:
    pool = request.getfixturevalue(request.param.fixture)
    for name, value in pool.environment.items():
        monkeypatch.setenv(name, value)
    made: Rig = request.param(pool)
    return made


@pytest.fixture
def pool(rig: Rig) -> Iterator[SimulatedPool]:
    assert isinstance(rig.pool, SimulatedPool)
    yield rig.pool
    rig.pool.quiet()
    rig.pool.clear()


@pytest.fixture
def player(rig: Rig, pool: SimulatedPool, tmp_path: Path) -> Iterator[Player]:
    folder = tmp_path / "run 7: a,b"
    folder.mkdir()
    made = Player(folder, rig)
    yield made
    made.close()


def test_a_submission_whose_answer_is_lost_on_the_way_is_in_the_queue_once(
    player: Player, rig: Rig, pool: SimulatedPool
) -> None:
    before = len(pool.kept()["jobs"]) if (pool.folder / "state.json").exists() else 0
    pool.fault(command=SUBMIT[type(rig)])
    player.create({"a": script('echo once >> "{{ folder }}/log.{{ file }}"; sleep 1', fanout=fan(3))})
    player.play()
    assert player.counts() == {"done": 3}
    assert [(player.campaign.folder / f"log.{n}").read_text() for n in range(3)] == ["once\n"] * 3
    assert len(pool.kept()["jobs"]) == before + 1


def test_a_full_queue_is_waited_for(player: Player, rig: Rig, pool: SimulatedPool) -> None:
    words = {
        Lsf: "User <me>: Pending job threshold reached.",
        OpenPbs: "qsub: would exceed queue workq's per-user limit of jobs in 'Q' state",
        Torque: "qsub: Maximum number of jobs already in queue for user MSG=total number of current user's jobs",
    }
    pool.fault(command=SUBMIT[type(rig)], refuse=words[type(rig)], code=255)
    player.create({"a": script("true", fanout=fan(3))})
    player.play()
    assert player.counts() == {"done": 3}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_words_around_the_answers_do_no_harm(player: Player, rig: Rig, pool: SimulatedPool) -> None:
    if isinstance(rig, Lsf):
        pool.fault(command="none", noise=True)
    player.create({"a": script("sleep 3", fanout=fan(3))})
    player.play()
    assert player.counts() == {"done": 3}


def test_a_wall_time_that_the_system_enforces_is_told(player: Player, rig: Rig) -> None:
    limit = ["-W", "00:00"] if isinstance(rig, Lsf) else ["-l", "walltime=00:00:02"]
    player.create({"a": script("sleep 100")}, site={"extra": limit})
    player.play()
    assert player.last("a")["cause"] == "wall_time"


def test_memory_that_the_system_enforces_is_told(player: Player, rig: Rig) -> None:
    hungry = 'exec python3 -c "import time; x = bytearray(150_000_000); time.sleep(60)"'
    limits = {Lsf: ["-M", "80000"], OpenPbs: ["-l", "select=1:ncpus=1:mem=80mb"], Torque: ["-l", "mem=80mb"]}
    site = {"extra": limits[type(rig)], **({} if isinstance(rig, Lsf) else {"chunk": ""})}
    player.create({"a": script(hungry)}, site=site)
    player.play()
    assert player.last("a")["cause"] == "memory"


def test_jobs_run_on_while_the_server_is_away(player: Player, pool: SimulatedPool) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))})
    player.play(player.has(running=3))
    pool.restart(crash=True)
    player.go()
    player.play()
    assert player.counts() == {"done": 3}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())
