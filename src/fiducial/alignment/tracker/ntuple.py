"""ROOT files with reconstructed tracks and what an alignment needs of them: TTree ``tree``, one entry for each track.

Branches with one number for each track (mm, GeV): ``fitParam_x``, ``_y``, ``_chi2``, ``_ndf``, ``_px``, ``_py``,
``_pz``, ``_charge``. Branches with one number for each hit of a track:

- ``fitParam_align_global_derivation_y_{x,y,z,rx,ry,rz}``: derivatives of the predicted measured coordinate by the
  shifts and rotations of the hit's layer;
- ``fitParam_align_local_derivation_x_{x,y,z,rx,ry,rz}``: by those of the hit's side, in the side's frame;
- ``fitParam_align_local_derivation_x_par_{x,y,theta,phi,qop}``: by the track's parameters;
- ``fitParam_align_local_residual_x`` (measured minus fitted), ``_local_measured_x``, ``_local_measured_xe`` (its
  standard deviation), ``fitParam_align_id`` (sensor: station*1000 + layer*100 + module*10 + side).

Beside the tree, ``constants`` says under which ones the tracks were made (Adler-32), so that a fit does not take
them for others. Files with ``vector<double>`` and with counted arrays are read alike; written are counted arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.tracker.numbering import AXES
from fiducial.core.errors import DataError, NotFoundError
from fiducial.storage.replace import replacing

__all__ = ["HIT_BRANCHES", "SCALAR_BRANCHES", "TrackTable", "read_ntuple", "write_ntuple"]

Array = NDArray[np.float64]

_PREFIX = "fitParam_align"
_CONSTANTS = "constants"
_NUMBERS = re.compile(
    r"(?P<list>(?:std::)?vector<)?(?:double|float|u?int\d+_t|int|unsigned int|short|long)>?(?P<counted>\[\])?"
)
_AGAIN = "run its reconstruction job again"
GLOBAL_BRANCHES = tuple(f"{_PREFIX}_global_derivation_y_{axis}" for axis in AXES)
LOCAL_BRANCHES = tuple(f"{_PREFIX}_local_derivation_x_{axis}" for axis in AXES)
TRACK_BRANCHES = tuple(f"{_PREFIX}_local_derivation_x_par_{name}" for name in ("x", "y", "theta", "phi", "qop"))
#: Branches with one number for each hit.
HIT_BRANCHES = (
    *GLOBAL_BRANCHES,
    *LOCAL_BRANCHES,
    *TRACK_BRANCHES,
    f"{_PREFIX}_local_residual_x",
    f"{_PREFIX}_local_measured_x",
    f"{_PREFIX}_local_measured_xe",
    f"{_PREFIX}_id",
)
#: Branches with one number for each track.
SCALAR_BRANCHES = tuple(f"fitParam_{name}" for name in ("x", "y", "chi2", "px", "py", "pz", "charge"))


@dataclass(frozen=True)
class TrackTable:
    """Tracks and their hits.

    Args:
        scalars: (t,) numbers of each track, by branch.
        counts: (t,) hits on each track.
        hits: (h,) numbers of each hit, track after track, by branch.
    """

    scalars: dict[str, Array]
    counts: NDArray[np.int64]
    hits: dict[str, Array]

    @property
    def track(self) -> NDArray[np.int64]:
        """Number of the track (h,) that each hit is on."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def write_ntuple(path: Path, table: TrackTable, constants: str = "") -> None:
    """Write tracks into a new file, which appears when it is complete.

    Args:
        path: the file.
        table: the tracks.
        constants: fingerprint of those under which they were made.
    """
    import awkward
    import uproot

    lists = awkward.unflatten(
        awkward.zip({name[len(_PREFIX) + 1 :]: table.hits[name] for name in table.hits}), table.counts
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, uproot.recreate(temporary, compression=uproot.ZLIB(1)) as file:
        file.mktree("tree", {**dict.fromkeys(table.scalars, np.float64), _PREFIX: lists.type.content})
        file["tree"].extend({**table.scalars, _PREFIX: lists})
        file[_CONSTANTS] = constants


def read_ntuple(
    path: Path, branches: Sequence[str] | None = None, *, constants: str = "", block: int = 20_000
) -> Iterator[TrackTable]:
    """Read tracks in blocks.

    Args:
        path: the file.
        branches: which ones, by default those that every such file has.
        constants: fingerprint of those under which the tracks should have been made, if that matters.
        block: at most this many tracks at a time.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is empty, no ROOT file, cut, lacks the tree or a branch, has no track, or holds a number that is
            not finite; the message names the file, the branch and the entry. Or it says of itself that it was made
            under other constants.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such ntuple")
    if not path.stat().st_size:
        raise DataError(f"{path}: empty (0 bytes)", hint="did its reconstruction job fail?")
    wanted = [*SCALAR_BRANCHES, *HIT_BRANCHES] if branches is None else list(branches)
    try:
        yield from _blocks(path, wanted, constants, block)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # damaged files make uproot raise nearly anything
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise DataError(f"{path}: not a complete ROOT file ({why})", hint=_AGAIN) from error


def _blocks(path: Path, branches: list[str], constants: str, block: int) -> Iterator[TrackTable]:
    import uproot

    with uproot.open(path, handler=uproot.MemmapSource) as file:
        # A file that lost only its last bytes can be opened, and its directory still believes in what is not there.
        if path.stat().st_size < file.file.fEND:
            raise DataError(f"{path}: cut at byte {path.stat().st_size} of {file.file.fEND}", hint=_AGAIN)
        made_under = str(file[_CONSTANTS]) if _CONSTANTS in file else ""
        if constants and made_under and constants != made_under:
            raise DataError(
                f"{path}: was made under other constants (checksum {made_under}, not {constants})",
                hint="reconstruct again with the constants that the fit is given",
            )
        if "tree" not in file:
            raise DataError(f'{path}: has no tree "tree", but {sorted(file.keys(cycle=False)) or "nothing"}')
        tree = file["tree"]
        missing = [name for name in branches if name not in tree]
        if missing:
            raise DataError(f"{path}: lacks the branch {', '.join(missing)}")
        if not tree.num_entries:
            raise DataError(f"{path}: holds no track")
        _check_types(path, {name: tree[name].typename for name in branches})
        for first in range(0, tree.num_entries, block):
            last = min(first + block, tree.num_entries)
            yield _table(path, first, {name: tree[name].array(entry_start=first, entry_stop=last) for name in branches})


def _check_types(path: Path, types: dict[str, str]) -> None:
    """See that branches hold a number, or a list of numbers, as they should; the older tree held lists of lists."""
    for name, given in types.items():
        found = _NUMBERS.fullmatch(given)
        if name not in (*SCALAR_BRANCHES, *HIT_BRANCHES):
            continue
        if not found or bool(found["list"] or found["counted"]) != (name in HIT_BRANCHES):
            wanted = "a list of numbers for each track" if name in HIT_BRANCHES else "one number for each track"
            raise DataError(
                f"{path}: branch {name} is {given}, and should be {wanted}",
                hint="was it written by another version of the reconstruction?",
            )


def _table(path: Path, first: int, columns: dict[str, Any]) -> TrackTable:
    """Split branches by what they count, and make sure that every number can be used."""
    import awkward

    scalars: dict[str, Array] = {}
    hits: dict[str, Array] = {}
    counts: NDArray[np.int64] | None = None
    for name, column in columns.items():
        if column.ndim == 1:
            scalars[name] = np.asarray(column, dtype=np.float64)
            _check_finite(path, name, scalars[name], first, None)
            continue
        lengths = np.asarray(awkward.num(column), dtype=np.int64)
        if counts is None:
            counts = lengths
        elif not np.array_equal(lengths, counts):
            entry = first + int(np.flatnonzero(lengths != counts)[0])
            raise DataError(f"{path}: branch {name}, entry {entry}: not as many hits as in the other branches")
        hits[name] = np.asarray(awkward.flatten(column), dtype=np.float64)
        _check_finite(path, name, hits[name], first, counts)
    return TrackTable(scalars, np.zeros(0, np.int64) if counts is None else counts, hits)


def _check_finite(path: Path, name: str, values: Array, first: int, counts: NDArray[np.int64] | None) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return
    place = int(bad[0])
    entry = place if counts is None else int(np.searchsorted(np.cumsum(counts), place, side="right"))
    raise DataError(f"{path}: branch {name}, entry {first + entry}: {values[place]} is not a finite number")
