"""A scheduler of HTCondor, the schedd, as it is spoken to: by the commands, or by the Python module ``htcondor2``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from fiducial.core.errors import BackendError, QueueFullError

__all__ = ["LABEL", "SUBMISSION_LOCK", "TRANSIENT", "Action", "Ad", "Schedd", "minding_limits"]

LABEL = "HTCondor"

#: In a bundle's folder: locked while its submission is under way.
SUBMISSION_LOCK = "submitting"

#: What the commands and the module say when the same call may succeed later.
TRANSIENT = re.compile(
    r"can'?t connect|(?:unable|failed) to (?:connect|contact|locate|fetch ads|send|begin)|connect failed|"
    r"failed to end classad|communication (?:error|problem)|timed? ?out|connection (?:refused|reset|closed)|"
    r"temporarily|disconnected|can'?t find address|couldn'?t (?:contact|connect)|failed communication|"
    r"error receiving|CEDAR:6001|SECMAN:200[3-9]|FS authentication|resource unavailable|no address|has no record of",
    re.IGNORECASE,
)

_FULL = re.compile(r"would exceed (?:the )?MAX_JOBS_\w+", re.IGNORECASE)

#: Attributes of a job.
Ad = Mapping[str, Any]

Action = Literal["remove", "hold", "release"]


@contextmanager
def minding_limits() -> Iterator[None]:
    """A submission that the scheduler refuses because there are too many jobs may be repeated with fewer, or later."""
    try:
        yield
    except BackendError as error:
        if full := _FULL.search(error.message):
            raise QueueFullError(f"{LABEL}: the scheduler takes no more jobs for now ({full[0]})") from None
        raise


class Schedd(Protocol):
    """One scheduler. Every method may raise `BackendError`, and speaks about as many jobs as there are."""

    @property
    def name(self) -> str:
        """By which it is found from elsewhere."""

    def listed(self) -> list[str]:
        """Names of all schedulers that the pool's collector knows."""

    def submit(self, description: str, folder: Path, *, spool: bool) -> int:
        """Hand over the jobs of a submit description, which is left in the folder, and return their cluster."""

    def jobs(self, constraint: str, attributes: Sequence[str]) -> list[Ad]:
        """Jobs in the queue."""

    def history(self, constraint: str, attributes: Sequence[str], limit: int) -> list[Ad]:
        """The last jobs that left the queue, at most ``limit`` of those for which the constraint is true."""

    def act(self, action: Action, constraint: str) -> None:
        """Remove, hold or release jobs; that there are none is no error."""

    def retrieve(self, constraint: str) -> None:
        """Bring what jobs that were spooled have left to where they were submitted from."""
