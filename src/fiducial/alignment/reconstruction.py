"""From fired strips to tracks: find the hits of the muon of each event and fit its five parameters.

All events of a file are treated at once, in flat arrays of hits. Momenta are so high that tracks are nearly straight:
a robust straight line in the vertical plane tells the muon's hits from noise, then least squares with all five
parameters are repeated in windows that become narrower, about the parameters of the fit before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.geometry import Detector, Placement, place
from fiducial.alignment.ntuple import TrackTable
from fiducial.alignment.raw import RawData
from fiducial.alignment.trajectory import Crossing, cross, frame_derivatives, to_polar, track_derivatives
from fiducial.core.errors import DataError

__all__ = [
    "Finding",
    "Hits",
    "determined",
    "fit_tracks",
    "least_squares_step",
    "normal_equations",
    "reconstruct",
    "tabulate",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_PARAMETERS = 5
#: Smallest eigenvalue of a track's normal matrix, scaled to a unit diagonal, that still counts as determined.
_DETERMINED = 1e-9


@dataclass(frozen=True)
class Finding:
    """How hits are told from noise.

    Args:
        scales: widths of the robust straight line's successive steps, mm.
        windows: largest distance of a hit from the fit before, mm; one fit for each. The last must let through what
            a misaligned sensor shows.
        fewest_hits: events with fewer are no track.
    """

    scales: tuple[float, ...] = (30.0, 10.0, 4.0, 2.0)
    windows: tuple[float, ...] = (6.0, 1.0, 0.5, 0.5)
    fewest_hits: int = 9


@dataclass(frozen=True)
class Hits:
    """Hits of tracks, track after track.

    Args:
        track: (h,) number of the track, ascending.
        sensor: (h,) number of the sensor.
        measured: (h,) measured coordinate in the sensor, mm.
    """

    track: Index
    sensor: Index
    measured: Array

    def keep(self, good: NDArray[np.bool_]) -> Hits:
        """Keep some of the hits."""
        return Hits(self.track[good], self.sensor[good], self.measured[good])

    def of_tracks(self, good: NDArray[np.bool_]) -> Hits:
        """Keep the hits of some of the tracks, which are numbered anew."""
        kept = self.keep(good[self.track])
        return Hits((np.cumsum(good) - 1)[kept.track], kept.sensor, kept.measured)


def reconstruct(
    detector: Detector,
    raw: RawData,
    constants: Mapping[str, tuple[float, ...]],
    stations: int,
    finding: Finding | None = None,
) -> tuple[TrackTable, dict[str, int]]:
    """Reconstruct the tracks of a raw file under given constants.

    Returns:
        the tracks with all that an alignment needs, and how many events gave none, by reason.

    Raises:
        DataError: there is not one track.
    """
    placement = place(detector, constants)
    hits = read_hits(detector, raw, detector.stations(stations))
    state, hits, lost = fit_tracks(detector, placement, hits, len(raw.counts), finding or Finding())
    if not len(state):
        raise DataError(f"run {raw.run} file {raw.file}: no track in {len(raw.counts)} events")
    return tabulate(detector, placement, state, hits), lost


def read_hits(detector: Detector, raw: RawData, stations: range) -> Hits:
    """Turn strips of the given stations into measured coordinates."""
    event = np.repeat(np.arange(len(raw.counts)), raw.counts)
    station = raw.sensor // np.prod(detector.shape[1:])
    measured = np.asarray((raw.strip + 0.5 - detector.strips / 2) * detector.pitch, dtype=np.float64)
    taken = (station >= stations.start) & (station < stations.stop)
    return Hits(event, raw.sensor, measured).keep(taken)


def fit_tracks(
    detector: Detector, placement: Placement, hits: Hits, events: int, finding: Finding
) -> tuple[Array, Hits, dict[str, int]]:
    """Find and fit one track in each event.

    Returns:
        parameters (t, 5) of the tracks (x, y, slopes, q/p), the hits on them, and events without one by reason.
    """
    enough = np.bincount(hits.track, minlength=events) >= finding.fewest_hits
    lost = {"hits": int((~enough).sum()), "rank": 0}
    hits = hits.of_tracks(enough)
    state = _straight_lines(placement, hits, int(enough.sum()), finding.scales)
    for window in finding.windows:
        near = np.abs(hits.measured - _predict(detector, placement, state, hits).along) < window
        counts = np.bincount(hits.track[near], minlength=len(state))
        good = counts >= finding.fewest_hits
        lost["hits"] += int((~good).sum())
        hits, state, near = hits.of_tracks(good), state[good], near[good[hits.track]]
        state, good = _improve(detector, placement, state, hits.keep(near))
        lost["rank"] += int((~good).sum())
        hits, state, near = hits.of_tracks(good), state[good], near[good[hits.track]]
    return state, hits.keep(near), lost


def _straight_lines(placement: Placement, hits: Hits, tracks: int, scales: tuple[float, ...]) -> Array:
    """Robust lines y(z), as track parameters without bending; the horizontal coordinate is not looked at."""
    z = placement.origin[hits.sensor, 2]
    y = placement.origin[hits.sensor, 1] + placement.axes[hits.sensor, 1, 0] * hits.measured
    state = np.zeros((tracks, _PARAMETERS))
    state[:, 1] = _medians(hits.track, y, tracks)
    for scale in scales:
        distance = y - state[hits.track, 1] - state[hits.track, 3] * z
        weight = 1.0 / (1.0 + (distance / scale) ** 2) ** 2
        sums = [np.bincount(hits.track, weight * term, tracks) for term in (1.0, z, z * z, distance, distance * z)]
        one, by_z, by_zz, of_y, of_yz = sums
        determinant = one * by_zz - by_z**2
        state[:, 1] += (by_zz * of_y - by_z * of_yz) / determinant
        state[:, 3] += (one * of_yz - by_z * of_y) / determinant
    return state


def _medians(track: Index, values: Array, tracks: int) -> Array:
    """Upper median of the values of each track."""
    counts = np.bincount(track, minlength=tracks)
    order = np.lexsort((values, track))
    return np.asarray(values[order][np.cumsum(counts) - counts + counts // 2])


def _predict(detector: Detector, placement: Placement, state: Array, hits: Hits) -> Crossing:
    return cross(detector, placement, state[hits.track], hits.sensor)


def _improve(detector: Detector, placement: Placement, state: Array, hits: Hits) -> tuple[Array, NDArray[np.bool_]]:
    """One step of least squares; all hits have the same error. Says which tracks are determined by their hits."""
    crossing = _predict(detector, placement, state, hits)
    derivatives = track_derivatives(detector, crossing)
    matrix, vector = normal_equations(derivatives, hits.measured - crossing.along, hits.track, len(state))
    step, good = least_squares_step(matrix, vector)
    return state + step, good


def least_squares_step(matrix: Array, vector: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Solve normal equations (t, 5, 5), (t, 5); parameters that are not determined stay, and are said to be so."""
    good = determined(matrix)
    step = np.zeros_like(vector)
    scaled, scale = _unit_diagonal(matrix[good])
    step[good] = scale * np.linalg.solve(scaled, (scale * vector[good])[:, :, None])[:, :, 0]
    return step, good


