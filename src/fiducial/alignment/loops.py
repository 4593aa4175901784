"""Loops over the data: count the labels, and sum F, its gradient and its matrix over all records.

Blocks are decoded and fitted by as many threads as wanted, and their sums are added in the order of the file. So the
numbers do not depend on the number of threads, and memory is that of a few blocks.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment import kernels
from fiducial.alignment.labels import LabelCounter, LabelTable
from fiducial.alignment.mille import MilleBlock, MilleFile, RawBlock
from fiducial.alignment.reading import Reading

__all__ = ["Cuts", "Data", "Sums", "Workers"]

Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

_KEEP_BYTES = 128 << 20  # decoded blocks are kept between loops as long as all together are smaller than this

_LARGEST_FREED = 31 << 20

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Workers:
    """Some threads, or none if one is enough."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def in_order(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> Generator[_Out]:
        """Apply a function to items; results come in the order of the items, and few are computed ahead."""
        if self._pool is None:
            yield from map(function, items)
            return
        ahead: deque[Future[_Out]] = deque()
        for item in items:
            ahead.append(self._pool.submit(function, item))
            if len(ahead) > self.threads + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def share(self, function: Callable[[int, int], None]) -> None:
        """Call ``function(part, parts)`` once for each thread, and wait."""
        if self._pool is None:
            function(0, 1)
            return
        for future in [self._pool.submit(function, part, self.threads) for part in range(self.threads)]:
            future.result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Cuts:
    """What a loop demands of records: factors on the chi2 of three standard deviations, and local iterations."""

    huge: float = 50.0
    large: float = 0.0
    down_weight: float = 0.0
    iterations: int = 1


