"""The daemon that came before, ``auto_iter.py``: noticed while it runs, for two cannot work in one folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fiducial.alignment.faser.request import Request, parse_files, parse_run, parse_year
from fiducial.core.errors import StateError, UsageError

__all__ = ["LOG", "Daemon", "Story", "find_daemons", "must_not_work_here", "read_log"]

PROGRAM = "auto_iter.py"
#: What everybody let it write to.
LOG = "auto_iter.log"
#: It looked every 300 s, and said something; a log that nobody wrote to for two such times is no longer growing.
_SILENT_S = 660.0
_PYTHON = re.compile(r"python[\d.]*")
_STARTED = re.compile(r"Starting iteration:?\s*(\d+)")
_SUBMITTED = re.compile(r"iter:\s*(\d+),\s*cluster:\s*(\d+),\s*jobs:\s*(\d+)")


@dataclass(frozen=True)
class Daemon:
    """One that runs, or that writes a log from another machine.

    Args:
        pid: of its process; None where only its log is known.
        folder: that it works in.
        source: the folder of the program, beside which it may work as well.
        name: of its alignment, as the folder is called; empty where that is not known.
        log: the log, where only that is known.
    """

    pid: int | None
    folder: Path
    source: Path | None = None
    name: str = ""
    log: Path | None = None

    @property
    def told(self) -> str:
        """What it is, and where."""
        if self.pid is None:
            return f"{self.log} is still growing: an {PROGRAM} writes to it, perhaps on another machine"
        work = f", at {self.name}" if self.name else ""
        return f"{PROGRAM} runs as process {self.pid} in {self.folder}{work}"

    @property
    def stop(self) -> str:
        """How to stop it."""
        if self.pid is None:
            return f"on the machine where it was begun: pgrep -u $USER -f {PROGRAM}, and kill what it prints"
        return f"kill {self.pid} stops it; its jobs stay in the queue, see condor_q"

    def works_in(self, folders: Collection[Path]) -> bool:
        """Whether one of these folders of an alignment is, or may be, the one that it is at."""
        mine = [folder for folder in folders if folder.parent in (self.folder, self.source)]
        return any(not self.name or folder.name == self.name for folder in mine)


def find_daemons(places: Iterable[Path] = (), processes: Path = Path("/proc")) -> list[Daemon]:
    """Those of this user that run on this machine, and those whose logs grow.

    Args:
        places: folders where a log may lie.
        processes: where the kernel shows them.
    """
    running = list(_running(processes))
    known = {daemon.folder for daemon in running}
    logs = {place.absolute() / LOG for place in places if place.absolute() not in known}
    return running + [Daemon(None, log.parent, log=log) for log in sorted(logs) if _grows(log)]


def must_not_work_here(daemons: Iterable[Daemon], folders: Collection[Path]) -> None:
    """Refuse to work where one of them works.

    Raises:
        StateError: one does, or may; names it and says how to stop it.
    """
    for daemon in daemons:
        if daemon.works_in(folders):
            hint = f"{daemon.stop}; --despite-daemon goes on all the same"
            raise StateError(f"{daemon.told}, which is where this alignment lies", hint=hint)


def _running(processes: Path) -> Iterator[Daemon]:
    for entry in sorted(processes.glob("[0-9]*")):
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            folder = (entry / "cwd").readlink()
        except OSError:  # it has ended meanwhile, or shows nothing of itself
            continue
        script = _script(words)
        if script is not None:
            source = Path(os.path.normpath(folder / words[script])).parent
            yield Daemon(int(entry.name), folder, source, _name(words[script + 1 :]))


def _script(words: list[str]) -> int | None:
    """Where the daemon's name stands, in a command that runs it; an editor that has it open runs something else."""
    if words and Path(words[0]).name == PROGRAM:
        return 0
    if not words or not _PYTHON.fullmatch(Path(words[0]).name):
        return None
    first = next((place for place, word in enumerate(words[1:], 1) if not word.startswith("-")), 0)
    return first if first and Path(words[first]).name == PROGRAM else None


def _name(words: list[str]) -> str:
    """What its folder is called, by its options."""
    said: dict[str, str] = {}
    for word, value in zip(words, [*words[1:], ""], strict=True):
        option, sign, joined = word.partition("=")
        said[option] = joined if sign else value
    year, run, files = (next((said[o] for o in options if o in said), "") for options in _OPTIONS)
    try:
        whole = Request(year=parse_year(year), run=parse_run(run), files=parse_files(files))
    except UsageError:
        return ""
    return whole.default_name


_OPTIONS = (("-y", "--year"), ("-r", "--run"), ("-f", "--files", "--file"))


def _grows(log: Path) -> bool:
    try:
        return time.time() - log.stat().st_mtime < _SILENT_S
    except OSError:
        return False


# ------------------------------------------------------------------------------------------------------- its log


@dataclass(frozen=True)
class Story:
    """What a log says last.

    Args:
        iteration: that it began.
        cluster: of that iteration's jobs in HTCondor; None where none were submitted.
        jobs: how many.
    """

    iteration: int
    cluster: int | None = None
    jobs: int = 0


def read_log(log: Path) -> Story | None:
    """The last iteration that a log tells of; None where there is no log, or it tells of none."""
    try:
        text = log.read_text("utf-8", "replace")
    except OSError:
        return None
    begun = list(_STARTED.finditer(text))
    submitted = list(_SUBMITTED.finditer(text, begun[-1].end() if begun else 0))
    if submitted:
        last = submitted[-1]
        return Story(int(last[1]), int(last[2]), int(last[3]))
    return Story(int(begun[-1][1])) if begun else None
