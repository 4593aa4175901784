"""Read Mille binary files: the records that a track fit hands to the Millepede fit.

A record (one track) is two parallel arrays of the same length: numbers and integers. After a first pair, which only
counts errors of the writer, each measurement is

    (value, 0) (local derivative, local index >= 1)* (sigma, 0) (global derivative, label > 0)*

C files put the number of 4-byte words before each record, negative for double precision; Fortran files wrap it into
sequential record markers. C files may be compressed with gzip. See the Millepede-II manual, "Data files".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.mille.windows import Stamp, Window, Windows, open_windows
from fiducial.alignment.verdict import ReadError
from fiducial.core.errors import DataError, NotFoundError

__all__ = ["MilleBlock", "MilleFile", "RawBlock", "raw_blocks", "read_blocks"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32] | NDArray[np.float64]

BLOCK_WORDS = 1 << 20  # 4 MiB: enough for records that name the same parameters to meet, and little memory
_HEADROOM_WORDS = 1 << 14  # read with each block, for its last record


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

    def survey(self) -> tuple[Ints, Longs]:
        """Check the records; their labels and counts, as of `records.survey`.

        Raises:
            DataError: a record breaks the format; file, record and byte are named.
        """
        from fiducial.alignment.mille import decoding, records

        label, counts, fault, record = records.survey(*self.arrays())
        if fault:
            raise self.error(record, decoding.FAULTS[fault])
        return label, counts

    def decode(self, *, checked: bool = False) -> MilleBlock:
        """Split the records into flat arrays.

        Args:
            checked: the same records were surveyed before.

        Raises:
            DataError: as `survey`.
        """
        from fiducial.alignment.mille import decoding

        if not checked:
            self.survey()
        integers, integer_start, numbers, number_start, pairs = self.arrays()
        arrays = decoding.decode(numbers, integers, number_start, integer_start, pairs)
        return MilleBlock(self.source, self.first_record, *arrays)

    def arrays(self) -> tuple[Ints, Longs, Floats, Longs, Longs]:
        """Where the records lie: integers and where each record's start, the same of numbers, and pairs of each."""
        pairs = np.abs(self.length) // 2
        words = self.words.view()
        words.setflags(write=False)  # for whatever they were read into, the same compiled code shall run on them
        if self.length[0] > 0:
            return words, self.position + pairs, words.view(np.float32), self.position, pairs
        from fiducial.alignment.mille import decoding

        # Doubles lie on odd words as often as not, so they are copied to where a float64 may lie.
        numbers = decoding.gather(words, self.position, 2 * pairs).view(np.float64)
        return words, self.position + 2 * pairs, numbers, np.cumsum(pairs) - pairs, pairs

    def error(self, record: int, what: str) -> DataError:
        """The error of a record of the block, counted from 0; file, record and byte are named."""
        header = 2 if self.source.fortran else 1
        offset = self.byte_offset + 4 * int(self.position[record] - header)
        return DataError(
            _place(self.source, self.first_record + record, offset, what),
            hint="the file was read soundly up to there: look at what wrote it",
        )


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
    source: MilleFile | Path,
    *,
    block_words: int = BLOCK_WORDS,
    lenient: bool = False,
    stamps: dict[Path, Stamp] | None = None,
) -> Iterator[RawBlock]:
    """Find the records of a Mille file, block by block, without decoding them. Errors are those of `read_blocks`.

    Args:
        source: the file.
        block_words: 4-byte words of a block, about.
        lenient: whether records of a block before a damaged one are given out before the error is raised.
        stamps: what each file was when it was read before, if it was; a file that is another now is an error. A new
            one is noted here.
    """
    if isinstance(source, Path):
        source = MilleFile(source)
    try:
        with open_windows(source.path) as windows:
            if stamps is not None and stamps.setdefault(source.path, windows.stamp) != windows.stamp:
                raise windows.changed()
            yield from _blocks(_Scanner(source, block_words, lenient=lenient), windows)
    except FileNotFoundError:
        raise NotFoundError(f"{source.path}: there is no such Mille file") from None
    except OSError as error:
        raise ReadError(f"{source.path}: cannot be read: {error.strerror or error}") from error


def _blocks(scanner: _Scanner, windows: Windows) -> Iterator[RawBlock]:
    offset, room = 0, 4 * (scanner.block_words + _HEADROOM_WORDS)
    while True:
        window = windows.at(offset, room)
        words = np.frombuffer(window.data, np.dtype("<i4"), count=len(window.data) // 4)
        block = scanner.next(words, offset, window) if len(words) else None
        if block is not None:
            yield block
            offset, room = offset + 4 * len(block.words), 4 * (scanner.block_words + _HEADROOM_WORDS)
        elif window.last:
            break
        else:
            room *= 2  # for a record that is longer than all that was read
    if window.broken:
        raise _damaged(scanner.source, scanner.record, offset, f"the compressed data break off here: {window.broken}")
    if scanner.record == 1 and not len(window.data):
        raise DataError(f"{scanner.source.path}: is empty: no record in it")
    if left := len(window.data):
        bytes_ = "1 byte is" if left == 1 else f"{left} bytes are"
        raise _damaged(scanner.source, scanner.record, offset, f"{bytes_} left after the last record")


class _Scanner:
    """Finds record after record in words, and counts them."""

    def __init__(self, source: MilleFile, block_words: int, *, lenient: bool = False) -> None:
        self.source = source
        self.lenient = lenient
        self.block_words = block_words
        self.record = 1

    def next(self, words: Ints, offset: int, window: Window) -> RawBlock | None:
        """The block at the beginning of a window, which lies at a byte of the file; None if it is longer."""
        from fiducial.alignment.mille import decoding

        position, length, end, fault = decoding.scan(words, 0, self.block_words, self.source.fortran)
        if fault == decoding.TRUNCATED and not window.last:
            return None
        if fault == decoding.TRUNCATED and window.broken and not len(position):
            return None
        if fault and not (len(position) and (self.lenient or window.broken)):
            raise self._error(words, end, offset, self.record + len(position), decoding.FAULTS[fault])
        block = RawBlock(self.source, self.record, offset, words[:end], position, length)
        self.record += len(position)
        return block

    def _error(self, words: Ints, at: int, offset: int, record: int, what: str) -> ReadError:
        from fiducial.alignment.mille import decoding

        error = _damaged(self.source, record, offset + 4 * at, what)
        _, _, end, fault = decoding.scan(words, 0, self.block_words, not self.source.fortran)
        if offset == 0 and end > 0 and fault in (0, decoding.TRUNCATED):
            other = "Cfiles" if self.source.fortran else "fortranfiles"
            error.hint = f"it can be read as the other kind: declare it after `{other}`"
        return error


def _damaged(source: MilleFile, record: int, offset: int, what: str) -> ReadError:
    kind = "Fortran" if source.fortran else "C"
    return ReadError(
        _place(source, record, offset, what),
        hint=f"it was read as a {kind} binary: is that what it is, and was it written to its end?",
    )


def _place(source: MilleFile, record: int, offset: int, what: str) -> str:
    return f"{source.path}: record {record} at byte {offset}: {what}"
