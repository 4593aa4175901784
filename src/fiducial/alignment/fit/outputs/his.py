"""The file ``millepede.his``: histograms as text, in the layout that pede's own viewers read.

See the Millepede-II manual, "Histograms": each has 120 bins; its version counts the loops in which it was filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import floor, log10

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "Histogram", "drawing", "histogram_text"]

Doubles = NDArray[np.float64]

_BINS = 120
_IN_A_LINE = 10
_HEIGHT = 10  # lines of a drawing
_NICE = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)


@dataclass
class Histogram:
    """A histogram of 120 bins.

    Args:
        number: as pede numbers it: 3 is always the normalized residuals, and so on.
        title: what is in it.
        low, high: limits; if both are 0 they follow from the first values.
        version: in which of several loops it was filled, from 0.
    """

    number: int
    title: str
    low: float = 0.0
    high: float = 0.0
    version: int = 0
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    outside: list[int] = field(default_factory=lambda: [0, 0])
    smallest: float = np.inf
    largest: float = -np.inf
    _sums: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def fill(self, values: Doubles) -> None:
        """Add values; what is no number is left out."""
        values = values[np.isfinite(values)]
        if not len(values):
            return
        if self.low == self.high:
            self.low, self.high = _limits(values)
        place = np.floor((values - self.low) * (_BINS / (self.high - self.low))).astype(np.int64)
        inside = (place >= 0) & (place < _BINS)
        self.bins += np.bincount(place[inside], minlength=_BINS)
        self.outside[0] += int(np.count_nonzero(place < 0))
        self.outside[1] += int(np.count_nonzero(place >= _BINS))
        self.smallest, self.largest = min(self.smallest, values.min()), max(self.largest, values.max())
        away = values[inside] - self._centre
        self._sums[0] += float(away.sum())
        self._sums[1] += float((away**2).sum())

    @property
    def entries(self) -> int:
        """How many values are inside."""
        return int(self.bins.sum())

    @property
    def mean_and_sigma(self) -> tuple[float, float] | None:
        """Of the values inside; None if there are less than two."""
        if self.entries < 2:
            return None
        mean = self._sums[0] / self.entries
        variance = (self._sums[1] - self._sums[0] * mean) / (self.entries - 1)
        return self._centre + mean, float(np.sqrt(max(variance, 0.0)))

    @property
    def _centre(self) -> float:
        return 0.5 * (self.low + self.high)


@dataclass(frozen=True)
class Curve:
    """Points (x, y) with a title, numbered as pede numbers them."""

    number: int
    title: str
    points: list[tuple[float, float]]


def _limits(values: Doubles) -> tuple[float, float]:
    """Round limits that hold nearly all values, with 0 and symmetric about it where that is near."""
    low, high = np.quantile(values, [0.005, 0.995]).tolist()
    if low == high:
        return low - 1.0, high + 1.0
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    if values.min() >= 0 and low < 0.4 * high:
        low = 0.0
    if low < 0 < high and min(-low, high) > 0.6 * max(-low, high):
        high = max(-low, high)
        low = -high
    step = _nice((high - low) / 8)
    return step * floor(low / step), step * -floor(-high / step)


def _nice(number: float) -> float:
    power = 10.0 ** floor(log10(number))
    return power * next(digit for digit in _NICE if digit * power >= 0.999 * number)


def histogram_text(items: Sequence[Histogram | Curve]) -> str:
    """The content of millepede.his."""
    return "\n".join(
        line for item in items for line in (_curve(item) if isinstance(item, Curve) else _histogram(item))
    ) + ("\n" if items else "")


def _histogram(histogram: Histogram) -> Iterator[str]:
    low, high = (histogram.low, histogram.high) if histogram.low < histogram.high else (-0.001, 0.001)
    inside = histogram.entries
    yield ""
    yield f"Histogram {histogram.number:4d}          version {histogram.version:4d}          type 1"
    yield histogram.title
    yield f"           bins, limits {_BINS:4d}{low:15.5G}{high:15.5G}"
    yield f"          out-low inside out-high {histogram.outside[0]:10d}{inside:10d}{histogram.outside[1]:10d}"
    yield "bincontent"
    content = [f"{count:8d}" for count in histogram.bins.tolist()]
    yield from ("".join(content[first : first + _IN_A_LINE]) for first in range(0, _BINS, _IN_A_LINE))
    if inside + sum(histogram.outside):
        yield f"minmax{histogram.smallest:15.7E}{histogram.largest:15.7E}"
    if histogram.mean_and_sigma is not None:
        mean, sigma = histogram.mean_and_sigma
        yield f"meansigma{mean:15.7E}{sigma:15.7E}"
    yield "end of histogram"


def _curve(curve: Curve) -> Iterator[str]:
    yield ""
    yield f"XY-Data {curve.number:4d}          version    0          type 3"
    yield curve.title
    yield f"          stored  not-stored {len(curve.points):10d}{0:10d}"
    yield "x-y"
    yield from (f"{x:15.7E}{y:15.7E}" for x, y in curve.points)
    yield "end of xy-data"


def drawing(histogram: Histogram) -> str:
    """A histogram for a screen: two bins in a column, with its limits below."""
    columns = histogram.bins.reshape(-1, 2).sum(axis=1)
    most = max(1, int(columns.max()))
    heights = np.ceil(columns * (_HEIGHT / most)).astype(int)
    rows = ["".join("#" if height >= level else " " for height in heights) for level in range(_HEIGHT, 0, -1)]
    body = [f"{most if k == 0 else '':>9} |{row.rstrip()}" for k, row in enumerate(rows)]
    width = len(columns)
    low, high = f"{histogram.low:.4g}", f"{histogram.high:.4g}"
    tail = [f"{'':9} +{'-' * width}", f"{'':11}{low}{high:>{width - len(low)}}"]
    said = f"{histogram.title}: {histogram.entries} inside, {histogram.outside[0]} below, {histogram.outside[1]} above"
    if histogram.mean_and_sigma is not None:
        said += ", mean {:.4g}, sigma {:.4g}".format(*histogram.mean_and_sigma)
    return "\n".join([said, *body, *tail])
