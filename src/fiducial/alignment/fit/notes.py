"""What a fit notes on its way, for its files: times, memory, line searches, residuals, eigenvectors."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fiducial.alignment.fit.outputs.eve import Eigenvectors
from fiducial.alignment.fit.result import FitResult, Iteration, Search
from fiducial.alignment.fit.watch import Watch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fiducial.alignment.fit.linesearch import LineSearch, Outcome
    from fiducial.alignment.fit.loops import Cuts, Data
    from fiducial.alignment.fit.settings import Settings
    from fiducial.alignment.steering.reader import Steering

__all__ = ["Notes"]


class Notes:
    """Notes of one fit.

    Args:
        steering: what is fitted.
        settings: how.
        sampled: whether histograms are filled although nobody asked for them.
    """

    def __init__(self, steering: Steering, settings: Settings, *, sampled: bool) -> None:
        self._sampled = sampled
        self._steering = steering
        self._settings = settings
        self._started = time.perf_counter()
        self._watch = Watch(settings)
        self._searches: dict[int, Search] = {}
        self._memory: dict[str, int] = {}

    def elapsed(self) -> float:
        """Seconds since the fit began."""
        return time.perf_counter() - self._started

    def phase_ended(self, phase: str) -> None:
        """Note the largest memory so far."""
        self._memory[phase] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def loop_ended(self, loop: int, parameter: NDArray[np.float64], cuts: Cuts) -> None:
        """Note where a loop over the data was made."""
        self._watch.saw(loop, parameter, cuts)

    def searched(self, row: Iteration, search: LineSearch, outcome: Outcome) -> Iteration:
        """Note how a line search stands, and give the row of its loop with that."""
        self._searches[row.iteration] = Search(row.iteration, search.points, int(outcome))
        return replace(row, slope_ratio=search.ratio, outcome=int(outcome), step=search.best)

    def complete(self, result: FitResult, data: Data) -> None:
        """Put all notes into a result."""
        started = time.perf_counter()
        result.searches = list(self._searches.values())
        result.facts = _facts(self._steering, self._settings)
        result.comments = self._steering.comments
        if self._steering.method.name == "diagonalization" and result.loops:
            self._add_eigenvectors(result)
        if result.loops:
            result.monitored = self._watch.monitored(result.labels, data.details)
            if self._sampled or self._settings.histograms:
                result.histograms = self._watch.histograms(data.details)
        result.draw = self._settings.histograms
        result.memory = self._memory
        result.seconds["monitoring"] = time.perf_counter() - started
        result.seconds["total"] = self.elapsed()

    def _add_eigenvectors(self, result: FitResult) -> None:
        if result.covariance is None:
            result.warnings.append("there is no millepede.eve: the matrix is too large for its eigenvectors")
            return
        labels = result.labels[result.variable]
        result.eigenvectors = Eigenvectors.of(labels, result.covariance, result.fitted)


def _facts(steering: Steering, settings: Settings) -> list[str]:
    """What was fitted, for the log."""
    facts = [f"Steering file {steering.path}", "Data files:"]
    for number, file in enumerate(steering.files, 1):
        weight = f"  weight {file.weight:g}" if file.weight != 1 else ""
        facts.append(f"{number:3d}  {'Fortran_binary' if file.fortran else 'C_binary':14}  {file.path}{weight}")
    method = steering.method
    facts += [
        "",
        f"Method {method.name}, at most {settings.iterations} iterations, until F is to decrease by {settings.limit:g}",
        f"{len(steering.constraints)} constraints, {len(steering.measurements)} measurements of parameters",
        f"A variable parameter needs {settings.entries} derivatives; {settings.entries_accepted} in accepted records",
    ]
    if settings.first_cut or settings.second_cut:
        facts.append(f"Cut on chi2 in units of 3 sigma: {settings.first_cut:g}, then {settings.second_cut:g}")
    if settings.local_iterations > 1:
        facts.append(f"Outliers are down-weighted in {settings.local_iterations} iterations of the local fits")
    return [*facts, ""]
