"""Answers of PBS's commands. They come in English and UTC, for so they are asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from defusedxml.ElementTree import ParseError, fromstring

from fiducial.batch.pbs import reasons
from fiducial.batch.queue.system import Ref, Status
from fiducial.batch.queue.words import timestamp
from fiducial.core.errors import BackendError

__all__ = ["Record", "jobs", "numbers", "openpbs_records", "submitted", "torque_records"]

#: A job's attributes by their names in small letters; of what has parts each part, as ``used.walltime``.
Record = Mapping[str, str]

_SUBMITTED = re.compile(r"^(\d+(?:\[\])?(?:\.\S+)?)\s*$", re.MULTILINE)
_ID = re.compile(r"(\d+)(?:\[(\d*)\])?")
_TIME = "%a %b %d %H:%M:%S %Y"
_PARTS = {"resources_used": "used", "Resource_List": "asked"}
#: A backslash that begins no escape: some versions of OpenPBS write values as they are.
_LONE_BACKSLASH = re.compile(r'\\(?!["\\/bfnrtu])')


def submitted(answer: str) -> str:
    """The name of the job in the answer of ``qsub``, around which a site may print more.

    Raises:
        BackendError: transient, for it may be in the queue: there is none.
    """
    found = _SUBMITTED.findall(answer)
    if not found:
        raise BackendError(f"PBS: qsub named no job: {answer.strip()!r}", transient=True)
    return str(found[-1])


def openpbs_records(answer: str) -> Iterator[Record]:
    """The jobs in the answer of ``qstat -f -F json``."""
    if not answer.strip():
        return
    try:
        found = json.loads(_LONE_BACKSLASH.sub(r"\\\\", answer), strict=False).get("Jobs", {})
    except (ValueError, AttributeError) as error:
        raise BackendError(f"PBS: the answer of qstat is no JSON: {error}", transient=True) from None
    for identity, attributes in found.items():
        yield {"id": identity, **dict(_flat(attributes.items()))}


def torque_records(answer: str) -> Iterator[Record]:
    """The jobs in the answer of Torque's ``qstat -x``, which is XML."""
    if not answer.strip():
        return
    try:
        tree = fromstring(answer)
    except ParseError as error:
        raise BackendError(f"PBS: the answer of qstat is no XML: {error}", transient=True) from None
    for job in tree.iter("Job"):
        pairs = [(part.tag, {each.tag: each.text for each in part} if len(part) else part.text) for part in job]
        attributes = dict(_flat(pairs))
        yield {"id": attributes.get("job_id", ""), **attributes}


def _flat(attributes: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, value in attributes:
        if isinstance(value, dict):
            if name in _PARTS:
                yield from ((f"{_PARTS[name]}.{part}", str(each)) for part, each in value.items())
        elif value is not None:
            yield name.lower(), str(value).strip()


def _place(record: Record) -> tuple[str, int | None]:
    """Number and place of a job; the place of an array itself is None."""
    number, place = _ID.match(record["id"]).groups()  # type: ignore[union-attr]
    return number, None if place == "" else int(place or 1)


def _name(record: Record) -> str:
    """The job's name; Torque writes the place behind it."""
    name = record.get("job_name", "")
    place = _place(record)[1]
    return name.removesuffix(f"-{place}") if "[" in record["id"] else name


def jobs(records: Iterable[Record], names: Mapping[str, str], dialect: str) -> dict[Ref, Status]:
    """The state of each job, also of those that have ended, as far as they are there.

    Args:
        names: of the jobs that are meant, by what qsub called them: a number comes again some day.
    """
    natives = {_ID.match(native)[1]: native for native in names}  # type: ignore[index]
    ours = []
    for record in records:
        native = natives.get(_place(record)[0])
        if native is not None and _name(record) == names[native]:
            ours.append((native, record))
    held = {native: record for native, record in ours if _place(record)[1] is None and record["job_state"] == "H"}
    found = {}
    for native, record in ours:
        place = _place(record)[1]
        if place is not None:
            # An array is held as a whole: its elements that wait are.
            waits = record["job_state"] == "Q" and native in held
            found[Ref(native, place)] = _status(held[native] if waits else record, dialect)
    return found


def _status(record: Record, dialect: str) -> Status:
    host = re.split(r"[/+:]", record.get("exec_host", "").strip("("))[0]
    if record["job_state"] in reasons.OVER:
        return reasons.ending(record, dialect, host=host, at=_ended(record))
    state, reason = reasons.state(record["job_state"], record.get("hold_types", ""), record.get("comment", ""))
    at = _began(record) if state == "running" else None
    return Status(state, reason, host=host, at=at)


def _time(text: str) -> float | None:
    """Seconds since the epoch: as such in Torque's XML, else a date."""
    return float(text) if text.isdigit() else timestamp(text, _TIME)


def _began(record: Record) -> float | None:
    return _time(record.get("stime") or record.get("start_time") or "")


def _ended(record: Record) -> float | None:
    return _time(record.get("obittime") or record.get("comp_time") or record.get("mtime") or "")


def numbers(records: Iterable[Record]) -> dict[str, str]:
    """Jobs by their names, as qsub called them; elements of arrays are passed over."""
    found: dict[str, str] = {}
    for record in records:
        if re.match(r"\d+\[\d+\]", record["id"]):
            found.setdefault(_name(record), re.sub(r"\[\d+\]", "[]", record["id"]))
        else:
            found[_name(record)] = record["id"]
    return found
