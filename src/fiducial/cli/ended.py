"""What follows when a person stops jobs or lets them run: who does it, and how to go on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fiducial.core.errors import UsageError
from fiducial.core.states import JobState
from fiducial.engine import supervisor
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Scheduler

__all__ = ["RETRIED", "end_left", "only", "say_ready"]

#: What may be run again; what is done stays, because later steps have been built on it.
RETRIED = ("failed", "killed", "skipped", "held")


def only(states: Sequence[JobState] | None, allowed: Collection[str], what: str) -> tuple[str, ...]:
    """The states that a user chose.

    Raises:
        UsageError: jobs in one of them cannot be ``what``.
    """
    chosen = tuple(state.value for state in states or ())
    for state in chosen:
        if state not in allowed:
            raise UsageError(f"jobs that are {state} cannot be {what}", hint="possible: " + ", ".join(allowed))
    return chosen


def end_left(scheduler: Scheduler, campaign: Campaign, jobs: Collection[int] | None = None) -> str:
    """Have orders for attempts under way carried out; says by whom. Without an engine it is done here and now."""
    from fiducial import settings
    from fiducial.cli.dag import is_at_work, is_dag
    from fiducial.cli.sites import backend_of, chosen_site

    if supervisor.is_running(campaign.folder):
        return "the engine that runs the campaign stops what is under way"
    if not campaign.folder.is_dir():
        supervisor.claim_folder(campaign.folder, scheduler.database, campaign.name)
    with supervisor.locked(campaign.folder):
        if jobs is not None and is_dag(campaign.folder) and is_at_work(campaign.folder):
            return _passed_on(scheduler, campaign)
        with scheduler.database.read() as connection:
            sites = supervisor.sites_of(connection, campaign.id)
        left = 0
        for name in sites:
            backend = backend_of(chosen_site(settings.load(), name), campaign)
            left += supervisor.end_left(scheduler, campaign, backend, jobs, site=name)
    return f"no engine runs; what an earlier one had left of {left} attempt{'' if left == 1 else 's'} is stopped"


def _passed_on(scheduler: Scheduler, campaign: Campaign) -> str:
    """Have HTCondor do what was ordered for jobs of a DAG: what merely ended, DAGMan would begin again."""
    from fiducial.batch.dagman.follow import DagBackend
    from fiducial.engine import follow

    follow.follow(scheduler, campaign, DagBackend(campaign.folder), once=True)
    return "HTCondor was told; DAGMan may try again what was ended in the queue"


def say_ready(campaign: Campaign, what: str) -> str:
    """``what`` has been allowed to run; who will run it."""
    from fiducial.cli.dag import is_at_work

    if supervisor.is_running(campaign.folder):
        return f"{what}; the engine that runs the campaign takes them up"
    if is_at_work(campaign.folder):
        return f"{what}; to tell the batch system, which is at work: fiducial follow {campaign.name}"
    return f"{what}; to run them: fiducial campaign resume {campaign.name}"
