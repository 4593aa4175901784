"""Distributions of residuals, overall and by layer, gathered block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.tracker.geometry import Detector

__all__ = ["Residuals"]

Array = NDArray[np.float64]

#: Edges of the histogram, um; what lies outside is counted apart.
_EDGES = np.linspace(-200.0, 200.0, 81)


class Residuals:
    """Moments of residuals in um for each layer, and one histogram.

    Args:
        detector: whose layers.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._sums = np.zeros((3, len(detector.keys[1])))
        self._histogram = np.zeros(len(_EDGES) - 1, dtype=np.int64)

    def add(self, sensor: NDArray[np.int64], residual: Array) -> None:
        """Add residuals (h,), mm, on sensors with these numbers."""
        layer = self._detector.layer[sensor]
        width = residual * 1e3
        for row, term in enumerate((np.ones_like(width), width, width**2)):
            self._sums[row] += np.bincount(layer, term, self._sums.shape[1])
        self._histogram += np.histogram(width, _EDGES)[0]

    @property
    def width_um(self) -> float:
        """Standard deviation of all residuals about zero, um."""
        count, _, squares = self._sums.sum(axis=1)
        return float(np.sqrt(squares / count)) if count else 0.0

    def to_json(self) -> dict[str, Any]:
        """Widths (about zero) and means, um, overall and for each layer that has hits; a histogram of all."""
        columns = zip(self._detector.keys[1], self._sums.T.tolist(), strict=True)
        layers = [{"layer": key, **_moments(*column)} for key, column in columns if column[0]]
        inside = int(self._histogram.sum())
        overall = _moments(*self._sums.sum(axis=1).tolist())
        histogram = {"edges_um": _EDGES.tolist(), "counts": self._histogram.tolist()}
        return {**overall, "layers": layers, "histogram": {**histogram, "outside": overall["hits"] - inside}}


def _moments(count: float, total: float, squares: float) -> dict[str, Any]:
    if not count:
        return {"hits": 0, "width_um": 0.0, "mean_um": 0.0}
    return {"hits": int(count), "width_um": (squares / count) ** 0.5, "mean_um": total / count}
