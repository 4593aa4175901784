"""``fiducial alignment recipe``: what a solve step is told, as files that can be shown, changed and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.alignment.iteration.steeringfiles import Plan

app = subject_app(no_args_is_help=True, help="List, show and check recipes: cuts, parameters, constraints, steps.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="list")
def list_(json_: Json = False) -> None:
    """List the recipes that come with the package."""
    from fiducial.alignment.iteration.recipe import find_recipe, recipe_names
    from fiducial.cli.output import print_json, print_table

    recipes = [find_recipe(name) for name in recipe_names()]
    rows = [(one.name, ", ".join(step.name for step in one.steps), one.description) for one in recipes]
    if json_:
        print_json([dict(zip(("name", "steps", "description"), row, strict=True)) for row in rows])
        return
    print_table(("recipe", "steps", "what it is"), rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a recipe, or its file.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with all defaults; null is no limit.")] = False,
) -> None:
    """Print a recipe: `show NAME > my.toml` is the start of an own one."""
    from fiducial.alignment.iteration.recipe import find_recipe, recipe_text
    from fiducial.cli.output import print_json

    recipe = find_recipe(name)
    if json_:
        print_json({"name": recipe.name, **recipe.model_dump(mode="json")})
        return
    typer.echo(recipe_text(name), nl=False)


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="File of a recipe, or a name.")],
    geometry: Annotated[
        Path | None, typer.Option("--geometry", "-g", help="Geometry file of the detector; by default FASER's tracker.")
    ] = None,
    stations: Annotated[int | None, typer.Option(help="How many take part, from the last.")] = None,
    json_: Json = False,
) -> None:
    """Check a recipe, and tell what each step would fit of a detector."""
    from fiducial.alignment.iteration.recipe import find_recipe
    from fiducial.alignment.iteration.steeringfiles import Plan
    from fiducial.alignment.tracker.geometryfile import find_geometry
    from fiducial.cli.output import print_json, print_table

    detector = find_geometry(geometry).detector
    plan = Plan(detector, detector.stations(stations), find_recipe(recipe))
    plan.check()
    steps = [_step(plan, number) for number in range(len(plan.recipe.steps))]
    if json_:
        about = {"recipe": plan.recipe.name, "detector": detector.name, "parameters": len(plan.known)}
        print_json({**about, "steps": steps})
        return
    typer.echo(f"recipe {plan.recipe.name} for {detector.name}: {len(plan.known)} parameters")
    rows = [(one["name"], one["free"], one["constraints"], _counted(one["by_level"])) for one in steps]
    print_table(("step", "free", "constraints", "free of"), rows)


def _step(plan: Plan, number: int) -> dict[str, Any]:
    from collections import Counter

    step = plan.recipe.steps[number]
    free = plan.free(step)
    levels = Counter(f"{plan.known[label].level}s' {plan.known[label].axis}" for label in free)
    constraints = len(plan.constraints(step))
    return {"name": step.name, "free": len(free), "constraints": constraints, "by_level": dict(levels), "labels": free}


def _counted(levels: dict[str, int]) -> str:
    return ", ".join(f"{number} {level}" for level, number in levels.items())
