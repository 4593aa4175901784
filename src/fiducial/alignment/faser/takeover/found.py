"""What older scripts have left of their iterations, and what of it is proven to be whole.

Their programs ended with status 0 whatever happened. So nothing counts but what the files themselves show: a fit by
the verdict in its ``millepede.end``, constants by being readable, an ntuple by its tree and its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fiducial.alignment.constants.values import Constants, read_constants
from fiducial.alignment.faser.layout import Iteration
from fiducial.alignment.fit.outputs.files import read_end
from fiducial.alignment.fit.outputs.res import read_results
from fiducial.alignment.tracker.ntuple import read_ntuple
from fiducial.core.errors import FiducialError

__all__ = ["RESTING", "Found", "constants_in", "find_iterations", "look_at_ntuples"]

#: Verdicts with which pede's result can be used.
_USABLE = (0, 1)
#: Where the very first scripts put the ntuples.
_OLDEST_NTUPLES = "2root_file"
#: Where ntuples rest that are taken over: a job clears the place of its outputs before it begins.
RESTING = "taken"


@dataclass(frozen=True)
class Found:
    """One iteration of older scripts: its folders, which may be two, for small files and for data.

    Args:
        number: as its folder has it.
        places: the folders of this iteration that are there.
        handed_on: the constants that the iteration after it has got.
    """

    number: int
    places: tuple[Iteration, ...]
    handed_on: Path | None = None

    @property
    def holds_something(self) -> bool:
        """Whether there is any file in it."""
        return any(path.is_file() for place in self.places for path in place.folder.rglob("*"))

    @property
    def result(self) -> Path | None:
        """The constants that its fit found."""
        return self._first(place.constants for place in self.places) or self.handed_on

    @property
    def began_with(self) -> Path | None:
        """The constants that it reconstructed with."""
        return self._first(place.began_with for place in self.places)

    @staticmethod
    def _first(paths: Iterator[Path]) -> Path | None:
        return next((path for path in paths if path.is_file()), None)

    @property
    def fit(self) -> str:
        """What is off with its fit; empty if its result can be used."""
        folder = next((place.fit for place in self.places if (place.fit / "millepede.res").is_file()), None)
        if folder is None:
            return "there is no millepede.res"
        try:
            code, message = read_end(folder / "millepede.end")
        except (OSError, ValueError):
            return "there is no millepede.end that says how its fit ended"
        if code not in _USABLE:
            return f"its fit ended with {code}, {message}"
        try:
            return "" if read_results(folder / "millepede.res") else "its millepede.res is empty"
        except FiducialError as error:
            return error.message

    def ntuples(self, run: int) -> dict[int, Path]:
        """Files that look like its ntuples, by the number of the raw file."""
        name = re.compile(rf"(?:.*[-_])?{run:06d}[-_](\d{{5}})(?!\d).*\.root")
        found: dict[int, Path] = {}
        for folder in self._ntuple_folders():
            for path in sorted(folder.glob("*kfalignment*.root")):
                match = name.fullmatch(path.name)
                if match:
                    found.setdefault(int(match[1]), path)
        return found

    def _ntuple_folders(self) -> Iterator[Path]:
        for place in self.places:
            yield place.folder / RESTING
            yield place.ntuples
            yield place.folder / _OLDEST_NTUPLES


def find_iterations(layout: Sequence[Iteration], base: Path, others: Sequence[Path]) -> list[Found]:
    """Iterations that hold something, in order.

    Args:
        layout: where each iteration lies under the campaign's folder.
        base: the campaign's folder.
        others: folders that may hold the same iterations' data.
    """
    found = []
    for iteration in layout:
        places = [_moved(iteration, base, other) for other in (base, *others)]
        there = Found(iteration.number, tuple(place for place in places if place.folder.is_dir()))
        if there.holds_something:
            found.append(there)
    after = {there.number - 1: there.began_with for there in found}
    return [replace(there, handed_on=after.get(there.number)) for there in found]


def _moved(iteration: Iteration, base: Path, other: Path) -> Iteration:
    paths = (iteration.folder, iteration.reco, iteration.ntuples, iteration.fit)
    return Iteration(iteration.number, *(other / path.relative_to(base) for path in paths))


def constants_in(path: Path | None) -> Constants | None:
    """The constants of a file; None where there is none, or it cannot be read."""
    try:
        return None if path is None else read_constants(path)
    except FiducialError:
        return None


def look_at_ntuples(found: Found, run: int, files: range) -> Iterator[tuple[int, Path, str]]:
    """Each ntuple of the wanted files, and what is off with it; empty if it is whole.

    It is opened, its length and its branches are looked at, and its first track is read. The rest is read by the fit.
    """
    for number, path in found.ntuples(run).items():
        if number in files:
            try:
                next(read_ntuple(path, block=1))
            except FiducialError as error:
                yield number, path, error.message
            else:
                yield number, path, ""
