"""``fiducial campaign``: list, show, resume, cancel, retry, archive, export campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app
from fiducial.cli.options import SiteName
from fiducial.core.states import JobState

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from fiducial.engine.campaign import Campaign
    from fiducial.engine.scheduler import Scheduler

app = subject_app(no_args_is_help=True)


class Export(StrEnum):
    """What a campaign can be written as."""

    JSON = "json"
    DAGMAN = "dagman"
    SLURM = "slurm"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The campaign's name, or its number.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]


@app.callback()
def campaign() -> None:
    """List, show, resume, cancel, retry, archive, export campaigns."""


# ---------------------------------------------------------------- looking


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", "-a", help="Also those that are archived.")] = False,
    json_: Json = False,
) -> None:
    """List campaigns, the newest first."""
    from fiducial.cli.opened import opened
    from fiducial.cli.output import print_json
    from fiducial.cli.views import listed_view
    from fiducial.ledger import queries

    with opened() as database, database.read() as connection:
        views = [listed_view(row) for row in queries.campaign_rows(connection, archived=all_)]
    if json_:
        print_json(views)
    else:
        _print_list(views)


def _print_list(views: Sequence[dict[str, Any]]) -> None:
    from fiducial.cli.output import age, print_table

    if not views:
        typer.echo("there are no campaigns; fiducial run WORKFLOW.toml begins one")
        return
    rows = [
        (
            view["id"],
            view["name"],
            view["state"],
            f"{view['counts']['done']}/{view['total']}",
            view["counts"]["failed"] or None,
            view["iteration"] or None,
            age(view["created"]),
            view["reason"],
        )
        for view in views
    ]
    print_table(("number", "campaign", "state", "done", "failed", "iteration", "created", "reason"), rows)


@app.command()
def show(name: Name, json_: Json = False) -> None:
    """Show how far a campaign is, what it measured, what it cost and what went wrong."""
    from fiducial.cli.dag import manager_view
    from fiducial.cli.detached import given_view
    from fiducial.cli.opened import opened
    from fiducial.cli.output import print_json
    from fiducial.cli.problems import print_problems
    from fiducial.cli.views import campaign_view, find

    with opened() as database, database.read() as connection:
        view = campaign_view(connection, find(connection, name)["id"])
    view |= {"dagman": managed} if (managed := manager_view(Path(view["folder"]))) else {}
    view |= {"slurm": given} if (given := given_view(Path(view["folder"]))) else {}
    if json_:
        print_json(view)
        return
    _print_head(view)
    _print_groups(view)
    _print_metrics(view)
    _print_cost(view)
    print_problems(view)


def _print_head(view: dict[str, Any]) -> None:
    from fiducial.cli.output import age, span

    typer.echo(f"campaign {view['name']}: {view['state']}" + (f": {view['reason']}" if view["reason"] else ""))
    iteration = f"{view['iteration']} of at most {view['max_iterations']}" if view["iteration"] else ""
    took = f", took {span(view['finished'] - view['created'])}" if view["finished"] else ""
    variables = ", ".join(f"{key} = {value}" for key, value in view["variables"].items())
    lines = {
        "workflow": view["workflow_name"],
        "variables": variables,
        "folder": view["folder"],
        "owner": view["owner"],
        "created": f"{age(view['created'])}{took}",
        "iteration": iteration,
    }
    if "dagman" in view:
        from fiducial.cli.dag import manager_words

        lines["DAGMan"] = manager_words(view["dagman"], view["name"])
    if "slurm" in view:
        from fiducial.cli.detached import given_words

        lines["Slurm"] = given_words(view["slurm"], view["name"])
    for key, value in lines.items():
        if value:
            typer.echo(f"  {key:<9}  {value}")


def _print_groups(view: dict[str, Any]) -> None:
    from fiducial.cli.output import print_table, span

    states = [state for state in view["counts"] if view["counts"][state] or state == "done"]
    rows = [
        (
            group["step"],
            group["iteration"] or None,
            group["total"],
            *(group["counts"][state] or None for state in states),
            span(group["finished"] - group["started"]) if group["finished"] and group["started"] else "",
        )
        for group in view["groups"]
    ]
    typer.echo()
    print_table(("step", "iteration", "jobs", *states, "time"), rows)
    if view["retrying"]:
        typer.echo(f"{_jobs(view['retrying'])} of these had failed before and are tried again")


def _print_metrics(view: dict[str, Any]) -> None:
    from fiducial.cli.output import print_table

    metrics = view["metrics"]
    names = {f"{step}.{name}": (step, name) for by in metrics.values() for step, named in by.items() for name in named}
    if not names:
        return
    by_iteration = sorted(metrics.items())
    rows = [
        (shown, *(_mean(by.get(step, {}).get(name)) for _, by in by_iteration)) for shown, (step, name) in names.items()
    ]
    typer.echo()
    # Names are long and may be many, iterations are few and short.
    headings = [f"iteration {number}" if number else "once" for number, _ in by_iteration]
    print_table(("metric", *headings), rows, right=headings)


def _mean(values: Sequence[float] | None) -> str:
    """Of one job its value, of many their mean."""
    if not values:
        return ""
    return f"{sum(values) / len(values):.6g}" + (f" (mean of {len(values)})" if len(values) > 1 else "")


def _print_cost(view: dict[str, Any]) -> None:
    from fiducial.cli.output import amount, print_table, span

    rows = [
        (cost["step"], cost["attempts"], span(cost["cpu_s"]), span(cost["wall_s"]), amount(cost["max_rss"] or None))
        for cost in view["cost"]
        if cost["attempts"]
    ]
    if rows:
        typer.echo()
        print_table(("step", "attempts", "CPU time", "wall time", "peak memory"), rows)


# ---------------------------------------------------------------- changing


@app.command()
def resume(
    name: Name,
    site: SiteName = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=1, help="Jobs at a time; default: cores.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help='Memory that all jobs may use together, e.g. "16 GB".')] = None,
    dry_run: Dry = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run what is left of a campaign, as it was created; failed and killed jobs get another chance."""
    from fiducial import settings
    from fiducial.cli import dag, detached
    from fiducial.cli.opened import opened
    from fiducial.cli.output import print_json
    from fiducial.cli.run import carry, exit_code, place_of, tell
    from fiducial.core.places import is_detached
    from fiducial.engine import supervisor

    if dag.is_dag(Path(name)):  # by its folder, which nobody needs to have followed
        dag.tell_resumed(dag.resume(Path(name).absolute(), site, dry_run=dry_run), json_)
        return
    if is_detached(Path(name)):
        detached.tell_given(detached.resume(Path(name).absolute(), site, dry_run=dry_run), json_)
        return
    with opened() as database:
        scheduler, found, row = _engine_side(database, name, "resumed")
        if dag.is_dag(found.folder):
            dag.tell_resumed(dag.resume(found.folder, site, dry_run=dry_run), json_)
            return
        if is_detached(found.folder):
            detached.tell_given(detached.resume(found.folder, site, dry_run=dry_run), json_)
            return
        if dry_run:
            _tell_left(scheduler, row)
            return
        supervisor.claim_folder(found.folder, database, found.name)
        chosen, show = settings.load(), not (quiet or json_)
        with place_of(chosen, site or _site_of(scheduler, found), workers, memory) as place:
            outcome = carry(scheduler, found, place, show=show)
    if json_:
        print_json(outcome)
    else:
        tell(outcome)
    raise typer.Exit(exit_code(outcome))


