"""What Slurm answers.

Jobs bear our token in their names, so that one whose number was given again is not taken for ours.
"""

from __future__ import annotations

import math
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fiducial.batch.queue.system import Ref, Status
from fiducial.batch.queue.words import places_in
from fiducial.batch.slurm.reasons import ENDS, queue_state, sentence

__all__ = [
    "ENDED_FIELDS",
    "QUEUED_FIELDS",
    "SACCT_FIELDS",
    "Facts",
    "accounted",
    "array_id",
    "facts",
    "find_tokens",
    "queued",
    "remembered",
]

#: For ``squeue -o``: submission, place, state, node, begin, reason, name. The last may hold the separator.
QUEUED_FIELDS = "%F|%K|%T|%B|%S|%r|%j"
#: For ``squeue -O``, which alone knows exit codes, and cuts each field to a width.
_ENDED = {
    "ArrayJobID": 24,
    "ArrayTaskID": 24,
    "State": 24,
    "BatchHost": 128,
    "EndTime": 32,
    "exit_code": 24,
    "Reason": 96,
    "Name": 640,
}
ENDED_FIELDS = ",".join(f"{field}:{width}" for field, width in _ENDED.items())
#: For ``sacct -o``.
SACCT_FIELDS = "JobID,State,ExitCode,End,NodeList,JobName"

#: Numbers above are no signals, but Slurm's own errors, such as 53 for a log that cannot be written.
_LAST_SIGNAL = 31

_ARRAY_ID = re.compile(r"(\d+)_\[?([\d,:-]+)(?:%\d+)?\]?")


class Facts(NamedTuple):
    """What a Slurm can do.

    Args:
        most: jobs in one array.
        accounting: whether it keeps accounts that can be asked.
        memory: seconds for which the controller knows of a job that has ended.
    """

    most: int
    accounting: bool
    memory: float


def facts(text: str) -> Facts:
    """What ``scontrol show config`` tells."""
    said = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())}
    # Places count from 0 there and from 1 here.
    most = max(0, int(said.get("MaxArraySize", "1001")) - 1)
    if limit := re.search(r"max_array_tasks=(\d+)", said.get("SchedulerParameters", "")):
        most = min(most, int(limit[1]))
    age = said.get("MinJobAge", "").partition(" ")[0]
    memory = float(age) if age.isdigit() else 0.0
    return Facts(most, said.get("AccountingStorageType", "").endswith("slurmdbd"), memory or math.inf)


def array_id(text: str) -> str:
    """The number that ``sbatch --parsable`` answers, without the cluster that may follow; empty if it is none."""
    lines = text.split()
    number = lines[-1].partition(";")[0] if lines else ""
    return number if number.isdigit() else ""


def find_tokens(text: str, tokens: Iterable[str]) -> dict[str, str]:
    """The submissions whose jobs bear these tokens, in lines of number, bar and name."""
    wanted = frozenset(tokens)
    found: dict[str, str] = {}
    for line in text.splitlines():
        number, _, name = line.partition("|")
        token = name.rstrip().rpartition(".")[2]
        if token in wanted:
            found.setdefault(token, number.partition("_")[0])
    return found


def queued(text: str, tokens: Mapping[str, str]) -> dict[Ref, Status]:
    """What ``squeue -r -o QUEUED_FIELDS`` says of jobs, by submission's number and token."""
    found = {}
    for line in text.splitlines():
        fields = line.split("|", 6)
        if len(fields) == 7 and (ref := _ref(fields[0], fields[1], fields[6], tokens)):
            state, host, begin, reason = fields[2:6]
            found[ref] = _queue_status(state, reason, host, begin)
    return found


def remembered(text: str, tokens: Mapping[str, str]) -> dict[Ref, Status]:
    """What ``squeue -r -t all -O ENDED_FIELDS`` says of jobs, those too that ended not long ago."""
    found = {}
    for line in text.splitlines():
        native, place, state, host, end, code, reason, name = _cut(line)
        if ref := _ref(native, place, name, tokens):
            if state in ENDS:
                found[ref] = _end_status(state, *_split_code(code), reason, host, end)
            else:
                found[ref] = _queue_status(state, reason, host, "")
    return found


def accounted(text: str, tokens: Mapping[str, str]) -> dict[Ref, Status]:
    """What ``sacct -X -P -o SACCT_FIELDS`` says of jobs that have ended.

    Of jobs that it takes for alive it is no witness: a record that lost its end stays so for ever.
    """
    found = {}
    for line in text.splitlines():
        fields = line.split("|", 5)
        if len(fields) < 6:
            continue
        state, _, by = fields[1].partition(" by ")
        for ref in _refs(fields[0], fields[5], tokens):
            if state in ENDS:
                found[ref] = _end_status(state, *_split_code(fields[2]), _who(by), fields[4], fields[3])
    return found


def _cut(line: str) -> Iterator[str]:
    start = 0
    for width in _ENDED.values():
        yield line[start : start + width].strip()
        start += width


def _ref(native: str, place: str, name: str, tokens: Mapping[str, str]) -> Ref | None:
    is_ours = native in tokens and name.rstrip().endswith(f".{tokens[native]}")
    return Ref(native, int(place)) if is_ours and place.isdigit() else None


def _refs(job: str, name: str, tokens: Mapping[str, str]) -> Iterator[Ref]:
    """Jobs of one line of accounts: those that never started share one, ``12_[3-5,9]``."""
    match = _ARRAY_ID.fullmatch(job)
    if match is not None:
        refs = (_ref(match[1], str(place), name, tokens) for place in places_in(match[2]))
        yield from filter(None, refs)


def _split_code(code: str) -> tuple[int, int]:
    """Exit code and signal, from ``3:9`` or, in older versions of squeue, what wait(2) gave."""
    if ":" in code:
        exit_code, _, signal = code.partition(":")
        return int(exit_code or 0), int(signal or 0)
    status = int(code) if code.isdigit() else 0
    return status >> 8 & 0xFF, status & 0x7F


def _time(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _host(text: str) -> str:
    return "" if text in ("n/a", "(null)", "None assigned", "None") else text


def _who(by: str) -> str:
    """Who cancelled it: accounts tell a number."""
    if not by.isdigit():
        return ""
    try:
        return f"by {pwd.getpwuid(int(by)).pw_name}"
    except KeyError:
        return f"by user {by}"


def _queue_status(state: str, reason: str, host: str, begin: str) -> Status:
    match queue_state(state, reason):
        case "pending":
            return Status("pending", sentence(reason))
        case "held":
            return Status("held", sentence(reason) or state.lower().replace("_", " "))
        case "running":
            return Status("running", "" if state == "RUNNING" else state.lower(), host=_host(host), at=_time(begin))
        case _:
            cause, told = ENDS[state]
            return Status("ended", told, cause, host=_host(host))


def _end_status(state: str, exit_code: int, signal: int, reason: str, host: str, end: str) -> Status:
    cause, told = ENDS[state]
    if state == "FAILED" and signal > _LAST_SIGNAL:
        cause, told, signal = "lost", "Slurm could not start it on the node: is its folder there?", 0
    elif state == "FAILED" and signal:
        told = f"signal {signal} ended it"
    elif state == "CANCELLED" and reason.startswith("by "):
        told = f"{told} {reason}"
    elif state == "CANCELLED" and reason == "DependencyNeverSatisfied":
        told = f"{told}: {sentence(reason)}"
    ran = state in ("FAILED", "COMPLETED") and not cause
    return Status(
        "ended",
        told,
        cause,
        exit_code=exit_code if ran and not signal else None,
        signal=signal or None,
        host=_host(host),
        at=_time(end),
    )
