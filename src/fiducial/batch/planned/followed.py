"""A campaign that a batch system was given at once, as a backend: its jobs are found in what their runners have left.

Nothing is submitted here. To "submit" a job is to begin to look for it, by its name in the plan; its attempts have the
numbers that the ledger gives them, because each counts those that there were before. An attempt that never began is
given up only when its folder is revoked, so that the next runner takes the next number.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fiducial.batch.backend import (
    Attempt,
    Event,
    Finished,
    Held,
    JobKey,
    JobSpec,
    Lost,
    Queued,
    Started,
    Submission,
    key_of,
)
from fiducial.batch.claims import read_result, revoke
from fiducial.batch.planned.plan import Plan
from fiducial.batch.verdicts import verdict
from fiducial.runner import runner

__all__ = ["FollowedJob", "NodeState", "Phase", "PlannedBackend", "key_number"]

#: ``new``: it was never submitted.
Phase = Literal["new", "queued", "running", "held", "over"]

#: Jobs that are leased in one go: no more than can be described at once without a pause.
_AT_ONCE = 2000
#: How often the logs are looked at, and how long after the end of its node a result may take to appear.
_LOOK_SECONDS = 0.5
_RESULT_SECONDS = 10.0


@dataclass(slots=True)
class NodeState:
    """What the batch system says of a job, which was begun under the name that the plan gives it.

    Args:
        name: what people find it by there; empty as long as it is not in the queue.
        started: when it began to run, in seconds since the epoch; 0 if it does not.
        held: why it is held; empty if it is not.
        ended: when it left the queue, likewise.
        why: how, where it did not end by itself.
    """

    name: str = ""
    started: float = 0.0
    host: str = ""
    held: str = ""
    ended: float = 0.0
    why: str = ""


@dataclass(slots=True)
class FollowedJob:
    """A job that is looked for."""

    directory: Path
    node: str
    told: bool = False  # that it runs
    held: bool = False  # likewise
    seen: float = field(default_factory=time.monotonic)


class PlannedBackend(ABC):
    """Follows the jobs of a plan.

    Args:
        plan: of the campaign.
    """

    outlives = True
    trouble = ""
    #: The last word on a job that never began, and what runs it.
    over = "its batch system ended before it began"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._nodes: dict[str, NodeState] = {}
        self._jobs: dict[JobKey, FollowedJob] = {}
        self._of_node: dict[str, JobKey] = {}
        self._silent: set[JobKey] = set()  # of which nobody tells but their own folder
        self._dirty: set[JobKey] = set()
        self._late: dict[JobKey, float] = {}  # ended, and their results are still to appear
        self._unwanted: set[JobKey] = set()  # cancelled, and in no queue

    @property
    @abstractmethod
    def phase(self) -> Phase:
        """How the whole is in its batch system."""

    @property
    def at_work(self) -> bool:
        """Whether anything of it is in a queue."""
        return self.phase in ("queued", "running", "held")

    @abstractmethod
    def _read(self) -> None:
        """Take in what there is to be known of jobs: into ``_nodes``, and whom it concerns into ``_dirty``."""

    @abstractmethod
    def cancel(self, jobs: Iterable[JobKey]) -> None:
        """Take jobs out of the queue."""

    @abstractmethod
    def hold(self, jobs: Iterable[JobKey]) -> None:
        """Keep jobs from starting."""

    @abstractmethod
    def release(self, jobs: Iterable[JobKey]) -> None:
        """Let held jobs start."""

    # ------------------------------------------------------------------------------------------------- association

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        """Begin to look for jobs."""
        for spec in specs:
            self._associate(key_of(spec), Path(spec["directory"]))
        return [Submission(*key_of(spec), self._name(key_of(spec))) for spec in specs]

    def recover(self, attempts: Iterable[Attempt]) -> list[Event]:
        """Look again for jobs that an earlier engine looked for."""
        for job, attempt, directory in attempts:
            self._associate((job, attempt), directory)
        return self.poll(0.0)

    def _associate(self, key: JobKey, directory: Path) -> None:
        step, iteration = directory.parent.parent.name, int(directory.parent.name)
        name = directory.name.rpartition(".")[0]
        node = self.plan.group(step, iteration).node(name)
        self._align(directory)
        self._jobs[key] = FollowedJob(directory, node)
        self._of_node[node] = key
        self._dirty.add(key)
        if self._is_silent(step):
            self._silent.add(key)

    def _is_silent(self, step: str) -> bool:
        """Whether nobody tells of a step's jobs."""
        return False

    @staticmethod
    def _align(directory: Path) -> None:
        """Let the next runner take the number that the ledger gave: it counts the attempts that it finds."""
        number, stem = key_number(directory), str(directory.with_suffix(""))
        if number > 1 and not directory.exists():
            for missing in range(runner.last_attempt(stem) + 1, number):
                PlannedBackend._revoked(Path(f"{stem}.{missing}"))

    def _name(self, key: JobKey) -> str:
        """What people find the job by."""
        node = self._jobs[key].node
        known = self._nodes.get(node)
        return known.name if known is not None and known.name else node

    def capacity(self) -> int:
        """How many more jobs may be looked for at once; the batch system has all of them already."""
        return _AT_ONCE

    @property
    def waits(self) -> bool:
        """Whether the result of a job that has ended may still appear."""
        return bool(self._late)

    # ------------------------------------------------------------------------------------------------------ looking

    def poll(self, timeout: float) -> list[Event]:
        """All that is new, after waiting at most ``timeout`` seconds for something."""
        deadline = time.monotonic() + timeout
        while True:
            self._read()
            events = self._look()
            if events or time.monotonic() >= deadline:
                return events
            time.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))

    def _look(self) -> list[Event]:
        """What has become of jobs about which the logs said something, and of those of which they never do."""
        wanted = self._dirty | self._silent | self._late.keys()
        self._dirty = set()
        events = self._forget_unwanted()
        for key in wanted & self._jobs.keys():
            events += self._examine(key, self._jobs[key])
        return events

    def _forget_unwanted(self) -> list[Event]:
        """What was cancelled before it was in any queue: the attempt can begin no more."""
        events: list[Event] = []
        for key in self._unwanted & self._jobs.keys():
            if self._revoked(self._jobs[key].directory):
                result = verdict(key, self.plan.ledger, "killed", "stopped", "stopped before it started")
                events.append(self._end(key, Finished(*key, result)))
        self._unwanted = set()
        return events

    def _is_queued(self, key: JobKey) -> bool:
        node = self._nodes.get(self._jobs[key].node)
        return node is not None and bool(node.name) and not node.ended

    def _examine(self, key: JobKey, job: FollowedJob) -> list[Event]:
        result = read_result(job.directory)
        if result is not None:
            return [self._end(key, Finished(*key, self._ours(key, result)))]
        later = runner.last_attempt(str(job.directory.with_suffix(""))) > key_number(job.directory)
        node = self._nodes.get(job.node, NodeState())
        if later:
            return [self._end(key, Lost(*key, "its runner died, and the node was begun again"))]
        if node.ended:
            return self._after_end(key, job, node)
        return list(self._on_the_way(key, job, node))

    def _after_end(self, key: JobKey, job: FollowedJob, node: NodeState) -> list[Event]:
        """A node whose job has ended without a result that we see: it may be late, or none will ever come."""
        since = self._late.setdefault(key, time.monotonic())
        if time.monotonic() - since < _RESULT_SECONDS and time.time() - node.ended < _RESULT_SECONDS:
            return []
        if self._revoked(job.directory):
            why = f"its job was removed from the queue: {node.why}" if node.why else "its job ended before it began"
            result = verdict(key, self.plan.ledger, "killed", "removed", why, host=node.host, finished=node.ended)
            return [self._end(key, Finished(*key, result))]
        return [self._end(key, Lost(*key, node.why or "its runner died without a result"))]

    def _on_the_way(self, key: JobKey, job: FollowedJob, node: NodeState) -> Iterable[Event]:
        if node.held and not job.held:
            job.held, job.told = True, False
            yield Held(*key, node.held)
        if job.held and not node.held:
            job.held = False
            yield Queued(*key)
        if node.started and not job.told:
            job.told = True
            yield Started(*key, node.started, node.host)

    def _ours(self, key: JobKey, result: dict[str, Any]) -> dict[str, Any]:
        """A runner's result as one of this ledger's jobs, with its files where they are by now."""
        before, now = result.get("folder"), str(self.plan.folder)
        outputs = [{**one, "path": runner.moved(one["path"], before, now)} for one in result.get("outputs") or ()]
        return {**result, "job": key[0], "attempt": key[1], "outputs": outputs}

    def _end(self, key: JobKey, event: Event) -> Event:
        """The last event of a job."""
        job = self._jobs.pop(key)
        if self._of_node.get(job.node) == key:
            del self._of_node[job.node]
        for known in (self._silent, self._dirty):
            known.discard(key)
        self._late.pop(key, None)
        return event

    def _give_back(self) -> list[Event]:
        """All has ended: nothing runs any more, and what has not begun may begin when it is submitted anew."""
        events: list[Event] = []
        for key, job in list(self._jobs.items()):
            if self._revoked(job.directory):
                result = verdict(key, self.plan.ledger, "killed", "stopped", self.over)
                events.append(self._end(key, Finished(*key, result)))
            else:
                events.append(self._end(key, Lost(*key, "its runner died without a result")))
        return events

    @staticmethod
    def _revoked(directory: Path) -> bool:
        try:
            return revoke(directory)
        except OSError:  # the folder is somebody else's, who is the only one to run anything in it
            return not directory.exists()

    # ------------------------------------------------------------------------------------------------------- orders

    def detach(self) -> list[Event]:
        """Let go; the next one who follows finds all of it again."""
        self._read()
        events = self._look()
        return events if self.at_work or self.phase == "new" else [*events, *self._give_back()]

    def close(self, *, kill: bool) -> list[Event]:
        """The same: nobody of us is needed."""
        return self.detach()


def key_number(directory: Path) -> int:
    """The number of the attempt that has a directory."""
    return int(directory.name.rpartition(".")[2])
