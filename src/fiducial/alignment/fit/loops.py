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
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit import details, kernels
from fiducial.alignment.fit.kernels import AT_ONCE, KEPT, NO_MATRIX
from fiducial.alignment.fit.matrices import FullMatrix, SparseMatrix
from fiducial.alignment.fit.reading import Reading
from fiducial.alignment.mille import records
from fiducial.alignment.mille.labels import DIRECT, LabelCounter, LabelTable
from fiducial.alignment.mille.reader import BLOCK_WORDS, MilleBlock, MilleFile, RawBlock
from fiducial.alignment.mille.windows import Stamp

__all__ = ["Cuts", "Data", "Details", "Sums", "Workers"]

Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

_KEEP_BYTES = 128 << 20  # blocks are kept between loops as long as all together are smaller than this
_PRIVATE = 1000  # variable parameters up to which each block sums its own matrix
_KEPT_TRIANGLES = 256 << 20  # a block's matrix elements are shared out to threads if they need less than this

_LARGEST_FREED = 31 << 20
_NOTHING = np.zeros((0, 0))

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Workers:
    """Some threads, or none if one is enough."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def in_order(
        self, function: Callable[[_In], _Out], items: Iterable[_In], *, alone: bool = False
    ) -> Generator[_Out]:
        """Apply a function to items; results come in the order of the items, and few are computed ahead.

        Args:
            function: to apply.
            items: to apply it to.
            alone: whether only one may be computed at a time.
        """
        if self._pool is None or alone:
            yield from map(function, items)
            return
        ahead: deque[Future[_Out]] = deque()
        for item in items:
            ahead.append(self._pool.submit(function, item))
            if len(ahead) > self.threads + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def each(self, function: Callable[[int], Any], numbers: Iterable[int]) -> None:
        """Call a function with each of some numbers, and wait."""
        if self._pool is None:
            deque(map(function, numbers), maxlen=0)
        else:
            deque(self._pool.map(function, numbers), maxlen=0)

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

    def as_array(self) -> Doubles:
        """The numbers, as kernels take them."""
        return np.array([self.huge, self.large, self.down_weight])


@dataclass
class Sums:
    """Sums of a loop over all accepted records.

    Args:
        chi2: F, twice the negative logarithm of the likelihood.
        gradient: (V,) minus half of the gradient of F.
        matrix: half of the second derivatives; None if not wanted.
        ndf: degrees of freedom of all local fits that could be done.
        weighted_ndf: the same, times the weight of the file.
        rejected: (4,) records rejected for rank, no degree of freedom, huge and large chi2.
        accepted: (V,) derivatives in accepted records.
    """

    gradient: Doubles
    accepted: Longs
    matrix: FullMatrix | SparseMatrix | None = None
    chi2: float = 0.0
    ndf: int = 0
    weighted_ndf: float = 0.0
    rejected: Longs = field(default_factory=lambda: np.zeros(4, np.int64))


@dataclass(frozen=True, slots=True)
class Details:
    """A block of records with what their local fits leave; R records, M measurements.

    Args:
        block: the records.
        residual: (M,) after the local fit; at the present global parameters alone if there was none.
        weight: (M,) 1/sigma², less for outliers that are down-weighted; 0 in records without fit.
        variance: (M,) of the residuals: sigma² less that of what the local fit predicts.
        chi2: (R,) of the local fits.
        ndf: (R,) their degrees of freedom.
        cause: (R,) of rejection, as in `Sums.rejected`; -1 for accepted records, -2 without local parameter.
    """

    block: MilleBlock
    residual: Doubles
    weight: Doubles
    variance: Doubles
    chi2: Doubles
    ndf: Longs
    cause: Longs


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a first look at a block finds."""

    block: RawBlock
    label: Ints
    counts: Longs


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What the records of a block add to the sums; what is neither in matrix nor triangles was added at once."""

    sums: Sums
    lost: Longs
    matrix: Doubles | None
    counts: Longs
    columns: NDArray[np.uint32]
    triangles: Doubles
    weight: float


class Data:
    """All records of some files.

    Args:
        files: in the order in which they are summed.
        workers: who fits.
        reading: what of them is read.

    Attributes:
        files: the files.
        records: their number, after `count`.
        measurements: their number.
        damaged: why a file was not read to its end, by its path.
        derivatives: number of entries by label.
        records_without_fit: records without any local parameter.
    """

    def __init__(self, files: list[MilleFile], workers: Workers, reading: Reading | None = None) -> None:
        self.files = files
        self._workers = workers
        self._reading = reading or Reading()
        self.damaged: dict[str, str] = {}
        self._stamps: dict[Path, Stamp] = {}
        # glibc returns freed blocks to the system and has to fetch them again, which takes as long as decoding them.
        # Once it has freed an array of this size it keeps smaller ones.
        np.empty(_LARGEST_FREED, np.uint8)
        self._scales = np.array([self._reading.global_scale, self._reading.local_scale])
        self._kept: list[RawBlock] | None = []
        self._kept_bytes = 0
        self._sizes = np.zeros(3, np.int64)
        self.records = self.measurements = self.records_without_fit = 0
        self.derivatives: dict[int, int] = {}

    def count(self) -> None:
        """Read all files once, check them, and count records and labels.

        Raises:
            NotFoundError: a file is missing.
            DataError: a file is damaged or empty.
        """
        entries, occurrences = LabelCounter(), LabelCounter()
        with contextlib.closing(self._workers.in_order(_survey, self._raw())) as blocks:
            for found in blocks:
                occurrences.add(found.label)
                if self._reading.by_record:
                    entries.add(self._reading.entries(found.block.decode(checked=True)))
                self.records += len(found.block.length)
                self.measurements += int(found.counts[0])
                self.records_without_fit += int(found.counts[4])
                self._sizes = np.maximum(self._sizes, found.counts[1:4])
                self._keep(found.block)
        self._occurrences = occurrences.counts()
        self.derivatives = entries.counts() if self._reading.by_record else self._occurrences

    def blocks(self) -> Generator[MilleBlock]:
        """All blocks once more, in order."""
        return self._workers.in_order(self._reading.decode, self._blocks())

    def _raw(self) -> Iterator[RawBlock]:
        return self._reading.raw(self.files, self.damaged, self._stamps)

    def _keep(self, block: RawBlock) -> None:
        if self._kept is None:
            return
        self._kept_bytes += block.words.nbytes + block.position.nbytes + block.length.nbytes
        self._kept = [*self._kept, block] if self._kept_bytes <= _KEEP_BYTES else None

    @property
    def is_large(self) -> bool:
        """Whether the data are too many to be kept, so that every loop reads the files again."""
        return self._kept is None

    def prepare(self, labels: Longs, variable: Longs) -> None:
        """Fix the numbering of parameters.

        Args:
            labels: all labels, ascending.
            variable: (all labels,) position among the variable parameters, or -1.
        """
        self._variables = int(variable.max()) + 1
        self._label_counts = np.array([self._occurrences.get(label, 0) for label in labels.tolist()], np.int64)
        self._is_variable = variable >= 0
        self._table = None if labels[-1] < DIRECT else LabelTable(labels)
        # In blocks of large labels their place is written instead, counted from 1, because 0 separates measurements.
        self._place = labels if self._table is None else np.arange(1, len(labels) + 1)
        self._value_of = np.zeros(int(self._place[-1]) + 1)
        self._slot_of = np.full(len(self._value_of), self._variables, np.uint32)
        self._slot_of[self._place] = np.where(variable >= 0, variable, self._variables)

    def loop(self, parameter: Doubles, cuts: Cuts, matrix: FullMatrix | SparseMatrix | None = None) -> Sums:
        """Fit all records with the present parameters.

        Args:
            parameter: (all labels,) present values.
            cuts: what records must fulfil.
            matrix: to sum the matrix in, if it is wanted.
        """
        sums = Sums(np.zeros(self._variables), self._label_counts[self._is_variable])
        sums.matrix = matrix
        self._value_of[self._place] = parameter
        mode, alone = self._mode(matrix)

        def fit(block: RawBlock) -> _Fitted:
            return self._fit(block, cuts, mode, matrix)

        with contextlib.closing(self._workers.in_order(fit, self._blocks(), alone=alone)) as parts:
            for part in parts:
                self._add(sums, part)
        return sums

    def details(self, parameter: Doubles, cuts: Cuts) -> Generator[Details]:
        """Fit all records once more, and tell of each measurement what is left of it; in the order of the files."""
        self._value_of[self._place] = parameter

        def look(block: RawBlock) -> Details:
            found = details.look_closely(
                *self._arrays(block), self._sizes, self._value_of, self._scales, cuts.as_array(), cuts.iterations
            )
            return Details(self._reading.decode(block), *found)

        with contextlib.closing(self._workers.in_order(look, self._blocks())) as parts:
            yield from parts

    def _blocks(self) -> Iterator[RawBlock]:
        return self._raw() if self._kept is None else iter(self._kept)

    def _arrays(self, block: RawBlock) -> tuple[Any, Any, Any, Any, Any]:
        """Where the records of a block lie; what are labels in it are indices of `_value_of` and `_slot_of`."""
        integers, integer_start, numbers, number_start, pairs = block.arrays()
        if self._table is not None:
            label = records.survey(integers, integer_start, numbers, number_start, pairs)[0]
            position = self._table.positions(label) + np.int32(1)
            integers = records.replace_labels(integers, integer_start, numbers, number_start, pairs, position)
            integers.setflags(write=False)  # as those of a file are, so that the same compiled code runs on them
        return integers.view(np.uint32), integer_start, numbers, number_start, pairs

    def _mode(self, matrix: FullMatrix | SparseMatrix | None) -> tuple[int, bool]:
        """How matrix elements are summed, and whether by one thread only; the order, and so the result, is the same."""
        if matrix is None:
            return NO_MATRIX, False
        if self._is_private(matrix):
            return AT_ONCE, False
        widest = min(int(self._sizes[2]) // 2, self._variables)
        records_at_once = BLOCK_WORDS // (2 * int(self._sizes[2]) + 1) + 1
        large = 4 * widest * widest * records_at_once > _KEPT_TRIANGLES
        alone = isinstance(matrix, FullMatrix) and (large or self._workers.threads == 1)
        return (AT_ONCE if alone else KEPT), alone

    def _is_private(self, matrix: FullMatrix | SparseMatrix | None) -> bool:
        """Whether each block gets a matrix of its own, because that is small beside the block."""
        return isinstance(matrix, FullMatrix) and self._variables <= _PRIVATE

    def _fit(self, block: RawBlock, cuts: Cuts, mode: int, matrix: FullMatrix | SparseMatrix | None) -> _Fitted:
        sums = Sums(np.zeros(self._variables + 1), np.zeros(0, np.int64))
        lost = np.zeros(self._variables + 1, np.int64)
        private = np.zeros((self._variables, self._variables)) if self._is_private(matrix) else None
        shared = matrix.elements if mode == AT_ONCE and isinstance(matrix, FullMatrix) else _NOTHING
        sums.chi2, sums.ndf, counts, columns, triangles = kernels.fit_block(
            *self._arrays(block), self._sizes, self._value_of, self._scales, self._slot_of, cuts.as_array(),
            cuts.iterations, block.source.weight, mode, shared if private is None else private,
            sums.gradient, lost, sums.rejected,
        )  # fmt: skip
        return _Fitted(sums, lost, private, counts, columns, triangles, block.source.weight)

    def _add(self, sums: Sums, part: _Fitted) -> None:
        sums.chi2 += part.sums.chi2
        sums.ndf += part.sums.ndf
        sums.weighted_ndf += part.sums.ndf * part.weight
        sums.gradient += part.sums.gradient[:-1]
        sums.accepted -= part.lost[:-1]
        sums.rejected += part.sums.rejected
        matrix = sums.matrix
        if isinstance(matrix, FullMatrix) and part.matrix is not None:
            matrix.elements += part.matrix
        if matrix is not None and len(part.counts):
            self._workers.share(partial(matrix.add, part.counts, part.columns, part.triangles))


def _survey(block: RawBlock) -> _Counted:
    return _Counted(block, *block.survey())
