"""A campaign as one JSON document, piece by piece: a million jobs pass through little memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from sqlalchemy import Connection, RowMapping

from fiducial.cli.views import counts_of
from fiducial.ledger import queries

__all__ = ["FORMAT", "pieces"]

FORMAT = 1
_PAGE = 2000
_WITHOUT = ("vals", "retries", "group", "missing", "not_before")


def pieces(
    connection: Connection,
    campaign: RowMapping,
    *,
    artifacts: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[str]:
    """The document's text, to be written one piece after the other; every job is a line."""
    groups = queries.group_rows(connection, campaign["id"])
    yield f'{{"format": {FORMAT},\n"campaign": {_dump(_campaign(campaign))},\n"groups": ['
    yield from _lines({**row, "counts": counts_of(row)} for row in groups)
    yield '],\n"metrics": ['
    yield from _lines(
        {key: value for key, value in row.items() if key != "campaign"}
        for row in queries.metric_rows(connection, campaign["id"])
    )
    yield '],\n"jobs": ['
    total = sum(row["total"] for row in groups)
    jobs = chain.from_iterable(_jobs(connection, group, artifacts) for group in groups)
    yield from _lines(_told(jobs, total, progress))
    yield "]}\n"


def _campaign(row: RowMapping) -> dict[str, Any]:
    parsed = {key: json.loads(row[key]) for key in ("workflow", "names", "variables")}
    return {**row, **parsed}


def _lines(rows: Iterator[Mapping[str, Any]] | Any) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield (",\n" if number else "\n") + _dump(row)


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _dump(value: Mapping[str, Any]) -> str:
    return _encode(dict(value))


def _jobs(connection: Connection, group: RowMapping, artifacts: bool) -> Iterator[dict[str, Any]]:
    for rows, tables in queries.group_pages(connection, group["first_job"], group["total"], _PAGE):
        kinds = [("attempts", "attempts"), ("transitions", "history"), *([("artifacts",) * 2] if artifacts else [])]
        parts = {name: _by_job(tables[table]) for table, name in kinds}
        for row in rows:
            yield {
                **{key: value for key, value in row.items() if key not in _WITHOUT},
                "step": group["step"],
                "iteration": group["iteration"],
                "values": json.loads(row["vals"]) if row["vals"] else {},
                **{name: by_job.get(row["id"], []) for name, by_job in parts.items()},
            }


def _by_job(rows: Any) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["job"], []).append({key: v for key, v in row.items() if key not in ("job", "id")})
    return found


def _told(jobs: Iterator[Any], total: int, progress: Callable[[int, int], None] | None) -> Iterator[Any]:
    for number, job in enumerate(jobs, 1):
        if progress is not None and number % _PAGE == 0:
            progress(number, total)
        yield job
