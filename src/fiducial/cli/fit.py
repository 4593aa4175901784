"""``fiducial fit``: solve a Millepede steering file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.alignment.result import FitResult

__all__ = ["app", "command"]

app = subject_app()

# Warnings of pede that leave the values usable; with others the values are there, but not to be taken unseen.
_MILD_VERDICTS = (0, 1)
_ROWS = 20


@app.command()
def command(
    steering: Annotated[Path, typer.Argument(help="Steering file, as pede takes it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of millepede.res, .end, .log, .json.")
    ] = Path(),
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", "-t", min=1, help="Threads, else as the steering file says, else 1. The numbers do not change."
        ),
    ] = None,
) -> None:
    """Solve a Millepede steering file.

    Exits with 0 if pede's verdict is 0 (fine) or 1 (chi2 or rejects out of the ordinary), with 1 if it is 2
    (insufficient data), 3 (bad matrix) or 4 (damaged files that were read in part); then the result files are written
    too. If there is no result, exits with 3 for a mistake in a steering file, 4 for a missing file, and 1 for damaged
    data or a fit without solution.
    """
    import os

    # One thread each for the small solutions, before numpy is there: the numbers stay the same on any machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from fiducial.alignment.fit import fit_into

    with _progress() as tell:
        result = fit_into(steering, output, threads=threads, progress=tell)
    if json_:
        from fiducial.cli.output import print_json

        print_json(result.to_json())
    else:
        _show(result, output)
    if result.verdict not in _MILD_VERDICTS:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Tell on standard error what goes on: in place on a terminal, else by nothing at all."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("starting; the first fit after an installation takes some seconds more") as status:
        yield status.update


def _show(result: FitResult, output: Path) -> None:
    from math import isnan

    from fiducial.cli.output import print_table

    columns = (result.labels.tolist(), result.values.tolist(), result.errors.tolist(), result.counts.tolist())
    rows = [
        (label, f"{value:.6g}", "" if isnan(error) else f"{error:.3g}", count)
        for label, value, error, count in zip(*columns, strict=True)
    ]
    print_table(("label", "value", "error", "count"), rows[:_ROWS])
    if len(rows) > _ROWS:
        typer.echo(f"… and {len(rows) - _ROWS} more in {output / 'millepede.res'}")
    typer.echo("")
    if result.checked:
        typer.echo(f"{result.records} records, {len(result.variable)} variable parameters; only the input was checked")
    else:
        typer.echo(f"{result.records} records, {result.fitted} parameters fitted in {result.loops} loops")
        typer.echo(f"chi2/ndf {result.chi2_per_ndf:.4g}, {sum(result.rejects.values())} records rejected")
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{result.verdict}: {result.message}")
