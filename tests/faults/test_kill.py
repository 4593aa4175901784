"""Kill -9 of engine, workers or everything, at any moment: the campaign ends, and nothing is done twice."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from sites import Site, kill

LOG = logging.getLogger(__name__)
JOBS, ITERATIONS, ROUNDS = 40, 3, 26

# Each line is one write to a file opened with O_APPEND, so lines of several payloads never mix. The lock is held until
# the payload and all that it started are dead.
PAYLOAD = """#!/bin/bash
say() { echo "$1 $FIDUCIAL_JOB $FIDUCIAL_ATTEMPT $(date +%s.%N)" >>$RECORDS; }
exec 9>>"$RECORDS.$FIDUCIAL_JOB"
flock -n 9 || say overlap
say start
echo "$FIDUCIAL_JOB" >"$1"
sleep 0.$((RANDOM % 2))$((RANDOM % 9))
[ -z "$2" ] || echo '{"shift": 1.0}' >"$FIDUCIAL_METRICS"
say end
"""

WORKFLOW = """
[iteration]
max = {iterations}
until = "fit.shift < 0.1"

[steps.raw]
fanout = {{ files = "0-4" }}
command = ["bash", "{payload}", "{{{{ output }}}}"]
outputs = ["raw_{{{{ file }}}}.txt"]

[steps.reco]
iterate = true
after = "raw"
fanout = {{ files = "0-{jobs}" }}
command = ["bash", "{payload}", "{{{{ output }}}}"]
outputs = ["{{{{ iteration }}}}/reco_{{{{ file }}}}.txt"]

[steps.fit]
iterate = true
after = "reco"
inputs.files = {{ from = "reco" }}
command = ["bash", "{payload}", "{{{{ output }}}}", "metrics"]
outputs = ["{{{{ iteration }}}}/fit.txt"]
metrics = ["shift"]

[steps.plot]
after = "fit"
inputs.fit = {{ from = "fit", every = true }}
command = ["bash", "{payload}", "{{{{ output }}}}"]
outputs = ["plot.txt"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    payload = tmp_path / "payload.sh"
    payload.write_text(PAYLOAD)
    site.records.touch()
    site.write(WORKFLOW.format(payload=payload, jobs=JOBS, iterations=ITERATIONS))
    try:
        yield site
    finally:
        site.close()


def seeded() -> random.Random:
    """Chance that can be repeated; pytest shows the line of a test that fails."""
    seed = int(os.environ.get("FIDUCIAL_TEST_SEED") or random.randrange(10**6))
    LOG.warning("FIDUCIAL_TEST_SEED=%d repeats this", seed)
    return random.Random(seed)


def strike(site: Site, engine: subprocess.Popen[str], whom: str) -> None:
    """Kill what is named, at once; processes that are born meanwhile are what makes it interesting."""
    if whom == "workers":
        for pid, words in site.processes().items():
            if "--warm" in words:
                kill(pid)
        return
    kill(engine.pid)
    if whom == "everything":
        for pid in site.processes():
            kill(pid)
    engine.wait()


def done_in_ledger(site: Site) -> dict[int, int]:
    """Jobs that the ledger says are done, with their attempt."""
    if not site.rows("SELECT 1 FROM sqlite_master WHERE name = 'jobs'"):
        return {}  # it was killed before it had made the tables
    return {row["id"]: row["attempt"] for row in site.rows("SELECT id, attempt FROM jobs WHERE state = 'done'")}


def payload_runs(site: Site) -> dict[tuple[int, int], dict[str, float]]:
    """When each attempt's payload started and ended, by its own word."""
    runs: dict[tuple[int, int], dict[str, float]] = {}
    for line in site.records.read_text().splitlines():
        what, job, attempt, at = line.split()
        assert what != "overlap", f"attempt {attempt} at job {job} started while an earlier one was alive"
        run = runs.setdefault((int(job), int(attempt)), {})
        assert what not in run, f"attempt {attempt} at job {job} has two records of its {what}"
        run[what] = float(at)
    return runs


@pytest.mark.needs("flock")
def test_a_campaign_survives_being_killed_at_any_moment(site: Site) -> None:
    chance = seeded()
    struck: Counter[str] = Counter()
    recorded: dict[int, int] = {}
    engine = site.start()
    for _ in range(ROUNDS):
        if engine.poll() is not None:
            engine = site.start()
        at_work = wait_for_a_moment(site, engine, chance)
        whom = chance.choice(["engine", "workers", "everything"])
        strike(site, engine, whom)
        struck[f"{whom} {'at work' if at_work else 'starting'}"] += 1
        now = done_in_ledger(site)
        assert now.items() >= recorded.items(), "what was done is not done any more"
        recorded = now
    LOG.warning("killed %s; %d jobs were done before the last run", dict(struck), len(recorded))
    with suppress(subprocess.TimeoutExpired):
        engine.wait(timeout=1)
    strike(site, engine, "everything")
    last = site.start()
    assert last.wait(timeout=120) == 0, site.said()
    check_campaign(site)
    check_outputs(site)
    check_payloads(site)
    site.wait_until_all_are_gone()
    check_folders(site)
    check_that_it_was_hit(site)


def wait_for_a_moment(site: Site, engine: subprocess.Popen[str], chance: random.Random) -> bool:
    """Wait for any moment of the start, or else until payloads run and a little longer; true if they do."""
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0.05, 1.2))
        return False
    before, deadline = site.records.stat().st_size, time.monotonic() + 20
    while site.records.stat().st_size == before and engine.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(chance.uniform(0.0, 0.3))
    return site.records.stat().st_size > before


