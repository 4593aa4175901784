"""What went wrong in a campaign: its failed and held jobs, with causes and the ends of their logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

__all__ = ["last_lines", "print_problems", "where_lines"]

_MOST = 10
_LINES = 3
_BYTES = 4000


def print_problems(view: Mapping[str, Any]) -> None:
    """Print the first of a campaign's problems, and what to do about them."""
    troubled = sum(view["counts"][state] for state in ("failed", "held", "killed"))
    if not troubled:
        return
    typer.echo("\nproblems")
    for job in view["problems"][:_MOST]:
        typer.echo(f"  {job['name']}: {job['state']}: {job['message'] or job['cause'] or 'by request'}")
        for line in where_lines(job):
            typer.echo(f"    {line}")
    name = view["name"]
    if troubled > _MOST:
        typer.echo(
            f"  and {troubled - _MOST} more: fiducial job list {name} --state failed --state held --state killed"
        )
    if view["counts"]["held"]:
        typer.echo("fiducial job release JOB lets one that is held go on")
    if troubled > view["counts"]["held"]:
        typer.echo(f"fiducial campaign resume {name} runs failed and killed jobs again")


def where_lines(job: Mapping[str, Any], *, quote: bool = True) -> list[str]:
    """Where to look for what happened to a job.

    Args:
        quote: with the last lines of what is there.
    """
    lines, file = [], job["log"]
    if file:
        lines.append(f"log: {file}")
    elif job.get("never_began"):
        file = job["queue_log"]
        lines.append(f"no log: the runner never started; it is {job['never_began']}")
        if file:
            lines.append(f"the batch system wrote: {file}")
        elif job["submissions"]:
            lines.append(f"what was submitted: {job['submissions']}")
    return [*lines, *(f"| {line}" for line in (last_lines(Path(file)) if file and quote else ()))]


def last_lines(log: Path) -> list[str]:
    """The end of a log that may be long; nothing if it is not there."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_LINES:]
