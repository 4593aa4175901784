"""An iteration's two folders, one for small files and one for data: joined by links, and cleaned up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fiducial.core.errors import FolderError, NotFoundError

__all__ = ["join", "remove_files"]


def join(work: Path, data: Path, *, iteration: str, ntuples: str, fit: str, begin: bool = False) -> list[Path]:
    """Let each of the two folders of a campaign show what lies in the other of one iteration, by symbolic links.

    The folder of ntuples is one link, in the work folder. That of the fit is a folder on both sides, because a submit
    file may lie beside its results, and its files are linked one by one. All else that is in the work folder is
    linked from the data folder. What is there already is left; doing it again adds what has come since.

    Args:
        work: the campaign's folder for small files.
        data: its folder for data.
        iteration: the iteration's folder in both.
        ntuples: folder of ntuples in both, such as ``iter01/2kfalignment``; it is made in the data folder.
        fit: folder of the fit in both, likewise; it is made.
        begin: only lead to the ntuples, which are not there yet, and leave the data folder as it is: EOS cannot be seen
            from every machine on which an iteration begins.

    Returns:
        the links that were made.

    Raises:
        FolderError: a folder or a link cannot be made.
    """
    made: list[Path] = []
    try:
        (work / ntuples).parent.mkdir(parents=True, exist_ok=True)
        if begin:
            _link(work / ntuples, data / ntuples, made)
            return made
        for folder in (data / iteration, data / ntuples, data / fit, work / iteration, work / fit):
            folder.mkdir(parents=True, exist_ok=True)
        _link(work / ntuples, data / ntuples, made)
        _link(work / fit, data / fit, made)
        for own in _own(work / iteration):
            _link(data / iteration / own.name, own, made)
    except OSError as error:
        raise FolderError(
            f"cannot join {work} and {data}: {error.filename2 or error.filename}: {error.strerror}",
            hint="both must be folders that you may write to, on file systems that have symbolic links",
        ) from None
    return made


def _own(folder: Path) -> Iterator[Path]:
    """What is in a folder and no link, nor a program's own, whose name begins with a dot."""
    return (path for path in sorted(folder.iterdir()) if not path.is_symlink() and path.name[0] != ".")


def _link(place: Path, target: Path, made: list[Path]) -> None:
    """Let a place lead to a target; a folder that is there gets a link for each file of the target."""
    if place.is_symlink():
        if place.readlink() != target and not place.exists():
            _point(place, target, made)
    elif place.is_dir() and target.is_dir():
        for inner in _own(target):
            _link(place / inner.name, inner, made)
    elif not place.exists():
        _point(place, target, made)


def _point(place: Path, target: Path, made: list[Path]) -> None:
    temporary = place.with_name(f".{place.name}.{os.getpid()}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(place)
    made.append(place)


def remove_files(files: Iterable[Path], done: Path) -> tuple[int, int]:
    """Remove files of an iteration that nobody needs any more; those that are gone already are no matter.

    Args:
        files: to be removed; never folders.
        done: the constants of the iteration that followed, by which one sees that its fit is done.

    Returns:
        how many files were removed, and their size in bytes.

    Raises:
        NotFoundError: the iteration that followed has no constants: nothing is removed.
    """
    if not done.is_file() or not done.stat().st_size:
        raise NotFoundError(
            f"there are no constants in {done}: nothing is removed", hint="clean up when the next fit is done"
        )
    removed = size = 0
    for path in files:
        if path == done or (path.exists() and path.samefile(done)):
            continue
        try:
            bytes_ = path.lstat().st_size
            path.unlink()
        except FileNotFoundError:
            continue
        removed, size = removed + 1, size + bytes_
    return removed, size
