"""Mille binary files: the records that a track fit hands to the Millepede fit.

A record (one track) is two parallel arrays of the same length: numbers and integers. After a first pair, which only
counts errors of the writer, each measurement is

    (value, 0) (local derivative, local index >= 1)* (sigma, 0) (global derivative, label > 0)*

C files put the number of 4-byte words before each record, negative for double precision; Fortran files wrap it into
sequential record markers. C files may be compressed with gzip. See the Millepede-II manual, "Data files".
"""

from __future__ import annotations

import gzip
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from fiducial.core.errors import DataError, NotFoundError

__all__ = ["MilleBlock", "MilleFile", "MilleWriter", "RawBlock", "read_blocks", "write_records"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32] | NDArray[np.float64]

BLOCK_WORDS = 1 << 20  # 4 MiB: enough for records that name the same parameters to meet, and little memory
_WINDOW_BYTES = 64 << 20  # pages of a mapped file are given back in steps of this
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class MilleFile:
    """One binary file as a steering file declares it.

    Args:
        path: where it lies.
        fortran: Fortran sequential records instead of C records.
        weight: factor on all its records.
    """

    path: Path
    fortran: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class MilleBlock:
    """Consecutive records of one file as flat arrays; R records, M measurements, L local and G global derivatives.

    Args:
        source: the file.
        first_record: number of the first record in the file, from 1.
        measurement_start: (R + 1,) measurements of record r are ``measurement_start[r]:measurement_start[r + 1]``.
        local_size: (R,) largest local index of each record.
        value: (M,) residuals, in the unit of the measurement.
        sigma: (M,) their standard deviations, > 0.
        local_start: (M + 1,) where the local derivatives of each measurement start.
        local_index: (L,) local parameters, from 1.
        local_derivative: (L,) float32 or float64 as in the file.
        global_start: (M + 1,) where the global derivatives of each measurement start.
        label: (G,) global parameters, > 0.
        global_derivative: (G,) float32 or float64 as in the file.
    """

    source: MilleFile
    first_record: int
    measurement_start: Longs
    local_size: Longs
    value: Floats
    sigma: Floats
    local_start: Longs
    local_index: Ints
    local_derivative: Floats
    global_start: Longs
    label: Ints
    global_derivative: Floats

    @property
    def records(self) -> int:
        """Number of records."""
        return len(self.local_size)


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Whole records of one file, found but not decoded yet; `decode` may run in any thread."""

    source: MilleFile
    first_record: int
    byte_offset: int
    words: Ints
    position: Longs
    length: Longs

    def decode(self) -> MilleBlock:
        """Split the records into flat arrays.

        Raises:
            DataError: a record breaks the format; file, record and byte are named.
        """
        from fiducial.alignment import decoding

        integers, integer_start, numbers, number_start, pairs = self.arrays()
        *arrays, fault, record = decoding.decode(numbers, integers, number_start, integer_start, pairs)
        if fault:
            raise self.error(record, decoding.FAULTS[fault])
        return MilleBlock(self.source, self.first_record, *arrays)

    def arrays(self) -> tuple[Ints, Longs, Floats, Longs, Longs]:
        """Where the records lie: integers and where each record's start, the same of numbers, and pairs of each."""
        pairs = np.abs(self.length) // 2
        if self.length[0] > 0:
            return self.words, self.position + pairs, self.words.view(np.float32), self.position, pairs
        from fiducial.alignment import decoding

        # Doubles lie on odd words as often as not, so they are copied to where a float64 may lie.
        numbers = decoding.gather(self.words, self.position, 2 * pairs).view(np.float64)
        return self.words, self.position + 2 * pairs, numbers, np.cumsum(pairs) - pairs, pairs

    def error(self, record: int, what: str) -> DataError:
        """The error of a record of the block, counted from 0; file, record and byte are named."""
        header = 2 if self.source.fortran else 1
        offset = self.byte_offset + 4 * int(self.position[record] - header)
        return _damaged(self.source, self.first_record + record, offset, what)


def read_blocks(source: MilleFile | Path, *, block_words: int = BLOCK_WORDS) -> Iterator[MilleBlock]:
    """Read a Mille file in blocks of about `block_words` 4-byte words, each of whole records of one precision.

    The blocks are the same whatever reads them, so that sums by block are reproducible. Memory is that of a block.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is empty, truncated, damaged or of another kind; file, record and byte are named.
    """
    for raw in raw_blocks(source, block_words=block_words):
        yield raw.decode()


def raw_blocks(
    source: MilleFile | Path, *, block_words: int = BLOCK_WORDS, lenient: bool = False
) -> Iterator[RawBlock]:
    """Find the records of a Mille file, block by block, without decoding them. Errors are those of `read_blocks`.

    If lenient, the records of a block before a damaged one are given out before the error is raised.
    """
    if isinstance(source, Path):
        source = MilleFile(source)
    try:
        with source.path.open("rb") as stream:
            if stream.read(2) == _GZIP_MAGIC:
                stream.seek(0)
                yield from _stream_blocks(_Scanner(source, block_words, lenient=lenient), gzip.GzipFile(fileobj=stream))
            else:
                yield from _mapped_blocks(_Scanner(source, block_words, lenient=lenient), stream)
    except FileNotFoundError:
        raise NotFoundError(f"{source.path}: there is no such Mille file") from None
    except (gzip.BadGzipFile, EOFError, IsADirectoryError) as error:
        raise DataError(f"{source.path}: cannot be read: {error}") from error


