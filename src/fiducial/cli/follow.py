"""``fiducial follow``: a DAG that DAGMan runs, as a campaign like any other."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

app = subject_app()


@app.command()
def follow(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The DAG's folder.")],
    once: Annotated[bool, typer.Option("--once", help="Take in what there is now, and end; for cron.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Follow a DAG until it ends, however it was submitted; killed and repeated, it goes on where it was."""
    from fiducial.cli.run import exit_code

    outcome = _follow(folder.absolute(), once, show=not (quiet or json_))
    if json_:
        from fiducial.cli.output import print_json

        print_json(outcome)
    else:
        _tell(outcome)
    code = exit_code(outcome)
    raise typer.Exit(0 if once and code == 1 and outcome["dagman"]["phase"] != "over" else code)


def _follow(here: Path, once: bool, *, show: bool) -> dict[str, Any]:
    from fiducial import settings
    from fiducial.batch.dagman.follow import DagBackend
    from fiducial.cli.dag import manager_view
    from fiducial.cli.progress import watch
    from fiducial.cli.views import campaign_view
    from fiducial.engine import dagfollow, supervisor
    from fiducial.engine.scheduler import Scheduler
    from fiducial.ledger.database import Database

    backend = DagBackend(here)
    with closing(Database(settings.load().ledger_url)) as database:
        scheduler = Scheduler(database)
        campaign = dagfollow.register(scheduler, here)
        with (
            supervisor.locked(campaign.folder),
            watch(scheduler, campaign, show=show, trouble=lambda: backend.trouble) as on_round,
        ):
            finished = dagfollow.follow(scheduler, campaign, backend, once=once, on_round=on_round)
        with database.read() as connection:
            view = campaign_view(connection, campaign.id)
    return {**view, "interrupted": not finished, "dagman": manager_view(here)}


def _tell(outcome: dict[str, Any]) -> None:
    from fiducial.cli.dag import manager_words
    from fiducial.cli.problems import print_problems

    name, counts = outcome["name"], outcome["counts"]
    if outcome["interrupted"]:
        typer.echo(f"no longer followed; DAGMan goes on, and the same command follows {name} again", err=True)
        return
    reason = f": {outcome['reason']}" if outcome["reason"] else ""
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    typer.echo(f"campaign {name} {outcome['state']}{reason}")
    typer.echo(f"jobs: {states}")
    typer.echo(f"DAGMan: {manager_words(outcome['dagman'], name)}")
    print_problems(outcome)
