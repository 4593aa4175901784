"""What the verdict of a fit is made of: chi2, rejects, entries. Each finding is a warning in words, too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.loops import Sums
from fiducial.alignment.fit.problem import Problem, name_labels
from fiducial.alignment.fit.result import REJECT_CAUSES
from fiducial.alignment.fit.settings import Settings
from fiducial.alignment.verdict import FitError

__all__ = ["Findings"]

# What F of a good fit is too small by if outliers are down-weighted with Huber's function.
_HUBER_EXPECTATION = 0.9326
_BAD_MEASUREMENTS, _FEW_ENTRIES = 1, 2
_TOO_MANY_REJECTS = 26


@dataclass
class Findings:
    """What was found in the loops so far.

    Args:
        settings: of the fit.
        problem: of the fit.
        records: in the data.
        low: variable parameters that had too few entries in accepted records in some loop.
    """

    settings: Settings
    problem: Problem
    records: int
    low: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Start with no finding."""
        self.low = np.zeros(len(self.problem.variable), np.bool_)

    def look(self, sums: Sums, loop: int) -> None:
        """Look at the sums of a loop over the records.

        Raises:
            FitError: more than a third of the records are rejected.
        """
        self.low |= sums.accepted < self.settings.entries_accepted
        if 3 * int(sums.rejected.sum()) > self.records:
            raise _too_many_rejects(sums, self.records, loop)

    def verdict(self, sums: Sums, ratio: float, *, loops: int, warnings: list[str]) -> int:
        """The code of the worst that was found in the end; `warnings` is added to.

        Args:
            sums: of the last loop.
            ratio: chi2 over degrees of freedom.
            loops: over the data.
            warnings: added to.
        """
        before = len(warnings)
        warnings += self._of_chi2(sums, ratio, loops) + self._of_rejects(sums)
        mild = len(warnings) > before or self.problem.empty
        if not self.low.any():
            return _BAD_MEASUREMENTS if mild else 0
        labels = self.problem.labels[self.problem.variable][self.low]
        warnings.append(
            f"{len(labels)} variable parameters have fewer than {self.settings.entries_accepted} entries in accepted "
            f"records: labels {name_labels(labels)}"
        )
        return _FEW_ENTRIES

    def _of_chi2(self, sums: Sums, ratio: float, loops: int) -> list[str]:
        if loops > 1 and self.settings.local_iterations > 1:
            ratio /= _HUBER_EXPECTATION
        if 90 <= round(100 * ratio) <= 110:  # rounded as pede does
            return []
        found = f"chi2/ndf is {ratio:.4g}, not 1 within 10 %"
        fitted = len(self.problem.variable) - self.problem.constraints.count
        if sums.ndf <= fitted:
            return [f"{found}: there are {sums.ndf} degrees of freedom for {fitted} parameters, too few to say more"]
        found += ": are the sigmas of the measurements right?"
        return [found + (f" They fit if multiplied by {np.sqrt(ratio):.3g}, see `scaleerrors`" if ratio > 0 else "")]

    def _of_rejects(self, sums: Sums) -> list[str]:
        fraction = 100 * int(sums.rejected.sum()) / self.records
        if round(100 * fraction) <= 100 * self.settings.rejects_warning:
            return []
        return [f"{fraction:.2f} % of the records are rejected, more than {self.settings.rejects_warning:g} %"]


def _too_many_rejects(sums: Sums, records: int, loop: int) -> FitError:
    causes = ", ".join(f"{cause} {count}" for cause, count in zip(REJECT_CAUSES, sums.rejected.tolist(), strict=True))
    return FitError(
        f"{int(sums.rejected.sum())} of {records} records are rejected in loop {loop}, more than a third ({causes})",
        _TOO_MANY_REJECTS,
        hint="start values may be far off, or the cuts `chisqcut` and `hugecut` too tight",
    )
