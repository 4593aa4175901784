"""From reconstructed tracks to records of the Millepede fit.

Tracks and hits are chosen by cuts. What is then left of a track must still determine its five parameters and have
something to say beyond that: other tracks would be read by the fit only to be rejected, so they are not written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.iteration.recipe import Cuts
from fiducial.alignment.mille.writer import MilleOutput
from fiducial.alignment.tracker.geometry import Detector, sensor_of_id
from fiducial.alignment.tracker.ntuple import GLOBAL_BRANCHES, LOCAL_BRANCHES, TRACK_BRANCHES, TrackTable
from fiducial.alignment.tracker.numbering import AXES, Scheme, hit_labels
from fiducial.alignment.tracker.reconstruction import determined, normal_equations
from fiducial.core.errors import DataError

__all__ = ["Counts", "Selection", "append_records", "branches", "choose"]

Array = NDArray[np.float64]

_RESIDUAL, _MEASURED, _SIGMA, _ID = (
    f"fitParam_align_{name}" for name in ("local_residual_x", "local_measured_x", "local_measured_xe", "id")
)
_TILTS = (GLOBAL_BRANCHES[3], GLOBAL_BRANCHES[4])
_SCALARS = tuple(f"fitParam_{name}" for name in ("x", "y", "chi2", "px", "py", "pz", "charge"))


def branches(scheme: Scheme) -> tuple[str, ...]:
    """What is read of an ntuple for the parameters of a scheme."""
    needed = {*_derivative_branches(scheme), *_TILTS}
    hits = [name for name in (*GLOBAL_BRANCHES, *LOCAL_BRANCHES) if name in needed]
    return (*_SCALARS, *hits, *TRACK_BRANCHES, _RESIDUAL, _MEASURED, _SIGMA, _ID)


def _derivative_branches(scheme: Scheme) -> list[str]:
    """Branches with the derivatives by a scheme's parameters; by those of stations, all six of the layer's."""
    found = []
    for level, axis in scheme.columns():
        found.append((GLOBAL_BRANCHES if level in ("layer", "station") else LOCAL_BRANCHES)[AXES.index(axis)])
    return [*found, *(GLOBAL_BRANCHES if scheme.stations else ())]


@dataclass
class Counts:
    """What a conversion read and why it dropped some of it.

    Args:
        tracks: read.
        hits: read.
        used_tracks: written.
        used_hits: written.
        dropped_tracks: by reason: chi2, momentum, hits (too few from the start), used_hits (too few left), rank.
        dropped_hits: of tracks that passed their cuts, by reason: failed, residual, tilt.
    """

    tracks: int
    hits: int
    used_tracks: int
    used_hits: int
    dropped_tracks: Counter[str]
    dropped_hits: Counter[str]

    def __add__(self, other: Counts) -> Counts:
        """Counts of both."""
        return Counts(
            self.tracks + other.tracks,
            self.hits + other.hits,
            self.used_tracks + other.used_tracks,
            self.used_hits + other.used_hits,
            self.dropped_tracks + other.dropped_tracks,
            self.dropped_hits + other.dropped_hits,
        )


@dataclass(frozen=True)
class Selection:
    """The tracks and hits that passed.

    Args:
        track_passed: (t,) tracks that passed the cuts on tracks.
        used: (h,) hits that are written.
        sensor: (h,) number of the sensor of every hit.
        counts: what was dropped.
    """

    track_passed: NDArray[np.bool_]
    used: NDArray[np.bool_]
    sensor: NDArray[np.int64]
    counts: Counts


def choose(detector: Detector, table: TrackTable, cuts: Cuts) -> Selection:
    """Choose tracks and hits. A derivative that the table lacks cannot fail.

    Raises:
        DataError: a hit's identifier belongs to no sensor.
    """
    sensor = _sensors(detector, table.hits[_ID])
    tracks = _first_reason(
        chi2=table.scalars["fitParam_chi2"] > cuts.max_chi2,
        momentum=_outside(table.scalars["fitParam_pz"], cuts.min_pz, cuts.max_pz),
        hits=table.counts < cuts.min_hits,
    )
    passed = _passed(tracks)
    hits = {name: failed & passed[table.track] for name, failed in _bad_hits(table, cuts).items()}
    used = _passed(hits) & passed[table.track]
    left = np.bincount(table.track[used], minlength=len(passed))
    few = passed & (left < cuts.min_used)
    weak = passed & ~few & ~_determined(table, used, detector.track_parameters)
    used &= ~(few | weak)[table.track]
    dropped = {**tracks, "used_hits": few, "rank": weak}
    counts = Counts(
        len(passed), len(used), int((passed & ~few & ~weak).sum()), int(used.sum()), _counter(dropped), _counter(hits)
    )
    return Selection(passed, used, sensor, counts)


def _sensors(detector: Detector, ids: Array) -> NDArray[np.int64]:
    sensor = sensor_of_id(detector, ids)
    unknown = np.flatnonzero(sensor < 0)
    if len(unknown):
        raise DataError(f"branch {_ID}: {ids[unknown[0]]:g} (hit {unknown[0]} of the block) is no sensor")
    return sensor


def _bad_hits(table: TrackTable, cuts: Cuts) -> dict[str, NDArray[np.bool_]]:
    names = (*GLOBAL_BRANCHES, *LOCAL_BRANCHES, *TRACK_BRANCHES)
    derivatives = [table.hits[name] for name in names if name in table.hits]
    return _first_reason(
        failed=np.min(derivatives, axis=0) < cuts.failed,
        residual=np.abs(table.hits[_RESIDUAL]) > cuts.max_residual,
        tilt=np.max([np.abs(table.hits[name]) for name in _TILTS], axis=0) > cuts.max_tilt,
    )


def _outside(values: Array, low: float, high: float) -> NDArray[np.bool_]:
    return (values < low) | (values > high)


def _first_reason(**failed: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Give each entry only the first reason for which it fails, so that counts add up."""
    before = np.zeros_like(next(iter(failed.values())))
    reasons = {}
    for name, bad in failed.items():
        reasons[name] = bad & ~before
        before = before | bad
    return reasons


