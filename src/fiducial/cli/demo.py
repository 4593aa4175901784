"""``fiducial demo``: align a simulated tracker, from raw files to constants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

app = subject_app()


@app.command()
def demo(
    stations: Annotated[int, typer.Option(min=3, max=4, help="3, or 4 with the interface tracker in front.")] = 3,
    files: Annotated[int, typer.Option(min=1, help="Raw files.")] = 10,
    events: Annotated[int, typer.Option(min=100, help="Muons in each file.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the misalignment and the muons.")] = 1,
    recipe: Annotated[str | None, typer.Option(help="How an iteration is fitted, a name or a file; one-fit.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=1, help="Jobs at a time; default: cores.")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Folder to work in.")] = Path("demo"),
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Align a simulated tracker of FASER's shape: raw files, reconstruction, Millepede fit, until nothing moves.

    The same command goes on where an earlier one stopped; another --dir begins anew.
    """
    from fiducial.cli.aligned import need_alignment, summary
    from fiducial.cli.run import execute, exit_code
    from fiducial.core.errors import ChangedError
    from fiducial.core.workflowfile import load, resolved
    from fiducial.engine.supervisor import prepare

    need_alignment()
    directory = directory.absolute()
    workflow_file = _write_workflow(directory)
    source = load(workflow_file)
    variables = {"stations": stations, "files": f"450-{450 + files}", "events": events, "seed": seed}
    if recipe is not None:
        variables["recipe"] = _known(recipe)
    prepared = prepare(resolved(source), variables, workflow_folder=source.folder, base=directory)
    try:
        outcome = execute(prepared, workers=workers, show=not json_, ledger_of=directory)
    except ChangedError as error:
        hint = "the options that it was begun with go on with it, and another --dir begins another"
        raise ChangedError(error.message, hint=hint) from None
    found = summary(outcome, prepared.folder)
    if json_:
        from fiducial.cli.output import print_json

        print_json(found)
    else:
        _tell(found, outcome, workflow_file)
    raise typer.Exit(exit_code(outcome) or (0 if found["converged"] else 1))


def _known(recipe: str) -> str:
    """A recipe that can be taken: found out before anything is begun."""
    from fiducial.alignment.faser.request import parse_recipe
    from fiducial.alignment.iteration.recipe import find_recipe

    name = parse_recipe(recipe)
    find_recipe(name)
    return name


def _write_workflow(directory: Path) -> Path:
    """Lay the workflow file into the folder, for people to read and change; one that is there is kept."""
    from importlib.resources import files

    from fiducial.storage.replace import replace_text

    target = directory / "align.toml"
    if not target.exists():
        text = (files("fiducial.alignment") / "workflows" / "align.toml").read_text("utf-8")
        replace_text(target, text)
    return target


def _tell(found: dict[str, Any], outcome: dict[str, Any], workflow_file: Path) -> None:
    from fiducial.cli.aligned import tell_iterations, verdict

    tell_iterations(found)
    if outcome["state"] == "failed":
        from fiducial.cli.run import tell

        tell(outcome)
        return
    typer.echo(verdict(found, outcome))
    if found["pull_mean"] is not None:
        typer.echo(f"pulls against the truth: mean {found['pull_mean']:+.2f}, width {found['pull_width']:.2f}")
    typer.echo(f"report:   {found['report']}")
    typer.echo(f"workflow: {workflow_file}")