def determined(matrix: Array) -> NDArray[np.bool_]:
    """Which of the parameters behind normal matrices (t, 5, 5) are all determined."""
    return np.asarray(np.linalg.eigvalsh(_unit_diagonal(matrix)[0])[:, 0] > _DETERMINED)


def _unit_diagonal(matrix: Array) -> tuple[Array, Array]:
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("tii->ti", matrix), np.finfo(float).tiny))
    return matrix * scale[:, :, None] * scale[:, None, :], scale


def normal_equations(derivatives: Array, residual: Array, track: Index, tracks: int) -> tuple[Array, Array]:
    """Sums over each track's hits: matrix (t, 5, 5) and vector (t, 5)."""
    size = derivatives.shape[1]
    matrix = np.empty((tracks, size, size))
    vector = np.empty((tracks, size))
    for row in range(size):
        vector[:, row] = np.bincount(track, derivatives[:, row] * residual, tracks)
        for column in range(row + 1):
            sums = np.bincount(track, derivatives[:, row] * derivatives[:, column], tracks)
            matrix[:, row, column] = matrix[:, column, row] = sums
    return matrix, vector


def tabulate(detector: Detector, placement: Placement, state: Array, hits: Hits) -> TrackTable:
    """Collect what an alignment needs to know of tracks (parameters (t, 5)) and their hits."""
    from fiducial.alignment.geometry import sensor_ids
    from fiducial.alignment.ntuple import GLOBAL_BRANCHES, LOCAL_BRANCHES, TRACK_BRANCHES

    crossing = _predict(detector, placement, state, hits)
    residual = hits.measured - crossing.along
    by_layer = frame_derivatives(crossing, placement.layer, hits.sensor)
    by_side = frame_derivatives(crossing, placement.side, hits.sensor)
    by_track = to_polar(state[hits.track], track_derivatives(detector, crossing))
    columns = {
        **dict(zip(GLOBAL_BRANCHES, by_layer.T, strict=True)),
        **dict(zip(LOCAL_BRANCHES, by_side.T, strict=True)),
        **dict(zip(TRACK_BRANCHES, by_track.T, strict=True)),
        "fitParam_align_local_residual_x": residual,
        "fitParam_align_local_measured_x": hits.measured,
        "fitParam_align_local_measured_xe": np.full(len(residual), detector.resolution),
        "fitParam_align_id": sensor_ids(detector)[hits.sensor].astype(np.float64),
    }
    counts = np.bincount(hits.track, minlength=len(state))
    chi2: Array = np.bincount(hits.track, (residual / detector.resolution) ** 2, len(state)).astype(np.float64)
    return TrackTable(_summary(state, chi2, counts), counts, columns)


def _summary(state: Array, chi2: Array, counts: Index) -> dict[str, Array]:
    """Branches with one number for each track."""
    charge = np.where(state[:, 4] < 0.0, -1.0, 1.0)
    along = 1.0 / np.maximum(np.abs(state[:, 4]), np.finfo(float).tiny) / np.sqrt(1 + (state[:, 2:4] ** 2).sum(axis=1))
    return {
        "fitParam_x": state[:, 0],
        "fitParam_y": state[:, 1],
        "fitParam_chi2": chi2,
        "fitParam_ndf": (counts - _PARAMETERS).astype(np.float64),
        "fitParam_px": along * state[:, 2],
        "fitParam_py": along * state[:, 3],
        "fitParam_pz": along,
        "fitParam_charge": charge,
    }
