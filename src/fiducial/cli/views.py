"""What commands show of the ledger, as plain values: the same for ``--json`` and for tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping

from fiducial.core.errors import NotFoundError
from fiducial.core.places import LOCAL, LOG, QUEUE_LOG, archived_traces, attempt_directory, queue_folder
from fiducial.core.states import CampaignState, JobState
from fiducial.ledger import queries

__all__ = [
    "campaign_view",
    "find",
    "full_job_view",
    "group_view",
    "history_view",
    "job_name",
    "job_view",
    "listed_view",
    "log_file",
    "metric_lines",
    "summary_view",
]

# Metrics of larger groups are for an export: a look at a campaign must stay quick.
MOST_METRICS = 1000
STATES = tuple(state.value for state in JobState)


def find(connection: Connection, name: str) -> RowMapping:
    """The campaign that a user means by a name or number.

    Raises:
        NotFoundError: no such campaign; names the nearest.
    """
    row = queries.find_campaign(connection, name)
    if row is None:
        from fiducial.core.plan import safe_key
        from fiducial.core.variables import nearest

        # Blanks and the like were replaced when the campaign was created.
        row = queries.find_campaign(connection, safe_key(name))
    if row is None:
        known = [campaign["name"] for campaign in queries.campaign_rows(connection, archived=True)]
        hint = nearest(name, known) or "fiducial campaign list shows what there is"
        raise NotFoundError(f"there is no campaign '{name}'", hint=hint)
    return row


def counts_of(row: Any) -> dict[str, int]:
    """Jobs by state, of a group or summed over a campaign."""
    return {state: int(row[state]) for state in STATES if row[state]}


def summary_view(row: RowMapping) -> dict[str, Any]:
    """A campaign in a list."""
    shown = ("id", "name", "state", "reason", "workflow_name", "folder", "owner", "iteration", "max_iterations")
    return {
        **{key: row[key] for key in shown},
        "converged": None if row["converged"] is None else bool(row["converged"]),
        "created": row["created"],
        "finished": row["finished"],
    }


def group_view(row: RowMapping) -> dict[str, Any]:
    """A group with its counters."""
    shown = ("step", "iteration", "total", "retrying", "started", "finished")
    return {**{key: row[key] for key in shown}, "counts": {state: int(row[state]) for state in STATES}}


def campaign_view(connection: Connection, campaign: int, problems: int = 20) -> dict[str, Any]:
    """A campaign with its groups, the metrics of its iterations and its first problems."""
    row = queries.campaign_row(connection, campaign)
    groups = queries.group_rows(connection, campaign)
    totals = {state: sum(int(group[state]) for group in groups) for state in STATES}
    troubled = totals["failed"] + totals["held"] + totals["killed"]
    return {
        **summary_view(row),
        "variables": json.loads(row["variables"]),
        "total": sum(int(group["total"]) for group in groups),
        "retrying": sum(int(group["retrying"]) for group in groups),
        "counts": totals,
        "groups": [group_view(group) for group in groups],
        "metrics": queries.metric_values(connection, campaign, most=MOST_METRICS),
        "cost": [dict(step) for step in queries.usage(connection, campaign)],
        "problems": _problems(connection, row, problems) if troubled else [],
    }


def _problems(connection: Connection, campaign: RowMapping, limit: int) -> list[dict[str, Any]]:
    rows = queries.job_rows(connection, campaign["id"], states=("failed", "held", "killed"), limit=limit)
    return [
        {**job_view(row, campaign), **_why_held(connection, row), **_traces(connection, campaign, row)} for row in rows
    ]


def _traces(connection: Connection, campaign: RowMapping, row: RowMapping) -> dict[str, Any]:
    """Where to look for what happened: the log, or what there is of an attempt in a queue that never began."""
    file = log_file(campaign, row) if row["attempt"] else None
    if file is None or file.exists():
        return {}
    if row["state"] == JobState.HELD.value:  # it may begin yet
        return {"log": None}
    tried = queries.attempts_of(connection, row["id"])[-1]
    if not tried["backend_id"] or tried["site"] == LOCAL:
        return {}
    said, queue = file.with_name(QUEUE_LOG), queue_folder(Path(campaign["folder"]), tried["site"])
    return {
        "log": None,
        "never_began": f"{tried['backend_id']} in the queue of {tried['site']}",
        "queue_log": str(said) if said.exists() else None,
        "submissions": str(queue) if any(queue.glob("*/jobs*")) else None,
    }


def _why_held(connection: Connection, row: RowMapping) -> dict[str, Any]:
    """What a batch system or a person said when a job was held."""
    if row["state"] != JobState.HELD.value:
        return {}
    told = [each["why"] for each in queries.transitions_of(connection, row["id"]) if each["state"] == row["state"]]
    return {"message": told[-1]} if told and told[-1] else {}


_OF_ATTEMPT = ("cause", "message", "exit_code", "signal", "host", "started", "finished", "wall_s", "cpu_s", "max_rss")


def job_name(row: Any) -> str:
    """``step/iteration/key``; the iteration only where there is one."""
    return "/".join([row["step"], *([f"{row['iteration']:02d}"] if row["iteration"] else []), row["key"]])


def job_view(row: Mapping[Any, Any], campaign: RowMapping) -> dict[str, Any]:
    """A job with its latest attempt; its name is one that every command takes."""
    return {
        "id": row["id"],
        "name": f"{campaign['name']}/{job_name(row)}",
        "step": row["step"],
        "iteration": row["iteration"],
        "key": row["key"],
        "values": json.loads(row["vals"]) if row["vals"] else {},
        **{key: row[key] for key in ("state", "attempt", *_OF_ATTEMPT)},
        "retries": json.loads(row["retries"]) if row["retries"] else {},
        "log": str(log_file(campaign, row)) if row["attempt"] else None,
    }


def listed_view(row: RowMapping) -> dict[str, Any]:
    """A campaign in a list: its row and its jobs by state."""
    counts = {state: int(row[state]) for state in STATES}
    return {**summary_view(row), "total": int(row["total"]), "retrying": int(row["retrying"]), "counts": counts}


def history_view(connection: Connection, job: int) -> list[dict[str, Any]]:
    """Everything that happened to a job, with those who did it by their names."""
    rows = queries.transitions_of(connection, job)
    agents = queries.agents_named(connection, {row["who"] for row in rows if row["who"]})
    shown = ("at", "attempt", "state", "why")
    return [{**{key: row[key] for key in shown}, "who": _who(row["who"], agents)} for row in rows]


def _who(who: str | None, agents: Mapping[str, RowMapping]) -> str | None:
    agent = agents.get(who or "")
    return f"agent at {agent['site']} (process {agent['pid']} on {agent['host']})" if agent else who


def full_job_view(connection: Connection, campaign: RowMapping, job: int) -> dict[str, Any]:
    """Everything that the ledger knows of a job."""
    row = queries.job_row(connection, job)
    tries = queries.attempts_of(connection, job)
    last: dict[str, Any] = {**dict.fromkeys(_OF_ATTEMPT), **(tries[-1] if tries else {})}
    places = [log_file(campaign, row, attempt["number"]).parent for attempt in tries]
    return {
        **job_view({**last, **row}, campaign),
        "campaign": campaign["name"],
        "order": row["order"],
        "missing": row["missing"],
        "attempts": [
            {**{key: value for key, value in attempt.items() if key != "job"}, "directory": str(place)}
            for attempt, place in zip(tries, places, strict=True)
        ],
        "history": history_view(connection, job),
        "artifacts": [
            {key: value for key, value in artifact.items() if key != "job"}
            for artifact in queries.artifacts_of(connection, job)
        ],
        "files": [str(file) for place in places[-1:] if place.is_dir() for file in sorted(place.iterdir())],
    }


def log_file(campaign: RowMapping, row: Any, attempt: int | None = None) -> Path:
    """Where an attempt's log lies."""
    number = row["attempt"] if attempt is None else attempt
    folder = Path(campaign["folder"])
    traces = attempt_directory(folder, row["step"], row["iteration"], row["key"], number)
    if campaign["state"] == CampaignState.ARCHIVED.value:
        traces = folder / archived_traces(campaign["id"]) / traces.relative_to(folder / ".fiducial")
    return traces / LOG


def metric_lines(metrics: dict[int, dict[str, dict[str, Sequence[float]]]], iteration: int) -> list[str]:
    """Metrics of an iteration in words; of many jobs, their mean."""
    lines = []
    for step, named in metrics.get(iteration, {}).items():
        for name, values in named.items():
            text = f"{sum(values) / len(values):.4g}" + (f" (mean of {len(values)})" if len(values) > 1 else "")
            lines.append(f"{step}.{name} = {text}")
    return lines
