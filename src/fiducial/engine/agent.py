"""The one loop that carries jobs: lease, submit, follow, report."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass, field
from itertools import islice
from typing import Any

from fiducial.batch.backend import (
    Attempt,
    Backend,
    Event,
    Finished,
    Held,
    JobKey,
    Lost,
    Named,
    Queued,
    Refused,
    Started,
    Vanished,
    key_of,
)
from fiducial.core.errors import BackendError
from fiducial.core.jobspec import attempt_directory
from fiducial.core.states import JobState
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Report, Scheduler
from fiducial.ledger import ledger as write
from fiducial.ledger import queries
from fiducial.ledger.agents import insert_agent, note_submitted, stop_agent
from fiducial.ledger.ledger import Lease

__all__ = ["Agent"]

LEASE_SECONDS = 120.0
RENEW_SECONDS = 30.0
ORDERS_SECONDS = 1.0
# A report waits this long for company: a commit costs as much as twenty reports.
GATHER_SECONDS = 0.04
MOST_REPORTS = 256
# Leased ahead: enough that the backend never starves while a commit is under way, little enough that other agents
# find work and a cancelled campaign stops at once.
AHEAD_SECONDS = 0.12
# Above this many jobs per second the agent looks at events a few at a time.
MANY = 100.0
DOZE_SECONDS = 0.005
# After a batch system did not take jobs, it is left alone for this long.
RETREAT_SECONDS = 10.0
ENDING_SECONDS = 120.0
MOST_AHEAD = 512


@dataclass(slots=True)
class Pace:
    """How many jobs end per second, so that just enough of them are leased ahead."""

    rate: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def note(self, ended: int) -> None:
        """Count jobs that ended since the last call."""
        now = time.monotonic()
        elapsed = max(now - self.since, 1e-4)
        self.since = now
        weight = min(1.0, elapsed / 0.2)
        self.rate += weight * (ended / elapsed - self.rate)

    def ahead(self) -> int:
        """How many jobs to keep leased beyond what the backend holds."""
        return min(MOST_AHEAD, int(self.rate * AHEAD_SECONDS))


class Agent:
    """Serves one backend for one campaign.

    Args:
        steps: carry only jobs of these steps.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        backend: Backend,
        campaign: Campaign,
        *,
        site: str = "local",
        steps: frozenset[str] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.backend = backend
        self.campaign = campaign
        self.steps = steps
        self.lease = Lease(str(uuid.uuid4()), site, LEASE_SECONDS)
        self._leased: deque[dict[str, Any]] = deque()
        self._in_flight: set[JobKey] = set()
        self._held: set[JobKey] = set()
        self._retreat = 0.0
        self._reports: list[Report] = []
        self._oldest = 0.0
        self._pace = Pace()
        self._may_find_work = True
        self._next_renewal = time.monotonic() + RENEW_SECONDS
        self._next_orders = time.monotonic() + ORDERS_SECONDS
        self._register(site)

    def _register(self, site: str) -> None:
        now = write.now()
        row = {"id": self.lease.agent, "site": site, "host": socket.gethostname(), "pid": os.getpid()}
        with self.scheduler.database.write() as connection:
            insert_agent(connection, {**row, "started": now, "seen": now})

    # ------------------------------------------------------------ starting

    def recover(self, jobs: Collection[int] | None = None) -> int:
        """Take over what an agent of this site that died has left; how many attempts there were at the jobs meant.

        What finished in the meantime is reported, what still runs is followed, the rest is run again.

        Args:
            jobs: only these; all by default, and where jobs outlive their engine.
        """
        with self.scheduler.database.write() as connection:
            groups = queries.group_rows(connection, self.campaign.id)
            if not any(g["submitted"] or g["running"] or g["lost"] or g["held"] for g in groups):
                return 0
            rows = queries.active_attempts(connection, self.campaign.id)
            # A queue is followed whole: which of its submissions are over is seen only with all of their jobs.
            wanted = None if self.backend.outlives else jobs
            rows = [row for row in rows if row["site"] == self.lease.site and (wanted is None or row["id"] in wanted)]
            write.adopt(connection, [(row["id"], row["attempt"]) for row in rows], self.lease, write.now())
        left = [
            Attempt(
                row["id"],
                row["attempt"],
                attempt_directory(self.campaign.folder, row["step"], row["iteration"], row["key"], row["attempt"]),
            )
            for row in rows
        ]
        if left:
            events = self.backend.recover(left)
            self._in_flight.update((attempt.job, attempt.attempt) for attempt in left)
            self._held.update((row["id"], row["attempt"]) for row in rows if row["state"] == JobState.HELD.value)
            # That an engine died is no fault of the job, so it costs it no retry.
            self._take(events, lost_cause="stopped")
            self.flush()
        return sum(jobs is None or attempt.job in jobs for attempt in left)

    # ------------------------------------------------------------ the loop

    def step(self, timeout: float) -> int:
        """One round: lease and submit what fits, wait for events, report. How many events there were."""
        self._submit()
        if self._must_exchange():
            told = bool(self._reports)
            self._exchange()
            if told and not self.busy:
                return 0  # the caller may want to see whether that was all, before anybody waits for more
        events = self.backend.poll(self._patience(timeout))
        self._take(events)
        self._housekeeping()
        return len(events)

    def _patience(self, timeout: float) -> float:
        """How long to wait for events, in s."""
        if self._reports:
            return max(0.0, GATHER_SECONDS - (time.monotonic() - self._oldest))
        if not self._in_flight:
            time.sleep(timeout)  # there is nothing to poll for; perhaps a delay runs out, or a person acts
        elif self._pace.rate > MANY and self._leased:
            time.sleep(DOZE_SECONDS)  # waking up for every single one of many short jobs would cost more than they do
        return timeout if self._in_flight else 0.0

    @property
    def busy(self) -> bool:
        """Whether any job is on its way without a person; those that the batch system holds are not."""
        return bool(len(self._in_flight) > len(self._held) or self._leased or self._reports)

    @property
    def left_behind(self) -> int:
        """How many jobs go on without us when we end."""
        return len(self._in_flight) if self.backend.outlives else 0

    def _submit(self) -> None:
        while self._leased and (room := self.backend.capacity()) > 0 and time.monotonic() >= self._retreat:
            specs = list(islice(self._leased, room))
            try:
                taken = self.backend.submit(specs)
            except BackendError as error:
                if not error.transient:
                    raise
                self._retreat = time.monotonic() + RETREAT_SECONDS
                return
            # Only now they are out of our hands: had the backend refused them, they would be given back.
            for _ in taken:
                self._in_flight.add(key_of(self._leased.popleft()))
            if self.backend.outlives:
                self._note([(job, attempt, name) for job, attempt, name in map(astuple, taken) if name])
            if len(taken) < len(specs):
                return

    def _note(self, names: list[tuple[int, int, str]]) -> None:
        """Let people find the jobs in the batch system."""
        with self.scheduler.database.write() as connection:
            note_submitted(connection, names)

    def _wanted(self) -> int:
        """How many more jobs to lease: what the backend takes now and what it will take until the next exchange."""
        if self._may_find_work or not self.busy:
            return max(0, self.backend.capacity()) + self._pace.ahead() - len(self._leased)
        return 0

    def _must_exchange(self) -> bool:
        if self._reports:
            gathered = len(self._reports) >= MOST_REPORTS or time.monotonic() - self._oldest >= GATHER_SECONDS
            return gathered or not (self._in_flight or self._leased)
        return not self._leased and self._wanted() > 0

    def _exchange(self) -> None:
        """Report all that is known and lease what is wanted, in one go."""
        self._may_find_work |= bool(self._reports)
        wanted = self._wanted()
        specs = self.scheduler.exchange(self.lease, self._reports, self.campaign.id, wanted, self.steps)
        self._reports = []
        self._leased.extend(specs)
        self._may_find_work = len(specs) >= wanted
        self._submit()

    def _take(self, events: Iterable[Event], lost_cause: str = "lost") -> None:
        ended = 0
        named: list[tuple[int, int, str]] = []
        for event in events:
            if isinstance(event, Named):
                named.append(astuple(event))
                continue
            if not self._reports:
                self._oldest = time.monotonic()
            self._reports.append(_report(event, lost_cause))
            key = (event.job, event.attempt)
            self._held.discard(key)
            if isinstance(event, Held):
                self._held.add(key)
            elif isinstance(event, Finished | Lost | Refused):
                ended += 1
                self._in_flight.discard(key)
        if named:
            self._note(named)
        self._pace.note(ended)

    def flush(self) -> None:
        """Tell the ledger everything that is known."""
        if self._reports:
            self.scheduler.report(self.lease, self._reports)
            self._reports = []
            self._may_find_work = True

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if now >= self._next_orders:
            self._next_orders = now + ORDERS_SECONDS
            # Others may have released or retried jobs meanwhile, and delays of retries run out.
            self._may_find_work = True
            self.obey()
        if now >= self._next_renewal:
            self._next_renewal = now + RENEW_SECONDS
            with self.scheduler.database.write() as connection:
                write.renew(connection, self.lease, write.now())

    def obey(self) -> int:
        """Carry out orders of people for jobs that are ours; how many there are. `step` does so by itself."""
        with self.scheduler.database.read() as connection:
            orders = queries.orders(connection, self.lease.agent)
        wanted: dict[str, set[JobKey]] = defaultdict(set)
        for job, attempt, what in orders:
            wanted[what].add((job, attempt))
        for spec in [spec for spec in self._leased if key_of(spec) in wanted["kill"] | wanted["hold"]]:
            self._leased.remove(spec)
            self._reports.append(Report(spec["job"], spec["attempt"], result=_stopped("stopped before it started")))
        for what, obey in (
            ("kill", self.backend.cancel),
            ("hold", self.backend.hold),
            ("free", self.backend.release),
        ):
            if wanted[what]:
                obey(wanted[what])
        return len(orders)

    # ------------------------------------------------------------ stopping

    def end(self, jobs: Collection[int] | None = None) -> None:
        """Stop what would outlive us, and wait until it has ended, at most two minutes; what cannot is a later task.

        Args:
            jobs: only these; all by default.
        """
        if not self.backend.outlives:
            return
        wanted = {key for key in self._in_flight if jobs is None or key[0] in jobs}
        deadline = time.monotonic() + ENDING_SECONDS
        self.backend.cancel(wanted)
        while wanted & self._in_flight and time.monotonic() < deadline:
            self._take(self.backend.poll(1.0))
            self.flush()

    def stop(self, *, kill: bool = True) -> None:
        """End: give back what was not started, stop (or wait for) what runs, report all of it.

        Jobs that outlive us go on, unless they were ordered to end; another engine takes them over.
        """
        for spec in self._leased:
            self._reports.append(Report(spec["job"], spec["attempt"], result=_stopped("never started")))
        self._leased.clear()
        try:
            self._take(self.backend.detach() if self.backend.outlives else self.backend.close(kill=kill))
        finally:  # what is known must not be lost with a batch system that fails again
            self.flush()
            with self.scheduler.database.write() as connection:
                stop_agent(connection, self.lease.agent, write.now())


def _stopped(message: str) -> dict[str, Any]:
    return {"state": "killed", "cause": "stopped", "message": message}


def _report(event: Started | Held | Queued | Vanished | Finished | Lost | Refused, lost_cause: str) -> Report:
    match event:
        case Started():
            return Report(event.job, event.attempt, started=event.at, host=event.host)
        case Held():
            return Report(event.job, event.attempt, state=JobState.HELD, why=event.reason)
        case Queued():
            return Report(event.job, event.attempt, state=JobState.SUBMITTED, why="released")
        case Vanished():
            return Report(event.job, event.attempt, state=JobState.LOST, why=event.reason)
        case Finished():
            return Report(event.job, event.attempt, result=event.result)
        case Lost() if lost_cause == "lost":
            return Report(event.job, event.attempt, lost=event.reason)
        case Lost() | Refused():
            return Report(event.job, event.attempt, result=_stopped(event.reason))
