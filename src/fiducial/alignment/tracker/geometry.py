"""A tracker of flat sensors: its stations, layers, modules and sides, and where they are under given constants.

Frames, from the outside in. Each has its nominal place in the frame around it, and its own six constants
``[x, y, z, rx, ry, rz]`` (mm, rad): a shift and then the rotation ``Rx(rx) Ry(ry) Rz(rz)``, both given in the frame
before they act. A key is the digits of a station, a layer in it and a module in that, each from 0:

===========  ======  ==========================================================================================
level        key     is
===========  ======  ==========================================================================================
station      "s"     layers that move together
layer        "sl"    modules that move together; a plane of a telescope is a layer with one module
module       "slm"   one or two sides that move together; x along the measured direction, for a stereo pair the middle
                     one
side         "slmd"  one measured coordinate, its axes turned about the module's z so that x is measured; only the
                     simulation displaces single sides
===========  ======  ==========================================================================================

FASER's tracker is built in: four stations (the first, number 0, stands in front of the decay volume), three layers in
each, eight modules in each layer, two sides in each module. Its strips measure the vertical coordinate; the two sides
of a module are turned against each other by a stereo angle, so that their difference measures the horizontal one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.core.errors import UsageError

__all__ = ["FASER", "Detector", "Frame", "Kind", "Magnet", "Placement", "Plane", "Pose", "place", "rotations"]
__all__ += ["sensor_ids", "sensor_of_id"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Constants = Mapping[str, tuple[float, ...]]
Three = tuple[float, float, float]

_LEVELS = 4


@dataclass(frozen=True)
class Magnet:
    """A dipole that bends vertically: from ``z_min`` to ``z_max`` (mm), with ``field`` (T)."""

    z_min: float
    z_max: float
    field: float


@dataclass(frozen=True)
class Pose:
    """Nominal place of a frame in the one around it: shift (mm), and rotation ``Rx Ry Rz`` (rad)."""

    position: Three = (0.0, 0.0, 0.0)
    rotation: Three = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Kind:
    """A kind of module; tuples have one entry for each side, that is for each measured coordinate. Lengths in mm.

    Args:
        angles: of the measured direction against the module's x, rad.
        pitch: distance between strips, or between pixels along this coordinate.
        channels: number of strips, or of pixels along this coordinate.
        lengths: extent across the measured direction.
        resolutions: standard deviations of a hit.
        gap: distance between two sides.
        radiation_lengths: material of a module.
    """

    angles: tuple[float, ...]
    pitch: tuple[float, ...]
    channels: tuple[int, ...]
    lengths: tuple[float, ...]
    resolutions: tuple[float, ...]
    gap: float = 0.0
    radiation_lengths: float = 0.0


@dataclass(frozen=True)
class Plane:
    """A module, in the frame of its layer."""

    key: str
    kind: Kind
    pose: Pose = Pose()
    name: str = ""


@dataclass(frozen=True)
class Detector:
    """Everything that is known about a tracker before any alignment. Lengths in mm, angles in rad.

    Sensors (sides of modules) are numbered in the order of their keys.

    Args:
        name: of the geometry.
        planes: the modules.
        groups: places of stations, and of layers in them, by key; those that are not named are at the origin.
        magnets: the dipoles; without any a track has four parameters.
        reference_z: where track parameters are given; must lie outside the magnets.
        choices: numbers of stations that may take part, counted from the last; the first of them is the usual one.
    """

    name: str
    planes: tuple[Plane, ...]
    groups: Mapping[str, Pose] = field(default_factory=dict)
    magnets: tuple[Magnet, ...] = ()
    reference_z: float = 0.0
    choices: tuple[int, ...] = ()

    @cached_property
    def _sides(self) -> list[tuple[Plane, int]]:
        planes = sorted(self.planes, key=lambda plane: plane.key)
        return [(plane, side) for plane in planes for side in range(len(plane.kind.angles))]

    def _column(self, values: str) -> Array:
        return np.array([getattr(plane.kind, values)[side] for plane, side in self._sides], dtype=np.float64)

    @cached_property
    def digits(self) -> Index:
        """(n, 4) station, layer, module and side of each sensor."""
        return np.array([[*map(int, plane.key), side] for plane, side in self._sides], dtype=np.int64)

    @cached_property
    def keys(self) -> list[dict[str, int]]:
        """Numbers of all stations, layers, modules and sides, in the order of their keys: one table for each level."""
        names = ["".join(map(str, digits)) for digits in self.digits.tolist()]
        levels = (dict.fromkeys(name[:depth] for name in names) for depth in range(1, _LEVELS + 1))
        return [{key: number for number, key in enumerate(level)} for level in levels]

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """Kind of each module, by key."""
        return {plane.key: plane.kind for plane in self.planes}

    @cached_property
    def layer(self) -> Index:
        """(n,) number of each sensor's layer, in the order of the keys of layers."""
        return np.array([self.keys[1][plane.key[:2]] for plane, _ in self._sides], dtype=np.int64)

    @cached_property
    def angles(self) -> Array:
        """(n,) angle of each measured direction against its module's x."""
        return self._column("angles")

    @cached_property
    def pitch(self) -> Array:
        """(n,) distance between strips."""
        return self._column("pitch")

    @cached_property
    def channels(self) -> Index:
        """(n,) number of strips."""
        return self._column("channels").astype(np.int64)

    @cached_property
    def lengths(self) -> Array:
        """(n,) extent across the measured direction."""
        return self._column("lengths")

    @cached_property
    def resolution(self) -> Array:
        """(n,) standard deviation of a hit."""
        return self._column("resolutions")

    @cached_property
    def material(self) -> Array:
        """Radiation lengths of each layer: those of one of its modules, for few tracks cross two."""
        kinds = {plane.key[:2]: plane.kind.radiation_lengths for plane in self.planes}
        return np.array([kinds[key] for key in self.keys[1]])

    @cached_property
    def nominal(self) -> list[tuple[Array, Array]]:
        """For each level, shifts (n, 3) and rotations (n, 3, 3) into the sensors' frames from those around them."""
        poses = [[self._pose(plane, side, level) for plane, side in self._sides] for level in range(_LEVELS)]
        return [
            (np.array([pose.position for pose in level]), rotations(np.array([pose.rotation for pose in level])))
            for level in poses
        ]

    def _pose(self, plane: Plane, side: int, level: int) -> Pose:
        if level < 2:
            return self.groups.get(plane.key[: level + 1], Pose())
        if level == 2:
            return plane.pose
        depth = (side - (len(plane.kind.angles) - 1) / 2) * plane.kind.gap
        return Pose((0.0, 0.0, depth), (0.0, 0.0, plane.kind.angles[side]))

    @cached_property
    def layer_z(self) -> dict[str, float]:
        """Nominal z of the middle of each layer, by key."""
        z = place(self, {}).origin[:, 2]
        return {key: float(z[self.layer == number].mean()) for key, number in self.keys[1].items()}

    @property
    def track_parameters(self) -> int:
        """How many parameters a track has: x, y, two slopes, and q/p where there is a field."""
        return 5 if self.magnets else 4

    def stations(self, count: int | None = None) -> tuple[int, ...]:
        """Digits of the stations that take part: so many, counted from the last; by default the usual ones.

        Raises:
            UsageError: so many are not a choice.
        """
        known = tuple(map(int, self.keys[0]))  # files of geometries need not begin with station 0, and may leave gaps
        choices = self.choices or (len(known),)
        if count is None:
            count = choices[0]
        if count not in choices:
            hint = "3 (without the station in front) or 4" if choices == (3, 4) else f"one of {choices}"
            raise UsageError(f"{count} stations", hint=hint)
        return known[-count:]


