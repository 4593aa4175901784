"""Small test experiments for the Millepede fit: a wire chamber, and a silicon tracker with five models of a track.

They have the geometry, the labels and the sizes of the test data that `pede -t` makes (see the Millepede-II manual,
"Application"), with random numbers of their own: lengths are in cm, momenta in GeV. Everything follows from a seed; a
larger set begins with the records of a smaller one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.mille.writer import MilleOutput
from fiducial.core.errors import UsageError
from fiducial.storage.replace import replace_text

__all__ = ["CONSTRAINTS", "MODELS", "STEERING", "Generated", "generate"]

Array = NDArray[np.float64]
Longs = NDArray[np.int64]

# Scattering of the silicon models: ignored, in the errors, as angles, as broken lines of all layers or of stereo pairs.
MODELS = ("wire", "SL0", "SLE", "BP", "BRLF", "BRLC")

CONSTRAINTS, STEERING = "mp2con.txt", "mp2str.txt"
_CHUNK = 1000  # records made at a time


@dataclass(frozen=True)
class Generated:
    """A test experiment on disk.

    Args:
        steering: the steering file.
        truth: by label, the values that a fit should find within its errors.
        records: tracks written.
        measurements: of all tracks, those of kinks included.
        kept: text files that someone has changed, and that were left as they are.
    """

    steering: Path
    truth: dict[int, float]
    records: int
    measurements: int
    kept: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Records:
    """R tracks of up to M measurements; `present` says which of them there are."""

    present: NDArray[np.bool_]  # (R, M)
    value: Array  # (R, M)
    sigma: Array  # (R, M)
    local: Array  # (R, M, L) derivatives; zero where there is none
    label: Longs  # (R, M, G)
    derivative: Array  # (R, M, G)


def generate(folder: Path, model: str = "wire", *, records: int = 10_000, seed: int = 1) -> Generated:
    """Make a test experiment: ``mp2str.txt`` (steering), ``mp2con.txt`` (constraints) and ``mp2tst.bin`` (C binary).

    Text files that someone has changed are kept, so that a changed steering can be tried; those of another model, as
    this wrote them, and the binary file are replaced.

    Args:
        folder: where to, made if needed.
        model: one of `MODELS`.
        records: tracks to make.
        seed: of all random numbers.

    Raises:
        UsageError: there is no such model, or no record is wanted.
    """
    if model not in MODELS:
        raise UsageError(f"there is no test data '{model}'", hint=f"there are {', '.join(MODELS)}")
    if records < 1:
        raise UsageError(f"at least one record must be made, not {records}")
    folder.mkdir(parents=True, exist_ok=True)
    experiment = _experiment(model, seed)
    texts = _texts(experiment)
    kept = [folder / name for name in texts if _is_changed(folder / name)]
    for name, text in texts.items():
        if folder / name not in kept:
            replace_text(folder / name, text)
    written, measurements = _write(folder / "mp2tst.bin", experiment.tracks, records, seed)
    return Generated(folder / STEERING, experiment.truth, written, measurements, kept)


def _experiment(model: str, seed: int) -> _Wires | _Silicon:
    draw = np.random.default_rng([seed, 0])
    return _Wires(draw) if model == "wire" else _Silicon(draw, model)


def _texts(experiment: _Wires | _Silicon) -> dict[str, str]:
    """The content of the text files by name; it does not depend on the seed."""
    return {CONSTRAINTS: experiment.constraints(), STEERING: _STEERING.format(what=experiment.what)}


def _is_changed(path: Path) -> bool:
    """Whether a text file is there that is not as it is written for any model."""
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return all(text != _texts(_experiment(model, seed=1))[path.name] for model in MODELS)


def _write(
    path: Path, tracks: Callable[[np.random.Generator, int], _Records], records: int, seed: int
) -> tuple[int, int]:
    """Write records chunk by chunk, each from a seed of its own."""
    written = measurements = 0
    with MilleOutput(path) as output:
        for number, first in enumerate(range(0, records, _CHUNK), 1):
            # A chunk is always drawn in full: a larger set begins with the records of a smaller one.
            chunk = tracks(np.random.default_rng([seed, number]), _CHUNK)
            present = chunk.present[: records - first]
            written += _write_chunk(output, chunk, len(present))
            measurements += int(present.sum())
    return written, measurements


def _write_chunk(output: MilleOutput, chunk: _Records, wanted: int) -> int:
    present = chunk.present[:wanted]
    local, label, derivative = (rows[:wanted][present] for rows in (chunk.local, chunk.label, chunk.derivative))
    measurements, locals_ = local.shape
    return output.write_hits(
        present.sum(axis=1),
        chunk.value[:wanted][present],
        chunk.sigma[:wanted][present],
        np.full(measurements, locals_),
        np.tile(np.arange(1, locals_ + 1), measurements),
        local.ravel(),
        np.full(measurements, label.shape[1]),
        label.ravel(),
        derivative.ravel(),
    )


class _Wires:
    """100 planes of 25 drift cells each, straight tracks; each plane has a shift and a change of drift velocity."""

    what = "100 planes of drift cells, with shifts (12, 14 … 210) and drift velocities (501 … 600)"
    planes = 100
    cells = 25
    cell = 4.0  # width
    height = 100.0
    poor = 6  # index of a plane with a low efficiency and a bad resolution

    def __init__(self, draw: np.random.Generator) -> None:
        self.x = 10.0 * np.arange(1, self.planes + 1)
        self.efficiency, self.sigma = np.full(self.planes, 0.9), np.full(self.planes, 0.015)
        self.efficiency[self.poor], self.sigma[self.poor] = 0.1, 0.04
        self.lever = np.linspace(-1.0, 1.0, self.planes)
        # Tracks cannot see a common shift or tilt, which the constraints set to zero.
        self.shift = _without_line(draw.normal(0.0, 0.1, self.planes), self.lever)
        self.velocity = draw.normal(0.0, 0.02, self.planes)
        self.shift_label = 12 + 2 * np.arange(self.planes)
        self.velocity_label = 501 + np.arange(self.planes)

    @property
    def truth(self) -> dict[int, float]:
        labels = np.concatenate([self.shift_label, self.velocity_label])
        return dict(zip(labels.tolist(), np.concatenate([self.shift, self.velocity]).tolist(), strict=True))

    def constraints(self) -> str:
        return _constraint(self.shift_label, np.ones(self.planes)) + _constraint(self.shift_label, self.lever)

    def tracks(self, draw: np.random.Generator, count: int) -> _Records:
        start = draw.uniform(0.45, 0.55, (count, 1)) * self.height
        slope = draw.uniform(-0.5, 0.5, (count, 1)) * self.height / np.ptp(self.x)
        position = start + slope * self.x + self.shift
        drift = position % self.cell - self.cell / 2
        inside = np.logical_and.accumulate((position >= 0) & (position < self.cells * self.cell), axis=1)
        present = (draw.random(position.shape) < self.efficiency) & inside
        value = position + drift * self.velocity + self.sigma * draw.standard_normal(position.shape)
        ones = np.ones_like(position)
        local = np.stack([ones, ones * self.x], axis=-1)
        label = np.broadcast_to(np.stack([self.shift_label, self.velocity_label], axis=-1), local.shape)
        return _Records(present, value, ones * self.sigma, local, label, np.stack([ones, drift], axis=-1))


class _Silicon:
    """Ten layers of 10 x 5 strip modules that measure x; layers 1, 4, 7, 10 have stereo modules behind.

    Straight tracks from 10 to 100 GeV, which scatter in each of the 14 planes of modules. Global parameters are the
    shifts in x and y of each module, which the stereo modules of a layer share.
    """

    columns, rows = 10, 5
    size = 20.0  # of a layer
    resolution = 0.002
    thickness = 0.02  # of a plane, in radiation lengths
    stereo = 0.08727  # sine of 5 degrees
    middle = 4  # column of the modules that the constraints hold

    def __init__(self, draw: np.random.Generator, model: str) -> None:
        self.model = model
        self.what = f"10 layers of 50 silicon modules, with shifts in x (50 … 549) and y (1050 … 1549); model {model}"
        self._place_planes()
        self.modules = self.columns * self.rows
        self.shift = draw.normal(0.0, 0.01, (10, self.rows, self.columns, 2))  # mean residual: 100 um
        self.shift[[0, -1], :, self.middle] = 0.0
        self._join_planes(1.0 if model == "BRLC" else 0.0)

    def _place_planes(self) -> None:
        """Plane by plane: the layer, the place along the beam, and the direction in (x, y) that is measured."""
        layer, place, direction, sign = [], [], [], 1.0
        for number in range(10):
            planes = [(0.0, 0.0)]
            if number % 3 == 0:
                planes.append((0.5, sign * self.stereo))
                sign = -sign
            for behind, across in planes:
                layer.append(number)
                place.append(10.0 * (number + 1) + behind)
                direction.append((np.sqrt(1 - across**2), across))
        self.layer, self.place, self.direction = np.array(layer), np.array(place), np.array(direction)

    def _join_planes(self, distance: float) -> None:
        """Broken lines bend at scatterers: each plane alone, or those within a distance together."""
        self.scatterer = np.concatenate([[0], np.cumsum(np.diff(self.place) > distance)])
        members = np.bincount(self.scatterer)
        self.scatterer_place = np.bincount(self.scatterer, self.place) / members
        self.scatterer_planes = members

    @property
    def truth(self) -> dict[int, float]:
        """Modules in layers without stereo modules have no shift in y that could be seen."""
        stereo = np.unique(self.layer[self.direction[:, 1] != 0])
        label = 50 + np.arange(10 * self.modules).reshape(self.shift.shape[:3])
        seen = {0: np.arange(10), 1: stereo}
        return {
            int(number) + 1000 * axis: float(value)
            for axis, layers in seen.items()
            for number, value in zip(label[layers].ravel(), self.shift[layers, ..., axis].ravel(), strict=True)
        }

    def constraints(self) -> str:
        middle = self.middle + self.columns * np.arange(self.rows)
        first_and_last = (50, 50 + 9 * self.modules)
        return "".join(
            _constraint(middle + first + axis, np.ones(self.rows)) for first in first_and_last for axis in (0, 1000)
        )

    def tracks(self, draw: np.random.Generator, count: int) -> _Records:
        half = self.size / 2
        start, end = draw.uniform(-half, half, (2, count, 2))
        angle = np.sqrt(self.thickness) * 0.014 / 10.0 ** draw.uniform(1.0, 2.0, count)
        expected = start[:, None] + (end - start)[:, None] * (self.place / self.place[-1])[:, None]
        true = expected + self._scattered(draw.standard_normal((count, len(self.place), 2)) * angle[:, None, None])
        cell = np.floor((true + half) / self.size * (self.columns, self.rows)).astype(np.int64)
        inside = ((cell >= 0) & (cell < (self.columns, self.rows))).all(axis=-1)
        column, row = (np.where(inside, cell[..., axis], 0) for axis in (0, 1))
        away = true - expected + self.shift[self.layer, row, column]
        value = (away * self.direction).sum(axis=-1) + self.resolution * draw.standard_normal(inside.shape)
        label = 50 + (self.layer * self.rows + row) * self.columns + column
        return self._records(*_to_the_front(inside, value, label), angle)

    def _scattered(self, kick: Array) -> Array:
        """(R, planes, 2) how far scattering has carried a track from its line, from the kicks in the planes."""
        lever = np.maximum(self.place[:, None] - self.place[None, :], 0.0)
        return np.asarray(np.einsum("pq,rqa->rpa", lever, kick))

    def _records(self, present: NDArray[np.bool_], plane: Longs, value: Array, label: Longs, angle: Array) -> _Records:
        """Hits, and if the model has them the kinks, which are measured to be zero with the scattering angle."""
        place, direction = self.place[plane], self.direction[plane]
        sigma = np.full(present.shape, self.resolution)
        if self.model == "SLE":
            lever = np.maximum(place[:, :, None] - place[:, None, :], 0.0)
            sigma = np.sqrt(sigma**2 + ((lever * angle[:, None, None]) ** 2).sum(axis=-1))
        hits = _Records(
            present,
            value,
            sigma,
            self._local(plane, place, direction),
            np.stack([label, label + 1000], axis=-1),
            direction,
        )
        return hits if self.model in ("SL0", "SLE") else _joined(hits, *self._kinks(present, angle))

    def _local(self, plane: Longs, place: Array, direction: Array) -> Array:
        """(R, M, L) derivatives by the parameters of the track; those of x and of y alternate."""
        if self.model.startswith("BRL"):
            along = (self.scatterer[plane][..., None] == np.arange(len(self.scatterer_place))).astype(np.float64)
        else:
            along = np.stack([np.ones_like(place), place], axis=-1)
        if self.model == "BP":
            # A hit feels the kicks in all hit planes before it; the last plane's kick is felt by none.
            lever = np.maximum(place[:, :, None] - place[:, None, :-1], 0.0)
            lever *= np.tri(place.shape[1], place.shape[1] - 1, -1)
            along = np.concatenate([along, lever], axis=-1)
        return np.asarray((along[..., None] * direction[:, :, None, :]).reshape(*place.shape, -1))

    def _kinks(self, present: NDArray[np.bool_], angle: Array) -> tuple[NDArray[np.bool_], Array, Array]:
        """Which kinks there are (R, K), their standard deviations (R, K) and derivatives (K, L)."""
        if self.model == "BP":
            bend = np.hstack([np.zeros((len(self.place) - 1, 2)), np.eye(len(self.place) - 1)])
            there, size = present[:, 1:], np.ones(len(bend))
        else:
            bend = _second_differences(self.scatterer_place)
            there = np.ones((len(present), len(bend)), bool)
            size = np.asarray(np.sqrt(self.scatterer_planes[1:-1]), np.float64)
        twice = np.repeat(angle[:, None] * size, 2, axis=1)
        return np.repeat(there, 2, axis=1), twice, np.asarray(np.kron(bend, np.eye(2)), np.float64)


def _to_the_front(
    inside: NDArray[np.bool_], value: Array, label: Longs
) -> tuple[NDArray[np.bool_], Longs, Array, Longs]:
    """Sort the planes of each track so that those with a hit come first: (hit, plane, value, label)."""
    plane = np.argsort(~inside, axis=1, kind="stable")
    rows = np.arange(len(plane))[:, None]
    return inside[rows, plane], plane, value[rows, plane], label[rows, plane]


def _joined(hits: _Records, there: NDArray[np.bool_], sigma: Array, local: Array) -> _Records:
    """Hits, and after them kinks, which depend on no global parameter."""
    tracks, kinks = there.shape
    none = np.zeros((tracks, kinks, 2))
    return _Records(
        np.hstack([hits.present, there]),
        np.hstack([hits.value, np.zeros((tracks, kinks))]),
        np.hstack([hits.sigma, sigma]),
        np.concatenate([hits.local, np.broadcast_to(local, (tracks, *local.shape))], axis=1),
        np.concatenate([hits.label, np.ones_like(none, np.int64)], axis=1),
        np.concatenate([hits.derivative, none], axis=1),
    )


def _second_differences(place: Array) -> Array:
    """(n - 2, n) the kink at each inner place, from the offsets at all places."""
    before, after = 1 / np.diff(place)[:-1], 1 / np.diff(place)[1:]
    bend, inner = np.zeros((len(place) - 2, len(place))), np.arange(len(place) - 2)
    bend[inner, inner], bend[inner, inner + 1], bend[inner, inner + 2] = before, -before - after, after
    return bend


def _without_line(values: Array, lever: Array) -> Array:
    return np.asarray(values - np.polynomial.Polynomial.fit(lever, values, 1)(lever))


def _constraint(labels: Longs, factors: Array) -> str:
    terms = (f"{label:8d}  {factor:.8g}\n" for label, factor in zip(labels.tolist(), factors.tolist(), strict=True))
    return "Constraint 0.0\n" + "".join(terms)


_STEERING = """\
* Test data: {what}
Cfiles               ! binary files below were written from C (or Python)
mp2con.txt           ! constraints
mp2tst.bin           ! tracks

* What may vary
*entries 50          ! derivatives that a variable parameter needs (25 if this is not given)
*presigma 0.01       ! soft bound on all first steps
*regularisation 1.0  ! pull values to 0, with the presigmas

* Outliers
*chisqcut 30.0 6.0   ! cut on chi2 in the first and the second loop, in units of 3 standard deviations
*outlierdownweighting 2
*dwfractioncut 0.2

* Solution: the last method counts
method diagonalization 3 0.001
method inversion 3 0.001

* More in the result files
printcounts
*monitorresiduals
*histprint
end
"""
