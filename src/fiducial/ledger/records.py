"""What passes between the engine and the ledger: a job's row, a lease, how an attempt ended, a change of state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fiducial.core.states import JobState

__all__ = ["Change", "Finished", "Job", "Lease"]


@dataclass(frozen=True, slots=True)
class Job:
    """A job's row, as far as decisions need it."""

    id: int
    group: int
    key: str
    vals: str | None
    state: JobState
    attempt: int
    retries: str | None
    memory: int | None
    walltime: float | None
    order: str | None
    missing: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """The fan-out's values."""
        return json.loads(self.vals) if self.vals else {}


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leases, and for how long."""

    agent: str
    site: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """How an attempt ended: what the runner measured and published."""

    cause: str
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    host: str | None = None
    started: float | None = None
    finished: float | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    outputs: Sequence[tuple[str, str, int, str]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    backend_id: str | None = None


@dataclass(slots=True)
class Change:
    """One job's change of state within its attempt."""

    job: Job
    to: JobState
    at: float
    who: str | None = None
    why: str | None = None
    finished: Finished | None = None
    started: float | None = None
    retries: str | None = None
    memory: int | None = None
    walltime: float | None = None
    not_before: float | None = None
