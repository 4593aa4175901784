"""``fiducial fit``: solve a Millepede steering file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fiducial.cli.lazy import subject_app
from fiducial.core.errors import UsageError

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["app", "command", "kernels_told", "pede_setting", "prepare_threads"]

app = subject_app()

_ROWS = 20
_WAYS_OUT = {
    1: "the values may be used; look at chi2/ndf and at the rejects",
    2: "values of the parameters named above are not to be trusted: more data, or a higher `entries`",
    3: "the data do not determine all parameters: fix some, or add constraints",
    4: "a data file was not read to its end: only what lies before is in the result",
}


@app.command()
def command(
    steering: Annotated[Path, typer.Argument(help="Steering file, as pede takes it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the files millepede.*.")] = Path(),
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write millepede.parquet too.")] = False,
    check: Annotated[bool, typer.Option("--check", "-c", help="Check the input only; there is no solution.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", "-t", min=1, help="Threads, else as the steering file says, else 1. The numbers do not change."
        ),
    ] = None,
    pede: Annotated[
        str | None, typer.Option("--pede", help="Let this pede fit; overrides the setting alignment.pede.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="With --pede: seconds after which it is ended.")
    ] = None,
) -> None:
    """Solve a Millepede steering file.

    Exits with 0 if pede's verdict is 0 (fine) or 1 (chi2 or rejects out of the ordinary), with 1 if it is 2
    (insufficient data), 3 (bad matrix) or 4 (a file was cut off); then the result files are written too. A check exits
    with 1, too, if it finds what would end a fit. If there is no result, exits with 3 for a mistake in a steering file,
    4 for a missing file, and 1 for damaged data or a fit without solution.
    """
    prepare_threads()
    _check_parquet(wanted=parquet)
    if program := pede or pede_setting():
        result = _fit_with(program, steering, output, check=check, threads=threads, timeout=timeout)
        if parquet:
            _write_parquet(result, output)
    else:
        _refuse_timeout(timeout)
        result = _fit(steering, output, threads=threads, check=check, parquet=parquet)
    if json_:
        from fiducial.cli.output import print_json

        print_json(result.to_json())
    else:
        _show(result, output)
    if not (result.usable or (result.checked and result.verdict == 0 and not result.obstacles)):
        raise typer.Exit(1)


def prepare_threads() -> None:
    """One thread for each small solution, before numpy is there: the numbers stay the same on any machine."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _check_parquet(*, wanted: bool) -> None:
    if wanted:
        from fiducial.alignment.fit.outputs.table import require_pyarrow

        require_pyarrow()


def pede_setting() -> str | None:
    """The pede that the settings name in place of our own fit."""
    from fiducial.settings import load

    said = load().get("alignment.pede")
    return None if said is None else str(said)


@contextmanager
def kernels_told() -> Iterator[Callable[[str], None]]:
    """Have the fit's kernels at hand, and tell on standard error what goes on, also when they have to be compiled."""
    from fiducial.alignment.jit import compilation_told, kept, leave_out_extensions
    from fiducial.cli.status import told

    leave_out_extensions()
    with told() as tell, compilation_told(lambda: tell(_COMPILING if kept() else _COMPILING_AGAIN)):
        yield tell


_COMPILING = "compiling the fit's kernels, once per installation (half a minute)"
_COMPILING_AGAIN = "compiling the fit's kernels (half a minute); set NUMBA_CACHE_DIR to a folder that can keep them"


def _fit(steering: Path, output: Path, *, threads: int | None, check: bool, parquet: bool) -> FitResult:
    with kernels_told() as tell:
        from fiducial.alignment.fit.millepede import fit_into

        added = {"checkinput": (1.0,)} if check else {}
        return fit_into(steering, output, threads=threads, parquet=parquet, options=added, progress=tell)


def _fit_with(
    program: str, steering: Path, output: Path, *, check: bool, threads: int | None, timeout: float | None
) -> FitResult:
    from fiducial.alignment.fit.external import fit_with
    from fiducial.cli.status import told

    if check:
        raise UsageError("--check does not go with an external pede", hint="say `checkinput` in the steering file")
    with told() as tell:
        return fit_with(program, steering, output, threads=threads, timeout=timeout, progress=tell)


def _refuse_timeout(timeout: float | None) -> None:
    if timeout is not None:
        raise UsageError("--timeout is for an external pede", hint="name it with --pede")


def _write_parquet(result: FitResult, output: Path) -> None:
    from fiducial.alignment.fit.outputs.table import write_table

    write_table(result, output / "millepede.parquet")


def _show(result: FitResult, output: Path) -> None:
    from fiducial.alignment.fit.outputs.his import drawing
    from fiducial.cli.output import amount, span

    if not result.checked:
        _show_parameters(result, output)
        typer.echo("")
    for histogram in result.histograms if result.draw else ():
        typer.echo(drawing(histogram) + "\n")
    typer.echo(f"records     {result.records}{_rejects(result)}")
    if result.checked:
        typer.echo(
            f"parameters  {len(result.variable)} variable of {len(result.labels)}; see {output / 'millepede.res'}"
        )
    else:
        typer.echo(f"parameters  {result.fitted} fitted in {result.loops} loops; {len(result.labels)} in all")
        weight = f" / {result.mean_weight:.4g}, the mean weight" if result.mean_weight != 1 else ""
        quotient = f"{result.chi2:.6g} / ({result.ndf} - {result.fitted}){weight}"
        typer.echo(f"chi2/ndf    {result.chi2_per_ndf:.4g} = {quotient}")
    memory = f", {amount(max(result.memory.values()))} of memory" if result.memory else ""
    typer.echo(f"took        {span(result.seconds.get('total'))}{memory}")
    typer.echo(f"files       {output / 'millepede.*'}")
    for warning in result.warnings:
        if warning not in result.obstacles:
            typer.echo(f"warning: {warning}", err=True)
    only = "; only the input was checked" if result.checked else ""
    typer.echo(f"{result.verdict}: {result.message}{only}")
    if way_out := _WAYS_OUT.get(result.verdict):
        typer.echo(f"hint: {way_out}", err=True)
    for obstacle in result.obstacles:
        typer.echo(f"error: this would end a fit: {obstacle}", err=True)


def _rejects(result: FitResult) -> str:
    found = [f"{cause} {count}" for cause, count in result.rejects.items() if count]
    return f", {sum(result.rejects.values())} rejected ({', '.join(found)})" if found else ""


def _show_parameters(result: FitResult, output: Path) -> None:
    from math import isnan

    from fiducial.cli.output import print_table

    columns = (result.labels.tolist(), result.values.tolist(), result.errors.tolist(), result.to_columns()["count"])
    rows = [
        (label, f"{value:.6g}", "" if isnan(error) else f"{error:.3g}", count)
        for label, value, error, count in zip(*columns, strict=True)
    ]
    print_table(("label", "value", "error", "count"), rows[:_ROWS], right=("value", "error"))
    if len(rows) > _ROWS:
        typer.echo(f"… and {len(rows) - _ROWS} more in {output / 'millepede.res'}")
