"""Compiled sums over records: F, its gradient and its matrix over the global parameters.

Notation of V. Blobel, NIM A 566 (2006) 5: a record has local parameters q and measurements with residual r, weight w,
local derivatives j and global derivatives g. With the local fit Γ q = Σ w r j, Γ = Σ w j jᵀ, the record adds
``Σ w (r - j·q) g`` to the gradient and ``Σ w g gᵀ - Gᵀ Γ⁻¹ G``, G = Σ w j gᵀ, to the matrix of the global parameters.

The difference in the matrix is taken per record: both terms summed apart over all records would cancel in their last
digits. Records that name nearly the same parameters follow each other, and their differences are summed in a small
triangle over just these, which then goes to the matrix. In which order is a matter of the block alone, and blocks are
added in the order of the file, so that the result is the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.localfit import SMALL, cut, down_weight, fit_record, penalty
from fiducial.alignment.jit import compiled
from fiducial.alignment.mille.records import ONE, Places, U, padded, take_apart

__all__ = ["AT_ONCE", "KEPT", "NO_MATRIX", "add_rows", "fit_block", "row_start"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Slots = NDArray[np.uint32]

#: What becomes of the matrix elements of a block.
NO_MATRIX, AT_ONCE, KEPT = 0, 1, 2
_WIDTH = 16  # elements that the compiler takes at once
_NOWHERE, _FIXED = np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE)  # places of parameters that have none, or never will


@compiled
def row_start(row: int) -> int:
    """Where a row of a triangle starts: rows up to and with the diagonal, each rounded up to a multiple of 16.

    What lies behind the diagonal means nothing; but loops over rows without odd ends take half of the time.
    """
    full, rest = row // _WIDTH, row % _WIDTH
    return _WIDTH * (full + 1) * (_WIDTH * full // 2 + rest)


@compiled
def _add_gradient(
    integers: Any, numbers: Any, at_sigma: Places, at_end: Places, hits: int, slot_of: Slots, robust: bool,
    scale: float, residual: Doubles, inverse: Doubles, weight: Doubles, gradient: Doubles,
) -> float:  # fmt: skip
    """Add an accepted record to the gradient, leave its weights in `weight`, and return its contribution to F."""
    total = 0.0
    for m in range(hits):
        pull = abs(residual[m]) * inverse[m]
        stage = 2 if robust else 1  # Huber here even if the local fit went on to Cauchy
        total += penalty(pull, stage)
        weight[m] = scale * down_weight(pull, stage) * inverse[m] * inverse[m]
        step = weight[m] * residual[m]
        for k in range(at_sigma[m] + ONE, at_end[m]):
            gradient[slot_of[integers[k]]] += step * numbers[k]
    return scale * total


@compiled
def _count_lost(integers: Any, at_sigma: Places, at_end: Places, hits: int, slot_of: Slots, lost: Longs) -> None:
    for m in range(hits):
        for k in range(at_sigma[m] + ONE, at_end[m]):
            lost[slot_of[integers[k]]] += 1


@compiled
def _look_up(
    integers: Any, at_sigma: Places, at_end: Places, hits: int, slot_of: Slots, place: Slots, places: Slots
) -> bool:
    """Note the place in the triangle of each global derivative of a record; whether any has none yet."""
    new = False
    for m in range(hits):
        for k in range(at_sigma[m] + ONE, at_end[m]):
            places[k] = place[slot_of[integers[k]]]
            new |= places[k] == _NOWHERE
    return new


@compiled
def _count_columns(
    integers: Any, at_sigma: Places, at_end: Places, hits: int, slot_of: Slots, record: np.uint32, seen: Slots,
    place: Slots,
) -> tuple[int, int]:  # fmt: skip
    """Number of variable parameters of a record, and of those that have no place yet."""
    count = new = 0
    for m in range(hits):
        for k in range(at_sigma[m] + ONE, at_end[m]):
            s = slot_of[integers[k]]
            if seen[s] != record and place[s] != _FIXED:
                seen[s] = record
                count += 1
                new += place[s] == _NOWHERE
    return count, new


@compiled
def _take_places(
    integers: Any, at_sigma: Places, at_end: Places, hits: int, slot_of: Slots, place: Slots, places: Slots,
    column: Slots, used: int, row_at: Places, triangle: Doubles,
) -> int:  # fmt: skip
    """Give places to the parameters of a record that have none; how many are used then."""
    size = U(used)
    for m in range(hits):
        for k in range(at_sigma[m] + ONE, at_end[m]):
            s = slot_of[integers[k]]
            if place[s] == _NOWHERE:
                place[s] = size
                column[size] = s
                for c in range(row_at[size], row_at[size + ONE]):
                    triangle[c] = 0.0
                size += ONE
            places[k] = place[s]
    return np.int64(size)  # type: ignore[return-value]


@compiled
def _gather(
    numbers: Any, at_sigma: Places, at_end: Places, hits: int, places: Slots, start: Places, derivative: Doubles
) -> None:
    """Move the derivatives by variable parameters of each measurement together, by place; equal places are added."""
    size = U(0)
    for m in range(hits):
        start[m] = size
        for k in range(at_sigma[m] + ONE, at_end[m]):
            p = places[k]
            if p == _FIXED:
                continue
            at = size
            while at > start[m] and places[at - ONE] > p:
                at -= ONE
            if at > start[m] and places[at - ONE] == p:
                derivative[at - ONE] += numbers[k]
                continue
            for later in range(U(0), size - at):  # nothing that is still needed is written over: size <= k
                places[size - later] = places[size - later - ONE]
                derivative[size - later] = derivative[size - later - ONE]
            places[at], derivative[at] = p, numbers[k]
            size += ONE
    start[hits] = size


@compiled
def _add_measured(
    hits: int, start: Places, places: Slots, derivative: Doubles, weight: Doubles, row_at: Places, triangle: Doubles
) -> None:
    """Add Σ w g gᵀ of a record to the triangle."""
    for m in range(hits):
        for a in range(start[m], start[m + 1]):
            row, wg = row_at[places[a]], weight[m] * derivative[a]
            for c in range(start[m], a + ONE):
                triangle[row + U(places[c])] += wg * derivative[c]


@compiled
def _whiten_all(hits: int, n: int, factor: Doubles, jacobian: Doubles) -> None:
    """The same as `whiten` for the table of local derivatives of a record, all measurements at once."""
    size = padded(hits)
    for i in range(n):
        row = jacobian[i]
        for j in range(i):
            x, other = factor[i, j], jacobian[j]
            for m in range(size):
                row[m] -= x * other[m]
    for i in range(n):
        x, row = np.sqrt(factor[i, i]), jacobian[i]
        for m in range(size):
            row[m] *= x


@compiled
def _project_dense(
    hits: int, start: Places, places: Slots, derivative: Doubles, scale: float, weight: Doubles, n: int,
    factor: Doubles, jacobian: Doubles, b: Doubles,
) -> None:  # fmt: skip
    """B for few local parameters: their derivatives are whitened first."""
    _whiten_all(hits, n, factor, jacobian)
    for m in range(U(hits)):
        for i in range(U(n)):
            x, row = scale * weight[m] * jacobian[i, m], b[i]
            for k in range(start[m], start[m + ONE]):
                row[places[k]] += x * derivative[k]


@compiled
def _project_band(
    integers: Any, numbers: Any, at_value: Places, at_sigma: Places, hits: int, start: Places, places: Slots,
    derivative: Doubles, scale: float, weight: Doubles, n: int, first: Places, row_of: Places, factor: Doubles,
    used: int, b: Doubles,
) -> None:  # fmt: skip
    """B for many local parameters: G first, then within the envelope."""
    for m in range(U(hits)):
        for a in range(at_value[m] + ONE, at_sigma[m]):
            x, row = scale * weight[m] * numbers[a], b[row_of[integers[a]]]
            for k in range(start[m], start[m + ONE]):
                row[places[k]] += x * derivative[k]
    for i in range(U(n)):
        row = b[i]
        for j in range(first[i], i):
            x, other = factor[i, j], b[j]
            for c in range(padded(used)):
                row[c] -= x * other[c]
    for i in range(U(n)):
        x, row = np.sqrt(factor[i, i]), b[i]
        for c in range(padded(used)):
            row[c] *= x


@compiled
def _project(
    integers: Any, numbers: Any, at_value: Places, at_sigma: Places, hits: int, start: Places, places: Slots,
    derivative: Doubles, scale: float, weight: Doubles, n: int, first: Places, row_of: Places, factor: Doubles,
    jacobian: Doubles, used: int, b: Doubles,
) -> None:  # fmt: skip
    """B = D^-½ L⁻¹ G of a record, so that Gᵀ Γ⁻¹ G = Bᵀ B."""
    for i in range(n):
        row = b[i]
        for c in range(padded(used)):
            row[c] = 0.0
    down = 1.0 / np.sqrt(scale)  # the weights have the file's weight in them already
    if n <= SMALL:
        _project_dense(hits, start, places, derivative, down, weight, n, factor, jacobian, b)
    else:
        _project_band(
            integers, numbers, at_value, at_sigma, hits, start, places, derivative, down, weight, n, first, row_of,
            factor, used, b,
        )  # fmt: skip


@compiled
def _subtract_projection(n: int, used: int, b: Doubles, row_at: Places, triangle: Doubles) -> None:
    """Take Bᵀ B from the triangle; some locals at once, as each time reads and writes it."""
    i = 0
    while i < n:
        together = 5 if n - i >= 5 else 2 if n - i >= 2 else 1
        b0, b1 = b[i], b[i + (together > 1)]
        b2, b3, b4 = b[i + 2 * (together > 2)], b[i + 3 * (together > 2)], b[i + 4 * (together > 2)]
        for a in range(U(used)):
            row = triangle[row_at[a] : row_at[a + ONE]]
            x0, x1, x2, x3, x4 = b0[a], b1[a], b2[a], b3[a], b4[a]
            if together == 5:
                for c in range(row.size):
                    row[c] -= x0 * b0[c] + x1 * b1[c] + x2 * b2[c] + x3 * b3[c] + x4 * b4[c]
            elif together == 2:
                for c in range(row.size):
                    row[c] -= x0 * b0[c] + x1 * b1[c]
            else:
                for c in range(row.size):
                    row[c] -= x0 * b0[c]
        i += together


@compiled
def _scatter(used: int, column: Any, triangle: Doubles, matrix: Doubles, part: int, parts: int) -> None:
    """Add a triangle to the lower one of the matrix, or only to the rows of one part of it."""
    for a in range(U(used)):
        row = triangle[row_start(a) :]
        for c in range(a + ONE):
            high, low = max(column[a], column[c]), min(column[a], column[c])
            if parts == 1 or high % parts == part:
                matrix[high, low] += row[c]


@compiled
def _room(array: Any, size: int) -> Any:
    """The array with room for so many elements; it doubles when it must grow."""
    if size <= array.size:
        return array
    larger = np.empty(max(size, 2 * array.size, 1024), array.dtype)
    larger[: array.size] = array
    return larger


@compiled
def _put_away(
    mode: int, used: int, column: Slots, place: Slots, triangle: Doubles, matrix: Doubles,
    filled: Longs, counts: Longs, columns: Slots, triangles: Doubles,
) -> tuple[Longs, Slots, Doubles]:  # fmt: skip
    """Add a triangle to the matrix, or put it behind those that are kept; its parameters have no place then.

    Args:
        mode: as for `fit_block`, and the next five.
        filled: (3,) how many triangles, columns and elements are kept.
        counts: and the next two, what is kept; they are returned, grown if there was no room.
    """
    if used and mode == AT_ONCE:
        _scatter(used, column, triangle, matrix, 0, 1)
    elif used:
        elements = row_start(used)
        counts, columns = _room(counts, filled[0] + 1), _room(columns, filled[1] + used)
        triangles = _room(triangles, filled[2] + elements)
        counts[filled[0]] = used
        columns[filled[1] : filled[1] + used] = column[:used]
        triangles[filled[2] : filled[2] + elements] = triangle[:elements]
        filled[0] += 1
        filled[1] += used
        filled[2] += elements
    for a in range(used):
        place[column[a]] = _NOWHERE
    return counts, columns, triangles


@compiled
def _order(integers: Any, start: Longs, pairs: Longs, locals_: np.uint32) -> Longs:
    """An order of the records in which those that name nearly the same parameters are close.

    Two records have the same smallest hash of their labels as often as they have labels in common (A. Broder, On the
    resemblance and containment of documents, 1997); three such hashes tell tracks through other sensors apart.
    """
    key = np.empty(pairs.size, np.uint64)
    for r in range(pairs.size):
        first = second = np.uint32(0xFFFFFFFF)
        for label in integers[start[r] : start[r] + pairs[r]]:
            mixed = np.uint32(label * np.uint32(0x9E3779B1)) if label > locals_ else np.uint32(0xFFFFFFFF)
            first, second = min(first, mixed), min(second, mixed ^ np.uint32(0x55555555))
        key[r] = (U(first) << U(32)) | U(second)
    return np.argsort(key, kind="mergesort")


@compiled
def fit_block(
    all_integers: Any, integer_start: Longs, all_numbers: Any, number_start: Longs, pairs: Longs, sizes: Longs,
    value_of: Doubles, scales: Doubles, slot_of: Slots, cuts: Doubles, iterations: int, scale: float, mode: int,
    matrix: Doubles, gradient: Doubles, lost: Longs, rejected: Longs,
) -> tuple[float, int, Longs, Slots, Doubles]:  # fmt: skip
    """Fit all records of a block and sum F, its gradient and, if wanted, its matrix.

    Args:
        all_integers: and the next four, the block; it was checked by `records.survey`. Integers are unsigned.
        sizes: (3,) at least its largest number of local parameters, of measurements and of pairs in a record.
        value_of: present values by label.
        scales: (2,) factors on sigmas of measurements with and without global derivatives.
        slot_of: position among the variable parameters by label; for others, how many of those there are.
        cuts: (3,) as of `localfit.cut`.
        iterations: of the local fit; more than one down-weights outliers.
        scale: weight of the file.
        mode: NO_MATRIX, AT_ONCE to add to `matrix`, KEPT to return what would be added.
        matrix: (variable, variable), its lower triangle.
        gradient: (variable + 1,) summed up; the last is for parameters that are not variable, and means nothing.
        lost: (variable + 1,) summed up, derivatives in records that were not accepted.
        rejected: (4,) summed up.

    Returns:
        F; the degrees of freedom before the cuts on chi2; and if kept, the number of columns of each triangle, the
        columns, and the lower triangles.
    """
    fixed = np.uint32(gradient.size - 1)
    most_locals, most_hits, most_pairs = min(sizes[0], sizes[1]), padded(sizes[1]), sizes[2]
    at_value, at_sigma, at_end = np.empty(most_hits, U), np.empty(most_hits, U), np.empty(most_hits, U)
    before, inverse = np.empty(most_hits), np.empty(most_hits)
    residual, weight = np.empty(most_hits), np.empty(most_hits)
    first, row_of = np.empty(2 * max(most_locals, SMALL), U), np.empty(max(most_locals, SMALL) + 1, U)
    jacobian, gamma = np.empty((SMALL, most_hits)), np.empty((most_locals, most_locals))
    q = np.empty(most_locals)
    widest = min(2 * most_pairs + 16, gradient.size - 1) if mode else 0
    seen, place = np.zeros(gradient.size, np.uint32), np.full(gradient.size, _NOWHERE, np.uint32)
    place[fixed] = _FIXED
    places, derivative, start = np.empty(most_pairs, np.uint32), np.empty(most_pairs), np.empty(most_hits + 1, U)
    column = np.empty(widest, np.uint32)
    row_at = np.zeros(widest + 2, U)
    for a in range(widest + 2):
        row_at[a] = U(row_start(a))
    triangle, b = np.empty(1), np.zeros((most_locals, padded(widest)))
    counts, columns, triangles = np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0)
    filled, used = np.zeros(3, np.int64), 0
    total, freedom = 0.0, 0
    order = _order(all_integers, integer_start, pairs, np.uint32(sizes[0])) if mode else np.arange(pairs.size)
    for place_in_order in range(pairs.size):
        r = order[place_in_order]
        integers = all_integers[integer_start[r] : integer_start[r] + pairs[r]]
        numbers = all_numbers[number_start[r] : number_start[r] + pairs[r]]
        hits, n = take_apart(integers, numbers, value_of, scales, at_value, at_sigma, at_end, before, inverse)
        cause = -1
        if n > 0:
            cause, chi2, reduced = fit_record(
                integers, numbers, at_value, at_sigma, hits, n, iterations,
                before, inverse, residual, weight, first, row_of, jacobian, gamma, q,
            )  # fmt: skip
            if cause < 0:
                freedom += hits - n
                cause, added = cut(chi2, hits - n, reduced, iterations, cuts)
                total += scale * added
            if cause >= 0:
                rejected[cause] += 1
        if n == 0 or cause >= 0:
            _count_lost(integers, at_sigma, at_end, hits, slot_of, lost)
            continue
        total += _add_gradient(
            integers, numbers, at_sigma, at_end, hits, slot_of, iterations > 1, scale,
            residual, inverse, weight, gradient,
        )  # fmt: skip
        if mode == NO_MATRIX:
            continue
        if _look_up(integers, at_sigma, at_end, hits, slot_of, place, places):
            count, new = _count_columns(
                integers, at_sigma, at_end, hits, slot_of, np.uint32(place_in_order + 1), seen, place
            )
            if used and 6 * (used + new) > 7 * count + 48:  # too many columns would be of other records only
                counts, columns, triangles = _put_away(
                    mode, used, column, place, triangle, matrix, filled, counts, columns, triangles
                )
                used, new = 0, count
            triangle = _room(triangle, row_start(used + new))
            used = _take_places(
                integers, at_sigma, at_end, hits, slot_of, place, places, column, used, row_at, triangle
            )
        _gather(numbers, at_sigma, at_end, hits, places, start, derivative)
        _add_measured(hits, start, places, derivative, weight, row_at, triangle)
        _project(
            integers, numbers, at_value, at_sigma, hits, start, places, derivative, scale, weight, n, first, row_of,
            gamma, jacobian, used, b,
        )  # fmt: skip
        _subtract_projection(n, used, b, row_at, triangle)
    counts, columns, triangles = _put_away(
        mode, used, column, place, triangle, matrix, filled, counts, columns, triangles
    )
    return total, freedom, counts[: filled[0]], columns[: filled[1]], triangles[: filled[2]]


@compiled
def add_rows(counts: Longs, columns: Slots, triangles: Doubles, matrix: Doubles, part: int, parts: int) -> None:
    """Add the kept triangles of a block to the rows ``part, part + parts, …`` of the matrix."""
    used, filled = 0, 0
    for r in range(counts.size):
        size = counts[r]
        elements = row_start(size)
        _scatter(size, columns[used : used + size], triangles[filled : filled + elements], matrix, part, parts)
        used, filled = used + size, filled + elements
