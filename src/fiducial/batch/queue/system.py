"""What a batch system has to be able to do, in its own few commands; all else is done once, in `QueueBackend`.

An adapter is two things: pure functions, which render a submission and read answers, and a thin class, which runs the
commands. Each call is one command about as many jobs as there are; never one for each job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from fiducial.batch.backend import JobKey
from fiducial.batch.site import Wishes

__all__ = ["BatchSystem", "Bundle", "QueueState", "Ref", "Request", "Status"]

QueueState = Literal["pending", "running", "held", "ended"]


class Ref(NamedTuple):
    """A job as the batch system knows it: the name of its submission there, and its place in that, from 1."""

    native: str
    place: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a bundle's jobs ask for, each of them.

    Args:
        step: of the workflow.
        cpus: cores.
        memory: bytes, if it is limited.
        walltime: seconds that the batch system has to grant: the job's own limit, and time to end in order.
        disk: bytes of scratch, if it is limited.
        wishes: what the site asks for such jobs.
        cputime: seconds of CPU time, if that is limited.
    """

    step: str
    cpus: int
    memory: int | None
    walltime: float | None
    disk: int | None
    wishes: Wishes
    cputime: float | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Jobs that are handed over in one submission, and the folder that they are started from.

    The folder holds ``runner.py``, the jobs' specifications, and what the batch system needs or leaves. A job
    is started by ``start`` with its place, which counts from 1.

    Args:
        token: a name of our own, which the submission bears in the batch system, so that one whose answer was lost is
            found again: lower-case letters and digits, beginning with ``fd``.
        title: what people see of it, e.g. ``Y2023_R011705_F450-500.reco.01``; any characters.
        folder: of the bundle.
        keys: job and attempt, in the order of the places.
        directories: of the attempts, in the same order.
        request: what each job asks for.
        ledger: identity of the ledger that they are from.
        native: the submission's name in the batch system, when it is known.
    """

    token: str
    title: str
    folder: Path
    keys: tuple[JobKey, ...]
    directories: tuple[Path, ...]
    request: Request
    ledger: str
    native: str = ""

    @property
    def start(self) -> Path:
        """The script that starts a job; it takes the job's place as its only argument."""
        return self.folder / "start"


@dataclass(frozen=True, slots=True)
class Status:
    """What a batch system says of a job.

    Args:
        state: ``held``: it does not run until somebody acts. ``ended``: it is over there, however it went.
        reason: in English, for people: why it waits, is held or ended.
        cause: of an end or hold that has one of the causes that a runner has (``memory``, ``wall_time``, ``disk``,
            ``input``, ``output``, ``environment``, ``exit``, ``signal``), or ``removed`` (somebody took it out of the
            queue), or ``lost`` (node trouble, preemption: not the job's fault); empty if the system does not know.
        exit_code: of the job's script, when it ended by itself.
        signal: that ended it.
        host: node where it runs or ran.
        at: when that was, in seconds since the epoch.
    """

    state: QueueState
    reason: str = ""
    cause: str = ""
    exit_code: int | None = None
    signal: int | None = None
    host: str = ""
    at: float | None = None


class BatchSystem(Protocol):
    """One batch system.

    Every method may raise `BackendError`: transient if the same call may succeed later (a daemon does not answer),
    else permanent, with the system's own words in the message.

    Attributes:
        label: the system's name for people.
        reads_log: whether `news` reads a log of what is new, which costs the batch system nothing, rather than ask for
            all that is in the queue.
        holds_parts: whether some jobs of a submission can be held and released, or only all that wait.
    """

    label: str
    reads_log: bool
    holds_parts: bool

    @property
    def most(self) -> int:
        """Jobs that fit in one submission."""

    def submit(self, bundle: Bundle) -> str:
        """Hand over a bundle, and return its name there.

        Raises:
            BackendError: transient: it may be in the queue all the same, which `find` tells. Permanent: it was refused
                and is not.
        """

    def find(self, bundle: Bundle) -> str | None:
        """The name of a submission whose answer was lost, by its token; None if there is none in the queue."""

    def job_id(self, ref: Ref) -> str:
        """A job's name as people give it to the system's own commands."""

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        """Of a log: what was written since the last call. Else: all jobs of the bundles that are in the queue."""

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        """The second witness: what accounting, history or the queue itself say of these jobs, as far as they do."""

    def cancel(self, refs: Iterable[Ref]) -> None:
        """Take jobs out of the queue, running or not; those that are not there are passed over."""

    def hold(self, refs: Iterable[Ref]) -> None:
        """Keep jobs that wait from starting."""

    def release(self, refs: Iterable[Ref]) -> None:
        """Let held jobs start."""

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Bring what ended jobs left to their attempts' directories; nothing to do where the file system is shared."""

    def forget(self, bundle: Bundle) -> None:
        """Clean up in the batch system after a bundle that is over."""
