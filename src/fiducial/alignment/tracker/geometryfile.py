"""A geometry file: what is known about a detector before any alignment, in TOML, and what its simulation needs.

Lengths are in mm, angles in rad, momenta in GeV. ``fiducial alignment geometry show faser`` prints the built-in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isnan, nan, pi
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from fiducial.alignment.tomlfile import NotNegative, Positive, is_file, read_model
from fiducial.alignment.tracker.geometry import FASER, Detector, Kind, Magnet, Plane, Pose, place
from fiducial.alignment.tracker.reconstruction import Finding
from fiducial.alignment.tracker.simulation import Beam, Misalignment, Response
from fiducial.core.errors import ConfigurationError, NotFoundError

__all__ = ["Geometry", "find_geometry", "geometry_text", "load_geometry"]

_DIRECTIONS = {"x": 0.0, "y": pi / 2}
#: Key of a plane that has none of its own: its number, with two digits.
_MOST_PLANES = 100
#: A plane whose normal has less than this along the beam is not crossed.
_ALONG_THE_BEAM = 0.01
#: Fewest of the momenta drawn that must lie within their limits: the others are drawn again.
_FEWEST_IN_LIMITS = 0.01
#: Raw files count the hits of an event in 16 bits.
_MOST_NOISE = 60_000
_HINT = "`fiducial alignment geometry show faser` shows a complete one; docs/how-to/geometry.md explains the keys"

Three = tuple[float, float, float]
Key = Annotated[str, StringConstraints(pattern=r"^\d{1,3}$")]


@dataclass(frozen=True)
class Geometry:
    """A detector, and how it is simulated and its tracks are found.

    Args:
        detector: the detector.
        recipe: by which it is aligned unless another one is asked for.
        prefix: of the names of its raw files.
        beam: of the simulation.
        response: of its sensors.
        misalignment: of its parts.
        finding: of tracks.
    """

    detector: Detector = FASER
    recipe: str = "one-fit"
    prefix: str = "Faser-Physics"
    beam: Beam = field(default_factory=Beam)
    response: Response = field(default_factory=Response)
    misalignment: Misalignment = field(default_factory=Misalignment)
    finding: Finding = field(default_factory=Finding)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Sensor(_Table):
    """A kind of sensor: what it measures, one entry for each coordinate; one number stands for all of them."""

    measures: tuple[Literal["x", "y"] | float, ...] = Field(min_length=1, max_length=2)
    pitch: Positive | tuple[Positive, ...]
    channels: Annotated[int, Field(gt=0, lt=65536)] | tuple[Annotated[int, Field(gt=0, lt=65536)], ...]
    length: Positive | tuple[Positive, ...] | None = None
    resolution: Positive | tuple[Positive, ...] | None = None
    gap: NotNegative = 0.0
    radiation_lengths: NotNegative = 0.0

    def _each(self, name: str) -> tuple[Any, ...]:
        value = getattr(self, name)
        entries = value if isinstance(value, tuple) else (value,) * len(self.measures)
        if len(entries) != len(self.measures):
            raise ValueError(f"{name}: {len(entries)} numbers for {len(self.measures)} measured coordinates")
        return entries

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.kind()
        return self

    def kind(self) -> Kind:
        """The sensor as the detector knows it."""
        pitch, channels = self._each("pitch"), self._each("channels")
        extent = [a * b for a, b in zip(pitch, channels, strict=True)]
        if self.length is None and len(extent) == 1:
            raise ValueError("length: how long are the strips?")
        lengths = self._each("length") if self.length is not None else tuple(reversed(extent))
        binary = tuple(one / 12**0.5 for one in pitch)
        resolutions = self._each("resolution") if self.resolution is not None else binary
        if any(given < best * (1 - 1e-6) for given, best in zip(resolutions, binary, strict=True)):
            raise ValueError("resolution: below pitch / sqrt(12), which channels that are hit or not cannot reach")
        angles = tuple(_DIRECTIONS.get(one, 0.0) if isinstance(one, str) else one for one in self.measures)
        return Kind(angles, pitch, channels, lengths, resolutions, self.gap, self.radiation_lengths)


class _Group(_Table):
    key: Annotated[str, StringConstraints(pattern=r"^\d{1,2}$")]
    position: Three = (0.0, 0.0, 0.0)
    rotation: Three = (0.0, 0.0, 0.0)


class _Plane(_Table):
    sensor: str
    key: Annotated[str, StringConstraints(pattern=r"^\d{2,3}$")] | None = None
    name: str = ""
    position: Three = (0.0, 0.0, 0.0)
    rotation: Three = (0.0, 0.0, 0.0)


class _Magnet(_Table):
    z_min: float
    z_max: float
    field: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.z_min >= self.z_max:
            raise ValueError("z_min: is not below z_max")
        return self


@dataclass(frozen=True)
class _Beam(Beam):
    half_width: NotNegative = nan  # follows from the detector

    def over(self, detector: Detector) -> Beam:
        """The beam, which covers the detector where the file does not say how wide it is."""
        width = _half_width(detector) if isnan(self.half_width) else self.half_width
        return Beam(**{**asdict(self), "half_width": width})


@dataclass(frozen=True)
class _Finding(Finding):
    fewest_hits: Annotated[int, Field(ge=1)] = 0  # follows from the detector

    def within(self, detector: Detector) -> Finding:
        """How tracks are found, with two thirds of the sensors that one can cross if the file does not say more."""
        return Finding(**{**asdict(self), "fewest_hits": self.fewest_hits or _fewest_hits(detector)})


class _File(_Table):
    format: Literal[1]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")]
    description: str = ""
    recipe: str = "planes"
    reference_z: float = 0.0
    stations: tuple[Annotated[int, Field(ge=1)], ...] = ()
    sensors: dict[str, _Sensor] = Field(min_length=1)
    groups: tuple[_Group, ...] = ()
    planes: tuple[_Plane, ...] = Field(min_length=2, max_length=_MOST_PLANES * 10)
    magnets: tuple[_Magnet, ...] = ()
    beam: _Beam = _Beam()
    response: Response = Response()
    misalignment: Misalignment = Misalignment(shifts={"layer": 0.1}, turns={"layer": 1e-3})
    finding: _Finding = _Finding()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for mistake in self._mistakes():
            raise ValueError(mistake)
        for mistake in self._mistakes_of(self.geometry()):
            raise ValueError(mistake)
        return self

    def _mistakes(self) -> Iterator[str]:
        for number, plane in enumerate(self.planes):
            if plane.sensor not in self.sensors:
                known = ", ".join(self.sensors)
                yield f"planes.{number}.sensor: there is no sensor '{plane.sensor}'; known: {known}"
            if plane.key is None and number >= _MOST_PLANES:
                yield f"planes.{number}.key: only the first {_MOST_PLANES} planes get a key of their own"
        keys = self._keys
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice:
            yield f"planes: two have the key '{twice}'"
        if len({len(key) for key in keys}) > 1:
            yield "planes: keys have two digits (station, layer) or three (and module), but all the same number"
        depth = len(keys[0])
        for number, group in enumerate(self.groups):
            if len(group.key) >= depth or not any(key.startswith(group.key) for key in keys):
                yield f"groups.{number}.key: no plane belongs to '{group.key}'"
            if any(group.key == other.key for other in self.groups[:number]):
                yield f"groups.{number}.key: '{group.key}' stands twice"
        if any(magnet.z_min < self.reference_z < magnet.z_max for magnet in self.magnets):
            yield "reference_z: lies inside a magnet"
        if any(count > len({key[0] for key in keys}) for count in self.stations):
            yield "stations: there are not so many"
        yield from self._mistakes_of_beam()

    def _mistakes_of_beam(self) -> Iterator[str]:
        beam = self.beam
        limits = f"between lowest ({beam.lowest:g}) and highest ({beam.highest:g})"
        if not beam.lowest <= beam.momentum <= beam.highest:
            yield f"beam.momentum: {beam.momentum:g} is not {limits}"
        elif beam.share < _FEWEST_IN_LIMITS:
            yield f"beam.spread: {beam.spread:g} has {beam.share:.2%} of the momenta {limits}; 0 is for one alone"

    def _mistakes_of(self, geometry: Geometry) -> Iterator[str]:
        detector, fewest = geometry.detector, geometry.finding.fewest_hits
        sensors, parameters = len(detector.channels), detector.track_parameters
        along = np.abs(place(detector, {}).axes[:, 2, 2]) < _ALONG_THE_BEAM
        if along.any():
            key = "".join(map(str, detector.digits[along][0]))
            number = next(number for number, plane in enumerate(self._keys) if key.startswith(plane))
            yield f"planes.{number}.rotation: the plane stands along the beam, and no track crosses it"
        if np.ptp([*detector.layer_z.values()]) == 0.0:
            yield "planes: all stand at one z, and no track has a direction"
        if sensors <= parameters:
            yield f"planes: they measure {sensors} coordinates, and a track alone has {parameters} parameters"
        if fewest > sensors:
            yield f"finding.fewest_hits: {fewest}, and there are {sensors} sensors"
        if self.response.noise * detector.channels.sum() > _MOST_NOISE:
            yield f"response.noise: {self.response.noise:g} fires more than {_MOST_NOISE} strips in an event"

    @cached_property
    def _keys(self) -> list[str]:
        return [plane.key or f"{number:02d}" for number, plane in enumerate(self.planes)]

    def geometry(self) -> Geometry:
        """The geometry that the file describes."""
        groups = {group.key: Pose(group.position, group.rotation) for group in self.groups}
        kinds = {name: sensor.kind() for name, sensor in self.sensors.items()}
        planes = []
        for key, plane in zip(self._keys, self.planes, strict=True):
            pose = Pose(plane.position, plane.rotation)
            if len(key) == 2:  # a layer of one module: it is moved along the detector's axes, however it is turned
                groups[key] = Pose(plane.position)
                key, pose = f"{key}0", Pose(rotation=plane.rotation)
            planes.append(Plane(key, kinds[plane.sensor], pose, plane.name))
        magnets = tuple(Magnet(one.z_min, one.z_max, one.field) for one in self.magnets)
        detector = Detector(self.name, tuple(planes), groups, magnets, self.reference_z, self.stations)
        prefix = Geometry.prefix if self.name == FASER.name else self.name
        beam, finding = self.beam.over(detector), self.finding.within(detector)
        return Geometry(detector, self.recipe, prefix, beam, self.response, self.misalignment, finding)


def _half_width(detector: Detector) -> float:
    """Nine tenths of the way from the axis to the nearest edge of what all layers cover.

    If they have nothing about the axis in common: nine tenths of half the shortest edge of a sensor.
    """
    placement = place(detector, {})
    half = np.stack([detector.pitch * detector.channels, detector.lengths], axis=1) / 2
    reach = np.abs(placement.axes[:, :2, :2] * half[:, None, :]).max(axis=2)
    origin = placement.origin[:, :2]
    edges = [
        min(-(origin - reach)[layer].min(axis=0).max(), (origin + reach)[layer].max(axis=0).min())
        for layer in (detector.layer == number for number in range(len(detector.keys[1])))
    ]
    return 0.9 * float(min(edges) if min(edges) > 0.0 else half.min())


def _fewest_hits(detector: Detector) -> int:
    """Two thirds of the sensors that a track can cross."""
    sides = {plane.key[:2]: len(plane.kind.angles) for plane in detector.planes}
    return max(detector.track_parameters + 1, 2 * sum(sides.values()) // 3)


def find_geometry(place: str | Path | None) -> Geometry:
    """A geometry from a file; without one, or by the name "faser", the built-in one.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: it cannot be taken as it is; file, line and key are named.
    """
    return Geometry() if place is None or str(place) == FASER.name else load_geometry(Path(place))


def load_geometry(path: Path) -> Geometry:
    """A geometry from a file; a recipe that it names may lie beside it.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: it cannot be taken as it is; file, line and key are named.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such geometry", hint="give a file of TOML, or faser for the built-in one")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None
    found = read_model(_File, text, str(path), hint=_HINT).geometry()
    beside = path.parent / found.recipe
    return replace(found, recipe=str(beside)) if is_file(found.recipe) and beside.is_file() else found


