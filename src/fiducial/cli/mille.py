"""``fiducial mille``: look into the fit's binary files, check them whole, and convert them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.alignment.mille.inspect import Contents, Record
    from fiducial.alignment.mille.reader import MilleFile

app = subject_app(no_args_is_help=True, help="Show, check and convert Mille binary files.")

Fortran = Annotated[
    bool | None,
    typer.Option("--fortran/--c", help="Kind of the file; if not said, it is recognised."),
]
Records = Annotated[str, typer.Option("--records", help="3, or 1-3 with both ends, or 5- to the end; from 1.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


_KINDS = {"c-float": "C, single precision", "c-double": "C, double precision", "fortran": "Fortran"}


class To(StrEnum):
    """Kinds that a file can be converted to; the same as `millewriter.Kind`, without its imports."""

    C_FLOAT = "c-float"
    C_DOUBLE = "c-double"
    FORTRAN = "fortran"


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Mille file, e.g. mp2input.bin; may be compressed with gzip.")],
    records: Records = "1-3",
    fortran: Fortran = None,
    json_: Json = False,
) -> None:
    """Print records as they stand in the file: measurements with their local derivatives and those by label.

    Exits with 1 if one of them is damaged.
    """
    from fiducial.alignment.mille.inspect import parse_records, records_of
    from fiducial.cli.output import print_json

    found = list(records_of(_source(file, fortran), *parse_records(records))) if json_ else []
    damaged = any(record.fault for record in found)
    if json_:
        print_json([record.to_json() for record in found])
    else:
        for record in records_of(_source(file, fortran), *parse_records(records)):
            _show_record(record)
            damaged |= bool(record.fault)
    if damaged:
        raise typer.Exit(1)


def _source(path: Path, fortran: bool | None) -> MilleFile:
    from fiducial.alignment.mille.inspect import is_fortran
    from fiducial.alignment.mille.reader import MilleFile

    return MilleFile(path, is_fortran(path) if fortran is None else fortran)


def _show_record(record: Record) -> None:
    from fiducial.cli.output import print_table
    from fiducial.core.wording import plural

    precision = "double" if record.double else "single"
    hits = plural(len(record.hits), "measurement")
    typer.echo(f"record {record.number} at byte {record.byte}: {hits}, {precision} precision")
    if record.errors:
        typer.echo(f"  its writer counted {plural(record.errors, 'error')} in it")
    for size in record.special:
        typer.echo(f"  special data: {plural(size, 'pair')}, which the fit skips")
    if record.fault:
        typer.echo(f"  damaged: {record.fault}")
    rows = [
        (number, f"{hit.value:.6g}", f"{hit.sigma:.4g}", _terms(hit.local), _terms(hit.labels))
        for number, hit in enumerate(record.hits, 1)
    ]
    if rows:
        print_table(("  hit", "value", "sigma", "by local index", "by label"), rows, right=("value", "sigma"))


def _terms(terms: list[tuple[int, float]]) -> str:
    return "  ".join(f"{key}: {number:.4g}" for key, number in terms)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Mille files; may be compressed with gzip.")],
    fortran: Fortran = None,
    labels: Annotated[bool, typer.Option("--labels", help="List all labels and how often each occurs.")] = False,
    json_: Json = False,
) -> None:
    """Read whole files, count what is in them, and name the first damaged record with its number and byte.

    Exits with 1 if a file is damaged, with 4 if one is not there.
    """
    from fiducial.cli.output import print_json

    outcomes = []
    code = 0
    for path in files:
        outcome, failed = _check_one(path, fortran, labels=labels, show=not json_)
        outcomes.append(outcome)
        code = max(code, failed)
    if json_:
        print_json(outcomes)
    if code:
        raise typer.Exit(code)


def _check_one(path: Path, fortran: bool | None, *, labels: bool, show: bool) -> tuple[dict[str, Any], int]:
    """What was found in a file for programs, and an exit code; for people it is printed."""
    from fiducial.alignment.mille.inspect import count_file
    from fiducial.core.errors import FiducialError

    try:
        with _progress(path) as tell:
            contents = count_file(_source(path, fortran), tell)
    except FiducialError as error:
        if show:
            typer.echo(f"error: {error.message}")
            for hint in [error.hint] if error.hint else []:
                typer.echo(f"  hint: {hint}")
        return {"file": str(path), "sound": False, "error": error.message, "hint": error.hint}, error.exit_code
    if show:
        _show_contents(path, contents, labels)
    found = {"file": str(path), "sound": True, **contents.to_json()}
    return found | ({"counts": contents.labels} if labels else {}), 0


def _show_contents(path: Path, contents: Contents, labels: bool) -> None:
    from fiducial.cli.output import print_table
    from fiducial.core.wording import plural

    counted = contents.labels
    kinds = ", ".join(f"{_KINDS[kind]}: {count:,}" for kind, count in contents.kinds.items())
    typer.echo(f"{path}: sound")
    rows = [
        ("records", kinds),
        ("measurements", f"{contents.measurements:,}, at most {contents.most_measurements:,} in a record"),
        ("local derivatives", f"{contents.locals:,}, largest index {contents.largest_local:,}"),
        ("derivatives by label", f"{contents.globals:,}"),
        ("labels", f"{len(counted):,}, from {min(counted)} to {max(counted)}" if counted else "none"),
    ]
    if contents.special_records:
        where = plural(contents.special_records, "record")
        rows += [("special data", f"{contents.special_pairs:,} pairs, with those that announce them, in {where}")]
    if contents.flagged:
        rows += [("errors of the writer", f"in {plural(contents.flagged, 'record')}")]
    for name, value in rows:
        typer.echo(f"  {name:<22}{value}")
    if labels:
        print_table(("label", "count"), list(counted.items()))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="Mille file to read; may be compressed with gzip.")],
    output: Annotated[Path, typer.Argument(help="Mille file to write; a name that ends in .gz is compressed.")],
    to: Annotated[To, typer.Option("--to", help="Kind of the file that is written.")] = To.C_FLOAT,
    packed: Annotated[
        bool | None,
        typer.Option("--gzip/--no-gzip", help="Compress, whatever the name; C files only."),
    ] = None,
    records: Records = "1-",
    fortran: Fortran = None,
    json_: Json = False,
) -> None:
    """Write a file again as another kind, or some of its records; special data and zeros are kept."""
    from fiducial.alignment.mille.convert import Wanted, convert
    from fiducial.alignment.mille.inspect import parse_records
    from fiducial.alignment.mille.writer import Kind
    from fiducial.cli.output import print_json
    from fiducial.core.wording import plural

    wanted = Wanted(output, Kind(to), packed, *parse_records(records))
    with _progress(file) as tell:
        count = convert(_source(file, fortran), wanted, tell)
    if json_:
        print_json({"output": str(output), "kind": str(to), "records": count, "bytes": output.stat().st_size})
    else:
        typer.echo(f"{output}: {plural(count, 'record')} ({to})")


@contextmanager
def _progress(path: Path) -> Iterator[Callable[[int], None]]:
    """Tell on a terminal how much of a file has been read."""
    from rich.console import Console

    from fiducial.cli.output import amount

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(f"reading {path}") as status:
        yield lambda done: status.update(f"reading {path}: {amount(done)}")
