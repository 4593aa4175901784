"""DAGMan itself: begin it, end it, and see from its own log whether it is at work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fiducial.batch.htcondor.eventlog import EventLog, Kind
from fiducial.batch.planned.followed import Phase
from fiducial.batch.planned.plan import Plan
from fiducial.core.errors import BackendError, StateError

__all__ = ["Manager", "command", "manager", "remove", "rescue_file", "submit"]

_CLUSTER = re.compile(r"submitted to cluster (\d+)")
_SECONDS = 120


@dataclass
class Manager:
    """A DAG's DAGMan, as its own log tells.

    Args:
        phase: ``new``: it was never submitted.
        cluster: its job in HTCondor.
        exit_code: that it ended with; None where it was removed.
        reason: why it is held or was removed.
        at: when its log told of it last, in seconds since 1970.
    """

    phase: Phase = "new"
    cluster: int = 0
    exit_code: int | None = None
    reason: str = ""
    at: float = 0.0

    @property
    def at_work(self) -> bool:
        """Whether it is in the queue."""
        return self.phase in ("queued", "running", "held")


def manager(here: Path, dag: str) -> Manager:
    """What DAGMan's own logs say of it; they are short. A rescue DAG that was submitted itself has one of its own."""
    logs = [here / f"{dag}.dagman.log", *here.glob(f"{dag}.rescue[0-9][0-9][0-9].dagman.log")]
    return max(map(_manager, logs), key=lambda found: (found.at_work, found.at))


def _manager(log: Path) -> Manager:
    found = Manager()
    for event in EventLog(log).read():
        match event.kind:
            case Kind.SUBMITTED:
                found = Manager("queued", event.cluster)
            case Kind.EXECUTING:
                found.phase = "running"
            case Kind.HELD:
                found.phase, found.reason = "held", event.reason
            case Kind.RELEASED | Kind.EVICTED:
                found.phase = "queued"
            case Kind.TERMINATED | Kind.ABORTED:
                found.phase, found.exit_code, found.reason = "over", event.exit_code, event.reason
        found.at = event.at
    return found


def rescue_file(here: Path, dag: str) -> Path | None:
    """The newest rescue file: what DAGMan goes on with."""
    return max(here.glob(f"{dag}.rescue[0-9][0-9][0-9]"), default=None)


def submit(plan: Plan, here: Path, commands: Path | None = None) -> int:
    """Give a DAG to DAGMan, or what is left of it; its job's number.

    Args:
        commands: folder of HTCondor's commands; by default as PATH says.

    Raises:
        StateError: DAGMan is at it already.
        BackendError: HTCondor refused it.
    """
    before = manager(here, plan.dag)
    if before.at_work:
        raise StateError(
            f"DAGMan is at work on {here / plan.dag} already, as job {before.cluster}",
            hint=f"fiducial follow {here} shows how far it is",
        )
    said = command(["condor_submit_dag", "-batch-name", plan.name, plan.dag], here, commands)
    found = _CLUSTER.search(said)
    if found is None:
        raise BackendError(f"condor_submit_dag does not say which job it has made: {said.strip()}")
    return int(found[1])


def remove(here: Path, dag: str, commands: Path | None = None) -> bool:
    """Have DAGMan end, with all its nodes; false if it is not at work."""
    found = manager(here, dag)
    if found.at_work:
        command(["condor_rm", str(found.cluster)], here, commands)
    return found.at_work


def command(words: Sequence[str], here: Path, commands: Path | None = None) -> str:
    """Run one of HTCondor's commands, and return what it said.

    Raises:
        BackendError: it is not there, or says that it failed.
    """
    path = f"{commands}{os.pathsep}{os.environ.get('PATH', '')}" if commands else os.environ.get("PATH")
    program = shutil.which(words[0], path=path)
    if program is None:
        raise BackendError(
            f"there is no command {words[0]} here", hint="run this, or ./submit.sh, on a machine that has HTCondor"
        )
    try:
        done = subprocess.run(
            [program, *words[1:]], cwd=here, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BackendError(f"{words[0]} does not answer", transient=True) from None
    said = f"{done.stdout}{done.stderr}"
    if done.returncode != 0:
        shown = " ".join(line.strip() for line in said.splitlines() if line.strip())
        raise BackendError(f"{words[0]} failed: {shown or f'exit code {done.returncode}'}")
    return said
