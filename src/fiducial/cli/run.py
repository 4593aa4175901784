"""``fiducial run``: from a workflow file to a finished campaign, on this machine or at a site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app
from fiducial.cli.options import SiteName
from fiducial.core.errors import UsageError
from fiducial.core.places import LOCAL

if TYPE_CHECKING:
    from fiducial.engine.supervisor import Prepared

app = subject_app()

#: Workers that are started before it is known how many jobs there are.
FIRST_WORKERS = 4


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Workflow file (TOML).")],
    site: SiteName = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=1, help="Jobs at a time; default: cores.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help='Memory that all jobs may use together, e.g. "16 GB".')] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", metavar="K=V", help="Set a variable.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for the campaign's files.")] = None,
    until_step: Annotated[str | None, typer.Option(metavar="STEP", help="Stop when this step is done.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Use a changed workflow for what is left.")] = False,
    detached: Annotated[
        bool, typer.Option("--detached", help="Give all of it to Slurm at once, and end: nobody of ours is needed.")
    ] = False,
    submit: Annotated[bool, typer.Option("--submit", help="With --backend dagman: give the DAG to DAGMan.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run; write nothing.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run a workflow, on this machine or at a site; the same command goes on where an earlier one stopped."""
    from fiducial.core.workflowfile import load, resolved
    from fiducial.engine.supervisor import prepare

    others = {"--workers": workers, "--memory": memory, "--until-step": until_step}
    dag = None if detached else dagman_of(site, submit, others, update)
    slurm = slurm_of(site, others, update) if detached else None
    source = load(file)
    prepared = prepare(resolved(source), variables_of(set_), workflow_folder=source.folder, folder=folder)
    if dry_run:
        tell_plan(prepared, json_)
        return
    if slurm is not None:
        from fiducial.cli.detached import start, tell_given

        tell_given(start(prepared, slurm, show=not (quiet or json_)), json_)
        return
    if dag is not None:
        from fiducial.cli.dag import plan_of, tell_written, write_dag

        tell_written(write_dag(plan_of(prepared, dag), dag, submit=submit, show=not (quiet or json_)), json_)
        return
    outcome = execute(
        prepared,
        site=site,
        workers=workers,
        memory=memory,
        until_step=until_step,
        update=update,
        show=not (quiet or json_),
    )
    if json_:
        from fiducial.cli.output import print_json

        print_json(outcome)
    else:
        tell(outcome)
    raise typer.Exit(exit_code(outcome))


def dagman_of(site: str | None, submit: bool, others: dict[str, Any], update: bool = False) -> Any:
    """The site, if it is DAGMan's, which takes whole campaigns.

    Raises:
        UsageError: words that do not go with it.
    """
    from fiducial.cli.dag import dag_site, must_be_dagman

    found = dag_site(site)
    must_be_dagman(submit, found)
    if found is not None:
        _must_be_whole("DAGMan", others, update)
    return found


def slurm_of(site: str | None, others: dict[str, Any], update: bool) -> Any:
    """The site, which must be one of Slurm's, that is to be given the whole campaign.

    Raises:
        UsageError: it is not, or words that do not go with it.
    """
    from fiducial.cli.detached import slurm_site

    _must_be_whole("--detached: Slurm", others, update)
    return slurm_site(site)


def _must_be_whole(who: str, others: dict[str, Any], update: bool) -> None:
    said = [name for name, value in {**others, "--update": update or None}.items() if value is not None]
    if said:
        raise UsageError(f"{said[0]} does not go with {who}, which is given the whole campaign")


def variables_of(words: list[str] | None) -> dict[str, Any]:
    """What ``--set`` sets."""
    if not words:
        return {}
    from fiducial.cli.options import parse_set

    return parse_set(words)


def exit_code(outcome: dict[str, Any]) -> int:
    """0 done, 130 interrupted (as shells have it), 5 waiting for a person, 1 failed."""
    if outcome["interrupted"]:
        return 130
    if outcome["state"] == "active" and outcome["counts"]["held"]:
        return 5
    return 0 if outcome["state"] in ("done", "active") else 1


