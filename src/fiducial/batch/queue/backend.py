"""Jobs in a batch system's queue: submitted in bulk, followed by marks, logs and rare questions, not given up lightly.

What a job tells by itself is believed first: a runner leaves a mark when its payload begins and when its result is
written. The batch system is asked for all jobs at once, rarely, and the less often the less there is to hear; it is
needed for what a job cannot tell, namely that it is held, or gone. A job that is gone without a result is looked for by
a second witness, and lost only when that has nothing to say either, or says so.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiducial.batch.backend import (
    Attempt,
    Event,
    Finished,
    Held,
    JobKey,
    JobSpec,
    Lost,
    Named,
    Queued,
    Refused,
    Started,
    Submission,
    Vanished,
)
from fiducial.batch.claims import read_result, revoke
from fiducial.batch.queue.ends import cause_of, keep_log, sentence
from fiducial.batch.queue.journal import Journal
from fiducial.batch.queue.orders import Orders
from fiducial.batch.queue.requests import kinds_of
from fiducial.batch.queue.room import Room
from fiducial.batch.queue.system import BatchSystem, Bundle, Ref, Request, Status
from fiducial.batch.site import Site
from fiducial.batch.verdicts import verdict
from fiducial.core.errors import BackendError, QueueFullError

__all__ = ["QueueBackend"]

#: Marks are looked for this often; it costs two listings of a folder for each submission.
_LOOK_SECONDS = 1.0
_ORDERS_AGAIN_SECONDS = 60.0
_PATIENCE_SECONDS = 120.0
_KEPT_SECONDS = 10.0


@dataclass(slots=True)
class _Job:
    """A job between its submission and its last event."""

    bundle: Bundle
    place: int
    told: str = ""
    gone_since: float | None = None
    ending: Status | None = None
    asked: int = 0
    unwanted: bool = False
    order: str = ""
    ordered: float = float("-inf")

    @property
    def directory(self) -> Path:
        """Of the attempt."""
        return self.bundle.directories[self.place - 1]

    @property
    def begun(self) -> bool:
        """Whether its runner has started, as far as is known."""
        return self.told == "running" or self.directory.exists()

    @property
    def key(self) -> JobKey:
        """Job and attempt."""
        return self.bundle.keys[self.place - 1]

    @property
    def ref(self) -> Ref:
        """Its name in the batch system."""
        return Ref(self.bundle.native, self.place)


class QueueBackend:
    """Runs jobs by a batch system.

    Args:
        system: the batch system.
        site: how it is to be used.
        folder: where submissions have their folders; the nodes must see it.
        clock: seconds, from any beginning.
        sleep: waits for so many seconds.
    """

    outlives = True

    def __init__(
        self,
        system: BatchSystem,
        site: Site,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.trouble = ""
        self._system = system
        self._site = site
        self._journal = Journal(folder, site)
        self._clock = clock
        self._sleep = sleep
        self._jobs: dict[JobKey, _Job] = {}
        self._open: dict[str, set[JobKey]] = {}
        self._bundles: dict[str, Bundle] = {}
        self._unsure: dict[str, float] = {}
        self._over: list[Bundle] = []
        self._orders = Orders(system, site.fastest_poll)
        self._room = Room(site.slowest_poll)
        self._events: list[Event] = []
        self._next_look = self._next_question = self._next_cleaning = 0.0
        self._pause = site.fastest_poll

    # ------------------------------------------------------------------------------------------------- submission

    def capacity(self) -> int:
        """How many more jobs the site and its queue allow; none while the batch system cannot be reached."""
        if self._unsure:
            return 0
        return int(min(max(0, self._site.max_jobs - len(self._jobs)), self._room.most(self._clock())))

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        """Hand over jobs, those of a kind together; what the batch system refuses for good ends as failed."""
        taken: list[Submission] = []
        most = self._most()
        for request, kind in kinds_of(specs, self._site):
            for start in range(0, len(kind), most):
                new = self._hand_over(kind[start : start + most], request)
                taken += new
                if self._unsure or not new:
                    return taken
        return taken

    def _most(self) -> int:
        """Jobs in one submission."""
        try:
            system = self._system.most
        except BackendError as error:
            self.trouble = error.message
            raise
        return int(min(system, self._site.max_array or system, max(1, self._room.most(self._clock()))))

    def _hand_over(self, specs: Sequence[JobSpec], request: Request) -> list[Submission]:
        bundle = self._journal.write(specs, request, ".".join(specs[0]["name"].split("/")[:3]))
        self._follow(bundle, bundle.keys)
        try:
            bundle = self._try(bundle)
        except QueueFullError as error:
            self._take_back(bundle, error)
            return []
        return [Submission(*key, self._name(Ref(bundle.native, place))) for place, key in enumerate(bundle.keys, 1)]

    def _name(self, ref: Ref) -> str:
        """What people find a job by in the batch system; empty as long as nobody knows."""
        return self._system.job_id(ref) if ref.native else ""

    def _take_back(self, bundle: Bundle, error: BackendError) -> None:
        """Forget a submission that the queue has no room for; its jobs are handed over again."""
        self.trouble = error.message
        self._room.refused(len(bundle.keys), self._clock())
        for key in bundle.keys:
            del self._jobs[key]
        del self._bundles[bundle.token], self._open[bundle.token]
        self._journal.remove(bundle)

    def _follow(self, bundle: Bundle, keys: Iterable[JobKey]) -> None:
        wanted = set(keys)
        self._bundles[bundle.token] = bundle
        self._open[bundle.token] = wanted
        for place, key in enumerate(bundle.keys, 1):
            if key in wanted:
                self._jobs[key] = _Job(bundle, place)

    def _try(self, bundle: Bundle) -> Bundle:
        """Submit; an answer that was lost is looked for later, a refusal ends the jobs."""
        try:
            native = self._system.submit(bundle)
        except QueueFullError:
            raise
        except BackendError as error:
            if error.transient:
                self._doubt(bundle, error)
            else:
                self._refuse(bundle, error)
            return bundle
        return self._accept(bundle, native)

    def _accept(self, bundle: Bundle, native: str) -> Bundle:
        accepted = self._journal.accepted(bundle, native)
        self._room.taken()
        self.trouble = ""
        self._unsure.pop(bundle.token, None)
        self._bundles[bundle.token] = accepted
        for key in self._open[bundle.token]:
            self._jobs[key].bundle = accepted
        self._pause = self._site.fastest_poll
        now = self._clock()
        due = self._next_question if self._next_question > now else now + self._pause
        self._next_question = min(due, now + self._pause)
        return accepted

    def _doubt(self, bundle: Bundle, error: BackendError) -> None:
        self.trouble = error.message
        self._pause = min(2 * self._pause, self._site.slowest_poll)
        self._unsure[bundle.token] = self._clock() + self._pause

    def _refuse(self, bundle: Bundle, error: BackendError) -> None:
        self._unsure.pop(bundle.token, None)
        why = f"{error.message} ({error.hint})" if error.hint else error.message
        for key in list(self._open[bundle.token]):
            self._end(self._jobs[key], "failed", "refused", why)

    def _resolve_doubts(self) -> None:
        """Find out whether submissions whose answers were lost are in the queue, and repeat those that are not."""
        now = self._clock()
        for token in [token for token, due in self._unsure.items() if due <= now]:
            bundle = self._bundles[token]
            try:
                native = self._system.find(bundle)
                self.trouble = ""
                if native is None:
                    self._try(bundle)
                else:
                    self._tell_names(self._accept(bundle, native))
            except BackendError as error:
                if not error.transient:
                    raise
                self._doubt(bundle, error)

    def _tell_names(self, bundle: Bundle) -> None:
        for key in self._open[bundle.token]:
            self._events.append(Named(*key, self._name(self._jobs[key].ref)))

    # ----------------------------------------------------------------------------------------------------- events

    def poll(self, timeout: float) -> list[Event]:
        """All events that are there, after waiting at most ``timeout`` seconds for a first one."""
        deadline = self._clock() + timeout
        while True:
            self._resolve_doubts()
            self._carry_orders()
            if self._clock() >= self._next_look:
                self._look()
            if self._events or self._clock() >= deadline:
                events, self._events = self._events, []
                return events
            self._sleep(max(0.0, min(deadline, self._next_look) - self._clock()))

    def _look(self) -> None:
        """See marks and log, ask the batch system when it is due, and think about those that are gone."""
        self._next_look = self._clock() + _LOOK_SECONDS
        for bundle in list(self._bundles.values()):
            self._read_marks(bundle)
        self._resolve_doubts()  # before jobs that have ended are forgotten with their names
        if self._system.reads_log or self._clock() >= self._next_question:
            self._ask()
        gone = [job for job in self._jobs.values() if job.gone_since is not None]
        if gone:
            self._examine(gone)

    def _read_marks(self, bundle: Bundle) -> None:
        begun = self._journal.marks(bundle, "begun")
        if begun and bundle.token in self._unsure:
            self._unsure[bundle.token] = self._clock()  # it did arrive
        for place in begun:
            if job := self._job_at(bundle, place):
                self._runs(job, Status("running"))
        for place in self._journal.marks(bundle, "ended"):
            if job := self._job_at(bundle, place):
                job.gone_since = self._clock() if job.gone_since is None else job.gone_since

    def _job_at(self, bundle: Bundle, place: int) -> _Job | None:
        return self._jobs.get(bundle.keys[place - 1]) if 0 < place <= len(bundle.keys) else None

    def _ask(self) -> None:
        """Hear what the batch system has to say, and the later again the less that was."""
        bundles = [bundle for bundle in self._bundles.values() if bundle.native]
        if not bundles:
            return
        try:
            news = self._system.news(bundles)
        except BackendError as error:
            if not error.transient:
                raise
            self.trouble = error.message
            self._put_off()
            return
        if not self._unsure:
            self.trouble = ""
        before = len(self._events)
        for bundle in bundles:
            self._compare(bundle, news)
        if len(self._events) == before:
            self._put_off()
        else:
            self._pause = self._site.fastest_poll
            self._next_question = self._clock() + self._pause

    def _put_off(self) -> None:
        self._next_question = self._clock() + self._pause
        self._pause = min(2 * self._pause, self._site.slowest_poll)

    def _compare(self, bundle: Bundle, news: Mapping[Ref, Status]) -> None:
        if self._system.reads_log:
            for ref, status in news.items():
                known = self._job_at(bundle, ref.place) if ref.native == bundle.native else None
                if known is not None:
                    self._hear(known, status)
            return
        for job in [self._jobs[key] for key in self._open.get(bundle.token, ())]:
            if job.ref in news:
                self._hear(job, news[job.ref])
            elif job.gone_since is None:
                job.gone_since = self._clock()

    def _hear(self, job: _Job, status: Status) -> None:
        """What the batch system says of a job that may have told more by itself already."""
        match status.state:
            case "ended":
                job.ending = status
                job.gone_since = self._clock() if job.gone_since is None else job.gone_since
            case "held" if status.cause:
                # Waiting would not mend it, and a retry may: the next attempt asks for what this one lacked.
                self._withdraw(job)
                self._end(job, "failed", status.cause, status.reason, status)
            case "held":
                job.gone_since = None
                if job.told != "held":
                    job.told = "held"
                    self._events.append(Held(*job.key, status.reason))
            case "running":
                # A queue that lags behind does not undo what a result says.
                if job.gone_since is not None and not (job.directory / "result.json").exists():
                    job.gone_since = None
                self._runs(job, status)
            case "pending":
                job.gone_since, job.asked = None, 0
                if job.told in ("held", "vanished"):
                    job.told = ""
                    self._events.append(Queued(*job.key))

    def _runs(self, job: _Job, status: Status) -> None:
        job.asked = 0
        if job.told != "running":
            job.told = "running"
            self._events.append(Started(*job.key, status.at or time.time(), status.host))

    # ---------------------------------------------------------------------------------------------- ends of jobs

    def _examine(self, gone: Sequence[_Job]) -> None:
        """Decide on jobs that are not in the queue any more, or have said that they ended."""
        self._fetch(gone)
        puzzling = [job for job in gone if not self._decide(job)]
        if puzzling:
            self._ask_witness(puzzling)

    def _fetch(self, gone: Iterable[_Job]) -> None:
        ended: dict[str, list[int]] = defaultdict(list)
        for job in gone:
            if not (job.directory / "result.json").exists():
                ended[job.bundle.token].append(job.place)
        for token, places in ended.items():
            try:
                self._system.fetch(self._bundles[token], places)
            except BackendError as error:
                if not error.transient:
                    raise
                self.trouble = error.message

    def _decide(self, job: _Job) -> bool:
        """Settle a job by its own result or by what is known of its end; false if neither says enough."""
        result = read_result(job.directory)
        if result is not None and (result.get("cause") != "stopped" or job.unwanted):
            self._settle(job, Finished(*job.key, result))
            return True
        if self._gone_for(job) < self._site.result_grace:
            return True  # its result may be on its way, or the batch system tells more in a moment
        if job.ending is not None and self._ended(job, job.ending):
            return True
        return self._gone_for(job) < self._site.grace * job.asked

    def _gone_for(self, job: _Job) -> float:
        return self._clock() - (job.gone_since or self._clock())

    def _ended(self, job: _Job, status: Status) -> bool:
        """Settle a job without a result by what the batch system says of its end, if it says why."""
        cause = status.cause or cause_of(status)
        if cause in ("", "ok", "stopped"):
            return False
        if cause == "refused":
            self._settle(job, Refused(*job.key, "the batch system started it a second time, after its node had failed"))
        elif cause == "lost":
            self._withdraw(job)  # the batch system might start it again
            self._settle(job, Lost(*job.key, status.reason))
        elif job.unwanted:
            self._end(job, "killed", "stopped", "stopped by order", status)
        else:
            state = "killed" if cause in ("memory", "wall_time", "disk", "removed") else "failed"
            self._end(job, state, cause, status.reason or sentence(status), status)
        return True

    def _ask_witness(self, jobs: Sequence[_Job]) -> None:
        """Ask accounting or history about all of them at once; who remains a riddle beyond the grace time is lost."""
        bundles = {job.bundle.token: self._bundles[job.bundle.token] for job in jobs if job.bundle.native}
        for job in jobs:
            if job.told != "vanished":
                job.told = "vanished"
                self._events.append(Vanished(*job.key, "it has left the queue without a result"))
        try:
            said = self._system.endings(list(bundles.values()), [job.ref for job in jobs if job.bundle.native])
        except BackendError as error:
            if not error.transient:
                raise
            self.trouble = error.message
            said = {}
        for job in jobs:
            self._weigh(job, said.get(job.ref))

    def _weigh(self, job: _Job, status: Status | None) -> None:
        job.asked += 1
        if status is not None and status.state != "ended":
            self._hear(job, status)
            return
        if status is not None and self._ended(job, status):
            return
        if self._gone_for(job) >= self._site.grace:
            self._give_up(job, status)

    def _give_up(self, job: _Job, status: Status | None) -> None:
        if job.unwanted:
            self._end(job, "killed", "stopped", "stopped by order", status)
            return
        revoke(job.directory)
        keep_log(job.bundle.folder, job.place, job.directory)
        reason = status.reason if status is not None else ""
        stopped = read_result(job.directory) or {}
        told = stopped.get("message") or reason or "it has left the queue, and neither result nor accounting says why"
        self._settle(job, Lost(*job.key, told))

    def _end(self, job: _Job, state: Any, cause: str, message: str, status: Status | None = None) -> None:
        """Settle a job that has no result of its own."""
        keep_log(job.bundle.folder, job.place, job.directory)
        said = {} if status is None else {"exit_code": status.exit_code, "signal": status.signal}
        host, at = (status.host, status.at) if status is not None else ("", None)
        result = verdict(job.key, job.bundle.ledger, state, cause, message, host=host, finished=at, **said)
        self._settle(job, Finished(*job.key, result))

    def _settle(self, job: _Job, event: Event) -> None:
        """The last event of a job; with the last job of a submission, that is forgotten too."""
        self._events.append(event)
        del self._jobs[job.key]
        token = job.bundle.token
        self._open[token].discard(job.key)
        if not self._open[token]:
            self._close_bundle(token)

    def _close_bundle(self, token: str) -> None:
        bundle = self._bundles.pop(token)
        del self._open[token]
        self._unsure.pop(token, None)
        self._over.append(bundle)
        # Not at once: what its jobs were told must be in the ledger first.
        self._next_cleaning = self._clock() + _KEPT_SECONDS

    # ------------------------------------------------------------------------------------------------------ orders

    def cancel(self, jobs: Iterable[JobKey]) -> None:
        """Stop jobs: what has not started never will, and what runs is terminated."""
        for key in jobs:
            job = self._jobs.get(key)
            if job is None or not self._is_due(job, "cancel"):
                continue
            job.unwanted = True
            self._withdraw(job)
            if self._site.shared and revoke(job.directory):
                self._end(job, "killed", "stopped", "stopped before it started")

    def _is_due(self, job: _Job, order: str) -> bool:
        """Whether to carry out an order, which comes again until it shows; not the same one every second."""
        if job.order == order and self._clock() < job.ordered + _ORDERS_AGAIN_SECONDS:
            return False
        job.order, job.ordered = order, self._clock()
        return True

    def _withdraw(self, job: _Job) -> None:
        """Take a job out of the queue, with others, at the next occasion."""
        if job.bundle.native:
            self._orders.add("cancel", job.ref)

    def hold(self, jobs: Iterable[JobKey]) -> None:
        """Keep those from starting that have not, and stop the others."""
        keys = set(jobs)
        for key in keys:
            job = self._jobs.get(key)
            if job is None:
                continue
            if job.begun or not job.bundle.native or not self._can_hold(job.bundle, keys):
                self.cancel([key])
            elif self._is_due(job, "hold"):
                self._orders.add("hold", job.ref)

    def _can_hold(self, bundle: Bundle, keys: Collection[JobKey]) -> bool:
        """Whether the batch system can hold these jobs, and no others of their submission that wait."""
        waiting = (key for key in self._open[bundle.token] if not self._jobs[key].begun)
        return self._system.holds_parts or all(key in keys for key in waiting)

    def release(self, jobs: Iterable[JobKey]) -> None:
        """Let jobs run that the batch system holds."""
        for key in jobs:
            job = self._jobs.get(key)
            if job is not None and job.bundle.native and self._is_due(job, "release"):
                self._orders.add("release", job.ref)

    def _carry_orders(self) -> None:
        self.trouble = self._orders.carry(self._clock()) or self.trouble
        if self._orders.carried:
            self.trouble = ""
            # What became of them is worth a question soon.
            self._next_question = min(self._next_question, self._clock() + self._site.fastest_poll)
            self._orders.carried = False
        if not self._orders.waiting and self._clock() >= self._next_cleaning:
            self._clean_up()

    def _clean_up(self) -> None:
        """Forget submissions that are over; what their jobs were told is known to be carried out."""
        while self._over:
            bundle = self._over[-1]
            try:
                if bundle.native:
                    self._system.forget(bundle)
            except BackendError as error:
                if not error.transient:
                    raise
                self._next_cleaning = self._clock() + _KEPT_SECONDS
                return
            self._journal.remove(self._over.pop())

    # ---------------------------------------------------------------------------------------------------- recovery

    def recover(self, attempts: Iterable[Attempt]) -> list[Event]:
        """Take over what an earlier engine has left: in the queue, on its way there, ended, or never submitted."""
        left = {(job, attempt): Path(directory) for job, attempt, directory in attempts}
        for bundle in self._journal.bundles():
            keys = [key for key in bundle.keys if key in left]
            if keys:
                self._follow(bundle, keys)
                if bundle.native:
                    self._tell_names(bundle)  # we may have died before anybody wrote them down
                else:
                    self._unsure[bundle.token] = self._clock()
            else:
                self._over.append(bundle)
        for key, directory in left.items():
            if key not in self._jobs:
                self._events.append(_never_submitted(key, directory))
        events, self._events = self._events, []
        return events

    def detach(self) -> list[Event]:
        """Let the jobs go on without us; what can be heard at once is told."""
        self._next_look = 0.0
        return self.poll(0.0)

    def close(self, *, kill: bool) -> list[Event]:
        """End all jobs and wait until they have, at most two minutes, or wait for them for ever."""
        if kill:
            self.cancel(list(self._jobs))
        deadline = self._clock() + _PATIENCE_SECONDS
        events, self._events = self._events, []
        while self._jobs and not (kill and self._clock() > deadline):
            events += self.poll(_LOOK_SECONDS)
        self._orders.hurry()
        self._carry_orders()
        return events


def _never_submitted(key: JobKey, directory: Path) -> Event:
    """What is to be said of an attempt that no submission is known of."""
    if not revoke(directory):
        result = read_result(directory)
        if result is not None:
            return Finished(*key, result)
    return Lost(*key, "it was never submitted, and now cannot start any more")
