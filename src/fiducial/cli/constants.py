"""``fiducial constants``: read, compare, draw and check files of alignment constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.alignment.constants.check import Checked
    from fiducial.alignment.constants.compare import Difference
    from fiducial.alignment.constants.values import Constants
    from fiducial.alignment.tracker.geometry import Detector

app = subject_app(no_args_is_help=True, help="Read, compare, draw and check alignment constants.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, in mm and rad.")]
Geometry = Annotated[
    Path | None, typer.Option("--geometry", "-g", help="Geometry file of the detector; by default FASER's tracker.")
]
_AXES = ("x", "y", "z", "rx", "ry", "rz")
_HEADINGS = [f"{axis} ({'mrad' if axis.startswith('r') else 'µm'})" for axis in _AXES]
_ABOUT_TRUTH = (
    "note: a truth also holds what no fit can see, e.g. motions of the whole; "
    "fiducial alignment solve --truth compares what can be compared"
)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Constants, e.g. inputforalign.txt.")],
    geometry: Geometry = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, in mm and rad with all digits.")] = False,
    json_: Json = False,
) -> None:
    """List constants by key in um and mrad, their sums over the modules of each layer, and the checksum (Adler-32)."""
    from fiducial.alignment.constants.values import checksum, read_constants
    from fiducial.core.errors import UsageError

    if csv and json_:
        raise UsageError("--csv and --json cannot both be printed", hint="leave one of them away")
    constants = read_constants(file, _detector(geometry))
    if json_:
        _show_json(file, checksum(file), constants)
    elif csv:
        _show_csv(constants)
    else:
        _show_table(file, checksum(file), constants)


def _detector(geometry: Path | None) -> Detector:
    from fiducial.alignment.tracker.geometryfile import find_geometry

    return find_geometry(geometry).detector


def _show_json(file: Path, adler32: str, constants: Constants) -> None:
    from fiducial.alignment.constants.compare import layer_sums
    from fiducial.cli.output import print_json

    sums = {layer: {"modules": count, "sum": six} for layer, (count, six) in layer_sums(constants).items()}
    print_json({"file": str(file), "adler32": adler32, "constants": constants, "sums": sums})


def _show_csv(constants: Constants) -> None:
    typer.echo("key,level," + ",".join(f"{axis}_{'rad' if axis.startswith('r') else 'mm'}" for axis in _AXES))
    from fiducial.alignment.constants.compare import level

    for key in sorted(constants):
        typer.echo(",".join([key, level(key), *map(repr, constants[key])]))


def _show_table(file: Path, adler32: str, constants: Constants) -> None:
    from fiducial.alignment.constants.compare import layer_sums, level
    from fiducial.cli.output import print_table
    from fiducial.core.wording import plural

    typer.echo(f"{file}: {plural(len(constants), 'key')}, Adler-32 {adler32}")
    if not constants:
        typer.echo("no constants: everything is at its nominal place")
        return
    typer.echo("")
    rows = [(key, level(key), *_readable(six)) for key, six in sorted(constants.items(), key=_by_level)]
    print_table(("key", "", *_HEADINGS), rows, right=_HEADINGS)
    sums = layer_sums(constants)
    if sums:
        typer.echo("\nsums over the modules of each layer")
        lines = [(layer, count, *_readable(map(_rounded, six))) for layer, (count, six) in sums.items()]
        print_table(("layer", "modules", *_HEADINGS), lines, right=_HEADINGS)


def _by_level(item: tuple[str, Any]) -> tuple[int, str]:
    return len(item[0]), item[0]


def _rounded(total: float) -> float:
    """A sum without what rounding has left of terms that cancel."""
    return total if abs(total) > 1e-12 else 0.0


def _readable(six: Iterable[float]) -> list[str]:
    from fiducial.alignment.constants.compare import readable

    return [readable(value, axis) for value, axis in zip(six, _AXES, strict=True)]


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="Constants, or the truth.json of a simulation.")],
    second: Annotated[Path, typer.Argument(help="Constants, or the truth.json of a simulation.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="What differs by no more, in mm or rad, counts as equal.")
    ] = 0.0,
    geometry: Geometry = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="Rows of each table; 0 for all.")] = 20,
    json_: Json = False,
) -> None:
    """Compare two files number by number, the largest differences first.

    Exits with 0 if they are equal, with 1 if they differ. A key that only one file has is compared with zeros.
    """
    from fiducial.alignment.constants.compare import differences, read_any
    from fiducial.cli.output import print_json

    detector = _detector(geometry)
    sides = [read_any(path, detector) for path in (first, second)]
    found = differences(sides[0][0], sides[1][0], tolerance)
    alone = {
        "only_first": sorted(sides[0][0].keys() - sides[1][0].keys()),
        "only_second": sorted(sides[1][0].keys() - sides[0][0].keys()),
    }
    if json_:
        listed = [{"key": d.key, "axis": d.axis, "first": d.first, "second": d.second} for d in found]
        files = {"first": str(first), "second": str(second), "tolerance": tolerance, "equal": not found}
        print_json(files | alone | {"differences": listed})
    else:
        _show_alone(first, alone["only_first"])
        _show_alone(second, alone["only_second"])
        if "truth" in (sides[0][1], sides[1][1]):
            typer.echo(
                "a truth has motions of the whole that no fit can see: only differences of differences are errors"
            )
        _show_differences(found, tolerance, rows or len(found))
    if found:
        raise typer.Exit(1)


def _show_alone(file: Path, keys: Sequence[str]) -> None:
    if keys:
        shown = ", ".join(keys[:12]) + (f" and {len(keys) - 12} more" if len(keys) > 12 else "")
        typer.echo(f"only in {file}: {shown}")


def _show_differences(found: Sequence[Difference], tolerance: float, rows: int) -> None:
    from fiducial.alignment.constants.compare import level, readable, unit_of
    from fiducial.cli.output import print_table

    within = f" by more than {tolerance:g} mm or rad" if tolerance else ""
    if not found:
        typer.echo(f"no number differs{within}")
    for turns, what in ((False, "shifts"), (True, "rotations")):
        chosen = [one for one in found if one.turns == turns]
        if not chosen:
            continue
        unit = unit_of(chosen[0].axis)
        typer.echo(f"\n{len(chosen)} {what} differ{within}")
        lines = [
            (one.key, level(one.key), one.axis, *(readable(v, one.axis) for v in (one.first, one.second, one.change)))
            for one in chosen[:rows]
        ]
        numbers = [f"{name} ({unit})" for name in ("first", "second", "difference")]
        print_table(("key", "", "axis", *numbers), lines, right=numbers)
        if len(chosen) > rows:
            typer.echo(f"… and {len(chosen) - rows} more; --rows 0 shows all")


@app.command()
def plot(
    files: Annotated[list[Path], typer.Argument(help="Constants, e.g. of all iterations in their order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture, .svg or .png.")] = Path("constants.svg"),
    geometry: Geometry = None,
    evolution: Annotated[bool, typer.Option("--evolution", help="Files along the axis, a line for each part.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Draw constants by station, layer and module; several files over each other, or one after the other."""
    from fiducial.alignment.constants.compare import read_any
    from fiducial.alignment.constants.picture import Named, draw_constants
    from fiducial.alignment.report.svg import check_picture
    from fiducial.cli.output import print_json
    from fiducial.core.errors import UsageError
    from fiducial.storage.replace import replace_bytes

    check_picture(output)
    if evolution and len(files) < 2:
        raise UsageError("--evolution needs two files or more", hint="give the constants of all iterations")
    detector = _detector(geometry)
    named = [Named(name, read_any(path, detector)[0]) for name, path in zip(_short_names(files), files, strict=True)]
    replace_bytes(output, draw_constants(named, output.suffix, evolution=evolution))
    if json_:
        print_json({"output": str(output), "files": [str(path) for path in files]})
    else:
        typer.echo(f"{output} is drawn")


