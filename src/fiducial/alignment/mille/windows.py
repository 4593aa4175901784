"""Read a data file window by window, so that nothing that happens to the file meanwhile can harm the process.

A file is read into memory of our own, not mapped: of a mapped file that is cut while it is read, the system lets the
process know by SIGBUS, which nobody survives; and what was checked may become something else. Here both are errors.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.verdict import ReadError

__all__ = ["AlteredError", "Stamp", "Window", "Windows", "open_windows"]

_GZIP_MAGIC = b"\x1f\x8b"


class AlteredError(ReadError):
    """A data file is not what it was when the fit began to read it."""


class Stamp(NamedTuple):
    """What tells one content of a file from another."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """From what the system says of a file."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive bytes of a file.

    Args:
        data: the bytes.
        last: whether nothing comes after them.
        broken: why nothing more can be unpacked, if it is not the end of the file.
    """

    data: NDArray[np.uint8] | bytes
    last: bool
    broken: str = ""


class Windows:
    """Windows of an open file, which must not change meanwhile.

    Args:
        path: to name it.
        stream: the file.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        self._stream = stream
        self.stamp = Stamp.of(os.fstat(stream.fileno()))

    def at(self, offset: int, size: int) -> Window:
        """The window of so many bytes, fewer at the end of the file; offsets must not go back.

        Raises:
            AlteredError: the file has changed since it was opened.
        """
        data = np.empty(max(0, min(size, self.stamp.size - offset)), np.uint8)
        filled = 0
        while filled < len(data) and (count := os.preadv(self._stream.fileno(), [data.data[filled:]], offset + filled)):
            filled += count
        self._check()
        if filled < len(data):
            raise self.changed()
        return Window(data, offset + len(data) >= self.stamp.size)

    def _check(self) -> None:
        if Stamp.of(os.fstat(self._stream.fileno())) != self.stamp:
            raise self.changed()

    def changed(self) -> AlteredError:
        """The error for that."""
        return AlteredError(
            f"{self._path}: it was changed while it was being read",
            hint="begin once more when whatever writes it has finished",
        )


class _GzipWindows(Windows):
    """The same of what is packed in the file."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        super().__init__(path, stream)
        self._unpacked = gzip.GzipFile(fileobj=stream)
        self._rest = b""
        self._offset = 0
        self._last, self._broken = False, ""

    def at(self, offset: int, size: int) -> Window:
        parts = [self._rest[offset - self._offset :]]
        missing = size - len(parts[0])
        try:
            # Small reads, for one that fails gives nothing at all.
            while missing > 0 and not self._last:
                parts.append(self._unpacked.read1(missing))
                missing -= len(parts[-1])
                self._last = not parts[-1]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            self._last, self._broken = True, str(error)
        self._check()
        self._rest, self._offset = b"".join(parts), offset
        return Window(self._rest, self._last, self._broken)


@contextmanager
def open_windows(path: Path) -> Iterator[Windows]:
    """Open a file, packed with gzip or not.

    Raises:
        ReadError: it is no file that can be read more than once.
        OSError: it cannot be opened.
    """
    # Asked before it is opened: to open a pipe that nobody writes into would take for ever.
    if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
        raise ReadError(
            f"{path}: is a pipe or a device, and data are read more than once",
            hint="write it to a file first",
        )
    with path.open("rb") as stream:
        packed = os.pread(stream.fileno(), len(_GZIP_MAGIC), 0) == _GZIP_MAGIC
        yield (_GzipWindows if packed else Windows)(path, stream)
