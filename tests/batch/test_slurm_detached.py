"""Whole campaigns that a real Slurm is given at once: converged early, failed, cancelled, killed on the way."""

from __future__ import annotations

import getpass
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pools.slurm import SlurmPool
from processes import wait_for
from sites import Site
from tune import FIDUCIAL, TUNE, Place, traces_agree

SITE = """
[sites.cluster]
backend = "slurm"
memory = "300 MB"
fastest_poll = 0.5
slowest_poll = 1
"""
#: An sbatch that is killed with who called it, before or after it has handed over its array.
DEADLY = """#!/bin/bash
count=$(($(cat {folder}/count 2>/dev/null) + 1))
echo $count > {folder}/count
if [ $count = {at} ] && [ {when} = before ]; then kill -9 $PPID; exit 1; fi
{sbatch} "$@"
if [ $count = {at} ]; then kill -9 $PPID; fi
"""


def made(folder: Path, pool: SlurmPool) -> Iterator[Place]:
    folder = folder / "ein Ort ø"
    folder.mkdir()
    place = Place(Site(folder), pool)
    place.site.write(TUNE, "tune")
    (folder / "fiducial.toml").write_text(SITE)
    try:
        yield place
        if place.site.ledger.exists():
            place.site.check()
    finally:
        pool.clear()


@pytest.fixture
def place(tmp_path: Path, slurm_pool: SlurmPool) -> Iterator[Place]:
    yield from made(tmp_path, slurm_pool)


@pytest.fixture
def accounted(tmp_path: Path, slurm_pool_with_accounting: SlurmPool) -> Iterator[Place]:
    yield from made(tmp_path, slurm_pool_with_accounting)


def give(place: Place, *words: str, code: int = 0) -> str:
    return place.fiducial("run", "tune.toml", "--site", "cluster", "--detached", *words, code=code)


def queue(place: Place, *words: str) -> list[str]:
    """What the pool knows of the campaign's jobs: array, place, state."""
    said = place.pool.run("squeue", "-h", "-r", "-o", "%j %K %T", *words)
    runs = (place.folder / "tune/.fiducial/.detached/runs").glob("*/run.json")
    ours = {array["token"]: array["name"] for run in runs for array in json.loads(run.read_text())["arrays"]}
    lines = [line.split() for line in str(said).splitlines()]
    tokens = [(name.rpartition(".")[2], at, state) for name, at, state in lines]
    return [f"{ours[token]} {at} {state}" for token, at, state in tokens if token in ours]


def wait_until_over(place: Place) -> None:
    """Until nothing of the campaign is in the queue, which is not asked all the time."""
    wait_for(lambda: not (time.sleep(0.3) or queue(place)), "an empty queue", 60)


def wait_for_the_first(place: Place) -> None:
    """Until the job runs that its gate makes wait."""
    wait_for((place.folder / "tune/.fiducial/reco/01/00000.1").exists, "the job that waits", 30)


