"""Raw files of the simulated tracker: which strips fired in which event.

Little endian, version 1::

    offset  bytes
         0      8   magic, "FIDRAW" CR LF: a copy in text mode is noticed
         8      4   version of the format
        12      4   run
        16      4   file number in the run
        20      4   number of events, n
        24      4   number of hits of all events, h
        28     2n   hits in each event
    28+2n     4h    hits: number of the sensor (upper 16 bits), strip (lower 16 bits)
  28+2n+4h      4   CRC-32 of everything before

Files lie at ``<raw>/<year4>/<run6>/Faser-Physics-<run6>-<file5>.raw``; those of other detectors have another word in
front.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.core.errors import DataError, NotFoundError
from fiducial.storage.replace import replace_bytes

__all__ = ["RawData", "ntuple_name", "raw_path", "read_raw", "run_and_file", "write_raw"]

_MAGIC = b"FIDRAW\r\n"
_VERSION = 1
_HEADER = struct.Struct("<8s5I")
_CHECK = struct.Struct("<I")
_NAME = re.compile(r".+-(\d{6,})-(\d{5,})\.raw")


@dataclass(frozen=True)
class RawData:
    """What one raw file holds.

    Args:
        run: number of the run.
        file: number of the file in the run.
        counts: (n,) hits in each event.
        sensor: (h,) number of the sensor of each hit, event after event.
        strip: (h,) its strip.
    """

    run: int
    file: int
    counts: NDArray[np.int64]
    sensor: NDArray[np.int64]
    strip: NDArray[np.int64]


def raw_path(folder: Path, year: int, run: int, file: int, prefix: str = "Faser-Physics") -> Path:
    """Where a raw file lies under the folder of all raw files."""
    return folder / f"{year:04d}" / f"{run:06d}" / f"{prefix}-{run:06d}-{file:05d}.raw"


def ntuple_name(run: int, file: int) -> str:
    """What FASER calls the ntuple that is made of a raw file."""
    return f"kfalignment_{run:06d}_{file:05d}.root"


def run_and_file(path: Path) -> tuple[int, int] | None:
    """Numbers of run and file in a raw file's name; None when it is named otherwise."""
    found = _NAME.fullmatch(path.name)
    return (int(found[1]), int(found[2])) if found else None


def write_raw(path: Path, data: RawData) -> None:
    """Write a raw file in one go."""
    header = _HEADER.pack(_MAGIC, _VERSION, data.run, data.file, len(data.counts), len(data.sensor))
    hits = (data.sensor << 16 | data.strip).astype("<u4")
    content = header + data.counts.astype("<u2").tobytes() + hits.tobytes()
    replace_bytes(path, content + _CHECK.pack(zlib.crc32(content)))


def read_raw(path: Path, channels: NDArray[np.int64]) -> RawData:
    """Read a raw file of a tracker whose sensors have so many strips (n,) each.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is empty, cut, damaged, of another format, or of another run or file than its name says. The
            message gives the byte at which that shows.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such raw file")
    content = path.read_bytes()
    run, file, events, hits = _read_header(path, content)
    end = _HEADER.size + 2 * events + 4 * hits
    if len(content) != end + _CHECK.size:
        what = "cut" if len(content) < end + _CHECK.size else "too long"
        raise DataError(f"{path}: {what} at byte {min(len(content), end + _CHECK.size)} of {end + _CHECK.size}")
    if zlib.crc32(content[:end]) != _CHECK.unpack_from(content, end)[0]:
        raise DataError(f"{path}: the checksum at byte {end} does not fit what stands before", hint="copy it again")
    counts = np.frombuffer(content, "<u2", events, _HEADER.size).astype(np.int64)
    words = np.frombuffer(content, "<u4", hits, _HEADER.size + 2 * events).astype(np.int64)
    data = RawData(run, file, counts, words >> 16, words & 0xFFFF)
    _check_hits(path, data, channels)
    return data


def _read_header(path: Path, content: bytes) -> tuple[int, int, int, int]:
    if not content:
        raise DataError(f"{path}: empty (0 bytes)", hint="is it still being written?")
    if not content.startswith(_MAGIC[: len(content)]):
        raise DataError(f"{path}: no raw file of this tracker: byte 0 does not begin {_MAGIC!r}")
    if len(content) < _HEADER.size:
        raise DataError(f"{path}: cut at byte {len(content)}, inside the header of {_HEADER.size} bytes")
    _, version, run, file, events, hits = _HEADER.unpack_from(content)
    if version != _VERSION:
        raise DataError(f"{path}: version {version} of the format at byte 8; this program reads {_VERSION}")
    named = run_and_file(path)
    if named is not None and named != (run, file):
        raise DataError(
            f"{path}: holds run {run} file {file} (bytes 12 to 19), its name says run {named[0]} file {named[1]}",
            hint="the file was renamed or copied over another one",
        )
    return run, file, events, hits


def _check_hits(path: Path, data: RawData, channels: NDArray[np.int64]) -> None:
    first = _HEADER.size + 2 * len(data.counts)
    if data.counts.sum() != len(data.sensor):
        raise DataError(f"{path}: events count {data.counts.sum()} hits, there are {len(data.sensor)} at byte {first}")
    known = data.sensor < len(channels)
    bad = np.flatnonzero(~known | (data.strip >= channels[np.where(known, data.sensor, 0)]))
    if len(bad):
        hit = int(bad[0])
        where = f"sensor {data.sensor[hit]} strip {data.strip[hit]}"
        raise DataError(f"{path}: {where} at byte {first + 4 * hit} is not part of this tracker")
