"""Iterative solution of large sparse systems: MINRES with the diagonal as preconditioner.

C. Paige and M. Saunders, Solution of sparse indefinite systems of linear equations, SIAM J. Numer. Anal. 12 (1975) 617.
Constraints are kept by projecting every step onto the space that they leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

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

_MOST_STEPS = 10  # times the number of parameters
_MOST_PASSES = 5
_LOOK = 50  # steps between two looks at the gain
_ROUNDING = 1e-14  # of a gain, which says no more


class IterativeSolution:
    """A sparse matrix that is solved with step by step.

    Args:
        lower: (V, V) its lower triangle with the diagonal.
        constraints: to hold exactly.
        enough: of F, which a step may leave to gain.
        wanted: parameters of which the variance is wanted; each costs one solution.
    """

    rank_defect = 0

    def __init__(self, lower: csr_array, constraints: Constraints, enough: float, wanted: Sequence[int] = ()) -> None:
        self._diagonal = lower.diagonal()
        self._scale = 1.0 / np.sqrt(np.where(self._diagonal > 0, self._diagonal, 1.0))
        lower = csr_array(lower.multiply(self._scale).multiply(self._scale[:, None]))
        self._lower, self._upper = lower, csr_array(lower.T)
        self._constraints = constraints
        self._enough = enough
        self._wanted = wanted
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

    def _solve(self, right: Doubles, enough: float) -> Doubles:
        """Solve for a right side, until less than this is left to gain; see `_Progress`."""
        found, rest = np.zeros(len(right)), self._project(right)
        largest = 0.0
        for _ in range(_MOST_PASSES):
            # What rounding has left after one pass, the next one finds from where that came to.
            part, gain = self._approach(rest, max(enough, _ROUNDING * largest))
            found, largest = found + part, max(largest, gain)
            if gain <= max(enough, _ROUNDING * largest):
                break
            rest = self._project(right - self._multiply(found))
        return found

    def _approach(self, right: Doubles, enough: float) -> tuple[Doubles, float]:
        """Go by MINRES from zero until less than this is left to gain; what is found, and its gain."""

        def multiply(vector: Doubles) -> Doubles:
            return self._project(self._multiply(self._project(np.ravel(vector))))

        size = len(right)
        most = int(_MOST_STEPS * size) + _LOOK
        progress = _Progress(multiply, right, enough)
        with suppress(_ArrivedError):
            operator = LinearOperator((size, size), matvec=multiply)
            found, steps = minres(operator, right, rtol=0.0, maxiter=most, callback=progress.look)
            if steps:
                raise DataError(
                    f"MINRES did not arrive in {steps:,} steps: F still fell by {progress.last:.1e}",
                    hint="the matrix may be nearly singular: fix parameters, give presigmas, or use `method inversion`",
                )
            return self._project(found), progress.gain(found)  # as near as rounding allows
        return self._project(progress.found), progress.gain(progress.found)

    def undetermined(self, most: int = 10) -> list[Longs]:
        """None: MINRES goes the shortest way where data do not determine anything, and does not notice."""
        return []

    def step(self, gradient: Doubles, missing: Doubles) -> Doubles:
        """(V,) the step that solves the system for a gradient and makes up for what constraints miss."""
        onto = np.zeros(len(gradient))
        if self._gram is not None:
            onto = np.asarray(self._columns.T @ cho_solve(self._gram, missing))
        right = gradient * self._scale - self._multiply(onto)
        return (onto + self._solve(right, self._enough)) * self._scale

    def variances(self) -> Doubles:
        """(V,) variances of the parameters of which they are wanted, NaN for others."""
        found = np.full(len(self._scale), np.nan)
        for k in self._wanted:
            unit = np.zeros(len(self._scale))
            unit[k] = self._scale[k]
            found[k] = self._solve(unit, 0.0)[k] * self._scale[k]
        return found

    def covariance(self) -> None:
        """Not known."""

    def diagonal(self) -> Doubles:
        """(V,) diagonal of the matrix."""
        return np.asarray(self._diagonal)


class _ArrivedError(Exception):
    """There is nothing more to gain."""


class _Progress:
    """Watches what the steps of MINRES gain.

    The gain 2 b·x - x·Ax of an approximate solution x is what it takes from F, in which 1 is one standard deviation;
    for a b that names a single parameter it is that one's variance. So it tells how far x is off in what matters, which
    the residual does not: that may be small while motions that the data hardly see are not there yet. It grows from
    step to step (D. Fong and M. Saunders, CG versus MINRES, SQU Journal for Science 17 (2012) 44).

    Args:
        multiply: by the matrix.
        right: b.
        enough: what a tenth of the steps, and at least so many as lie between two looks, must gain to go on.
    """

    def __init__(self, multiply: Callable[[Doubles], Doubles], right: Doubles, enough: float) -> None:
        self._multiply, self._right, self._enough = multiply, right, enough
        self._steps, self._next = 0, _LOOK
        self._gain = 0.0
        self.last = 0.0
        self.found = np.zeros(len(right))

    def gain(self, found: Doubles) -> float:
        """What an approximate solution takes from F."""
        return float(2 * self._right @ found - found @ self._multiply(found))

    def look(self, found: Doubles) -> None:
        """See, now and then, whether it is worth to go on.

        Raises:
            _ArrivedError: it is not.
        """
        self._steps += 1
        if self._steps < self._next:
            return
        self._next = self._steps + max(_LOOK, self._steps // 10)
        self.found, before = found.copy(), self._gain
        self._gain = self.gain(found)
        self.last = self._gain - before
        if self.last <= max(self._enough, _ROUNDING * self._gain):
            raise _ArrivedError
