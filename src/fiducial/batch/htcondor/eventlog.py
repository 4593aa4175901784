"""Follow HTCondor's user event logs, which cost its daemons nothing; also the nodes log of DAGMan.

The format is that of the HTCondor manual, "Job Event Log": events of a few lines, each ended by a line of three dots.
What is not known is passed on by its number, for others to pass over. An event may be there twice, or not at all, and
the last one may not be complete yet: a reader takes it when it is.
"""

from __future__ import annotations

import errno
import re
import stat
import time
import zlib
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["EventLog", "Kind", "LogEvent", "Place", "parse"]

_CHUNK_BYTES = 1 << 20
_END = b"\n...\n"
#: So many bytes before the place are remembered: whether they are still there tells whether the file is the same.
_MARK_BYTES = 256
_DAY_SECONDS = 86400.0
_HEADER = re.compile(
    r"(\d{3}) \((\d+)\.(-?\d+)\.-?\d+\) (\d\d/\d\d|\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?Z?) ?([^\n]*)"
)
_NEXT_HEADER = re.compile(r"^(?=\d{3} \(\d+\.-?\d+\.-?\d+\) \d)", re.MULTILINE)
_CODES = re.compile(r"^\s*Code (-?\d+) Subcode (-?\d+)\s*$", re.MULTILINE)
_NORMAL = re.compile(r"^\s*\(1\) Normal termination \(return value (-?\d+)\)", re.MULTILINE)
_ABNORMAL = re.compile(r"^\s*\(0\) Abnormal termination \(signal (\d+)\)", re.MULTILINE)
_NODE = re.compile(r"^\s*DAG Node: (.+?)\s*$", re.MULTILINE)
_SLOT = re.compile(r"^\s*SlotName: (?:[^@\n]*@)?(\S+)", re.MULTILINE)
_ALIAS = re.compile(r"[?&]alias=([^&>]+)")
_ADDRESS = re.compile(r"<\[?([^>\]?]+?)\]?(?::\d+)?(?:\?[^>]*)?>")
_USAGE = re.compile(r"Usr (\d+) (\d+):(\d+):(\d+), Sys (\d+) (\d+):(\d+):(\d+)\s+-\s+(Run|Total) Remote Usage")
_MEMORY = re.compile(r"^\s*(\d+)\s+-\s+MemoryUsage of job \(MB\)|^\s*Memory \(MB\)\s*:\s+(\d+)\s+\d+\s+\d+\s*$", re.M)
_RESIDENT = re.compile(r"^\s*(\d+)\s+-\s+ResidentSetSize of job \(KB\)", re.MULTILINE)
_NUMBERS = re.compile(r"^\(\d+\) |^Usr \d|^\d+\s+-\s|^Partitionable Resources|^Code -?\d+ Subcode|^DAG Node:")


class Kind(IntEnum):
    """Types of events that mean something to us."""

    SUBMITTED = 0
    EXECUTING = 1
    EXECUTABLE_ERROR = 2
    EVICTED = 4
    TERMINATED = 5
    IMAGE_SIZE = 6
    SHADOW_EXCEPTION = 7
    GENERIC = 8
    ABORTED = 9
    SUSPENDED = 10
    UNSUSPENDED = 11
    HELD = 12
    RELEASED = 13
    POST_SCRIPT_TERMINATED = 16
    REMOTE_ERROR = 21
    DISCONNECTED = 22
    RECONNECTED = 23
    RECONNECT_FAILED = 24
    PRE_SKIPPED = 34
    CLUSTER_SUBMITTED = 35
    CLUSTER_REMOVED = 36
    FILE_TRANSFER = 40


_WITHOUT_REASON = (Kind.SUBMITTED, Kind.EXECUTING, Kind.TERMINATED, Kind.IMAGE_SIZE, Kind.FILE_TRANSFER)


class LogEvent(NamedTuple):
    """One event as it stands in a log; what is in its lines is looked for when it is asked for.

    Args:
        kind: its type; those without a name in `Kind` occur, too.
        cluster: of the job.
        proc: of the job in its cluster; -1 in events of a cluster, and of a whole DAG.
        at: when it was, in seconds since the epoch.
        text: rest of its first line.
        body: its other lines.
    """

    kind: int
    cluster: int
    proc: int
    at: float
    text: str
    body: str

    @property
    def host(self) -> str:
        """Where the job was submitted or runs: the node's name if the event has it, else its address."""
        slot = _SLOT.search(self.body)
        if slot:
            return slot[1]
        found = _ALIAS.search(self.text) or _ADDRESS.search(self.text)
        if found is not None:
            return found[1]
        return self.text.rpartition(" on ")[2].rpartition("@")[2].rstrip(":") if " on " in self.text else ""

    @property
    def node(self) -> str:
        """Node of the DAG that the job is for, where DAGMan or a note says so; else empty."""
        found = _NODE.search(self.body)
        return found[1] if found else ""

    @property
    def reason(self) -> str:
        """Why, in HTCondor's own words: of a hold, release, abort, eviction, error or lost connection."""
        if self.kind in _WITHOUT_REASON:
            return ""
        lines = [line.strip() for line in self.body.splitlines()]
        for position, line in enumerate(lines):
            if line.startswith("Partitionable Resources"):
                break
            if line and not _NUMBERS.match(line) and not line.startswith("Job terminated "):
                return " ".join([line, *_continued(lines[position + 1 :])])
        return ""

    @property
    def codes(self) -> tuple[int, int] | None:
        """Code and subcode of a hold or a remote error."""
        found = _CODES.search(self.body)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of a job, or DAGMan's script, that ended by itself."""
        found = _NORMAL.search(self.body)
        return int(found[1]) if found else None

    @property
    def signal(self) -> int | None:
        """Signal that ended the job."""
        found = _ABNORMAL.search(self.body)
        return int(found[1]) if found else None

    @property
    def cpu_seconds(self) -> float | None:
        """User and system time that the job has used on its node, over all its starts where that is told."""
        used = {found[9]: [int(number) for number in found.groups()[:8]] for found in _USAGE.finditer(self.body)}
        told = used.get("Total") or used.get("Run")
        if told is None:
            return None
        days, hours, minutes, seconds = (user + system for user, system in zip(told[:4], told[4:], strict=True))
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)

    @property
    def memory(self) -> int | None:
        """Most memory seen in use so far, in bytes, as coarse as HTCondor tells it."""
        resident = _RESIDENT.search(self.body)
        if resident and int(resident[1]):
            return int(resident[1]) * 1024
        found = _MEMORY.search(self.body)
        return int(found[1] or found[2]) * 2**20 if found else None

    @property
    def requeued(self) -> bool:
        """Whether an eviction was the end of a job that HTCondor itself starts again."""
        return "Job terminated and was requeued" in self.body


