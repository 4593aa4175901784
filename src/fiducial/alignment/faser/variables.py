"""Values of a workflow's variables that can never work, found before the first iteration and not after it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from fiducial.core.errors import UsageError
from fiducial.core.variables import nearest

__all__ = ["must_be_known", "must_be_of_their_kind", "must_leave_one_direction"]

_DIRECTIONS = ("--noForward", "--noBackward")


def must_be_known(names: Iterable[str], packaged: Mapping[str, Any]) -> None:
    """The workflow has all variables that are set.

    Raises:
        UsageError: one is not known.
    """
    for name in names:
        if name not in packaged:
            hint = nearest(name, packaged) or f"it has: {', '.join(sorted(packaged))}"
            raise UsageError(f"the workflow has no variable '{name}'", hint=hint)


def must_be_of_their_kind(names: Iterable[str], values: Mapping[str, Any], packaged: Mapping[str, Any]) -> None:
    """Variables that are set are of the kind that the packaged workflow has: numbers, words, true or false.

    Args:
        names: of those that are set.
        values: of all variables, filled in.
        packaged: values of the packaged workflow.

    Raises:
        UsageError: one is not.
    """
    for name in names:
        wanted = _fault(values[name], packaged[name])
        if wanted:
            hint = f"for example --set {name}={_example(packaged[name])}"
            raise UsageError(f"{name}: must be {wanted}; here: {json.dumps(values[name], default=str)}", hint=hint)


def _fault(value: Any, packaged: Any) -> str:
    """What it must be; empty when it is that."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(packaged, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(packaged, int):
        return "" if number and isinstance(value, int) and value >= 0 else "a whole number, 0 at least"
    if isinstance(packaged, float):
        return "" if number and math.isfinite(value) and value >= 0 else "a number, 0 at least"
    if isinstance(packaged, list):
        return "" if isinstance(value, list) and all(map(_is_word, value)) else "a list of words"
    return "" if _is_word(value) else "text"


def _is_word(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _example(packaged: Any) -> str:
    if isinstance(packaged, list):
        return f"'{json.dumps(packaged or ['--threads', '4'])}'"
    return json.dumps(packaged) if not isinstance(packaged, str) else f"'{packaged}'"


def must_leave_one_direction(words: Iterable[str], stations: int) -> None:
    """The reconstruction fits the tracks of an alignment in one direction, through the stations that are aligned.

    Raises:
        UsageError: its words leave none or both, or not those stations.
    """
    words = list(words)
    given = [word for word in _DIRECTIONS if word in words]
    if len(given) == 2:
        raise UsageError(
            "--noForward and --noBackward together leave no tracks",
            hint="--noForward is there by default; -- --noBackward stands in its place",
        )
    if not given:
        raise UsageError(
            "reco_options: an alignment takes tracks of one direction, and these words leave both",
            hint=f"add {' or '.join(_DIRECTIONS)}",
        )
    if stations == 4 and "--noIFT" in words:
        raise UsageError("--noIFT leaves three of four stations", hint="--threest aligns three, and gives it that word")
