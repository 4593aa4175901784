"""``fiducial job``: list, show, retry, kill, hold, release jobs; read their logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app
from fiducial.core.states import JobState

if TYPE_CHECKING:
    from fiducial.cli.choose import Chosen
    from fiducial.engine.scheduler import Scheduler

app = subject_app(no_args_is_help=True)

One = Annotated[str, typer.Argument(metavar="JOB", help="Its number, or CAMPAIGN/STEP[/ITERATION]/KEY.")]
Many = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB…", help="Numbers, or CAMPAIGN/STEP[/ITERATION]/KEY with * and ?, as align/reco/02/004*."
    ),
]
Steps = Annotated[list[str] | None, typer.Option("--step", help="Only jobs of this step; may be repeated.")]
States = Annotated[list[JobState] | None, typer.Option("--state", help="Only jobs in this state; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]

_SHOWN = 100
_PAGE = 2000


@app.callback()
def job() -> None:
    """List, show, retry, kill, hold, release jobs; read their logs."""


# ---------------------------------------------------------------- looking


@app.command("list")
def list_(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's name, or its number.")],
    state: States = None,
    step: Steps = None,
    iteration: Annotated[int | None, typer.Option("--iteration", "-i", min=0, help="Only of this iteration.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Most jobs to list; default: 100, with --json all.")
    ] = None,
    json_: Json = False,
) -> None:
    """List jobs of a campaign with what became of their latest attempt."""
    from fiducial.cli.choose import known_step
    from fiducial.cli.opened import opened
    from fiducial.cli.views import find
    from fiducial.ledger import queries

    with opened() as database, database.read() as connection:
        row = find(connection, campaign)
        for wanted in step or ():
            known_step(queries.group_rows(connection, row["id"]), row["name"], wanted)
        narrow = queries.Narrow(
            tuple(one.value for one in state or ()), tuple(step or ()), () if iteration is None else (iteration,)
        )
        if json_:
            _print_lines(_pages(connection, row, narrow, limit))
        else:
            _print_table(list(_pages(connection, row, narrow, (limit or _SHOWN) + 1)), limit or _SHOWN)


def _pages(connection: Any, campaign: Any, narrow: Any, limit: int | None) -> Iterator[dict[str, Any]]:
    """Jobs as they are shown, a page of rows in memory at a time."""
    from dataclasses import replace

    from fiducial.cli.views import job_view
    from fiducial.ledger import queries

    left = limit
    while left is None or left > 0:
        rows = queries.narrowed_rows(connection, campaign["id"], narrow, _PAGE if left is None else min(left, _PAGE))
        yield from (job_view(row, campaign) for row in rows)
        if len(rows) < _PAGE:
            return
        left = None if left is None else left - len(rows)
        narrow = replace(narrow, after=rows[-1]["id"])


def _print_lines(views: Iterator[dict[str, Any]]) -> None:
    """A JSON list, one job a line: there may be a million."""
    import json

    encode = json.JSONEncoder(ensure_ascii=False).encode
    typer.echo("[", nl=False)
    for number, view in enumerate(views):
        typer.echo((",\n " if number else "\n ") + encode(view), nl=False)
    typer.echo("\n]")


def _print_table(views: Sequence[dict[str, Any]], limit: int) -> None:
    from fiducial.cli.output import amount, print_table, span

    if not views:
        typer.echo("no job is like that")
        return
    rows = [
        (
            view["id"],
            view["name"],
            view["state"],
            view["attempt"] or None,
            view["host"],
            span(view["wall_s"]),
            amount(view["max_rss"]),
            "" if view["cause"] == "ok" else view["message"] or view["cause"],
        )
        for view in views[:limit]
    ]
    print_table(("number", "job", "state", "attempts", "host", "wall time", "memory", "cause"), rows)
    if len(views) > limit:
        typer.echo(f"there are more: --limit lists more than {limit}", err=True)


@app.command()
def show(
    job: One,
    spec: Annotated[bool, typer.Option("--spec", help="Print what the runner is told, as JSON.")] = False,
    json_: Json = False,
) -> None:
    """Show everything that is known of a job: attempts, history, published files."""
    from fiducial.cli.choose import choose_one
    from fiducial.cli.opened import opened
    from fiducial.cli.output import print_json
    from fiducial.cli.views import full_job_view

    with opened() as database, database.read() as connection:
        campaign, number = choose_one(connection, job)
        view = _spec(database, connection, campaign, number) if spec else full_job_view(connection, campaign, number)
    if json_ or spec:
        print_json(view)
        return
    _print_job(view)
    _print_attempts(view)
    _print_history(view)
    _print_files(view)


def _spec(database: Any, connection: Any, campaign: Any, number: int) -> dict[str, Any]:
    """The job spec of the latest attempt, or of the first that there would be."""
    from fiducial.core.jobspec import JobFacts
    from fiducial.engine.campaign import Campaign, LedgerFiles
    from fiducial.ledger import ledger, queries

    row = queries.job_row(connection, number)
    found = ledger.fetch(connection, [number])[number]
    attempt = max(1, found.attempt)
    place = (row["step"], row["iteration"], found.key, found.values)
    facts = JobFacts(number, attempt, *place, found.memory, found.walltime)
    files = LedgerFiles(connection, campaign["id"])
    files.place = number - row["first_job"]
    return Campaign(campaign, database.id).renderer(row["step"]).spec(facts, files)


def _print_job(view: dict[str, Any]) -> None:
    typer.echo(f"job {view['id']}: {view['name']}: {view['state']}")
    why = "" if view["cause"] in (None, "ok") else view["message"] or view["cause"]
    lines = {
        "cause": why,
        "ordered": view["order"],
        "waits for": f"{view['missing']} matching parents" if view["missing"] else "",
        "values": ", ".join(f"{key} = {value}" for key, value in view["values"].items()),
        "retries": ", ".join(f"{count} for {cause}" for cause, count in view["retries"].items()),
    }
    for key, value in lines.items():
        if value:
            typer.echo(f"  {key:<9}  {value}")


def _print_attempts(view: dict[str, Any]) -> None:
    from fiducial.cli.output import amount, print_table, span

    if not view["attempts"]:
        typer.echo("  not tried yet")
        return
    rows = [
        (
            attempt["number"],
            attempt["state"],
            attempt["cause"],
            attempt["exit_code"],
            attempt["host"],
            span(attempt["wall_s"]),
            span(attempt["cpu_s"]),
            amount(attempt["max_rss"]),
            attempt["message"],
        )
        for attempt in view["attempts"]
    ]
    typer.echo()
    print_table(("attempt", "state", "cause", "exit", "host", "wall time", "CPU time", "memory", "message"), rows)
    for attempt in view["attempts"]:
        if attempt["backend_id"]:
            typer.echo(f"  attempt {attempt['number']} is {attempt['backend_id']} in the queue of {attempt['site']}")


def _print_history(view: dict[str, Any]) -> None:
    from fiducial.cli.output import moment, print_table

    if view["history"]:
        rows = [(moment(e["at"]), e["attempt"] or None, e["state"], e["who"], e["why"]) for e in view["history"]]
        typer.echo()
        print_table(("time", "attempt", "became", "by", "why"), rows)


def _print_files(view: dict[str, Any]) -> None:
    from fiducial.cli.output import print_table

    if view["artifacts"]:
        rows = [(each["name"], each["size"], each["adler32"], each["path"]) for each in view["artifacts"]]
        typer.echo()
        print_table(("published", "bytes", "Adler-32", "path"), rows)
    if view["files"]:
        typer.echo("\nfiles of the latest attempt")
        for file in view["files"]:
            typer.echo(f"  {file}")


@app.command()
def log(
    job: One,
    attempt: Annotated[
        int | None, typer.Option("--attempt", "-a", min=1, help="Of this attempt; default: last.")
    ] = None,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="Only so many lines at the end.")] = None,
    path: Annotated[bool, typer.Option("--path", help="Print where the log is, not what it says.")] = False,
) -> None:
    """Print what a job wrote."""
    from fiducial.cli.choose import choose_one
    from fiducial.cli.opened import opened
    from fiducial.cli.views import log_file
    from fiducial.core.errors import NotFoundError
    from fiducial.core.places import QUEUE_LOG
    from fiducial.ledger import queries

    with opened() as database, database.read() as connection:
        campaign, number = choose_one(connection, job)
        row = queries.job_row(connection, number)
    if not row["attempt"]:
        raise NotFoundError(f"job '{job}' has not been tried yet", hint=f"it is {row['state']}")
    if attempt is not None and attempt > row["attempt"]:
        raise NotFoundError(f"job '{job}' has no attempt {attempt}", hint=f"it has 1 to {row['attempt']}")
    file = log_file(campaign, row, attempt)
    if path:
        typer.echo(file)
        return
    queue_log = file.with_name(QUEUE_LOG)
    if not file.is_file() and queue_log.is_file():
        typer.echo("the runner never started; the batch system wrote:", err=True)
        file = queue_log
    if not file.is_file():
        raise NotFoundError(f"there is no log {file}", hint="it was removed, or the attempt never started")
    _print_log(file, lines)


def _print_log(file: Path, lines: int | None) -> None:
    with file.open("rb") as text:
        if lines is not None:
            text.seek(_start_of_last(text, lines))
        while part := text.read(2**20):
            typer.echo(part, nl=False)


def _start_of_last(text: Any, lines: int) -> int:
    """Where the last lines begin; read from the end, because a log may be large."""
    position = text.seek(0, 2)
    found = b""
    while position and found.count(b"\n") <= lines:
        step = min(position, 2**16)
        position -= step
        text.seek(position)
        found = text.read(step) + found
    tail = found.splitlines(keepends=True)[-lines:]
    return int(position + len(found) - sum(map(len, tail)))


# ---------------------------------------------------------------- changing


@app.command()
def retry(jobs: Many, state: States = None, step: Steps = None, dry_run: Dry = False) -> None:
    """Let jobs that failed, were killed, skipped or held run again, with fresh retries."""
    from fiducial.cli.ended import RETRIED, only

    def change(scheduler: Scheduler, chosen: Chosen, who: str) -> int:
        return scheduler.retry(chosen.campaign["id"], chosen.ids, who)

    states = only(state, RETRIED, "retried") or RETRIED
    _change(jobs, states, step, dry_run, "retry", "will run again", change, starts=True)


@app.command()
def kill(jobs: Many, state: States = None, step: Steps = None, dry_run: Dry = False) -> None:
    """End jobs; those that run are stopped."""
    from fiducial.cli.ended import only

    def change(scheduler: Scheduler, chosen: Chosen, who: str) -> int:
        return scheduler.kill(chosen.ids, who)

    possible = ("waiting", "held", "ready", "submitted", "running", "lost")
    _change(jobs, only(state, possible, "killed") or possible, step, dry_run, "kill", "ended", change)


@app.command()
def hold(jobs: Many, state: States = None, step: Steps = None, dry_run: Dry = False) -> None:
    """Keep jobs from running until they are released; those that run are stopped first."""
    from fiducial.cli.ended import only

    def change(scheduler: Scheduler, chosen: Chosen, who: str) -> int:
        return scheduler.hold(chosen.ids, who)

    possible = ("waiting", "ready", "submitted", "running", "lost")
    _change(jobs, only(state, possible, "held") or possible, step, dry_run, "hold", "held", change)


@app.command()
def release(jobs: Many, step: Steps = None, dry_run: Dry = False) -> None:
    """Let held jobs run."""

    def change(scheduler: Scheduler, chosen: Chosen, who: str) -> int:
        return scheduler.release(chosen.campaign["id"], chosen.ids, who)

    _change(jobs, ("held",), step, dry_run, "release", "released", change, starts=True)


def _change(
    words: Sequence[str],
    states: Sequence[str],
    steps: Sequence[str] | None,
    dry_run: bool,
    verb: str,
    done: str,
    change: Callable[[Scheduler, Chosen, str], int],
    *,
    starts: bool = False,
) -> None:
    """Choose jobs and change their state; a job whose state does not fit is left as it is."""
    from fiducial.cli.choose import choose
    from fiducial.cli.opened import dry, opened, user
    from fiducial.engine.scheduler import Scheduler

    with opened() as database:
        with database.read() as connection:
            found = [chosen for chosen in choose(connection, words, states=states, steps=steps or ()) if chosen.jobs]
        _not_archived(found)
        if not found:
            typer.echo(f"nothing to {verb}: only jobs that are {', '.join(states)} can be; fiducial job show tells")
        elif dry_run:
            dry("\n".join(f"would {verb} {_named(chosen)}" for chosen in found))
        else:
            for chosen in found:
                _carry_out(Scheduler(database), chosen, change, done, user(), starts)


def _not_archived(found: Sequence[Chosen]) -> None:
    from fiducial.core.errors import StateError

    for chosen in found:
        if chosen.campaign["state"] == "archived":
            raise StateError(f"campaign '{chosen.campaign['name']}' is archived: its jobs stay as they are")


def _named(chosen: Chosen) -> str:
    keys = ", ".join(key for _, key, _ in chosen.jobs[:5]) + (", …" if len(chosen.jobs) > 5 else "")
    return f"{_jobs(len(chosen.jobs))} of campaign {chosen.campaign['name']}: {keys}"


def _carry_out(
    scheduler: Scheduler,
    chosen: Chosen,
    change: Callable[[Scheduler, Chosen, str], int],
    done: str,
    who: str,
    starts: bool,
) -> None:
    from fiducial.cli.ended import end_left, say_ready

    with scheduler.database.read() as connection:
        campaign = scheduler.campaign(connection, chosen.campaign["id"])
    said = f"{_jobs(change(scheduler, chosen, who))} of campaign {campaign.name} {done}"
    typer.echo(say_ready(campaign, said) if starts else said)
    # What its batch system holds is under way too; whether a job is, its site tells.
    active = {number for number, _, state in chosen.jobs if state in ("submitted", "running", "lost", "held")}
    if active and not starts:
        typer.echo(end_left(scheduler, campaign, active))


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
