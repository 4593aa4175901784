"""What of the Mille files is read, and how entries of parameters are counted, where the steering has a say in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.mille.labels import LabelCounter
from fiducial.alignment.mille.reader import MilleBlock, MilleFile, RawBlock, raw_blocks
from fiducial.alignment.mille.windows import AlteredError, Stamp
from fiducial.core.errors import DataError

__all__ = ["Reading", "recount"]

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Reading:
    """What of the data is read, and how it is counted.

    Args:
        most_records: records at most; 0: all.
        lenient: a record that cannot be read ends its file, not the fit.
        global_scale: factor on sigmas of measurements with global derivatives.
        local_scale: the same without.
        by_record: entries are counted once a record, not once a measurement.
    """

    most_records: int = 0
    lenient: bool = False
    global_scale: float = 1.0
    local_scale: float = 1.0
    by_record: bool = False

    def raw(
        self, files: list[MilleFile], damaged: dict[str, str], stamps: dict[Path, Stamp] | None = None
    ) -> Iterator[RawBlock]:
        """The records of some files; why a file was not read to its end is left in `damaged`, by its path.

        Args:
            files: in their order.
            damaged: see above.
            stamps: of the files when they were read before, see `raw_blocks`.

        Raises:
            NotFoundError: a file is missing.
            DataError: a file is damaged, and that is not allowed.
        """
        left = self.most_records
        for file in files:
            for block in self._of_file(file, damaged, stamps):
                if not self.most_records:
                    yield block
                    continue
                yield _first(block, left)
                left -= len(block.position)
                if left <= 0:
                    return

    def _of_file(
        self, file: MilleFile, damaged: dict[str, str], stamps: dict[Path, Stamp] | None
    ) -> Iterator[RawBlock]:
        try:
            yield from raw_blocks(file, lenient=self.lenient, stamps=stamps)
        except DataError as error:
            if not self.lenient or isinstance(error, AlteredError):
                raise
            damaged[str(file.path)] = error.message

    def decode(self, raw: RawBlock) -> MilleBlock:
        """Split records that were surveyed before into arrays, with their sigmas scaled."""
        block = raw.decode(checked=True)
        if self.global_scale == 1 and self.local_scale == 1:
            return block
        scale = np.where(np.diff(block.global_start) > 0, self.global_scale, self.local_scale)
        return replace(block, sigma=block.sigma * scale)

    def entries(self, block: MilleBlock) -> Ints:
        """The labels that a block adds entries to, as often as it does."""
        if not self.by_record:
            return block.label
        derivatives = np.diff(block.global_start[block.measurement_start])
        record = np.repeat(np.arange(block.records, dtype=np.int64), derivatives)
        return np.unique(record << 32 | block.label).astype(np.int32)


def _first(block: RawBlock, records: int) -> RawBlock:
    if records >= len(block.position):
        return block
    return replace(block, position=block.position[:records], length=block.length[:records])


def recount(blocks: Iterable[MilleBlock], few: NDArray[np.int64]) -> dict[int, int]:
    """Count entries by label again, without measurements that depend on a parameter of few entries."""
    counter = LabelCounter()
    for block in blocks:
        derivatives = np.diff(block.global_start)
        measurement = np.repeat(np.arange(len(derivatives)), derivatives)
        spoilt = np.zeros(len(derivatives), np.bool_)
        spoilt[measurement[np.isin(block.label, few)]] = True
        counter.add(block.label[~spoilt[measurement]])
    return counter.counts()
