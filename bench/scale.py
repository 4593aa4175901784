"""What a job costs as campaigns grow, and whether anything looks at all jobs of a million.

    python bench/scale.py                        all of it
    python bench/scale.py --jobs 1000 10000      smaller
    python bench/scale.py --only run             or create, or ledger

*run*: campaigns of jobs that do nothing (``true``), by ``fiducial run`` on this machine, two at a time. *ms/job* is the
time of the whole command without that of a campaign of one job; it must stay what it is at the smallest size. A machine
that others use as well changes its speed within minutes, so ``xargs -P2 -n1 true`` is timed before and after each
campaign, and *ratio* compares costs in that unit. Memory is that of the largest process, the engine. Files are made
slowly on an ext4 that has lately removed many: ``--folder /dev/shm`` leaves that out.

*create*: a campaign of a million jobs, made in a new SQLite ledger the way ``fiducial run`` makes it, and not run; and
``fiducial run --dry-run``, which makes the same jobs and stores none.

*ledger*: on that ledger, what ``fiducial campaign show`` asks, the commands themselves, and leases and reports of jobs
with nothing run between: at the campaign's beginning, and again when nine tenths of it are done. Every statement that
was sent is explained by SQLite; one that reads all jobs from end to end is named.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import MIB, describe, environment, fiducial, median, must, run, save, table

WORKERS = 2
MILLION = 1_000_000
LEASED = 500
# A range of job ids is a group from end to end.
READS_ALL = re.compile(r"SCAN (jobs|attempts|transitions|artifacts)|SEARCH jobs .*rowid>")

WORKFLOW = """\
format = 1
name = "{name}"

