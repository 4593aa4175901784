"""Simulated muons in a tracker that is not where it should be.

Muons of both charges come through the tracker one at a time, bend in the dipoles, scatter in every layer and fire the
strip under which they pass; strips miss some hits and fire by themselves now and then. Everything follows from a seed
and the number of the file, so that any file can be made again alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import log
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.constants.values import Six
from fiducial.alignment.tomlfile import NotNegative, Part, Positive
from fiducial.alignment.tracker.geometry import Detector, Placement, place
from fiducial.alignment.tracker.numbering import LEVELS, Level
from fiducial.alignment.tracker.raw import RawData
from fiducial.alignment.tracker.trajectory import cross
from fiducial.core.errors import DataError, NotFoundError
from fiducial.storage.replace import replace_text

__all__ = ["TRUTH_FORMAT", "Beam", "Misalignment", "Response", "misalign", "read_truth", "simulate", "write_truth"]

Array = NDArray[np.float64]

#: By this a file says that it is a truth.
TRUTH_FORMAT = "fiducial-alignment-truth"


@dataclass(frozen=True)
class Beam:
    """Muons at the reference plane.

    Args:
        momentum: median momentum, GeV. Muons that come from the interaction point through 480 m of rock have hundreds
            of GeV to some TeV. At these momenta they scatter less than the strips can see, so that a track with five
            parameters describes them nearly as well as one with kinks.
        spread: standard deviation of the logarithm of the momentum.
        lowest: no muon has less, GeV.
        highest: no muon has more, GeV.
        half_width: tracks are spread evenly over a square of twice this size, mm.
        slope: standard deviation of each slope, rad.
    """

    momentum: Positive = 1000.0
    spread: NotNegative = 0.4
    lowest: Positive = 500.0
    highest: Positive = 3000.0
    half_width: NotNegative = 115.0
    slope: NotNegative = 0.004

    @property
    def share(self) -> float:
        """Part of the momenta that would lie between lowest and highest if nothing held them there."""
        if not self.spread:
            return float(self.lowest <= self.momentum <= self.highest)
        logarithm = NormalDist(log(self.momentum), self.spread)
        return logarithm.cdf(log(self.highest)) - logarithm.cdf(log(self.lowest))


@dataclass(frozen=True)
class Response:
    """How strips answer.

    Args:
        efficiency: probability that a crossed side gives a hit.
        noise: probability that a strip fires by itself in an event.
    """

    efficiency: Part = 0.985
    noise: Part = 3e-6


@dataclass(frozen=True)
class Misalignment:
    """Standard deviations of the displacements of each level: shifts in mm, rotations in rad.

    The rotations are about what the shifts are over the size of a part: 20 um over a module's 120 mm. Much larger ones
    (a few percent of the stereo angle) would change derivatives so much that errors of a linear fit no longer describe
    the motions that tracks hardly see.
    """

    shifts: dict[Level, NotNegative] = field(
        default_factory=lambda: {"station": 0.020, "layer": 0.020, "module": 0.020, "side": 0.005}
    )
    turns: dict[Level, NotNegative] = field(
        default_factory=lambda: {"station": 1e-4, "layer": 1.5e-4, "module": 2e-4, "side": 2e-5}
    )

    def scaled(self, factor: float) -> Misalignment:
        """All displacements, this many times as large."""
        shifts, turns = ({level: factor * size for level, size in sizes.items()} for sizes in (self.shifts, self.turns))
        return Misalignment(shifts, turns)


def misalign(detector: Detector, misalignment: Misalignment, seed: int) -> dict[str, Six]:
    """Draw displacements of all stations, layers, modules and sides; none for levels that have no size."""
    draw = np.random.default_rng([seed, 0])
    truth: dict[str, Six] = {}
    for depth, level in enumerate(LEVELS, start=1):
        sizes = np.repeat([misalignment.shifts.get(level, 0.0), misalignment.turns.get(level, 0.0)], 3)
        for key in detector.keys[depth - 1]:
            x, y, z, rx, ry, rz = draw.normal(0.0, sizes).tolist()
            truth[key] = (x, y, z, rx, ry, rz)
    return truth


def simulate(
    detector: Detector,
    truth: dict[str, Six],
    *,
    run: int,
    file: int,
    events: int,
    seed: int,
    beam: Beam | None = None,
    response: Response | None = None,
) -> RawData:
    """Make the events of one raw file.

    Args:
        detector: the tracker.
        truth: where its parts really are; keys of up to four digits.
        run: number of the run.
        file: number of the file.
        events: how many muons.
        seed: of the whole simulation; files differ by their number.
        beam: the muons.
        response: the strips.
    """
    draw = np.random.default_rng([seed, run, file, 1])
    response = response or Response()
    state = _muons(detector, beam or Beam(), events, draw)
    placement = place(detector, truth)
    event, sensor, strip = _signals(detector, placement, state, response, draw)
    noise = _noise(detector, events, response, draw)
    event, sensor, strip = (np.concatenate(pair) for pair in zip((event, sensor, strip), noise, strict=True))
    sensors, strips = len(detector.channels), int(detector.channels.max())
    order = np.unique((event * sensors + sensor) * strips + strip)
    event, sensor = order // (sensors * strips), order // strips % sensors
    return RawData(run, file, np.bincount(event, minlength=events), sensor, order % strips)


def _muons(detector: Detector, beam: Beam, events: int, draw: np.random.Generator) -> Array:
    """Parameters (n, 5) at the reference plane; positions are even in the middle of the tracker, not at its edge."""
    along = detector.layer_z.values()
    middle = (min(along) + max(along)) / 2 - detector.reference_z
    slopes = draw.normal(0.0, beam.slope, (events, 2))
    places = draw.uniform(-beam.half_width, beam.half_width, (events, 2)) - middle * slopes
    momentum = np.exp(_clipped_normal(beam, events, draw))
    charge = draw.choice([-1.0, 1.0], events)
    return np.column_stack([places, slopes, charge / momentum])


def _clipped_normal(beam: Beam, events: int, draw: np.random.Generator) -> Array:
    logarithms = draw.normal(log(beam.momentum), beam.spread, events)
    while len(outside := np.flatnonzero((logarithms < log(beam.lowest)) | (logarithms > log(beam.highest)))):
        logarithms[outside] = draw.normal(log(beam.momentum), beam.spread, len(outside))
    return logarithms


def _signals(
    detector: Detector, placement: Placement, state: Array, response: Response, draw: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Event, sensor and strip of every hit of the muons."""
    found: list[tuple[NDArray[np.int64], ...]] = []
    for layer in sorted(range(len(detector.layer_z)), key=list(detector.layer_z.values()).__getitem__):
        sensors = np.flatnonzero(detector.layer == layer)
        sensor = np.tile(sensors, len(state))
        event = np.repeat(np.arange(len(state)), len(sensors))
        crossing = cross(detector, placement, state[event], sensor)
        seen = crossing.along + _blur(detector, sensor, draw)
        strip = np.floor(seen / detector.pitch[sensor] + detector.channels[sensor] / 2).astype(np.int64)
        hit = (strip >= 0) & (strip < detector.channels[sensor])
        hit &= np.abs(crossing.across) < detector.lengths[sensor] / 2
        hit &= draw.random(len(hit)) < response.efficiency
        found.append((event[hit], sensor[hit], strip[hit]))
        scatter(state, placement.origin[sensors, 2].mean() - detector.reference_z, detector.material[layer], draw)
    event, sensor, strip = (np.concatenate(column) for column in zip(*found, strict=True))
    return event, sensor, strip


