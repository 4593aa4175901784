"""Answers of Grid Engine's commands. They come in English and UTC, for so they are asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from defusedxml.ElementTree import ParseError, fromstring

from fiducial.batch.gridengine import reasons
from fiducial.batch.queue.system import Ref, Status
from fiducial.batch.queue.words import places_in, timestamp
from fiducial.core.errors import BackendError

__all__ = ["accounted", "errors", "jobs", "numbers", "records", "submitted"]

_SUBMITTED = re.compile(r"^(\d+)(?:\.\d+-\d+:\d+)?$", re.MULTILINE)
_ERROR = re.compile(r"^error reason\s+(\d+):\s+(.*)$", re.MULTILINE)
_TIMES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f")


def submitted(answer: str) -> str:
    """The number of the job in the answer of ``qsub -terse``, which may have warnings before it.

    Raises:
        BackendError: transient, for it may be in the queue: there is none.
    """
    found = _SUBMITTED.findall(answer)
    if not found:
        raise BackendError(f"Grid Engine: qsub named no job: {answer.strip()!r}", transient=True)
    return str(found[-1])


def _entries(answer: str) -> Iterator[dict[str, str]]:
    try:
        tree = fromstring(answer)
    except ParseError as error:
        raise BackendError(f"Grid Engine: the answer of qstat is no XML: {error}", transient=True) from None
    for entry in tree.iter("job_list"):
        yield {field.tag: (field.text or "").strip() for field in entry}


def jobs(answer: str, names: Mapping[str, str]) -> dict[Ref, Status]:
    """The state of each task that ``qstat -xml`` tells of; tasks that wait stand there together, as ``4-10:1``.

    Args:
        names: of the jobs that are meant, by their numbers: after a million jobs a number comes again.
    """
    found: dict[Ref, Status] = {}
    for entry in _entries(answer):
        if names.get(entry["JB_job_number"]) != entry["JB_name"]:
            continue
        status = _status(entry)
        for place in places_in(entry.get("tasks") or "1"):
            found[Ref(entry["JB_job_number"], place)] = status
    return found


def _status(entry: Mapping[str, str]) -> Status:
    state, reason = reasons.state(entry["state"])
    host = entry.get("queue_name", "").partition("@")[2]
    at = timestamp(entry.get("JAT_start_time", ""), *_TIMES) if state == "running" else None
    return Status(state, reason, host=host, at=at)


def numbers(answer: str) -> dict[str, str]:
    """Numbers of jobs by their names."""
    return {entry["JB_name"]: entry["JB_job_number"] for entry in _entries(answer)}


def errors(answer: str) -> dict[Ref, str]:
    """Why tasks are in the error state, from ``qstat -j``."""
    found = {}
    for block in re.split(r"^=+$", answer, flags=re.MULTILINE):
        number = re.search(r"^job_number:\s+(\d+)", block, re.MULTILINE)
        if number:
            for task, words in _ERROR.findall(block):
                found[Ref(number[1], int(task))] = reasons.error(words)
    return found


def records(answer: str, names: Mapping[str, str]) -> dict[Ref, Status]:
    """How tasks ended, from ``qacct -j``. Of a task with several records, as after a restart, the last one counts.

    Args:
        names: of the jobs that are meant, by their numbers.
    """
    found = {}
    for block in re.split(r"^=+$", answer, flags=re.MULTILINE):
        fields = dict(_fields(block))
        if fields.get("jobnumber") in names and names[fields["jobnumber"]] == fields.get("jobname"):
            task = fields.get("taskid", "")
            found[Ref(fields["jobnumber"], int(task) if task.isdigit() else 1)] = reasons.ending(fields)
    return found


def accounted(answer: str) -> str | None:
    """The number of the last job that ``qacct -j`` tells of."""
    found = re.findall(r"^jobnumber\s+(\d+)", answer, re.MULTILINE)
    return str(found[-1]) if found else None


def _fields(block: str) -> Iterator[Any]:
    for line in block.splitlines():
        name, _, value = line.partition(" ")
        if value:
            yield name, value.strip()