def _faser() -> Detector:
    """Four stations of three layers of eight modules, which lean one way or the other like the fields of a chessboard.

    They also stand in front of or behind the middle of their layer, so that neighbours can overlap. Layers are
    staggered in height, so that gaps do not line up.
    """
    stereo, pitch = 0.020, 0.080
    pairs = {
        sign: Kind(
            angles=(-sign * stereo, sign * stereo),
            pitch=(pitch,) * 2,
            channels=(768,) * 2,
            lengths=(126.0,) * 2,
            resolutions=(pitch / 12**0.5,) * 2,
            gap=0.8,
            radiation_lengths=0.012,
        )
        for sign in (1, -1)
    }
    stations = {str(s): Pose((0.0, 0.0, z)) for s, z in enumerate((-1860.0, 48.0, 1238.0, 2428.0))}
    layers = [Pose((0.0, y, z)) for y, z in ((0.0, -30.0), (-5.0, 0.0), (5.0, 30.0))]
    signs = (1, -1, 1, -1, -1, 1, -1, 1)
    places = [(x, y) for x in (-60.0, 60.0) for y in (-90.0, -30.0, 30.0, 90.0)]
    upright = (0.0, 0.0, np.pi / 2)  # the measured direction up, strips horizontal
    modules = [Pose((x, y, -sign * 0.6), upright) for (x, y), sign in zip(places, signs, strict=True)]
    return Detector(
        name="faser",
        planes=tuple(
            Plane(f"{s}{c}{m}", pairs[signs[m]], pose)
            for s in stations
            for c in range(len(layers))
            for m, pose in enumerate(modules)
        ),
        groups=stations | {f"{s}{c}": pose for s in stations for c, pose in enumerate(layers)},
        magnets=(Magnet(-1550.0, -50.0, 0.57), Magnet(143.0, 1143.0, 0.57), Magnet(1333.0, 2333.0, 0.57)),
        choices=(3, 4),
    )


FASER = _faser()


def sensor_ids(detector: Detector) -> Index:
    """Identifier ``station*1000 + layer*100 + module*10 + side`` of every sensor, in the order of their numbers."""
    return np.asarray(detector.digits @ np.array([1000, 100, 10, 1]), dtype=np.int64)


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
    chain = _Chain(len(detector.digits))
    frames = []
    for depth, (offset, axes) in enumerate(detector.nominal, start=1):
        chain.enter(offset, axes)
        frames.append(chain.displace(_six(constants, detector.digits[:, :depth])))
    return Placement(chain.origin, chain.axes, frames[1], frames[3])


class _Chain:
    """Frames inside frames, followed from the outside in for n sensors at once."""

    def __init__(self, sensors: int) -> None:
        self.origin = np.zeros((sensors, 3))
        self.axes = np.broadcast_to(np.eye(3), (sensors, 3, 3))

    def enter(self, offset: Array, axes: Array) -> None:
        """Step into an inner frame at its nominal place."""
        self.origin = self.origin + np.einsum("nij,nj->ni", self.axes, offset)
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


def _six(constants: Constants, digits: Index) -> Array:
    """Constants (n, 6) of each sensor's frame, whose key is made of the digits; zero where there are none."""
    nothing = (0.0,) * 6
    keys = ("".join(map(str, row)) for row in digits.tolist())
    return np.array([constants.get(key, nothing) for key in keys], dtype=np.float64)
