"""One submission, as its event log tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fiducial.batch.htcondor.eventlog import EventLog, Kind, LogEvent
from fiducial.batch.htcondor.render import BACK, LOG
from fiducial.batch.htcondor.site import HTCondorSite
from fiducial.batch.htcondor.states import JobLife
from fiducial.batch.queue.system import Bundle, Ref, Status

__all__ = ["Followed"]

#: A log that is not there, or is another submission's, is a reason to ask; but not more often than this.
_MISSING_SECONDS = 30.0
_NOT_STARTED = (126, 127)


class Followed:
    """One submission, from its first event to its last.

    Args:
        bundle: what was submitted.
        site: where.
        clock: seconds, from any beginning.

    Attributes:
        native: the submission's name, once it is known.
        restarts: whether HTCondor may start its jobs again by itself.
        retrieved: places of jobs whose files were fetched from the scheduler's spool.
    """

    def __init__(self, bundle: Bundle, site: HTCondorSite, clock: Callable[[], float]) -> None:
        self.native = bundle.native
        self.token = bundle.token
        self.restarts = not site.shared
        self.retrieved: set[int] = set()
        self._bundle = bundle
        self._clock = clock
        self._log = EventLog(bundle.folder / LOG)
        self._lives: dict[int, JobLife] = {}
        self._endings: dict[int, Status] = {}
        self._patience = (bundle.request.walltime or 0.0) + site.audit
        self._heard = self._asked = clock()
        self._stranger = self._unreadable = False

    @property
    def cluster(self) -> int:
        """Its number at its scheduler."""
        return int(self.native.rpartition("#")[2])

    def cluster_in_log(self) -> int | None:
        """The number that its own log gives it, if it was submitted so far."""
        with suppress(OSError):
            for event in EventLog(self._log.path).read():
                return event.cluster
        return None

    # ---------------------------------------------------------------------------------------------------- the log

    def read(self) -> dict[Ref, Status]:
        """The last news of each job of which there is any."""
        news: dict[int, Status] = {}
        self._unreadable = True
        with suppress(OSError):
            for event in self._log.read():
                self._hear(event, news)
            self._unreadable = False
        if news:
            self._heard = self._clock()
        return {Ref(self.native, place): self.explained(place, status) for place, status in news.items()}

    def _hear(self, event: LogEvent, news: dict[int, Status]) -> None:
        place = event.proc + 1
        if event.cluster != self.cluster:
            self._stranger = True
            return
        if not 0 < place <= len(self._bundle.keys):
            return
        life = self._lives.get(place)
        if life is None:
            life = self._lives[place] = JobLife(restarts=self.restarts)
        status = life.hear(event)
        if status is not None and self._is_new(place, status, event):
            self.note(place, status)
            news[place] = status

    def _is_new(self, place: int, status: Status, event: LogEvent) -> bool:
        """Whether it counts: what comes late, or again, does not bring a job back to life.

        An interruption is its end unless somebody's order is behind it, which the log tells next.
        """
        known = self._endings.get(place)
        return known is None or (known.cause == "lost" and event.kind in (Kind.ABORTED, Kind.HELD))

    def note(self, place: int, status: Status) -> None:
        """Remember how a job ended."""
        if status.state == "ended":
            self._endings[place] = status
        else:
            self._endings.pop(place, None)

    def ending(self, place: int) -> Status | None:
        """How a job ended, if that was told."""
        known = self._endings.get(place)
        return None if known is None else self.explained(place, known)

    def explained(self, place: int, status: Status) -> Status:
        """The same with what the node said, if it could not even start the runner."""
        if status.exit_code not in _NOT_STARTED or status.reason:
            return status
        folder = self._bundle.folder
        said = _last_line(folder / f"logs/{place}.txt") or _last_line(folder / BACK / str(place) / "start.txt")
        return replace(status, reason=f"the runner could not be started: {said}") if said else status

    # ---------------------------------------------------------------------------------------------------- silence

    def open_refs(self) -> Iterator[Ref]:
        """Jobs of which no end was told."""
        places = range(1, len(self._bundle.keys) + 1)
        return (Ref(self.native, place) for place in places if place not in self._endings)

    def is_overdue(self) -> bool:
        """Whether its log cannot be relied on, or has been silent for longer than its jobs may run."""
        now = self._clock()
        unreliable = self._stranger or self._unreadable or not self._log.path.exists()
        silent = now - max(self._heard, self._asked)
        return (unreliable and now - self._asked >= _MISSING_SECONDS) or silent >= self._patience

    def audited(self) -> None:
        """Note that the scheduler was asked."""
        self._asked = self._clock()

    # ------------------------------------------------------------------------------------------------------ files

    def to_retrieve(self, places: Sequence[int]) -> list[int]:
        """Those that have ended and whose files are still in the scheduler's spool."""
        ended = (place for place in places if place in self._endings and place not in self.retrieved)
        return [place for place in ended if self._endings[place].cause not in ("removed", "lost")]


def _last_line(path: Path) -> str:
    """The last line of what a program has said, or nothing."""
    try:
        lines = path.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:300] if lines else ""