def _site_of(scheduler: Scheduler, campaign: Campaign) -> str | None:
    """Where jobs of a campaign are under way, if they are at one place."""
    from fiducial.engine.supervisor import sites_of

    with scheduler.database.read() as connection:
        found = sites_of(connection, campaign.id)
    return found[0] if len(found) == 1 else None


def _engine_side(database: Any, name: str, what: str) -> tuple[Scheduler, Campaign, RowMapping]:
    """A campaign that is to be changed: one that is archived may not."""
    from fiducial.cli.views import find
    from fiducial.core.errors import StateError
    from fiducial.engine.scheduler import Scheduler

    scheduler = Scheduler(database)
    with database.read() as connection:
        row = find(connection, name)
        found = scheduler.campaign(connection, row["id"])
    if row["state"] == "archived":
        raise StateError(f"campaign '{row['name']}' is archived and cannot be {what}", hint="run its workflow anew")
    return scheduler, found, row


def _under_way(scheduler: Scheduler, campaign: Campaign) -> int:
    """How many jobs have an attempt under way, those that a batch system holds among them."""
    from fiducial.ledger import queries

    with scheduler.database.read() as connection:
        return len(queries.active_attempts(connection, campaign.id))


def _counts(scheduler: Scheduler, campaign: int) -> dict[str, int]:
    from fiducial.ledger import queries

    with scheduler.database.read() as connection:
        groups = queries.group_rows(connection, campaign)
    return {state.value: sum(group[state.value] for group in groups) for state in JobState}


