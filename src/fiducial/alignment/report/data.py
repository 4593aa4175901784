"""What the report page reads: summaries, see :mod:`fiducial.alignment.iteration.summary`, checked and in order."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fiducial.alignment.iteration.modes import unpack_correlations
from fiducial.core.errors import DataError, NotFoundError, UsageError

__all__ = ["Convergence", "Correlations", "Histogram", "Kind", "Mode", "Moments", "Parameter", "Pulls", "Reading"]
__all__ += ["Selected", "Series", "Summary", "Work", "read_series", "read_summary"]

_FORMAT, _VERSION = "fiducial-alignment-summary", 1
_HINT = "give the summary.json that each iteration's solve step wrote"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Moments(_Part):
    """Number, width about zero and mean of residuals, um."""

    hits: int = Field(ge=0)
    width_um: float = Field(ge=0.0)
    mean_um: float


class Layer(Moments):
    """Residuals of one layer."""

    layer: str = Field(pattern=r"^\d{1,3}$")


class Histogram(_Part):
    """Residuals in bins, um."""

    edges_um: list[float]
    counts: list[int]
    outside: int

    @model_validator(mode="after")
    def _fits(self) -> Histogram:
        if len(self.edges_um) != len(self.counts) + 1:
            raise ValueError(f"{len(self.edges_um)} edges do not enclose {len(self.counts)} bins")
        return self


class Residuals(Moments):
    """Residuals of all layers."""

    layers: list[Layer]
    histogram: Histogram


class Selected(_Part):
    """Tracks or hits, and why some were dropped."""

    read: int = Field(ge=0)
    used: int = Field(ge=0)
    dropped: dict[str, int]


class Fit(_Part):
    """How the fit ended."""

    verdict: int
    message: str
    chi2_ndf: float
    rejects: dict[str, int]


class Convergence(_Part):
    """How far the constants still moved; ``label`` names the parameter that moved most."""

    max_shift_over_error: float = Field(ge=0.0)
    label: int | None
    determined: int
    weak: list[int]
    fixed: int
    definition: str


class Pulls(_Part):
    """Deviations from the truth in units of the error."""

    mean: float
    width: float
    parameters: int


class Kind(_Part):
    """A kind of parameter, such as all shifts of sides.

    Args:
        frame: "side", "module", "layer" or "station".
        axis: name of the constant, e.g. "rz".
    """

    frame: str
    axis: str

    def __str__(self) -> str:
        return f"{self.frame} {self.axis}"

    @property
    def turns(self) -> bool:
        """Whether it is an angle and not a length."""
        return self.axis.startswith("r")

    @property
    def unit(self) -> str:
        """Unit in which people read it."""
        return "mrad" if self.turns else "µm"


class Parameter(_Part):
    """One parameter in one iteration, mm or rad."""

    label: int
    key: str = Field(pattern=r"^\d{1,4}$")
    side: int | None
    axis: Literal["x", "y", "z", "rx", "ry", "rz"]
    state: Literal["determined", "weak", "fixed"]
    shift: float
    error: float = Field(ge=0.0)
    presigma: float = 0.0
    entries: int
    true_shift: float | None
    pull: float | None

    @model_validator(mode="after")
    def _has_error(self) -> Parameter:
        if self.state != "fixed" and not self.error:
            raise ValueError(f"parameter {self.label} is free, but has no error")
        return self

    @cached_property
    def kind(self) -> Kind:
        """What sort of parameter it is."""
        frame = {1: "station", 2: "layer"}.get(len(self.key), "module")
        return Kind(frame=frame if self.side is None else "side", axis=self.axis)

    @property
    def name(self) -> str:
        """Words for it, e.g. "module 305 side 1 x"."""
        if self.side is not None:
            return f"module {self.key} side {self.side} {self.axis}"
        return f"{self.kind.frame} {self.key} {self.axis}"

    @property
    def shift_over_error(self) -> float:
        """Size of the shift in units of its error; 0 for a fixed parameter."""
        return abs(self.shift) / self.error if self.error else 0.0


class Work(_Part):
    """A part of an iteration's work: wall time, and largest resident memory where the system could tell."""

    name: str
    seconds: float = Field(ge=0.0)
    peak_mib: float | None = None


class Correlations(_Part):
    """Correlations between the parameters of one step of fits, packed."""

    step: str
    labels: list[int]
    percent: str

    @model_validator(mode="after")
    def _unpacks(self) -> Correlations:
        unpack_correlations(self.model_dump())
        return self


class Mode(_Part):
    """A motion of many parameters that the data hardly see.

    Args:
        step: of fits.
        eigenvalue: of the normal matrix in units of the presigmas; 1 where the presigmas alone decide.
        error: of the motion, in units of the presigmas.
        labels: of its largest parts, the largest first.
        components: size of each, the whole motion having length one.
    """

    step: str
    eigenvalue: float = Field(gt=0.0)
    error: float = Field(gt=0.0)
    labels: list[int] = Field(min_length=1)
    components: list[float]

    @model_validator(mode="after")
    def _fits(self) -> Mode:
        if len(self.labels) != len(self.components):
            raise ValueError(f"{len(self.components)} components for {len(self.labels)} labels")
        return self


class File(_Part):
    """A file and its Adler-32."""

    path: str
    adler32: str


class Steps(_Part):
    """Constants with which the iteration began and those that it made."""

    before: File
    after: File


