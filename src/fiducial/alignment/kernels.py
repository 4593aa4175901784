"""Compiled parts of the fit: the local fit of each record, and the sums of its normal equations over the globals.

Notation of V. Blobel, NIM A 566 (2006) 5: a record has local parameters q and measurements with residual r, weight w,
local derivatives j and global derivatives g. With the local fit Γ q = Σ w r j, Γ = Σ w j jᵀ, the record adds
``Σ w (r - j·q) g`` to the gradient and ``Σ w g gᵀ - Gᵀ Γ⁻¹ G``, G = Σ w j gᵀ, to the matrix of the global parameters.

The difference in the matrix is taken per record: both terms summed apart over all records would cancel in their last
digits. Matrix elements are summed in the order of the records whatever the number of threads, because threads share
out rows, not records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.jit import compiled

__all__ = ["chi2_limit", "fit_block", "index_block", "project_block", "update_rows"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

# Rejected records are counted by cause, in this order.
RANK, NO_FREEDOM, HUGE, LARGE = 0, 1, 2, 3

_HUBER = 1.345
_CAUCHY = 2.3849
_EPSILON = 16 * np.finfo(np.float64).eps
# chi2/ndf at three standard deviations for 1 … 30 degrees of freedom; single precision, as the limits are in pede.
_CHI2_3SIGMA = np.array(
    [
        9.0000, 5.9146, 4.7184, 4.0628, 3.6410, 3.3436, 3.1209, 2.9468, 2.8063, 2.6902,
        2.5922, 2.5082, 2.4352, 2.3711, 2.3143, 2.2635, 2.2178, 2.1764, 2.1386, 2.1040,
        2.0722, 2.0428, 2.0155, 1.9901, 1.9665, 1.9443, 1.9235, 1.9040, 1.8855, 1.8681,
    ],
    np.float32,
)  # fmt: skip


@compiled
def chi2_limit(ndf: int) -> float:
    """Chi2 at three standard deviations, in single precision."""
    n = np.float32(ndf)
    if ndf <= 30:
        return np.float32(_CHI2_3SIGMA[ndf - 1] * n)  # type: ignore[return-value]
    root = np.float32(2.782170) + np.float32(np.sqrt(np.float32(ndf + ndf - 1)))
    return np.float32(np.float32(np.float32(root * root) / np.float32(ndf + ndf)) * n)  # type: ignore[return-value]


@compiled
def _down_weight(pull: float, iteration: int) -> float:
    """Factor on the weight of a measurement in a local iteration, from its pull in the one before."""
    if iteration == 1:
        return 1.0
    if iteration <= 3:
        return min(1.0, _HUBER / max(pull, 1e-300))
    return 1.0 / (1.0 + (pull / _CAUCHY) ** 2)


@compiled
def _penalty(pull: float, iteration: int) -> float:
    """What a measurement adds to chi2 in a local iteration."""
    if iteration > 3:
        return float(np.log(1.0 + (pull / _CAUCHY) ** 2)) * _CAUCHY * _CAUCHY
    if iteration > 1 and pull > _HUBER:
        return 2.0 * _HUBER * (pull - 0.5 * _HUBER)
    return pull * pull


@compiled
def _subtract_globals(
    m0: int, m1: int, value: Any, start: Longs, index: Any, derivative: Any, parameter: Doubles, residual: Doubles
) -> None:
    """Residuals at the present global parameters, before the local fit."""
    for m in range(m0, m1):
        rest = np.float64(value[m])
        for g in range(start[m], start[m + 1]):
            rest -= derivative[g] * parameter[index[g]]
        residual[m - m0] = rest


@compiled
def _normal_equations(
    m0: int, m1: int, n: int, start: Longs, index: Any, derivative: Any, residual: Doubles, weight: Doubles,
    gamma: Doubles, right: Doubles,
) -> None:  # fmt: skip
    """Γ (lower triangle) and Σ w r j of a record."""
    for i in range(n):
        right[i] = 0.0
        for k in range(i + 1):
            gamma[i, k] = 0.0
    for m in range(m0, m1):
        for a in range(start[m], start[m + 1]):
            i = index[a] - 1
            wj = weight[m - m0] * derivative[a]
            right[i] += wj * residual[m - m0]
            for b in range(start[m], a + 1):
                k = index[b] - 1
                gamma[max(i, k), min(i, k)] += wj * derivative[b]


@compiled
def _factorise(n: int, gamma: Doubles) -> bool:
    """Γ = L D Lᵀ in place (D on the diagonal); whether it has full rank."""
    for j in range(n):
        for i in range(j):
            gamma[j, i] /= gamma[i, i]
        bound = _EPSILON * abs(gamma[j, j])
        for i in range(j):
            gamma[j, j] -= gamma[j, i] * gamma[j, i] * gamma[i, i]
        if not gamma[j, j] > bound:
            return False
        for i in range(j + 1, n):
            for k in range(j):
                gamma[i, j] -= gamma[i, k] * gamma[j, k]
    return True


@compiled
def _solve(n: int, factor: Doubles, vector: Doubles) -> None:
    """Replace b by q = (L D Lᵀ)⁻¹ b."""
    for i in range(n):
        for k in range(i):
            vector[i] -= factor[i, k] * vector[k]
    for i in range(n - 1, -1, -1):
        vector[i] /= factor[i, i]
        for k in range(i + 1, n):
            vector[i] -= factor[k, i] * vector[k]


@compiled
def _fitted(m: int, start: Longs, index: Any, derivative: Any, q: Doubles) -> float:
    """What the local fit predicts for a measurement."""
    total = 0.0
    for a in range(start[m], start[m + 1]):
        total += derivative[a] * q[index[a] - 1]
    return total


@compiled
def _fit_record(
    m0: int, m1: int, n: int, sigma: Any, start: Longs, index: Any, derivative: Any, iterations: int,
    before: Doubles, residual: Doubles, weight: Doubles, gamma: Doubles, q: Doubles,
) -> tuple[int, float, float]:  # fmt: skip
    """Local fit with down-weighting of outliers from its second iteration on.

    Returns:
        the cause to reject it or -1, its chi2, and its fraction of down-weighting.
    """
    chi2 = kept = 0.0
    for iteration in range(1, iterations + 1):
        for m in range(m0, m1):
            pull = abs(residual[m - m0]) / sigma[m]
            weight[m - m0] = _down_weight(pull, iteration) / (np.float64(sigma[m]) * sigma[m])
        _normal_equations(m0, m1, n, start, index, derivative, before, weight, gamma, q)
        if not _factorise(n, gamma):
            return RANK, 0.0, 0.0
        _solve(n, gamma, q)
        chi2 = kept = 0.0
        for m in range(m0, m1):
            residual[m - m0] = before[m - m0] - _fitted(m, start, index, derivative, q)
            pull = abs(residual[m - m0]) / sigma[m]
            chi2 += _penalty(pull, iteration)
            kept += np.sqrt(_down_weight(pull, iteration))
        if m1 - m0 <= n:
            return NO_FREEDOM, 0.0, 0.0
    return -1, chi2, 1.0 - kept / (m1 - m0)


@compiled
def _cut(chi2: float, ndf: int, huge: float, large: float) -> tuple[int, float]:
    """The cause to reject a record by its chi2 or -1, and what it adds to F then."""
    if large < 0:
        return -1, 0.0
    limit = chi2_limit(ndf)
    if chi2 > np.float32(huge) * limit:
        return HUGE, 0.0
    if large > 0 and chi2 > np.float32(large) * limit:
        return LARGE, np.float64(np.float32(large) * limit)
    return -1, 0.0


@compiled
def _add_gradient(
    m0: int, m1: int, sigma: Any, start: Longs, index: Any, derivative: Any, variable: Longs, robust: bool,
    scale: float, residual: Doubles, weight: Doubles, gradient: Doubles, accepted: Longs,
) -> float:  # fmt: skip
    """Add an accepted record to the gradient, leave its weights in `weight`, and return its contribution to F."""
    total = 0.0
    for m in range(m0, m1):
        pull = abs(residual[m - m0]) / sigma[m]
        stage = 2 if robust else 1  # Huber here even if the local fit went on to Cauchy
        total += scale * _penalty(pull, stage)
        weight[m] = _down_weight(pull, stage) / (np.float64(sigma[m]) * sigma[m])
        step = scale * weight[m] * residual[m - m0]
        for g in range(start[m], start[m + 1]):
            v = variable[index[g]]
            if v >= 0:
                gradient[v] += step * derivative[g]
                accepted[v] += 1
    return total


@compiled
def fit_block(
    measurement_start: Longs, local_size: Longs, value: Any, sigma: Any,
    local_start: Longs, local_index: Any, local_derivative: Any,
    global_start: Longs, index: Any, global_derivative: Any,
    parameter: Doubles, variable: Longs, cuts: Doubles, iterations: int, scale: float,
    factor_start: Longs, factor: Doubles, weight: Doubles, gradient: Doubles, accepted: Longs, rejected: Longs,
) -> tuple[float, int]:  # fmt: skip
    """Fit all records of a block and sum F and its gradient.

    Args:
        measurement_start: and the next nine, the block; `index` is the position of each label among all labels.
        parameter: (all labels,) present values.
        variable: (all labels,) position among the variable parameters, or -1.
        cuts: factors for huge and large chi2 (0 or less: off as in pede), and the largest down-weighting (0: off).
        iterations: of the local fit; more than one down-weights outliers.
        scale: weight of the file.
        factor_start: (R,) where the factor of each record goes; empty if factors are not wanted.
        factor: out, L D Lᵀ of the local fits, rows of the full square.
        weight: (M,) out, final weights of measurements; must come in as 0, stays 0 for rejected records.
        gradient: (variable,) summed up.
        accepted: (variable,) summed up, derivatives in accepted records.
        rejected: (4,) summed up.

    Returns:
        F, and the degrees of freedom before the cuts on chi2.
    """
    longest = 1
    for r in range(local_size.size):
        longest = max(longest, measurement_start[r + 1] - measurement_start[r])
    gamma, q = np.empty((longest, longest)), np.empty(longest)  # more local parameters than that are rejected
    before, residual, scratch = np.empty(longest), np.empty(longest), np.empty(longest)
    total = 0.0
    freedom = 0
    for r in range(local_size.size):
        m0, m1, n = measurement_start[r], measurement_start[r + 1], local_size[r]
        if n == 0:
            continue
        if n > m1 - m0:
            rejected[RANK] += 1
            continue
        _subtract_globals(m0, m1, value, global_start, index, global_derivative, parameter, before)
        cause, chi2, lost = _fit_record(
            m0, m1, n, sigma, local_start, local_index, local_derivative, iterations,
            before, residual, scratch, gamma, q,
        )  # fmt: skip
        if cause < 0:
            freedom += m1 - m0 - n
            cause, penalty = _cut(chi2, m1 - m0 - n, cuts[0], cuts[1])
            if cause < 0 and iterations > 1 and cuts[2] != 0.0 and lost > cuts[2]:
                cause, penalty = LARGE, chi2
            total += scale * penalty
        if cause >= 0:
            rejected[cause] += 1
            continue
        total += _add_gradient(
            m0, m1, sigma, global_start, index, global_derivative, variable, iterations > 1, scale,
            residual, weight, gradient, accepted,
        )  # fmt: skip
        if factor_start.size:
            for i in range(n):
                for k in range(i + 1):
                    factor[factor_start[r] + i * n + k] = gamma[i, k]
    return total, freedom


@compiled
def index_block(
    measurement_start: Longs, global_start: Longs, index: Any, variable: Longs, weight: Doubles, variables: int
) -> tuple[Longs, Any, Any]:
    """The variable parameters of each accepted record.

    Returns:
        (R + 1,) where the columns of each record start, the columns (positions of variable parameters, ascending), and
        for each global derivative its column within the record or -1.
    """
    records = measurement_start.size - 1
    start = np.zeros(records + 1, np.int64)
    column = np.empty(index.size, np.int32)
    slot = np.empty(index.size, np.int32)
    slot[:] = -1
    flags = np.zeros((variables + 8) // 8 * 8, np.uint8)
    words = flags.view(np.uint64)
    place = np.empty(variables + 1, np.int32)
    count = 0
    for r in range(records):
        m0, m1 = measurement_start[r], measurement_start[r + 1]
        first, last = variables, -1
        if m1 > m0 and weight[m0] > 0:
            for g in range(global_start[m0], global_start[m1]):
                v = variable[index[g]]
                if v >= 0:
                    flags[v] = 1
                    first, last = min(first, v), max(last, v)
        for w in range(first // 8, last // 8 + 1):  # a sort, by reading the flags in order, eight at once
            if words[w]:
                for v in range(8 * w, 8 * w + 8):
                    if flags[v]:
                        place[v] = count - start[r]
                        column[count] = v
                        count += 1
                words[w] = 0
        start[r + 1] = count
        if last >= 0:
            for g in range(global_start[m0], global_start[m1]):
                v = variable[index[g]]
                if v >= 0:
                    slot[g] = place[v]
    return start, column[:count].copy(), slot


@compiled
def _forward(n: int, k: int, factor: Doubles, b: Doubles) -> None:
    """Replace G by D^-½ L⁻¹ G."""
    for i in range(n):
        for j in range(i):
            x = factor[i, j]
            if x != 0.0:
                for c in range(k):
                    b[i, c] -= x * b[j, c]
    for i in range(n):
        scale = 1.0 / np.sqrt(factor[i, i])
        for c in range(k):
            b[i, c] *= scale


@compiled
def project_block(
    measurement_start: Longs, local_size: Longs, local_start: Longs, local_index: Any, local_derivative: Any,
    global_start: Longs, global_derivative: Any, column_start: Longs, slot: Any, weight: Doubles, scale: float,
    factor_start: Longs, factor: Doubles, projected_start: Longs, projected: Doubles,
) -> None:  # fmt: skip
    """B = D^-½ L⁻¹ G of each accepted record, so that Gᵀ Γ⁻¹ G = Bᵀ B."""
    for r in range(local_size.size):
        n, k = local_size[r], column_start[r + 1] - column_start[r]
        if k == 0:
            continue
        m0, m1 = measurement_start[r], measurement_start[r + 1]
        gamma = factor[factor_start[r] : factor_start[r] + n * n].reshape((n, n))
        b = projected[projected_start[r] : projected_start[r] + n * k].reshape((n, k))
        for i in range(n):
            for c in range(k):
                b[i, c] = 0.0
        for m in range(m0, m1):
            for a in range(local_start[m], local_start[m + 1]):
                i = local_index[a] - 1
                step = weight[m] * np.sqrt(scale) * local_derivative[a]
                for g in range(global_start[m], global_start[m + 1]):
                    if slot[g] >= 0:
                        b[i, slot[g]] += step * global_derivative[g]
        _forward(n, k, gamma, b)


@compiled
def _measured_row(
    a: int, entry0: int, entry1: int, entry: Any, hit: Any, start: Longs, slot: Any, derivative: Any,
    weight: Doubles, scale: float, row: Doubles,
) -> None:  # fmt: skip
    """Σ w g gᵀ of a record, row `a` up to the diagonal."""
    for e in range(entry0, entry1):
        g = entry[e]
        m = hit[e]
        wg = weight[m] * scale * derivative[g]
        for h in range(start[m], start[m + 1]):
            b = slot[h]
            if 0 <= b <= a:
                row[b] += wg * derivative[h]


@compiled
def _subtract_projection(a: int, n: int, b: Doubles, row: Doubles) -> None:
    """Take Bᵀ B of a record from row `a` up to the diagonal; some locals at once, as each time reads and writes it."""
    i = 0
    while i + 4 <= n:
        x0, x1, x2, x3 = b[i, a], b[i + 1, a], b[i + 2, a], b[i + 3, a]
        b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
        for c in range(a + 1):
            row[c] -= x0 * b0[c] + x1 * b1[c] + x2 * b2[c] + x3 * b3[c]
        i += 4
    while i < n:
        x0, b0 = b[i, a], b[i]
        for c in range(a + 1):
            row[c] -= x0 * b0[c]
        i += 1


@compiled
def _entries(m0: int, m1: int, k: int, start: Longs, slot: Any, entry_start: Longs, entry: Any, hit: Any) -> None:
    """Sort the global derivatives of a record by column, keeping their order within a column."""
    for a in range(k + 2):
        entry_start[a] = 0
    for g in range(start[m0], start[m1]):
        entry_start[slot[g] + 2] += slot[g] >= 0
    for a in range(2, k + 2):
        entry_start[a] += entry_start[a - 1]
    for m in range(m0, m1):
        for g in range(start[m], start[m + 1]):
            a = slot[g]
            if a >= 0:
                entry[entry_start[a + 1]] = g
                hit[entry_start[a + 1]] = m
                entry_start[a + 1] += 1


@compiled
def update_rows(
    matrix: Doubles, part: int, parts: int, measurement_start: Longs, local_size: Longs, global_start: Longs,
    global_derivative: Any, column_start: Longs, column: Any, slot: Any, weight: Doubles, scale: float,
    projected_start: Longs, projected: Doubles,
) -> None:  # fmt: skip
    """Add the records of a block to the rows ``part, part + parts, …`` of the lower triangle of the matrix."""
    widest = 1
    most = 1
    for r in range(local_size.size):
        widest = max(widest, column_start[r + 1] - column_start[r])
        most = max(most, global_start[measurement_start[r + 1]] - global_start[measurement_start[r]])
    row, entry_start = np.empty(widest), np.empty(widest + 2, np.int64)
    entry, hit = np.empty(most, np.int64), np.empty(most, np.int64)
    for r in range(local_size.size):
        n, k = local_size[r], column_start[r + 1] - column_start[r]
        if k == 0:
            continue
        m0, m1 = measurement_start[r], measurement_start[r + 1]
        b = projected[projected_start[r] : projected_start[r] + n * k].reshape((n, k))
        columns = column[column_start[r] : column_start[r] + k]
        _entries(m0, m1, k, global_start, slot, entry_start, entry, hit)
        for a in range(k):
            if columns[a] % parts != part:
                continue
            for c in range(a + 1):
                row[c] = 0.0
            _measured_row(
                a, entry_start[a], entry_start[a + 1], entry, hit, global_start, slot, global_derivative,
                weight, scale, row,
            )  # fmt: skip
            _subtract_projection(a, n, b, row)
            target = matrix[columns[a]]
            for c in range(a + 1):
                target[columns[c]] += row[c]
