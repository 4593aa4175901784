"""HTCondor's own troubles, on a real one: policies, nodes that give up, schedulers that crash, logs that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan
from fiducial.batch.htcondor.render import LOG
from pools.condor import CondorPool
from processes import wait_for
from rigs.htcondor import HTCondor, HTCondorSpool, HTCondorSpoolByBindings, HTCondorTransfer
from rigs.player import WAIT_FOR_FILE, Player, played_on, script


class HTCondorWithPolicies(HTCondor):
    """HTCondor with rules of its own about jobs."""

    fixture = "condor_pool_with_policies"


@pytest.fixture
def player(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    yield from played_on(HTCondor, request, tmp_path)


@pytest.fixture(params=[HTCondor, HTCondorTransfer, HTCondorSpool], ids=lambda kind: kind.__name__)
def anyhow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    """Each way for files to travel."""
    yield from played_on(request.param, request, tmp_path)


@pytest.fixture
def strict(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    yield from played_on(HTCondorWithPolicies, request, tmp_path)


class Commands:
    """HTCondor's commands in a folder of their own, where each notes that it was called."""

    def __init__(self, pool: CondorPool, folder: Path) -> None:
        self.folder = folder / "commands"
        self._notes = folder / "calls"
        self.folder.mkdir()
        self._notes.touch()
        self._bin = pool.prefix.usr / "bin"
        for tool in self._bin.glob("condor_*"):
            self.write(tool.name)

    def write(self, name: str, before: str = ":") -> None:
        """One command, and what is to be done before it."""
        file = self.folder / name
        file.write_text(f'#!/bin/sh\necho {name} >> {self._notes}\n{before}\nexec {self._bin}/{name} "$@"\n')
        file.chmod(0o755)

    @property
    def calls(self) -> Counter[str]:
        return Counter(self._notes.read_text().split())


def id_of(player: Player, job: str) -> str:
    """What HTCondor's commands call a job."""
    return str(player.last(job)["backend_id"]).rpartition("#")[2]


def causes(player: Player, job: str) -> list[Any]:
    return [each["cause"] for each in player.attempts(job)]


def bundle_folders(player: Player) -> list[Path]:
    return sorted((player.campaign.folder / ".fiducial" / ".queue" / "site").glob("fd*"))


# --------------------------------------------------------------------------------------------------------- questions


def test_a_campaign_asks_the_scheduler_nothing(player: Player, tmp_path: Path) -> None:
    commands = Commands(player.rig.pool, tmp_path)
    steps = {"a": script("sleep 1", fanout=fan(30)), "b": script("exit 3", after="a", retry={"max": 1})}
    player.create(steps, site={"commands": str(commands.folder)})
    player.play()
    assert player.counts() == {"done": 30, "failed": 1}
    assert set(commands.calls) == {"condor_submit", "condor_config_val"}
    assert commands.calls["condor_submit"] == 3


def test_the_ledger_names_a_job_as_the_commands_do(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))})
    player.play(player.has(running=3))
    title = player.rig.pool.run("condor_q", id_of(player, "a/00002"), "-af", "JobBatchName", "Args")
    place = player.stage.job(player.campaign, "a/00002")
    assert title.split()[1:] == ["3"]  # the third of its submission
    assert title.startswith(player.campaign.name)
    assert place["state"] == "running"
    player.go()
    player.play()


def test_another_scheduler_by_its_name(player: Player) -> None:
    name = player.rig.pool.run("condor_status", "-schedd", "-af", "Name").strip()
    player.create({"a": script("sleep 1", fanout=fan(2))}, site={"schedd": name})
    player.play()
    assert player.counts() == {"done": 2}
    assert str(player.last("a/00001")["backend_id"]).startswith(f"{name}#")


@pytest.mark.parametrize("bindings", [False, True])
def test_a_scheduler_that_the_pool_does_not_know_is_none_to_wait_for(player: Player, bindings: bool) -> None:
    player.create({"a": script("true")}, site={"schedd": "nosuch.example.org", "bindings": bindings})
    player.play(seconds=30)
    assert player.counts() == {"failed": 1}
    said = player.last("a")["message"]
    assert "the pool knows no scheduler 'nosuch.example.org'" in said
    assert player.rig.pool.run("condor_status", "-schedd", "-af", "Name").strip() in said
    assert player.rig.in_queue() == 0  # nor at this machine's own


# ---------------------------------------------------------------------------------------------------------- policies


def test_a_hold_for_memory_is_tried_again_with_more(strict: Player) -> None:
    hungry = 'python3 -c "import time; x = bytearray(150_000_000); time.sleep(8)"'
    strict.create({"a": script(hungry, resources={"memory": "400 MB"}, retry={"max": 1, "memory_factor": 4})})
    strict.play()
    assert causes(strict, "a") == ["memory", "ok"]
    assert "over its memory limit" in strict.attempts("a")[0]["message"]


def test_a_job_that_outlasts_its_flavour_ran_too_long(player: Player) -> None:
    player.create({"a": script("sleep 60")}, site={"queue": "espresso"})  # 20 s here
    player.play()
    assert causes(player, "a") == ["wall_time"]
    assert "longer than its MaxRuntime of 20 s" in player.last("a")["message"]


def test_a_scheduler_that_takes_few_jobs_gets_few_at_a_time(strict: Player) -> None:
    strict.create({"a": script("true", fanout=fan(100), resources={"memory": "400 MB"})}, site={"fastest_poll": 2.0})
    strict.play()
    assert strict.counts() == {"done": 100}
    assert all(len(strict.stage.attempts(row["id"])) == 1 for row in strict.rows())


