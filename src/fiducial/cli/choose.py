"""Which jobs a command means: a number, or ``CAMPAIGN/STEP[/ITERATION]/KEY`` with patterns (``align/reco/02/004*``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Connection, RowMapping

from fiducial.cli.views import find
from fiducial.core.errors import NotFoundError, UsageError
from fiducial.ledger import queries
from fiducial.ledger.queries import Narrow

__all__ = ["Chosen", "choose", "choose_one", "known_step"]

_FORM = "write a job's number, or CAMPAIGN/STEP[/ITERATION]/KEY, with * and ? as in names of files"
_MOST_NEAR = 5000


@dataclass(frozen=True, slots=True)
class Chosen:
    """Jobs of one campaign: (number, key, state)."""

    campaign: RowMapping
    jobs: list[tuple[int, str, str]]

    @property
    def ids(self) -> list[int]:
        """Their numbers."""
        return [number for number, _, _ in self.jobs]


def choose(
    connection: Connection, words: Sequence[str], *, states: Sequence[str] = (), steps: Sequence[str] = ()
) -> list[Chosen]:
    """The jobs that words mean, by campaign; a word that means none is an error, whatever the filters leave of it.

    Raises:
        NotFoundError: there is no such job, step, iteration or campaign; names the nearest.
        UsageError: a word is neither a number nor a name.
    """
    found: dict[int, Chosen] = {}
    for word in words:
        campaign, jobs = _number(connection, word) if word.isdecimal() else _named(connection, word)
        chosen = found.setdefault(campaign["id"], Chosen(campaign, []))
        known = set(chosen.ids)
        chosen.jobs.extend(job for job in jobs if job[0] not in known)
    return [Chosen(chosen.campaign, _filtered(connection, chosen, states, steps)) for chosen in found.values()]


def choose_one(connection: Connection, word: str) -> tuple[RowMapping, int]:
    """The one job that a word means, and its campaign.

    Raises:
        UsageError: it means several.
    """
    (chosen,) = choose(connection, [word])
    if len(chosen.jobs) > 1:
        name = chosen.campaign["name"]
        shown = ", ".join(str(number) for number in chosen.ids[:5])
        raise UsageError(
            f"'{word}' means {len(chosen.jobs)} jobs: {shown}{', …' if len(chosen.jobs) > 5 else ''}",
            hint=f"name one of them; fiducial job list {name} shows their names",
        )
    return chosen.campaign, chosen.jobs[0][0]


def _filtered(
    connection: Connection, chosen: Chosen, states: Sequence[str], steps: Sequence[str]
) -> list[tuple[int, str, str]]:
    jobs = [job for job in chosen.jobs if not states or job[2] in states]
    if not steps:
        return jobs
    groups = queries.group_rows(connection, chosen.campaign["id"])
    for step in steps:
        known_step(groups, chosen.campaign["name"], step)
    spans = [range(g["first_job"], g["first_job"] + g["total"]) for g in groups if g["step"] in steps]
    return [job for job in jobs if any(job[0] in span for span in spans)]


def known_step(groups: Sequence[Any], campaign: str, step: str) -> None:
    """Make sure that a campaign has a step.

    Raises:
        NotFoundError: it has not; names the nearest.
    """
    steps = list(dict.fromkeys(group["step"] for group in groups))
    if step not in steps:
        from fiducial.core.variables import nearest

        hint = nearest(step, steps) or "steps: " + ", ".join(steps)
        raise NotFoundError(f"campaign '{campaign}' has no step '{step}'", hint=hint)


def _number(connection: Connection, word: str) -> tuple[RowMapping, list[tuple[int, str, str]]]:
    job = queries.job_row(connection, int(word))
    return queries.campaign_row(connection, job["campaign"]), [(job["id"], job["key"], job["state"])]


def _named(connection: Connection, word: str) -> tuple[RowMapping, list[tuple[int, str, str]]]:
    parts = word.strip("/").split("/")
    if not all(parts) or len(parts) > 4:
        raise UsageError(f"'{word}' names no job", hint=_FORM)
    from fiducial.core.plan import safe_key

    campaign = find(connection, parts[0])
    step = parts[1] if len(parts) > 1 else "*"
    iteration = parts[2] if len(parts) == 4 else "*"
    key = parts[-1] if len(parts) > 2 else "*"
    groups = _groups(queries.group_rows(connection, campaign["id"]), campaign["name"], step, iteration)
    narrow = Narrow(
        steps=tuple({group["step"] for group in groups}),
        iterations=tuple({group["iteration"] for group in groups}),
        key=None if _is_pattern(key) else safe_key(key),
        like=_like(key) if _is_pattern(key) and key != "*" else None,
    )
    jobs = list(queries.job_keys(connection, campaign["id"], narrow))
    if narrow.like is not None:
        jobs = [job for job in jobs if fnmatchcase(job[1], key)]
    if not jobs and key.isdecimal():
        jobs = _same_number(connection, campaign, narrow, int(key))
    if not jobs:
        raise _no_job(connection, campaign, narrow, word, key)
    return campaign, jobs


def _same_number(connection: Connection, campaign: RowMapping, narrow: Narrow, number: int) -> list[Any]:
    """Jobs of a file or run whose number the key has with zeros before it."""
    jobs = queries.job_keys(connection, campaign["id"], replace(narrow, key=None, like=f"%{number}"))
    return [job for job in jobs if job[1].isdecimal() and int(job[1]) == number]


def _groups(groups: Sequence[RowMapping], campaign: str, step: str, iteration: str) -> list[RowMapping]:
    of_step = [group for group in groups if fnmatchcase(group["step"], step)]
    if not of_step:
        known_step(groups, campaign, step)
    found = [group for group in of_step if _is_iteration(group["iteration"], iteration)]
    if not found:
        there = sorted({f"{group['iteration']:02d}" for group in of_step})
        raise NotFoundError(
            f"step '{step}' of campaign '{campaign}' has no iteration '{iteration}'",
            hint=f"it has {', '.join(there)}" if there != ["00"] else f"it is not iterated: {campaign}/{step}/KEY",
        )
    return found


def _is_iteration(number: int, pattern: str) -> bool:
    if pattern.isdecimal():
        return number == int(pattern)
    return fnmatchcase(f"{number:02d}", pattern)


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _like(pattern: str) -> str:
    """A pattern of SQL that lets through at least what ``pattern`` does."""
    fixed = pattern.partition("[")[0]
    escaped = "".join(f"!{sign}" if sign in "!%_" else sign for sign in fixed)
    return escaped.replace("*", "%").replace("?", "_") + ("%" if fixed != pattern else "")


def _no_job(connection: Connection, campaign: RowMapping, narrow: Narrow, word: str, key: str) -> NotFoundError:
    """Name the nearest key, looking at those that begin alike, because there may be a million."""
    from fiducial.core.variables import nearest

    name = campaign["name"]
    for like in (_like(key[:-2]) + "%", "%"):
        near = Narrow(steps=narrow.steps, iterations=narrow.iterations, like=like)
        keys = dict.fromkeys(found for _, found, _ in queries.job_keys(connection, campaign["id"], near, _MOST_NEAR))
        hint = nearest(key, keys).replace("'", f"'{word.removesuffix(key)}", 1)
        if hint:
            break
    if not hint:
        some = ", ".join(list(keys)[:3])
        hint = f"keys there: {some}, …; fiducial job list {name} shows all"
    return NotFoundError(f"there is no job '{word}'", hint=hint)
