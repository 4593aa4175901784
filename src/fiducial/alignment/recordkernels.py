"""Compiled survey of records: which fits worst."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment import kernels
from fiducial.alignment.jit import compiled

__all__ = ["limit", "survey"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_subtract_globals = kernels._subtract_globals
_fit_record = kernels._fit_record


def limit(ndf: int) -> float:
    """Chi2 at three standard deviations."""
    return float(kernels.chi2_limit(ndf))


@compiled
def survey(
    measurement_start: Longs, local_size: Longs, value: Any, sigma: Any,
    local_start: Longs, local_index: Any, local_derivative: Any,
    global_start: Longs, index: Longs, global_derivative: Any, parameter: Doubles,
) -> Any:  # fmt: skip
    """Chi2 over degrees of freedom, and largest residual over sigma, of each record; 0 where there is no local fit."""
    longest = 1
    for r in range(local_size.size):
        longest = max(longest, measurement_start[r + 1] - measurement_start[r])
    gamma, q, weight = np.empty((longest, longest)), np.empty(longest), np.empty(longest)
    before, residual = np.empty(longest), np.empty(longest)
    ratio, largest = np.zeros(local_size.size), np.zeros(local_size.size)
    for r in range(local_size.size):
        m0, m1, n = measurement_start[r], measurement_start[r + 1], local_size[r]
        if n == 0 or n >= m1 - m0:
            continue
        _subtract_globals(m0, m1, value, global_start, index, global_derivative, parameter, before)
        cause, chi2, _ = _fit_record(
            m0, m1, n, sigma, local_start, local_index, local_derivative, 1, before, residual, weight, gamma, q
        )
        if cause < 0:
            ratio[r] = chi2 / (m1 - m0 - n)
            for m in range(m0, m1):
                largest[r] = max(largest[r], abs(residual[m - m0]) / sigma[m])
    return ratio, largest