def _blur(detector: Detector, sensor: NDArray[np.int64], draw: np.random.Generator) -> Array | float:
    """What sensors' resolutions are more than that of strips that only say which of them was hit."""
    more = np.sqrt(np.maximum(detector.resolution**2 - detector.pitch**2 / 12, 0.0))
    return draw.normal(0.0, more[sensor]) if more.max() > 1e-9 else 0.0


def scatter(state: Array, distance: float, material: float, draw: np.random.Generator) -> None:
    """Scatter tracks in a layer: turn them there, so that what lies behind sees other parameters (Highland's formula).

    Args:
        state: parameters (n, 5) of the tracks, which are changed.
        distance: of the layer from the reference plane, mm.
        material: of the layer, in radiation lengths.
        draw: random numbers.
    """
    if not material:
        return
    correction = max(0.0, 1 + 0.038 * log(material))  # below zero where there is next to nothing
    width = 0.0136 * np.abs(state[:, 4]) * np.sqrt(material) * correction
    for slope in (2, 3):
        kick = draw.normal(0.0, width)
        state[:, slope] += kick
        state[:, slope - 2] -= kick * distance


def _noise(
    detector: Detector, events: int, response: Response, draw: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    last = np.cumsum(detector.channels)
    count = draw.poisson(response.noise * events * int(last[-1]))
    event, channel = draw.integers(0, events, count), draw.integers(0, last[-1], count)
    sensor = np.searchsorted(last, channel, side="right")
    return event, sensor, channel - (last - detector.channels)[sensor]


def write_truth(path: Path, truth: dict[str, Six], *, seed: int, misalignment: Misalignment) -> None:
    """Write where the parts of a simulated tracker really are."""
    content = {"format": TRUTH_FORMAT, "seed": seed, "misalignment": asdict(misalignment), "constants": truth}
    replace_text(path, json.dumps(content, indent=1) + "\n")


def read_truth(path: Path) -> dict[str, Six]:
    """Read where the parts of a simulated tracker really are.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no file of that kind.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such truth file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != TRUTH_FORMAT:
            raise DataError(f"{path}: its format is {content['format']!r}, not {TRUTH_FORMAT!r}")
        return {key: _six(six) for key, six in content["constants"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no truth file: {error!r}") from None


def _six(numbers: list[float]) -> Six:
    x, y, z, rx, ry, rz = map(float, numbers)
    return x, y, z, rx, ry, rz
