"""Answers of LSF's commands. They come in English and UTC, for so they are asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fiducial.batch.lsf import reasons
from fiducial.batch.queue.system import Ref, Status
from fiducial.batch.queue.words import timestamp
from fiducial.core.errors import BackendError

__all__ = ["FIELDS", "histories", "jobs", "numbers", "submitted", "time_of"]

#: What `bjobs -o` is asked for.
FIELDS = "jobid jobindex job_name stat exit_code exit_reason pend_reason exec_host start_time finish_time"

_SUBMITTED = re.compile(r"Job <(\d+)> is submitted to")
_ELEMENT = re.compile(r"(\d+)(?:\[(\d+)\])?")
_TIMES = ("%b %d %H:%M %Y", "%b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y")
_EVENT = re.compile(r"^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d(?: \d{4})?: ", re.MULTILINE)


def submitted(answer: str) -> str:
    """The number of the job in the answer of ``bsub``, around which a site may print more.

    Raises:
        BackendError: transient, for it may be in the queue: there is none.
    """
    found = _SUBMITTED.search(answer)
    if found is None:
        raise BackendError(f"LSF: bsub named no job: {answer.strip()!r}", transient=True)
    return found[1]


def _records(answer: str) -> list[Mapping[str, str]]:
    """What ``bjobs -json`` says; words around it, such as "Please wait", are passed over."""
    start = answer.find("{")
    if start < 0:
        return []
    try:
        found = json.JSONDecoder().raw_decode(answer, start)[0]["RECORDS"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(f"LSF: the answer of bjobs is no JSON: {error}", transient=True) from None
    return [record for record in found if "ERROR" not in record]


def _ref(record: Mapping[str, str]) -> Ref:
    number, place = _ELEMENT.fullmatch(record["JOBID"].strip()).groups()  # type: ignore[union-attr]
    index = record.get("JOBINDEX", "").strip()
    return Ref(number, int(place or (index if index.isdigit() else 0) or 1))


def _name(record: Mapping[str, str]) -> str:
    return record["JOB_NAME"].partition("[")[0]


def jobs(answer: str, names: Mapping[str, str], now: Callable[[], datetime] | None = None) -> dict[Ref, Status]:
    """The state of each element that ``bjobs -json`` tells of, also of those that ended lately.

    Args:
        names: of the jobs that are meant, by their numbers: a number comes again some day.
        now: the time, by which the year is known, which LSF does not tell.
    """
    found = {}
    for record in _records(answer):
        ref = _ref(record)
        if names.get(ref.native) == _name(record):
            found[ref] = _status(record, now or (lambda: datetime.now(UTC)))
    return found


def _status(record: Mapping[str, str], now: Callable[[], datetime]) -> Status:
    host = re.sub(r"^(\d+\*|-$)", "", record.get("EXEC_HOST", "").partition(":")[0])  # "4*node1:4*node2", "-" for none
    state = record["STAT"]
    if state in reasons.STATES:
        known, reason = reasons.STATES[state]
        at = time_of(record.get("START_TIME", ""), now()) if known == "running" else None
        return Status(known, reason or _plain(record.get("PEND_REASON", "")), host=host, at=at)
    at = time_of(record.get("FINISH_TIME", ""), now())
    if state == "DONE":
        return Status("ended", exit_code=0, host=host, at=at)
    reason = _plain(record.get("EXIT_REASON", ""))
    code = record.get("EXIT_CODE", "").strip()
    if state == "ZOMBI":
        reason = reason or "TERM_ZOMBIE"
    return reasons.ending(reason, int(code) if code.isdigit() else 0, host=host, at=at)


def _plain(text: str) -> str:
    return "" if text.strip() == "-" else text.strip().rstrip(";")


def time_of(text: str, now: datetime) -> float | None:
    """Seconds since the epoch of a time such as ``Dec 28 19:56 L``: the last one that this can be."""
    plain = re.sub(r" [A-Z]$", "", " ".join(text.split()))
    at = timestamp(plain, *_TIMES)
    if at is None:
        at = timestamp(f"{plain} {now.year}", *_TIMES)
        if at is not None and at > now.timestamp() + 86400:
            at = timestamp(f"{plain} {now.year - 1}", *_TIMES)
    return at


def numbers(answer: str) -> dict[str, str]:
    """Numbers of jobs by their names."""
    return {_name(record): _ref(record).native for record in _records(answer)}


def histories(answer: str, names: Mapping[str, str]) -> dict[Ref, Status]:
    """How elements ended, from ``bhist -l``; those that have not are not there."""
    found = {}
    for block in re.split(r"^-{20,}$", answer, flags=re.MULTILINE):
        text = re.sub(r"\n {20,}", "", block)  # lines are folded after 80 characters, in the middle of words
        head = re.search(r"^Job <(\d+)(?:\[(\d+)\])?>, Job Name <([^>\[]*)", text, re.MULTILINE)
        if head and names.get(head[1]) == head[3]:
            status = _history(list(_events(text)))
            if status:
                found[Ref(head[1], int(head[2] or 1))] = status
    return found


def _events(text: str) -> Iterator[tuple[str, str]]:
    """Time and words of each event of a history."""
    marks = list(_EVENT.finditer(text))
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        yield mark[0].rstrip(": "), text[mark.end() : after.start() if after else None].split("\n\n")[0]


def _history(events: list[Any]) -> Status | None:
    code, reason, over, host, at = 0, "", False, "", None
    for when, words in events:
        if found := re.search(r"[Dd]ispatched to (?:\d+ Hosts?/Processors? )?<([^>]+)>", words):
            host, over, code, reason = found[1], False, 0, ""
        if found := re.search(r"Exited with exit code (\d+)", words):
            code, over = int(found[1]), True
        elif found := re.search(r"Exited by signal (\d+)", words):
            code, over = 128 + int(found[1]), True
        elif re.search(r"^(Exited|Completed <exit>)", words):
            code, over = code or 1, True
        elif words.startswith("Done successfully"):
            code, over = 0, True
        if found := re.search(r"TERM_[A-Z_]+", words):
            reason = found[0]
        if over:
            at = time_of(when, datetime.now(UTC))
    return reasons.ending(reason, code, host=host, at=at) if over else None
