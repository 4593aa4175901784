"""A tracker of silicon strips in the shape of FASER's, and where its sensors are under given constants.

Four stations (the first, number 0, stands in front of the decay volume), three layers in each, eight modules in each
layer, two sides in each module. Strips measure the vertical coordinate; the two sides of a module are turned against
each other by a stereo angle, so that their difference measures the horizontal one.

Frames, from the outside in. Each has its own six constants ``[x, y, z, rx, ry, rz]`` (mm, rad), a shift and then the
rotation ``Rx(rx) Ry(ry) Rz(rz)``, both given in the frame before they act:

===========  ======  ==========================================================================================
level        key     axes
===========  ======  ==========================================================================================
station      "s"     x horizontal, y up, z along the beam
layer        "sl"    as the station
module       "slm"   x along the measured direction (up), y along the strips, z along the beam
side         "slmd"  as the module, turned by the stereo angle about z; only the simulation displaces single sides
===========  ======  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiducial.core.errors import UsageError

__all__ = ["FASER", "Detector", "Frame", "Magnet", "Placement", "place", "rotations", "sensor_ids", "sensor_of_id"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Constants = Mapping[str, tuple[float, ...]]

#: Measured direction up and strips horizontal: the columns are the module's x, y and z in the layer's frame.
_UPRIGHT = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Magnet:
    """A dipole that bends vertically: from ``z_min`` to ``z_max`` (mm), with ``field`` (T)."""

    z_min: float
    z_max: float
    field: float


@dataclass(frozen=True)
class Detector:
    """Everything that is known about a tracker before any alignment. Lengths in mm, angles in rad.

    Args:
        station_z: z of each station.
        layer_z: z of each layer in its station.
        layer_y: height of each layer in its station; staggered, so that gaps do not line up.
        module_x: horizontal centre of each module in its layer.
        module_y: vertical centre of each module in its layer.
        module_sign: +1 where side 1 has the positive stereo angle, -1 where side 0 has it. These modules also stand
            behind (-1) or in front (+1) of the middle of the layer, so that neighbours can overlap.
        module_stagger: how far modules stand from the middle of their layer.
        side_gap: distance between the two sides of a module.
        stereo: angle between the strips of a side and the module's axis.
        strips: number of strips of a side.
        pitch: distance between strips.
        strip_length: length of strips.
        radiation_lengths: material of one layer.
        magnets: the dipoles.
        reference_z: where track parameters are given; must lie outside the magnets.
    """

    station_z: tuple[float, ...]
    layer_z: tuple[float, ...]
    layer_y: tuple[float, ...]
    module_x: tuple[float, ...]
    module_y: tuple[float, ...]
    module_sign: tuple[int, ...]
    module_stagger: float
    side_gap: float
    stereo: float
    strips: int
    pitch: float
    strip_length: float
    radiation_lengths: float
    magnets: tuple[Magnet, ...]
    reference_z: float

    @property
    def resolution(self) -> float:
        """Standard deviation of a hit on one strip, mm: that of a flat distribution one pitch wide."""
        return self.pitch / 12**0.5

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of stations, layers in a station, modules in a layer, sides in a module."""
        return len(self.station_z), len(self.layer_z), len(self.module_sign), 2

    def stations(self, count: int) -> range:
        """Stations that take part: 1, 2 and 3, or all four.

        Raises:
            UsageError: neither 3 nor 4 stations were asked for.
        """
        if count not in (3, 4):
            raise UsageError(f"{count} stations", hint="3 (without the station in front) or 4")
        return range(len(self.station_z) - count, len(self.station_z))


FASER = Detector(
    station_z=(-1860.0, 48.0, 1238.0, 2428.0),
    layer_z=(-30.0, 0.0, 30.0),
    layer_y=(0.0, -5.0, 5.0),
    module_x=(-60.0,) * 4 + (60.0,) * 4,
    module_y=(-90.0, -30.0, 30.0, 90.0) * 2,
    module_sign=(1, -1, 1, -1, -1, 1, -1, 1),
    module_stagger=0.6,
    side_gap=0.8,
    stereo=0.020,
    strips=768,
    pitch=0.080,
    strip_length=126.0,
    radiation_lengths=0.012,
    magnets=(Magnet(-1550.0, -50.0, 0.57), Magnet(143.0, 1143.0, 0.57), Magnet(1333.0, 2333.0, 0.57)),
    reference_z=0.0,
)


def sensor_ids(detector: Detector) -> Index:
    """Identifier ``station*1000 + layer*100 + module*10 + side`` of every sensor, in the order of their numbers."""
    station, layer, module, side = np.indices(detector.shape).reshape(4, -1)
    return np.asarray(station * 1000 + layer * 100 + module * 10 + side, dtype=np.int64)


