"""Compiled parts of the Mille reader: find records in words, and split them into flat arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.jit import compiled_exactly
from fiducial.alignment.mille.records import BAD_INDEX, BAD_SIGMA, BROKEN, NOT_FINITE, SPECIAL_TOO_LONG

__all__ = ["FAULTS", "TRUNCATED", "decode", "gather", "scan"]

TRUNCATED = 1
FAULTS = {
    1: "the file ends inside this record",
    2: "its length word makes no sense",
    3: "the Fortran markers around it do not agree",
    NOT_FINITE: "holds a number that is not finite (NaN or infinity)",
    BAD_SIGMA: "the sigma of a measurement is not positive",
    BAD_INDEX: "holds a label or local index that is not positive",
    BROKEN: "ends inside a measurement, or does not start with one",
    SPECIAL_TOO_LONG: "special data reach beyond its end",
}
_LOCAL, _GLOBAL = 1, 2  # between the two zeros of a measurement, and behind them
_Ints = NDArray[np.int32]
_Longs = NDArray[np.int64]


@compiled_exactly
def _record(words: _Ints, at: int, fortran: bool) -> tuple[int, int, int, int]:
    """Position of the numbers, signed length, words in all, fault of the record at a word."""
    header = 2 if fortran else 1
    if at + header > words.size:
        return 0, 0, 0, 1
    length = np.int64(words[at + header - 1])
    size = length if length > 0 else -length // 2 * 3
    if length % 2 != 0 or length == 0 or (fortran and length < 0):
        return 0, 0, 0, 2
    total = header + size + (1 if fortran else 0)
    if fortran and words[at] != 4 * (size + 1):
        return 0, 0, 0, 3
    if at + total > words.size:
        return 0, 0, 0, 1
    if fortran and words[at] != words[at + total - 1]:
        return 0, 0, 0, 3
    return at + header, int(length), int(total), 0


@compiled_exactly
def scan(words: _Ints, start: int, limit: int, fortran: bool) -> tuple[_Longs, _Longs, int, int]:
    """Records from word `start` on until `limit` words are passed or the precision changes.

    Returns:
        positions of their numbers, their signed lengths, the word after the last of them, and a fault (0: none).
    """
    room = min(limit, words.size - start) // 3 + 2
    position = np.empty(room, np.int64)
    length = np.empty(room, np.int64)
    count = 0
    at = start
    fault = 0
    while at < words.size and at - start < limit:
        where, size, total, fault = _record(words, at, fortran)
        if fault or (count > 0 and (size < 0) != (length[0] < 0)):
            break
        position[count] = where
        length[count] = size
        count += 1
        at += total
    return position[:count].copy(), length[:count].copy(), at, fault


@compiled_exactly
def gather(words: _Ints, position: _Longs, count: _Longs) -> _Ints:
    """Copy `count` words from each position, one after the other."""
    out = np.empty(count.sum(), np.int32)
    at = 0
    for record in range(position.size):
        for k in range(count[record]):
            out[at] = words[position[record] + k]
            at += 1
    return out


@compiled_exactly
def decode(values: Any, words: _Ints, value_start: _Longs, integer_start: _Longs, pairs: _Longs) -> Any:
    """Split records that `records.survey` found sound into flat arrays, in the order of `MilleBlock`."""
    records = pairs.size
    room = pairs.sum()
    record_end = np.zeros(records + 1, np.int64)
    local_size = np.zeros(records, np.int64)
    value = np.empty(room // 2 + 1, values.dtype)
    sigma = np.empty(room // 2 + 1, values.dtype)
    local_start = np.empty(room // 2 + 2, np.int64)
    global_start = np.empty(room // 2 + 2, np.int64)
    local_index = np.empty(room, np.int32)
    local_number = np.empty(room, values.dtype)
    label = np.empty(room, np.int32)
    global_number = np.empty(room, values.dtype)
    hits, locals_, globals_ = 0, 0, 0
    for record in range(records):
        integers = words[integer_start[record] : integer_start[record] + pairs[record]]
        numbers = values[value_start[record] : value_start[record] + pairs[record]]
        k = 1
        while k < integers.size:
            local_start[hits], global_start[hits], value[hits] = locals_, globals_, numbers[k]
            k += 1
            while integers[k] != 0:
                local_size[record] = max(local_size[record], integers[k])
                local_index[locals_], local_number[locals_] = integers[k], numbers[k]
                locals_ += 1
                k += 1
            sigma[hits] = numbers[k]
            k += 1
            if local_start[hits] == locals_ and sigma[hits] < 0:  # special data: so many pairs, of any content
                k += int(np.rint(-np.float64(sigma[hits])))
                continue
            while k < integers.size and integers[k] != 0:
                label[globals_], global_number[globals_] = integers[k], numbers[k]
                globals_ += 1
                k += 1
            hits += 1
        record_end[record + 1] = hits
    local_start[hits], global_start[hits] = locals_, globals_
    return (
        record_end,
        local_size,
        value[:hits],
        sigma[:hits],
        local_start[: hits + 1],
        local_index[:locals_],
        local_number[:locals_],
        global_start[: hits + 1],
        label[:globals_],
        global_number[:globals_],
    )
