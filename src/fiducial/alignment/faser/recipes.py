"""Which recipe an alignment of FASER's tracker takes: by its stations and constants, or by steps in FASER's words.

Steps in the words of ``config.json`` say what stays: ``{"set0": {"iters": 5, "pede": {"step0": ["IFT", 21, 41]}}}``.
"IFT" is the station in front and "3ST" the three behind it; "side" (once "local") are all sides and modules, "layer"
(once "global") all layers; a number is a layer as in labels, 21 or 210. "fixside" and "fixlayer", as FASER's steering
files are called, hold all sides or all layers, and the three stations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiducial.alignment.constants.values import read_constants
from fiducial.core.errors import DataError, NotFoundError, UsageError

__all__ = ["STEERING_NAMES", "recipe_of_sets", "usual_recipe"]

#: Of three stations, and of four from the beginning.
EVERYTHING = "one-fit"
#: Of the station in front alone, when constants for the others are there.
FRONT = "faser-4st"

_NONE = "left out, there is no such recipe for"
_ASK = "--recipe names one, or a file of your own that says it"

#: What FASER's steering files for the station in front are called, and the recipes that do the same.
STEERING_NAMES = {"fixside": "faser-4st-layers", "fixlayer": "faser-4st-sides"}
_STEERING_WORDS = {"fixside": {"side", "3ST"}, "fixlayer": {"layer", "3ST"}}

_OTHER_WORDS = {"local": "side", "global": "layer"}
_REFERENCE = {"21", "41"}
_OTHERS = {"20", "22", "30", "31", "32", "40", "42"}
#: Recipes by number of stations and by what their steps hold.
_KNOWN: dict[tuple[int, tuple[frozenset[str], ...]], str] = {
    (3, (frozenset(_REFERENCE), frozenset(_OTHERS))): "faser-3st",
    (4, (frozenset({"side", "3ST"}),)): "faser-4st-layers",
    (4, (frozenset({"layer", "3ST"}),)): "faser-4st-sides",
    (4, (frozenset({"3ST"}),)): "faser-4st",
}


def usual_recipe(stations: int, constants: Path | None) -> str:
    """The recipe that is taken where nobody asks for one.

    Four stations with constants for the three behind are the station in front against an aligned spectrometer.

    Args:
        stations: 3 or 4.
        constants: to begin with; one that cannot be read counts as none here.
    """
    if stations == 3 or constants is None:
        return EVERYTHING
    try:
        known = read_constants(constants)
    except (DataError, NotFoundError):
        return EVERYTHING
    return FRONT if any(key[0] != "0" and any(six) for key, six in known.items()) else EVERYTHING


def recipe_of_sets(sets: Mapping[str, Any], stations: int) -> tuple[str | None, str]:
    """The recipe that does what the first set of ``config.json``'s ``workflow`` says, and a sentence about it.

    Args:
        sets: the section ``workflow``.
        stations: 3 or 4.

    Returns:
        name of the recipe, or None where there is none that holds the same or nothing is said.

    Raises:
        UsageError: the section is none.
    """
    if not sets:
        return None, ""
    first, *others = sorted(sets)
    steps = _steps(sets[first], first)
    recipe = _KNOWN.get((stations, tuple(_held(step, stations) for step in steps)))
    said = " | ".join(", ".join(map(str, step)) or "nothing" for step in steps)
    told = f"workflow.{first}: steps that hold {said}: "
    told += f"recipe {recipe}" if recipe else f"{_NONE} {stations} stations; {_ASK}"
    if others:
        told += (
            f"; {', '.join(others)} left out: each is a campaign of its own, with --recipe, with --folder, and with "
            "--constants from the one before"
        )
    return recipe, told


def _steps(given: Any, name: str) -> list[Sequence[Any]]:
    pede = given.get("pede", {}) if isinstance(given, dict) else None
    if not isinstance(pede, dict) or not all(isinstance(step, list) for step in pede.values()):
        raise UsageError(f"{name}: must be a table with 'pede', whose steps are lists of what is held")
    return [pede[step] for step in sorted(pede)] or [[]]


def _held(step: Sequence[Any], stations: int) -> frozenset[str]:
    """What a step holds, in one of the ways to say it."""
    words = [str(word) for word in step]
    plain = [word[:2] if word.isdecimal() and len(word) == 3 and word[2] == "0" else word for word in words]
    held = set().union(*(_STEERING_WORDS.get(word, {_OTHER_WORDS.get(word, word)}) for word in plain))
    return frozenset(held - {"IFT"} if stations == 3 else held)
