"""Write Mille binary files: the records that a track fit hands to the Millepede fit.

The format of a record is told in :mod:`fiducial.alignment.mille.reader`, which reads it. Three kinds of files exist
(see the Millepede-II manual, "Data files"): C files in single or in double precision, which may be compressed with
gzip, and Fortran files. A file appears under its name when all of it is written.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from fiducial.core.errors import DataError, UsageError

__all__ = ["Kind", "MilleOutput", "MilleWriter", "frame"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

_LARGEST_INTEGER = 2**31 - 1
#: Pairs that a writer keeps before it puts their records into the file.
_KEPT_PAIRS = 1 << 16
_LARGEST_COUNT = 1 << 24  # of special data: larger ones are not whole numbers in single precision
#: Pairs of the longest record: lengths in words, and in bytes between Fortran's markers, are 32-bit numbers.
_LONGEST = {False: (1 << 30) - 1, True: (1 << 28) - 1}


class Kind(StrEnum):
    """The kinds of Mille files."""

    C_FLOAT = "c-float"
    C_DOUBLE = "c-double"
    FORTRAN = "fortran"

    @property
    def number(self) -> np.dtype[Any]:
        """How numbers are stored."""
        return np.dtype("<f8" if self is Kind.C_DOUBLE else "<f4")

    @property
    def overflow(self) -> float:
        """Numbers of this size and above cannot be stored."""
        return math.inf if self is Kind.C_DOUBLE else 2.0**128 - 2.0**103

    @property
    def underflow(self) -> float:
        """Numbers of this size and below become zero."""
        return 0.0 if self is Kind.C_DOUBLE else 2.0**-150


def frame(numbers: NDArray[Any], integers: NDArray[Any], pairs: Longs, kind: Kind = Kind.C_FLOAT) -> bytes:
    """Turn records into the bytes of a file.

    Args:
        numbers: (P,) of all records; they are stored in the precision of the kind.
        integers: (P,) of all records.
        pairs: (R,) number and integer pairs of each record, the first one included.
        kind: of the file.

    Raises:
        DataError: a record is longer than the format can say.
    """
    fortran = kind is Kind.FORTRAN
    if len(pairs) and pairs.max() > _LONGEST[fortran]:
        raise DataError(f"a record of {pairs.max():,} pairs is longer than its length word can say")
    width, header = kind.number.itemsize // 4, 2 if fortran else 1
    size = header + (width + 1) * pairs + fortran
    start = np.cumsum(size) - size
    words = np.zeros(int(size.sum()), "<i4")
    words[start + header - 1] = 2 * pairs * (-1 if kind is Kind.C_DOUBLE else 1)
    if fortran:
        words[start] = words[start + size - 1] = 4 + 8 * pairs
    first = np.cumsum(pairs) - pairs
    place = np.arange(len(numbers)) - np.repeat(first, pairs)
    at = np.repeat(start + header, pairs)
    with np.errstate(over="ignore"):  # special data may hold anything; all else was looked at before
        stored = np.ascontiguousarray(numbers, kind.number).view("<i4").reshape(-1, width)
    for part in range(width):
        words[at + width * place + part] = stored[:, part]
    words[at + np.repeat(width * pairs, pairs) + place] = integers
    return words.tobytes()


class MilleOutput:
    """A Mille file that is being written; it gets its name when it is closed without an error.

    Args:
        path: the file.
        kind: of the file.
        packed: compress it with gzip; if not said, a name that ends in ``.gz`` does.

    Raises:
        UsageError: a Fortran file shall be compressed, which pede does not read, or the path is a folder.
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, kind: Kind = Kind.C_FLOAT, *, packed: bool | None = None) -> None:
        self.path, self.kind = path, kind
        packed = path.suffix == ".gz" if packed is None else packed
        if packed and kind is Kind.FORTRAN:
            raise UsageError(
                f"{path}: a compressed Fortran file", hint="pede reads C files only with gzip: take c-float"
            )
        if path.is_dir():
            raise UsageError(f"{path} is a folder", hint="give the name of a file in it")
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._file = self._temporary.open("wb")
        except OSError as error:
            raise self._failed(error) from None
        # Without a name and a time inside, the same records give the same bytes.
        opened = gzip.GzipFile("", "wb", fileobj=self._file, mtime=0) if packed else self._file
        self._stream = cast(IO[bytes], opened)

    def _failed(self, error: OSError) -> DataError:
        return DataError(f"{self.path}: cannot be written: {error.strerror or error}")

    def write(self, numbers: NDArray[Any], integers: NDArray[Any], pairs: Longs) -> None:
        """Append records; see :func:`frame`."""
        try:
            self._stream.write(frame(numbers, integers, pairs, self.kind))
        except OSError as error:
            raise self._failed(error) from None

    def write_hits(
        self,
        record_lengths: Sequence[int] | NDArray[Any],
        values: NDArray[Any],
        sigmas: NDArray[Any],
        local_counts: NDArray[Any],
        local_indices: NDArray[Any],
        local_derivatives: NDArray[Any],
        global_counts: NDArray[Any],
        labels: NDArray[Any],
        global_derivatives: NDArray[Any],
    ) -> int:
        """Append records from flat arrays over all their hits.

        Measurements with sigma <= 0, derivatives that are zero and records without measurements are left out.

        Args:
            record_lengths: (R,) hits of each record.
            values: (M,) residuals.
            sigmas: (M,) standard deviations.
            local_counts: (M,) local derivatives of each hit.
            local_indices: (L,) local parameters, from 1.
            local_derivatives: (L,).
            global_counts: (M,) global derivatives of each hit.
            labels: (G,) labels of global parameters, > 0.
            global_derivatives: (G,).

        Returns:
            The number of records written.

        Raises:
            DataError: the lengths do not fit each other, an index or label is not positive, or a number is not finite.
        """
        path, lengths = self.path, np.asarray(record_lengths, np.int64)
        _check_lengths(path, "hits", lengths.sum(), values, sigmas, local_counts, global_counts)
        _check_lengths(path, "local derivatives", np.sum(local_counts), local_indices, local_derivatives)
        _check_lengths(path, "global derivatives", np.sum(global_counts), labels, global_derivatives)
        with np.errstate(over="ignore"):
            values, sigmas, local_derivatives, global_derivatives = (
                np.asarray(array).astype(self.kind.number)
                for array in (values, sigmas, local_derivatives, global_derivatives)
            )
        keep = ~(sigmas <= 0)
        lengths, values, sigmas = _count_by(lengths, keep), values[keep], sigmas[keep]
        locals_ = _keep_terms(keep, local_counts, local_indices, local_derivatives)
        globals_ = _keep_terms(keep, global_counts, labels, global_derivatives)
        _check_finite(path, "a value or sigma", values, sigmas)
        for what, (_, integers, numbers) in (("local index", locals_), ("label", globals_)):
            _check_integers(path, what, integers)
            _check_finite(path, f"a derivative by a {what}", numbers)
        self.write(*_pairs(lengths[lengths > 0], values, sigmas, locals_, globals_))
        return int(np.count_nonzero(lengths))

    def __enter__(self) -> Self:
        """Start to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Put the file in its place, or remove what was written if something failed."""
        try:
            self._stream.close()
            self._file.close()
            if kind is None:
                self._temporary.replace(self.path)
        except OSError as failure:
            raise self._failed(failure) from None
        finally:
            self._temporary.unlink(missing_ok=True)


