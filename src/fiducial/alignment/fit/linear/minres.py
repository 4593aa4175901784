"""Iterative solution of large sparse systems: MINRES with the diagonal as preconditioner.

C. Paige and M. Saunders, Solution of sparse indefinite systems of linear equations, SIAM J. Numer. Anal. 12 (1975) 617.
Constraints are kept by projecting every step onto the space that they leave.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, minres

from fiducial.alignment.fit.linear.constraints import Constraints
from fiducial.core.errors import DataError

__all__ = ["IterativeSolution"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_COARSE = 1e-3  # tolerance where a step is only to be mended
_MOST_STEPS = 10  # times the number of parameters
_USABLE = 1e-6  # of the residual: rounding may keep it from what is wanted, but then it is near


class IterativeSolution:
    """A sparse matrix that is solved with step by step.

    Args:
        lower: (V, V) its lower triangle with the diagonal.
        constraints: to hold exactly.
        tolerance: of the residual, relative.
        wanted: parameters of which the variance is wanted; each costs one solution.
    """

    rank_defect = 0

    def __init__(
        self, lower: csr_array, constraints: Constraints, tolerance: float, wanted: Sequence[int] = ()
    ) -> None:
        self._diagonal = lower.diagonal()
        self._scale = 1.0 / np.sqrt(np.where(self._diagonal > 0, self._diagonal, 1.0))
        lower = csr_array(lower.multiply(self._scale).multiply(self._scale[:, None]))
        self._lower, self._upper = lower, csr_array(lower.T)
        self._constraints = constraints
        self._tolerance = tolerance
        self._wanted = wanted
        self._largest = 0.0
        self._columns = csr_array(constraints.columns.multiply(self._scale))
        self._gram = cho_factor((self._columns @ self._columns.T).toarray()) if constraints.count else None

    def _multiply(self, vector: Doubles) -> Doubles:
        scaled = self._lower @ vector + self._upper @ vector
        return np.asarray(scaled - self._lower.diagonal() * vector)

    def _project(self, vector: Doubles) -> Doubles:
        """The part of a scaled vector that changes no constraint."""
        if self._gram is None:
            return vector
        return np.asarray(vector - self._columns.T @ cho_solve(self._gram, self._columns @ vector))

    def _solve(self, right: Doubles, largest: float = 0.0) -> Doubles:
        """Solve to so many digits of a right side, or of a larger one."""
        right = self._project(right)
        size = len(right)
        operator = LinearOperator(
            (size, size), matvec=lambda vector: self._project(self._multiply(self._project(np.ravel(vector))))
        )
        found, rest, steps = np.zeros(size), right, 0
        norm = float(np.linalg.norm(right))
        tolerance = min(self._tolerance * max(1.0, largest / max(norm, 1e-300)), _COARSE)
        for aim in (tolerance, _COARSE):  # what rounding has left of the first pass is small, and some digits of it do
            part, steps = minres(operator, rest, rtol=aim, maxiter=int(_MOST_STEPS * size))
            found += part
            rest = right - operator @ found
        missing = float(np.linalg.norm(rest)) / max(norm, 1e-300)
        if steps > 0 and missing > _USABLE:
            raise DataError(
                f"MINRES did not come to a tolerance of {self._tolerance:g} in {steps} steps: it is at {missing:.1e}",
                hint="the matrix may be singular: fix parameters, give presigmas, or use `method inversion`",
            )
        return self._project(found)

    def undetermined(self, most: int = 10) -> list[Longs]:
        """None: MINRES goes the shortest way where data do not determine anything, and does not notice."""
        return []

    def step(self, gradient: Doubles, missing: Doubles) -> Doubles:
        """(V,) the step that solves the system for a gradient and makes up for what constraints miss."""
        onto = np.zeros(len(gradient))
        if self._gram is not None:
            onto = np.asarray(self._columns.T @ cho_solve(self._gram, missing))
        right = gradient * self._scale - self._multiply(onto)
        # A gradient that an earlier step has nearly taken away needs no more digits than it adds to that.
        self._largest = max(self._largest, float(np.linalg.norm(right)))
        return (onto + self._solve(right, self._largest)) * self._scale

    def variances(self) -> Doubles:
        """(V,) variances of the parameters of which they are wanted, NaN for others."""
        found = np.full(len(self._scale), np.nan)
        for k in self._wanted:
            unit = np.zeros(len(self._scale))
            unit[k] = self._scale[k]
            found[k] = self._solve(unit)[k] * self._scale[k]
        return found

    def covariance(self) -> None:
        """Not known."""

    def diagonal(self) -> Doubles:
        """(V,) diagonal of the matrix."""
        return np.asarray(self._diagonal)
