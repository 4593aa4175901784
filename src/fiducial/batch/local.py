"""Jobs on this machine, by warm runners that are fed through sockets.

All workers read job specifications from one socket, so that whoever is free takes the next one; each has a second
socket of its own for orders and answers. The end of that second socket tells either side that the other is dead.

Short jobs are sent ahead, so that no worker waits for the engine between two of them. A job that is still in the socket
can be taken back all the same: its directory is revoked, and the worker that comes upon it drops it.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fiducial.batch.backend import (
    Attempt,
    Event,
    Finished,
    JobKey,
    JobSpec,
    Lost,
    Refused,
    Started,
    Submission,
    key_of,
)
from fiducial.batch.claims import kill_left_behind, read_result, revoke, runner_pid, state_of
from fiducial.batch.verdicts import verdict
from fiducial.core.errors import BackendError
from fiducial.runner import runner

__all__ = ["LocalBackend", "machine_memory", "state_of"]

_START_WORKER = "import sys; sys.path.insert(0, sys.argv[1]); import runner; sys.exit(runner.main(sys.argv[2:]))"
_RECEIVE = runner.MESSAGE_LIMIT

#: Work that is sent ahead for each slot: this much time's worth of it, within these numbers of jobs.
_AHEAD_SECONDS = 0.05
_AHEAD_LEAST = 2
_AHEAD_MOST = 32
#: How long a job takes, as long as none has ended; that it is wrong is noticed with the first one.
_FIRST_GUESS = 0.005

#: Events are gathered for this long, but never for more than a quarter of what the work sent ahead lasts.
_GATHER_SECONDS = 0.01

_LOOK_AFTER_ADOPTED = 0.1
_HOPELESS = 5


def machine_memory() -> int:
    """Bytes of memory that this process may count on: the machine's, or less if its cgroup says so."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            limits += _cgroup_limits(controllers, path)
    return min(limits)


def _cgroup_limits(controllers: str, path: str) -> list[int]:
    """A cgroup's limit and those of all above it; version 2 has no controllers in its line."""
    base = Path("/sys/fs/cgroup") / controllers
    name = "memory.limit_in_bytes" if controllers else "memory.max"
    here = base / path.lstrip("/")
    limits = []
    for folder in (here, *here.parents):
        with suppress(OSError, ValueError):
            limits.append(int((folder / name).read_text()))
        if folder == base:
            break
    return limits


@dataclass(slots=True)
class _Job:
    """A job between its submission and its last event."""

    ledger: str
    directory: str
    cpus: int
    memory: int
    message: bytes
    sent: bool = False

    @classmethod
    def of(cls, spec: JobSpec) -> Self:
        """The job that a specification describes."""
        resources = spec.get("resources") or {}
        cpus, memory = resources.get("cpus") or 1, resources.get("memory") or 0
        return cls(spec["ledger"], spec["directory"], cpus, memory, json.dumps(spec).encode())


@dataclass(slots=True)
class _Adopted:
    """A job of an earlier engine whose runner still lives."""

    directory: Path
    cpus: int
    memory: int
    unwanted: bool = False


