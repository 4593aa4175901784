"""Compiled look at single measurements: what the local fit leaves of each, for plots and for medians by label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.localfit import SMALL, cut, down_weight, fit_record, whiten
from fiducial.alignment.jit import compiled
from fiducial.alignment.mille.records import ONE, U, padded, take_apart

__all__ = ["look_closely"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]


@compiled
def look_closely(
    all_integers: Any, integer_start: Longs, all_numbers: Any, number_start: Longs, pairs: Longs, sizes: Longs,
    value_of: Doubles, scales: Doubles, cuts: Doubles, iterations: int,
) -> tuple[Doubles, Doubles, Doubles, Doubles, Longs, Longs]:  # fmt: skip
    """Fit all records of a block and keep what is known of each measurement; arguments as `kernels.fit_block`.

    Returns:
        (M,) residuals, weights (0 in records without fit) and variances of the residuals; (R,) chi2, degrees of
        freedom and cause of rejection, -1 for accepted records and -2 for those without local parameter.
    """
    most_locals, most_hits = min(sizes[0], sizes[1]), padded(sizes[1])
    at_value, at_sigma, at_end = np.empty(most_hits, U), np.empty(most_hits, U), np.empty(most_hits, U)
    before, inverse = np.empty(most_hits), np.empty(most_hits)
    residual, weight = np.empty(most_hits), np.empty(most_hits)
    first, row_of = np.empty(2 * max(most_locals, SMALL), U), np.empty(max(most_locals, SMALL) + 1, U)
    jacobian, gamma = np.empty((SMALL, most_hits)), np.empty((most_locals, most_locals))
    q, z = np.empty(most_locals), np.empty(most_locals)
    room = pairs.sum() // 2 + 1
    residuals, weights, variances = np.zeros(room), np.zeros(room), np.zeros(room)
    chi2s, ndfs = np.zeros(pairs.size), np.zeros(pairs.size, np.int64)
    causes = np.full(pairs.size, -2)
    total = 0
    for r in range(pairs.size):
        integers = all_integers[integer_start[r] : integer_start[r] + pairs[r]]
        numbers = all_numbers[number_start[r] : number_start[r] + pairs[r]]
        hits, n = take_apart(integers, numbers, value_of, scales, at_value, at_sigma, at_end, before, inverse)
        residuals[total : total + hits] = before[:hits]
        if n > 0:
            causes[r], chi2s[r], reduced = fit_record(
                integers, numbers, at_value, at_sigma, hits, n, iterations,
                before, inverse, residual, weight, first, row_of, jacobian, gamma, q,
            )  # fmt: skip
            ndfs[r] = hits - n
        if causes[r] == -1:
            causes[r] = cut(chi2s[r], ndfs[r], reduced, iterations, cuts)[0]
            for m in range(hits):
                at = total + m
                pull = abs(residual[m]) * inverse[m]
                residuals[at] = residual[m]
                weights[at] = down_weight(pull, 2 if iterations > 1 else 1) * inverse[m] * inverse[m]
                lowest = whiten(integers, numbers, at_value[m] + ONE, at_sigma[m], n, first, row_of, gamma, z)
                variances[at] = 1.0 / (inverse[m] * inverse[m])
                for i in range(lowest, U(n)):
                    variances[at] -= z[i] * z[i]
        total += hits
    return residuals[:total], weights[:total], variances[:total], chi2s, ndfs, causes