def _passed(reasons: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.asarray(~np.any(list(reasons.values()), axis=0))


def _counter(reasons: dict[str, NDArray[np.bool_]]) -> Counter[str]:
    return Counter({name: int(failed.sum()) for name, failed in reasons.items()})


def _determined(table: TrackTable, used: NDArray[np.bool_], parameters: int) -> NDArray[np.bool_]:
    """Which tracks' parameters are determined by the hits that are left."""
    weight = 1.0 / table.hits[_SIGMA][used]
    names = TRACK_BRANCHES[:parameters]
    derivatives = np.stack([table.hits[name][used] * weight for name in names], axis=1)
    matrix, _ = normal_equations(derivatives, weight, table.track[used], len(table.counts))
    return determined(matrix)


def append_records(
    output: MilleOutput,
    detector: Detector,
    table: TrackTable,
    selection: Selection,
    scheme: Scheme,
    residual: Array,
) -> None:
    """Append one record for each chosen track to a Mille file.

    Args:
        output: the file.
        detector: the tracker.
        table: the tracks.
        selection: what was chosen of them.
        scheme: the parameters that records name.
        residual: (h,) value of every hit, mm: the measured residual, or another for a study.
    """
    used = selection.used
    if not used.any():
        return
    lengths = np.bincount(table.track[used], minlength=len(table.counts))
    names = TRACK_BRANCHES[: detector.track_parameters]
    local = np.stack([table.hits[name][used] for name in names], axis=1)
    derivatives = _derivatives(detector, table, selection, scheme)
    labels = hit_labels(table.hits[_ID][used].astype(np.int64), scheme)
    hits = len(local)
    output.write_hits(
        lengths[lengths > 0],
        residual[used],
        table.hits[_SIGMA][used],
        np.full(hits, local.shape[1]),
        np.tile(np.arange(1, local.shape[1] + 1), hits),
        local.ravel(),
        np.full(hits, labels.shape[1]),
        labels.ravel(),
        derivatives.ravel(),
    )


def _derivatives(detector: Detector, table: TrackTable, selection: Selection, scheme: Scheme) -> Array:
    """Derivatives (u, p) of the used hits, one column for each of the scheme's parameters."""
    used = selection.used
    by_station = _by_station(detector, table, selection) if scheme.stations else np.zeros((0, 0))
    columns = []
    for (level, axis), name in zip(scheme.columns(), _derivative_branches(scheme), strict=False):
        columns.append(by_station[:, AXES.index(axis)] if level == "station" else table.hits[name][used])
    return np.stack(columns, axis=1)


def _by_station(detector: Detector, table: TrackTable, selection: Selection) -> Array:
    """Derivatives (u, 6) by the constants of stations, from those by the layers'.

    A station that turns turns its layers, and carries them about its own middle as well.
    """
    used = selection.used
    offset, axes = (nominal[selection.sensor[used]] for nominal in detector.nominal[1])
    by_layer = np.stack([table.hits[name][used] for name in GLOBAL_BRANCHES], axis=1)
    shifts = np.einsum("nij,nj->ni", axes, by_layer[:, :3])
    turns = np.einsum("nij,nj->ni", axes, by_layer[:, 3:]) + np.cross(offset, shifts)
    return np.concatenate([shifts, turns], axis=1)
