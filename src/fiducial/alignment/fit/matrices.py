"""What the normal equations of the global parameters are summed in: a full matrix, or a sparse one.

A sparse one grows as elements are named, in hash tables, one for each part of the rows, so that threads do not meet.
The sum in each element is in the order of the records, whatever the number of parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fiducial.alignment.fit.kernels import add_rows, row_start
from fiducial.alignment.jit import compiled

__all__ = ["FullMatrix", "SparseMatrix"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]
Keys = NDArray[np.uint64]

U = np.uint64
_EMPTY = U(0xFFFFFFFFFFFFFFFF)
_SPREAD = U(0x9E3779B97F4A7C15)  # Fibonacci hashing
_SHIFT = U(32)
_FIRST_SIZE = 1 << 16


@compiled
def _add_to(key: np.uint64, value: float, keys: Keys, sums: Doubles) -> int:
    """Add to an element; 1 if it is new."""
    mask = U(keys.size - 1)
    at = ((key * _SPREAD) >> U(20)) & mask
    while keys[at] != key and keys[at] != _EMPTY:
        at = (at + U(1)) & mask
    new = keys[at] == _EMPTY
    keys[at] = key
    sums[at] += value
    return int(new)


@compiled
def _larger(keys: Keys, sums: Doubles) -> tuple[Keys, Doubles]:
    """Tables of twice the size with the same elements."""
    more, totals = np.full(2 * keys.size, _EMPTY, np.uint64), np.zeros(2 * keys.size)
    for k in range(keys.size):
        if keys[k] != _EMPTY:
            _add_to(keys[k], sums[k], more, totals)
    return more, totals


@compiled
def _add_triangles(
    counts: Longs, columns: Any, triangles: Doubles, keys: Keys, sums: Doubles, used: int, part: int, parts: int
) -> tuple[Keys, Doubles, int]:
    """Add the triangles of a block to the rows ``part, part + parts, …``; tables grow as needed."""
    column0, at = 0, 0
    for group in range(counts.size):
        size = counts[group]
        column = columns[column0 : column0 + size]
        while 4 * (used + size * (size + 1) // 2) > 3 * keys.size:
            keys, sums = _larger(keys, sums)
        for a in range(size):
            row = triangles[at + row_start(a) :]
            for c in range(a + 1):
                high, low = max(column[a], column[c]), min(column[a], column[c])
                if row[c] != 0.0 and high % parts == part:
                    used += _add_to((U(high) << _SHIFT) | U(low), row[c], keys, sums)
        column0, at = column0 + size, at + row_start(size)
    return keys, sums, used


class SparseMatrix:
    """Lower triangle of a symmetric matrix of which few elements are not zero.

    Args:
        size: number of parameters.
        parts: into which its rows are shared out.
    """

    def __init__(self, size: int, parts: int) -> None:
        self._size = size
        self._tables = [(np.full(_FIRST_SIZE, _EMPTY, np.uint64), np.zeros(_FIRST_SIZE), 0) for _ in range(parts)]

    def add(self, counts: Longs, columns: NDArray[Any], triangles: Doubles, part: int, parts: int) -> None:
        """Add the triangles of a block, as `kernels.fit_block` keeps them, to the rows of one part."""
        self._tables[part] = _add_triangles(counts, columns, triangles, *self._tables[part], part, parts)

    def add_elements(self, columns: Longs, values: Doubles) -> None:
        """Add a symmetric matrix (n, n) over some parameters."""
        if not len(columns):
            return
        triangle = np.concatenate([np.resize(row, row_start(k + 1) - row_start(k)) for k, row in enumerate(values)])
        for part in range(len(self._tables)):
            self.add(np.array([len(columns)]), columns.astype(np.uint32), triangle, part, len(self._tables))

    def add_diagonal(self, values: Doubles) -> None:
        """Add to the diagonal, element by element."""
        used = np.flatnonzero(values)
        diagonal = np.repeat(values[used], row_start(1))
        for part in range(len(self._tables)):
            self.add(np.ones(len(used), np.int64), used.astype(np.uint32), diagonal, part, len(self._tables))

    def lower(self) -> csr_array:
        """The lower triangle."""
        kept = [(keys[keys != _EMPTY], sums[keys != _EMPTY]) for keys, sums, _ in self._tables]
        keys, sums = (np.concatenate(arrays) for arrays in zip(*kept, strict=True))
        order = np.argsort(keys)
        keys, sums = keys[order], sums[order]
        rows = (keys >> _SHIFT).astype(np.int64)
        start = np.searchsorted(rows, np.arange(self._size + 1))
        columns = (keys & U(0xFFFFFFFF)).astype(np.int64)
        return csr_array((sums, columns, start), shape=(self._size, self._size))

    def block(self, columns: Longs) -> Doubles:
        """(n, n) the lower triangle over some parameters, ascending."""
        return np.asarray(self.lower()[columns][:, columns].toarray())

    def full(self) -> Doubles:
        """The lower triangle with all its zeros."""
        return np.asarray(self.lower().toarray())


class FullMatrix:
    """Lower triangle of a symmetric matrix, all of it.

    Args:
        size: number of parameters.

    Attributes:
        elements: (size, size), the upper triangle means nothing.
    """

    def __init__(self, size: int) -> None:
        self.elements = np.zeros((size, size))

    def add(self, counts: Longs, columns: NDArray[Any], triangles: Doubles, part: int, parts: int) -> None:
        """Add the triangles of a block, as `kernels.fit_block` keeps them, to the rows of one part."""
        add_rows(counts, columns, triangles, self.elements, part, parts)

    def add_elements(self, columns: Longs, values: Doubles) -> None:
        """Add a symmetric matrix (n, n) over some parameters."""
        self.elements[np.ix_(columns, columns)] += values

    def add_diagonal(self, values: Doubles) -> None:
        """Add to the diagonal, element by element."""
        self.elements[np.diag_indices(len(values))] += values

    def block(self, columns: Longs) -> Doubles:
        """(n, n) the lower triangle over some parameters."""
        return np.asarray(self.elements[np.ix_(columns, columns)])

    def full(self) -> Doubles:
        """The matrix itself."""
        return self.elements
