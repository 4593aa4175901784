"""Options and words of the command line that several subjects have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from fiducial.core.errors import UsageError

__all__ = ["SiteName", "parse_set"]

SiteName = Annotated[
    str | None,
    typer.Option(
        "--site",
        "--backend",
        metavar="NAME",
        help="Where jobs run: a site of fiducial.toml, or a batch system; default: this machine.",
    ),
]


def parse_set(words: Iterable[str]) -> dict[str, Any]:
    """Read ``--set name=value``: numbers, lists and true or false as in TOML, anything else as text.

    Raises:
        UsageError: a word without ``=``, or a name twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        name = name.strip()
        if not sign or not name:
            raise UsageError(f"--set {word}: a name, = and a value are needed", hint="for example --set shift=0.5")
        if name in values:
            raise UsageError(f"--set {name} is given twice")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    import tomllib

    # A line end or a comment would make more of the word than one value.
    if "\n" in text or "#" in text:
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str | int | float | list | dict) else text
