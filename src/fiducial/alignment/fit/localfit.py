"""Compiled local fit of one record: its own parameters, with outliers down-weighted if wanted.

The normal equations Γ q = Σ w r j are factorised as Γ = L D Lᵀ within their envelope: in row i nothing is stored or
computed left of its first element that is not zero. So the narrow band of a broken-lines fit (C. Kleinwort, NIM A 673
(2012) 107) costs what a band costs, and its border of few parameters that all measurements share too, as long as these
come last; of both orders of the parameters, forwards and backwards, the one with the smaller envelope is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.jit import compiled
from fiducial.alignment.mille.records import ONE, Places, U, padded

__all__ = ["SMALL", "chi2_limit", "cut", "down_weight", "fit_record", "penalty", "whiten"]

Doubles = NDArray[np.float64]

# Rejected records are counted by cause, in this order.
RANK, NO_FREEDOM, HUGE, LARGE = 0, 1, 2, 3
THREE = U(3)

_HUBER = 1.345
_CAUCHY = 2.3849
_EPSILON = 16 * np.finfo(np.float64).eps
_DOUBTFUL = 1e-10  # a pivot below this fraction of its diagonal element may be nothing but rounding
# chi2/ndf at three standard deviations for 1 … 30 degrees of freedom; single precision, as the limits are in pede.
_CHI2_3SIGMA = np.array(
    [
        9.0000, 5.9146, 4.7184, 4.0628, 3.6410, 3.3436, 3.1209, 2.9468, 2.8063, 2.6902,
        2.5922, 2.5082, 2.4352, 2.3711, 2.3143, 2.2635, 2.2178, 2.1764, 2.1386, 2.1040,
        2.0722, 2.0428, 2.0155, 1.9901, 1.9665, 1.9443, 1.9235, 1.9040, 1.8855, 1.8681,
    ],
    np.float32,
)  # fmt: skip
SMALL = 8  # up to so many local parameters a table of their derivatives is quicker than an envelope


@compiled
def chi2_limit(ndf: int) -> float:
    """Chi2 at three standard deviations, in single precision."""
    n = np.float32(ndf)
    if ndf <= 30:
        return np.float32(_CHI2_3SIGMA[ndf - 1] * n)  # type: ignore[return-value]
    root = np.float32(2.782170) + np.float32(np.sqrt(np.float32(ndf + ndf - 1)))
    return np.float32(np.float32(np.float32(root * root) / np.float32(ndf + ndf)) * n)  # type: ignore[return-value]


@compiled
def cut(chi2: float, ndf: int, reduced: float, iterations: int, cuts: Doubles) -> tuple[int, float]:
    """The cause to reject a fitted record or -1, and what it adds to F then.

    Args:
        chi2: and the next two, as `fit_record` found them.
        ndf: degrees of freedom.
        reduced: fraction of down-weighting.
        iterations: of the local fit.
        cuts: (3,) factors for huge and large chi2 (0 or less: off as in pede), and the largest `reduced` (0: off).
    """
    huge, large = cuts[0], cuts[1]
    if large >= 0:
        limit = chi2_limit(ndf)
        if chi2 > np.float32(huge) * limit:
            return HUGE, 0.0
        if large > 0 and chi2 > np.float32(large) * limit:
            return LARGE, np.float64(np.float32(large) * limit)
    if iterations > 1 and cuts[2] != 0.0 and reduced > cuts[2]:
        return LARGE, chi2
    return -1, 0.0


@compiled
def down_weight(pull: float, iteration: int) -> float:
    """Factor on the weight of a measurement in a local iteration, from its pull in the one before."""
    if iteration == 1:
        return 1.0
    if iteration <= 3:
        return min(1.0, _HUBER / max(pull, 1e-300))
    return 1.0 / (1.0 + (pull / _CAUCHY) ** 2)


@compiled
def penalty(pull: float, iteration: int) -> float:
    """What a measurement adds to chi2 in a local iteration."""
    if iteration > 3:
        return float(np.log(1.0 + (pull / _CAUCHY) ** 2)) * _CAUCHY * _CAUCHY
    if iteration > 1 and pull > _HUBER:
        return 2.0 * _HUBER * (pull - 0.5 * _HUBER)
    return pull * pull


@compiled
def _envelope(
    integers: Any, at_value: Places, at_sigma: Places, hits: int, n: int, first: Places, row_of: Places
) -> None:
    """Order the local parameters, and find the first column of each row of Γ.

    Args:
        integers: and the next four, the record.
        first: (2 n,) out, column of the first element of each row that is not zero; the second half is scratch.
        row_of: (n + 1,) out, row of each local index.
    """
    size = U(n)
    for i in range(size):
        first[i] = i
        first[size + i] = i
    for m in range(hits):
        lowest, highest = size, U(0)
        for k in range(at_value[m] + ONE, at_sigma[m]):
            lowest, highest = min(lowest, U(integers[k])), max(highest, U(integers[k]))
        for k in range(at_value[m] + ONE, at_sigma[m]):
            forward, backward = U(integers[k]) - ONE, size + size - U(integers[k])
            first[forward] = min(first[forward], lowest - ONE)
            first[backward] = min(first[backward], size - highest)
    backwards = first[n : 2 * n].sum() > first[:n].sum()
    for i in range(size):
        first[i] = first[size + i] if backwards else first[i]
        row_of[i + ONE] = size - ONE - i if backwards else i


@compiled
def _spread(
    integers: Any, numbers: Any, at_value: Places, at_sigma: Places, hits: int, n: int, jacobian: Doubles,
    first: Places, row_of: Places,
) -> None:  # fmt: skip
    """Local derivatives as a table (n, hits), for the few parameters of a simple track."""
    for i in range(U(n)):
        first[i], row_of[i + ONE] = U(0), i
        row = jacobian[i]
        for m in range(padded(hits)):
            row[m] = 0.0
    for m in range(U(hits)):
        for k in range(at_value[m] + ONE, at_sigma[m]):
            jacobian[U(integers[k]) - ONE, m] += numbers[k]


@compiled
def _dense_equations(
    jacobian: Doubles, hits: int, n: int, before: Doubles, weight: Doubles, scratch: Doubles, gamma: Doubles, q: Doubles
) -> None:
    """Γ (lower triangle) and Σ w r j from the table of local derivatives."""
    size = padded(hits)
    for i in range(n):
        row, right = jacobian[i], 0.0
        for m in range(size):
            scratch[m] = weight[m] * row[m]
            right += scratch[m] * before[m]
        q[i] = right
        for k in range(i + 1):
            other, element = jacobian[k], 0.0
            for m in range(size):
                element += scratch[m] * other[m]
            gamma[i, k] = element


@compiled
def _normal_equations(
    integers: Any, numbers: Any, at_value: Places, at_sigma: Places, hits: int, n: int,
    before: Doubles, weight: Doubles, first: Places, row_of: Places, gamma: Doubles, right: Doubles,
) -> None:  # fmt: skip
    """Γ (lower triangle) and Σ w r j within the envelope."""
    for i in range(U(n)):
        right[i] = 0.0
        for k in range(first[i], i + ONE):
            gamma[i, k] = 0.0
    for m in range(hits):
        w, wr = weight[m], weight[m] * before[m]
        begin, end = at_value[m] + ONE, at_sigma[m]
        if end - begin == ONE:
            i, x = row_of[integers[begin]], np.float64(numbers[begin])
            right[i] += wr * x
            gamma[i, i] += w * x * x
        elif end - begin == THREE:  # a kink: three neighbours
            _add_three(integers, numbers, begin, w, wr, row_of, gamma, right)
        else:
            for a in range(begin, end):
                i, x = row_of[integers[a]], np.float64(numbers[a])
                right[i] += wr * x
                for b in range(begin, a + ONE):
                    _add_pair(i, row_of[integers[b]], w * x * numbers[b], b < a, gamma)


@compiled
def _add_pair(i: np.uint64, k: np.uint64, product: float, different: bool, gamma: Doubles) -> None:
    """Add to an element; a parameter that stands twice in a measurement meets itself in both orders."""
    gamma[max(i, k), min(i, k)] += product + product if different and i == k else product


@compiled
def _add_three(
    integers: Any, numbers: Any, begin: np.uint64, w: float, wr: float, row_of: Places, gamma: Doubles, right: Doubles
) -> None:
    """A measurement of three local parameters: no loops, of which the processor would guess the end wrongly."""
    i, j, k = row_of[integers[begin]], row_of[integers[begin + ONE]], row_of[integers[begin + ONE + ONE]]
    x, y, z = np.float64(numbers[begin]), np.float64(numbers[begin + ONE]), np.float64(numbers[begin + ONE + ONE])
    right[i] += wr * x
    right[j] += wr * y
    right[k] += wr * z
    gamma[i, i] += w * x * x
    gamma[j, j] += w * y * y
    gamma[k, k] += w * z * z
    _add_pair(i, j, w * x * y, True, gamma)
    _add_pair(i, k, w * x * z, True, gamma)
    _add_pair(j, k, w * y * z, True, gamma)


@compiled
def _factorise(n: int, first: Places, gamma: Doubles, vector: Doubles, smallest: float) -> bool:
    """Γ = L D Lᵀ in place (1/D on the diagonal) within its envelope, and L⁻¹ of a vector.

    Returns:
        whether all pivots are above this fraction of their diagonal elements.
    """
    for i in range(U(n)):
        row = gamma[i]
        pivot = row[i]
        bound = smallest * abs(pivot)
        begin = first[i]
        for j in range(begin, i):
            x, other = row[j], gamma[j]
            for k in range(max(begin, first[j]), j):
                x -= row[k] * other[k]
            row[j] = x
        right = vector[i]
        for j in range(begin, i):
            x = row[j]
            row[j] = x * gamma[j, j]
            pivot -= x * row[j]
            right -= row[j] * vector[j]
        if not pivot > bound:
            return False
        row[i] = 1.0 / pivot
        vector[i] = right
    return True


@compiled
def _has_full_rank(n: int, first: Places, gamma: Doubles, bound: Doubles) -> bool:
    """Whether Γ, which is destroyed, has full rank: the largest pivot first, as rounding is least then.

    Without that order what rounding leaves of a pivot is too large in one of a hundred records of deficient rank.
    """
    for i in range(n):
        for k in range(first[i]):
            gamma[i, k] = 0.0
        bound[i] = _EPSILON * abs(gamma[i, i])
    for _ in range(n):
        at, largest = -1, 0.0
        for i in range(n):
            if abs(gamma[i, i]) > max(largest, bound[i]):
                at, largest = i, abs(gamma[i, i])
        if at < 0:
            return False
        pivot, bound[at] = gamma[at, at], np.inf
        for i in range(n):
            if bound[i] < np.inf:
                x = gamma[max(i, at), min(i, at)] / pivot
                for k in range(i + 1):
                    if bound[k] < np.inf:
                        gamma[i, k] -= x * gamma[max(k, at), min(k, at)]
    return True


@compiled
def _back(n: int, first: Places, factor: Doubles, vector: Doubles) -> None:
    """Replace L⁻¹ b by q = L⁻ᵀ D⁻¹ L⁻¹ b."""
    size = U(n)
    for i in range(size):
        vector[i] *= factor[i, i]
    for done in range(size):
        last = size - ONE - done
        x, row = vector[last], factor[last]
        for k in range(first[last], last):
            vector[k] -= row[k] * x


@compiled
def whiten(
    integers: Any,
    numbers: Any,
    start: int,
    end: int,
    n: int,
    first: Places,
    row_of: Places,
    factor: Doubles,
    z: Doubles,
) -> int:
    """For local derivatives j, compute z = D^-½ L⁻¹ j, so that j Γ⁻¹ jᵀ = z·z; where z begins not to be 0."""
    size = U(n)
    lowest = size
    for i in range(size):
        z[i] = 0.0
    for k in range(start, end):
        i = row_of[integers[k]]
        z[i] += numbers[k]
        lowest = min(lowest, i)
    for i in range(lowest, size):
        x, row = z[i], factor[i]
        for j in range(max(lowest, first[i]), i):
            x -= row[j] * z[j]
        z[i] = x
    for i in range(lowest, size):
        z[i] *= np.sqrt(factor[i, i])
    return lowest  # type: ignore[return-value]


@compiled
def _dense_residuals(jacobian: Doubles, hits: int, n: int, before: Doubles, q: Doubles, residual: Doubles) -> None:
    size = padded(hits)
    for m in range(size):
        residual[m] = before[m]
    for i in range(n):
        row, x = jacobian[i], q[i]
        for m in range(size):
            residual[m] -= row[m] * x


@compiled
def _residuals(
    integers: Any, numbers: Any, at_value: Places, at_sigma: Places, hits: int, row_of: Places,
    before: Doubles, q: Doubles, residual: Doubles,
) -> None:  # fmt: skip
    for m in range(hits):
        rest = before[m]
        for k in range(at_value[m] + ONE, at_sigma[m]):
            rest -= numbers[k] * q[row_of[integers[k]]]
        residual[m] = rest
    for m in range(hits, padded(hits)):
        residual[m] = 0.0


@compiled
def _chi2(hits: int, residual: Doubles, inverse: Doubles, iteration: int) -> tuple[float, float]:
    """Chi2 of a local iteration, and its fraction of down-weighting."""
    chi2 = 0.0
    if iteration == 1:
        for m in range(padded(hits)):
            pull = residual[m] * inverse[m]
            chi2 += pull * pull
        return chi2, 0.0
    kept = 0.0
    for m in range(hits):
        pull = abs(residual[m]) * inverse[m]
        chi2 += penalty(pull, iteration)
        kept += np.sqrt(down_weight(pull, iteration))
    return chi2, 1.0 - kept / hits


@compiled
def fit_record(
    integers: Any, numbers: Any, at_value: Places, at_sigma: Places, hits: int, n: int, iterations: int,
    before: Doubles, inverse: Doubles, residual: Doubles, weight: Doubles,
    first: Places, row_of: Places, jacobian: Doubles, gamma: Doubles, q: Doubles,
) -> tuple[int, float, float]:  # fmt: skip
    """Local fit with down-weighting of outliers from its second iteration on.

    Args:
        integers: and the next five, the record as `records.take_apart` found it; n is its largest local index.
        iterations: of the local fit.
        before: values of the measurements.
        inverse: 1/sigma.
        residual: out, what is left of the values after the fit.
        weight: scratch.
        first: (2 n,) out, the envelope of Γ.
        row_of: (n + 1,) out, row of each local index in Γ.
        jacobian: (SMALL, hits) scratch.
        gamma: (n, n) out, its factor.
        q: (n,) out, the local parameters.

    Returns:
        the cause to reject it or -1, its chi2, and its fraction of down-weighting.
    """
    if n > hits:
        return RANK, 0.0, 0.0
    dense = n <= SMALL
    if dense:
        _spread(integers, numbers, at_value, at_sigma, hits, n, jacobian, first, row_of)
    else:
        _envelope(integers, at_value, at_sigma, hits, n, first, row_of)
    chi2 = reduced = 0.0
    for iteration in range(1, iterations + 1):
        for m in range(padded(hits)):
            weight[m] = inverse[m] * inverse[m]
        if iteration > 1:
            for m in range(hits):
                weight[m] *= down_weight(abs(residual[m]) * inverse[m], iteration)
        for attempt in range(3):
            if dense:
                _dense_equations(jacobian, hits, n, before, weight, residual, gamma, q)
            else:
                _normal_equations(
                    integers, numbers, at_value, at_sigma, hits, n, before, weight, first, row_of, gamma, q
                )
            if attempt == 1:  # the first one has left a doubtful pivot
                if not _has_full_rank(n, first, gamma, residual):
                    return RANK, 0.0, 0.0
            elif _factorise(n, first, gamma, q, 0.0 if attempt else _DOUBTFUL):
                break
            elif attempt:
                return RANK, 0.0, 0.0
        _back(n, first, gamma, q)
        if dense:
            _dense_residuals(jacobian, hits, n, before, q, residual)
        else:
            _residuals(integers, numbers, at_value, at_sigma, hits, row_of, before, q, residual)
        chi2, reduced = _chi2(hits, residual, inverse, iteration)
        if hits <= n:
            return NO_FREEDOM, 0.0, 0.0
    return -1, chi2, reduced