def _short_names(files: Sequence[Path]) -> list[str]:
    """Paths without the folders that all have in common, and without the file's name if that is the same."""
    parts = [list(path.parts) for path in files]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({words[0] for words in parts}) == 1:
        parts = [words[1:] for words in parts]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({words[-1] for words in parts}) == 1:
        parts = [words[:-1] for words in parts]
    return ["/".join(words[-2:]) for words in parts]


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Constants, e.g. inputforalign.txt.")],
    geometry: Geometry = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the grammar of files of constants to the letter, and name every mistake with its place.

    Exits with 1 if there is a mistake; sizes that are unlikely are only warned of.
    """
    from fiducial.alignment.constants.check import check_file
    from fiducial.cli.output import print_json

    detector = _detector(geometry)
    found = [check_file(path, detector) for path in files]
    if json_:
        print_json([one.to_json() for one in found])
    else:
        for one in found:
            _show_checked(one)
    if not all(one.sound for one in found):
        raise typer.Exit(1)


def _show_checked(checked: Checked) -> None:
    from fiducial.alignment.constants.check import excerpt
    from fiducial.core.wording import plural

    for fault in checked.faults:
        kind = "warning" if fault.level == "warning" else "error"
        typer.echo(f"{checked.path}: {kind}: character {fault.position}: {fault.what}")
        for line in excerpt(checked.text, fault.position):
            typer.echo(f"  {line}")
        typer.echo(f"  hint: {fault.hint.strip()}")
    wrong = sum(fault.level != "warning" for fault in checked.faults)
    sound = plural(wrong, "mistake") if wrong else "sound"
    about = plural(len(checked.keys), "key") if checked.keys else "no constants"
    typer.echo(f"{checked.path}: {sound}, {about}, Adler-32 {checked.adler32}")
