"""How often a campaign asks Slurm, counted at Slurm's commands.

A campaign runs on a private Slurm of the tests (``scripts/pool``), through wrappers that write down when each command
was called, and how long it took::

    python bench/slurm.py                                         1,000 jobs of 10 s, 80 at a time

How to read it: *questions* are ``squeue``, ``sacct`` and ``scontrol``, *orders* are ``sbatch`` and ``scancel``. *Most
in a minute* looks at every minute of the campaign, not at the average. The ledger must hold every job as done, at its
first attempt. What Slurm itself needs for the jobs is of no interest here: a job is a ``sleep``.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from common import Timed, describe, environment, fiducial, must, run, save, table

POOL = Path(__file__).resolve().parents[1] / "scripts" / "pool"
QUESTIONS = ("squeue", "sacct", "scontrol")
ORDERS = ("sbatch", "scancel")

WRAPPER = """\
#!/bin/bash
begin=$EPOCHREALTIME
{command} "$@"
code=$?
echo "{name} $begin $EPOCHREALTIME" >> {log}
exit $code
"""

WORKFLOW = """\
format = 1
name = "sleepers"
folder = "."

[steps.sleep]
fanout = {{ files = "0-{jobs}" }}
command = ["sleep", "{seconds}"]
"""

SITE = """\
[sites.pool]
backend = "slurm"
commands = "{commands}"
memory = "10 MB"
"""


def start_pool(folder: Path, slots: int) -> dict[str, str]:
    """Start a Slurm, and return the variables that its commands need."""
    command = [str(POOL), "start", "slurm", str(folder), "--slots", str(slots)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = (folder / "environment").read_text().splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if line)


def wrap(folder: Path, variables: dict[str, str], log: Path) -> None:
    """Put a wrapper for each command into a folder."""
    folder.mkdir()
    programs = Path(variables["PATH"].partition(":")[0])
    for name in QUESTIONS + ORDERS:
        (folder / name).write_text(WRAPPER.format(command=programs / name, name=name, log=log))
        (folder / name).chmod(0o755)


def play(base: Path, variables: dict[str, str], options: argparse.Namespace) -> Timed:
    """Run the campaign as a plain user."""
    (base / "sleepers.toml").write_text(WORKFLOW.format(jobs=options.jobs, seconds=options.seconds))
    (base / "fiducial.toml").write_text(SITE.format(commands=base / "commands"))
    command = [str(POOL), "as-user", *fiducial("run", "sleepers.toml", "--site", "pool")]
    return must(run(command, base, env=environment(base, **variables)), "the campaign")


def check(base: Path, jobs: int) -> None:
    """See that every job was done at its first attempt."""
    with sqlite3.connect(base / "ledger.db") as connection:
        [done] = connection.execute("SELECT count(*) FROM jobs WHERE state = 'done' AND attempt = 1").fetchone()
    if done != jobs:
        raise SystemExit(f"{done} of {jobs} jobs are done at their first attempt")


def read_calls(log: Path) -> list[tuple[str, float, float]]:
    """Each command's name, begin and end."""
    calls = [line.split() for line in log.read_text().splitlines()]
    return sorted(((name, float(begin), float(end)) for name, begin, end in calls), key=lambda call: call[1])


def most_in_a_minute(times: list[float]) -> int:
    """How many there are in the busiest minute."""
    return max((sum(begin <= other < begin + 60 for other in times) for begin in times), default=0)


def measure(base: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the campaign and count."""
    pool, log = base / "pool", base / "calls"
    try:
        variables = start_pool(pool, options.slots)
        wrap(base / "commands", variables, log)
        timed = play(base, variables, options)
    finally:
        subprocess.run([str(POOL), "stop", str(pool)], check=True)
    check(base, options.jobs)
    calls = read_calls(log)
    questions = [begin for name, begin, _ in calls if name in QUESTIONS]
    minutes = max(1.0, timed.wall / 60)
    return {
        "jobs": options.jobs,
        "wall_s": timed.wall,
        "cpu_s": timed.cpu,
        "calls": Counter(name for name, _, _ in calls),
        "longest_call_s": max(end - begin for _, begin, end in calls),
        "questions_per_minute": len(questions) / minutes,
        "most_in_a_minute": most_in_a_minute(questions),
    }


def show(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    calls = ", ".join(f"{count} {name}" for name, count in sorted(figures["calls"].items()))
    head = ("jobs", "wall s", "our CPU s", "questions/min", "most in a minute", "longest call s", "calls")
    keys = ("jobs", "wall_s", "cpu_s", "questions_per_minute", "most_in_a_minute", "longest_call_s")
    return table(head, [[*(figures[key] for key in keys), calls]])


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=80, help="how many jobs run at a time")
    parser.add_argument("--seconds", type=int, default=10, help="how long a job takes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(prefix="bench-slurm-") as name:
        figures = measure(Path(name), options)
    print(show(figures))
    save(options.json, figures)


if __name__ == "__main__":
    main()
