"""Brings a campaign that a batch system was given at once into the ledger, and follows it there like any other."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import RowMapping

from fiducial.batch.planned.followed import PlannedBackend
from fiducial.batch.planned.plan import Plan
from fiducial.core.errors import StateError
from fiducial.core.places import attempt_directory
from fiducial.core.states import JobState
from fiducial.engine import supervisor
from fiducial.engine.agent import Agent
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Scheduler
from fiducial.ledger import ledger as write
from fiducial.ledger import queries
from fiducial.runner import runner

__all__ = ["SITE", "follow", "register"]

#: Name of the site at which a DAG's jobs run, in the ledger.
SITE = "dagman"
POLL_SECONDS = 1.0
#: How often jobs that have failed are looked at: they may have been begun anew.
_REVIVE_SECONDS = 2.0
#: With nothing new for so many rounds, a single look is over.
_QUIET_ROUNDS = 3
_ORDERED_ROUNDS = 30
_ENDED = (JobState.FAILED.value, JobState.KILLED.value)


def register(scheduler: Scheduler, plan: Plan) -> Campaign:
    """The campaign of a plan, which is created in the ledger if that does not know it.

    Raises:
        StateError: another campaign has its name.
    """
    row = _known(scheduler, plan)
    if row is None:
        return supervisor.create(scheduler, _prepared(plan), claim=False)
    if Path(row["folder"]) != plan.folder:
        _must_have_moved(row, plan)
        with scheduler.database.write() as connection:
            names = {**plan.names, "folder": str(plan.folder)}
            write.set_campaign(connection, row["id"], folder=str(plan.folder), names=json.dumps(names))
            row = queries.campaign_row(connection, row["id"])
    with scheduler.database.read() as connection:
        return scheduler.campaign(connection, row["id"])


def _known(scheduler: Scheduler, plan: Plan) -> RowMapping | None:
    with scheduler.database.read() as connection:
        row = queries.find_campaign(connection, plan.name)
    return row if row is not None and row["name"] == plan.name and row["state"] != "archived" else None


def _prepared(plan: Plan) -> supervisor.Prepared:
    return supervisor.Prepared(
        plan.workflow, plan.name, plan.folder, dict(plan.names), dict(plan.variables), plan.max_iterations
    )


def _must_have_moved(row: RowMapping, plan: Plan) -> None:
    """A campaign of that name in another folder is the same only if that folder is not there any more."""
    if (Path(row["folder"]) / ".fiducial").exists():
        raise StateError(
            f"there is a campaign '{plan.name}' in {row['folder']}, and this one is in {plan.folder}",
            hint=f"fiducial campaign archive {plan.name} puts that one aside",
        )


def follow(
    scheduler: Scheduler,
    campaign: Campaign,
    backend: PlannedBackend,
    *,
    site: str = SITE,
    once: bool = False,
    on_round: Callable[[], None] = lambda: None,
) -> bool:
    """Take in what becomes of a campaign's jobs until all has ended; the caller holds the folder's `supervisor.locked`.

    Args:
        site: at which its jobs run, in the ledger.
        once: only what there is now.

    Returns:
        False if the user interrupted; the jobs go on, and the same command follows it again.
    """
    agent = Agent(scheduler, backend, campaign, site=site)
    with supervisor.signals() as seen:
        try:
            agent.recover()
            scheduler.settle(campaign.id)
            # A single look is shorter than the time between two for orders; what they change is waited for.
            quiet = -_ORDERED_ROUNDS if once and agent.obey() else 0
            _carry(scheduler, campaign, agent, backend, once, seen, on_round, quiet)
        finally:
            agent.stop(kill=False)
    on_round()
    return not seen


def _carry(
    scheduler: Scheduler,
    campaign: Campaign,
    agent: Agent,
    backend: PlannedBackend,
    once: bool,
    seen: list[int],
    on_round: Callable[[], None],
    quiet: int,
) -> None:
    next_revival = 0.0
    while not seen:
        if time.monotonic() >= next_revival:
            next_revival = time.monotonic() + _REVIVE_SECONDS
            quiet = min(quiet, 0) if _revive(scheduler, campaign) else quiet
        # Where all has ended, only jobs that have left something are looked for.
        agent.steps = None if backend.at_work or _has_news(scheduler, campaign) else frozenset()
        new = agent.step(0.1 if once else POLL_SECONDS) or backend.waits
        quiet = min(quiet, 0) if new else quiet + 1
        on_round()
        if quiet >= _QUIET_ROUNDS and (once or not backend.at_work):
            return


def _revive(scheduler: Scheduler, campaign: Campaign) -> int:
    """Let jobs run again in the ledger that were begun anew after the ledger had given them up; how many."""
    with scheduler.database.read() as connection:
        rows = queries.job_rows(connection, campaign.id, states=_ENDED)
    ids = [row["id"] for row in rows if _is_tried_again(campaign, row)]
    return scheduler.retry(campaign.id, ids, getpass.getuser()) if ids else 0


def _has_news(scheduler: Scheduler, campaign: Campaign) -> bool:
    """Whether any job that may be leased was begun already."""
    with scheduler.database.read() as connection:
        rows = queries.job_rows(connection, campaign.id, states=(JobState.READY.value,))
    return any(_is_tried_again(campaign, row) for row in rows)


def _is_tried_again(campaign: Campaign, row: RowMapping) -> bool:
    """Whether there is an attempt that the ledger has not heard of."""
    following = attempt_directory(campaign.folder, row["step"], row["iteration"], row["key"], row["attempt"] + 1)
    return following.exists() and runner.last_attempt(str(following.with_suffix(""))) > row["attempt"]
