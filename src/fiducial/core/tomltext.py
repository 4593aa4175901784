"""Values in the text of a TOML file replaced, its comments kept: for files that people go on with."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from fiducial.core.errors import ConfigurationError
from fiducial.core.positions import positions

__all__ = ["toml_value", "with_values"]

_LINE = re.compile(r'(?P<key>\s*[\w.-]+\s*=\s*)(?P<value>.*?)(?P<comment>\s+#[^"]*)?')
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """The text with other values, each on the line of the old one.

    Args:
        text: TOML in which every key that is replaced has a line of its own.
        values: by dotted place, ``steps.reco.resources``; None takes the key out, as a comment.

    Raises:
        KeyError: the text has no such key.
        ConfigurationError: a value cannot be written as TOML.
    """
    places = positions(text)
    lines = text.split("\n")
    for place, value in values.items():
        number = places[place] - 1
        match = _LINE.fullmatch(lines[number])
        if match is None:
            raise KeyError(place)
        if value is None:
            lines[number] = f"# {lines[number]}"
        else:
            lines[number] = f"{match['key']}{toml_value(value)}{match['comment'] or ''}"
    changed = "\n".join(lines)
    tomllib.loads(changed)  # a value that ended elsewhere than its line would leave a rest behind
    return changed


def toml_value(value: Any) -> str:
    """A value as TOML writes it.

    Raises:
        ConfigurationError: text with control characters, or a value of another kind.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    raise ConfigurationError(f"{value!r} cannot stand in a TOML file")


def _text(value: str) -> str:
    if _CONTROL.search(value):
        raise ConfigurationError(f"{value!r} has characters that cannot be printed", hint="give it another name")
    return json.dumps(value, ensure_ascii=False)
