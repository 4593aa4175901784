"""Residuals by label, and histograms, from the first and the last loop of a fit.

The local fits of these loops are made again for it, at the parameters that they had. Without `histprint` and
monitoring only the first records of the last loop are looked at, so that it costs next to nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.loops import Cuts, Details
from fiducial.alignment.fit.outputs.his import Histogram
from fiducial.alignment.fit.outputs.mon import Monitored, Wanted, bin_of
from fiducial.alignment.fit.settings import Settings
from fiducial.alignment.mille.reader import MilleBlock

__all__ = ["Watch"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_ENOUGH = 20_000  # measurements for histograms that nobody asked for
_SMALLEST_VARIANCE = 1e-6  # a pull needs this part of the measurement's own variance to be left by the local fit


_Source = Callable[[Doubles, Cuts], Generator[Details]]


class Watch:
    """Remembers parameters while a fit runs, and looks at their residuals when it has ended.

    Args:
        settings: of the fit.
    """

    def __init__(self, settings: Settings) -> None:
        self._wanted = Wanted.of(settings.monitoring, settings.monitor_bins, pulls=settings.monitor_pulls)
        self._thorough = settings.histograms
        self._range = settings.pull_range
        self._loops: dict[int, Doubles] = {}
        self._cuts = Cuts()

    def saw(self, loop: int, parameter: Doubles, cuts: Cuts) -> None:
        """Remember the parameters of a loop; outliers are cut, but not down-weighted, when it is looked at."""
        self._cuts = replace(cuts, iterations=1)
        every = self._wanted is not None and self._wanted.every
        kept = {number: values for number, values in self._loops.items() if every or number == 1}
        self._loops = kept | {loop: parameter.copy()}

    def monitored(self, labels: Longs, details: _Source) -> Monitored | None:
        """Residuals or pulls by first label, of the loops that the steering asks for; None if it does not.

        Args:
            labels: of all parameters, ascending.
            details: gives the blocks after their local fits with given parameters.
        """
        wanted = self._wanted
        last = max(self._loops, default=0)
        loops = [
            loop
            for loop in self._loops
            if wanted and (wanted.every or (wanted.first and loop == 1) or (wanted.last and loop == last))
        ]
        if wanted is None or not loops:
            return None
        seen, errors = _errors(labels, details(self._loops[loops[0]], self._cuts))
        scale = None if wanted.pulls else errors
        found = Monitored(wanted.pulls, labels[seen], errors[seen])
        for loop in loops:
            histograms = _by_label(labels, details(self._loops[loop], self._cuts), scale, wanted.bins)
            found.loops.append((loop, histograms[seen]))
        return found

    def histograms(self, details: _Source) -> list[Histogram]:
        """Histograms of the last loop, and of the first one if they are asked for."""
        loops = sorted({min(self._loops), max(self._loops)} if self._thorough else {max(self._loops)})
        found: list[Histogram] = []
        for version, loop in enumerate(loops):
            chosen = _chosen(self._range, version)
            with contextlib.closing(details(self._loops[loop], self._cuts)) as blocks:
                _fill(chosen, blocks, None if self._thorough else _ENOUGH)
            found += chosen.values()
        return found


def _chosen(limit: float, version: int) -> dict[str, Histogram]:
    both = (-limit, limit, version)
    chosen = {
        "global": Histogram(3, "Normalized residuals of single (global) measurement", *both),
        "local": Histogram(12, "Normalized residuals of single (local) measurement", *both),
        "global pull": Histogram(13, "Pulls of single (global) measurement", *both),
        "local pull": Histogram(14, "Pulls of single (local) measurement", *both),
        "chi2": Histogram(4, "Chi^2/Ndf after local fit", version=version),
    }
    if version == 0:
        chosen["ndf"] = Histogram(5, "Number of degrees of freedom")
        chosen["size"] = Histogram(11, "Number of local parameters")
    return chosen


def _fill(chosen: Mapping[str, Histogram], blocks: Iterable[Details], enough: int | None) -> None:
    seen = 0
    for details in blocks:
        block = details.block
        aligned = np.diff(block.global_start) > 0
        known = details.weight > 0
        residual, pull = details.residual / block.sigma, _pulls(details)
        fitted = details.ndf > 0
        values = {
            "global": residual[known & aligned],
            "local": residual[known & ~aligned],
            "global pull": pull[aligned],
            "local pull": pull[~aligned],
            "chi2": details.chi2[fitted] / details.ndf[fitted],
            "ndf": details.ndf.astype(np.float64),
            "size": block.local_size.astype(np.float64),
        }
        for name, histogram in chosen.items():
            histogram.fill(values[name])
        seen += len(residual)
        if enough is not None and seen >= enough:
            return


def _pulls(details: Details) -> Doubles:
    """(M,) residuals over their own standard deviation; NaN where the local fit leaves none."""
    sigma = details.block.sigma.astype(np.float64)
    with np.errstate(invalid="ignore"):
        left = (details.weight > 0) & (details.variance > _SMALLEST_VARIANCE * sigma**2)
        return np.where(left, details.residual / np.sqrt(np.where(left, details.variance, 1.0)), np.nan)


def _first_labels(labels: Longs, block: MilleBlock) -> tuple[NDArray[np.bool_], Longs]:
    """Which measurements have global derivatives, and the position of the first label of those."""
    aligned = np.diff(block.global_start) > 0
    return aligned, np.searchsorted(labels, block.label[block.global_start[:-1][aligned]])


def _errors(labels: Longs, blocks: Generator[Details]) -> tuple[NDArray[np.bool_], Doubles]:
    """(all labels,) which of them are the first of a measurement, and the mean standard deviation of these."""
    counts, sums = np.zeros(len(labels)), np.zeros(len(labels))
    with contextlib.closing(blocks):
        for details in blocks:
            aligned, first = _first_labels(labels, details.block)
            counts += np.bincount(first, minlength=len(labels))
            sums += np.bincount(first, details.block.sigma[aligned], len(labels))
    return counts > 0, sums / np.maximum(counts, 1)


def _by_label(labels: Longs, blocks: Generator[Details], errors: Doubles | None, bins: int) -> Longs:
    """(all labels, bins) histograms of pulls, or of residuals over the mean errors if these are given."""
    found = np.zeros(len(labels) * bins, np.int64)
    with contextlib.closing(blocks):
        for details in blocks:
            aligned, first = _first_labels(labels, details.block)
            value = _pulls(details)[aligned]
            if errors is not None:
                value = value * details.block.sigma[aligned] / errors[first]
            known = np.isfinite(value)
            found += np.bincount(first[known] * bins + bin_of(value[known], bins), minlength=len(found))
    return found.reshape(len(labels), bins)
