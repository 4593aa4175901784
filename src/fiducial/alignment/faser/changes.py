"""What an alignment that was begun was asked for otherwise than the command that would go on with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fiducial.alignment.constants.values import checksum
from fiducial.core.workflow import Workflow

__all__ = ["LASTING", "changed_constants", "changes"]

#: Variables without which earlier iterations would be another alignment's.
LASTING = (
    *("year", "run", "files", "stations", "events", "seed"),
    *("initial_constants", "first_iteration", "recipe"),
)
#: Whole paths are shown, and scripts are not.
_LONGEST = 160
_VARIABLES = "variables."


def changes(before: Workflow, now: Workflow) -> dict[str, str]:
    """What differs, by variable, or by dotted place where it is none: ``max_iterations`` is ``6 -> 7``, for example."""
    was, is_ = (dict(_places(workflow.model_dump(by_alias=True, mode="json"))) for workflow in (before, now))
    differing = [place for place in {**was, **is_} if was.get(place) != is_.get(place)]
    return {
        place.removeprefix(_VARIABLES): f"{_short(was.get(place))} -> {_short(is_.get(place))}"
        for place in sorted(differing, key=lambda place: not place.startswith(_VARIABLES))
    }


def _places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield place, value
        return
    for key, item in value.items():
        yield from _places(item, f"{place}.{key}" if place else str(key))


def _short(value: Any) -> str:
    text = "nothing" if value is None or value == "" else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def changed_constants(given: Path | None, copy: Path) -> str:
    """How a file of constants differs from the copy that an iteration began with; empty if it does not.

    Args:
        given: the file; None for none.
        copy: what was taken of it, which is not there before that.
    """
    if given is None or not given.is_file() or not copy.is_file():
        return ""
    now, then = checksum(given), checksum(copy)
    return "" if now == then else f"{given} has the Adler-32 {now}, and {copy}, which was taken of it, has {then}"
