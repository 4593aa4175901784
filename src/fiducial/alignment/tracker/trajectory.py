"""Muon tracks through a tracker and its dipoles, and how their crossings with sensors change.

A track has five parameters at the detector's reference plane: x, y (mm), the slopes dx/dz and dy/dz, and charge over
momentum (1/GeV). The field is horizontal, so it bends vertically, and slopes are small: the bending is taken to be
the same for all slopes (its relative error is half the slope squared, 1e-5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.tracker.geometry import Detector, Frame, Placement

__all__ = ["Crossing", "bending", "cross", "frame_derivatives", "from_polar", "to_polar", "track_derivatives"]

Array = NDArray[np.float64]

#: Slope gained by a particle of 1 GeV and unit charge in 1 T over 1 mm.
_KICK = 0.299792458e-3


def bending(detector: Detector, z: Array) -> tuple[Array, Array]:
    """Height (mm GeV) and slope (GeV) that the magnets add between the reference plane and z, for unit q/p."""
    height = np.zeros_like(z)
    slope = np.zeros_like(z)
    for magnet in detector.magnets:
        side = 1.0 if magnet.z_min >= detector.reference_z else -1.0
        edges = sorted((side * magnet.z_min, side * magnet.z_max))
        beyond_near, beyond_far = (np.maximum(side * z - edge, 0.0) for edge in edges)
        height += _KICK * magnet.field * (beyond_near**2 - beyond_far**2) / 2
        slope += _KICK * magnet.field * side * (beyond_near - beyond_far)
    return height, slope


@dataclass(frozen=True)
class Crossing:
    """Where n tracks cross n sensors.

    Args:
        along: (n,) measured coordinate, mm.
        across: (n,) coordinate along the strips, mm.
        point: (n, 3) point of the crossing, mm.
        pull: (n, 3) how the measured coordinate grows when the track is moved.
        bend: (n, 2) height and slope added at the crossing by unit q/p.
    """

    along: Array
    across: Array
    point: Array
    pull: Array
    bend: Array


def cross(detector: Detector, placement: Placement, state: Array, sensor: NDArray[np.int64]) -> Crossing:
    """Cross n tracks, given by their parameters (n, 5), with n sensors, given by their numbers.

    Inside a sensor's own depth (tilt times size, a fraction of a mm) the track is straight.
    """
    origin, axes = placement.origin[sensor], placement.axes[sensor]
    z = origin[:, 2]
    height, slope = bending(detector, z)
    distance = z - detector.reference_z
    direction = np.stack([state[:, 2], state[:, 3] + state[:, 4] * slope, np.ones(len(z))], axis=1)
    before = np.stack(
        [state[:, 0] + state[:, 2] * distance, state[:, 1] + state[:, 3] * distance + state[:, 4] * height, z], axis=1
    )
    normal = axes[:, :, 2]
    towards = np.einsum("ni,ni->n", normal, direction)
    step = np.einsum("ni,ni->n", normal, origin - before) / towards
    point = before + step[:, None] * direction
    along, across = np.einsum("nij,ni->jn", axes[:, :, :2], point - origin)
    lean = np.einsum("ni,ni->n", axes[:, :, 0], direction) / towards
    pull = axes[:, :, 0] - lean[:, None] * normal
    return Crossing(along, across, point, pull, np.stack([height + step * slope, slope], axis=1))


def track_derivatives(detector: Detector, crossing: Crossing) -> Array:
    """Derivatives of the measured coordinate by x, y, the two slopes and q/p (n, 5); without a field, not by q/p."""
    distance = crossing.point[:, 2] - detector.reference_z
    by_x, by_y = crossing.pull[:, 0], crossing.pull[:, 1]
    columns = [by_x, by_y, by_x * distance, by_y * distance, by_y * crossing.bend[:, 0]]
    return np.stack(columns[: detector.track_parameters], axis=1)


def frame_derivatives(crossing: Crossing, frame: Frame, sensor: NDArray[np.int64]) -> Array:
    """Derivatives (n, 6) of the measured coordinate by a frame's x, y, z, rx, ry, rz.

    Moving a sensor is moving the track the other way in the sensor's frame, so these are minus what the track's own
    motion does: a sensor that is moved along its measured direction sees the same track at a smaller coordinate.
    """
    shifts = np.einsum("nij,ni->nj", frame.shifts[sensor], crossing.pull)
    lever = np.cross(crossing.point - frame.pivot[sensor], crossing.pull)
    turns = np.einsum("nij,ni->nj", frame.turns[sensor], lever)
    return -np.concatenate([shifts, turns], axis=1)


def to_polar(state: Array, derivatives: Array) -> Array:
    """Derivatives (n, 4 or 5) by x, y, theta, phi, q/p from those by x, y, slopes, q/p at parameters (n, 5)."""
    tan_x, tan_y = state[:, 2], state[:, 3]
    tangent = np.hypot(tan_x, tan_y)
    safe = np.where(tangent > 0.0, tangent, 1.0)
    cosine, sine = np.where(tangent > 0.0, tan_x / safe, 1.0), tan_y / safe
    by_theta = (1.0 + tangent**2) * (cosine * derivatives[:, 2] + sine * derivatives[:, 3])
    by_phi = tangent * (cosine * derivatives[:, 3] - sine * derivatives[:, 2])
    return np.column_stack([derivatives[:, :2], by_theta, by_phi, derivatives[:, 4:]])


def from_polar(polar: Array) -> Array:
    """Parameters (n, 5) with slopes from x, y, theta, phi, q/p."""
    tangent = np.tan(polar[:, 2])
    slopes = tangent * np.cos(polar[:, 3]), tangent * np.sin(polar[:, 3])
    return np.stack([polar[:, 0], polar[:, 1], *slopes, polar[:, 4]], axis=1)
