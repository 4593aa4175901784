"""Alignment constants: the file ``inputforalign.txt``, and how the result of a fit is added to them.

The file is one line of JSON without its braces, ``"KEY": [x, y, z, rx, ry, rz], ...`` in mm and rad; a KEY is the
digits of a station, a layer in it and a module in that, as many as needed, each from 0. An empty file means that
there are no constants: everything is at its nominal place.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fiducial.alignment.constants.grammar import GRAMMAR, Six, scan
from fiducial.alignment.tracker.geometry import FASER, Detector
from fiducial.alignment.tracker.numbering import AXES, Meaning, describe
from fiducial.core.errors import DataError, NotFoundError
from fiducial.storage.replace import replace_text

__all__ = [
    "Constants",
    "Six",
    "accumulate",
    "checksum",
    "corrections",
    "fingerprint",
    "format_constants",
    "parse_constants",
    "read_constants",
    "read_text",
    "write_constants",
]

Constants = dict[str, Six]

_ZERO: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def read_constants(path: Path, detector: Detector = FASER) -> Constants:
    """Read a file of constants.

    Args:
        path: the file.
        detector: has the stations, layers and modules that keys may name.

    Raises:
        NotFoundError: there is no such file. No constants are an empty file, so that a lost one is not taken for none.
        DataError: the file is malformed; the message gives the key and the position, in characters from 1.
    """
    text = read_text(path)
    try:
        return parse_constants(text, detector)
    except DataError as error:
        hint = f"{error.hint}; `fiducial constants check` lists all that is off"
        raise DataError(f"{path}: {error.message}", hint=hint) from None


def read_text(path: Path) -> str:
    """Read the text of a file of constants, whatever is in it.

    Raises:
        NotFoundError: there is no such file.
        DataError: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        hint = "an empty file stands for no constants"
        raise NotFoundError(f"{path}: no such file of constants", hint=hint) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start + 1} is no text", hint=GRAMMAR) from None


def parse_constants(text: str, detector: Detector = FASER) -> Constants:
    """Read constants from their text; line ends between entries and a comma behind the last one do no harm.

    Raises:
        DataError: a key is malformed or doubled, or does not have six finite numbers, or the punctuation is off.
    """
    found = scan(text, detector)
    for fault in found.faults:
        if fault.level == "error":
            raise DataError(f"character {fault.position}: {fault.what}", hint=fault.hint)
    return {entry.key: entry.six for entry in found.entries}


def format_constants(constants: Mapping[str, Iterable[float]]) -> str:
    """Write constants as text, in the order of their keys, with every digit that is needed to read back the same."""
    entries = (f'"{key}": [{", ".join(repr(float(number)) for number in constants[key])}]' for key in sorted(constants))
    line = ", ".join(entries)
    return f"{line}\n" if line else ""


def write_constants(path: Path, constants: Mapping[str, Iterable[float]]) -> None:
    """Write a file of constants in one go: whoever reads it meanwhile sees the old file or the new one."""
    replace_text(path, format_constants(constants))


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


def corrections(
    detector: Detector, parameters: Mapping[int, float], meaning: Callable[[int], Meaning] = describe
) -> Constants:
    """Turn fitted parameters, by label, into what they add to the constants.

    A module's two sides are shifted separately by the fit, but its constants move it as a whole: the sides' common
    shift is its x, and their difference, divided by the stereo angle between them, its y. A module of which only one
    side was fitted keeps its y. The division makes an error of a side's shift 1 / (2 stereo) = 25 times as large in
    y (35 times for the difference of two): the fit's labels, not these constants, say how well sides are known.

    Args:
        detector: the tracker.
        parameters: value by label.
        meaning: says what a label stands for; by default what it does at FASER.

    Raises:
        DataError: a label is unknown.
    """
    slots: dict[str, dict[str, float]] = {}
    sides: dict[str, dict[int, float]] = {}
    for label, value in parameters.items():
        what = meaning(label)
        if what.side is None:
            slots.setdefault(what.key, {})[what.axis] = value
        else:
            sides.setdefault(what.key, {})[what.side] = value
    for key, shifts in sides.items():
        slots.setdefault(key, {}).update(_module_shift(detector, key, shifts))
    return {key: _in_order(values) for key, values in slots.items()}


def _module_shift(detector: Detector, module: str, shifts: Mapping[int, float]) -> dict[str, float]:
    if len(shifts) == 1:
        return {"x": next(iter(shifts.values()))}
    first, second = detector.kinds[module].angles
    return {"x": (shifts[0] + shifts[1]) / 2, "y": (shifts[1] - shifts[0]) / (second - first)}


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
