"""Where parameters appear in the data: first and last records, and which parameters appear together only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.mille.reader import MilleBlock, MilleFile

__all__ = ["Appearance"]

Longs = NDArray[np.int64]
_NEVER = 2**62


@dataclass
class Appearance:
    """Where parameters appear; arrays are by parameter, labels ascending, and then by set.

    Args:
        labels: all labels.
        files: in the order in which they are read.
        sets: labels that are looked for together.

    Attributes:
        first: file and record, from 1, in which a parameter, or one of a set, appears first.
        last: and last.
        in_files: number of files in which it does; 0: it does not.
        entries: measurements that depend on it.
    """

    labels: Longs
    files: list[MilleFile]
    sets: list[set[int]]

    def __post_init__(self) -> None:
        """Start with nothing seen."""
        size = len(self.labels) + len(self.sets)
        self.first = np.full((size, 2), _NEVER, np.int64)  # file and record
        self.last = np.zeros((size, 2), np.int64)
        self.in_files = np.zeros(size, np.int64)
        self.entries = np.zeros(size, np.int64)
        self._with_next = np.zeros(len(self.labels), np.int64)
        self._members = [np.isin(self.labels, sorted(chosen)) for chosen in self.sets]

    def look(self, blocks: Iterable[MilleBlock]) -> None:
        """Look at all records."""
        for block in blocks:
            position = np.searchsorted(self.labels, block.label)
            derivatives = np.diff(block.global_start)
            measurement = np.repeat(np.arange(len(derivatives)), derivatives)
            record = np.repeat(np.arange(block.records), np.diff(block.measurement_start))[measurement]
            self._note_places(block, position, record)
            self._note_neighbours(position, measurement)
            for k, members in enumerate(self._members, len(self.labels)):
                inside = members[position]
                self._note_places(block, np.full(int(inside.sum()), k), record[inside])
                self.entries[k] += len(np.unique(measurement[inside]))

    def _note_places(self, block: MilleBlock, position: Longs, record: Longs) -> None:
        file = self.files.index(block.source) + 1
        seen, first = np.unique(position, return_index=True)
        _, last = np.unique(position[::-1], return_index=True)
        new = self.first[seen, 0] == _NEVER
        self.in_files[seen] += self.last[seen, 0] != file
        self.first[seen[new], 0] = file
        self.first[seen[new], 1] = block.first_record + record[first[new]]
        self.last[seen, 0] = file
        self.last[seen, 1] = block.first_record + record[len(record) - 1 - last]

    def _note_neighbours(self, position: Longs, measurement: Longs) -> None:
        pairs = np.unique(measurement * len(self.labels) + position)
        where, at = np.divmod(pairs, len(self.labels))
        self.entries[: len(self.labels)] += np.bincount(at, minlength=len(self.labels))
        together = (np.diff(at) == 1) & (np.diff(where) == 0)
        self._with_next += np.bincount(at[:-1][together], minlength=len(self.labels))

    def starts(self) -> NDArray[np.bool_]:
        """Whether a parameter that is in the data starts a group of neighbours that appear together only."""
        count = self.entries[: len(self.labels)]
        goes_on = (self._with_next[:-1] == count[:-1]) & (self._with_next[:-1] == count[1:])
        return np.asarray((count > 0) & ~np.concatenate([[False], goes_on]))
