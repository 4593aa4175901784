"""What PBS's letters and numbers mean.

Sources: PBS Professional reference guide, job states and job exit status codes; Torque administrator's guide, job exit
codes.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Mapping

from fiducial.batch.queue.system import QueueState, Status
from fiducial.core.resources import parse_duration, parse_size
from fiducial.runner.runner import EXIT_CODES

__all__ = ["OVER", "ending", "state"]

#: States of jobs that have ended: finished, a finished element of an array, completed (Torque).
OVER = "FXC"
_TERMINATED = "91"  # the substate of a job that was deleted
#: With this the runner ends that was told to stop, by a signal that PBS may send for several reasons.
_STOPPED = EXIT_CODES["stopped"]
_ENDS: dict[str, dict[int, tuple[str, str]]] = {
    "openpbs": {
        -1: ("environment", "PBS could not start it, before its output files were made"),
        -2: ("environment", "PBS could not start it, after its output files were made"),
        -10: ("environment", "the node does not know its user or group"),
        -24: ("cpu_time", "used more cores than it asked for, for a moment"),
        -25: ("cpu_time", "used more cores than it asked for, on the whole"),
        -26: ("memory", "used more virtual memory than PBS allows"),
        -27: ("memory", "used more memory than PBS allows"),
        -28: ("cpu_time", "used more CPU time than PBS allows"),
        -29: ("wall_time", "ran longer than PBS allows"),
    },
    "torque": {
        -1: ("environment", "PBS could not start it, before its output files were made"),
        -2: ("environment", "PBS could not start it, after its output files were made"),
        -9: ("environment", "its output file could not be made"),
        -10: ("memory", "used more memory than PBS allows"),
        -11: ("wall_time", "ran longer than PBS allows"),
        -12: ("cpu_time", "used more CPU time than PBS allows"),
    },
}
_LIMITS = {
    "walltime": ("wall_time", "ran longer than PBS allows"),
    "cput": ("cpu_time", "used more CPU time than PBS allows"),
    "mem": ("memory", "used more memory than PBS allows"),
    "vmem": ("memory", "used more virtual memory than PBS allows"),
}
_STATES: dict[str, tuple[QueueState, str]] = {
    "Q": ("pending", ""),
    "W": ("pending", "waits for its time, or for files"),
    "T": ("pending", "is being moved to another queue or server"),
    "M": ("pending", "was moved to another server"),
    "H": ("held", "held in the queue"),
    "R": ("running", ""),
    "E": ("running", "ending"),
    "S": ("running", "suspended"),
    "U": ("running", "suspended, for the node's owner is at work"),
    "B": ("pending", ""),
}
_HOLDS = {"u": "by its owner", "o": "by an operator", "s": "by PBS or an administrator", "p": "for a bad password"}


def state(letter: str, hold: str, comment: str) -> tuple[QueueState, str]:
    """State and reason of a job that has not ended.

    Args:
        hold: letters of the kinds of hold, as ``Hold_Types`` has them.
        comment: what PBS says of the job.
    """
    known, reason = _STATES.get(letter, ("pending", f"in state {letter}"))
    if known != "held":
        return known, reason or (comment if known == "pending" else "")
    by = " and ".join(words for kind, words in _HOLDS.items() if kind in hold)
    told = f"held in the queue {by}" if by else "held in the queue, as another job must end first"
    return known, f"{told}: {comment}" if comment and "s" in hold else told


def ending(job: Mapping[str, str], dialect: str, *, host: str = "", at: float | None = None) -> Status:
    """How a job ended.

    Args:
        job: its attributes; those of what it used and asked for as ``used.walltime`` and ``asked.walltime``.
    """
    text, comment = job.get("exit_status", ""), job.get("comment", "")
    deleted = job.get("substate") == _TERMINATED
    if not text:
        cause = "removed" if deleted or re.search("terminated|deleted", comment) else ""
        reason = "somebody deleted it before it began" if cause else comment
        return Status("ended", reason, cause, host=host, at=at)
    code = int(text)
    signal = code % 128 if code >= 128 else None
    cause, reason = _ENDS[dialect].get(code) or ("", "")
    if code < 0 and not cause:
        cause, reason = "lost", comment or "PBS gave it up"
    elif signal is not None or code == _STOPPED:
        cause, reason = _over(job) or _by_signal(signal, deleted, dialect)
    return Status("ended", reason, cause, code if 0 <= code < 128 else None, signal, host, at)


def _by_signal(signal: int | None, deleted: bool, dialect: str) -> tuple[str, str]:
    """Cause and reason of the end of a job that was stopped, and was over no limit."""
    asked_to = signal in (None, signals.SIGTERM)
    if deleted or (dialect == "torque" and asked_to):
        return "removed", "somebody deleted it"
    if signal is None:
        return "", "its runner was told to stop"
    if signal in (signals.SIGTERM, signals.SIGKILL):
        # OpenPBS tells by the substate that a job was deleted.
        return "lost", f"ended by signal {signal}, and nobody deleted it: its node, perhaps"
    return "signal", f"ended by signal {signal}"


def _over(job: Mapping[str, str]) -> tuple[str, str] | None:
    """The limit that a job has reached, if it has reached one."""
    for resource, end in _LIMITS.items():
        used, asked = job.get(f"used.{resource}"), job.get(f"asked.{resource}")
        if used and asked and _number(used) >= _number(asked):
            return end
    return None


def _number(text: str) -> float:
    try:
        return float(parse_duration(text)) if ":" in text else float(parse_size(text))
    except (ValueError, TypeError):
        return 0.0
