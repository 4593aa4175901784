"""Rewrite Mille files as another kind, or parts of them: what is in the records stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiducial.alignment.mille.inspect import pairs_of, taken
from fiducial.alignment.mille.reader import MilleBlock, MilleFile, RawBlock
from fiducial.alignment.mille.writer import Kind, MilleOutput
from fiducial.core.errors import DataError
from fiducial.storage.replace import keep_apart

__all__ = ["Wanted", "convert"]


@dataclass(frozen=True)
class Wanted:
    """What is written.

    Args:
        path: the file.
        kind: of it.
        packed: compress it with gzip; if not said, a name that ends in ``.gz`` does.
        first: number of the first record that is taken, from 1.
        last: number of the last one; None for all.
    """

    path: Path
    kind: Kind
    packed: bool | None = None
    first: int = 1
    last: int | None = None


def convert(source: MilleFile, wanted: Wanted, progress: Callable[[int], None] = lambda _: None) -> int:
    """Write the records of one file as another one, with special data, zeros and counts of errors as they are.

    Args:
        source: the file that is read.
        wanted: what is written.
        progress: is told how many bytes have been read (of what a compressed file holds).

    Returns:
        the number of records written.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is damaged, has fewer records than wanted, or a number cannot be stored in single precision.
        UsageError: the output would overwrite the input, or :class:`MilleOutput` refuses it.
    """
    keep_apart([wanted.path], [source.path])
    records = 0
    with MilleOutput(wanted.path, wanted.kind, packed=wanted.packed) as output:
        for raw in taken(source, wanted.first, wanted.last):
            _check(raw, raw.decode(), wanted.kind)
            output.write(*pairs_of(raw))
            records += len(raw.length)
            progress(raw.byte_offset + raw.words.nbytes)
    return records


def _check(raw: RawBlock, block: MilleBlock, kind: Kind) -> None:
    """Refuse numbers that single precision cannot hold; derivatives that become zero do no harm."""
    if raw.length[0] > 0 or kind is Kind.C_DOUBLE:
        return
    measurement = block.measurement_start
    local, global_ = block.local_start[measurement], block.global_start[measurement]
    for numbers, start in (
        (block.value, measurement),
        (block.sigma, measurement),
        (block.local_derivative, local),
        (block.global_derivative, global_),
    ):
        _refuse(block, np.abs(numbers) >= kind.overflow, numbers, start)
    _refuse(block, block.sigma <= kind.underflow, block.sigma, measurement)


def _refuse(block: MilleBlock, wrong: np.ndarray, numbers: np.ndarray, start: np.ndarray) -> None:
    odd = np.flatnonzero(wrong)
    if len(odd):
        record = block.first_record + int(np.searchsorted(start, odd[0], side="right")) - 1
        raise DataError(
            f"{block.source.path}: record {record}: {numbers[odd[0]]:g} cannot be stored in single precision",
            hint="convert it to c-double",
        )
