"""A schedd by HTCondor's commands."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from fiducial.batch.htcondor.schedd import LABEL, SUBMISSION_LOCK, Action, Ad, minding_limits
from fiducial.batch.queue.commands import Commands
from fiducial.core.errors import BackendError

__all__ = ["NOTHING_TO_DO", "ScheddByCommands", "cluster_in", "default_name", "read_ads"]

#: Submissions and transfers carry files, and thousands of jobs.
_LONG_SECONDS = 300.0
#: What is said where there is no such job; where the scheduler did not answer the same is said behind other words.
NOTHING_TO_DO = re.compile(
    r"There are no jobs in the queue|\A\s*Couldn't find/\w+ all jobs matching constraint [^\n]*\s*\Z", re.IGNORECASE
)
_TERSE = re.compile(r"^(\d+)\.\d+ - (\d+)\.\d+\s*$", re.MULTILINE)
_VERBS = {"remove": "condor_rm", "hold": "condor_hold", "release": "condor_release"}


def cluster_in(answer: str) -> int | None:
    """The cluster that ``condor_submit -terse`` names, if it names one alone."""
    found = {int(number) for pair in _TERSE.findall(answer) for number in pair}
    return found.pop() if len(found) == 1 else None


def default_name(commands: Commands) -> str:
    """The scheduler that the commands speak to when they are told none; costs no question to it."""
    answer = commands.ask(["condor_config_val", "-macro", "$(SCHEDD_HOST) $(SCHEDD_NAME) $(FULL_HOSTNAME)"])
    return next(iter(answer.split()), "")


class ScheddByCommands:
    """A scheduler.

    Args:
        commands: HTCondor's.
        name: its name; None for the one that the commands find by themselves.
    """

    def __init__(self, commands: Commands, name: str | None = None) -> None:
        self._commands = commands
        self._name = name
        self._where = ["-name", name] if name else []

    @cached_property
    def name(self) -> str:
        """By which it is found from elsewhere."""
        return self._name or default_name(self._commands)

    def listed(self) -> list[str]:
        """Names of all schedulers that the pool's collector knows."""
        return self._commands.ask(["condor_status", "-schedd", "-af", "Name"]).split()

    def submit(self, description: str, folder: Path, *, spool: bool) -> int:
        """Hand over the jobs of a submit description, which is left in the folder, and return their cluster."""
        file = folder / "jobs.sub"
        file.write_text(description, "utf-8")
        words = ["condor_submit", "-terse", *self._where, *(["-spool"] if spool else []), file.name]
        lock = folder / SUBMISSION_LOCK
        with minding_limits():
            answer = self._commands.run(words, directory=folder, timeout=_LONG_SECONDS, lock=lock)
        cluster = cluster_in(answer)
        if cluster is None:
            raise BackendError(
                f"{LABEL}: condor_submit names no cluster: {answer.strip() or 'nothing'}", transient=True
            )
        return cluster

    def jobs(self, constraint: str, attributes: Sequence[str]) -> list[Ad]:
        """Jobs in the queue."""
        return self._ads(["condor_q", *self._where, "-allusers"], constraint, attributes)

    def history(self, constraint: str, attributes: Sequence[str], limit: int) -> list[Ad]:
        """The last jobs that left the queue."""
        return self._ads(["condor_history", *self._where, "-limit", str(limit)], constraint, attributes)

    def _ads(self, words: list[str], constraint: str, attributes: Sequence[str]) -> list[Ad]:
        what = ["-json", "-attributes", ",".join(attributes)]
        answer = self._commands.ask([*words, "-constraint", constraint, *what])
        return read_ads(answer, words[0])

    def act(self, action: Action, constraint: str) -> None:
        """Remove, hold or release jobs; that there are none is no error."""
        words = [_VERBS[action], *self._where, "-constraint", constraint]
        self._commands.run(words, allowed=NOTHING_TO_DO, timeout=_LONG_SECONDS)

    def retrieve(self, constraint: str) -> None:
        """Bring what jobs that were spooled have left to where they were submitted from."""
        words = ["condor_transfer_data", *self._where, "-constraint", constraint]
        self._commands.run(words, allowed=NOTHING_TO_DO, timeout=_LONG_SECONDS)


def read_ads(answer: str, command: str) -> list[Ad]:
    """Jobs in an answer in JSON; for none of them some versions say nothing at all.

    Raises:
        BackendError: it is cut off, or no list of jobs.
    """
    if not answer.strip():
        return []
    try:
        found: Any = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(ad, dict) for ad in found):
        raise BackendError(f"{LABEL}: the answer of {command} is not complete: {answer[-200:]!r}", transient=True)
    return found
