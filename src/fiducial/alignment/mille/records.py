"""Compiled reading of single Mille records where they lie, and the check of whole blocks of them.

A record is never copied apart: of each measurement only the places of its value, its sigma and its end are noted, and
the derivatives are read from between them. Indices are unsigned in all that runs once a loop: for signed ones the
compiler must allow for counting from the end, which takes half of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.jit import compiled, compiled_exactly

__all__ = ["replace_labels", "survey", "take_apart"]

Ints = NDArray[np.int32]
Places = NDArray[np.uint64]
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]

U = np.uint64
ONE = U(1)  # added to an unsigned index, a plain 1 would make it a floating-point number

LARGEST = np.uint32(0x7FFFFFFF)  # of labels; above it an unsigned integer stands for a negative one
NOT_FINITE, BAD_SIGMA, BAD_INDEX, BROKEN, SPECIAL_TOO_LONG = 4, 5, 6, 7, 8  # what they say: decoding.FAULTS


@compiled
def padded(hits: int) -> int:
    """Measurements rounded up to what the compiler takes at once: some that weigh nothing cost less than a tail."""
    return (hits + 15) // 16 * 16


@compiled
def take_apart(
    integers: Any, numbers: Any, value_of: Doubles, scales: Doubles,
    at_value: Places, at_sigma: Places, at_end: Places, residual: Doubles, inverse: Doubles,
) -> tuple[int, int]:  # fmt: skip
    """Find the measurements of a record that is known to be sound.

    Args:
        integers: (pairs,) unsigned integers of the record.
        numbers: (pairs,) its numbers.
        value_of: present value of each global parameter, by label.
        scales: (2,) factors on sigmas of measurements with and without global derivatives.
        at_value: out, and the next two: pair of each measurement's value and sigma, and the pair after its end.
        residual: out, values of the measurements at the present global parameters, before the local fit.
        inverse: out, 1/sigma.

    Returns:
        the number of measurements, and the largest local index.
    """
    hits, k, end = U(0), ONE, U(integers.size)
    locals_ = np.uint32(0)
    while k < end:
        start = k
        k += ONE
        while integers[k] != 0:
            locals_ = max(locals_, integers[k])
            k += ONE
        sigma = np.float64(numbers[k])
        if k == start + ONE and sigma < 0:  # special data: so many pairs, of any content
            k += ONE + U(np.rint(-sigma))
            continue
        at_value[hits], at_sigma[hits] = start, k
        rest = np.float64(numbers[start])
        k += ONE
        while k < end and integers[k] != 0:
            rest -= numbers[k] * value_of[integers[k]]
            k += ONE
        at_end[hits], residual[hits] = k, rest
        inverse[hits] = 1.0 / (sigma * scales[0 if k > at_sigma[hits] + ONE else 1])
        hits += ONE
    count: Any = np.int64(hits)  # `int` would leave it unsigned
    for m in range(count, padded(count)):
        residual[m] = inverse[m] = 0.0
    return count, np.int64(locals_)  # type: ignore[return-value]


@compiled_exactly
def _not_finite(numbers: Any, start: Any, end: Any) -> bool:
    for k in range(start, end):  # noqa: SIM110 (no generator in a kernel)
        if not np.isfinite(numbers[k]):
            return True
    return False


@compiled
def _suspicious(integers: Any, numbers: Any) -> bool:
    """Whether anything in a record, special data included, is negative or not finite; quick, in vector instructions."""
    highest, total = np.uint32(0), numbers[0] * 0
    for k in range(integers.size):
        highest = max(highest, integers[k])
        total += numbers[k] * 0
    return bool(highest > LARGEST or total != 0)


@compiled_exactly
def _fault_of_hit(integers: Any, numbers: Any, start: Any, middle: Any, end: Any) -> int:
    if _not_finite(numbers, start, end):
        return NOT_FINITE
    for k in range(start, end):
        if integers[k] > LARGEST:
            return BAD_INDEX
    return 0 if numbers[middle] > 0 else BAD_SIGMA


@compiled_exactly
def _check(integers: Any, numbers: Any, label: Any, labels: np.uint64) -> Any:
    """Check a record and copy its labels.

    Returns:
        the fault or 0, its measurements, local parameters, labels of all records so far, and pairs of special data.
    """
    doubtful = _suspicious(integers, numbers)
    hits, locals_, k, pairs = 0, np.uint32(0), ONE, U(integers.size)
    special: Any = 0
    while k < pairs:
        if integers[k] != 0:
            return BROKEN, hits, np.int64(locals_), labels, special
        start = k
        k += ONE
        while k < pairs and integers[k] != 0:
            locals_ = max(locals_, integers[k])
            k += ONE
        if k == pairs:
            return BROKEN, hits, np.int64(locals_), labels, special
        middle = k
        k += ONE
        if middle == start + ONE and numbers[middle] < 0:
            size = np.rint(-np.float64(numbers[middle]))
            if not size <= np.float64(pairs - k):
                return SPECIAL_TOO_LONG, hits, np.int64(locals_), labels, special
            k += U(size)
            special += np.int64(size)
            continue
        while k < pairs and integers[k] != 0:
            label[labels] = integers[k]
            labels += ONE
            k += ONE
        if doubtful or not numbers[middle] > 0:
            fault = _fault_of_hit(integers, numbers, start, middle, k)
            if fault:
                return fault, hits, np.int64(locals_), labels, special
        hits += 1
    return 0, hits, np.int64(locals_), labels, special


@compiled_exactly
def _survey(integers: Any, integer_start: Longs, numbers: Any, number_start: Longs, pairs: Longs) -> Any:
    label = np.empty(pairs.sum(), np.uint32)
    counts = np.zeros(6, np.int64)
    labels = U(0)
    for record in range(pairs.size):
        i0, v0 = integer_start[record], number_start[record]
        fault, hits, locals_, labels, special = _check(
            integers[i0 : i0 + pairs[record]], numbers[v0 : v0 + pairs[record]], label, labels
        )
        if fault:
            return label[:labels], counts, fault, record
        counts[0] += hits
        counts[1] = max(counts[1], locals_)
        counts[2] = max(counts[2], hits)
        counts[3] = max(counts[3], pairs[record])
        counts[4] += locals_ == 0
        counts[5] += special
    return label[:labels], counts, 0, 0


def survey(
    integers: Ints, integer_start: Longs, numbers: Any, number_start: Longs, pairs: Longs
) -> tuple[Ints, Longs, int, int]:
    """Check all records of a block, and count.

    Returns:
        the labels of all global derivatives; (6,) measurements, largest number of local parameters, of measurements
        and of pairs in a record, records without local parameter, and pairs of special data; then a fault (0: none)
        and its record.
    """
    label, *found = _survey(integers.view(np.uint32), integer_start, numbers, number_start, pairs)
    return label.view(np.int32), *found


@compiled_exactly
def replace_labels(integers: Ints, integer_start: Longs, numbers: Any, number_start: Longs, pairs: Longs,
                   position: Ints) -> Ints:  # fmt: skip
    """Copy the integers of a block with other numbers, in the order of `survey`, in the place of the labels."""
    out = integers.copy()
    label = 0
    for record in range(pairs.size):
        i0, v0, k = integer_start[record], number_start[record], 1
        while k < pairs[record]:
            start = k
            k += 1
            while integers[i0 + k] != 0:
                k += 1
            sigma = numbers[v0 + k]
            k += 1
            if k == start + 2 and sigma < 0:
                k += int(np.rint(-np.float64(sigma)))
                continue
            while k < pairs[record] and integers[i0 + k] != 0:
                out[i0 + k] = position[label]
                label += 1
                k += 1
    return out
