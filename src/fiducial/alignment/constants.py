"""Alignment constants: the file ``inputforalign.txt``, and how the result of a fit is added to them.

The file is one line of JSON without its braces, ``"KEY": [x, y, z, rx, ry, rz], ...`` in mm and rad; a KEY is the
digits of a station, a layer in it and a module in that, as many as needed, each from 0. An empty file means that
there are no constants: everything is at its nominal place.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path

from fiducial.alignment.geometry import Detector
from fiducial.alignment.numbering import AXES, describe
from fiducial.core.errors import DataError, NotFoundError

__all__ = [
    "Constants",
    "accumulate",
    "checksum",
    "corrections",
    "fingerprint",
    "format_constants",
    "parse_constants",
    "read_constants",
    "replace_text",
    "write_constants",
]

Six = tuple[float, float, float, float, float, float]
Constants = dict[str, Six]

_ENTRY = re.compile(r'\s*"(?P<key>[^"]*)"\s*:\s*\[(?P<numbers>[^\[\]]*)\]\s*')
_KEY = re.compile(r"[0-3](?:[0-2][0-7]?)?")
_GRAMMAR = 'the file is one line of  "KEY": [x, y, z, rx, ry, rz],  with keys like "2" (station), "21" (layer), "217" '
_ZERO: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def read_constants(path: Path) -> Constants:
    """Read a file of constants.

    Raises:
        NotFoundError: there is no such file. No constants are an empty file, so that a lost one is not taken for none.
        DataError: the file is malformed; the message gives the key and the position, in characters from 1.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file of constants", hint="an empty file stands for no constants")
    try:
        return parse_constants(path.read_text(encoding="ascii"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start + 1} is no text", hint=_GRAMMAR) from None
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from None


def parse_constants(text: str) -> Constants:
    """Read constants from their text.

    Raises:
        DataError: a key is malformed or doubled, or does not have six finite numbers, or the punctuation is off.
    """
    constants: Constants = {}
    position = 0
    while text[position:].strip():
        entry = _ENTRY.match(text, position)
        if entry is None:
            raise DataError(f"no entry at character {position + 1}: {text[position : position + 30]!r}", hint=_GRAMMAR)
        key = entry["key"]
        _check_key(key, constants, entry.start("key") + 1)
        constants[key] = _six_numbers(entry["numbers"], f'key "{key}" at character {entry.start("key") + 1}')
        position = entry.end()
        if text[position : position + 1] not in ("", ","):
            raise DataError(f'no comma after key "{key}", at character {position + 1}', hint=_GRAMMAR)
        position += 1
    return constants


def _check_key(key: str, known: Mapping[str, Six], position: int) -> None:
    if not _KEY.fullmatch(key):
        raise DataError(f'key "{key}" at character {position} is no station, layer or module', hint=_GRAMMAR)
    if key in known:
        raise DataError(f'key "{key}" stands twice, again at character {position}', hint="remove one of the two")


def _six_numbers(text: str, where: str) -> Six:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise DataError(f"{where}: {error}", hint=_GRAMMAR) from None
    if len(numbers) != 6 or not all(map(isfinite, numbers)):
        raise DataError(f"{where} does not have six finite numbers: [{text.strip()}]", hint=_GRAMMAR)
    x, y, z, rx, ry, rz = numbers
    return x, y, z, rx, ry, rz


def format_constants(constants: Mapping[str, Iterable[float]]) -> str:
    """Write constants as text, in the order of their keys, with every digit that is needed to read back the same."""
    entries = (f'"{key}": [{", ".join(repr(float(number)) for number in constants[key])}]' for key in sorted(constants))
    line = ", ".join(entries)
    return f"{line}\n" if line else ""


def write_constants(path: Path, constants: Mapping[str, Iterable[float]]) -> None:
    """Write a file of constants in one go: whoever reads it meanwhile sees the old file or the new one."""
    replace_text(path, format_constants(constants))


def replace_text(path: Path, text: str) -> None:
    """Put text in the place of a file in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Adler-32 of a file, eight hexadecimal digits as EOS and XRootD print it."""
    value = 1
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.adler32(block, value)
    return f"{value:08x}"


def fingerprint(constants: Mapping[str, Iterable[float]]) -> str:
    """Adler-32 of the constants themselves, however their file is laid out: that of the file that we would write."""
    return f"{zlib.adler32(format_constants(constants).encode()):08x}"


def corrections(detector: Detector, parameters: Mapping[int, float]) -> Constants:
    """Turn fitted parameters, by label, into what they add to the constants.

    A module's two sides are shifted separately by the fit, but its constants move it as a whole: the sides' common
    shift is its x, and their difference, divided by the stereo angle between them, its y. A module of which only one
    side was fitted keeps its y. The division makes an error of a side's shift 1 / (2 stereo) = 25 times as large in
    y (35 times for the difference of two): the fit's labels, not these constants, say how well sides are known.

    Raises:
        DataError: a label is unknown.
    """
    slots: dict[str, dict[str, float]] = {}
    sides: dict[str, dict[int, float]] = {}
    for label, value in parameters.items():
        what = describe(label)
        if what.side is None:
            slots.setdefault(what.key, {})[what.axis] = value
        else:
            sides.setdefault(what.key, {})[what.side] = value
    for key, shifts in sides.items():
        slots.setdefault(key, {}).update(_module_shift(detector, int(key[2]), shifts))
    return {key: _in_order(values) for key, values in slots.items()}


def _module_shift(detector: Detector, module: int, shifts: Mapping[int, float]) -> dict[str, float]:
    if len(shifts) == 1:
        return {"x": next(iter(shifts.values()))}
    sign = detector.module_sign[module]
    return {"x": (shifts[0] + shifts[1]) / 2, "y": sign * (shifts[1] - shifts[0]) / (2 * detector.stereo)}


def _in_order(values: Mapping[str, float]) -> Six:
    x, y, z, rx, ry, rz = (float(values.get(axis, 0.0)) for axis in AXES)
    return x, y, z, rx, ry, rz


def accumulate(constants: Mapping[str, Six], added: Mapping[str, Six]) -> Constants:
    """Add corrections to constants, at full precision; a key that only one of them has is taken from there."""
    keys = sorted({*constants, *added})
    return {key: _sum(constants.get(key, _ZERO), added.get(key, _ZERO)) for key in keys}


def _sum(first: Six, second: Six) -> Six:
    x, y, z, rx, ry, rz = (a + b for a, b in zip(first, second, strict=True))
    return x, y, z, rx, ry, rz