def check_that_it_was_hit(site: Site) -> None:
    """A test that never kills a payload shows nothing."""
    starts = sum(line.startswith("start") for line in site.records.read_text().splitlines())
    ends = sum(line.startswith("end") for line in site.records.read_text().splitlines())
    again = site.rows("SELECT COUNT(*) AS n FROM jobs WHERE attempt > 1")[0]["n"]
    LOG.warning("%d payloads were cut short, and %d jobs needed another attempt", starts - ends, again)
    assert starts - ends >= 5
    assert again >= 5


def check_campaign(site: Site) -> None:
    site.check()
    campaign = site.campaign()
    assert (campaign["state"], campaign["iteration"]) == ("done", ITERATIONS)
    states = Counter(row["state"] for row in site.rows("SELECT state FROM jobs"))
    assert states == {"done": 4 + ITERATIONS * (JOBS + 1) + 1}
    once = site.rows("SELECT job, COUNT(*) AS n FROM attempts WHERE state = 'done' GROUP BY job")
    assert [row["n"] for row in once] == [1] * states["done"]


def check_outputs(site: Site) -> None:
    artifacts = site.rows("SELECT * FROM artifacts")
    assert len(artifacts) == 4 + ITERATIONS * (JOBS + 1) + 1
    for row in artifacts:
        content = Path(row["path"]).read_bytes()
        assert content == f"{row['job']}\n".encode()
        assert (len(content), f"{zlib.adler32(content):08x}") == (row["size"], row["adler32"])


def check_payloads(site: Site) -> None:
    """No two payloads of a job at once, and none after the attempt that was recorded as done."""
    runs = payload_runs(site)
    done = {row["job"]: row["number"] for row in site.rows("SELECT job, number FROM attempts WHERE state = 'done'")}
    by_job: dict[int, list[tuple[int, Mapping[str, float]]]] = {}
    for (job, attempt), run in sorted(runs.items()):
        by_job.setdefault(job, []).append((attempt, run))
    assert by_job.keys() == done.keys()
    for job, tries in by_job.items():
        attempt, final = tries[-1]
        assert attempt == done[job], f"job {job}: attempt {attempt} ran, though {done[job]} was done"
        assert "end" in final
        for (number, before), (_, after) in pairwise(tries):
            # A payload that was killed told no end; had it lived on, its end would lie after the next one's start.
            over = before.get("end", before["start"])
            assert over <= after["start"], f"job {job}: attempt {number} overlaps with the next"


def check_folders(site: Site) -> None:
    published = {row["path"] for row in site.rows("SELECT path FROM artifacts")}
    there = {str(path) for path in (site.folder / "w").rglob("*") if path.is_file() and ".fiducial" not in path.parts}
    assert there == published
    scratch = [path for path in (site.folder / "w" / ".fiducial").rglob("scratch") if path.is_dir()]
    for path in scratch:
        assert not (path.parent / "result.json").exists(), f"{path} was left behind by an attempt that ended"


CREATE = """
import sys
from pathlib import Path
from fiducial.core.workflowfile import load
from fiducial.engine.scheduler import Scheduler
from fiducial.engine.supervisor import create, prepare
from fiducial.ledger.database import Database

scheduler = Scheduler(Database("sqlite:///ledger.db"))
made = prepare(load(Path("w.toml")).workflow, {}, workflow_folder=Path.cwd())
print("begins", flush=True)
create(scheduler, made)
print("created", flush=True)
"""
MANY = 20000


def creating(site: Site) -> subprocess.Popen[str]:
    """A process that is about to create the campaign."""
    process = subprocess.Popen([sys.executable, "-c", CREATE], cwd=site.folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def test_a_campaign_is_created_whole_or_not_at_all(site: Site) -> None:
    chance = seeded()
    file = site.folder / "w.toml"
    file.write_text(file.read_text().replace(f"0-{JOBS}", f"0-{MANY}"))
    start = time.monotonic()
    with creating(site) as process:
        start = time.monotonic()
        assert process.wait() == 0
    takes = time.monotonic() - start
    assert is_whole(site)
    seen: Counter[bool] = Counter()
    for _ in range(10):
        for path in site.folder.glob("ledger.db*"):
            path.unlink()
        shutil.rmtree(site.folder / "w")
        with creating(site) as process:
            time.sleep(chance.uniform(0.0, 1.2 * takes))
            process.kill()
        seen[is_whole(site)] += 1
        with creating(site) as process:  # the same command goes on from whatever there is
            assert process.wait() == 0
        assert is_whole(site)
    LOG.warning("creation takes %.2f s; whole after a kill: %s", takes, dict(seen))
    assert seen[False]


def is_whole(site: Site) -> bool:
    """Whether the campaign is there; half of it must never be."""
    assert site.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    campaigns = site.rows("SELECT state FROM campaigns")
    made = site.rows("SELECT COUNT(*) AS n FROM jobs")[0]["n"]
    counted = site.rows("SELECT COALESCE(SUM(total), 0) AS n FROM groups")[0]["n"]
    assert made == counted
    assert (len(campaigns), made) in {(0, 0), (1, 4 + MANY + 1 + 1)}
    return bool(campaigns)