class Summary(_Part):
    """One iteration."""

    stations: int
    inputs: list[str]
    constants: Steps
    tracks: Selected
    hits: Selected
    residuals: Residuals
    track_chi2_ndf: float
    fit: Fit
    convergence: Convergence
    pulls: Pulls | None
    parameters: list[Parameter]
    # Older summaries have none of these.
    detector: str = ""
    recipe: str = ""
    steps: list[Work] = []
    correlations: list[Correlations] = []
    weak_modes: list[Mode] = []

    @cached_property
    def by_label(self) -> dict[int, Parameter]:
        """Label -> parameter."""
        return {row.label: row for row in self.parameters}


@dataclass(frozen=True)
class Reading:
    """A summary and the file it came from.

    Args:
        path: of the file.
        adler32: of the file.
        summary: what it says.
    """

    path: Path
    adler32: str
    summary: Summary


class Series:
    """The iterations of one alignment.

    Args:
        readings: one for each iteration, in order.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = tuple(readings)
        self.summaries = tuple(reading.summary for reading in readings)

    def __len__(self) -> int:
        return len(self.readings)

    @property
    def first(self) -> Summary:
        """The first iteration."""
        return self.summaries[0]

    @property
    def last(self) -> Summary:
        """The last iteration."""
        return self.summaries[-1]

    @cached_property
    def found(self) -> dict[int, float]:
        """Label -> sum of shifts over all iterations, mm or rad."""
        return self._sums(self.summaries)

    @cached_property
    def true(self) -> dict[int, float]:
        """Label -> what the sum of shifts should be, mm or rad, where the truth is known.

        The truth of an iteration is what is left to do in it; what earlier iterations did has to be added.
        """
        done = self._sums(self.summaries[:-1])
        known = {row.label: row.true_shift for row in self.last.parameters if row.true_shift is not None}
        return {label: done.get(label, 0.0) + left for label, left in known.items()}

    @staticmethod
    def _sums(summaries: Sequence[Summary]) -> dict[int, float]:
        sums: dict[int, float] = {}
        for summary in summaries:
            for row in summary.parameters:
                sums[row.label] = sums.get(row.label, 0.0) + row.shift
        return sums

    @cached_property
    def kinds(self) -> list[Kind]:
        """Kinds of parameters that are free in any iteration: sides and modules first."""
        free = {row.kind for summary in self.summaries for row in summary.parameters if row.state != "fixed"}
        order = ("side", "module", "layer", "station")
        return sorted(free, key=lambda kind: (order.index(kind.frame), kind.turns, kind.axis))

    @property
    def breaks(self) -> list[int]:
        """Iterations, counted from 1, that did not begin with the constants which the one before them made."""
        return [
            number
            for number, (one, next_) in enumerate(zip(self.summaries, self.summaries[1:], strict=False), 2)
            if one.constants.after.adler32 != next_.constants.before.adler32
        ]


def read_series(paths: Sequence[Path]) -> Series:
    """Read the summaries of one alignment.

    They may come in any order, as a shell sorts ``iteration10`` before ``iteration2``: the checksums of the constants
    say which follows which. Where they do not, the given order stands.

    Raises:
        DataError: a file is no summary, or they do not belong together.
        NotFoundError: a file does not exist.
        UsageError: no file, or one is given twice.
    """
    if not paths:
        raise UsageError("no summary given", hint=_HINT)
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path} is given twice", hint="each iteration counts once")
        seen.add(path.resolve())
    readings = [read_summary(path) for path in paths]
    _check_same_tracker(readings)
    return Series(_chained(readings) or readings)


def _check_same_tracker(readings: Sequence[Reading]) -> None:
    first = readings[0]
    for other in readings[1:]:
        if other.summary.stations != first.summary.stations:
            raise DataError(
                f"{other.path} is of {other.summary.stations} stations, {first.path} of {first.summary.stations}",
                hint="a report shows the iterations of one alignment",
            )


def _chained(readings: Sequence[Reading]) -> list[Reading] | None:
    """Bring readings into the order of their constants; None if that is not unique."""
    by_before = {reading.summary.constants.before.adler32: reading for reading in readings}
    made = {reading.summary.constants.after.adler32 for reading in readings}
    begins = [before for before in by_before if before not in made]
    if len(by_before) != len(readings) or len(begins) != 1:
        return None
    chain: list[Reading] = []
    following: Reading | None = by_before.pop(begins[0])
    while following is not None:
        chain.append(following)
        following = by_before.pop(following.summary.constants.after.adler32, None)
    return None if by_before else chain


def read_summary(path: Path) -> Reading:
    """Read one summary.

    Raises:
        DataError: the file is no summary, or one of another version.
        NotFoundError: it does not exist.
    """
    content = _read_bytes(path)
    try:
        data = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is no JSON, or only a part of it: {error}", hint=_HINT) from None
    _check_format(path, data)
    try:
        summary = Summary.model_validate(data)
    except ValidationError as error:
        raise DataError(f"{path}: {_first_mistake(error)}", hint=_HINT) from None
    return Reading(path, f"{zlib.adler32(content):08x}", summary)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist", hint=_HINT) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from None


def _check_format(path: Path, data: Any) -> None:
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise DataError(f"{path} is no summary of an alignment", hint=_HINT)
    if data.get("version") != _VERSION:
        raise DataError(
            f"{path} is a summary of version {data.get('version')}; this program reads version {_VERSION}",
            hint="use the program that wrote it, or run the solve step again",
        )


def _first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = ".".join(str(step) for step in first["loc"])
    return f"{where}: {first['msg']}{more}"
