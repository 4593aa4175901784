"""Batch systems by name. They are found through the entry-point group ``fiducial.backends``, ours like anybody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fiducial.batch.backend import Backend
from fiducial.batch.site import Site
from fiducial.core.errors import ConfigurationError
from fiducial.core.variables import nearest

__all__ = ["Kind", "find_kind", "kind_names", "read_site"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of batch system: what an entry point of the group ``fiducial.backends`` names.

    Args:
        label: its name for people.
        site: what stands in the table of a site that has it.
        open: makes its backend, for a site and a folder, in the campaign's, where it keeps what it submits.
    """

    label: str
    site: type[Site]
    open: Callable[[Any, Path], Backend]


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="fiducial.backends")}


def kind_names() -> list[str]:
    """Names of all batch systems that can be used here."""
    return sorted(_found())


def find_kind(name: str) -> Kind:
    """The batch system of that name.

    Raises:
        ConfigurationError: there is none, or what it needs is not installed.
    """
    found = _found()
    if name not in found:
        hint = nearest(name, found) or f"known: {', '.join(sorted(found))}"
        raise ConfigurationError(f"there is no batch system '{name}'", hint=hint)
    try:
        kind = found[name].load()
    except ImportError as error:
        raise ConfigurationError(f"the batch system '{name}' cannot be used: {error}") from None
    assert isinstance(kind, Kind)
    return kind


def read_site(name: str, table: Mapping[str, Any], source: str) -> Site:
    """A site from its table in a settings file.

    Args:
        source: the file, for errors.

    Raises:
        ConfigurationError: a key is not known or its value does not fit; all of them are named.
    """
    where = f"{source}: sites.{name}"
    backend = table.get("backend", name)
    if not isinstance(backend, str):
        raise ConfigurationError(f"{where}: backend is not the name of a batch system")
    try:
        model = find_kind(backend).site
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error.message}", hint=error.hint) from None
    try:
        return model.model_validate({**table, "name": name, "backend": backend})
    except ValidationError as error:
        lines = [_told(where, each["loc"], _message(each, model)) for each in error.errors()]
        hint = f"keys of such a site: {', '.join(key for key in model.model_fields if key != 'name')}"
        raise ConfigurationError("\n".join(lines), hint=hint) from None


def _message(error: ErrorDetails, model: type[Site]) -> str:
    """Pydantic's words, but for those that are none of a user's."""
    if error["type"] != "extra_forbidden":
        return error["msg"]
    close = nearest(str(error["loc"][-1]), model.model_fields)
    return f"no such key{f'; {close}' if close else ''}"


def _told(where: str, place: Sequence[int | str], message: str) -> str:
    """What is wrong with a table, or with a key in it."""
    return f"{'.'.join([where, *map(str, place)])}: {message.removeprefix('Value error, ')}"
