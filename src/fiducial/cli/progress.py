"""Live progress of a campaign: a table on a terminal, a line for each finished group elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from fiducial.cli.output import span
from fiducial.cli.views import metric_lines
from fiducial.ledger import queries

__all__ = ["watch"]

EVERY_SECONDS = 0.25


@contextmanager
def watch(
    scheduler: Any, campaign: Any, *, show: bool = True, trouble: Callable[[], str] = str
) -> Iterator[Callable[[], None]]:
    """Show progress; yields what to call after every round of work. It costs nothing between two refreshes.

    Args:
        trouble: says why the batch system cannot be reached; empty when it can.
    """
    if not show:
        yield lambda: None
    elif sys.stderr.isatty():
        with _live(scheduler, campaign, trouble) as refresh:
            yield refresh
    else:
        lines = _Lines(scheduler, campaign, trouble)
        yield lines
        lines(last=True)


def _look(scheduler: Any, campaign: Any) -> tuple[list[Any], dict[int, Any]]:
    with scheduler.database.read() as connection:
        groups = queries.group_rows(connection, campaign.id)
        return list(groups), queries.metric_values(connection, campaign.id, most=1000)


class _Lines:
    """Plain lines, for logs and pipes: one when a group is complete."""

    def __init__(self, scheduler: Any, campaign: Any, trouble: Callable[[], str]) -> None:
        self._scheduler, self._campaign, self._trouble = scheduler, campaign, trouble
        self._troubled = ""
        self._told: set[int] = set()
        self._next = 0.0

    def __call__(self, last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not last:
            return
        self._next = now + EVERY_SECONDS
        self._tell_trouble()
        groups, metrics = _look(self._scheduler, self._campaign)
        for group in sorted(groups, key=lambda group: group["finished"] or 0.0):
            if group["finished"] and group["id"] not in self._told:
                self._told.add(group["id"])
                self._tell(group, metrics)

    def _tell_trouble(self) -> None:
        """Once when it begins, and once when it is over."""
        trouble = self._trouble()
        if bool(trouble) != bool(self._troubled):
            typer.echo(f"waiting: {trouble}" if trouble else "the batch system answers again", err=True)
        self._troubled = trouble

    def _tell(self, group: Any, metrics: dict[int, Any]) -> None:
        where = f"{group['step']}" + (f" (iteration {group['iteration']})" if group["iteration"] else "")
        failed = f", {group['failed']} failed" if group["failed"] else ""
        took = span(group["finished"] - (group["started"] or group["finished"]))
        own = _declared(
            self._campaign,
            group["iteration"],
            {group["step"]: metrics.get(group["iteration"], {}).get(group["step"], {})},
        )
        numbers = "; ".join(metric_lines(own, group["iteration"])[:4])
        said = f"{where}: {group['done']} of {group['total']} done{failed} in {took}" + (
            f"; {numbers}" if numbers else ""
        )
        typer.echo(said, err=True)


@contextmanager
def _live(scheduler: Any, campaign: Any, trouble: Callable[[], str]) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=False) as live:
        picture = _Picture(scheduler, campaign, live, trouble)
        yield picture
        picture(last=True)


class _Picture:
    """The live table: the steps of the current iteration, what is left, the metrics of the last one."""

    def __init__(self, scheduler: Any, campaign: Any, live: Any, trouble: Callable[[], str]) -> None:
        self._scheduler, self._campaign, self._live, self._trouble = scheduler, campaign, live, trouble
        self._next = 0.0

    def __call__(self, last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not last:
            return
        self._next = now + EVERY_SECONDS
        self._live.update(self._draw(*_look(self._scheduler, self._campaign)), refresh=True)

    def _draw(self, groups: list[Any], metrics: dict[int, Any]) -> Any:
        from rich.console import Group as Stack
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("step", "iteration", "", "done", "running", "queued", "failed", "retrying", "left"):
            table.add_column(heading, justify="left" if heading in ("step", "") else "right")
        current = max((group["iteration"] for group in groups), default=0)
        for group in groups:
            if group["iteration"] in (0, current):
                table.add_row(*self._row(group))
        head = Text(f"campaign {self._campaign.name}", style="bold")
        trouble = [Text(f"waiting: {words}", style="yellow")] if (words := self._trouble()) else []
        return Stack(head, table, *trouble, *self._metrics(metrics, current))

    def _row(self, group: Any) -> list[Any]:
        from rich.progress_bar import ProgressBar

        settled = group["done"] + group["failed"] + group["killed"] + group["skipped"]
        bar = ProgressBar(total=max(group["total"], 1), completed=settled, width=24)
        iteration = str(group["iteration"]) if group["iteration"] else ""
        numbers = [
            f"{group['done']}/{group['total']}",
            *(_or_blank(group[state]) for state in ("running", "submitted", "failed", "retrying")),
        ]
        return [group["step"], iteration, bar, *numbers, time_left(group, time.time())]

    def _metrics(self, metrics: dict[int, Any], current: int) -> list[Any]:
        from rich.text import Text

        known = [iteration for iteration in metrics if iteration]
        if not known:
            return []
        lines = metric_lines(_declared(self._campaign, max(known), metrics[max(known)]), max(known))
        return [Text(f"iteration {max(known)}: " + ", ".join(lines[:6]), style="dim")]


def _declared(campaign: Any, iteration: int, metrics: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The metrics that the workflow names as wanted; where it names none, all that were reported."""
    chosen = {}
    for step, named in metrics.items():
        wanted = campaign.workflow.steps[step].metrics or list(named)
        chosen[step] = {name: named[name] for name in wanted if name in named}
    return {iteration: chosen}


def _or_blank(number: int) -> str:
    return str(number) if number else ""


def time_left(group: Any, now: float) -> str:
    """How long a group will still take at the pace it has had."""
    settled = group["done"] + group["failed"] + group["killed"] + group["skipped"]
    if group["finished"] or not group["started"] or not settled or settled == group["total"]:
        return span(group["finished"] - group["started"]) if group["finished"] and group["started"] else ""
    return "~" + span((now - group["started"]) / settled * (group["total"] - settled))