[steps.work]
fanout = {{ files = "0-{jobs}" }}
command = ["true"]
"""


def workflow(folder: Path, jobs: int) -> Path:
    """A file that asks for so many jobs."""
    path = folder / f"n{jobs}.toml"
    path.write_text(WORKFLOW.format(name=f"n{jobs}", jobs=jobs))
    return path


# ------------------------------------------------------------------------------------------------------------ running


def measure_runs(sizes: list[int], base: Path) -> list[dict[str, Any]]:
    """Cost of a job in campaigns of several sizes; small ones are repeated."""
    empty = median(one_run(1, base)["wall_s"] for _ in range(5))
    rows = []
    for jobs in sizes:
        turns = [one_run(jobs, base) for _ in range(max(1, min(5, 20_000 // jobs)))]
        wall, floor = (median(turn[key] for turn in turns) for key in ("wall_s", "floor_ms"))
        row = {"jobs": jobs, "wall_s": wall, "start_up_s": empty, "ms_per_job": 1e3 * (wall - empty) / jobs}
        row["floor_ms"], row["floors"] = floor, row["ms_per_job"] / floor
        row["peak_mib"] = max(turn["peak_mib"] for turn in turns)
        row["cpu_ms_per_job"] = 1e3 * median(turn["cpu_s"] for turn in turns) / jobs
        rows.append(row)
    for row in rows:
        row["ratio"] = row["floors"] / rows[0]["floors"]
    return rows


def floor_ms(base: Path, jobs: int = 1000) -> float:
    """What starting a process costs here and now, two at a time."""
    return 1e3 * must(run(["sh", "-c", f"seq {jobs} | xargs -P{WORKERS} -n1 true"], base), "xargs").wall / jobs


def one_run(jobs: int, base: Path) -> dict[str, Any]:
    """One campaign in a fresh folder; all of it must be done."""
    folder = Path(tempfile.mkdtemp(prefix=f"n{jobs}-", dir=base))
    command = fiducial("run", workflow(folder, jobs), "--workers", str(WORKERS), "--quiet")
    before = floor_ms(base)
    timed = must(run(command, folder, env=environment(folder)), f"{jobs} jobs")
    floor = (before + floor_ms(base)) / 2
    with sqlite3.connect(folder / "ledger.db") as ledger:
        states = ledger.execute("SELECT state, attempt, count(*) FROM jobs GROUP BY 1, 2").fetchall()
    ledger.close()
    if states != [("done", 1, jobs)]:
        raise SystemExit(f"{jobs} jobs: the ledger tells {states}")
    print(f"  {jobs} jobs: {timed.wall:.2f} s, {timed.peak_mib:.0f} MiB; floor {floor:.2f} ms", flush=True)
    return {"wall_s": timed.wall, "cpu_s": timed.cpu, "peak_mib": timed.peak_mib, "floor_ms": floor}


# ----------------------------------------------------------------------------------------------------------- creating


def measure_creation(jobs: int, folder: Path) -> dict[str, Any]:
    """Make a campaign in a process of its own, and plan it once more."""
    file = workflow(folder, jobs)
    env = environment(folder)
    dry = must(run(fiducial("run", file, "--dry-run"), folder, env=env), "dry run")
    made = must(run([sys.executable, __file__, "--inside", "create", str(file)], folder, env=env), "create")
    inside = json.loads(made.output)
    return {
        "jobs": jobs,
        "create_s": inside["seconds"],
        "process_s": made.wall,
        "peak_mib": made.peak_mib,
        "dry_run_s": dry.wall,
        "dry_run_peak_mib": dry.peak_mib,
        "ledger_mib": (folder / "ledger.db").stat().st_size / MIB,
    }


def create(file: str) -> dict[str, Any]:
    """What ``fiducial run`` does before the first job is leased."""
    from fiducial import settings
    from fiducial.core.workflowfile import load, resolved
    from fiducial.engine import supervisor
    from fiducial.engine.scheduler import Scheduler
    from fiducial.ledger.database import Database

    begin = time.perf_counter()
    source = load(Path(file))
    prepared = supervisor.prepare(resolved(source), {}, workflow_folder=source.folder)
    campaign = supervisor.create(Scheduler(Database(settings.load().ledger_url)), prepared)
    return {"campaign": campaign.id, "seconds": time.perf_counter() - begin}


# --------------------------------------------------------------------------------------------------------- the ledger


def measure_ledger(jobs: int, folder: Path) -> dict[str, Any]:
    """Ask a large ledger, and lease from it, at its beginning and near its end."""
    name = f"n{jobs}"
    early = inside(folder, "ask", name)
    commands = {"campaign show": ("campaign", "show", name, "--json"), "campaign list": ("campaign", "list")}
    walls = {title: command_seconds(folder, words) for title, words in commands.items()}
    nearly_done(folder / "ledger.db", 9 * jobs // 10)
    late = inside(folder, "ask", name)
    one_failed(folder / "ledger.db")
    troubled = inside(folder, "look", name)
    scans = sorted({*early["scans"], *late["scans"], *troubled["scans"]})
    return {"jobs": jobs, "early": early, "late": late, "troubled": troubled, "commands_s": walls, "scans": scans}


def inside(folder: Path, *words: str) -> dict[str, Any]:
    """Call one of our own functions in a process of its own."""
    timed = run([sys.executable, __file__, "--inside", *words], folder, env=environment(folder))
    return dict(json.loads(must(timed, words[0]).output))


def command_seconds(folder: Path, words: tuple[str, ...]) -> float | None:
    """Wall time of a command, the median of five; nothing if there is no such command."""
    turns = [run(fiducial(*words), folder, env=environment(folder)) for _ in range(5)]
    if turns[0].code == 2 or "No module named" in turns[0].output:
        print(f"  skipped: there is no 'fiducial {' '.join(words[:2])}'")
        return None
    return median(must(timed, words[0]).wall for timed in turns)


def nearly_done(path: Path, count: int) -> None:
    """Let a campaign look as if its first jobs were done, without running them."""
    with sqlite3.connect(path) as ledger:
        ledger.execute("UPDATE jobs SET state = 'done', attempt = 1 WHERE id <= ?", (count,))
        states = dict(ledger.execute("SELECT state, count(*) FROM jobs GROUP BY 1").fetchall())
        ledger.execute("UPDATE groups SET done = ?, ready = ?", (states["done"], states["ready"]))
    ledger.close()


def one_failed(path: Path) -> None:
    """Let the last job have failed."""
    with sqlite3.connect(path) as ledger:
        ledger.execute("UPDATE jobs SET state = 'failed', attempt = 1 WHERE id = (SELECT max(id) FROM jobs)")
        ledger.execute("UPDATE groups SET failed = 1, ready = ready - 1")
    ledger.close()


def ask(name: str) -> dict[str, Any]:
    """Time the status, leases and reports, and have all statements explained."""
    scheduler, statements = opened()
    return {
        "view_ms": view_ms(scheduler, name),
        "jobs_per_s": leased_and_reported(scheduler, name, 40),
        "scans": scanning(scheduler, statements),
    }


def look(name: str) -> dict[str, Any]:
    """Time the status alone."""
    scheduler, statements = opened()
    return {"view_ms": view_ms(scheduler, name), "scans": scanning(scheduler, statements)}


def opened() -> tuple[Any, dict[str, Any]]:
    """A scheduler on the ledger, and every statement that it sends from now on, with an example of its values."""
    from sqlalchemy import event

    from fiducial import settings
    from fiducial.engine.scheduler import Scheduler
    from fiducial.ledger.database import Database

    database = Database(settings.load().ledger_url, create=False)
    statements: dict[str, Any] = {}

    def note(connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        text = re.sub(r"(\?, ){3,}", "?, ?, ", statement)
        if text not in statements:
            statements[text] = (statement, values[0] if many else values)

    event.listen(database.engine, "before_cursor_execute", note)
    return Scheduler(database), statements


def view_ms(scheduler: Any, name: str) -> float:
    """What ``fiducial campaign show`` asks: median of twenty."""
    from fiducial.cli.views import campaign_view, find

    def view() -> None:
        with scheduler.database.read() as connection:
            campaign_view(connection, find(connection, name)["id"])

    return 1e3 * median(seconds(view) for _ in range(20))


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def leased_and_reported(scheduler: Any, name: str, rounds: int) -> float:
    """Jobs a second that can be leased and reported as done, in the median round."""
    from fiducial.cli.views import find
    from fiducial.ledger.ledger import Lease

    with scheduler.database.read() as connection:
        campaign = find(connection, name)["id"]
    by = Lease("00000000-0000-0000-0000-000000000000", "bench", 600.0)

    def one_round() -> None:
        specs = scheduler.lease(campaign, LEASED, by)
        if len(specs) != LEASED or not all(scheduler.report(by, [done(spec) for spec in specs])):
            raise SystemExit(f"{len(specs)} jobs leased instead of {LEASED}, or a report was refused")

    return LEASED / median(seconds(one_round) for _ in range(rounds))


def done(spec: dict[str, Any]) -> Any:
    """The report of a job that went well."""
    from fiducial.engine.scheduler import Report

    now = time.time()
    usage = {"wall_s": 1.0, "cpu_s": 1.0, "max_rss": MIB, "read_bytes": 0, "write_bytes": 0}
    ended = {"state": "done", "cause": "ok", "exit_code": 0, "signal": None, "message": "", "host": "bench"}
    result = {**ended, "started": now - 1, "finished": now, "usage": usage, "outputs": [], "metrics": {}}
    return Report(spec["job"], spec["attempt"], result=result)


def scanning(scheduler: Any, statements: dict[str, Any]) -> list[str]:
    """Statements that read a table of jobs from end to end."""
    asked = [pair for pair in list(statements.values()) if pair[0].split()[0] in ("SELECT", "UPDATE", "DELETE")]
    found = []
    with scheduler.database.read() as connection:
        for statement, values in asked:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            found += [f"{step}: {' '.join(statement.split())}"[:400] for step in plan if READS_ALL.match(step)]
    return found


# ---------------------------------------------------------------------------------------------------------- reporting


def show_runs(rows: list[dict[str, Any]]) -> str:
    """Cost by size."""
    keys = ("jobs", "wall_s", "start_up_s", "ms_per_job", "floor_ms", "floors", "ratio", "cpu_ms_per_job", "peak_mib")
    head = ("jobs", "wall s", "start-up s", "ms/job", "floor ms", "in floors", "ratio", "CPU ms/job", "peak MiB")
    return table(head, map_rows(rows, keys))


def show_creation(row: dict[str, Any]) -> str:
    """One line."""
    keys = ("jobs", "create_s", "process_s", "peak_mib", "dry_run_s", "dry_run_peak_mib", "ledger_mib")
    head = ("jobs", "create s", "process s", "peak MiB", "dry run s", "its peak MiB", "ledger MiB")
    return table(head, map_rows([row], keys))


def map_rows(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[list[Any]]:
    """Some values of each row."""
    return [[row[key] for key in keys] for row in rows]


def show_ledger(row: dict[str, Any]) -> str:
    """Beginning and end side by side, and what scans."""
    lines = [
        ("status, ms", row["early"]["view_ms"], row["late"]["view_ms"]),
        ("status with a failed job, ms", None, row["troubled"]["view_ms"]),
        ("lease + report, jobs/s", row["early"]["jobs_per_s"], row["late"]["jobs_per_s"]),
        *((f"fiducial {title}, s", value, None) for title, value in row["commands_s"].items()),
    ]
    scans = [f"  {scan}" for scan in row["scans"]] or ["  none"]
    head = (f"ledger of {row['jobs']:,} jobs", "at the beginning", "nine tenths done")
    return "\n".join([table(head, lines), "statements that read all jobs:", *scans])


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes that are run")
    parser.add_argument("--large", type=int, default=MILLION, help="size that is only created")
    parser.add_argument("--only", choices=("run", "create", "ledger"))
    parser.add_argument("--folder", type=Path, help="where it happens; the folder for temporary files by default")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        what, argument = options.inside
        print(json.dumps({"create": create, "ask": ask, "look": look}[what](argument)))
        return
    print(describe())
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=options.folder) as name:
        save(options.json, measure(options, Path(name)))


def measure(options: argparse.Namespace, base: Path) -> dict[str, Any]:
    """All figures that were asked for, printed as they come."""
    figures: dict[str, Any] = {}
    if options.only in (None, "run"):
        figures["run"] = measure_runs(options.jobs, base)
        print(show_runs(figures["run"]), flush=True)
    if options.only in (None, "create", "ledger"):
        figures["create"] = measure_creation(options.large, base)
        print(show_creation(figures["create"]), flush=True)
    if options.only in (None, "ledger"):
        figures["ledger"] = measure_ledger(options.large, base)
        print(show_ledger(figures["ledger"]), flush=True)
    return figures


if __name__ == "__main__":
    main()