@dataclass(slots=True)
class _Worker:
    """A warm runner, and our end of its socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    silent: bool = True


class LocalBackend:
    """Runs jobs on this machine.

    Args:
        slots: jobs of one CPU that run at once.
        memory: bytes that jobs may ask for together; by default all that the machine or its cgroup has.
        placed: what a site makes of a job's specification.
    """

    outlives = False
    trouble = ""

    def __init__(
        self, slots: int, memory: int | None = None, placed: Callable[[JobSpec], JobSpec] | None = None
    ) -> None:
        if slots < 1:
            raise BackendError(f"the local backend cannot work with {slots} slots")
        self.slots = slots
        self._placed = placed
        self.memory = machine_memory() if memory is None else memory
        self._jobs: dict[JobKey, _Job] = {}
        self._waiting: deque[JobKey] = deque()
        self._adopted: dict[JobKey, _Adopted] = {}
        self._next_look = 0.0
        self._workers: dict[int, _Worker] = {}
        self._events: list[Event] = []
        self._undelivered: set[JobKey] = set()
        self._cpus_used = self._memory_used = self._sent = self._heavy = 0
        self._mean_wall = 0.0
        self._closed = False
        self._deaths = 0
        self._feed, self._outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._feed.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(kill=True)

    def warm_up(self, workers: int) -> None:
        """Start so many workers already, while the caller still has other things to do."""
        while len(self._workers) < workers:
            self._hire()

    # ------------------------------------------------------------------------------------------------- submission

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        """Take jobs, and start as many as there is room for.

        A job that asks for more than there is here ends at once as failed, by its ``spec``.

        Raises:
            BackendError: a job is here already; then none is taken.
        """
        fresh: dict[JobKey, _Job] = {}
        for spec in specs if self._placed is None else map(self._placed, specs):
            key = key_of(spec)
            if key in fresh or key in self._jobs or key in self._adopted:
                raise BackendError(f"attempt {key[1]} at job {key[0]} was submitted before")
            fresh[key] = _Job.of(spec)
        for key, job in fresh.items():
            if excess := self._excess(job):
                self._events.append(Finished(*key, verdict(key, job.ledger, "failed", "spec", excess)))
            else:
                self._jobs[key] = job
                self._waiting.append(key)
        self._dispatch()
        return [Submission(job, attempt, f"{job}.{attempt}") for job, attempt in fresh]

    def _excess(self, job: _Job) -> str:
        """In what a job asks for more than there is; empty if it does not."""
        if job.cpus > self.slots:
            return f"it asks for {job.cpus} CPUs, and at most {self.slots} jobs may run at a time here"
        if job.memory > self.memory:
            return (
                f"it asks for {job.memory / 1e6:.0f} MB of memory, and all jobs here may use {self.memory / 1e6:.0f} MB"
            )
        return ""

    def capacity(self) -> int:
        """How many more jobs keep all slots busy until the engine comes back."""
        return max(0, self.slots + self._ahead() - len(self._jobs) - len(self._adopted))

    def _ahead(self) -> int:
        """How many jobs are worth having in advance."""
        return self.slots * max(_AHEAD_LEAST, min(_AHEAD_MOST, int(_AHEAD_SECONDS / (self._mean_wall or _FIRST_GUESS))))

    def _is_heavy(self, job: _Job) -> bool:
        """Whether not any mixture of such jobs fits in all slots at once."""
        return job.cpus > 1 or job.memory * self.slots > self.memory

    def _has_room(self, job: _Job) -> bool:
        if not (self._heavy or self._adopted or self._is_heavy(job)):
            return self._sent < self.slots + self._ahead()
        return self._cpus_used + job.cpus <= self.slots and self._memory_used + job.memory <= self.memory

    def _dispatch(self) -> None:
        """Send what there is room for, in the order of submission, so that large jobs do not starve."""
        while self._waiting:
            key = self._waiting[0]
            job = self._jobs[key]
            if not self._has_room(job) or not self._send(job):
                break
            self._waiting.popleft()
            job.sent = True
            self._book(job, 1)
        while len(self._workers) < min(self.slots, self._sent):
            self._hire()

    def _send(self, job: _Job) -> bool:
        if len(job.message) > runner.MESSAGE_LIMIT:
            job.message = self._in_file(job.message)
        try:
            self._feed.send(job.message)
        except BlockingIOError:
            return False
        return True

    def _in_file(self, message: bytes) -> bytes:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fiducial-"))
        descriptor, path = tempfile.mkstemp(".json", dir=self._folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(message)
        return json.dumps({"file": path}).encode()

    def _book(self, job: _Job, sign: int) -> None:
        """Count a job that is with the workers in, or out again."""
        self._sent += sign
        self._heavy += sign * self._is_heavy(job)
        self._cpus_used += sign * job.cpus
        self._memory_used += sign * job.memory

    # ---------------------------------------------------------------------------------------------------- workers

    def _hire(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        outlet, control = self._outlet.fileno(), theirs.fileno()
        folder = str(Path(runner.__file__).parent)
        command = [sys.executable, "-I", "-S", "-c", _START_WORKER, folder, "--warm", str(outlet), str(control)]
        with theirs:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._complaints,
                stderr=self._complaints,
                pass_fds=(outlet, control),
                start_new_session=True,
            )
        self._workers[ours.fileno()] = _Worker(process, ours)
        self._selector.register(ours, selectors.EVENT_READ)

    def _bury(self, worker: _Worker) -> None:
        """A worker has died; find out what it has left, and what it has taken with it."""
        self._dismiss(worker)
        self._deaths = self._deaths + 1 if worker.silent else 0
        if self._deaths > _HOPELESS:
            raise BackendError("workers die as soon as they start", hint=self._last_words())
        still_there = self._take_back()
        for key, job in list(self._jobs.items()):
            if job.sent and key not in still_there:
                self._examine(key, Path(job.directory))
        for key in reversed(still_there):
            if key in self._jobs:
                self._jobs[key].sent = False
                self._book(self._jobs[key], -1)
                self._waiting.appendleft(key)

    def _dismiss(self, worker: _Worker) -> None:
        del self._workers[worker.control.fileno()]
        self._selector.unregister(worker.control)
        worker.control.close()
        try:
            worker.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()

    def _last_words(self) -> str:
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace").strip()[-2000:]

    def _take_back(self) -> list[JobKey]:
        """Read back what no worker has taken yet; what is neither here nor claimed went down with the dead."""
        keys = []
        messages = {job.message: key for key, job in self._jobs.items() if job.sent}
        with suppress(BlockingIOError):
            while True:
                message = self._outlet.recv(_RECEIVE, socket.MSG_DONTWAIT)
                if message in messages:
                    keys.append(messages[message])
        return keys

    def _examine(self, key: JobKey, directory: Path, *, swept: bool = False) -> bool:
        """Decide an attempt by its directory; false if it is alive.

        Args:
            swept: what a dead runner may have left running has been killed before.
        """
        state = state_of(directory)
        if state in ("absent", "revoked"):
            if not revoke(directory):
                return self._examine(key, directory)
            self._settle(key, Lost(*key, "it was never started, and now cannot be any more"))
        elif state == "finished":
            self._settle(key, Finished(*key, read_result(directory) or {}))
        elif state in ("orphan", "dead"):
            if not swept:
                kill_left_behind([directory])
            self._settle(key, Lost(*key, "its runner died without a result"))
        return state != "alive"

    # ----------------------------------------------------------------------------------------------------- events

    def poll(self, timeout: float) -> list[Event]:
        """All events that are there, after waiting at most ``timeout`` seconds for a first one."""
        deadline = time.monotonic() + timeout
        while True:
            self._look_after_unfinished_business()
            self._listen(0.0 if self._events else self._patience(deadline))
            if self._events and self._may_gather(deadline):
                self._listen(0.0)
            self._dispatch()
            if self._events or time.monotonic() >= deadline:
                events, self._events = self._events, []
                return events

    def _may_gather(self, deadline: float) -> bool:
        """Let more events come together while the workers have enough to do: each answer costs the engine a commit."""
        ahead = (self._sent - 2 * self.slots) * self._mean_wall / self.slots
        rest = min(_GATHER_SECONDS, ahead / 4, deadline - time.monotonic())
        if rest < 0.001:
            return False
        time.sleep(rest)
        return True

    def _patience(self, deadline: float) -> float:
        wait = max(0.0, deadline - time.monotonic())
        return min(wait, _LOOK_AFTER_ADOPTED) if self._adopted or self._undelivered else wait

    def _look_after_unfinished_business(self) -> None:
        if self._undelivered:
            again, self._undelivered = self._undelivered, set()
            self.cancel(again)
        if self._adopted and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_AFTER_ADOPTED
            for key, adopted in list(self._adopted.items()):
                ended = self._examine(key, adopted.directory)
                if adopted.unwanted and not ended:
                    self._stop_adopted(adopted)

    def _listen(self, timeout: float) -> None:
        for ready, _ in self._selector.select(timeout):
            worker = self._workers.get(ready.fd)
            if worker is not None:
                self._drain(worker)

    def _drain(self, worker: _Worker) -> None:
        while True:
            try:
                data = worker.control.recv(_RECEIVE)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self._bury(worker)
                return
            worker.silent = False
            self._take(json.loads(data))

    def _take(self, message: Mapping[str, Any]) -> None:
        """A worker's message; about a job that is settled already, there is nothing more to say."""
        key = key_of(message)
        if key not in self._jobs:
            return
        match message.get("event"):
            case None:
                self._finish(key, message)
            case "finished":
                self._finish(key, json.loads(Path(message["file"]).read_bytes()))
            case "refused":
                self._settle(key, Refused(*key, message["reason"]))
            case "started":
                self._events.append(Started(*key, message["at"], message["host"]))

    def _finish(self, key: JobKey, result: Mapping[str, Any]) -> None:
        wall: float = result["usage"]["wall_s"]
        self._mean_wall = 0.9 * self._mean_wall + 0.1 * wall if self._mean_wall else wall
        self._settle(key, Finished(*key, result))

    def _settle(self, key: JobKey, event: Event) -> None:
        """The last event of a job."""
        self._events.append(event)
        job = self._jobs.pop(key, None)
        if job is not None and job.sent:
            self._book(job, -1)
        adopted = self._adopted.pop(key, None)
        if adopted is not None:
            self._cpus_used -= adopted.cpus
            self._memory_used -= adopted.memory

    # ----------------------------------------------------------------------------------------------- cancellation

    def cancel(self, jobs: Iterable[JobKey]) -> None:
        """Stop jobs: what has not started never will, and what runs is terminated."""
        wanted = set(jobs)
        never_sent = {key for key in wanted if key in self._jobs and not self._jobs[key].sent}
        if never_sent:
            self._waiting = deque(key for key in self._waiting if key not in never_sent)
        for key in wanted:
            job = self._jobs.get(key)
            if key in self._adopted:
                self._adopted[key].unwanted = True
                self._next_look = 0.0
            elif job is not None and (key in never_sent or revoke(Path(job.directory))):
                stopped = verdict(key, job.ledger, "killed", "stopped", "stopped before it started")
                self._settle(key, Finished(*key, stopped))
            elif job is not None:
                self._order_end(key)

    def hold(self, jobs: Iterable[JobKey]) -> None:
        """Stop jobs: there is no queue to keep them in."""
        self.cancel(jobs)

    def release(self, jobs: Iterable[JobKey]) -> None:
        """Nothing: no job is ever held here."""

    def detach(self) -> list[Event]:
        """Stop all jobs, which do not outlive their workers."""
        return self.close(kill=True)

    def _order_end(self, key: JobKey) -> None:
        """Tell all workers, since only the right one will heed it."""
        order = json.dumps({"kill": f"{key[0]}.{key[1]}"}).encode()
        for worker in self._workers.values():
            try:
                worker.control.send(order)
            except BlockingIOError:
                self._undelivered.add(key)
            except OSError:
                continue  # it is dead, and poll will notice

    def _stop_adopted(self, adopted: _Adopted) -> None:
        pid = runner_pid(adopted.directory)
        if pid is not None:
            runner.signal_all([pid], signal.SIGTERM)
            adopted.unwanted = False

    # --------------------------------------------------------------------------------------------------- recovery

    def recover(self, attempts: Iterable[Attempt]) -> list[Event]:
        """Take over what an earlier engine has left; what still runs keeps its slot until it has ended."""
        left = {(job, attempt): Path(directory) for job, attempt, directory in attempts}
        foreign = {key: directory for key, directory in left.items() if key not in self._jobs}
        dead = {directory for directory in foreign.values() if state_of(directory) in ("orphan", "dead")}
        kill_left_behind(dead)
        for key, directory in foreign.items():
            if not self._examine(key, directory, swept=directory in dead):
                self._adopt(key, directory)
        events, self._events = self._events, []
        return events

    def _adopt(self, key: JobKey, directory: Path) -> None:
        resources: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            resources = json.loads((directory / "runner.json").read_bytes()).get("resources", {})
        adopted = _Adopted(directory, resources.get("cpus") or 1, resources.get("memory") or 0)
        self._adopted[key] = adopted
        self._cpus_used += adopted.cpus
        self._memory_used += adopted.memory

    def close(self, *, kill: bool) -> list[Event]:
        """End all jobs, or wait for them, and send the workers home."""
        events: list[Event] = []
        if self._closed:
            return events
        self._closed = True
        if kill:
            self.cancel([*self._jobs, *self._adopted])
        try:
            while self._jobs or self._adopted or self._events:
                events += self.poll(1.0)
        finally:
            self._send_home()
        return events

    def _send_home(self) -> None:
        """Let the workers go, which end by themselves when they hear nothing more."""
        for worker in list(self._workers.values()):
            self._dismiss(worker)
        self._feed.close()
        self._outlet.close()
        self._selector.close()
        self._complaints.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
