"""pydantic's errors in plain English, with the place a user wrote and the nearest known key.

Imported only when there is an error to tell.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ValidationError

from fiducial.core.findings import Finding
from fiducial.core.variables import nearest
from fiducial.core.workflow import Workflow

__all__ = ["findings_of"]

_Place = tuple[str, ...]
_Line = Callable[[str], int | None]

_SHORT = 40

#: What pydantic's error types want to see, in words.
_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def findings_of(error: ValidationError, data: Any, line: _Line) -> list[Finding]:
    """Every mistake once.

    Args:
        data: what was validated; tells the keys that a user wrote from pydantic's own marks in a place.
    """
    errors = [(_place(item["loc"], data), item) for item in error.errors(include_url=False)]
    # The members of a union report one after the other; all that lies under one field is one story.
    groups = groupby(errors, key=lambda pair: _field(pair[0], pair[1]["loc"]))
    return [finding for _, group in groups for finding in _group(list(group), line)]


def _place(loc: Sequence[int | str], data: Any) -> _Place:
    """The part of a location that the user knows: without names of union members and of validators."""
    place: list[str] = []
    for part in loc:
        inside = _inside(data, part)
        if inside is not None:
            data = inside[0]
            place.append(str(part))
    return tuple(place)


def _inside(data: Any, part: int | str) -> tuple[Any] | None:
    if isinstance(data, BaseModel):
        data = data.model_dump(by_alias=True)
    if isinstance(data, str) and str(part) == "0":
        return (data,)  # inputs = "a" stands for inputs = ["a"]
    if isinstance(data, Mapping) and part in data:
        return (data[part],)
    if isinstance(data, list | tuple) and str(part).isdigit() and int(part) < len(data):
        return (data[int(part)],)
    return None


def _field(place: _Place, loc: Sequence[int | str]) -> tuple[Any, ...]:
    """Equal for errors that are answers of one union to one value."""
    for length, (shown, part) in enumerate(zip(place, loc, strict=False)):
        if shown != str(part):
            return place[:length]
    return (*place, *(loc[len(place) :] if len(loc) == len(place) + 1 and not _is_mark(loc[-1]) else ()))


def _is_mark(part: int | str) -> bool:
    return str(part) in {"str", "int", "float", "bool", "Glob"} or "[" in str(part)


def _group(errors: list[tuple[_Place, Any]], line: _Line) -> list[Finding]:
    deepest = max(len(place) for place, _ in errors)
    chosen = [(place, item) for place, item in errors if len(place) == deepest]
    wanted = dict.fromkeys(_WANTED[item["type"]] for _, item in chosen if item["type"] in _WANTED)
    telling = [(place, item) for place, item in chosen if item["type"] not in _WANTED]
    # A literal beside another member of a union (a size, or 0) is the less likely wish.
    telling = [pair for pair in telling if pair[1]["type"] != "literal_error"] or telling
    if telling:
        return [_finding(place, item, line) for place, item in telling]
    place, item = chosen[0]
    return [_wrong_type(place, list(wanted), item["input"], line)]


def _wrong_type(place: _Place, wanted: Sequence[str], given: Any, line: _Line) -> Finding:
    where = ".".join(place)
    if "a table" in wanted and len(place) > 1 and place[-2] in {"after", "inputs", "outputs"}:
        wanted = ["text in quotes", *wanted]
    words = " or ".join([", ".join(wanted[:-1]), wanted[-1]] if len(wanted) > 1 else wanted)
    suggestion = ""
    if "text in quotes" in wanted and isinstance(given, int | float):
        suggestion = f'write "{str(given).lower() if isinstance(given, bool) else given}"'
    elif "a list" in wanted and isinstance(given, str):
        suggestion = f"write {json.dumps(given.split())}" if len(given) < _SHORT else "put its words in [ ]"
    return Finding("error", where, line(where), f"must be {words}; here: {_shown(given)}", suggestion)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def _finding(place: _Place, item: Mapping[str, Any], line: _Line) -> Finding:
    here = ".".join(place)
    message, suggestion, where = _message(place, item)
    return Finding("error", where, line(here), message, suggestion)


def _message(place: _Place, item: Mapping[str, Any]) -> tuple[str, str, str]:
    """Message, suggestion, and the place to name."""
    here, parent = ".".join(place), ".".join(place[:-1])
    kind, loc, context = item["type"], item["loc"], item.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(place[:-1])
        close = nearest(place[-1], known)
        return f"unknown key '{place[-1]}'", close or f"known here: {', '.join(known)}", parent
    if kind == "missing":
        return f"'{loc[-1]}' is missing", "", here
    if kind == "string_pattern_mismatch" and (loc[-1] == "[key]" or here != "name"):
        return f"'{item['input']}' is no name", "a name has letters, digits and _ and begins with a letter", here
    if kind == "string_pattern_mismatch":
        return f"'{item['input']}' is no name for a workflow", "use letters, digits, _, . and - only", here
    if kind in {"too_short", "dict_too_short"}:
        return "is empty", "give at least one", here
    if kind == "literal_error":
        return f"must be {context['expected']}; here: {_shown(item['input'])}", "", here
    return _plain(item["msg"]), "", here


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _known_keys(place: Iterable[str]) -> list[str]:
    """Keys that the table at ``place`` may have."""
    model: type[BaseModel] = Workflow
    keyed = False
    for part in place:
        if keyed:  # the name of a step or output, or the number of an item
            keyed = False
            continue
        field = next((info for name, info in model.model_fields.items() if part in (name, info.alias)), None)
        if field is None:
            continue
        keyed = typing.get_origin(field.annotation) in (dict, list)
        model = _model_in(field.annotation) or model
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := _model_in(part))), None)