class MilleWriter:
    """Write a Mille file measurement by measurement; memory stays that of some records, however long the file is.

    >>> with MilleWriter(path) as writer:  # doctest: +SKIP
    ...     writer.measurement(0.01, 0.02, {1: 1.0, 2: -500.0}, {1201: 1.0})
    ...     writer.end_record()

    Args:
        path: the file; it appears under its name when all is written.
        kind: of the file.
        packed: compress it with gzip; if not said, a name that ends in ``.gz`` does.
        keep_zeros: write derivatives that are zero, too; labels then count as seen where they have no effect.

    Attributes:
        records: how many were written.
        left_out: measurements that were not written because of sigma <= 0.

    Raises:
        UsageError, DataError: as :class:`MilleOutput`.
    """

    def __init__(
        self, path: Path, kind: Kind = Kind.C_FLOAT, *, packed: bool | None = None, keep_zeros: bool = False
    ) -> None:
        self._output = MilleOutput(path, kind, packed=packed)
        self._overflow, self._underflow = kind.overflow, kind.underflow
        self._smallest = -1.0 if keep_zeros else kind.underflow
        self._numbers: list[float] = [0.0]
        self._integers: list[int] = [0]
        self._ends: list[int] = [0]
        self.records = self.left_out = 0

    def measurement(self, value: float, sigma: float, local: Mapping[int, float], labels: Mapping[int, float]) -> None:
        """Add a measurement to the record; it is left out if sigma <= 0, as are derivatives that are zero.

        Args:
            value: the residual.
            sigma: its standard deviation, same unit.
            local: derivative by local parameter, from 1.
            labels: derivative by label of a global parameter, > 0.

        Raises:
            DataError: an index or a label is not positive, or a number is not finite or too large for the file.
        """
        if sigma <= 0:
            self.left_out += 1
            return
        self._check_number("value", value)
        self._check_number("sigma", sigma)
        if sigma <= self._underflow:
            raise self._error(f"a sigma of {sigma:g} is zero in single precision")
        smallest = self._smallest
        local = {index: number for index, number in local.items() if not abs(number) <= smallest}
        labels = {label: number for label, number in labels.items() if not abs(number) <= smallest}
        self._check_terms("local index", local)
        self._check_terms("label", labels)
        self._numbers += [value, *local.values(), sigma, *labels.values()]
        self._integers += [0, *local, 0, *labels]

    def special(self, pairs: Sequence[tuple[float, int]]) -> None:
        """Add special data to the record: pairs of any content, which the fit skips.

        Args:
            pairs: number and integer (32 bit); both may be zero. No pairs, no special data.

        Raises:
            DataError: an integer has more than 32 bits, or there are more than 2^24 pairs.
        """
        if not pairs:
            return
        numbers, integers = zip(*pairs, strict=True)
        if len(pairs) > _LARGEST_COUNT:
            raise self._error(f"{len(pairs):,} pairs of special data; {_LARGEST_COUNT:,} are possible")
        if not -_LARGEST_INTEGER - 1 <= min(integers) <= max(integers) <= _LARGEST_INTEGER:
            raise self._error("an integer of the special data has more than 32 bits")
        self._numbers += [0.0, -len(pairs), *numbers]
        self._integers += [0, 0, *integers]

    def end_record(self) -> None:
        """End the record; one with nothing in it is left out."""
        if len(self._integers) - self._ends[-1] > 1:
            self.records += 1
            self._ends.append(len(self._integers))
            if self._ends[-1] >= _KEPT_PAIRS:
                self._flush()
            self._numbers.append(0.0)
            self._integers.append(0)

    def _flush(self) -> None:
        end = self._ends[-1]
        numbers, integers = np.array(self._numbers[:end], np.float64), np.array(self._integers[:end], np.int64)
        ends: Longs = np.array(self._ends, np.int64)
        self._output.write(numbers, integers, ends[1:] - ends[:-1])
        self._numbers, self._integers, self._ends = self._numbers[end:], self._integers[end:], [0]

    def _check_number(self, what: str, number: float) -> None:
        if not abs(number) < self._overflow:
            precision = "double" if self._overflow == math.inf else "single"
            raise self._error(f"{what} {number:g} is not a finite number in {precision} precision")

    def _check_terms(self, what: str, terms: Mapping[int, float]) -> None:
        for key, number in terms.items():
            if not 0 < key <= _LARGEST_INTEGER:
                raise self._error(f"{what} {key} is outside 1 … {_LARGEST_INTEGER}")
            self._check_number(f"the derivative by {what} {key},", number)

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._output.path}: record {self.records + 1}: {what}")

    def __enter__(self) -> Self:
        """Start to write."""
        self._output.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Put the file in its place, or remove what was written if something failed; an open record is left out."""
        if kind is not None:
            self._output.__exit__(kind, error, _)
            return
        with self._output:
            self._flush()


_Terms = tuple[Longs, Longs, NDArray[Any]]  # number by hit; integers and numbers of all hits


def _check_lengths(path: Path, name: str, expected: int, *arrays: NDArray[Any]) -> None:
    if any(len(array) != expected for array in arrays):
        raise DataError(f"{path}: arrays of {name} have lengths {[len(a) for a in arrays]}, expected {expected}")


def _check_finite(path: Path, what: str, *numbers: NDArray[Any]) -> None:
    if not all(np.isfinite(one).all() for one in numbers):
        precision = "double" if numbers[0].dtype.itemsize == 8 else "single"
        raise DataError(f"{path}: {what} is not a finite number in {precision} precision")


def _check_integers(path: Path, what: str, integers: Longs) -> None:
    odd = np.flatnonzero((integers <= 0) | (integers > _LARGEST_INTEGER))
    if len(odd):
        raise DataError(f"{path}: {what} {integers[odd[0]]} is outside 1 … {_LARGEST_INTEGER}")


def _keep_terms(keep: NDArray[np.bool_], counts: NDArray[Any], integers: NDArray[Any], numbers: NDArray[Any]) -> _Terms:
    wanted = np.repeat(keep, counts) & (numbers != 0)
    kept = _count_by(np.asarray(counts, np.int64), wanted)[keep]
    return kept, np.asarray(integers, np.int64)[wanted], numbers[wanted]


def _count_by(counts: Longs, wanted: NDArray[np.bool_]) -> Longs:
    """How many are wanted in each of the consecutive groups of the given sizes."""
    total = np.concatenate([[0], np.cumsum(wanted)])
    ends = np.cumsum(counts)
    return np.asarray(total[ends] - total[ends - counts], np.int64)


def _pairs(
    lengths: Longs, values: NDArray[Any], sigmas: NDArray[Any], locals_: _Terms, globals_: _Terms
) -> tuple[NDArray[Any], Ints, Longs]:
    """Numbers, integers and pairs of each record, from hits of each record and what belongs to each hit."""
    hit_pairs = 2 + locals_[0] + globals_[0]
    record_of_hit = np.repeat(np.arange(len(lengths)), lengths)
    pairs = 1 + np.bincount(record_of_hit, hit_pairs, len(lengths)).astype(np.int64)
    # Each record has one pair more in front than its hits have.
    at = np.cumsum(hit_pairs) - hit_pairs + record_of_hit + 1
    numbers, integers = np.zeros(int(pairs.sum()), values.dtype), np.zeros(int(pairs.sum()), np.int32)
    numbers[at] = values
    numbers[at + 1 + locals_[0]] = sigmas
    for (counts, named, derivatives), first in ((locals_, at + 1), (globals_, at + 2 + locals_[0])):
        where = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(named))
        numbers[where], integers[where] = derivatives, named
    return numbers, integers, pairs
