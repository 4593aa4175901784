"""Numbers by which the Millepede fit knows the parameters of a tracker.

Decimal digits ``[station][layer][module][side][parameter]``, shortened for what has no module or no layer; the first
station is 1 unless the scheme says otherwise:

=============  =======================  ===============================================================
digits         belongs to               parameter
=============  =======================  ===============================================================
2 ``Sp``       station                  its axes in the scheme, counted from 1
3 ``SLp``      layer                    its axes in the scheme, counted from 1
5 ``SLMDp``    side D                   1 = its shift along the measured direction
5 ``SLM0p``    module                   its axes in the scheme, counted on from those of sides
=============  =======================  ===============================================================

In FASER's scheme a layer has x, y, rx, ry and rz, so that its third parameter is its rx and the slot of z in the
constants stays untouched; a side has x, and a module rz, which is number 2. A telescope whose first station is 0 has
labels ``10 * plane + parameter``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.tracker.geometry import FASER, Detector
from fiducial.core.errors import ConfigurationError, DataError

__all__ = ["AXES", "FASER_SCHEME", "LAYER_AXES", "LEVELS", "Level", "Meaning", "Scheme", "all_labels", "describe"]
__all__ += ["hit_labels", "layer_label", "meanings", "module_label", "reader", "side_label"]

#: Names of the six constants of a frame, in their order.
AXES = ("x", "y", "z", "rx", "ry", "rz")
#: Names of a layer's parameters at FASER, in the order of their numbers from 1.
LAYER_AXES = ("x", "y", "rx", "ry", "rz")
Level = Literal["station", "layer", "module", "side"]
#: Levels of frames, by the number of digits of their keys less one.
LEVELS: tuple[Level, ...] = ("station", "layer", "module", "side")


@dataclass(frozen=True)
class Scheme:
    """Which parameters there are, and how they are numbered.

    Args:
        stations, layers, modules, sides: axes of each level, in the order of their numbers.
        first_station: digit of station 0.
    """

    stations: tuple[str, ...] = ()
    layers: tuple[str, ...] = LAYER_AXES
    modules: tuple[str, ...] = ("rz",)
    sides: tuple[str, ...] = ("x",)
    first_station: int = 1

    def columns(self) -> list[tuple[str, str]]:
        """Level and axis of each parameter that a hit depends on: of its side, module, layer and station."""
        axes = {"side": self.sides, "module": self.modules, "layer": self.layers, "station": self.stations}
        return [(level, axis) for level, names in axes.items() for axis in names]


FASER_SCHEME = Scheme()


@dataclass(frozen=True)
class Meaning:
    """What a label stands for.

    Args:
        key: of the frame in the constants, e.g. "21" for layer 1 of station 2.
        axis: name of the constant, e.g. "rz"; for a side, "x" of the side.
        side: 0 or 1 where the parameter is a side's shift, else None.
    """

    key: str
    axis: str
    side: int | None = None

    @property
    def unit(self) -> str:
        """Unit of the parameter."""
        return "rad" if self.axis.startswith("r") else "mm"

    @property
    def level(self) -> str:
        """What has the parameter: station, layer, module or side."""
        return "side" if self.side is not None else LEVELS[len(self.key) - 1]

    @property
    def part(self) -> str:
        """Digits of what has the parameter: the key, and the side."""
        return self.key if self.side is None else f"{self.key}{self.side}"


def layer_label(station: int, layer: int, axis: str) -> int:
    """Label of a layer's parameter at FASER."""
    return _label(FASER_SCHEME, "layer", (station, layer, 0, 0), axis)


def side_label(station: int, layer: int, module: int, side: int) -> int:
    """Label of a side's shift at FASER."""
    return _label(FASER_SCHEME, "side", (station, layer, module, side), "x")


def module_label(station: int, layer: int, module: int) -> int:
    """Label of a module's rz at FASER."""
    return _label(FASER_SCHEME, "module", (station, layer, module, 0), "rz")


def _label(scheme: Scheme, level: str, digits: tuple[int, int, int, int], axis: str) -> int:
    station, layer, module, side = digits
    number = ((station + scheme.first_station) * 10 + layer) * 100 + module * 10 + side
    return int(_labels(scheme, number, level, axis))


def _labels(scheme: Scheme, numbers: Any, level: str, axis: str) -> Any:
    """Label of one parameter for each number, which is a sensor's identifier with the scheme's first digit."""
    match level:
        case "side":
            return numbers * 10 + scheme.sides.index(axis) + 1
        case "module":
            return numbers // 10 * 100 + len(scheme.sides) + scheme.modules.index(axis) + 1
        case "layer":
            return numbers // 100 * 10 + scheme.layers.index(axis) + 1
        case _:
            return numbers // 1000 * 10 + scheme.stations.index(axis) + 1


def hit_labels(ids: NDArray[np.int64], scheme: Scheme = FASER_SCHEME) -> NDArray[np.int32]:
    """Labels (n, p) that hits on sensors with these identifiers depend on, one column for each of the scheme's."""
    numbers = ids + 1000 * scheme.first_station
    columns = [_labels(scheme, numbers, level, axis) for level, axis in scheme.columns()]
    return np.stack(columns, axis=1).astype(np.int32)


def meanings(detector: Detector, stations: Collection[int], scheme: Scheme = FASER_SCHEME) -> dict[int, Meaning]:
    """What every label of the given stations stands for, labels ascending.

    Raises:
        ConfigurationError: two parameters would have one label.
    """
    found: dict[int, Meaning] = {}
    for label, meaning in _all(detector, stations, scheme):
        if found.setdefault(label, meaning) != meaning:
            both = " and ".join(f"{one.level} {one.part} {one.axis}" for one in (found[label], meaning))
            raise ConfigurationError(f"label {label} would stand for {both}", hint="let first_station be 1")
    return dict(sorted(found.items()))


def _all(detector: Detector, stations: Collection[int], scheme: Scheme) -> Iterator[tuple[int, Meaning]]:
    for station, layer, module, side in detector.digits.tolist():
        if station not in stations:
            continue
        key = f"{station}{layer}{module}"
        for level, axis in scheme.columns():
            label = _label(scheme, level, (station, layer, module, side), axis)
            depth = min(LEVELS.index(level) + 1, 3)
            yield label, Meaning(key[:depth], axis, side if level == "side" else None)


def all_labels(detector: Detector, stations: Collection[int], scheme: Scheme = FASER_SCHEME) -> list[int]:
    """Every label of the given stations, ascending, even if two parameters would have one."""
    return sorted({label for label, _ in _all(detector, stations, scheme)})


def reader(known: dict[int, Meaning], what: str = "of this recipe") -> Callable[[int], Meaning]:
    """A function that says what labels stand for, as :func:`describe` does at FASER."""

    def read(label: int) -> Meaning:
        if label not in known:
            raise DataError(f"label {label} is no parameter {what}", hint=f"they go from {min(known)} to {max(known)}")
        return known[label]

    return read


@cache
def _faser_labels() -> dict[int, Meaning]:
    return meanings(FASER, FASER.stations(4), Scheme(stations=AXES))


def describe(label: int) -> Meaning:
    """Say what a label stands for at FASER, stations included.

    Raises:
        DataError: no parameter of a tracker has this label.
    """
    if label not in _faser_labels():
        raise DataError(
            f"label {label} is no parameter of a tracker",
            hint="station: Sp; layer: SLp with p 1 to 5; side: SLMD1; module: SLM02, with S from 1",
        )
    return _faser_labels()[label]
