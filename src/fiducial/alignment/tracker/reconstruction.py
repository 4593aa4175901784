"""From fired strips to tracks: find the hits of the muon of each event and fit its parameters.

All events of a file are treated at once, in flat arrays of hits. Momenta are so high that tracks are nearly straight:
robust straight lines tell the muon's hits from noise, one in each plane in which sensors measure (only the vertical one
where strips are a small stereo angle apart); then least squares with all parameters are repeated in windows that become
narrower, about the parameters of the fit before. Without a field q/p is not a parameter, but a number that is given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fiducial.alignment.tomlfile import Positive
from fiducial.alignment.tracker.geometry import Detector, Placement, place
from fiducial.alignment.tracker.ntuple import TrackTable
from fiducial.alignment.tracker.raw import RawData
from fiducial.alignment.tracker.trajectory import Crossing, cross, frame_derivatives, to_polar, track_derivatives
from fiducial.core.errors import DataError

__all__ = [
    "Finding",
    "Hits",
    "determined",
    "fit_tracks",
    "least_squares_step",
    "normal_equations",
    "reconstruct",
    "stepped",
    "tabulate",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_PARAMETERS = 5
#: Sensors whose measured direction has more than this along an axis tell where tracks are along it.
_MEASURES = 0.5
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
        momentum: of all tracks where there is no field, GeV.
    """

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (30.0, 10.0, 4.0, 2.0)
    windows: Annotated[tuple[Positive, ...], Field(min_length=1)] = (6.0, 1.0, 0.5, 0.5)
    fewest_hits: Annotated[int, Field(ge=1)] = 9
    momentum: Positive = 1000.0


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
    stations: int | None,
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


def read_hits(detector: Detector, raw: RawData, stations: Collection[int]) -> Hits:
    """Turn strips of the given stations into measured coordinates."""
    event = np.repeat(np.arange(len(raw.counts)), raw.counts)
    taken = np.isin(detector.digits[raw.sensor, 0], list(stations))
    measured = np.asarray(
        (raw.strip + 0.5 - detector.channels[raw.sensor] / 2) * detector.pitch[raw.sensor], dtype=np.float64
    )
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
    if not detector.magnets:
        state[:, 4] = 1.0 / finding.momentum
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
    """Robust lines x(z) and y(z), as track parameters without bending; zero where no sensor measures much of one."""
    state = np.zeros((tracks, _PARAMETERS))
    for axis in (0, 1):
        steep = np.abs(placement.axes[hits.sensor, axis, 0]) > _MEASURES
        if steep.any():
            state[:, [axis, axis + 2]] = _robust_lines(placement, hits.keep(steep), tracks, axis, scales)
    return state


def _robust_lines(placement: Placement, hits: Hits, tracks: int, axis: int, scales: tuple[float, ...]) -> Array:
    """Height and slope (t, 2) of the line along one axis through the hits of each track."""
    z = placement.origin[hits.sensor, 2]
    height = placement.origin[hits.sensor, axis] + placement.axes[hits.sensor, axis, 0] * hits.measured
    line = np.zeros((tracks, 2))
    line[:, 0] = _medians(hits.track, height, tracks)
    for scale in scales:
        distance = height - line[hits.track, 0] - line[hits.track, 1] * z
        weight = 1.0 / (1.0 + (distance / scale) ** 2) ** 2
        terms = (np.ones_like(z), z, z * z, distance, distance * z)
        one, by_z, by_zz, of_y, of_yz = (np.bincount(hits.track, weight * term, tracks) for term in terms)
        determinant = one * by_zz - by_z**2
        # A track with one hit along this axis has no line; the fits that follow will find it undetermined.
        safe = np.where(determinant > 0.0, determinant, np.inf)
        line[:, 0] += (by_zz * of_y - by_z * of_yz) / safe
        line[:, 1] += (one * of_yz - by_z * of_y) / safe
    return line