def sensor_of_id(detector: Detector, ids: NDArray[Any]) -> Index:
    """Number of the sensor for each identifier; -1 where there is none."""
    known = sensor_ids(detector)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[places] == ids, places, -1)


@dataclass(frozen=True)
class Frame:
    """How constants of one level move each of n sensors.

    Args:
        pivot: (n, 3) point that its rotations leave in place.
        shifts: (n, 3, 3) direction of each shift; the last index counts x, y, z.
        turns: (n, 3, 3) axis of each rotation; the last index counts rx, ry, rz.
    """

    pivot: Array
    shifts: Array
    turns: Array


@dataclass(frozen=True)
class Placement:
    """Where n sensors are.

    Args:
        origin: (n, 3) centres, mm.
        axes: (n, 3, 3) measured direction, direction along the strips and normal, each a column.
        layer: how constants of a sensor's layer move it.
        side: how a displacement of the side alone moves it.
    """

    origin: Array
    axes: Array
    layer: Frame
    side: Frame


def place(detector: Detector, constants: Constants) -> Placement:
    """Place all sensors of a detector under constants of any level."""
    station, layer, module, side = np.indices(detector.shape).reshape(4, -1)
    sign = np.asarray(detector.module_sign)[module] * (2 * side - 1)
    chain = _Chain(len(station))
    chain.enter(_columns(z=np.asarray(detector.station_z)[station]))
    chain.displace(_six(constants, station))
    chain.enter(_columns(y=np.asarray(detector.layer_y)[layer], z=np.asarray(detector.layer_z)[layer]))
    layer_frame = chain.displace(_six(constants, station, layer))
    chain.enter(_module_centres(detector, module), _UPRIGHT)
    chain.displace(_six(constants, station, layer, module))
    angles = _columns(z=sign * detector.stereo)
    chain.enter(_columns(z=(side - 0.5) * detector.side_gap), rotations(angles))
    side_frame = chain.displace(_six(constants, station, layer, module, side))
    return Placement(chain.origin, chain.axes, layer_frame, side_frame)


class _Chain:
    """Frames inside frames, followed from the outside in for n sensors at once."""

    def __init__(self, sensors: int) -> None:
        self.origin = np.zeros((sensors, 3))
        self.axes = np.broadcast_to(np.eye(3), (sensors, 3, 3))

    def enter(self, offset: Array, axes: Array | None = None) -> None:
        """Step into an inner frame at its nominal place."""
        self.origin = self.origin + np.einsum("nij,nj->ni", self.axes, offset)
        if axes is not None:
            self.axes = self.axes @ axes

    def displace(self, six: Array) -> Frame:
        """Apply a level's constants (n, 6); return how further changes of them would act."""
        shifts = self.axes
        self.origin = self.origin + np.einsum("nij,nj->ni", shifts, six[:, :3])
        turns = shifts @ _turning_axes(six[:, 3:])
        self.axes = shifts @ rotations(six[:, 3:])
        return Frame(self.origin, shifts, turns)


def rotations(angles: Array) -> Array:
    """Matrices ``Rx Ry Rz`` of angles (n, 3) in rad, shape (n, 3, 3)."""
    return _about(0, angles[:, 0]) @ _about(1, angles[:, 1]) @ _about(2, angles[:, 2])


def _about(axis: int, angle: Array) -> Array:
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1.0
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first] = np.sin(angle)
    matrix[:, first, second] = -np.sin(angle)
    return matrix


def _turning_axes(angles: Array) -> Array:
    """Axes about which a small change of rx, ry or rz turns, given that the angles are not zero already."""
    about_x = _about(0, angles[:, 0])
    about_xy = about_x @ _about(1, angles[:, 1])
    first = np.broadcast_to(np.array([1.0, 0.0, 0.0]), angles.shape)
    return np.stack([first, about_x[:, :, 1], about_xy[:, :, 2]], axis=2)


def _module_centres(detector: Detector, module: Index) -> Array:
    sign = np.asarray(detector.module_sign)[module]
    return _columns(
        x=np.asarray(detector.module_x)[module],
        y=np.asarray(detector.module_y)[module],
        z=-sign * detector.module_stagger,
    )


def _columns(x: ArrayLike = 0.0, y: ArrayLike = 0.0, z: ArrayLike = 0.0) -> Array:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float64)


def _six(constants: Constants, *numbers: Index) -> Array:
    """Constants (n, 6) of each sensor's frame, whose key is made of the numbers' digits; zero where there are none."""
    keys = ["".join(map(str, digits)) for digits in np.stack(numbers, axis=1).tolist()]
    nothing = (0.0,) * 6
    return np.array([constants.get(key, nothing) for key in keys], dtype=np.float64)
