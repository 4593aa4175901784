"""JSON as every program reads it: the words NaN and Infinity, which Python writes, are none."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

__all__ = ["finite", "json_text"]


def json_text(value: Any, **options: Any) -> str:
    """A value as JSON, with null in the place of numbers that are not finite; options are those of `json.dumps`."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:  # few values hold such a number, and to look at all others would take time
        return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: Any) -> Any:
    """The same value, with None in the place of numbers that are not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