def geometry_text(geometry: Geometry) -> str:
    """A geometry as the text of a file; numbers keep every digit."""
    detector = geometry.detector
    kinds = list(dict.fromkeys(detector.kinds.values()))
    names = {kind: f"sensor{number}" if len(kinds) > 1 else "sensor" for number, kind in enumerate(kinds)}
    head = [
        "format = 1",
        f'name = "{detector.name}"',
        f'recipe = "{geometry.recipe}"',
        f"reference_z = {detector.reference_z!r}",
        *([f"stations = {list(detector.choices)}"] if detector.choices else []),
    ]
    groups = [f'    {{ key = "{key}", {_pose(pose)} }},' for key, pose in sorted(detector.groups.items())]
    planes = [
        f'    {{ key = "{plane.key}", sensor = "{names[plane.kind]}", {_pose(plane.pose)} }},'
        for plane in detector.planes
    ]
    lists = ["groups = [", *groups, "]", "planes = [", *planes, "]"]
    sensors = [line for kind, name in names.items() for line in _sensor(name, kind)]
    magnets = [f"[[magnets]]\nz_min = {m.z_min!r}\nz_max = {m.z_max!r}\nfield = {m.field!r}" for m in detector.magnets]
    tables = [_table(name, getattr(geometry, name)) for name in ("beam", "response", "misalignment", "finding")]
    return "\n".join([*head, *lists, *sensors, *magnets, *tables]) + "\n"


def _table(name: str, content: Any) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in asdict(content).items())])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {one!r}' for key, one in value.items())} }}"
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def _pose(pose: Pose) -> str:
    return f"position = {[float(one) for one in pose.position]}, rotation = {[float(one) for one in pose.rotation]}"


def _sensor(name: str, kind: Kind) -> list[str]:
    return [
        f"[sensors.{name}]",
        f"measures = {list(kind.angles)}",
        f"pitch = {list(kind.pitch)}",
        f"channels = {list(kind.channels)}",
        f"length = {list(kind.lengths)}",
        f"resolution = {list(kind.resolutions)}",
        f"gap = {kind.gap!r}",
        f"radiation_lengths = {kind.radiation_lengths!r}",
    ]
