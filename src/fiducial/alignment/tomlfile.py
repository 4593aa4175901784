"""TOML files that users write, checked against a model: every mistake at once, each with its line and key.

Numbers in them are finite; the types that say so serve models and dataclasses alike.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from fiducial.core.errors import ConfigurationError
from fiducial.core.positions import positions

__all__ = ["NotNegative", "Part", "Positive", "is_file", "read_model"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Of a whole.
Part = Annotated[float, Field(ge=0, le=1)]

M = TypeVar("M", bound=BaseModel)

_KEY = re.compile(r"[a-z0-9_.-]+")


def is_file(name: str) -> bool:
    """Whether a name means a file of the user's, rather than something of that name that comes with the package."""
    return name.endswith(".toml") or "/" in name


def read_model(model: type[M], text: str, where: str, *, hint: str = "") -> M:
    """Read a model from a file's text.

    Args:
        model: what the file should be.
        text: of the file.
        where: the file as the user named it.
        hint: where help is to be found.

    Raises:
        ConfigurationError: the message has a line for each mistake: file, line, key and what is wrong.
    """
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where}: not TOML: {error}") from None
    except ValidationError as error:
        lines = positions(text)
        found = [_sentence(model, where, lines, mistake) for mistake in error.errors()]
        raise ConfigurationError("\n".join(found), hint=hint) from None


def _sentence(model: type[BaseModel], where: str, lines: dict[str, int], mistake: Any) -> str:
    place = [str(part) for part in mistake["loc"] if part != "[key]"]
    what = mistake["msg"].removeprefix("Value error, ")
    named = [*place, *_named(what)]
    known = [".".join(named[:depth]) for depth in range(len(named), 0, -1)]
    line = next((lines[key] for key in known if key in lines), None)
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        what = f"this key is not known{_nearest(model, place)}"
    key = f"{'.'.join(place)}: " if place else ""
    return f"{where}{'' if line is None else f':{line}'}: {key}{what}"


def _named(what: str) -> list[str]:
    """The key that a check of a whole table begins its sentence with."""
    key, colon, _ = what.partition(": ")
    return key.split(".") if colon and _KEY.fullmatch(key) else []


def _nearest(model: type[BaseModel], place: list[str]) -> str:
    names = _keys(_table_at(model, place[:-1]))
    close = difflib.get_close_matches(place[-1], names, n=1)
    return f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(names)}"


def _table_at(model: type[BaseModel], place: list[str]) -> type:
    table: type = model
    for part in place:
        if issubclass(table, BaseModel) and part in table.model_fields:
            table = _inner(table.model_fields[part]) or table
    return table


def _keys(table: Any) -> list[str]:
    return list(table.model_fields) if issubclass(table, BaseModel) else [field.name for field in fields(table)]


def _inner(field: FieldInfo) -> type | None:
    """The table in a field's type: ``Table``, ``Table | None``, ``tuple[Table, ...]`` or ``dict[str, Table]``.

    A table is a model or a dataclass.
    """
    waiting: list[Any] = [field.annotation]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
            return kind
        waiting += get_args(kind)
    return None
