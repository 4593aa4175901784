"""Words that choose parameters: ``layers 0? *``, ``sides 21* x``, ``modules * rz``, ``211-215``.

A pattern is one of

- a level (``stations``, ``layers``, ``modules``, ``sides``, or ``*`` for every one), digits, axes. Digits are those of
  the part's key (station, layer, module, side, each from 0), with ``?`` for any digit and ``*`` for any digits, or a
  list with commas; axes are names with commas, or ``*``. Digits and axes may be left out at the end: all of them.
- a label, or a range of labels with both ends: ``101-125``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from fiducial.alignment.tracker.numbering import AXES, LEVELS, Level, Meaning

__all__ = ["chosen", "mistake", "without_match"]

_LABELS = re.compile(r"(\d+)(?:-(\d+))?")
_DIGITS = re.compile(r"[0-9?*]+(?:,[0-9?*]+)*")
_NAMES: dict[str, tuple[Level, ...]] = {f"{level}s": (level,) for level in LEVELS} | {"*": LEVELS}


def mistake(pattern: str) -> str:
    """What is wrong with a pattern; empty if nothing is."""
    if _LABELS.fullmatch(pattern):
        return ""
    words = pattern.split()
    if not words or words[0] not in _NAMES:
        return f"'{pattern}' begins neither with a label nor with one of {', '.join(_NAMES)}"
    if len(words) > 3:
        return f"'{pattern}' has more than level, digits and axes"
    if len(words) > 1 and not _DIGITS.fullmatch(words[1]):
        return f"'{words[1]}' in '{pattern}' is not made of digits, ? and *"
    unknown = [axis for axis in words[2].split(",") if axis not in (*AXES, "*")] if len(words) > 2 else []
    return f"'{unknown[0]}' in '{pattern}' is none of the axes {', '.join(AXES)}" if unknown else ""


def without_match(pattern: str, parts: Mapping[Level, Collection[str]], labels: Collection[int]) -> str:
    """Say which entry of a pattern names nothing that there is; empty if each names something.

    Args:
        pattern: one without a :func:`mistake`.
        parts: digits of all stations, layers, modules and sides, by level.
        labels: all that there are.
    """
    numbers = _LABELS.fullmatch(pattern)
    if numbers:
        found = any(_in_range(numbers, label) for label in labels)
        return "" if found else f"'{pattern}' is no label of a parameter"
    name, entries, _ = [*pattern.split(), "*", "*"][:3]
    there = [part for level in _NAMES[name] for part in parts[level]]
    lost = next((one for one in entries.split(",") if not any(fnmatchcase(part, one) for part in there)), None)
    what = "part" if name == "*" else name.removesuffix("s")
    return "" if lost is None else f"'{lost}' in '{pattern}' is no {what}"


def _in_range(numbers: re.Match[str], label: int) -> bool:
    return int(numbers[1]) <= label <= int(numbers[2] or numbers[1])


def chosen(patterns: Iterable[str], known: Mapping[int, Meaning]) -> list[int]:
    """Labels that any of the patterns names, in the order in which they are known."""
    wanted = list(patterns)
    return [label for label, meaning in known.items() if any(_fits(one, label, meaning) for one in wanted)]


def _fits(pattern: str, label: int, meaning: Meaning) -> bool:
    numbers = _LABELS.fullmatch(pattern)
    if numbers:
        return _in_range(numbers, label)
    level, digits, axes = [*pattern.split(), "*", "*"][:3]
    if meaning.level not in _NAMES[level]:
        return False
    right_part = any(fnmatchcase(meaning.part, one) for one in digits.split(","))
    return right_part and (axes == "*" or meaning.axis in axes.split(","))