# --------------------------------------------------------------------------------------------- nodes and schedulers


def test_a_node_that_gives_a_job_up_loses_it_at_once(player: Player) -> None:
    text = f'if [ "$FIDUCIAL_ATTEMPT" = 1 ]; then {WAIT_FOR_FILE}; fi'
    player.create({"a": script(text)}, site={"result_grace": 1.0})
    player.play(player.has(running=1))
    player.rig.pool.run("condor_vacate_job", id_of(player, "a"))
    player.play()
    assert causes(player, "a") == ["lost", "ok"]


def test_where_files_travel_htcondor_itself_may_start_a_job_again(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for player in played_on(HTCondorTransfer, request, tmp_path):
        player.create({"a": script('echo begun >> "{{ folder }}/begun"; ' + WAIT_FOR_FILE)})
        begun = player.campaign.folder / "begun"
        player.play(player.has(running=1))
        player.rig.pool.run("condor_vacate_job", id_of(player, "a"))
        player.play(lambda begun=begun: begun.read_text().count("begun") == 2)
        player.go()
        player.play()
        assert causes(player, "a") == ["ok"]


def test_running_jobs_outlive_the_crash_of_a_scheduler(anyhow: Player) -> None:
    anyhow.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))}, site={"queue": "workday"})
    anyhow.play(anyhow.has(running=3))
    anyhow.rig.pool.restart(crash=True)
    anyhow.go()
    anyhow.play()
    assert anyhow.counts() == {"done": 3}
    assert all(len(anyhow.stage.attempts(row["id"])) == 1 for row in anyhow.rows())


# --------------------------------------------------------------------------------------------------- logs that fail


@pytest.mark.parametrize(
    "spoil",
    [lambda log: log.unlink(), lambda log: (log.unlink(), log.symlink_to("/dev/full"))],
    ids=["removed", "on a full disk"],
)
def test_jobs_whose_log_fails_are_asked_about(player: Player, spoil: Callable[[Path], Any]) -> None:
    dies = 'if [ "$FIDUCIAL_ATTEMPT" = 1 ] && [ {{ file }} = 1 ]; then kill -9 $PPID; sleep 0.5; kill -9 $$; fi'
    player.create({"a": script(f"{WAIT_FOR_FILE}; {dies}", fanout=fan(3))}, site={"result_grace": 1.0})
    player.play(player.has(running=3))
    [folder] = bundle_folders(player)
    spoil(folder / LOG)
    player.go()
    player.play()
    assert player.counts() == {"done": 3}
    assert causes(player, "a/00001") == ["lost", "ok"]
    assert causes(player, "a/00002") == ["ok"]


# ------------------------------------------------------------------------------------------------- files that travel


def test_an_input_that_is_not_there_fails_by_its_name(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for player in played_on(HTCondorTransfer, request, tmp_path):
        player.create({"a": script("true", inputs=[str(tmp_path / "no such.raw")])})
        player.play()
        assert causes(player, "a") == ["input"]
        assert "could not be brought to the node" in player.last("a")["message"]


@pytest.mark.parametrize("kind", [HTCondorTransfer, HTCondorSpool, HTCondorSpoolByBindings])
def test_inputs_outputs_and_logs_travel(request: pytest.FixtureRequest, tmp_path: Path, kind: type[HTCondor]) -> None:
    raw = tmp_path / "raw data ü.txt"
    raw.write_text("seen\n")
    for player in played_on(kind, request, tmp_path):
        text = 'echo said; cat "{{ inputs[0] }}" > "{{ output }}"; pwd >> "{{ output }}"'
        player.create({"a": script(text, fanout=fan(2), inputs=[str(raw)], outputs=["{{ file }} ü.txt"])})
        player.play()
        seen, where = (player.campaign.folder / "1 ü.txt").read_text().splitlines()
        assert seen == "seen"
        assert "/execute/" in where
        job = player.stage.job(player.campaign, "a/00001")
        log = player.campaign.folder / ".fiducial" / "a" / "00" / f"{job['key']}.1" / "log.txt"
        assert "said" in log.read_text()


# ---------------------------------------------------------------------------------------------------- killed engines


def test_an_engine_that_is_killed_while_condor_submit_runs_submits_nothing_twice(
    condor_pool: CondorPool, tmp_path: Path
) -> None:
    commands = Commands(condor_pool, tmp_path)
    commands.write("condor_submit", f"sleep 3; echo over >> {tmp_path}/over")
    (tmp_path / "fiducial.toml").write_text(
        f'[sites.farm]\nbackend = "htcondor"\nbindings = false\nfastest_poll = 1\ncommands = "{commands.folder}"\n'
    )
    (tmp_path / "flow.toml").write_text(
        'name = "flow"\n[steps.a]\nscript = "echo once >> {{ folder }}/log.{{ file }}; sleep 1"\n'
        'fanout = { list = [0, 1, 2, 3], as = "file" }\n'
    )
    environment = condor_pool.complete_environment() | {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "fiducial", "run", "flow.toml", "--site", "farm", "--quiet", "--folder", "out"]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment)
    wait_for(lambda: commands.calls["condor_submit"] == 1, "condor_submit", 30)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "over").exists(), "it was not killed in time"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / "out" / f"log.{n}").read_text() for n in range(4)] == ["once\n"] * 4
    assert commands.calls["condor_submit"] == 1
