"""``fiducial campaign export --to dagman``: what is left of a campaign in the ledger, as a DAG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fiducial.core.errors import StateError, UsageError
from fiducial.core.places import is_dag

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fiducial.batch.dagman.site import DagmanSite
    from fiducial.batch.planned.plan import Plan
    from fiducial.core.workflow import Workflow
    from fiducial.engine.campaign import Campaign
    from fiducial.engine.scheduler import Scheduler
    from fiducial.engine.supervisor import Prepared

__all__ = ["align", "export_dag", "must_rest", "prepared_of"]


def export_dag(
    scheduler: Scheduler,
    campaign: Campaign,
    folder: Path | None,
    site: str | None,
    *,
    submit: bool,
    dry_run: bool,
    json_: bool,
    show: bool,
) -> None:
    """Write a DAG in which jobs that are done are done.

    Raises:
        StateError: the campaign is over, or jobs of it are under way.
        UsageError: the site is none of DAGMan's.
    """
    from fiducial.cli.dag import tell_written, write_dag
    from fiducial.engine import supervisor

    chosen = _site(site)
    with supervisor.locked(campaign.folder), scheduler.database.read() as connection:
        must_rest(connection, campaign)
        plan = _plan(connection, campaign, chosen)
        if dry_run:
            _tell_plan(plan, json_)
            return
        align(connection, campaign)
        found = write_dag(plan, chosen, here=folder, submit=submit, show=show)
    tell_written(found, json_)


def _site(name: str | None) -> DagmanSite:
    from fiducial.batch.dagman.site import NAME
    from fiducial.cli.dag import dag_site

    found = dag_site(name or NAME)
    if found is None:
        raise UsageError(f"--site {name} is none of DAGMan's", hint='in its table stands backend = "dagman"')
    return found


def must_rest(connection: Connection, campaign: Campaign) -> None:
    """See that nobody runs a campaign's jobs, and that any are left.

    Raises:
        StateError: it is not so.
    """
    from fiducial.ledger import queries

    row = queries.campaign_row(connection, campaign.id)
    if row["state"] in ("done", "cancelled"):
        raise StateError(f"campaign '{campaign.name}' is {row['state']}: nothing of it is left")
    active = queries.active_attempts(connection, campaign.id)
    if active:
        raise StateError(
            f"campaign '{campaign.name}' has {len(active)} jobs under way",
            hint="stop what runs it, or wait; they would be run a second time",
        )


def _plan(connection: Connection, campaign: Campaign, site: DagmanSite) -> Plan:
    from fiducial.alignment.faser.dag import is_alignment, layout
    from fiducial.cli.dag import plan_of

    prepared = prepared_of(connection, campaign)
    workflow = prepared.workflow
    ledger = None if is_dag(campaign.folder) else campaign.ledger  # a DAG that was followed has a name of its own
    plan = plan_of(prepared, site, ledger=ledger, done=_done(connection, campaign))
    return replace(plan, layout=layout(plan.workflow, plan.scope)) if is_alignment(workflow) else plan


def prepared_of(connection: Connection, campaign: Campaign) -> Prepared:
    """A campaign as it would be created, with the files that its patterns found when it was."""
    from fiducial.engine.supervisor import Prepared
    from fiducial.ledger import queries

    row = queries.campaign_row(connection, campaign.id)
    names, variables = json.loads(row["names"]), json.loads(row["variables"])
    workflow = _with_files(connection, campaign)
    return Prepared(workflow, campaign.name, campaign.folder, names, variables, campaign.max_iterations)


def _with_files(connection: Connection, campaign: Campaign) -> Workflow:
    """The workflow with the files that its patterns found when the campaign was created."""
    from fiducial.core.workflow import Glob
    from fiducial.ledger import queries

    steps = dict(campaign.workflow.steps)
    for group in queries.group_rows(connection, campaign.id):
        step = steps[group["step"]]
        if step.fanout is None or not isinstance(step.fanout.files, Glob):
            continue
        name = step.fanout.name or "file"
        found = dict.fromkeys(str(one.values[name]) for one in queries.instances_of(connection, group))
        steps[group["step"]] = step.model_copy(update={"fanout": step.fanout.model_copy(update={"files": list(found)})})
    return campaign.workflow.model_copy(update={"steps": steps})


def _done(connection: Connection, campaign: Campaign) -> Mapping[tuple[str, int], frozenset[str]]:
    from fiducial.ledger import queries

    found = {}
    for group in queries.group_rows(connection, campaign.id):
        if group["done"]:
            narrow = queries.Narrow(states=("done",), steps=(group["step"],), iterations=(group["iteration"],))
            keys = queries.job_keys(connection, campaign.id, narrow)
            found[group["step"], group["iteration"]] = frozenset(key for _, key, _ in keys)
    return found


def align(connection: Connection, campaign: Campaign) -> None:
    """The runner counts attempts by their folders: those that never had one get one in which nobody can run."""
    from fiducial.batch.claims import revoke
    from fiducial.core.places import attempt_directory
    from fiducial.ledger import queries

    for row in queries.job_rows(connection, campaign.id, states=("waiting", "ready", "held", "failed", "killed")):
        for attempt in range(1, row["attempt"] + 1):
            place = attempt_directory(campaign.folder, row["step"], row["iteration"], row["key"], attempt)
            if not place.exists():
                revoke(place)


def _tell_plan(plan: Plan, json_: bool) -> None:
    numbers = range(1, plan.max_iterations + 1) if plan.workflow.iterated else range(0)
    groups = [group for number in (0, *numbers) for group in plan.groups(number)]
    total = sum(plan.total(group.step, group.iteration) for group in groups)
    done = sum(len(keys) for keys in plan.done.values())
    if json_:
        from fiducial.cli.output import print_json

        print_json({"campaign": plan.name, "dag": str(plan.folder / plan.dag), "jobs": total, "done": done})
        return
    typer.echo(f"campaign {plan.name}: {total} jobs as a DAG, {done} of them done already")
    typer.echo("dry run: nothing was written")
