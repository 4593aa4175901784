"""What a Millepede fit returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.outputs.fortran import g14_5
from fiducial.alignment.fit.outputs.res import ResultLine, read_results
from fiducial.alignment.verdict import MESSAGES, MILD, FitError, verdict_of

if TYPE_CHECKING:
    from fiducial.alignment.fit.outputs.eve import Eigenvectors
    from fiducial.alignment.fit.outputs.his import Histogram
    from fiducial.alignment.fit.outputs.mon import Monitored

__all__ = [
    "MESSAGES",
    "REJECT_CAUSES",
    "FitError",
    "FitResult",
    "Iteration",
    "ResultLine",
    "Search",
    "g14_5",
    "read_results",
    "verdict_of",
]

Doubles = NDArray[np.float64]

REJECT_CAUSES = ("rank", "ndf", "huge", "chi2")


@dataclass(frozen=True, slots=True)
class Iteration:
    """A row of the iteration table: one loop over the data.

    Args:
        iteration: number of the solution that was found before, 0 for the start.
        loop: number of the loop.
        chi2: F.
        expected: decrease of F that the solution promised.
        cut: factor of the cut on chi2.
        rejected: records rejected.
        slope_ratio: slope of F along the step, over that at its beginning.
        matrix: whether the matrix was summed too.
        foretold: whether the sums were known without reading the data, see `prediction`.
        outcome: what the line search said, as in pede's table; None without one.
        step: how far along the step the line search ended, 1 is the whole step.
        seconds: wall time since the fit began.
    """

    iteration: int
    loop: int
    chi2: float
    expected: float | None
    cut: float
    rejected: int
    slope_ratio: float | None = None
    matrix: bool = False
    outcome: int | None = None
    step: float | None = None
    seconds: float = 0.0
    foretold: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """A line search.

    Args:
        iteration: of which solution.
        points: distance along the step, and half of F's slope there, in the order in which they were looked at.
        outcome: how it ended, as in pede's table.
    """

    iteration: int
    points: tuple[tuple[float, float], ...]
    outcome: int


@dataclass
class FitResult:
    """Result of a fit; arrays are by parameter, labels ascending.

    Args:
        verdict: code as in pede's millepede.end: 0 fine, 1 bad measurements, 2 insufficient data, 3 bad matrix.
        message: the verdict in words.
        loops: loops over the data with a function value.
        chi2: F, twice the negative logarithm of the likelihood, at the last loop.
        ndf: degrees of freedom of all local fits, and of measurements; `fitted` is still to be taken off.
        fitted: variable parameters less constraints.
        records: records read.
        rejects: records rejected in the last loop, by cause: "rank", "ndf", "huge", "chi2".
        labels: of all parameters.
        values: of all parameters.
        starts: values at the start, as given in the steering.
        errors: standard deviations; NaN for fixed parameters, and where the method gives none.
        presigmas: as given; negative for fixed parameters.
        counts: global derivatives in the data; -1 if that is not known.
        accepted: of these, in records accepted in the last loop; 0 for fixed parameters, -1 if that is not known.
        correlations: global correlations; NaN where there is none.
        variable: positions of the variable parameters.
        covariance: (V, V) of the variable parameters; None if it would be too large, or the method gives none.
        iterations: the iteration table.
        warnings: everything a user should know, with labels.
        obstacles: those of the warnings that would end a fit, if only the input was checked.
        seconds: wall time by phase.
        column: what millepede.res says besides: "", "correlations", "counts" or "accepted".
        few: a variable parameter with fewer derivatives in accepted records is marked in millepede.res.
        mean_weight: of the degrees of freedom, if files have weights.
        checked: what millepede.res says if only the input was looked at; then all values are those at the start.
        records_shown: the records that `printrecord` asks for, for millepede.log.
        comments: text to a parameter, by label.
        searches: the line searches.
        memory: largest resident size of the process up to the end of a phase, bytes, by phase.
        facts: what was fitted, in words, for the log.
        eigenvectors: of the matrix, if the method is diagonalization.
        monitored: residuals by first label, if the steering asks for them.
        histograms: of what the fit saw.
        draw: whether the steering asks for the histograms on the screen.
    """

    verdict: int
    message: str
    loops: int
    chi2: float
    ndf: int
    fitted: int
    records: int
    rejects: dict[str, int]
    labels: NDArray[np.int64]
    values: Doubles
    starts: Doubles
    errors: Doubles
    presigmas: Doubles
    counts: NDArray[np.int64]
    accepted: NDArray[np.int64]
    correlations: Doubles
    variable: NDArray[np.int64]
    covariance: Doubles | None
    iterations: list[Iteration] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    column: str = ""
    few: int = 0
    mean_weight: float = 1.0
    checked: str = ""
    records_shown: str = ""
    comments: dict[int, str] = field(default_factory=dict)
    searches: list[Search] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    eigenvectors: Eigenvectors | None = None
    monitored: Monitored | None = None
    histograms: list[Histogram] = field(default_factory=list)
    draw: bool = False

    @property
    def chi2_per_ndf(self) -> float:
        """F over the degrees of freedom that the fit leaves."""
        return self.chi2 / self.mean_weight / max(1, self.ndf - self.fitted)

    @property
    def usable(self) -> bool:
        """Whether the values may be used unseen: there is a solution, and at most the measurements look odd."""
        return self.verdict in MILD and not self.checked

    @property
    def states(self) -> list[str]:
        """What each parameter is: "fixed" or "variable"."""
        states = np.full(len(self.labels), "fixed", object)
        states[self.variable] = "variable"
        return list(states)

    def column_counts(self) -> NDArray[np.int64] | None:
        """Numbers of derivatives as millepede.res shows them, if it does: -(n + 1) where accepted ones are too few."""
        counts = {"counts": self.counts, "accepted": self.accepted}.get(self.column)
        if counts is None:
            return None
        low = np.zeros(len(self.labels), bool)
        low[self.variable] = self.accepted[self.variable] < self.few
        return np.where(low, -(counts + 1), counts)

    def to_columns(self) -> dict[str, list[Any]]:
        """The parameters by column; what there is not is None."""
        return {
            "label": self.labels.tolist(),
            "value": self.values.tolist(),
            "error": _or_none(self.errors),
            "presigma": self.presigmas.tolist(),
            "count": [count if count >= 0 else None for count in self.counts.tolist()],
            "start": self.starts.tolist(),
            "change": (self.values - self.starts).tolist(),
            "accepted": [count if count >= 0 else None for count in self.accepted.tolist()],
            "correlation": _or_none(self.correlations),
            "state": self.states,
        }

    def facts_to_json(self) -> dict[str, Any]:
        """Everything but the parameters, as JSON can hold it."""
        names = ("verdict", "message", "loops", "chi2", "ndf", "fitted", "rejects", "records", "warnings", "obstacles")
        return {name: getattr(self, name) for name in names} | {
            "chi2_per_ndf": self.chi2_per_ndf,
            "checked_only": bool(self.checked),
            "seconds": self.seconds,
            "memory": self.memory,
        }

    def to_json(self) -> dict[str, Any]:
        """The result as JSON can hold it; an error is None for a fixed parameter."""
        columns = self.to_columns()
        rows = zip(*columns.values(), strict=True)
        return self.facts_to_json() | {"parameters": [dict(zip(columns, row, strict=True)) for row in rows]}

    def write(self, directory: Path, *, parquet: bool = False) -> None:
        """Write all result files into a folder, millepede.end last; earlier ones get the name with ``~``.

        Args:
            directory: the folder, made if needed.
            parquet: whether to write millepede.parquet too.

        Raises:
            WriteError: the folder cannot be written.
            ModuleNotFoundError: there is no pyarrow, and a parquet file is wanted.
        """
        from fiducial.alignment.fit.outputs.files import write_results

        write_results(self, directory, parquet=parquet)


def _or_none(numbers: Doubles) -> list[float | None]:
    return [None if number != number else number for number in numbers.tolist()]
