"""What HTCondor tells of a job, in a log, in its queue or in its history, as a `Status`. Pure.

Job attributes: HTCondor manual, appendix "Job ClassAd Attributes".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fiducial.batch.htcondor.eventlog import Kind, LogEvent
from fiducial.batch.htcondor.holds import SPOOLING, cause_of_hold, cause_of_removal, sentence
from fiducial.batch.queue.system import Status
from fiducial.batch.queue.words import ranges

__all__ = ["ATTRIBUTES", "TOKEN", "JobLife", "constraint", "status_of_ad"]

#: The attribute of ours by which a submission is known again.
TOKEN = "FiducialToken"  # noqa: S105 - a name, no secret

#: What is asked of the queue and the history.
ATTRIBUTES = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "RemoveReason",
    "ExitBySignal",
    "ExitCode",
    "ExitSignal",
    "RemoteHost",
    "LastRemoteHost",
    "EnteredCurrentStatus",
    "NumJobStarts",
    TOKEN,
)

_AGAIN = "it was started before and goes on nowhere: a job of this site is started once"


class JobLife:
    """One job, event by event.

    Args:
        restarts: whether HTCondor may start the job again by itself. Where it may not, the attempt's directory refuses
            a second start, and the job is lost as soon as the first is over.
    """

    __slots__ = ("_restarts", "_started", "host")

    def __init__(self, *, restarts: bool) -> None:
        self.host = ""
        self._restarts = restarts
        self._started = False

    def hear(self, event: LogEvent) -> Status | None:
        """What an event means for the job; None if nothing."""
        match event.kind:
            case Kind.SUBMITTED:
                return Status("pending", at=event.at)
            case Kind.EXECUTING:
                self._started = True
                self.host = event.host
                return Status("running", host=self.host, at=event.at)
            case Kind.RECONNECTED:
                return Status("running", host=self.host, at=event.at)
            case Kind.TERMINATED:
                return Status("ended", exit_code=event.exit_code, signal=event.signal, host=self.host, at=event.at)
            case Kind.ABORTED:
                reason = event.reason or "removed"
                return Status("ended", f"removed: {reason}", cause_of_removal(reason), host=self.host, at=event.at)
            case Kind.HELD:
                return _held(*(event.codes or (0, 0)), event.reason, self.host, event.at)
            case Kind.RELEASED:
                return self._waits(event, _AGAIN)
            case Kind.EVICTED | Kind.SHADOW_EXCEPTION | Kind.RECONNECT_FAILED:
                self._started = self._started or event.kind is not Kind.SHADOW_EXCEPTION
                return self._waits(event, _interruption(event))
        return None

    def _waits(self, event: LogEvent, why: str) -> Status:
        if self._started and not self._restarts:
            return Status("ended", why, "lost", host=self.host, at=event.at)
        return Status("pending", why if self._started else "", at=event.at)


def _interruption(event: LogEvent) -> str:
    what = {
        Kind.EVICTED: "its node gave it up",
        Kind.SHADOW_EXCEPTION: "its submitting machine lost hold of it",
        Kind.RECONNECT_FAILED: "its node could not be reached again",
    }[Kind(event.kind)]
    return f"{what}: {event.reason}" if event.reason else what


def _held(code: int, subcode: int, words: str, host: str, at: float | None) -> Status:
    if code == SPOOLING:
        return Status("pending", "its files are on their way to the scheduler", at=at)
    return Status("held", sentence(code, words), cause_of_hold(code, subcode, words), host=host, at=at)


def status_of_ad(ad: Mapping[str, Any], *, restarts: bool) -> Status:
    """What the queue or the history says of a job.

    Args:
        ad: its attributes.
        restarts: whether HTCondor may start it again by itself.
    """
    host = str(ad.get("RemoteHost") or ad.get("LastRemoteHost") or "").rpartition("@")[2]
    at = float(ad["EnteredCurrentStatus"]) if ad.get("EnteredCurrentStatus") else None
    match ad.get("JobStatus"):
        case 1 if ad.get("NumJobStarts") and not restarts:
            return Status("ended", _AGAIN, "lost", host=host, at=at)
        case 1:
            return Status("pending", at=at)
        case 2 | 6 | 7:
            return Status("running", host=host, at=at)
        case 3:
            words = str(ad.get("RemoveReason") or "removed")
            return Status("ended", f"removed: {words}", cause_of_removal(words), host=host, at=at)
        case 4:
            by_signal = ad.get("ExitBySignal") is True
            ended = Status("ended", host=host, at=at)
            return (
                replace(ended, signal=ad.get("ExitSignal"))
                if by_signal
                else replace(ended, exit_code=ad.get("ExitCode"))
            )
        case 5:
            words = str(ad.get("HoldReason") or "")
            return _held(ad.get("HoldReasonCode") or 0, ad.get("HoldReasonSubCode") or 0, words, host, at)
    return Status("pending", at=at)


def constraint(clusters: Mapping[int, Iterable[int] | None], tokens: Mapping[int, str]) -> str:
    """An expression that is true for these jobs alone.

    Args:
        clusters: procs of each cluster; None for all of them.
        tokens: of clusters, where they are known: a schedd that lost its memory begins to count anew.
    """
    return " || ".join(f"({_of_cluster(number, procs, tokens)})" for number, procs in sorted(clusters.items()))


def _of_cluster(number: int, procs: Iterable[int] | None, tokens: Mapping[int, str]) -> str:
    parts = [f"ClusterId == {number}"]
    if number in tokens:
        parts.append(f'{TOKEN} =?= "{tokens[number]}"')
    if procs is not None:
        parts.append("(" + " || ".join(map(_of_range, ranges(procs))) + ")")
    return " && ".join(parts)


def _of_range(words: str) -> str:
    first, _, last = words.partition("-")
    return f"(ProcId >= {first} && ProcId <= {last})" if last else f"ProcId == {first}"
