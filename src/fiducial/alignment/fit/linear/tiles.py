"""Exact solution of large dense systems: a Cholesky factorisation in tiles, shared out to threads.

Each tile is computed by one thread from the same operands in the same order, whatever the number of threads, so that
the result is the same to the last bit; a multi-threaded LAPACK does not promise that. The tiles to the left of a
column of tiles are applied to it at once, in long products, which run at the speed of the processor.

Constraints C x = c come in as a correction. With ``B = A + μ Cᵀ C`` (definite where A is so in the space that the
constraints leave), ``x = B⁻¹ (b + μ Cᵀ c + Cᵀ λ)`` with λ from ``C x = c``. See J. Nocedal and S. Wright, Numerical
Optimization, ch. 16 and 17.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, cho_factor, cho_solve, lapack
from scipy.sparse import csr_array

from fiducial.alignment.fit.linear.constraints import Constraints
from fiducial.alignment.fit.linear.exact import SMALLEST_PIVOT, taking_part

__all__ = ["TiledSolution"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

TILE = 512

Each = Callable[[Callable[[int], Any], Sequence[int]], object]


class TiledSolution:
    """Factorised in tiles; the matrix is taken over and overwritten.

    Args:
        matrix: (V, V), its lower triangle is read, and holds the factor then.
        constraints: to hold exactly.
        each: calls a function with each of some numbers, on as many threads as there are.
    """

    def __init__(self, matrix: Doubles, constraints: Constraints, each: Each) -> None:
        self._factor = matrix
        self._constraints = constraints
        self._each = each
        self._diagonal = np.diag(matrix).copy()
        self._scale = 1.0 / np.sqrt(np.where(self._diagonal > 0, self._diagonal, 1.0))
        self._dropped: list[int] = []
        self._scale_rows()
        columns, self._lengths = self._add_constraints()
        for start in range(0, len(matrix), TILE):
            self._factorise_column(start)
        self._half_columns = self._forward(columns.T.toarray())
        self._schur = cho_factor(self._half_columns.T @ self._half_columns) if constraints.count else (matrix, False)

    def _rows(self, start: int) -> slice:
        return slice(start, min(start + TILE, len(self._factor)))

    def _scale_rows(self) -> None:
        """Make the diagonal 1, so that units do not matter."""
        matrix, scale = self._factor, self._scale

        def scaled(start: int) -> None:
            rows = self._rows(start)
            matrix[rows, : rows.stop] *= scale[: rows.stop] * scale[rows, None]

        self._each(scaled, range(0, len(matrix), TILE))

    def _add_constraints(self) -> tuple[csr_array, Doubles]:
        """Add Cᵀ C for constraints with rows of length 1; gives those rows, and what their length was."""
        columns = csr_array(self._constraints.columns.multiply(self._scale))
        lengths = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=1)).ravel())
        columns = csr_array(columns.multiply(1.0 / lengths[:, None]))
        full = columns.toarray()

        def add(start: int) -> None:
            rows = self._rows(start)
            acting = np.flatnonzero(full[:, rows].any(axis=1))
            if len(acting):
                self._factor[rows, : rows.stop] += full[acting, rows].T @ full[acting, : rows.stop]

        self._each(add, range(0, len(self._factor), TILE))
        return columns, lengths

    def _factorise_column(self, start: int) -> None:
        """The column of tiles from a row on; all columns to its left are done."""
        matrix, here = self._factor, self._rows(start)
        done = matrix[here, :start]

        def update(first: int) -> None:
            rows = self._rows(first)
            matrix[rows, here] -= matrix[rows, :start] @ done.T

        below = range(start, len(matrix), TILE)
        if start:
            self._each(update, below)
        corner = self._factorise_corner(start, np.tril(matrix[here, here]))
        matrix[here, here] = corner

        def divide(first: int) -> None:
            rows = self._rows(first)
            matrix[rows, here] = blas.dtrsm(1.0, corner, matrix[rows, here], side=1, lower=1, trans_a=1)
            for column in self._dropped:
                if column >= start:
                    matrix[rows, column] = 0.0

        self._each(divide, below[1:])

    def _factorise_corner(self, start: int, corner: Doubles) -> Doubles:
        factor, failed = lapack.dpotrf(corner, lower=1)
        if not failed and np.all(np.diag(factor) ** 2 > SMALLEST_PIVOT):
            return np.tril(factor)
        for k in range(len(corner)):  # one by one, dropping each parameter that follows from those before it
            pivot = corner[k, k] - corner[k, :k] @ corner[k, :k]
            if pivot > SMALLEST_PIVOT:
                corner[k, k] = np.sqrt(pivot)
                corner[k + 1 :, k] = (corner[k + 1 :, k] - corner[k + 1 :, :k] @ corner[k, :k]) / corner[k, k]
            else:
                self._dropped.append(start + k)
                corner[k, k] = 1.0
                corner[k + 1 :, k] = 0.0
        return corner

    def _forward(self, right: Doubles, start: int = 0) -> Doubles:
        """L⁻¹ times an array (V, n), of which the rows before `start` are 0; rows of dropped parameters become 0."""
        out = right.copy()
        for first in range(start, len(out), TILE):
            here = self._rows(first)
            rest = out[here] - self._factor[here, start:first] @ out[start:first]
            out[here] = blas.dtrsm(1.0, self._factor[here, here], rest, lower=1)
            out[[k for k in self._dropped if here.start <= k < here.stop]] = 0.0
        return out

    def _backward(self, right: Doubles) -> Doubles:
        """L⁻ᵀ times an array (V, n)."""
        out = right.copy()
        for first in reversed(range(0, len(out), TILE)):
            here = self._rows(first)
            rest = out[here] - self._factor[here.stop :, here].T @ out[here.stop :]
            out[here] = blas.dtrsm(1.0, self._factor[here, here], rest, lower=1, trans_a=1)
        return out

    @property
    def rank_defect(self) -> int:
        """Number of combinations of parameters that neither data nor constraints determine."""
        return len(self._dropped)

    def undetermined(self, most: int = 10) -> list[Longs]:
        """For up to `most` combinations without determination, the parameters that take part in it, largest first."""
        return [self._direction(k) for k in self._dropped[:most]]

    def _direction(self, dropped: int) -> Longs:
        row = np.zeros((len(self._factor), 1))
        row[:dropped, 0] = self._factor[dropped, :dropped]
        direction = -self._backward(row)[:, 0]
        direction[dropped] = 1.0
        return taking_part(direction * self._scale)

    def step(self, gradient: Doubles, missing: Doubles) -> Doubles:
        """(V,) the step that solves the system for a gradient and makes up for what constraints miss."""
        half = self._forward((gradient * self._scale)[:, None])
        if self._constraints.count:
            short = missing / self._lengths - self._half_columns.T @ half[:, 0]
            half[:, 0] += self._half_columns @ cho_solve(self._schur, short)
        return np.asarray(self._backward(half)[:, 0] * self._scale)

    def variances(self) -> Doubles:
        """(V,) diagonal of the inverse in the space that the constraints leave."""
        found = np.zeros(len(self._factor))

        def columns(start: int) -> None:
            here = self._rows(start)
            unit = np.zeros((len(found), here.stop - start))
            unit[here] = np.eye(here.stop - start)
            found[here] = np.square(self._forward(unit, start)).sum(axis=0)

        self._each(columns, range(0, len(found), TILE))
        if self._constraints.count:
            spread = self._backward(self._half_columns)
            found -= np.einsum("vc,cv->v", spread, cho_solve(self._schur, spread.T))
        return np.maximum(found, 0.0) * self._scale**2

    def covariance(self) -> None:
        """Not kept: it would be as large as the matrix."""

    def diagonal(self) -> Doubles:
        """(V,) diagonal of the matrix."""
        return self._diagonal
