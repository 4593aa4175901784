"""From reconstructed tracks to records of the Millepede fit.

Tracks and hits are chosen by cuts. What is then left of a track must still determine its five parameters and have
something to say beyond that: other tracks would be read by the fit only to be rejected, so they are not written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.geometry import Detector, sensor_of_id
from fiducial.alignment.millewriter import write_records
from fiducial.alignment.ntuple import GLOBAL_BRANCHES, LOCAL_BRANCHES, TRACK_BRANCHES, TrackTable
from fiducial.alignment.numbering import hit_labels
from fiducial.alignment.reconstruction import determined, normal_equations
from fiducial.core.errors import DataError

__all__ = ["BRANCHES", "LOCALS", "Counts", "Cuts", "Parameters", "Selection", "append_records", "choose"]

Array = NDArray[np.float64]

_RESIDUAL, _MEASURED, _SIGMA, _ID = (
    f"fitParam_align_{name}" for name in ("local_residual_x", "local_measured_x", "local_measured_xe", "id")
)
_LAYER = tuple(GLOBAL_BRANCHES[axis] for axis in (0, 1, 3, 4, 5))
_SIDE_X, _SIDE_RZ = LOCAL_BRANCHES[0], LOCAL_BRANCHES[5]
_SCALARS = tuple(f"fitParam_{name}" for name in ("x", "y", "chi2", "px", "py", "pz", "charge"))

#: What is read of an ntuple.
BRANCHES = (*_SCALARS, *_LAYER, _SIDE_X, _SIDE_RZ, *TRACK_BRANCHES, _RESIDUAL, _MEASURED, _SIGMA, _ID)

#: Parameters of a track.
LOCALS = len(TRACK_BRANCHES)


@dataclass(frozen=True)
class Cuts:
    """Which tracks and hits are used. The values are those of FASER's converter, but for the last.

    Args:
        max_chi2: largest chi2 of a track.
        min_pz: smallest momentum along the beam, GeV.
        max_pz: largest momentum along the beam, GeV.
        min_hits: fewest hits on a track, before hits are dropped.
        max_residual: largest distance of a hit from its track, mm.
        max_tilt: largest derivative by rx or ry of the layer, mm/rad.
        failed: derivatives below this stand for a failed extrapolation.
        min_used: fewest hits that must be left of a track; with five there would be nothing to learn from it.
    """

    max_chi2: float = 2000.0
    min_pz: float = 100.0
    max_pz: float = 5000.0
    min_hits: int = 15
    max_residual: float = 0.05
    max_tilt: float = 2.0
    failed: float = -9000.0
    min_used: int = 6


@dataclass(frozen=True)
class Parameters:
    """Which parameters the records name: those of layers, shifts of sides, rz of modules."""

    layers: bool = True
    sides: bool = True
    modules: bool = True

    @property
    def columns(self) -> NDArray[np.bool_]:
        """Which of a hit's seven parameters are named, in the order of :func:`hit_labels`."""
        return np.array([self.sides, self.modules, *[self.layers] * len(_LAYER)])


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
    """Choose tracks and hits.

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
    weak = passed & ~few & ~_determined(table, used)
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
    derivatives = [table.hits[name] for name in (*_LAYER, _SIDE_X, _SIDE_RZ, *TRACK_BRANCHES)]
    return _first_reason(
        failed=np.min(derivatives, axis=0) < cuts.failed,
        residual=np.abs(table.hits[_RESIDUAL]) > cuts.max_residual,
        tilt=np.maximum(np.abs(table.hits[_LAYER[2]]), np.abs(table.hits[_LAYER[3]])) > cuts.max_tilt,
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


def _determined(table: TrackTable, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tracks' parameters are determined by the hits that are left."""
    weight = 1.0 / table.hits[_SIGMA][used]
    derivatives = np.stack([table.hits[name][used] * weight for name in TRACK_BRANCHES], axis=1)
    matrix, _ = normal_equations(derivatives, weight, table.track[used], len(table.counts))
    return determined(matrix)


def append_records(
    file: IO[bytes], scratch: Path, table: TrackTable, selection: Selection, parameters: Parameters, residual: Array
) -> None:
    """Append one record for each chosen track to a Mille file.

    Args:
        file: open for writing; C records can simply follow each other.
        scratch: a file that may be overwritten.
        table: the tracks.
        selection: what was chosen of them.
        parameters: the parameters that records name.
        residual: (h,) value of every hit, mm: the measured residual, or another for a study.
    """
    used = selection.used
    if not used.any():
        return
    lengths = np.bincount(table.track[used], minlength=len(table.counts))
    local = np.stack([table.hits[name][used] for name in TRACK_BRANCHES], axis=1)
    wanted = parameters.columns
    names = [name for name, named in zip((_SIDE_X, _SIDE_RZ, *_LAYER), wanted, strict=True) if named]
    derivatives = np.stack([table.hits[name][used] for name in names], axis=1)
    labels = hit_labels(table.hits[_ID][used].astype(np.int64))[:, wanted]
    hits = len(local)
    write_records(
        scratch,
        lengths[lengths > 0],
        residual[used],
        table.hits[_SIGMA][used],
        np.full(hits, LOCALS),
        np.tile(np.arange(1, LOCALS + 1), hits),
        local.ravel(),
        np.full(hits, len(names)),
        labels.ravel(),
        derivatives.ravel(),
    )
    file.write(scratch.read_bytes())
