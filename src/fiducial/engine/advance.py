"""Moving a campaign on: which groups may start, whether another iteration is needed, whether all is over.

Nothing here is remembered between calls: everything follows from the groups' counters and the reported metrics, so it
may be called at any time and any number of times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, RowMapping

from fiducial.core.convergence import converged
from fiducial.core.errors import WorkflowError
from fiducial.core.plan import Instance, instances
from fiducial.core.states import CampaignState, JobState
from fiducial.core.workflow import After, Glob, Workflow
from fiducial.engine.campaign import Campaign
from fiducial.ledger import ledger as write
from fiducial.ledger import queries
from fiducial.ledger.ledger import Job

__all__ = ["advance", "ancestors", "complete", "create_groups", "reopen", "skipped_children"]

_OPEN_STATES = ("waiting", "held", "ready", "submitted", "running", "lost")
_UNFINISHED = ("held", "ready", "submitted", "running", "lost")

Groups = Mapping[tuple[str, int], RowMapping]


def complete(campaign: Campaign, group: RowMapping) -> bool:
    """Whether all of a group is done, as far as its step demands."""
    if any(group[state] for state in _OPEN_STATES):
        return False
    tolerated = campaign.workflow.steps[group["step"]].tolerate * group["total"]
    # 0.29 x 100 is a little less than 29.
    return bool(group["failed"] <= tolerated + 1e-6 and group["killed"] == 0)


def create_groups(connection: Connection, campaign: Campaign, steps: Iterable[str], iteration: int) -> None:
    """Store the groups of the given steps for an iteration (0 for steps that are not iterated)."""
    for name in steps:
        step = campaign.workflow.steps[name]
        write.insert_group(
            connection,
            campaign.id,
            name,
            iteration,
            _instances(connection, campaign, name, iteration),
            missing=sum(job_by_job(campaign.workflow, name, edge) for edge in step.after),
            priority=step.priority,
        )


def job_by_job(workflow: Workflow, name: str, edge: After) -> bool:
    """Whether jobs of step ``name`` follow single jobs of the parent.

    A matching parent outside the iteration is done before the iteration begins, all of it: then only the files match.
    """
    return edge.matching and workflow.steps[edge.step].iterate == workflow.steps[name].iterate


def _instances(connection: Connection, campaign: Campaign, name: str, iteration: int) -> Iterable[Instance]:
    step = campaign.workflow.steps[name]
    if iteration > 1 and step.fanout is not None and isinstance(step.fanout.files, Glob):
        # Files that turn up while a campaign runs belong to the next campaign, not to its later iterations.
        first = next(g for g in queries.group_rows(connection, campaign.id) if g["step"] == name)
        return queries.instances_of(connection, first)
    return instances(step, campaign.scope.context({"iteration": iteration}), f"steps.{name}.fanout")


def advance(connection: Connection, campaign: Campaign, done: Mapping[int, Sequence[int]] | None = None) -> None:
    """Open every group whose parents are done, start another iteration or finish, until nothing moves any more.

    Args:
        done: places of jobs in their group that have just become done, by group; their matching children may start.
    """
    if done and campaign.has_matching:
        groups = _groups(connection, campaign)
        for group_id, places in done.items():
            _tell_children(connection, campaign, groups, group_id, places)
    if done is not None and not queries.any_dry(connection, done):
        return
    # What was read above is old by now: children may have become ready.
    while _step(connection, campaign, _groups(connection, campaign)):
        pass


def _groups(connection: Connection, campaign: Campaign) -> Groups:
    return {(row["step"], row["iteration"]): row for row in queries.group_rows(connection, campaign.id)}


def _tell_children(
    connection: Connection, campaign: Campaign, groups: Groups, group_id: int, places: Sequence[int]
) -> None:
    parent = next(group for group in groups.values() if group["id"] == group_id)
    if not places:
        return
    for name, step in campaign.workflow.steps.items():
        if any(edge.step == parent["step"] and job_by_job(campaign.workflow, name, edge) for edge in step.after):
            child = groups.get((name, parent["iteration"]))
            if child is not None:
                write.release_matching(connection, child, places)


def _step(connection: Connection, campaign: Campaign, groups: Groups) -> bool:
    """One round; whether anything changed that may let more happen."""
    row = queries.campaign_row(connection, campaign.id)
    if row["state"] not in (CampaignState.ACTIVE.value, CampaignState.FAILED.value):
        return False
    finished = row["converged"] is not None
    changed = _note_finished(connection, campaign, groups)
    for group in groups.values():
        if not group["opened"] and _parents_done(campaign, groups, group, finished):
            write.open_group(connection, group, write.now())
            changed = True
        changed |= _skip_orphans(connection, campaign, groups, group)
    if changed:
        return True
    if campaign.workflow.iterated and not finished and _iteration_complete(campaign, groups, row["iteration"]):
        return _next_iteration(connection, campaign, row["iteration"])
    _conclude(connection, campaign, groups, row)
    return False


def _note_finished(connection: Connection, campaign: Campaign, groups: Groups) -> bool:
    ended = [g for g in groups.values() if g["finished"] is None and complete(campaign, g)]
    for group in ended:
        write.finish_group(connection, group["id"], write.now())
    return bool(ended)


def _parents_done(campaign: Campaign, groups: Groups, group: RowMapping, iterated: bool) -> bool:
    """Whether every parent that is not matching is complete; ``iterated`` says that the iterations are over."""
    step = campaign.workflow.steps[group["step"]]
    for edge in step.after:
        if job_by_job(campaign.workflow, group["step"], edge):
            continue
        parent = campaign.workflow.steps[edge.step]
        if parent.iterate and not step.iterate:
            if not iterated:
                return False
            continue
        row = groups.get((edge.step, group["iteration"] if parent.iterate else 0))
        if row is None or not complete(campaign, row):
            return False
    return True


def _skip_orphans(connection: Connection, campaign: Campaign, groups: Groups, group: RowMapping) -> bool:
    """Jobs whose matching parent failed, where that is tolerated, are not needed any more."""
    if not group["opened"] or not group["waiting"] or any(group[state] for state in _UNFINISHED):
        return False
    for edge in campaign.workflow.steps[group["step"]].after:
        mine = job_by_job(campaign.workflow, group["step"], edge)
        if mine and not complete(campaign, groups[edge.step, group["iteration"]]):
            return False
    why = "its matching parent failed"
    return bool(write.change_all(connection, group, (JobState.WAITING,), JobState.SKIPPED, "engine", why, write.now()))


def _iteration_complete(campaign: Campaign, groups: Groups, iteration: int) -> bool:
    rows = [groups.get((name, iteration)) for name in campaign.workflow.iterated]
    return all(row is not None and complete(campaign, row) for row in rows)


def _next_iteration(connection: Connection, campaign: Campaign, iteration: int) -> bool:
    """After an iteration: converged, at the end of what was allowed, or once more; whether the campaign goes on."""
    try:
        enough = _enough(connection, campaign, iteration)
    except WorkflowError as error:
        reason = f"iteration {iteration}: {error.message}" + (f" ({error.hint})" if error.hint else "")
        write.set_campaign(
            connection, campaign.id, state=CampaignState.FAILED.value, reason=reason, finished=write.now()
        )
        return False
    if enough or iteration >= campaign.max_iterations:
        write.set_campaign(connection, campaign.id, converged=int(enough or not _until(campaign)))
        return True
    create_groups(connection, campaign, campaign.workflow.iterated, iteration + 1)
    write.set_campaign(connection, campaign.id, iteration=iteration + 1)
    return True


def _until(campaign: Campaign) -> str | None:
    return campaign.workflow.iteration.until if campaign.workflow.iteration else None


def _enough(connection: Connection, campaign: Campaign, iteration: int) -> bool:
    until = _until(campaign)
    if not until:
        return False
    values = queries.metric_values(connection, campaign.id, first_iteration=iteration - 1)
    return converged(until, values, iteration, campaign.scope.known)


def go_on(connection: Connection, campaign: Campaign) -> bool:
    """Iterate on after the iterations were over, if the workflow asks for more by now; whether it does.

    What came after the iterations is done again when they are over again.
    """
    row = queries.campaign_row(connection, campaign.id)
    if row["converged"] is None or row["state"] not in (CampaignState.DONE.value, CampaignState.FAILED.value):
        return False
    if row["iteration"] >= campaign.max_iterations or _enough(connection, campaign, row["iteration"]):
        return False
    for group in queries.group_rows(connection, campaign.id):
        step = campaign.workflow.steps[group["step"]]
        if ancestors(campaign, group["step"]) & set(campaign.workflow.iterated) and not step.iterate:
            missing = sum(job_by_job(campaign.workflow, group["step"], edge) for edge in step.after)
            write.rewind_group(connection, campaign.id, group, missing, "the iterations go on", write.now())
    write.set_campaign(connection, campaign.id, converged=None)
    reopen(connection, campaign)
    return True


def _conclude(connection: Connection, campaign: Campaign, groups: Groups, row: RowMapping) -> None:
    rows = groups.values()
    if any(group[state] for group in rows for state in _UNFINISHED):
        if row["state"] == CampaignState.FAILED.value and row["finished"] is not None:
            write.set_campaign(connection, campaign.id, state=CampaignState.ACTIVE.value, reason="", finished=None)
        return
    if all(complete(campaign, group) for group in rows):
        state, reason = CampaignState.DONE, _verdict(campaign, row)
    else:
        state, reason = CampaignState.FAILED, _blame(campaign, rows)
    if row["state"] != state.value or row["reason"] != reason:
        write.set_campaign(connection, campaign.id, state=state.value, reason=reason, finished=write.now())


def _verdict(campaign: Campaign, row: RowMapping) -> str:
    if not campaign.workflow.iterated:
        return ""
    settings = campaign.workflow.iteration
    if settings is None or settings.until is None:
        return "the one iteration is done" if row["iteration"] == 1 else f"all {row['iteration']} iterations are done"
    if row["converged"]:
        return f"converged after {_iterations(row)}"
    return f"not converged after {_iterations(row)}, the most that were allowed"


def _iterations(row: RowMapping) -> str:
    return f"{row['iteration']} iteration{'s' if row['iteration'] != 1 else ''}"


def _blame(campaign: Campaign, rows: Iterable[RowMapping]) -> str:
    parts = []
    for group in rows:
        if complete(campaign, group) or not (group["failed"] or group["killed"]):
            continue
        where = f"step {group['step']}" + (f" of iteration {group['iteration']}" if group["iteration"] else "")
        words = [f"{group[state]} {state}" for state in ("failed", "killed") if group[state]]
        parts.append(f"{where}: {' and '.join(words)} of {group['total']} jobs")
    return "; ".join(parts) or "nothing is left that could run"


def skipped_children(
    connection: Connection, campaign: Campaign, groups: Mapping[int, RowMapping], parents: Iterable[Job]
) -> dict[int, Job]:
    """Jobs that were skipped because these matching parents, or theirs in turn, had failed."""
    by_name = {(group["step"], group["iteration"]): group for group in groups.values()}
    found: dict[int, Job] = {}
    behind = list(parents)
    while behind:
        ids = {number for job in behind for number in _children(campaign, by_name, groups[job.group], job.id)}
        fresh = write.fetch(connection, ids - found.keys()).values()
        behind = [job for job in fresh if job.state is JobState.SKIPPED]
        found.update((job.id, job) for job in behind)
    return found


def _children(campaign: Campaign, groups: Groups, parent: RowMapping, job: int) -> Iterable[int]:
    """The jobs that follow this single one."""
    for name, step in campaign.workflow.steps.items():
        child = groups.get((name, parent["iteration"]))
        edges = [edge for edge in step.after if edge.step == parent["step"]]
        if child is not None and any(job_by_job(campaign.workflow, name, edge) for edge in edges):
            yield child["first_job"] + job - parent["first_job"]


def reopen(connection: Connection, campaign: Campaign) -> None:
    """After jobs were asked to run again: the campaign is not over any more."""
    write.set_campaign(connection, campaign.id, state=CampaignState.ACTIVE.value, reason="", finished=None)
    advance(connection, campaign)


def ancestors(campaign: Campaign, step: str) -> frozenset[str]:
    """A step and all that must be done before it."""
    found: set[str] = set()
    waiting = [step]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [edge.step for edge in campaign.workflow.steps[name].after]
    return frozenset(found)
