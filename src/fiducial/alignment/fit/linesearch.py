"""Line search by slopes: how far to go along a step of the global parameters.

The function along the step is nearly a parabola, so its slope is nearly a straight line and its zero is the next point
to try. Same rules as `pede`, so that the same points are evaluated.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = ["LineSearch", "Outcome"]

_LARGEST_STEP = 10.0
_MOST_POINTS = 10
_SMALLEST_CHANGE = 1e-3


class Outcome(enum.IntEnum):
    """What a line search says; the numbers are those of the iteration table."""

    RECALCULATE = -1
    NOT_DESCENDING = 0
    CONVERGED = 1
    MOST_POINTS = 2
    LARGEST_STEP = 3
    SMALL_CHANGE = 4
    NONE = 10


@dataclass
class LineSearch:
    """Search along one step.

    Args:
        slope_ratio: converged when the slope has fallen to this fraction of the first one.
        fewest: slopes to look at before it may converge.
    """

    slope_ratio: float
    fewest: int
    _points: list[tuple[float, float]] = field(default_factory=list)
    _left: int = 0
    _right: int = -1

    def advance(self, slope: float) -> tuple[float, Outcome]:
        """Take the slope at the present point; tell how far to move along the step, and how the search stands."""
        if not self._points:
            return self._start(slope)
        at = self._points[-1][0] + self._moved
        self._points.append((at, slope))
        self._enclose(slope)
        zero = self._zero()
        outcome = self._outcome(slope, at, zero)
        if outcome is Outcome.RECALCULATE:
            return self._move(min(zero, _LARGEST_STEP) - at), outcome
        return self.best - at, outcome

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Distance along the step and slope of each point so far."""
        return tuple(self._points)

    @property
    def best(self) -> float:
        """Distance along the step of the smallest slope so far."""
        return min(self._points, key=lambda point: abs(point[1]))[0]

    @property
    def ratio(self) -> float:
        """Slope at the last point over that at the first."""
        return self._points[-1][1] / self._points[0][1]

    def _start(self, slope: float) -> tuple[float, Outcome]:
        if slope >= 0:
            return 0.0, Outcome.NOT_DESCENDING
        self._points.append((0.0, slope))
        return self._move(1.0), Outcome.RECALCULATE

    def _move(self, distance: float) -> float:
        self._moved = distance
        return distance

    def _enclose(self, slope: float) -> None:
        last = len(self._points) - 1
        if slope <= 0 and slope >= self._points[self._left][1]:
            self._left = last
        if slope >= 0 and (self._right < 0 or slope <= self._points[self._right][1]):
            self._right = last

    def _zero(self) -> float:
        """Where the straight line through the two best slopes is zero."""
        pair = self._points[-2:] if self._right < 0 else [self._points[self._left], self._points[self._right]]
        (x1, f1), (x2, f2) = pair
        return (x1 * f2 - x2 * f1) / (f2 - f1) if f2 != f1 else x2

    def _outcome(self, slope: float, at: float, zero: float) -> Outcome:
        if len(self._points) >= self.fewest and abs(slope) <= abs(self._points[0][1]) * self.slope_ratio:
            return Outcome.CONVERGED
        if len(self._points) >= _MOST_POINTS:
            return Outcome.MOST_POINTS
        if abs(min(zero, _LARGEST_STEP) - at) < _SMALLEST_CHANGE:
            return Outcome.LARGEST_STEP if zero > _LARGEST_STEP else Outcome.SMALL_CHANGE
        return Outcome.RECALCULATE
