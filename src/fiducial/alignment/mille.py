"""Read Mille binary files: the records that a track fit hands to the Millepede fit.

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
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fiducial.core.errors import DataError, NotFoundError

__all__ = ["MilleBlock", "MilleFile", "RawBlock", "raw_blocks", "read_blocks"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32] | NDArray[np.float64]

BLOCK_WORDS = 1 << 20  # 4 MiB: enough for records that name the same parameters to meet, and little memory
_WINDOW_BYTES = 32 << 20  # pages of a mapped file are given back in steps of this
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
    except OSError as error:
        raise DataError(f"{source.path}: cannot be read: {error.strerror or error}") from error


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
        more, broken = _unpacked(stream, 4 * scanner.block_words)
        ended = not more and not broken
        rest += more
        words = np.frombuffer(rest, np.dtype("<i4"), count=len(rest) // 4)
        start = 0
        while start < len(words) and (ended or scanner.complete(words, start)):
            block, start = scanner.next(words, start, len(rest), offset, partial=not ended)
            yield block
        rest = rest[4 * start :]
        offset += 4 * start
        if broken:
            raise _damaged(source, scanner.record, offset, f"the compressed data break off here: {broken}")
    if scanner.record == 1 and not rest:
        raise DataError(f"{source.path}: is empty: no record in it")
    if rest:
        raise _damaged(source, scanner.record, offset, f"{len(rest)} bytes are left after the last record")


def _unpacked(stream: gzip.GzipFile, size: int) -> tuple[bytes, str]:
    """So many bytes, less at the end of the stream, and what is wrong with it where they break off."""
    parts: list[bytes] = []
    try:
        # Small reads, for one that fails gives nothing at all.
        while size > 0 and (part := stream.read1(size)):
            parts.append(part)
            size -= len(part)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return b"".join(parts), str(error)
    return b"".join(parts), ""


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
