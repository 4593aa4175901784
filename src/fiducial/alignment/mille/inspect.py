"""Look into Mille files: of what kind they are, what they hold, and single records as they stand there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.mille.labels import LabelCounter
from fiducial.alignment.mille.reader import BLOCK_WORDS, MilleBlock, MilleFile, RawBlock, raw_blocks
from fiducial.alignment.mille.windows import open_windows
from fiducial.alignment.mille.writer import Kind
from fiducial.alignment.verdict import ReadError
from fiducial.core.errors import DataError, UsageError

__all__ = ["Contents", "Hit", "Record", "count_file", "is_fortran", "pairs_of", "parse_records", "records_of", "taken"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Progress = Callable[[int], None]


def is_fortran(path: Path) -> bool:
    """Whether a file begins like a Fortran file: what is neither kind counts as a C file, whose reading then says so.

    A Fortran file begins with a number of bytes and, in them, a number of words that fits it. A C file begins with the
    number of words and then a zero, the number of the first pair.
    """
    try:
        with open_windows(path) as windows:
            head = windows.at(0, 8).data
    except (OSError, ReadError):
        return False
    if len(head) < 8:
        return False
    markers, words = np.frombuffer(head, "<i4", 2).tolist()
    return bool(words > 0 and words % 2 == 0 and markers == 4 + 4 * words)


def pairs_of(raw: RawBlock) -> tuple[NDArray[Any], Ints, Longs]:
    """Numbers and integers (P,) of all records of a block, special data included, and pairs of each record (R,)."""
    from fiducial.alignment.mille.decoding import gather

    pairs = np.abs(raw.length) // 2
    width = 1 if raw.length[0] > 0 else 2
    numbers = gather(raw.words, raw.position, width * pairs)
    integers = gather(raw.words, raw.position + width * pairs, pairs)
    return numbers.view(np.float32 if width == 1 else np.float64), integers, pairs


def parse_records(text: str) -> tuple[int, int | None]:
    """Read ``3``, ``1-3`` (both included) or ``5-`` (to the end): numbers of records, from 1.

    Raises:
        UsageError: it is none of these.
    """
    first, dash, last = text.strip().partition("-")
    # Digits of other writings, superscripts among them, are digits to `isdigit` and not all of them to `int`.
    digits = text.isascii() and first.isdigit() and (not last or last.isdigit())
    if not digits or int(first) < 1:
        raise UsageError(
            f"--records {text}: no range of records", hint="3, or 1-3 for the first three, or 5- to the end"
        )
    end = int(last) if last else None if dash else int(first)
    if end is not None and end < int(first):
        raise UsageError(f"--records {text} holds no record", hint="the smaller number comes first")
    return int(first), end


def taken(source: MilleFile, first: int, last: int | None, *, block_words: int = BLOCK_WORDS) -> Iterator[RawBlock]:
    """Blocks with the records from one number to another, cut to those.

    Raises:
        DataError: the file is damaged up to there, or has fewer records than `first`.
    """
    seen = 0
    for raw in raw_blocks(source, block_words=block_words):
        seen = raw.first_record + len(raw.length) - 1
        low = max(first - raw.first_record, 0)
        high = len(raw.length) if last is None else last - raw.first_record + 1
        if low < len(raw.length) and high > low:
            yield _part(raw, low, high)
        if last is not None and seen >= last:
            return
    if first > seen:
        raise DataError(f"{source.path} has {seen:,} records; there is none with number {first:,}")


def _part(raw: RawBlock, low: int, high: int) -> RawBlock:
    position, length = raw.position[low:high], raw.length[low:high]
    return RawBlock(raw.source, raw.first_record + low, raw.byte_offset, raw.words, position, length)


@dataclass
class Contents:
    """What a file holds.

    Args:
        source: the file.
        kinds: records of each kind.
        measurements: number of measurements.
        locals: number of local derivatives.
        globals: number of derivatives by labels.
        most_measurements: of a record.
        largest_local: local index.
        special_records: records with special data.
        special_pairs: pairs of special data, those that announce them included.
        flagged: records in which the writer counted errors of its own.
    """

    source: MilleFile
    kinds: dict[Kind, int] = field(default_factory=dict)
    measurements: int = 0
    locals: int = 0
    globals: int = 0
    most_measurements: int = 0
    largest_local: int = 0
    special_records: int = 0
    special_pairs: int = 0
    flagged: int = 0
    _labels: LabelCounter = field(default_factory=LabelCounter)

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(self.kinds.values())

    @property
    def labels(self) -> dict[int, int]:
        """How often each label occurs."""
        return self._labels.counts()

    def add(self, raw: RawBlock) -> None:
        """Count a block.

        Raises:
            DataError: a record is damaged.
        """
        block = raw.decode()
        kind = Kind.FORTRAN if self.source.fortran else Kind.C_FLOAT if raw.length[0] > 0 else Kind.C_DOUBLE
        self.kinds[kind] = self.kinds.get(kind, 0) + block.records
        self.measurements += len(block.value)
        self.locals += len(block.local_index)
        self.globals += len(block.label)
        self.most_measurements = max(self.most_measurements, int(np.diff(block.measurement_start).max()))
        self.largest_local = max(self.largest_local, int(block.local_size.max()))
        self._labels.add(block.label)
        self._count_rest(raw, block)

    def _count_rest(self, raw: RawBlock, block: MilleBlock) -> None:
        pairs = np.abs(raw.length) // 2
        ordinary = 1 + 2 * np.diff(block.measurement_start)
        for start in (block.local_start, block.global_start):
            ordinary += np.diff(start[block.measurement_start])
        special = pairs - ordinary
        self.special_pairs += int(special.sum())
        self.special_records += int(np.count_nonzero(special))
        width = 1 if raw.length[0] > 0 else 2
        self.flagged += int(np.count_nonzero(raw.words[raw.position + width * pairs]))

    def to_json(self) -> dict[str, Any]:
        """The numbers for programs."""
        labels = self.labels
        return {
            "records": self.records,
            "kinds": {str(kind): count for kind, count in self.kinds.items()},
            "measurements": self.measurements,
            "most_measurements": self.most_measurements,
            "local_derivatives": self.locals,
            "largest_local_index": self.largest_local,
            "global_derivatives": self.globals,
            "labels": len(labels),
            "smallest_label": min(labels, default=None),
            "largest_label": max(labels, default=None),
            "special_records": self.special_records,
            "special_pairs": self.special_pairs,
            "records_with_errors_of_the_writer": self.flagged,
        }


def count_file(source: MilleFile, progress: Progress = lambda _: None) -> Contents:
    """Read a whole file and count what is in it.

    Args:
        source: the file.
        progress: is told how many bytes have been read (of what a compressed file holds).

    Raises:
        NotFoundError: there is no such file.
        DataError: it is damaged; record and byte are named.
    """
    contents = Contents(source)
    for raw in raw_blocks(source):
        contents.add(raw)
        progress(raw.byte_offset + raw.words.nbytes)
    return contents


@dataclass(frozen=True)
class Hit:
    """One measurement: value, sigma, and derivatives by local index and by label, in the order of the file."""

    value: float
    sigma: float
    local: list[tuple[int, float]]
    labels: list[tuple[int, float]]


@dataclass(frozen=True)
class Record:
    """One record.

    Args:
        number: from 1.
        byte: where it starts, in what a compressed file holds.
        double: whether it is in double precision.
        errors: what its writer counted.
        hits: its measurements.
        special: sizes of its special data, pairs.
        fault: what is wrong with it; empty if nothing is.
    """

    number: int
    byte: int
    double: bool
    errors: int
    hits: list[Hit]
    special: list[int]
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """The record for programs."""
        hits = [{"value": h.value, "sigma": h.sigma, "local": h.local, "labels": h.labels} for h in self.hits]
        about = {"record": self.number, "byte": self.byte, "precision": "double" if self.double else "single"}
        return about | {"errors": self.errors, "special": self.special, "fault": self.fault, "measurements": hits}


def records_of(source: MilleFile, first: int, last: int | None) -> Iterator[Record]:
    """Records as they stand in a file, also such as the fit would refuse.

    Raises:
        NotFoundError: there is no such file.
        DataError: the file ends, or cannot be followed any more, before the last of them.
    """
    following = first
    try:
        for record in _records(taken(source, first, last)):
            yield record
            following = record.number + 1
    except DataError:
        # One record a block: one that cannot be followed does not hide those before it in its block.
        yield from _records(taken(source, following, last, block_words=1))


def _records(blocks: Iterator[RawBlock]) -> Iterator[Record]:
    for block in blocks:
        for k in range(len(block.length)):
            yield _record(_part(block, k, k + 1))


def _record(raw: RawBlock) -> Record:
    numbers, integers, _ = pairs_of(raw)
    hits, special = _parsed(numbers.tolist(), integers.tolist())
    byte = raw.byte_offset + 4 * (int(raw.position[0]) - (2 if raw.source.fortran else 1))
    return Record(raw.first_record, byte, bool(raw.length[0] < 0), int(integers[0]), hits, special, _fault(raw))


def _fault(raw: RawBlock) -> str:
    try:
        raw.decode()
    except DataError as error:
        return error.message.rpartition(": ")[2]
    return ""


def _parsed(numbers: list[float], integers: list[int]) -> tuple[list[Hit], list[int]]:
    """Measurements, and sizes of special data; what is not complete is left away."""
    hits, special = [], []
    at, end = 1, len(integers)

    def terms() -> list[tuple[int, float]]:
        nonlocal at
        start = at
        while at < end and integers[at]:
            at += 1
        return list(zip(integers[start:at], numbers[start:at], strict=True))

    while at < end:
        value = numbers[at]
        at += 1
        local = terms()
        if at >= end:
            break
        sigma = numbers[at]
        at += 1
        if not local and sigma < 0:
            special.append(round(min(-sigma, end)))
            at += special[-1]
        else:
            hits.append(Hit(value, sigma, local, terms()))
    return hits, special
