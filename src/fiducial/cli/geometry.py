"""``fiducial alignment geometry``: files that say what a detector is, shown and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.alignment.tracker.geometryfile import Geometry

app = subject_app(no_args_is_help=True, help="Show and check geometry files: planes, sensors, magnets, beam.")

File = Annotated[str, typer.Argument(help="Geometry file, or faser for the built-in one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    file: File,
    picture: Annotated[Path | None, typer.Option(help="Draw it from the side and from above, .svg or .png.")] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print it as a geometry file, complete, to be changed.")] = False,
    json_: Json = False,
) -> None:
    """List a detector's layers and what it measures; or draw it; or print it as a file."""
    from fiducial.alignment.tracker.geometryfile import find_geometry, geometry_text
    from fiducial.cli.output import print_json, print_table

    known = find_geometry(file)
    if picture:
        _draw(known, picture)
    if toml:
        typer.echo(geometry_text(known), nl=False)
        return
    about = _about(known)
    if json_:
        print_json(about)
        return
    _print_about(about)
    typer.echo("")
    print_table(("layer", "name", "z (mm)", "modules", "sensors"), [tuple(layer.values()) for layer in about["layers"]])


def _draw(known: Geometry, picture: Path) -> None:
    from fiducial.alignment.report.svg import check_picture
    from fiducial.alignment.tracker.geometrypicture import draw_detector
    from fiducial.storage.replace import replace_bytes

    check_picture(picture)
    replace_bytes(picture, draw_detector(known.detector, picture.suffix))
    typer.echo(f"{picture} is drawn", err=True)


@app.command()
def check(file: File, json_: Json = False) -> None:
    """Check a geometry file, and tell whether its recipe fits it."""
    from fiducial.alignment.iteration.recipe import find_recipe
    from fiducial.alignment.iteration.steeringfiles import Plan
    from fiducial.alignment.tracker.geometryfile import find_geometry
    from fiducial.cli.output import print_json

    known = find_geometry(file)
    plan = Plan(known.detector, known.detector.stations(), find_recipe(known.recipe))
    plan.check()
    free = {label for step in plan.recipe.steps for label in plan.free(step)}
    about = {**_about(known), "parameters": len(plan.known), "free": len(free)}
    if json_:
        print_json(about)
        return
    _print_about(about)
    typer.echo(f"recipe           {known.recipe}: fits {len(free)} of {len(plan.known)} parameters")


def _about(known: Geometry) -> dict[str, Any]:
    detector = known.detector
    names = {plane.key[:2]: plane.name for plane in detector.planes}
    layers = [
        {
            "layer": key,
            "name": names[key],
            "z_mm": detector.layer_z[key],
            "modules": sum(plane.key[:2] == key for plane in detector.planes),
            "sensors": int((detector.layer == number).sum()),
        }
        for key, number in detector.keys[1].items()
    ]
    return {
        "name": detector.name,
        "stations": len(detector.keys[0]),
        "modules": len(detector.planes),
        "sensors": len(detector.channels),
        "channels": int(detector.channels.sum()),
        "magnets": len(detector.magnets),
        "track_parameters": detector.track_parameters,
        "recipe": known.recipe,
        "layers": layers,
    }


def _print_about(about: dict[str, Any]) -> None:
    from fiducial.core.wording import plural

    field = plural(about["magnets"], "magnet") if about["magnets"] else "no field: tracks are straight"
    parts = [plural(about[f"{name}s"], name) for name in ("station", "module", "sensor", "channel")]
    typer.echo(f"{about['name']:<16} {', '.join(parts)}; {field}")
    if about["stations"] > 1:
        typer.echo(f"stations         {_stations([layer['layer'] for layer in about['layers']])}")


def _stations(layers: list[str]) -> str:
    """Which layers stand in which station. An eleventh plane without a key begins one that nobody may have meant."""
    found = {digit: [key for key in layers if key[0] == digit] for digit in dict.fromkeys(key[0] for key in layers)}
    each = (f"{digit} ({' to '.join(dict.fromkeys((keys[0], keys[-1])))})" for digit, keys in found.items())
    return f"{', '.join(each)}: the first digit of a layer's key"