@dataclass
class Sums:
    """Sums of a loop over all accepted records.

    Args:
        chi2: F, twice the negative logarithm of the likelihood.
        gradient: (V,) minus half of the gradient of F.
        matrix: (V, V) half of the second derivatives, lower triangle; None if not wanted.
        ndf: degrees of freedom of all local fits that could be done.
        weighted_ndf: the same, times the weight of the file.
        rejected: (4,) records rejected for rank, no degree of freedom, huge and large chi2.
        accepted: (V,) derivatives in accepted records.
    """

    gradient: Doubles
    accepted: Longs
    matrix: Doubles | None = None
    chi2: float = 0.0
    ndf: int = 0
    weighted_ndf: float = 0.0
    rejected: Longs = field(default_factory=lambda: np.zeros(4, np.int64))


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A block with its local fits."""

    block: MilleBlock
    sums: Sums
    weight: Doubles
    slot: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    column: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    column_start: Longs = field(default_factory=lambda: np.zeros(0, np.int64))
    projected: Doubles = field(default_factory=lambda: np.zeros(0))
    projected_start: Longs = field(default_factory=lambda: np.zeros(0, np.int64))


class Data:
    """All records of some files.

    Args:
        files: in the order in which they are summed.
        workers: who fits.
        reading: what of them is read.

    Attributes:
        files: the files.
        records: their number, after `count`.
        damaged: why a file was not read to its end, by its path, after `count`.
        derivatives: number of global derivatives by label, after `count`.
    """

    def __init__(self, files: list[MilleFile], workers: Workers, reading: Reading | None = None) -> None:
        self.files = files
        self._workers = workers
        self._reading = reading or Reading()
        self.damaged: dict[str, str] = {}
        # glibc returns freed blocks to the system and has to fetch them again, which takes as long as decoding them.
        # Once it has freed an array of this size it keeps smaller ones.
        np.empty(_LARGEST_FREED, np.uint8)
        self._kept: list[MilleBlock] | None = []
        self._kept_bytes = 0
        self._positions: dict[int, Ints] = {}
        self.records = 0
        self.records_without_fit = 0
        self.derivatives: dict[int, int] = {}

    def count(self) -> None:
        """Read all files once, and count records and labels.

        Raises:
            NotFoundError: a file is missing.
            DataError: a file is damaged or empty.
        """
        counter = LabelCounter()
        with contextlib.closing(self.blocks()) as blocks:
            for block in blocks:
                counter.add(self._reading.entries(block))
                self.records += block.records
                self.records_without_fit += int(np.count_nonzero(block.local_size == 0))
                self._keep(block)
        self.derivatives = counter.counts()

    def blocks(self) -> Generator[MilleBlock]:
        """All blocks once more, in order."""
        return self._workers.in_order(self._reading.decode, self._raw())

    def _raw(self) -> Iterator[RawBlock]:
        return self._reading.raw(self.files, self.damaged)

    def _keep(self, block: MilleBlock) -> None:
        if self._kept is None:
            return
        # Indices of parameters will be kept too, as much again as the labels.
        arrays = (block.value, block.local_derivative, block.local_index, block.global_derivative, block.label)
        self._kept_bytes += sum(array.nbytes for array in arrays) + block.label.nbytes
        self._kept = [*self._kept, block] if self._kept_bytes <= _KEEP_BYTES else None

    def prepare(self, labels: Longs, variable: Longs) -> None:
        """Fix the numbering of parameters.

        Args:
            labels: all labels, ascending.
            variable: (all labels,) position among the variable parameters, or -1.
        """
        self._table = LabelTable(labels)
        self._variable = variable
        self._variables = int(variable.max()) + 1
        for k, block in enumerate(self._kept or []):
            self._positions[k] = self._table.positions(block.label)

    def loop(self, parameter: Doubles, cuts: Cuts, *, matrix: bool) -> Sums:
        """Fit all records with the present parameters.

        Args:
            parameter: (all labels,) present values.
            cuts: what records must fulfil.
            matrix: whether to sum the matrix too.
        """
        sums = self._zeros()
        sums.matrix = np.zeros((self._variables, self._variables)) if matrix else None

        def fit(item: tuple[MilleBlock | RawBlock, Ints | None]) -> _Fitted:
            block = self._reading.decode(item[0]) if isinstance(item[0], RawBlock) else item[0]
            index = self._table.positions(block.label) if item[1] is None else item[1]
            return self._fit(block, index, parameter, cuts, matrix=matrix)

        with contextlib.closing(self._workers.in_order(fit, self._items())) as parts:
            for part in parts:
                self._add(sums, part)
        return sums

    def _items(self) -> Iterator[tuple[MilleBlock | RawBlock, Ints | None]]:
        if self._kept is not None:
            yield from ((block, self._positions[k]) for k, block in enumerate(self._kept))
        else:
            yield from ((raw, None) for raw in self._raw())

    def _zeros(self) -> Sums:
        return Sums(np.zeros(self._variables), np.zeros(self._variables, np.int64))

    def _fit(self, block: MilleBlock, index: Ints, parameter: Doubles, cuts: Cuts, *, matrix: bool) -> _Fitted:
        sums = self._zeros()
        squares = block.local_size**2 if matrix else np.zeros(0, np.int64)
        factor_start, factor = _starts(squares), np.empty(int(squares.sum()))
        weight = np.zeros(len(block.value))
        sums.chi2, sums.ndf = kernels.fit_block(
            block.measurement_start, block.local_size, block.value, block.sigma,
            block.local_start, block.local_index, block.local_derivative,
            block.global_start, index, block.global_derivative,
            parameter, self._variable, np.array([cuts.huge, cuts.large, cuts.down_weight]), cuts.iterations,
            block.source.weight, factor_start, factor, weight, sums.gradient, sums.accepted, sums.rejected,
        )  # fmt: skip
        if not matrix:
            return _Fitted(block, sums, weight)
        return self._project(block, index, sums, weight, factor_start, factor)

    def _project(
        self, block: MilleBlock, index: Ints, sums: Sums, weight: Doubles, factor_start: Longs, factor: Doubles
    ) -> _Fitted:
        column_start, column, slot = kernels.index_block(
            block.measurement_start, block.global_start, index, self._variable, weight, self._variables
        )
        sizes = block.local_size * np.diff(column_start)
        projected_start, projected = _starts(sizes), np.empty(int(sizes.sum()))
        kernels.project_block(
            block.measurement_start, block.local_size, block.local_start, block.local_index, block.local_derivative,
            block.global_start, block.global_derivative, column_start, slot, weight, block.source.weight,
            factor_start, factor, projected_start, projected,
        )  # fmt: skip
        return _Fitted(block, sums, weight, slot, column, column_start, projected, projected_start)

    def _add(self, sums: Sums, part: _Fitted) -> None:
        sums.chi2 += part.sums.chi2
        sums.ndf += part.sums.ndf
        sums.weighted_ndf += part.sums.ndf * part.block.source.weight
        sums.gradient += part.sums.gradient
        sums.accepted += part.sums.accepted
        sums.rejected += part.sums.rejected
        matrix, block = sums.matrix, part.block
        if matrix is None:
            return

        def add_rows(share: int, shares: int) -> None:
            kernels.update_rows(
                matrix, share, shares, block.measurement_start, block.local_size, block.global_start,
                block.global_derivative, part.column_start, part.column, part.slot, part.weight, block.source.weight,
                part.projected_start, part.projected,
            )  # fmt: skip

        self._workers.share(add_rows)


def _starts(sizes: Longs) -> Longs:
    return np.asarray(np.cumsum(sizes) - sizes, np.int64)