def _continued(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line or _NUMBERS.match(line):
            return
        yield line


class Place(NamedTuple):
    """How far a log has been read; enough to go on there later, in another process.

    Args:
        offset: bytes that were read.
        mark: checksum of the last of them, by which the file is known again, also under another name; network file
            systems do not keep a file's number.
    """

    offset: int = 0
    mark: int = 0


class EventLog:
    """A log that grows while it is read.

    Args:
        path: of the log; it need not be there yet.
        place: how far it was read before.
    """

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self.path = path
        self.place = place or Place()
        self._seen = (0, -1)

    def read(self) -> Iterator[LogEvent]:
        """Events that have come since; `place` is behind them when all were taken, and never before one that was not.

        A log that was replaced is read to the end under the name that rotation gave it, and then the new one from its
        beginning; one that was cut or written anew is read again from its beginning.

        Raises:
            OSError: it cannot be read, though it is there.
        """
        try:
            info = self.path.stat()
        except FileNotFoundError:
            return
        if (info.st_ino, info.st_size) == self._seen:
            return
        if not stat.S_ISREG(info.st_mode):  # a device may have no end
            raise OSError(errno.EINVAL, "it is no file", str(self.path))
        with self.path.open("rb") as file:
            if not self._is_same(file):
                yield from self._rest_of_rotated()
                self.place = Place()
            yield from self._read(file)
        self._seen = (info.st_ino, info.st_size)

    def _is_same(self, file: BinaryIO) -> bool:
        """Whether what was read before stands in this file, at the same place."""
        return _mark(file, self.place.offset) == self.place

    def _rest_of_rotated(self) -> Iterator[LogEvent]:
        """What was written to the former log after it was last read."""
        for name in (f"{self.path.name}.old", f"{self.path.name}.1"):
            try:
                with self.path.with_name(name).open("rb") as file:
                    if self.place.offset and self._is_same(file):
                        yield from self._read(file)
                        return
            except FileNotFoundError:
                continue

    def _read(self, file: BinaryIO) -> Iterator[LogEvent]:
        """Complete events from the place to the end, a chunk at a time."""
        offset = file.seek(self.place.offset)
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            data = rest + chunk
            end = data.rfind(_END) + len(_END)
            if end < len(_END):
                rest = data
                continue
            complete, rest = data[:end], data[end:]
            yield from parse(complete)
            offset += end
            reached = file.tell()
            self.place = _mark(file, offset)
            file.seek(reached)


def _mark(file: BinaryIO, offset: int) -> Place:
    """The place at ``offset`` in this file; one that is not that long gives another."""
    before = file.seek(max(0, offset - _MARK_BYTES))
    return Place(offset, zlib.crc32(file.read(offset - before)))


def parse(data: bytes) -> Iterator[LogEvent]:
    """Events of a piece of a log that ends where an event does; what is none is passed over."""
    for block in data.replace(b"\0", b"").decode("utf-8", "replace").split("\n...\n"):  # NFS leaves holes of zeros
        found = _HEADER.match(block)
        if found is None or "\n0" in block:  # an event was cut when the disk was full, and the next follows in it
            for piece in _NEXT_HEADER.split(block):
                if again := _HEADER.match(piece):
                    yield _event(again, piece)
        else:
            yield _event(found, block)


def _event(found: re.Match[str], block: str) -> LogEvent:
    kind, cluster, proc, date, clock, text = found.groups()
    return LogEvent(int(kind), int(cluster), int(proc), _seconds(date, clock), text, block[found.end() + 1 :])


@lru_cache(maxsize=4096)
def _seconds(date: str, clock: str) -> float:
    """Seconds since the epoch: local time, unless it says otherwise; of this or last year, unless it says which."""
    utc, clock = clock.endswith("Z"), clock.rstrip("Z")
    hours, minutes, seconds = clock.split(":")
    whole, _, fraction = seconds.partition(".")
    rest = float(f"0.{fraction}") if fraction else 0.0
    year, month, day = date.split("-") if "-" in date else ("", *date.split("/"))
    moment = (int(month), int(day), int(hours), int(minutes), int(whole), 0, 0, -1)
    if year:
        return _epoch((int(year), *moment), utc) + rest
    now = time.time()
    this_year = time.localtime(now).tm_year
    found = _epoch((this_year, *moment), utc) + rest
    return found if found <= now + _DAY_SECONDS else _epoch((this_year - 1, *moment), utc) + rest


def _epoch(moment: tuple[int, int, int, int, int, int, int, int, int], utc: bool) -> float:
    if utc:
        import calendar

        return float(calendar.timegm(moment))
    return time.mktime(moment)