def _medians(track: Index, values: Array, tracks: int) -> Array:
    """Upper median of the values of each track; zero of a track that has none."""
    counts = np.bincount(track, minlength=tracks)
    order = np.append(np.lexsort((values, track)), len(values))
    upper = np.append(values, 0.0)[order][np.cumsum(counts) - counts + counts // 2]
    return np.asarray(np.where(counts > 0, upper, 0.0))


def _predict(detector: Detector, placement: Placement, state: Array, hits: Hits) -> Crossing:
    return cross(detector, placement, state[hits.track], hits.sensor)


def _improve(detector: Detector, placement: Placement, state: Array, hits: Hits) -> tuple[Array, NDArray[np.bool_]]:
    """One step of least squares. Says which tracks are determined by their hits."""
    crossing = _predict(detector, placement, state, hits)
    weight = 1.0 / detector.resolution[hits.sensor]
    derivatives = track_derivatives(detector, crossing) * weight[:, None]
    residual = (hits.measured - crossing.along) * weight
    step, good = least_squares_step(*normal_equations(derivatives, residual, hits.track, len(state)))
    return stepped(state, step), good


def stepped(state: Array, step: Array) -> Array:
    """Parameters (t, 5) after a step (t, 4) or (t, 5): without a field the last one is no parameter."""
    moved = state.copy()
    moved[:, : step.shape[1]] += step
    return moved


def least_squares_step(matrix: Array, vector: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Solve normal equations (t, p, p), (t, p); parameters that are not determined stay, and are said to be so."""
    good = determined(matrix)
    step = np.zeros_like(vector)
    scaled, scale = _unit_diagonal(matrix[good])
    step[good] = scale * np.linalg.solve(scaled, (scale * vector[good])[:, :, None])[:, :, 0]
    return step, good


def determined(matrix: Array) -> NDArray[np.bool_]:
    """Which of the parameters behind normal matrices (t, p, p) are all determined."""
    return np.asarray(np.linalg.eigvalsh(_unit_diagonal(matrix)[0])[:, 0] > _DETERMINED)


def _unit_diagonal(matrix: Array) -> tuple[Array, Array]:
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("tii->ti", matrix), np.finfo(float).tiny))
    return matrix * scale[:, :, None] * scale[:, None, :], scale


def normal_equations(derivatives: Array, residual: Array, track: Index, tracks: int) -> tuple[Array, Array]:
    """Sums over each track's hits: matrix (t, p, p) and vector (t, p) for derivatives (h, p)."""
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
    from fiducial.alignment.tracker.geometry import sensor_ids
    from fiducial.alignment.tracker.ntuple import GLOBAL_BRANCHES, LOCAL_BRANCHES, TRACK_BRANCHES

    crossing = _predict(detector, placement, state, hits)
    residual = hits.measured - crossing.along
    resolution = detector.resolution[hits.sensor]
    by_layer = frame_derivatives(crossing, placement.layer, hits.sensor)
    by_side = frame_derivatives(crossing, placement.side, hits.sensor)
    by_track = np.zeros((len(residual), len(TRACK_BRANCHES)))
    by_track[:, : detector.track_parameters] = to_polar(state[hits.track], track_derivatives(detector, crossing))
    columns = {
        **dict(zip(GLOBAL_BRANCHES, by_layer.T, strict=True)),
        **dict(zip(LOCAL_BRANCHES, by_side.T, strict=True)),
        **dict(zip(TRACK_BRANCHES, by_track.T, strict=True)),
        "fitParam_align_local_residual_x": residual,
        "fitParam_align_local_measured_x": hits.measured,
        "fitParam_align_local_measured_xe": resolution,
        "fitParam_align_id": sensor_ids(detector)[hits.sensor].astype(np.float64),
    }
    counts = np.bincount(hits.track, minlength=len(state))
    chi2: Array = np.bincount(hits.track, (residual / resolution) ** 2, len(state)).astype(np.float64)
    return TrackTable(_summary(state, chi2, counts - detector.track_parameters), counts, columns)


def _summary(state: Array, chi2: Array, ndf: Index) -> dict[str, Array]:
    """Branches with one number for each track."""
    charge = np.where(state[:, 4] < 0.0, -1.0, 1.0)
    along = 1.0 / np.maximum(np.abs(state[:, 4]), np.finfo(float).tiny) / np.sqrt(1 + (state[:, 2:4] ** 2).sum(axis=1))
    return {
        "fitParam_x": state[:, 0],
        "fitParam_y": state[:, 1],
        "fitParam_chi2": chi2,
        "fitParam_ndf": ndf.astype(np.float64),
        "fitParam_px": along * state[:, 2],
        "fitParam_py": along * state[:, 3],
        "fitParam_pz": along,
        "fitParam_charge": charge,
    }
