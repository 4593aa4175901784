"""What must be there before a campaign of FASER's alignment begins; an hour later it would be a failed job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fiducial.alignment.constants.values import read_constants
from fiducial.alignment.faser.campaign import Plan
from fiducial.alignment.faser.layout import every_iteration
from fiducial.alignment.faser.once import Once
from fiducial.alignment.faser.overwriting import is_claimed, refuse_to_overwrite, refuse_to_overwrite_iteration
from fiducial.alignment.iteration.recipe import find_recipe, load_recipe
from fiducial.alignment.iteration.steeringfiles import Plan as Steps
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.raw import raw_path
from fiducial.core.errors import ConfigurationError, FolderError, NotFoundError, StateError
from fiducial.core.filerange import parse_range

__all__ = ["check", "check_once", "inputs"]

_SCRIPT = "faser_reco_alignment.py"
_TEMPLATES = ("aligndb_template_head.sh", "aligndb_template_tail.sh")


def check(plan: Plan, *, taken_over: bool = False) -> list[str]:
    """Look for all that the campaign reads, and that its folder holds nothing that it would overwrite.

    Args:
        taken_over: whether it goes on with the iterations that lie there.

    Returns:
        what a user should know: some raw files that are missing, but few enough to go on without them.

    Raises:
        NotFoundError: something is missing.
        DataError: the constants to begin with cannot be read.
        FolderError: the folder holds iterations that were made one at a time, or what older scripts or somebody made.
    """
    if any(is_claimed(iteration.folder) for iteration in every_iteration(plan.prepared)):
        raise FolderError(
            f"{plan.prepared.folder} holds iterations that were made one at a time, with --once",
            hint="--folder chooses another folder for the campaign",
        )
    refuse_to_overwrite(plan, taken_over=taken_over)
    return _inputs(plan)


def check_once(plan: Plan, once: Once) -> list[str]:
    """The same for one iteration.

    Raises:
        NotFoundError: something is missing, such as the constants that the iteration before should have left.
        DataError: these cannot be read.
        FolderError: the folder belongs to a campaign of all iterations, or the iteration's holds what somebody made.
    """
    if is_claimed(once.base):
        raise FolderError(
            f"{once.base} belongs to a campaign of all iterations",
            hint="the same command without --once goes on with it; --folder chooses another folder",
        )
    if once.before is not None and not once.before.constants.is_file():
        found = once.before.constants
        hint = f"the fit of the iteration before writes them, with --new-constants {found}"
        raise NotFoundError(f"there are no constants to begin with: no {found}", hint=hint)
    refuse_to_overwrite_iteration(plan, once)
    return _inputs(plan)


def inputs(plan: Plan) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """What the campaign reads: names, and looks that raise an error where it is not there and tell what is unusual."""
    variables: Mapping[str, Any] = plan.source.workflow.variables
    if variables["initial_constants"]:
        yield "constants", lambda: _constants(Path(str(variables["initial_constants"])))
    yield "recipe", lambda: _recipe(plan, int(variables["stations"]))
    if plan.pede is not None:
        yield "pede", plan.pede.look
    if plan.script is not None:
        yield "environment script", plan.script.look
        yield "FASER's scripts", lambda: _source(Path(str(variables["source"])))
        yield "database", lambda: _database(Path(str(variables["database"])))
        yield "raw files", lambda: _raw_files(plan, Path(str(variables["raw"])))


def _inputs(plan: Plan) -> list[str]:
    return [note for _, look in inputs(plan) for note in look()]


def _constants(file: Path) -> list[str]:
    read_constants(file)
    return []


def _database(file: Path) -> list[str]:
    if not file.is_file():
        hint = "is CernVM-FS mounted here? --set database=PATH names another copy"
        raise NotFoundError(f"there is no conditions database '{file}'", hint=hint)
    return []


def _recipe(plan: Plan, stations: int) -> list[str]:
    """One alignment has one recipe, whatever becomes of the file that it was copied from."""
    copy, own = plan.recipe_copy, "/" in plan.recipe
    if copy.is_file() and not (own and Path(plan.recipe).is_file()):
        return []
    recipe = find_recipe(plan.recipe)
    try:
        Steps(FASER, FASER.stations(stations), recipe).check()
    except ConfigurationError as error:
        other = "--fourst" if stations == 3 else "--threest"
        raise ConfigurationError(
            error.message, hint=error.hint.replace("are other --stations", f"is {other}")
        ) from None
    if copy.is_file() and load_recipe(copy) != recipe:
        raise StateError(
            f"the alignment in {plan.prepared.folder} was begun with another {copy.name}, which is {copy}",
            hint="--folder OTHER begins an alignment with the recipe as it is now",
        )
    return []


def _source(folder: Path) -> list[str]:
    for name in (_SCRIPT, *(f"templates/{template}" for template in _TEMPLATES)):
        if not (folder / name).is_file():
            hint = f"--source names the folder of FASER's alignment scripts, with {_SCRIPT} and templates/ in it"
            raise NotFoundError(f"there is no {folder / name}", hint=hint)
    return []


def _raw_files(plan: Plan, raw: Path) -> list[str]:
    variables: Mapping[str, Any] = plan.source.workflow.variables
    year, run, files = variables["year"], variables["run"], parse_range(variables["files"])
    folder = raw_path(raw, year, run, files.start).parent
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError as error:
        hint = _runs(folder.parent) or "--raw names the folder of all raw files"
        raise NotFoundError(f"run {run:06d}: cannot list {folder}: {error.strerror}", hint=hint) from None
    missing = [number for number in files if raw_path(raw, year, run, number).name not in there]
    if not missing:
        return []
    said = f"{len(missing)} of {len(files)} raw files are not in {folder}: {_some(missing)}"
    if len(missing) > plan.source.workflow.steps["reco"].tolerate * len(files):
        raise NotFoundError(said, hint=f"it has {len(there)} files{_extent(there)}")
    return [f"{said}; it goes on without them"]


def _runs(year: Path) -> str:
    """Which runs there are, when that can be told."""
    try:
        runs = sorted(path.name for path in year.iterdir() if path.name.isdecimal())
    except OSError:
        return ""
    return f"{year} has {len(runs)} runs" + (f", {runs[0]} to {runs[-1]}" if runs else "")


def _extent(names: set[str]) -> str:
    raw = sorted(name for name in names if name.endswith(".raw"))
    return f", {raw[0]} to {raw[-1]}" if raw else ""


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown}, …"
