"""``fiducial follow``: a campaign that DAGMan or Slurm runs by itself, like any other."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.batch.planned.followed import PlannedBackend

app = subject_app()


@app.command()
def follow(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the DAG, or of the campaign.")],
    once: Annotated[bool, typer.Option("--once", help="Take in what there is now, and end; for cron.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Follow what DAGMan or Slurm runs by itself until it ends; killed and repeated, it goes on where it was."""
    from fiducial.cli.run import exit_code

    outcome = _follow(folder.absolute(), once, show=not (quiet or json_))
    if json_:
        from fiducial.cli.output import print_json

        print_json(outcome)
    else:
        _tell(outcome)
    code = exit_code(outcome)
    raise typer.Exit(0 if once and code == 1 and _owner(outcome)["phase"] != "over" else code)


def _follow(here: Path, once: bool, *, show: bool) -> dict[str, Any]:
    from fiducial import settings
    from fiducial.cli.progress import watch
    from fiducial.cli.views import campaign_view
    from fiducial.engine import follow, supervisor
    from fiducial.engine.scheduler import Scheduler
    from fiducial.ledger.database import Database

    backend, site = _backend(here)
    with closing(Database(settings.load().ledger_url)) as database:
        scheduler = Scheduler(database)
        campaign = follow.register(scheduler, backend.plan)
        with (
            supervisor.locked(campaign.folder),
            watch(scheduler, campaign, show=show, trouble=lambda: backend.trouble) as on_round,
        ):
            finished = follow.follow(scheduler, campaign, backend, site=site, once=once, on_round=on_round)
        with database.read() as connection:
            view = campaign_view(connection, campaign.id)
    return {**view, "interrupted": not finished, **_views(here)}


def _backend(here: Path) -> tuple[PlannedBackend, str]:
    """What follows the campaign in a folder, and the name of its site."""
    from fiducial.core.places import is_detached

    if is_detached(here):
        from fiducial.batch.slurm.detached.follow import DetachedBackend
        from fiducial.cli.detached import site_of

        found = site_of(here)
        return DetachedBackend(here, found), found.name
    from fiducial.batch.dagman.follow import DagBackend
    from fiducial.engine.follow import SITE

    return DagBackend(here), SITE


def _views(here: Path) -> dict[str, Any]:
    from fiducial.cli.dag import manager_view
    from fiducial.cli.detached import given_view

    views = {"dagman": manager_view(here), "slurm": given_view(here)}
    return {owner: view for owner, view in views.items() if view is not None}


def _owner(outcome: dict[str, Any]) -> dict[str, Any]:
    """How what runs the campaign is."""
    return dict(outcome.get("dagman") or outcome["slurm"])


def _tell(outcome: dict[str, Any]) -> None:
    from fiducial.cli.dag import manager_words
    from fiducial.cli.detached import given_words
    from fiducial.cli.problems import print_problems

    name, counts = outcome["name"], outcome["counts"]
    if outcome["interrupted"]:
        typer.echo(f"no longer followed; its jobs go on, and the same command follows {name} again", err=True)
        return
    reason = f": {outcome['reason']}" if outcome["reason"] else ""
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    typer.echo(f"campaign {name} {outcome['state']}{reason}")
    typer.echo(f"jobs: {states}")
    if "dagman" in outcome:
        typer.echo(f"DAGMan: {manager_words(outcome['dagman'], name)}")
    else:
        typer.echo(f"Slurm: {given_words(outcome['slurm'], name)}")
    print_problems(outcome)
