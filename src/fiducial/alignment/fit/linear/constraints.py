"""Linear constraints on the parameters, as sparse as they are: each names a few parameters of perhaps many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Constraints"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_DEPENDENT = 1e-10  # a row shorter than this after those before it are taken off follows from them


@dataclass(frozen=True)
class Constraints:
    """``factors @ parameter == value`` over all parameters, of which some are variable.

    Args:
        factors: (C, all) sparse.
        value: (C,).
        variable: (V,) positions of the variable parameters.
    """

    factors: csr_array
    value: Doubles
    variable: Longs

    @property
    def count(self) -> int:
        """Number of constraints, C."""
        return len(self.value)

    @cached_property
    def columns(self) -> csr_array:
        """(C, V) factors of the variable parameters."""
        return csr_array(self.factors[:, self.variable])

    @cached_property
    def _gram(self) -> tuple[Doubles, bool]:
        return cho_factor((self.columns @ self.columns.T).toarray())  # type: ignore[no-any-return]

    def dependent(self) -> list[int]:
        """Constraints that follow from those before them, or that act on no variable parameter."""
        columns = self.columns
        _, group = connected_components(columns @ columns.T, directed=False) if self.count else (0, np.zeros(0))
        found: list[int] = []
        for number in np.unique(group):
            members = np.flatnonzero(group == number)
            rows = columns[members]
            used = np.unique(rows.indices)
            found += [int(members[k]) for k in _dependent_rows(rows[:, used].toarray())]
        return sorted(found)

    def discrepancy(self, parameter: Doubles) -> Doubles:
        """(C,) what is missing to the value of each constraint."""
        return np.asarray(self.value - self.factors @ parameter)

    def smallest_step(self, missing: Doubles) -> Doubles:
        """(V,) the shortest step of the variable parameters that makes up for what is missing."""
        return np.asarray(self.columns.T @ cho_solve(self._gram, missing))

    def make_feasible(self, parameter: Doubles, tolerance: float) -> bool:
        """Move the variable parameters by the shortest way onto the constraints; whether that was necessary."""
        if not self.count or np.sqrt(np.mean(self.discrepancy(parameter) ** 2)) < tolerance:
            return False
        for _ in range(2):
            parameter[self.variable] += self.smallest_step(self.discrepancy(parameter))
        return True


def _dependent_rows(rows: Doubles) -> list[int]:
    norm = np.linalg.norm(rows, axis=1)
    found: list[int] = []
    basis = np.zeros((0, rows.shape[1]))
    for k, row in enumerate(rows):
        rest = row / norm[k] if norm[k] > 0 else row
        for _ in range(2):  # twice: once leaves rounding errors of the size that is tested
            rest = rest - basis.T @ (basis @ rest)
        length = np.linalg.norm(rest)
        if length < _DEPENDENT:
            found.append(k)
        else:
            basis = np.vstack([basis, rest / length])
    return found
