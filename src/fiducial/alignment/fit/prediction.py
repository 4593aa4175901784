"""Loops over much data that need not be made, because what they would find is known.

As long as the same records are accepted with the same weights, F is exactly a parabola in the parameters: local and
global parameters enter linearly. One loop with the matrix A and the gradient b at p0 then says, at p = p0 + d,

    F = F0 - 2 b·d + dᵀ A d,        gradient = b - A d,

before presigmas and measurements of parameters are added. Whether the same records are accepted is seen at the loop
after the one with the matrix, which is made, and at the end of the fit, where another one is, unless that is so close
to a loop that was made that no record could tell the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.loops import Sums

__all__ = ["Shortcut"]

Doubles = NDArray[np.float64]

_SAME = 1e-9  # of F: what rounding may do
_NOWHERE = 1e-12  # a step that changes F by this moves no residual by a millionth of its error


@dataclass
class Parabola:
    """F around a point where everything was summed.

    Args:
        sums: at that point, without presigmas and measurements of parameters.
        parameter: (V,) the point, values of the variable parameters.
        matrix: (V, V), its lower triangle; a copy that nobody else changes.
    """

    sums: Sums
    parameter: Doubles
    matrix: Doubles

    @classmethod
    def at(cls, sums: Sums, parameter: Doubles, matrix: Doubles) -> Parabola:
        """Keep what a loop has found, before anything is added to it."""
        kept = Sums(sums.gradient.copy(), sums.accepted.copy(), None, sums.chi2, sums.ndf, sums.weighted_ndf,
                    sums.rejected.copy())  # fmt: skip
        lower = np.tril(matrix)
        return cls(kept, parameter.copy(), lower + np.tril(matrix, -1).T)

    def predict(self, parameter: Doubles) -> Sums:
        """What a loop would find with these values of the variable parameters."""
        there = self.sums
        distance = parameter - self.parameter
        change = self.matrix @ distance
        chi2 = there.chi2 - 2 * float(there.gradient @ distance) + float(distance @ change)
        return Sums(there.gradient - change, there.accepted.copy(), None, chi2, there.ndf, there.weighted_ndf,
                    there.rejected.copy())  # fmt: skip

    def curvature(self, distance: Doubles) -> float:
        """By how much F differs over a distance from its minimum."""
        return float(distance @ self.matrix @ distance)

    def foretold(self, found: Sums, parameter: Doubles) -> bool:
        """Whether a loop has found what was to be expected."""
        expected = self.predict(parameter)
        same = np.array_equal(expected.rejected, found.rejected) and expected.ndf == found.ndf
        return bool(same and abs(expected.chi2 - found.chi2) <= _SAME * max(self.sums.chi2, found.chi2))


class Shortcut:
    """Decides which loops need not be made.

    Args:
        allowed: whether any may be left out: no cut but the huge one changes, and nothing is down-weighted.
    """

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._parabola: Parabola | None = None
        self._trusted = False
        self._seen = np.zeros(0)

    def forbid(self) -> None:
        """Leave out no loop any more."""
        self._allowed = False
        self._parabola = None

    def expected(self, parameter: Doubles) -> Sums | None:
        """What a loop would find with these values of the variable parameters, if that is known."""
        return self._parabola.predict(parameter) if self._parabola is not None and self._trusted else None

    def saw(self, sums: Sums, parameter: Doubles, matrix: Doubles | None) -> None:
        """Learn from a loop that was made, before anything is added to its sums."""
        self._seen = parameter
        if matrix is not None:
            self._parabola = Parabola.at(sums, parameter, matrix) if self._allowed else None
            self._trusted = False
        elif self._parabola is not None:
            self._trusted = self._parabola.foretold(sums, parameter)
            self._parabola = self._parabola if self._trusted else None

    def is_seen(self, parameter: Doubles) -> bool:
        """Whether the last loop that was made was as good as here."""
        return self._parabola is not None and self._parabola.curvature(parameter - self._seen) <= _NOWHERE

    def confirmed(self, sums: Sums, parameter: Doubles) -> bool:
        """Whether a loop at the end has found what was expected."""
        return self._parabola is not None and self._parabola.foretold(sums, parameter)
