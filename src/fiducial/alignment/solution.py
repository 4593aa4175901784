"""The global solution: a symmetric linear system under exact linear constraints.

Constraints are eliminated: an orthogonal transformation splits the parameters into as many as there are constraints,
which these determine, and the free rest. It equals the solution with Lagrange multipliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack

__all__ = ["Constraints", "Solution"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

# A pivot below this fraction of its diagonal element counts as zero, as in pede's inversion with pivoting.
_SMALLEST_PIVOT = 1e-10


@dataclass(frozen=True)
class Constraints:
    """``factors @ parameter == value`` over all parameters, of which some are variable.

    Args:
        factors: (C, all).
        value: (C,).
        variable: (V,) positions of the variable parameters.
    """

    factors: Doubles
    value: Doubles
    variable: Longs

    @property
    def count(self) -> int:
        """Number of constraints, C."""
        return len(self.value)

    @cached_property
    def columns(self) -> Doubles:
        """(C, V) factors of the variable parameters."""
        return self.factors[:, self.variable]

    @cached_property
    def _reflectors(self) -> tuple[Doubles, Doubles]:
        qr, tau, _, _ = lapack.dgeqrf(self.columns.T)
        return qr, tau

    def dependent(self) -> list[int]:
        """Constraints that follow from those before them, or that act on no variable parameter."""
        norm = np.linalg.norm(self.columns, axis=1)
        found: list[int] = []
        basis = np.zeros((0, self.columns.shape[1]))
        for k, row in enumerate(self.columns):
            rest = row / norm[k] if norm[k] > 0 else row
            for _ in range(2):  # twice: once leaves rounding errors of the size that is tested
                rest = rest - basis.T @ (basis @ rest)
            length = np.linalg.norm(rest)
            if length < 1e-10:
                found.append(k)
            else:
                basis = np.vstack([basis, rest / length])
        return found

    def discrepancy(self, parameter: Doubles) -> Doubles:
        """(C,) what is missing to the value of each constraint."""
        return np.asarray(self.value - self.factors @ parameter)

    def smallest_step(self, missing: Doubles) -> Doubles:
        """(V,) the shortest step of the variable parameters that makes up for what is missing."""
        return np.asarray(self.columns.T @ np.linalg.solve(self.columns @ self.columns.T, missing))

    def make_feasible(self, parameter: Doubles, tolerance: float) -> bool:
        """Move the variable parameters by the shortest way onto the constraints; whether that was necessary."""
        if not self.count or np.sqrt(np.mean(self.discrepancy(parameter) ** 2)) < tolerance:
            return False
        for _ in range(2):
            parameter[self.variable] += self.smallest_step(self.discrepancy(parameter))
        return True

    def rotate(self, array: Doubles, *, transposed: bool) -> Doubles:
        """Q or Qᵀ times an array of V rows; the first C columns of Q span the constraints."""
        if not self.count:
            return array
        qr, tau = self._reflectors
        kind = "T" if transposed else "N"
        matrix = np.asfortranarray(array.reshape(len(array), -1))
        _, work, _ = lapack.dormqr("L", kind, qr, tau, matrix, -1)
        rotated, _, _ = lapack.dormqr("L", kind, qr, tau, matrix, int(work[0]))
        return np.asarray(rotated).reshape(array.shape)


class Solution:
    """Factorised matrix of the variable parameters under constraints.

    Args:
        matrix: (V, V), its lower triangle is read.
        constraints: to hold exactly.
    """

    def __init__(self, matrix: Doubles, constraints: Constraints) -> None:
        self._constraints = constraints
        self._matrix = np.tril(matrix) + np.tril(matrix, -1).T
        free = constraints.count
        half = constraints.rotate(self._matrix, transposed=True)
        self._reduced = constraints.rotate(np.ascontiguousarray(half.T), transposed=True)[free:, free:]
        diagonal = np.diag(self._reduced)
        self._scale = np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
        self._scaled = self._reduced * self._scale * self._scale[:, None]
        self._kept = np.arange(len(diagonal))
        self._factor = self._factorise()

    def _factorise(self) -> Doubles:
        factor, failed = lapack.dpotrf(self._scaled, lower=1)
        if not failed and np.all(np.diag(factor) ** 2 > _SMALLEST_PIVOT):
            return np.asarray(factor)
        self._kept = self._determined()
        factor, _ = lapack.dpotrf(self._scaled[np.ix_(self._kept, self._kept)], lower=1)
        return np.asarray(factor)

    def _determined(self) -> Longs:
        """Parameters to solve for: the largest pivot goes first, and one is dropped if its pivot is nearly zero."""
        diagonal = np.diag(self._reduced)
        kept = np.flatnonzero(diagonal > 0)
        while len(kept):
            factor, order, rank, _ = lapack.dpstrf(self._reduced[np.ix_(kept, kept)], tol=0.0, lower=1)
            order = order - 1
            pivots = np.where(np.arange(len(kept)) < rank, np.diag(factor) ** 2, 0.0)
            failing = np.flatnonzero(pivots <= _SMALLEST_PIVOT * diagonal[kept[order]])
            if not len(failing):
                break
            kept = np.delete(kept, order[failing[0]])
        return np.asarray(kept, np.int64)

    @property
    def rank_defect(self) -> int:
        """Number of free combinations of parameters that the data do not determine."""
        return len(self._scale) - len(self._kept)

    def undetermined(self, most: int = 10) -> list[Longs]:
        """For up to `most` combinations without determination, the parameters that take part in it, largest first."""
        dropped = np.setdiff1d(np.arange(len(self._scale)), self._kept)
        return [self._direction(int(j)) for j in dropped[:most]]

    def _direction(self, dropped: int) -> Longs:
        vector = np.zeros(len(self._scale))
        vector[dropped] = 1.0
        vector[self._kept] = -cho_solve((self._factor, True), self._scaled[self._kept, dropped])
        full = np.abs(self._embed(vector * self._scale))
        order = np.argsort(-full)
        return np.asarray(order[full[order] > 0.1 * full.max()], np.int64)

    def step(self, gradient: Doubles, missing: Doubles) -> Doubles:
        """(V,) the step that solves the system for a gradient and makes up for what constraints miss."""
        constraints = self._constraints
        onto = constraints.smallest_step(missing) if constraints.count else np.zeros(len(gradient))
        rest = constraints.rotate(gradient - self._matrix @ onto, transposed=True)[constraints.count :]
        free = np.zeros(len(self._scale))
        free[self._kept] = cho_solve((self._factor, True), (rest * self._scale)[self._kept])
        return np.asarray(onto + self._embed(free * self._scale))

    def _embed(self, free: Doubles) -> Doubles:
        padded = np.concatenate([np.zeros((self._constraints.count, *free.shape[1:])), free])
        return self._constraints.rotate(padded, transposed=False)

    def covariance(self) -> Doubles:
        """(V, V) the inverse in the space that the constraints leave; undetermined parameters have variance 0."""
        lower, _ = lapack.dpotri(self._factor, lower=1)
        inverse = np.zeros_like(self._scaled)
        inverse[np.ix_(self._kept, self._kept)] = np.tril(lower) + np.tril(lower, -1).T
        half = self._embed(inverse * self._scale * self._scale[:, None])
        return self._embed(np.ascontiguousarray(half.T))

    def diagonal(self) -> Doubles:
        """(V,) diagonal of the matrix."""
        return np.diag(self._matrix).copy()
