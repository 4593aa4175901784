"""Labels of global parameters: count them in the data, and translate them to positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.jit import compiled_exactly

__all__ = ["LabelCounter", "LabelTable"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

DIRECT = 1 << 22  # labels below this index plain arrays, others are looked up in a hash table
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing


@compiled_exactly
def _count_direct(label: NDArray[np.uint32], counts: Longs) -> None:
    for g in range(label.size):
        counts[label[g]] += 1


@compiled_exactly
def _largest(label: Ints) -> int:
    largest = 0
    for g in range(label.size):
        if label[g] > largest:
            largest = int(label[g])
    return largest


@compiled_exactly
def _slot(label: int, keys: Ints) -> int:
    """Where a label stands in a hash table, or the free place where it may go."""
    mask = keys.size - 1
    at = np.int64((np.uint64(label) * _SPREAD) >> np.uint64(33)) & mask
    while keys[at] != 0 and keys[at] != label:
        at = (at + 1) & mask
    return int(at)


@compiled_exactly
def _fill(labels: Longs, keys: Ints, values: Ints) -> None:
    for k in range(labels.size):
        at = _slot(labels[k], keys)
        keys[at] = labels[k]
        values[at] = k


@compiled_exactly
def _look_up(label: Ints, keys: Ints, values: Ints) -> Ints:
    out = np.empty(label.size, np.int32)
    for g in range(label.size):
        out[g] = values[_slot(label[g], keys)]
    return out


class LabelCounter:
    """Counts how often each label occurs."""

    def __init__(self) -> None:
        self._direct = np.zeros(1024, np.int64)
        self._others: dict[int, int] = {}

    def add(self, label: Ints) -> None:
        """Count the labels of some derivatives; all > 0."""
        largest = _largest(label)
        if largest >= DIRECT:
            self._add_others(label[label >= DIRECT])
            label = label[label < DIRECT]
        if min(largest, DIRECT - 1) >= len(self._direct):
            room = min(DIRECT, 2 * largest)
            self._direct = np.concatenate([self._direct, np.zeros(room - len(self._direct), np.int64)])
        _count_direct(label.view(np.uint32), self._direct)

    def _add_others(self, label: Ints) -> None:
        for key, count in zip(*np.unique(label, return_counts=True), strict=True):
            self._others[int(key)] = self._others.get(int(key), 0) + int(count)

    def counts(self) -> dict[int, int]:
        """Number of occurrences by label, labels ascending."""
        labels = np.flatnonzero(self._direct)
        counts = dict(zip(labels.tolist(), self._direct[labels].tolist(), strict=True))
        return counts | dict(sorted(self._others.items()))


class LabelTable:
    """Finds the position of labels in the ascending list of all labels.

    Args:
        labels: all labels, ascending.
    """

    def __init__(self, labels: Longs) -> None:
        size = 1 << int(2 * labels.size).bit_length()
        self._keys, self._values = np.zeros(size, np.int32), np.zeros(size, np.int32)
        _fill(labels, self._keys, self._values)

    def positions(self, label: Ints) -> Ints:
        """Position of each label; the labels must be known ones."""
        return _look_up(label, self._keys, self._values)