def execute(
    prepared: Prepared,
    *,
    site: str | None = None,
    workers: int | None = None,
    memory: str | None = None,
    until_step: str | None = None,
    update: bool = False,
    show: bool = True,
    ledger_of: Path | None = None,
    begun: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Create or take up the campaign and run it with progress; the outcome as ``--json`` prints it.

    Args:
        site: where it runs; by default the settings' choice, or this machine.
        ledger_of: the folder whose settings and ledger are used; by default the working folder, or one above it.
        begun: called when the campaign is created and its folder its own, before anything runs.
    """
    from fiducial import settings
    from fiducial.cli.dag import must_not_be_dag

    must_not_be_dag(prepared.folder)
    chosen = settings.load(project=ledger_of)
    with place_of(chosen, site, workers, memory) as place:
        from fiducial.engine import supervisor
        from fiducial.engine.scheduler import Scheduler
        from fiducial.ledger.database import Database

        with closing(Database(chosen.ledger_url)) as database:
            scheduler = Scheduler(database)
            campaign = supervisor.update(scheduler, prepared) if update else supervisor.create(scheduler, prepared)
            if begun is not None:
                begun()
            return carry(scheduler, campaign, place, until_step=until_step, show=show)


@dataclass(frozen=True)
class Place:
    """Where a campaign is to run: a site, and what makes its backend for the campaign."""

    site: str
    backend: Callable[[Any], Any]


@contextmanager
def place_of(chosen: Any, site: str | None, workers: int | None, memory: str | None) -> Iterator[Place]:
    """The place that a command's options or the settings choose.

    Raises:
        UsageError: workers or memory, which are for this machine, go with another site.
    """
    name = site or chosen.get("run.site") or LOCAL
    if name == LOCAL and LOCAL not in chosen.sites:
        with local_backend(chosen, workers, memory) as backend:
            # The workers start on other cores while this one imports what comes next.
            backend.warm_up(min(backend.slots, FIRST_WORKERS))
            yield Place(LOCAL, lambda campaign: backend)
        return
    if workers is not None or memory is not None:
        raise UsageError(
            "--workers and --memory are for this machine", hint="at a site, its table in fiducial.toml says how many"
        )
    from fiducial.cli.sites import backend_of, chosen_site

    found = chosen_site(chosen, name)
    yield Place(name, lambda campaign: backend_of(found, campaign))


def carry(
    scheduler: Any, campaign: Any, place: Place, *, until_step: str | None = None, show: bool = True
) -> dict[str, Any]:
    """Run a campaign that the ledger holds, with progress."""
    from fiducial.cli.dag import must_not_be_dag
    from fiducial.cli.progress import watch
    from fiducial.cli.views import campaign_view
    from fiducial.engine import supervisor

    must_not_be_dag(campaign.folder)
    backend = place.backend(campaign)
    with (
        supervisor.locked(campaign.folder),
        watch(scheduler, campaign, show=show, trouble=lambda: backend.trouble) as on_round,
    ):
        finished = supervisor.run(
            scheduler, campaign, backend, site=place.site, until_step=until_step, on_round=on_round
        )
    with scheduler.database.read() as connection:
        view = campaign_view(connection, campaign.id)
    return {**view, "interrupted": not finished, "site": place.site}


def local_backend(chosen: Any, workers: int | None, memory: str | None) -> Any:
    """The backend for this machine, by the command's options or the settings."""
    import os

    from fiducial.batch.local import LocalBackend
    from fiducial.core.resources import parse_size

    slots = workers or int(chosen.get("local.workers") or len(os.sched_getaffinity(0)))
    size = memory or chosen.get("local.memory")
    try:
        return LocalBackend(slots, parse_size(size) if size else None)
    except ValueError as error:
        raise UsageError(str(error)) from None


def tell_plan(prepared: Prepared, json_: bool) -> None:
    """Print what a campaign would run."""
    from fiducial.core.plan import campaign_scope, count

    scope = campaign_scope(prepared.workflow, [{}, prepared.variables], prepared.names)
    counts = {
        name: count(step, scope.context({"iteration": 1}), f"steps.{name}.fanout")
        for name, step in prepared.workflow.steps.items()
    }
    if json_:
        from fiducial.cli.output import print_json

        plan = {"campaign": prepared.name, "folder": str(prepared.folder), "jobs": counts}
        print_json({**plan, "iterated": prepared.workflow.iterated, "max_iterations": prepared.max_iterations})
        return
    typer.echo(f"campaign {prepared.name} in {prepared.folder}")
    for name, jobs in counts.items():
        step = prepared.workflow.steps[name]
        times = f" x up to {prepared.max_iterations} iterations" if step.iterate else ""
        behind = f" after {', '.join(edge.step for edge in step.after)}" if step.after else ""
        typer.echo(f"  {name}: {jobs} job{'s' if jobs != 1 else ''}{times}{behind}")
    typer.echo("dry run: nothing was written")


def tell(outcome: dict[str, Any]) -> None:
    """Say how a campaign ended, and what to do about it."""
    from fiducial.cli.problems import where_lines

    name = outcome["name"]
    if outcome["interrupted"]:
        typer.echo(f"stopped; the same command goes on with campaign {name}", err=True)
        _tell_left(outcome)
        return
    if outcome["state"] == "failed":
        typer.echo(f"error: campaign {name} failed: {outcome['reason']}", err=True)
        for job in outcome["problems"][:5]:
            typer.echo(f"  {job['name']}: {job['message'] or job['cause']}", err=True)
            for line in where_lines(job, quote=False):
                typer.echo(f"    {line}", err=True)
        typer.echo(f"hint: fiducial job list {name} --state failed; then run the same command again", err=True)
        return
    if outcome["state"] == "active" and outcome["counts"]["held"]:
        typer.echo(f"campaign {name} waits for a person: {outcome['counts']['held']} jobs are held", err=True)
        typer.echo(f"hint: fiducial job list {name} --state held; fiducial job release JOB", err=True)
        return
    if outcome["state"] == "active":
        typer.echo(f"campaign {name}: done as far as was asked; {outcome['counts']['done']} jobs done")
        typer.echo(f"results: {_from_here(outcome['folder'])}")
        return
    reason = f": {outcome['reason']}" if outcome["reason"] else ""
    typer.echo(f"campaign {name} {outcome['state']}{reason}; {outcome['counts']['done']} jobs done")
    typer.echo(f"results: {_from_here(outcome['folder'])}")
    if outcome["converged"] is False:
        typer.echo("hint: allow more iterations, and run it with --update: it goes on where it stopped", err=True)


def _tell_left(outcome: dict[str, Any]) -> None:
    """Jobs in a batch system's queue go on when we stop."""
    left = sum(outcome["counts"][state] for state in ("submitted", "running", "lost"))
    if left:
        jobs = f"{left} job{'' if left == 1 else 's'}"
        typer.echo(
            f"{jobs} of it stay in the queue of site {outcome['site']}; "
            f"to end them: fiducial campaign cancel {outcome['name']}",
            err=True,
        )


def _from_here(folder: str) -> Path:
    """A path as a person would type it."""
    path = Path(folder)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