def _tell_left(scheduler: Scheduler, row: RowMapping) -> None:
    from fiducial.cli.opened import dry

    again = ("failed", "killed") if row["state"] in ("failed", "cancelled") else ()
    left = ("waiting", "ready", "submitted", "running", "lost", *again)
    counts = {state: n for state, n in _counts(scheduler, row["id"]).items() if n and state in left}
    words = ", ".join(f"{n} {state}" for state, n in counts.items()) or "nothing is left"
    dry(f"campaign {row['name']} would run: {words}")


@app.command()
def cancel(name: Name, dry_run: Dry = False) -> None:
    """End a campaign: what runs is stopped, what waits never starts."""
    from fiducial.cli.ended import end_left
    from fiducial.cli.opened import dry, opened, user
    from fiducial.core.errors import StateError

    with opened() as database:
        scheduler, found, row = _engine_side(database, name, "cancelled")
        counts = _counts(scheduler, found.id)
        waiting = counts["waiting"] + counts["ready"] + counts["held"]
        active = _under_way(scheduler, found)
        waiting -= active - (counts["submitted"] + counts["running"] + counts["lost"])
        if row["state"] == "done":
            raise StateError(f"campaign '{found.name}' is done", hint="fiducial campaign archive puts it aside")
        if dry_run:
            dry(
                f"campaign {found.name} would end: {_jobs(waiting)} would never start, {_jobs(active)} would be stopped"
            )
            return
        if row["state"] == "cancelled" and not active:
            typer.echo(f"campaign {found.name} was cancelled before: nothing is left to end")
            return
        from fiducial.cli import dag, detached

        dag.remove(found.folder)
        detached.remove(found.folder)
        scheduler.cancel(found.id, user())
        typer.echo(f"campaign {found.name} cancelled" + (f": {_jobs(waiting)} will never start" if waiting else ""))
        if active:
            typer.echo(end_left(scheduler, found))


@app.command()
def retry(
    name: Name,
    step: Annotated[list[str] | None, typer.Option("--step", help="Only jobs of this step; may be repeated.")] = None,
    state: Annotated[
        list[JobState] | None, typer.Option("--state", help="Only jobs in this state; default: failed, killed.")
    ] = None,
    dry_run: Dry = False,
) -> None:
    """Let failed jobs run again, with fresh retries."""
    from fiducial.cli.choose import known_step
    from fiducial.cli.ended import RETRIED, only, say_ready
    from fiducial.cli.opened import dry, opened, user
    from fiducial.ledger import queries

    states = only(state, RETRIED, "retried") or ("failed", "killed")
    with opened() as database:
        scheduler, found, _ = _engine_side(database, name, "retried")
        with database.read() as connection:
            for wanted in step or ():
                known_step(queries.group_rows(connection, found.id), found.name, wanted)
            jobs = queries.job_keys(connection, found.id, queries.Narrow(states=states, steps=tuple(step or ())))
        if not jobs:
            typer.echo(f"nothing to retry: no job of {found.name} is {' or '.join(states)}")
        elif dry_run:
            dry(f"{_jobs(len(jobs))} of campaign {found.name} would run again")
        else:
            count = scheduler.retry(found.id, [number for number, _, _ in jobs], user())
            typer.echo(say_ready(found, f"{_jobs(count)} of campaign {found.name} will run again"))


