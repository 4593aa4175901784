"""What a value of ``config.json`` may be: counts, sizes, flavours, true or false."""

from __future__ import annotations

import json
from typing import Any

from fiducial.core.errors import UsageError

__all__ = ["parse_count", "parse_flavour", "parse_memory", "parse_yes"]


def parse_yes(value: Any) -> bool:
    """True or false.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, bool):
        raise UsageError(f"must be true or false; here: {json.dumps(value)}")
    return value


def parse_count(value: Any, least: int = 1) -> int:
    """A whole number, as a number or as text.

    Raises:
        UsageError: it is none, or too small.
    """
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < least:
        raise UsageError(f"must be a whole number, {least} at least; here: {json.dumps(value)}")
    return int(value)


def parse_memory(value: Any, unit: str) -> str:
    """A size, whose unit may be left out: HTCondor counts memory in MB and disk in KB then.

    Raises:
        UsageError: it is none.
    """
    from fiducial.core.resources import parse_size

    text = str(value).strip()
    text = f"{text} {unit}" if text.isdecimal() else text
    try:
        parse_size(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return text


def parse_flavour(value: Any) -> str:
    """One of HTCondor's classes of wall time at CERN.

    Raises:
        UsageError: it is none.
    """
    from fiducial.core.resources import FLAVOURS

    if value not in FLAVOURS:
        raise UsageError(f"'{value}' is no flavour", hint=f"known: {', '.join(FLAVOURS)}")
    return str(value)