def test_a_campaign_that_nobody_of_ours_looks_after(place: Place) -> None:
    """It converges in its second iteration of three; the third is never begun, and what comes behind is."""
    waiting = place.gate(1, 0, wait=True)
    told = json.loads(give(place, "--json"))
    assert len(told["submitted"]) == told["arrays"]
    assert "Slurm was given the campaign" in place.refused(5, "run", "tune.toml", "--site", "cluster", "--detached")
    assert "is Slurm's" in place.refused(5, "run", "tune.toml")
    assert "at work" in place.fiducial("campaign", "show", "tune")
    waiting.unlink()
    wait_until_over(place)
    campaign = place.folder / "tune"
    assert (campaign / "report.txt").read_text().split() == ["4", "8"]
    assert "2 of at most 3 iterations, converged" in (campaign / "summary.txt").read_text()
    ended = queue(place, "-t", "all")
    assert [line for line in ended if "_03" in line and "CANCELLED" not in line] == []
    assert [line for line in ended if ".again" in line and "CANCELLED" not in line] == []
    assert "iter03.begin 1 FAILED" in ended  # by which Slurm knows that it is enough

    found = json.loads(place.fiducial("follow", "tune", "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    assert found["slurm"]["state"] == "done"
    assert place.states() == {"reco": {"done": 8}, "fit": {"done": 2}, "report": {"done": 1}}
    assert place.job("tune/reco/01/00002")["attempt"] == 2  # the second in the same allocation
    assert "Slurm      ended, all is done" in place.fiducial("campaign", "show", "tune")
    traces_agree(place, campaign)
    assert "has done all" in place.refused(5, "campaign", "resume", "tune")


def test_what_was_begun_here_is_given_to_slurm(place: Place) -> None:
    gate = place.gate(2, 1)
    place.fiducial("run", "tune.toml", "--workers", "2", "--quiet", code=1)
    gate.unlink()
    to_slurm = ("campaign", "export", "tune", "--to", "slurm", "--site", "cluster")
    plan = json.loads(place.fiducial(*to_slurm, "--dry-run", "--json"))
    assert plan["left"] == 8  # one of iteration 2 and its fit, all of iteration 3, the report
    assert plan["arrays"][0] == {"name": "reco_02", "tasks": "2", "after": []}
    told = [line.split() for line in place.fiducial(*to_slurm, "--dry-run").splitlines()]
    assert ["reco_02.again", "2", "reco_02"] in told
    assert not (place.folder / "tune/.fiducial/.detached").exists()
    given = json.loads(place.fiducial(*to_slurm, "--submit", "--json"))
    assert given["arrays"] == len(plan["arrays"])
    assert "Slurm was given the campaign" in place.refused(5, *to_slurm, "--dry-run")
    found = json.loads(place.fiducial("follow", "tune", "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    assert place.job("tune/reco/02/00001")["attempt"] == 2
    assert (place.folder / "tune/report.txt").read_text().split() == ["4", "8"]
    traces_agree(place, place.folder / "tune")


def test_what_fails_ends_all_behind_it_and_is_resumed(accounted: Place) -> None:
    place = accounted
    gate = place.gate(1, 1)
    give(place)
    said = place.fiducial("follow", "tune", code=1)
    assert "campaign tune failed: step reco of iteration 1: 1 failed of 4 jobs" in said
    assert "tune/reco/01/00001: failed: the payload ended with exit code 9" in said
    assert "| the gate is shut" in said
    assert "fiducial campaign resume tune submits what is left" in said
    wait_until_over(place)
    assert place.job("tune/reco/01/00001")["attempt"] == 1  # no retry would have mended it
    assert "failed" in (place.folder / "tune/summary.txt").read_text()

    gate.unlink()
    assert "13 jobs are left" in place.fiducial("campaign", "resume", "tune", "--dry-run")
    waiting = place.gate(2, 0, wait=True)
    place.fiducial("campaign", "resume", "tune")
    assert "Slurm is at work" in place.refused(5, "campaign", "resume", "tune")
    waiting.unlink()
    found = json.loads(place.fiducial("follow", "tune", "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    assert [place.job(f"tune/reco/01/0000{n}")["attempt"] for n in (0, 1, 2)] == [1, 2, 2]
    traces_agree(place, place.folder / "tune")


@pytest.mark.parametrize(("pool", "when"), [("place", "before"), ("accounted", "after")])
def test_killed_between_two_arrays_and_repeated(pool: str, when: str, request: pytest.FixtureRequest) -> None:
    """Whether or not Slurm took the array at which we died, each is there once, and nothing ran before all were."""
    place: Place = request.getfixturevalue(pool)
    place.gate(1, 0, wait=True)
    commands = place.folder.parent / "commands"
    commands.mkdir()
    for name in ("squeue", "sacct", "scontrol", "scancel"):
        (commands / name).symlink_to(which(place, name))
    script = DEADLY.format(folder=commands, at=3, when=when, sbatch=which(place, "sbatch"))
    (commands / "sbatch").write_text(script)
    (commands / "sbatch").chmod(0o755)
    settings = place.folder / "fiducial.toml"
    settings.write_text(f'{SITE}commands = "{commands}"\n')
    died = subprocess.run(
        [FIDUCIAL, "run", "tune.toml", "--site", "cluster", "--detached"],
        cwd=place.folder, env=place.environment, capture_output=True, check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    names = sorted({line.split()[0] for line in queue(place)})
    assert len(names) == (2 if when == "before" else 3)
    assert not [line for line in queue(place) if not line.endswith("PENDING")]
    assert "not all is submitted" in place.fiducial("campaign", "show", "tune")
    told = json.loads(give(place, "--json"))
    arrays = {line.split()[0] for line in queue(place, "-t", "all")}
    assert len(arrays) == told["arrays"] == len(set(told["submitted"]))
    listed = str(place.pool.run("squeue", "-h", "-t", "all", "-o", "%F %Z")).splitlines()
    ours = {line.split()[0] for line in listed if f"{place.folder}/" in line}
    assert set(told["submitted"]) == ours
    said = place.fiducial("campaign", "cancel", "tune")
    assert f"{told['arrays']} job arrays are taken out of Slurm's queue" in said
    wait_until_over(place)
    assert not (place.folder / "tune/summary.txt").exists()
    assert "cancelled" in place.fiducial("campaign", "show", "tune")


def which(place: Place, command: str) -> str:
    found = subprocess.run(["which", command], env=place.environment, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_cancelled_behind_our_back(place: Place) -> None:
    waiting = [place.gate(1, file, wait=True) for file in (0, 3)]
    give(place)
    wait_for_the_first(place)
    place.fiducial("follow", "tune", "--once", "--quiet")
    shown: dict[str, Any] = place.job("tune/reco/01/00000")
    assert shown["state"] == "running"
    place.pool.run("scancel", str(shown["attempts"][-1]["backend_id"]))
    waiting[1].unlink()
    said = place.fiducial("follow", "tune", code=1)
    assert "tune/reco/01/00000: killed" in said
    wait_until_over(place)
    assert place.states()["reco"] == {"done": 3, "killed": 1}
    assert place.job("tune/reco/01/00000")["attempt"] == 1  # nobody has begun it again

    place.fiducial("campaign", "resume", "tune")
    wait_for((place.folder / "tune/.fiducial/reco/01/00000.2").exists, "the job that waits", 30)
    place.pool.run("scancel", "-u", getpass.getuser())
    wait_until_over(place)
    said = place.fiducial("follow", "tune", code=1)
    assert "nothing is in the queue any more" in said
    assert "was cancelled" in said
    traces_agree(place, place.folder / "tune")