@app.command()
def archive(name: Name, dry_run: Dry = False) -> None:
    """Put a campaign aside: it leaves the list, and its name is free for another."""
    from fiducial.cli.opened import dry, opened
    from fiducial.core.errors import StateError

    with opened() as database:
        scheduler, found, _ = _engine_side(database, name, "archived again")
        counts = _counts(scheduler, found.id)
        active = counts["submitted"] + counts["running"] + counts["lost"]
        if active:
            raise StateError(
                f"campaign '{found.name}' has {_jobs(active)} under way",
                hint=f"wait for them, or end them: fiducial campaign cancel {found.name}",
            )
        if dry_run:
            dry(f"campaign {found.name} would be archived")
            return
        scheduler.archive(found.id)
    typer.echo(f"campaign {found.name} is archived; it is number {found.id} in fiducial campaign list --all")


@app.command()
def export(
    name: Name,
    folder: Annotated[
        Path | None, typer.Argument(help="With --to dagman: folder for the DAG; default: the campaign's.")
    ] = None,
    to: Annotated[
        Export, typer.Option("--to", help="As what: all that the ledger knows, a DAG, or job arrays.")
    ] = Export.JSON,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: the terminal.")] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts/--no-artifacts", help="With what each job published, and checksums.")
    ] = True,
    submit: Annotated[bool, typer.Option("--submit", help="With --to dagman or slurm: submit it.")] = False,
    site: SiteName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --to dagman or slurm: say what would be written; write nothing.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="With --to dagman or slurm: print the outcome as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="With --to dagman or slurm: no progress.")] = False,
) -> None:
    """Write a campaign as JSON: jobs, attempts, metrics, published files; or what is left of it for DAGMan or Slurm."""
    if to is Export.DAGMAN:
        from fiducial.cli.dagexport import export_dag

        with _opened_for_export(output) as database:
            scheduler, found, _ = _engine_side(database, name, "exported")
            export_dag(
                scheduler, found, folder, site, submit=submit, dry_run=dry_run, json_=json_, show=not (quiet or json_)
            )
        return
    if to is Export.SLURM:
        from fiducial.cli.detached import export_detached

        with _opened_for_export(output) as database:
            scheduler, found, _ = _engine_side(database, name, "exported")
            show = not (quiet or json_)
            export_detached(scheduler, found, folder, site, submit=submit, dry_run=dry_run, json_=json_, show=show)
        return
    _must_be_plain_export(folder, submit, site)
    from fiducial.cli.export import pieces
    from fiducial.cli.opened import busy, opened
    from fiducial.cli.views import find

    with opened() as database, database.read() as connection, busy("exporting") as progress:
        row = find(connection, name)
        text = pieces(connection, row, artifacts=artifacts, progress=progress)
        if output is None:
            for piece in text:
                typer.echo(piece, nl=False)
        else:
            _write(output, text)


def _opened_for_export(output: Path | None) -> Any:
    from fiducial.cli.opened import opened
    from fiducial.core.errors import UsageError

    if output is not None:
        raise UsageError("--output is for JSON, and does not go with --to dagman or slurm")
    return opened()


def _must_be_plain_export(folder: Path | None, submit: bool, site: str | None) -> None:
    from fiducial.core.errors import UsageError

    for said, word in ((folder, "a folder"), (submit or None, "--submit"), (site, "--site")):
        if said is not None:
            raise UsageError(f"{word} goes with --to dagman or slurm", hint="--output names a file for the JSON")


def _write(output: Path, text: Any) -> None:
    """Write a file that is there only when it is complete."""
    from fiducial.core.errors import UsageError
    from fiducial.storage.replace import replacing

    try:
        with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(text)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
