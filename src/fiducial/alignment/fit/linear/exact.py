"""The global solution: a symmetric linear system under exact linear constraints.

Three ways to it, behind one interface: up to a few thousand parameters the matrix is turned into the space that the
constraints leave, and factorised there; beyond that it is factorised in tiles, with the constraints as a correction;
a sparse matrix is never factorised, but approached by MINRES.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack
from scipy.sparse import csr_array

from fiducial.alignment.fit.linear.constraints import Constraints

__all__ = ["ExactSolution", "Solution"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

#: A pivot below this fraction of its diagonal element counts as zero, as in pede's inversion with pivoting.
SMALLEST_PIVOT = 1e-10


class Solution(Protocol):
    """A matrix of the variable parameters under constraints, ready to be solved with."""

    @property
    def rank_defect(self) -> int:
        """Number of free combinations of parameters that the data do not determine."""

    def undetermined(self, most: int = 10) -> list[Longs]:
        """For up to `most` combinations without determination, the parameters that take part in it, largest first."""

    def step(self, gradient: Doubles, missing: Doubles) -> Doubles:
        """(V,) the step that solves the system for a gradient and makes up for what constraints miss."""

    def variances(self) -> Doubles:
        """(V,) diagonal of the inverse in the space that constraints leave; NaN where it is not known."""

    def covariance(self) -> Doubles | None:
        """(V, V) that inverse, or None where it would be too large."""

    def diagonal(self) -> Doubles:
        """(V,) diagonal of the matrix."""


class ExactSolution:
    """Factorised in the space that the constraints leave.

    An orthogonal transformation splits the parameters into as many as there are constraints, which these determine, and
    the free rest. It equals the solution with Lagrange multipliers.

    Args:
        matrix: (V, V), its lower triangle is read.
        constraints: to hold exactly.
    """

    def __init__(self, matrix: Doubles, constraints: Constraints) -> None:
        self._constraints = constraints
        self._reflectors = _reflectors(constraints.columns)
        self._matrix = np.tril(matrix) + np.tril(matrix, -1).T
        free = constraints.count
        half = self._rotate(self._matrix, transposed=True)
        self._reduced = self._rotate(np.ascontiguousarray(half.T), transposed=True)[free:, free:]
        diagonal = np.diag(self._reduced)
        self._scale = np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
        self._scaled = self._reduced * self._scale * self._scale[:, None]
        self._kept = np.arange(len(diagonal))
        self._factor = self._factorise()

    def _rotate(self, array: Doubles, *, transposed: bool) -> Doubles:
        """Q or Qᵀ times an array of V rows; the first C columns of Q span the constraints."""
        if not self._constraints.count:
            return array
        qr, tau = self._reflectors
        kind = "T" if transposed else "N"
        matrix = np.asfortranarray(array.reshape(len(array), -1))
        _, work, _ = lapack.dormqr("L", kind, qr, tau, matrix, -1)
        rotated, _, _ = lapack.dormqr("L", kind, qr, tau, matrix, int(work[0]))
        return np.asarray(rotated).reshape(array.shape)

    def _factorise(self) -> Doubles:
        factor, failed = lapack.dpotrf(self._scaled, lower=1)
        if not failed and np.all(np.diag(factor) ** 2 > SMALLEST_PIVOT):
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
            smallest = SMALLEST_PIVOT * diagonal[kept[order]]
            failing = np.flatnonzero(pivots <= smallest)
            if not len(failing):
                break
            first = int(failing[0])
            # What those before it leave of a pivot can only become less.
            left = diagonal[kept[order[first:]]] - np.einsum("ij,ij->i", factor[first:, :first], factor[first:, :first])
            failed = left <= smallest[first:]
            failed[0] = True
            kept = np.delete(kept, order[first:][failed])
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
        return taking_part(self._embed(vector * self._scale))

    def step(self, gradient: Doubles, missing: Doubles) -> Doubles:
        """(V,) the step that solves the system for a gradient and makes up for what constraints miss."""
        constraints = self._constraints
        onto = constraints.smallest_step(missing) if constraints.count else np.zeros(len(gradient))
        rest = self._rotate(gradient - self._matrix @ onto, transposed=True)[constraints.count :]
        free = np.zeros(len(self._scale))
        free[self._kept] = cho_solve((self._factor, True), (rest * self._scale)[self._kept])
        return np.asarray(onto + self._embed(free * self._scale))

    def _embed(self, free: Doubles) -> Doubles:
        padded = np.concatenate([np.zeros((self._constraints.count, *free.shape[1:])), free])
        return self._rotate(padded, transposed=False)

    def covariance(self) -> Doubles:
        """(V, V) the inverse in the space that the constraints leave; undetermined parameters have variance 0."""
        inverse = np.zeros_like(self._scaled)
        if len(self._kept):
            lower = lapack.dpotri(self._factor, lower=1)[0]
            inverse[np.ix_(self._kept, self._kept)] = np.tril(lower) + np.tril(lower, -1).T
        half = self._embed(inverse * self._scale * self._scale[:, None])
        return self._embed(np.ascontiguousarray(half.T))

    def variances(self) -> Doubles:
        """(V,) diagonal of the covariance."""
        return np.diag(self.covariance()).copy()

    def diagonal(self) -> Doubles:
        """(V,) diagonal of the matrix."""
        return np.diag(self._matrix).copy()


def _reflectors(columns: csr_array) -> tuple[Doubles, Doubles]:
    qr, tau, _, _ = lapack.dgeqrf(columns.toarray().T)
    return qr, tau


def taking_part(direction: Doubles) -> Longs:
    """Parameters that take part in a combination with at least a tenth of the largest, largest first."""
    full = np.abs(direction)
    order = np.argsort(-full)
    return np.asarray(order[full[order] > 0.1 * full.max()], np.int64)
