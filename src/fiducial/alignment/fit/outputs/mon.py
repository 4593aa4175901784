"""The file ``millepede.mon``: residuals or pulls of the local fits, grouped by the first label of a measurement.

Median and width (1.4826 times the median of the absolute deviations) come from a histogram with bins of 0.1, as in
pede: what lies outside is counted in the first or the last bin. Where half of the entries are outside, pede's widths
(even negative ones) make no sense; they are the same here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.outputs.fortran import g14_5

__all__ = ["Monitored", "Wanted", "monitor_text", "summarize_histograms"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

BIN = 0.1
_SINGLE_BIN = np.float32(BIN)  # pede calculates these in single precision, and so the last digit shows
_TO_SIGMA = np.float32(1.4826)  # of a Gauss distribution, from the median of absolute deviations


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the steering asks for.

    Args:
        pulls: pulls instead of residuals over the mean error.
        first: whether the first loop is monitored.
        last: whether the last one is.
        every: whether all are.
        bins: of a histogram, around 0.
    """

    pulls: bool
    first: bool
    last: bool
    every: bool
    bins: int

    @classmethod
    def of(cls, mode: int, bins: int, *, pulls: bool) -> Wanted | None:
        """From the mode: 1 the first loop, 2 the last one, 3 both, negative every one, 0 none."""
        if mode == 0:
            return None
        first, last = (mode > 0 and bool(mode & bit) for bit in (1, 2))
        return cls(pulls, first, last, mode < 0, bins)


@dataclass
class Monitored:
    """What was seen, loop by loop.

    Args:
        pulls: pulls instead of residuals over the mean error.
        labels: (N,) first labels of measurements, ascending.
        errors: (N,) mean standard deviation of their measurements.
        loops: number of the loop, and its (N, bins) histograms.
    """

    pulls: bool
    labels: Longs
    errors: Doubles
    loops: list[tuple[int, Longs]] = field(default_factory=list)


def monitor_text(monitored: Monitored) -> str:
    """The content of millepede.mon."""
    what = "Pulls" if monitored.pulls else "Normalized residuals"
    head = (
        f"*** {what} grouped by first global label (per local fit cycle) ***\n"
        "! LFC     Label   Entries        Median  RMS(MAD)          <error>\n"
    )
    return head + "".join(
        f"{loop:5d}{label:10d}{entries:10d}{g14_5(median)}{g14_5(width)}{g14_5(error)}\n"
        for loop, histograms in monitored.loops
        for label, error, (entries, median, width) in zip(
            monitored.labels.tolist(), monitored.errors.tolist(), summarize_histograms(histograms), strict=True
        )
    )


def bin_of(values: Doubles, bins: int) -> Longs:
    """(M,) bins, from 0, of values; those outside are in the first or the last one."""
    return np.asarray(np.clip(np.trunc(values / BIN + 0.5 * bins), 1, bins), np.int64) - 1


def summarize_histograms(histograms: Longs) -> list[tuple[int, float, float]]:
    """Entries, median and width of each histogram; histograms (N, bins)."""
    return [_summary(histogram) for histogram in histograms]


def _summary(histogram: Longs) -> tuple[int, float, float]:
    entries = int(histogram.sum())
    if entries == 0:
        return 0, 0.0, 0.0
    middle, at = _half(histogram, entries)
    bins = len(histogram)
    median = _SINGLE_BIN * (np.float32(middle) + at - np.float32(bins // 2))
    # Bins at the same distance on both sides of the median's own are added up, the median's own among the right ones.
    spread = np.zeros(bins, np.int64)
    spread[: bins - middle + 1] += histogram[middle - 1 :]
    spread[: middle - 1] += histogram[: middle - 1][::-1]
    place, at = _half(spread, entries)
    width = _SINGLE_BIN * (np.float32(place - 1) + at) * _TO_SIGMA
    return entries, float(median), float(width)


def _half(histogram: Longs, entries: int) -> tuple[int, np.float32]:
    """Bin, from 1 but never the first, in which half of the entries are reached, and how far inside it."""
    total = np.cumsum(histogram)
    place = 1 + int(np.argmax(2 * total[1:] > entries))
    inside = int(total[place] - total[place - 1])
    missing = entries - 2 * int(total[place - 1])
    return place + 1, np.float32(missing) / np.float32(2 * inside) if inside else np.float32(0)
