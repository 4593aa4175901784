"""What Grid Engine's letters and numbers mean. Sources: manual pages qstat(1), accounting(5), sge_status(5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fiducial.batch.queue.system import QueueState, Status
from fiducial.batch.queue.words import timestamp
from fiducial.core.resources import parse_duration, parse_size

__all__ = ["ending", "error", "state"]

_TIMES = ("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S.%f")
_LIMIT = 37
_AFTER_JOB = 100
_SIGXCPU = 24
#: Signals by which somebody, or the node, ends a job from outside: HUP, INT, KILL, TERM.
_OUTSIDE = (1, 2, 9, 15)
_NO_ENDS = (24, 25)
#: What kept a job from starting, though nothing is wrong with its node.
_ENVIRONMENT = {
    26: "its log cannot be written",
    27: "there is no such shell",
    28: "its working directory is not there",
}
_LIMITS = {
    "memory": "used more memory than the queue allows",
    "wall_time": "ran longer than the queue allows",
    "cpu_time": "used more CPU time than the queue allows",
}


def state(letters: str) -> tuple[QueueState, str]:
    """State and reason by the letters that ``qstat`` gives."""
    if "E" in letters:
        return "held", "Grid Engine could not start it, and does not try again (Eqw)"
    if "q" in letters and "h" in letters:
        return "held", "held in the queue, by its owner, an operator or another job"
    if "d" in letters:
        return ("pending" if "q" in letters else "running"), "being deleted"
    if "q" in letters:
        return "pending", ""
    if set("sST") & set(letters):
        return "running", "suspended"
    return "running", ""


def error(words: str) -> str:
    """Why a task is in the error state, without time, process and what is for experts alone."""
    plain = re.sub(r"^\S+ \S+ (\[[\d:]+\]:)?\s*(error:)?\s*", "", words)
    plain = re.sub(r"\s*KRB5CCNAME=.*$", "", plain).strip()
    return f"Grid Engine could not start it (Eqw): {plain}"


def ending(record: Mapping[str, str]) -> Status:
    """How a task ended, by its record in the accounting."""
    code, exit_status = _number(record, "failed"), _number(record, "exit_status")
    host, at = record.get("hostname", ""), timestamp(record.get("end_time", ""), *_TIMES)
    if code in _NO_ENDS:
        return Status("pending", "Grid Engine runs it again")
    if code == 0 and exit_status <= 128:
        return Status("ended", exit_code=exit_status, host=host, at=at)
    if code in (0, _LIMIT, _AFTER_JOB):
        signal = exit_status - 128 if exit_status > 128 else None
        cause, reason = _end_by_signal(record, code, signal)
        return Status("ended", reason, cause, signal=signal, host=host, at=at)
    if code in _ENVIRONMENT:
        return Status("ended", f"Grid Engine could not start it: {_ENVIRONMENT[code]}", "environment", host=host, at=at)
    words = record["failed"].partition(":")[2].strip()
    return Status("ended", f"its node failed: {words}", "lost", host=host, at=at)


def _end_by_signal(record: Mapping[str, str], code: int, signal: int | None) -> tuple[str, str]:
    """Cause and reason of an end that the job did not choose."""
    cause = _exceeded(record, signal) or ("wall_time" if code == _LIMIT else "")
    if cause:
        return cause, _LIMITS[cause]
    if code == 0:
        return "lost", f"its runner was ended by signal {signal}, and nobody deleted the job: its node, perhaps"
    if signal in _OUTSIDE:
        return "removed", f"somebody deleted it (signal {signal})"
    return "signal", f"ended by signal {signal}"


def _exceeded(record: Mapping[str, str], signal: int | None) -> str:
    """Which limit a job was over, of those that it was submitted with; empty if none."""
    asked = dict(re.findall(r"\b([hs]_(?:rt|cpu|vmem|rss))=([^,\s]+)", record.get("category", "")))
    for kind in "hs":
        if _used(record, "ru_wallclock") >= _duration(asked.get(f"{kind}_rt")):
            return "wall_time"
        if _used(record, "cpu") >= _duration(asked.get(f"{kind}_cpu")):
            return "cpu_time"
        limit = asked.get(f"{kind}_vmem")
        if limit and _used_memory(record) >= 0.95 * parse_size(limit) * max(1, _number(record, "slots")):
            return "memory"
    return "cpu_time" if signal == _SIGXCPU else ""


def _number(record: Mapping[str, str], field: str) -> int:
    """The number that a field begins with."""
    found = re.match(r"\d+", record.get(field, ""))
    return int(found[0]) if found else 0


def _used(record: Mapping[str, str], field: str) -> float:
    """Seconds used, and one, for usage is measured more coarsely than limits are held."""
    found = re.match(r"[\d.]+", record.get(field, ""))
    return float(found[0]) + 1.0 if found else 0.0


def _duration(text: str | None) -> float:
    """A limit in seconds; infinite where there is none."""
    if not text or not text[0].isdigit():
        return float("inf")
    return float(text) if text.replace(".", "").isdigit() else float(parse_duration(text))


def _used_memory(record: Mapping[str, str]) -> float:
    try:
        return float(parse_size(record.get("maxvmem", "0")))
    except ValueError:
        return 0.0
