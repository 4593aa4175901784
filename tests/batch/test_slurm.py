"""Slurm where it is unlike other batch systems: what nodes, administrators and limits do to jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan
from pools.slurm import SlurmPool
from rigs.player import WAIT_FOR_FILE, Player, played_on, script
from rigs.slurm import Slurm, SlurmWithAccounting
from sites import Site


class SlurmWithLimits(SlurmWithAccounting):
    """Slurm that enforces limits, and kills jobs for their memory."""

    fixture = "slurm_pool_with_limits"


@pytest.fixture(params=[Slurm, SlurmWithAccounting], ids=lambda kind: kind.__name__)
def player(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    """Without accounting and with it."""
    yield from played_on(request.param, request, tmp_path)


@pytest.fixture
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    yield from played_on(SlurmWithLimits, request, tmp_path)


def id_of(player: Player, job: str) -> str:
    """What Slurm calls a job."""
    return str(player.last(job)["backend_id"]).replace(".", "_")


def control(player: Player, *words: str) -> None:
    """What an administrator does."""
    player.rig.pool.run("scontrol", *words)


def causes(player: Player, job: str) -> list[Any]:
    return [each["cause"] for each in player.attempts(job)]


def test_slurm_s_own_time_limit_is_told_though_the_runner_was_only_stopped(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, retry={"max": 0})})
    player.play(player.has(running=1))
    soon = time.strftime("%FT%T", time.localtime(time.time() + 2))
    control(player, "update", f"JobId={id_of(player, 'a')}", f"EndTime={soon}")
    player.play()
    assert causes(player, "a") == ["wall_time"]
    assert "time limit" in player.last("a")["message"]


def test_a_node_that_fails_costs_a_job_no_failure(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3), retry={"max": 2})})
    player.play(player.has(running=3))
    node = player.rig.pool.run("squeue", "-h", "-o", "%N").split()[0]
    control(player, "update", f"nodename={node}", "state=down", "reason=test")
    player.play(lambda: all(len(player.attempts(f"a/0000{n}")) == 2 for n in range(3)))
    player.go()
    player.play()
    assert player.counts() == {"done": 3}
    assert causes(player, "a/00001") == ["lost", "ok"]
    assert "node failed" in player.attempts("a/00001")[0]["message"]


def test_what_somebody_takes_out_before_it_starts_is_not_run_again(player: Player) -> None:
    busy = player.rig.pool.slots
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(busy + 3))})
    player.play(player.has(running=busy))
    waiting = [row["id"] for row in player.rows() if row["state"] == "submitted"]
    names = [player.stage.attempts(job)[-1]["backend_id"] for job in waiting]
    end = time.monotonic() + 4  # so long that the queue was asked meanwhile
    player.play(lambda: time.monotonic() > end)
    player.rig.remove(names[:2])
    player.play(player.has(killed=2))
    attempt = player.stage.attempts(waiting[0])[-1]
    assert (attempt["cause"], attempt["message"]) == ("removed", "it was cancelled before it started")
    player.go()
    player.play()
    assert player.counts() == {"done": busy + 1, "killed": 2}


def test_a_whole_array_that_somebody_cancels_is_not_run_again(player: Player) -> None:
    jobs = player.rig.pool.slots + 3
    player.create({"a": script("sleep 100", fanout=fan(jobs))})
    player.play(player.has(running=2))
    player.rig.pool.run("scancel", id_of(player, "a/00001").partition("_")[0])
    player.play()
    assert player.counts() == {"killed": jobs}
    assert {each["cause"] for row in player.rows() for each in player.stage.attempts(row["id"])} == {"removed"}


def has_stopped(file: Path) -> bool:
    """Whether a file does not grow any more."""
    size = file.stat().st_size
    time.sleep(1)
    return file.stat().st_size == size


def test_a_suspended_job_goes_on(player: Player) -> None:
    player.create({"a": script('while [ ! -e "{{ folder }}/go" ]; do echo >> "{{ folder }}/alive"; sleep 0.1; done')})
    alive = player.campaign.folder / "alive"
    player.play(alive.exists)
    control(player, "suspend", id_of(player, "a"))
    player.rig.pool.wait_for(lambda: has_stopped(alive), "the stop")  # Slurm only orders it
    player.go()
    end = time.monotonic() + 5
    player.play(lambda: time.monotonic() > end)
    assert player.counts() == {"running": 1}
    control(player, "resume", id_of(player, "a"))
    player.play()
    assert causes(player, "a") == ["ok"]


def test_a_job_that_its_partition_cannot_run_is_held_until_somebody_acts(player: Player) -> None:
    player.create({"a": script("true", resources={"walltime": "5m"})}, site={"queue": "short"})
    player.play(player.has(held=1))
    control(player, "update", f"JobId={id_of(player, 'a')}", "TimeLimit=1")
    player.play()
    assert causes(player, "a") == ["ok"]


def test_a_controller_that_was_killed_keeps_running_jobs(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3)), "b": script("true", after="a", fanout=fan(3))})
    player.play(player.has(running=3))
    time.sleep(6)  # it writes down what it knows every 5 s
    player.rig.pool.restart(crash=True)
    player.go()
    player.play()
    assert player.counts() == {"done": 6}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_two_engines_on_one_ledger_leave_each_other_s_jobs_alone(
    slurm_pool: SlurmPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm_pool.environment.items():
        monkeypatch.setenv(name, value)
    site = Site(tmp_path)
    (tmp_path / "fiducial.toml").write_text('[sites.s]\nbackend = "slurm"\nfastest_poll = 1\nslowest_poll = 2\n')
    for name in ("one", "two"):
        said = 'echo {{ file }} >> "{{ folder }}/ran"; sleep 1'
        site.write(f"[steps.a]\nfanout = {{ files = '0-8' }}\nscript = '{said}'\n", name)
    engines = [site.start("--site", "s", name=name, workers=0) for name in ("one", "two")]
    assert [engine.wait(timeout=90) for engine in engines] == [0, 0], site.said("one") + site.said("two")
    for name in ("one", "two"):
        assert sorted((tmp_path / name / "ran").read_text().split()) == list("01234567")
    assert {row["n"] for row in site.rows("SELECT COUNT(*) AS n FROM attempts GROUP BY job")} == {1}
    site.check()


def test_a_node_s_daemon_that_restarts_keeps_running_jobs(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))})
    player.play(player.has(running=3))
    player.rig.pool.restart("slurmd")
    player.go()
    player.play()
    assert player.counts() == {"done": 3}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_a_site_whose_python_is_not_there_is_told(player: Player) -> None:
    player.create({"a": script("true")}, site={"python": "/nosuch/python3"})
    player.play()
    assert causes(player, "a") == ["start"]
    assert "python" in player.last("a")["message"]


def test_a_limit_on_jobs_in_the_queue_lets_a_campaign_wait_in_the_ledger(limited: Player) -> None:
    pool = limited.rig.pool
    pool.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=4")
    try:
        limited.create({"a": script("sleep 1", fanout=fan(10))}, site={"slowest_poll": 3.0})
        seen: list[int] = []
        limited.play(lambda: bool(seen.append(limited.rig.in_queue())) or limited.is_over())
    finally:
        pool.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=-1")
    assert limited.counts() == {"done": 10}
    assert max(seen) <= 4
    assert all(len(limited.stage.attempts(row["id"])) == 1 for row in limited.rows())


def test_what_slurm_itself_kills_for_memory_is_a_matter_of_memory(limited: Player) -> None:
    hungry = 'python3 -c "import time; x = bytearray(200_000_000); time.sleep(20)"'
    limited.create({"a": script(hungry)}, site={"extra": ["--mem=100M"]})
    limited.play()
    assert causes(limited, "a") == ["memory"]


def test_a_partition_that_is_drained_makes_jobs_wait(player: Player) -> None:
    control(player, "update", "partitionname=short", "state=drain")
    try:
        player.create({"a": script("true")}, site={"queue": "short"})
        end = time.monotonic() + 4
        player.play(lambda: time.monotonic() > end)
        assert player.counts() == {"submitted": 1}
        assert "partition not available" in player.backend.trouble
    finally:
        control(player, "update", "partitionname=short", "state=up")
    player.play()
    assert causes(player, "a") == ["ok"]
