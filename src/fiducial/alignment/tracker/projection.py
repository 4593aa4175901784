"""What a fit should have found, when the truth is known.

Truth and constants cannot be compared number by number: the truth displaces parts that no label can move, and the
data say nothing of motions that change no residual (the whole tracker shifted or turned, heights that grow like the
bending of a track). So the truth is seen through the fit itself. Each measured residual is replaced by the one that
the difference between truth and present constants causes, without any measurement error, and the same fit with the
same hits, constraints and presigmas is done with it. What it finds is the part of the truth that the labels can
represent, in the gauge of the fit; the difference to the fit of the data is caused by measurement errors alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.tracker.geometry import Detector, Placement
from fiducial.alignment.tracker.ntuple import TrackTable
from fiducial.alignment.tracker.reconstruction import least_squares_step, normal_equations, stepped
from fiducial.alignment.tracker.trajectory import Crossing, cross, track_derivatives

__all__ = ["track_parameters", "true_residuals"]

Array = NDArray[np.float64]

#: Steps of a track's fit; the first already leaves less than a nm.
_STEPS = 2


def track_parameters(table: TrackTable) -> Array:
    """Parameters (t, 5) of tracks: x, y (mm), slopes, q/p (1/GeV)."""
    x, y, px, py, pz, charge = (table.scalars[f"fitParam_{name}"] for name in ("x", "y", "px", "py", "pz", "charge"))
    return np.column_stack([x, y, px / pz, py / pz, charge / np.sqrt(px**2 + py**2 + pz**2)])


def true_residuals(
    detector: Detector, table: TrackTable, sensor: NDArray[np.int64], present: Placement, true: Placement
) -> Array:
    """Residual (h,) of every hit, mm, that the difference between true and present places of sensors causes.

    Each track is fitted once more, with the true places: its other parameters are part of the difference. Leaving
    them out would be wrong in second order only, but motions that the data hardly see are as small as that.
    """
    state = track_parameters(table)
    before = cross(detector, present, state[table.track], sensor).along
    for _ in range(_STEPS):
        crossing = cross(detector, true, state[table.track], sensor)
        step = _improvement(detector, table, crossing)
        state = stepped(state, step)
    return cross(detector, true, state[table.track], sensor).along - before


def _improvement(detector: Detector, table: TrackTable, crossing: Crossing) -> Array:
    """Step (t, 4 or 5) of least squares towards the measured coordinates; none for tracks that are not determined."""
    weight = 1.0 / table.hits["fitParam_align_local_measured_xe"]
    residual = (table.hits["fitParam_align_local_measured_x"] - crossing.along) * weight
    derivatives = track_derivatives(detector, crossing) * weight[:, None]
    return least_squares_step(*normal_equations(derivatives, residual, table.track, len(table.counts)))[0]
