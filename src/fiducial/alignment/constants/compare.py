"""Compare constants number by number, and add them up by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fiducial.alignment.constants.values import Constants, Six, accumulate, read_constants, read_text
from fiducial.alignment.tracker.geometry import FASER, Detector
from fiducial.alignment.tracker.numbering import AXES

__all__ = ["LEVELS", "Difference", "differences", "layer_sums", "level", "read_any", "readable", "unit_of"]

#: Names of what a key of 1, 2 or 3 digits stands for.
LEVELS = ("station", "layer", "module")
_NOTHING: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Difference:
    """One number of two files.

    Args:
        key: of a station, layer or module.
        axis: name of the constant, e.g. "rz".
        first: in the one file, mm or rad.
        second: in the other, mm or rad.
    """

    key: str
    axis: str
    first: float
    second: float

    @property
    def turns(self) -> bool:
        """Whether it is an angle."""
        return self.axis.startswith("r")

    @property
    def change(self) -> float:
        """From the first to the second, mm or rad."""
        return self.second - self.first


def level(key: str) -> str:
    """What a key stands for."""
    return LEVELS[len(key) - 1]


def unit_of(axis: str) -> str:
    """Unit in which people read a constant: a thousandth of that of the file."""
    return "mrad" if axis.startswith("r") else "µm"


def readable(value: float, axis: str) -> str:
    """A constant (mm or rad) in the unit in which people read it; a plain 0 where there is none."""
    if value == 0.0:
        return "0"
    digits = 4 if axis.startswith("r") else 3
    return f"{1e3 * value:.{digits}f}" if abs(value) >= 0.5 * 10.0 ** (-3 - digits) else f"{1e3 * value:.1e}"


def differences(first: Mapping[str, Six], second: Mapping[str, Six], tolerance: float = 0.0) -> list[Difference]:
    """Numbers that differ, shifts before rotations, the largest of each first.

    A key that only one of them has is compared with zeros, for that is what its absence means.

    Args:
        first: constants.
        second: constants.
        tolerance: what differs by no more than this, mm or rad, counts as equal.
    """
    found = [
        Difference(key, axis, one, other)
        for key in sorted({*first, *second})
        for axis, one, other in zip(AXES, first.get(key, _NOTHING), second.get(key, _NOTHING), strict=True)
        if abs(other - one) > tolerance
    ]
    return sorted(found, key=lambda one: (one.turns, -abs(one.change)))


def layer_sums(constants: Mapping[str, Six]) -> dict[str, tuple[int, Six]]:
    """Layer -> number of its modules that have constants, and the sums of those.

    The fit holds sums over the modules of a layer at zero where the layer itself can move; what is not zero then is a
    motion of the layer that its modules do.
    """
    sums: Constants = {}
    counts: Counter[str] = Counter()
    for key, six in constants.items():
        if level(key) == "module":
            sums = accumulate(sums, {key[:2]: six})
            counts[key[:2]] += 1
    return {layer: (counts[layer], sums[layer]) for layer in sorted(sums)}


def read_any(path: Path, detector: Detector = FASER) -> tuple[Constants, str]:
    """Read constants, or the truth of a simulation as constants.

    Single sides, which a truth has and constants do not, are left out.

    Args:
        path: of the file.
        detector: has the stations, layers and modules that keys may name.

    Returns:
        the constants, and "constants" or "truth".

    Raises:
        NotFoundError: there is no such file.
        DataError: it is neither.
    """
    from fiducial.alignment.tracker.simulation import TRUTH_FORMAT, read_truth

    if TRUTH_FORMAT not in read_text(path):
        return read_constants(path, detector), "constants"
    return {key: six for key, six in read_truth(path).items() if len(key) <= len(LEVELS)}, "truth"