def _mapped_blocks(scanner: _Scanner, stream: IO[bytes]) -> Iterator[RawBlock]:
    source = scanner.source
    size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise DataError(f"{source.path}: is empty: no record in it")
    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    words = np.frombuffer(mapped, np.dtype("<i4"), count=size // 4)
    start = released = 0
    while start < len(words):
        block, start = scanner.next(words, start, size, 0)
        yield block
        if 4 * start - released > _WINDOW_BYTES:
            # Pages read stay mapped otherwise, and a batch system counts them as memory of the job.
            mapped.madvise(mmap.MADV_DONTNEED, released, 4 * start // mmap.PAGESIZE * mmap.PAGESIZE - released)
            released = 4 * start // mmap.PAGESIZE * mmap.PAGESIZE
    if size % 4:
        raise _damaged(source, scanner.record, 4 * start, f"{size % 4} bytes are left after the last record")


def _stream_blocks(scanner: _Scanner, stream: gzip.GzipFile) -> Iterator[RawBlock]:
    source = scanner.source
    rest = b""
    offset = 0
    ended = False
    while not ended:
        more = stream.read(4 * scanner.block_words)
        ended = not more
        rest += more
        words = np.frombuffer(rest, np.dtype("<i4"), count=len(rest) // 4)
        start = 0
        while start < len(words) and (ended or scanner.complete(words, start)):
            block, start = scanner.next(words, start, len(rest), offset, partial=not ended)
            yield block
        rest = rest[4 * start :]
        offset += 4 * start
    if scanner.record == 1 and not rest:
        raise DataError(f"{source.path}: is empty: no record in it")
    if rest:
        raise _damaged(source, scanner.record, offset, f"{len(rest)} bytes are left after the last record")


class _Scanner:
    """Finds record after record in words, and counts them."""

    def __init__(self, source: MilleFile, block_words: int, *, lenient: bool = False) -> None:
        self.source = source
        self.lenient = lenient
        self.block_words = block_words
        self.record = 1

    def complete(self, words: Ints, start: int) -> bool:
        """Whether the record at `start` lies in `words` entirely."""
        from fiducial.alignment import decoding

        _, _, _, fault = decoding.scan(words, start, 1, self.source.fortran)
        return bool(fault != decoding.TRUNCATED)

    def next(self, words: Ints, start: int, size: int, offset: int, *, partial: bool = False) -> tuple[RawBlock, int]:
        """The block at word `start`, and where the next one starts."""
        from fiducial.alignment import decoding

        position, length, end, fault = decoding.scan(words, start, self.block_words, self.source.fortran)
        given_out_first = self.lenient and len(position) > 0
        if fault and not given_out_first and not (partial and fault == decoding.TRUNCATED):
            raise self._error(words, end, offset, self.record + len(position), decoding.FAULTS[fault])
        block = RawBlock(self.source, self.record, offset + 4 * start, words[start:end], position - start, length)
        self.record += len(position)
        return block, end

    def _error(self, words: Ints, at: int, offset: int, record: int, what: str) -> DataError:
        from fiducial.alignment import decoding

        error = _damaged(self.source, record, offset + 4 * at, what)
        _, _, end, fault = decoding.scan(words, 0, self.block_words, not self.source.fortran)
        if offset == 0 and end > 0 and fault in (0, decoding.TRUNCATED):
            other = "Cfiles" if self.source.fortran else "fortranfiles"
            error.hint = f"it can be read as the other kind: declare it after `{other}`"
        return error


def _damaged(source: MilleFile, record: int, offset: int, what: str) -> DataError:
    kind = "Fortran" if source.fortran else "C"
    return DataError(
        f"{source.path}: record {record} at byte {offset}: {what}",
        hint=f"it was read as a {kind} binary: is that what it is, and was it written to its end?",
    )


class MilleWriter:
    """Write a C binary Mille file (float32) record by record; the file appears under its name when all is written.

    >>> with MilleWriter(path) as writer:  # doctest: +SKIP
    ...     writer.measurement(0.01, 0.02, {1: 1.0, 2: -500.0}, {1201: 1.0})
    ...     writer.end_record()
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = _temporary(path)
        self._stream = self._temporary.open("wb")
        self._numbers: list[float] = [0.0]
        self._integers: list[int] = [0]

    def measurement(self, value: float, sigma: float, local: dict[int, float], labels: dict[int, float]) -> None:
        """Add a measurement to the record; it is left out if sigma <= 0, as are derivatives that are zero.

        Args:
            value: the residual.
            sigma: its standard deviation, same unit.
            local: derivative by local parameter, from 1.
            labels: derivative by label of a global parameter, > 0.

        Raises:
            DataError: an index or a label is not positive, or a number is not finite.
        """
        if sigma <= 0:
            return
        local = {index: number for index, number in local.items() if number != 0}
        labels = {label: number for label, number in labels.items() if number != 0}
        _check(np.array([*local, *labels], np.int64), np.array([value, sigma, *local.values(), *labels.values()]))
        self._numbers += [value, *local.values(), sigma, *labels.values()]
        self._integers += [0, *local, 0, *labels]

    def end_record(self) -> None:
        """Write the record; one without measurements is left out."""
        if len(self._integers) > 1:
            self._stream.write(np.int32(2 * len(self._integers)).tobytes())
            self._stream.write(np.array(self._numbers, "<f4").tobytes())
            self._stream.write(np.array(self._integers, "<i4").tobytes())
        self._numbers, self._integers = [0.0], [0]

    def __enter__(self) -> Self:
        """Start to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Put the file in its place, or remove what was written if something failed."""
        self._stream.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink()


def write_records(
    path: Path,
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
    """Write a C binary Mille file (float32) from flat arrays over all hits of all records.

    Measurements with sigma <= 0, derivatives that are zero and records without measurements are left out. The file is
    written under a temporary name and renamed.

    Args:
        path: the file to write.
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
    lengths = np.asarray(record_lengths, np.int64)
    sizes = {
        "hits": (lengths.sum(), [values, sigmas, local_counts, global_counts]),
        "local derivatives": (np.sum(local_counts), [local_indices, local_derivatives]),
        "global derivatives": (np.sum(global_counts), [labels, global_derivatives]),
    }
    for name, (expected, arrays) in sizes.items():
        if any(len(array) != expected for array in arrays):
            raise DataError(f"{path}: arrays of {name} have lengths {[len(a) for a in arrays]}, expected {expected}")
    keep = np.asarray(sigmas) > 0
    lengths, values, sigmas = _count_by(lengths, keep), np.asarray(values)[keep], np.asarray(sigmas)[keep]
    locals_ = _keep_terms(keep, local_counts, local_indices, local_derivatives)
    globals_ = _keep_terms(keep, global_counts, labels, global_derivatives)
    for _, integers, numbers in (locals_, globals_):
        _check(integers, numbers)
    _check(np.ones(0, np.int64), np.concatenate([values, sigmas]))
    temporary = _temporary(path)
    temporary.write_bytes(_encode(lengths[lengths > 0], values, sigmas, locals_, globals_))
    temporary.replace(path)
    return int(np.count_nonzero(lengths))


_Terms = tuple[Longs, Longs, NDArray[Any]]  # number by hit; integers and numbers of all hits


def _keep_terms(keep: NDArray[np.bool_], counts: NDArray[Any], integers: NDArray[Any], numbers: NDArray[Any]) -> _Terms:
    wanted = np.repeat(keep, counts) & (np.asarray(numbers) != 0)
    kept = _count_by(np.asarray(counts, np.int64), wanted)[keep]
    return kept, np.asarray(integers, np.int64)[wanted], np.asarray(numbers)[wanted]


def _count_by(counts: Longs, wanted: NDArray[np.bool_]) -> Longs:
    """How many are wanted in each of the consecutive groups of the given sizes."""
    total = np.concatenate([[0], np.cumsum(wanted)])
    ends = np.cumsum(counts)
    return np.asarray(total[ends] - total[ends - counts], np.int64)


def _encode(lengths: Longs, values: NDArray[Any], sigmas: NDArray[Any], locals_: _Terms, globals_: _Terms) -> bytes:
    hit_pairs = 2 + locals_[0] + globals_[0]
    hit_end = np.cumsum(hit_pairs)
    record_of_hit = np.repeat(np.arange(len(lengths)), lengths)
    record_pairs = 1 + np.bincount(record_of_hit, hit_pairs, len(lengths)).astype(np.int64)
    record_start = np.cumsum(1 + 2 * record_pairs) - (1 + 2 * record_pairs)
    # Pairs before a hit in its record, from the count over all hits: each record has one pair more in front.
    before = hit_end - hit_pairs - (np.cumsum(record_pairs - 1) - (record_pairs - 1))[record_of_hit]
    at = record_start[record_of_hit] + 2 + before
    words = np.zeros(int((1 + 2 * record_pairs).sum()), "<i4")
    numbers = words.view("<f4")
    words[record_start] = 2 * record_pairs
    numbers[at] = values
    numbers[at + 1 + locals_[0]] = sigmas
    shift = record_pairs[record_of_hit]
    for (counts, integers, derivatives), first in ((locals_, at + 1), (globals_, at + 2 + locals_[0])):
        where = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(integers))
        numbers[where] = derivatives
        words[where + np.repeat(shift, counts)] = integers
    return words.tobytes()


def _check(integers: Longs, numbers: NDArray[Any]) -> None:
    if len(integers) and (integers.min() <= 0 or integers.max() > np.iinfo(np.int32).max):
        raise DataError("a local index or label is outside 1 … 2147483647")
    with np.errstate(over="ignore"):
        if not np.isfinite(numbers.astype(np.float32)).all():
            raise DataError("a measurement or derivative is not a finite number in single precision")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
