"""Ranges of run and file numbers as people in the counting room write them."""

from __future__ import annotations

import re

from fiducial.core.errors import UsageError

__all__ = ["format_range", "parse_range"]

_RANGE = re.compile(r"\s*(\d+)\s*(?:[-:]\s*(\d+)\s*)?")
_HINT = "write one number (400), or a half-open range: 450-500 and 450:500 both mean the 50 files 450 to 499"


def parse_range(text: str | int) -> range:
    """Read ``450-500``, ``450:500`` (both half open: 50 numbers) or ``400`` (one number).

    Raises:
        UsageError: the text is not a range, or holds no number at all.
    """
    match = _RANGE.fullmatch(str(text))
    if match is None:
        raise UsageError(f"'{text}' is not a range of numbers", hint=_HINT)
    first = int(match[1])
    end = int(match[2]) if match[2] else first + 1
    if end <= first:
        raise UsageError(f"the range '{text}' is empty: it ends before it begins", hint=_HINT)
    return range(first, end)


def format_range(numbers: range) -> str:
    """Write numbers as they stand in names of folders: ``450-500`` (half open), or ``400`` for a single one."""
    return f"{numbers.start}-{numbers.stop}" if len(numbers) > 1 else str(numbers.start)
