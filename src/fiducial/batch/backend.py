"""The seam between Fiducial and every batch system.

A backend is given job specifications (the JSON objects that ``fiducial.runner.runner`` documents), brings a runner to
life for each, and answers with events. It keeps no truth of its own: whatever it forgets, the attempt directories and
the ledger know.

The life of an attempt, as events::

    submit ──► Started? ──► Finished          the runner's own result, whatever its state
       │          └───────► Lost              nobody runs it any more, and it left no result
       ├──────────────────► Refused           somebody else holds its directory; nothing was run
       └──► cancel ───────► Finished          state "killed", cause "stopped"

``Started`` may be missing (short jobs, batch systems that drop events). Of ``Finished``, ``Lost`` and ``Refused`` there
comes exactly one for each submission that is not forgotten by a restart. In between, a batch system may hold a job and
release it again (``Held``, ``Queued``), or nobody may have seen it for a while (``Vanished``), until it is seen again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = [
    "Attempt",
    "Backend",
    "Event",
    "Finished",
    "Held",
    "JobKey",
    "JobSpec",
    "Lost",
    "Named",
    "Queued",
    "Refused",
    "Started",
    "Submission",
    "Vanished",
    "key_of",
]

#: A job specification: what the runner reads, plus ``"resources": {"cpus": 1, "memory": bytes or null}``.
JobSpec = Mapping[str, Any]

#: A job and the number of its attempt: the fencing token.
JobKey = tuple[int, int]


class Attempt(NamedTuple):
    """An attempt that an earlier engine has left, and the directory where its traces are."""

    job: int
    attempt: int
    directory: Path


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that the batch system has accepted, and its name there."""

    job: int
    attempt: int
    backend_id: str


@dataclass(frozen=True, slots=True)
class Named:
    """What the job is called in the batch system, which was not known when it was submitted."""

    job: int
    attempt: int
    backend_id: str


@dataclass(frozen=True, slots=True)
class Started:
    """The payload runs."""

    job: int
    attempt: int
    at: float
    host: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The runner has given its verdict; ``result`` is the content of ``result.json``."""

    job: int
    attempt: int
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing of the attempt runs any more, nothing of it can start any more, and it has left no result."""

    job: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """The batch system keeps the job, and does not run it until somebody acts; ``reason`` says why."""

    job: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits again in the queue, after it was held or had vanished."""

    job: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Vanished:
    """Nobody has seen the job for a while; a second witness is being asked."""

    job: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt's directory belongs to somebody else; this submission has run nothing."""

    job: int
    attempt: int
    reason: str


Event = Named | Started | Held | Queued | Vanished | Finished | Lost | Refused


def key_of(spec: JobSpec) -> JobKey:
    """The job and attempt that a specification is for."""
    return spec["job"], spec["attempt"]


@runtime_checkable
class Backend(Protocol):
    """One batch system.

    Every method returns soon; only ``poll`` waits, no longer than it is told, and ``close`` until all is over.
    What is wrong with one job comes as an event, what is wrong with the batch system as a ``BackendError``: a transient
    one if the same call may succeed later.

    Attributes:
        outlives: whether its jobs go on without us, so that an engine which ends need not stop them.
        trouble: why the batch system cannot be reached at the moment; empty when it can.
    """

    outlives: bool
    trouble: str

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        """Hand over jobs, in as few submissions as there can be.

        Returns:
            Those that were taken; each of them will answer. The others, if there are any, are to be handed over again
            later.

        Raises:
            BackendError: none was taken.
        """

    def poll(self, timeout: float) -> list[Event]:
        """All events that are there, after waiting at most ``timeout`` seconds for a first one."""

    def cancel(self, jobs: Iterable[JobKey]) -> None:
        """Have jobs stopped. Each still answers with its event; jobs that are over or unknown are passed over."""

    def hold(self, jobs: Iterable[JobKey]) -> None:
        """Keep jobs from starting: they answer with `Held`. Where that cannot be they are stopped, as by ``cancel``."""

    def release(self, jobs: Iterable[JobKey]) -> None:
        """Let jobs that the batch system holds run; those it does not hold are passed over."""

    def capacity(self) -> int:
        """How many more jobs can be taken now without piling up uselessly."""

    def recover(self, attempts: Iterable[Attempt]) -> list[Event]:
        """Take over what an earlier engine has left.

        What is decided comes back at once; for what still runs, events come through ``poll`` later.
        """

    def detach(self) -> list[Event]:
        """Let go of jobs that outlive us, and return the events that are there; another engine recovers them."""

    def close(self, *, kill: bool) -> list[Event]:
        """Stop the payloads (``kill``) or wait for them, and return the events that are left."""
