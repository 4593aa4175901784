"""Numbers by which the Millepede fit knows the parameters of a tracker.

Decimal digits ``[station + 1][layer][module][side][parameter]``, shortened for what has no module or no layer:

=============  =======================  ===============================================================
digits         belongs to               parameter
=============  =======================  ===============================================================
2 ``Sp``       station                  1..6 = x, y, z, rx, ry, rz
3 ``SLp``      layer                    1..5 = x, y, rx, ry, rz (a layer's z is not aligned)
5 ``SLMDp``    side (1) or module (2)   1 = shift of side D along its measured direction; 2 = rz of the
                                        module (D is 0)
=============  =======================  ===============================================================

So a layer's third parameter is its rx: the slot of z in the constants stays untouched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.geometry import Detector
from fiducial.core.errors import DataError

__all__ = ["AXES", "LAYER_AXES", "Meaning", "all_labels", "describe", "hit_labels", "layer_label", "module_label"]
__all__ += ["side_label"]

#: Names of the six constants of a frame, in their order.
AXES = ("x", "y", "z", "rx", "ry", "rz")
#: Names of a layer's parameters, in the order of their numbers from 1.
LAYER_AXES = ("x", "y", "rx", "ry", "rz")

_SIDE_SHIFT = 1
_MODULE_RZ = 2
_DIGITS = re.compile(r"(?P<station>[1-4])(?:(?P<layer>[0-2])(?:(?P<module>[0-7])(?P<side>[01]))?)?(?P<parameter>[1-6])")


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


def layer_label(station: int, layer: int, axis: str) -> int:
    """Label of a layer's parameter."""
    return ((station + 1) * 10 + layer) * 10 + LAYER_AXES.index(axis) + 1


def side_label(station: int, layer: int, module: int, side: int) -> int:
    """Label of a side's shift."""
    return ((((station + 1) * 10 + layer) * 10 + module) * 10 + side) * 10 + _SIDE_SHIFT


def module_label(station: int, layer: int, module: int) -> int:
    """Label of a module's rz."""
    return (((station + 1) * 10 + layer) * 10 + module) * 100 + _MODULE_RZ


def all_labels(detector: Detector, stations: range) -> list[int]:
    """Every label of the given stations, ascending."""
    _, layers, modules, sides = detector.shape
    labels = [layer_label(s, c, axis) for s in stations for c in range(layers) for axis in LAYER_AXES]
    for module in ((s, c, m) for s in stations for c in range(layers) for m in range(modules)):
        labels += [module_label(*module), *(side_label(*module, side) for side in range(sides))]
    return sorted(labels)


def hit_labels(ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Labels (n, 7) that hits on sensors with these identifiers depend on: side, module rz, layer x, y, rx, ry, rz."""
    numbers = ids + 1000
    module, layer = numbers // 10, numbers // 100
    of_layer = [layer * 10 + number for number in range(1, 1 + len(LAYER_AXES))]
    return np.stack([numbers * 10 + _SIDE_SHIFT, module * 100 + _MODULE_RZ, *of_layer], axis=1).astype(np.int32)


def describe(label: int) -> Meaning:
    """Say what a label stands for.

    Raises:
        DataError: no parameter of a tracker has this label.
    """
    digits = _DIGITS.fullmatch(str(label))
    meaning = _meaning(digits) if digits else None
    if meaning is None:
        raise DataError(
            f"label {label} is no parameter of a tracker",
            hint="station: Sp; layer: SLp with p 1 to 5; side: SLMD1; module: SLM02, with S from 1",
        )
    return meaning


def _meaning(digits: re.Match[str]) -> Meaning | None:
    parameter = int(digits["parameter"])
    station = str(int(digits["station"]) - 1)
    if digits["layer"] is None:
        return Meaning(station, AXES[parameter - 1])
    layer = station + digits["layer"]
    if digits["module"] is None:
        return Meaning(layer, LAYER_AXES[parameter - 1]) if parameter <= len(LAYER_AXES) else None
    module, side = layer + digits["module"], int(digits["side"])
    if parameter == _SIDE_SHIFT:
        return Meaning(module, "x", side)
    return Meaning(module, "rz") if parameter == _MODULE_RZ and side == 0 else None
