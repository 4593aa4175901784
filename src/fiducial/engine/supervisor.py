"""From a workflow file to a finished campaign on this machine: create or take up again, recover, run, stop cleanly."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from sqlalchemy import Connection, RowMapping

from fiducial.batch.backend import Backend
from fiducial.core.errors import ChangedError, FolderError, StateError, WorkflowError
from fiducial.core.places import LOCAL
from fiducial.core.plan import campaign_scope, safe_key
from fiducial.core.states import CampaignState, JobState
from fiducial.core.variables import nearest, value_of
from fiducial.core.workflow import Workflow
from fiducial.core.workflowfile import dump_json
from fiducial.engine import advance
from fiducial.engine.agent import Agent
from fiducial.engine.campaign import Campaign, scope_names
from fiducial.engine.scheduler import Scheduler
from fiducial.ledger import ledger as write
from fiducial.ledger import queries

__all__ = ["Prepared", "claim_folder", "create", "end_left", "is_running", "locked", "prepare", "run", "sites_of"]
__all__ += ["signals", "update"]

POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Prepared:
    """A campaign as it would be created: nothing is written yet."""

    workflow: Workflow
    name: str
    folder: Path
    names: dict[str, Any]
    variables: dict[str, Any]
    max_iterations: int

    def row(self) -> dict[str, Any]:
        """The columns of ``campaigns``."""
        return {
            "name": self.name,
            "state": CampaignState.ACTIVE.value,
            "workflow": dump_json(self.workflow),
            "workflow_name": self.workflow.name,
            "names": json.dumps(self.names),
            "variables": json.dumps(self.variables),
            "folder": str(self.folder),
            "owner": getpass.getuser(),
            "iteration": 1 if self.workflow.iterated else 0,
            "max_iterations": self.max_iterations,
            "converged": None,
            "reason": "",
            "created": write.now(),
        }


def prepare(
    workflow: Workflow,
    variables: Mapping[str, Any],
    *,
    workflow_folder: Path,
    base: Path | None = None,
    folder: Path | None = None,
) -> Prepared:
    """Work out name, folder and variables of a campaign.

    Args:
        variables: what the user set for this campaign; they must be known to the workflow.
        base: where a relative campaign folder begins; the working folder by default.
        folder: the campaign's folder, where it shall not be the workflow's choice.

    Raises:
        WorkflowError: an unknown variable, or a template that cannot be filled in.
    """
    for name in variables:
        if name not in workflow.variables:
            raise WorkflowError(
                f"the workflow '{workflow.name}' has no variable '{name}'",
                hint=nearest(name, workflow.variables) or "it has: " + ", ".join(sorted(workflow.variables)),
            )
    names = scope_names(workflow, workflow_folder)
    first = campaign_scope(workflow, [{}, variables], names).known
    name = safe_key(str(value_of(workflow.campaign, first, "campaign")))
    chosen = folder or Path(str(value_of(workflow.folder, {**first, "campaign": name}, "folder")))
    absolute = Path(os.path.normpath((base or Path.cwd()) / chosen))
    names |= {"campaign": name, "folder": str(absolute)}
    scope = campaign_scope(workflow, [{}, variables], names)
    return Prepared(workflow, name, absolute, names, dict(variables), _max_iterations(workflow, scope.known))


def _max_iterations(workflow: Workflow, context: Mapping[str, Any]) -> int:
    if not workflow.iterated or workflow.iteration is None:
        return 1
    value = value_of(workflow.iteration.max, context, "iteration.max")
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise WorkflowError(f"iteration.max: '{value}' is not a whole number above 0")
    return number


def create(scheduler: Scheduler, prepared: Prepared, *, claim: bool = True) -> Campaign:
    """Store a campaign and its first jobs, or find the one that the same command created before.

    Args:
        claim: mark its folder as its own, so that no other campaign writes there.

    Raises:
        ChangedError: the workflow or its variables changed since the campaign was created.
        FolderError: the campaign's folder belongs to another campaign.
    """
    with scheduler.database.read() as connection:
        row = _named(connection, prepared.name)
    if row is not None:
        _must_be_same(row, prepared)
    if claim:
        claim_folder(prepared.folder, scheduler.database, prepared.name)
    with scheduler.database.write() as connection:
        row = row or _named(connection, prepared.name)  # the same command may run twice, and the other was faster
        if row is not None:
            _must_be_same(row, prepared)
            return scheduler.campaign(connection, row["id"])
        number = write.insert_campaign(connection, prepared.row())
        campaign = Campaign({**prepared.row(), "id": number}, scheduler.database.id, prepared.workflow)
        _create_first_groups(connection, campaign)
        advance.advance(connection, campaign)
    scheduler.remember(campaign)
    return campaign


def _named(connection: Connection, name: str) -> RowMapping | None:
    """The campaign of that very name, unless it is archived; one that has it as its number is another."""
    row = queries.find_campaign(connection, name)
    same = row is not None and row["name"] == name and row["state"] != CampaignState.ARCHIVED.value
    return row if same else None


def _create_first_groups(connection: Connection, campaign: Campaign) -> None:
    for name, step in campaign.workflow.steps.items():
        advance.create_groups(connection, campaign, [name], int(step.iterate))


def _must_be_same(row: RowMapping, prepared: Prepared) -> None:
    changed = []
    if row["workflow"] != dump_json(prepared.workflow):
        changed.append("the workflow")
    if json.loads(row["variables"]) != json.loads(json.dumps(prepared.variables)):
        changed.append("the variables")
    if row["folder"] != str(prepared.folder):
        changed.append(f"the folder (it was {row['folder']})")
    if changed:
        raise ChangedError(
            f"campaign '{row['name']}' exists, and {' and '.join(changed)} changed since it was created",
            hint=f"fiducial run … --update runs what is left with the change; "
            f"fiducial campaign archive {row['name']} puts the old one aside; "
            f"fiducial campaign resume {row['name']} goes on as it was",
        )


def update(scheduler: Scheduler, prepared: Prepared) -> Campaign:
    """Give a campaign the changed workflow for all that is not done yet; a new campaign is created.

    Where iterations were over and the workflow now allows or asks for more, they go on.

    Raises:
        StateError: steps or fan-outs are not what they were, so that the jobs would be others; or an engine runs it.
    """
    with scheduler.database.read() as connection:
        row = _named(connection, prepared.name)
    if row is None:
        return create(scheduler, prepared)
    old = Campaign(row, scheduler.database.id).workflow
    changed = _changed_shape(old, prepared.workflow)
    if changed or row["folder"] != str(prepared.folder):
        raise StateError(
            f"campaign '{row['name']}' cannot be updated: {changed or 'its folder changed'}",
            hint=f"fiducial campaign archive {row['name']} puts it aside, so that the same name starts anew",
        )
    kept = ("workflow", "workflow_name", "names", "variables", "max_iterations")
    values = {key: value for key, value in prepared.row().items() if key in kept}
    claim_folder(prepared.folder, scheduler.database, prepared.name)
    # An engine that runs now would go on with the workflow that it has read.
    campaign = Campaign({**row, **values}, scheduler.database.id, prepared.workflow)
    with locked(prepared.folder), scheduler.database.write() as connection:
        write.set_campaign(connection, row["id"], **values)
        advance.go_on(connection, campaign)
    scheduler.remember(campaign)
    return campaign


def _changed_shape(old: Workflow, new: Workflow) -> str:
    """What makes the jobs of two workflows differ; empty when they are the same."""
    if list(old.steps) != list(new.steps):
        return "its steps changed"
    for name, step in old.steps.items():
        other = new.steps[name]
        for what in ("fanout", "after", "iterate"):
            if getattr(step, what) != getattr(other, what):
                return f"{what} of step '{name}' changed"
    return ""


class Identified(Protocol):
    """A ledger, or what stands for one: all that a folder's mark says of it."""

    @property
    def id(self) -> str:
        """Its identity."""


def claim_folder(folder: Path, database: Identified, name: str) -> None:
    """Mark a folder as a campaign's own, or find the mark of an earlier run of the same campaign.

    Raises:
        FolderError: it belongs to another campaign, or cannot be written.
    """
    marker = folder / ".fiducial" / "campaign.json"
    mine = {"ledger": database.id, "campaign": name}
    try:
        found = dict(json.loads(marker.read_text("utf-8")))
    except FileNotFoundError:
        _write_marker(marker, mine)
        return
    except (OSError, ValueError, TypeError) as error:
        raise FolderError(f"cannot read {marker}: {error}", hint="is this folder another program's?") from None
    if found != mine:
        raise FolderError(
            f"the folder {folder} belongs to campaign '{found.get('campaign')}' of another ledger"
            if found.get("ledger") != database.id
            else f"the folder {folder} belongs to campaign '{found.get('campaign')}'",
            hint="choose another with --folder, or remove it if nobody needs it any more",
        )


def _write_marker(marker: Path, content: Mapping[str, str]) -> None:
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        temporary = marker.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(marker)
    except OSError as error:
        raise FolderError(
            f"cannot write into the campaign's folder {marker.parent.parent}: {error.strerror}",
            hint="choose another with --folder",
        ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a campaign's folder: one engine at a time. The lock goes with the process, however it dies.

    Raises:
        StateError: another engine is at it.
        FolderError: the folder is gone, or not one's own.
    """
    try:
        descriptor = os.open(folder / ".fiducial" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FolderError(f"cannot use the campaign's folder {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            raise StateError(
                f"another fiducial ({holder or 'unknown'}) is running the campaign in {folder}",
                hint="wait for it, or stop it with Ctrl-C there; fiducial campaign show tells how far it is",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_running(folder: Path) -> bool:
    """Whether an engine is at the campaign in this folder."""
    try:
        descriptor = os.open(folder / ".fiducial" / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def end_left(
    scheduler: Scheduler,
    campaign: Campaign,
    backend: Backend,
    jobs: Collection[int] | None = None,
    *,
    site: str = LOCAL,
) -> int:
    """Carry out the orders for attempts that an engine which died has left; the caller holds the folder's `locked`.

    Args:
        jobs: only these; all by default.
        site: where they are; the backend is that site's.

    Returns:
        How many attempts there were at these jobs.
    """
    agent = Agent(scheduler, backend, campaign, site=site)
    try:
        left = agent.recover(jobs)
        agent.end(jobs)
        return left
    finally:
        agent.stop(kill=True)


def sites_of(connection: Connection, campaign: int) -> list[str]:
    """Sites at which attempts of a campaign are under way, or were when their engine died."""
    return sorted({row["site"] for row in queries.active_attempts(connection, campaign)})


def _must_be_here(scheduler: Scheduler, campaign: Campaign, site: str) -> None:
    """Jobs in another site's queue can be followed, or ended, only by that site's batch system."""
    with scheduler.database.read() as connection:
        elsewhere = [name for name in sites_of(connection, campaign.id) if name != site]
    if elsewhere:
        raise StateError(
            f"jobs of campaign '{campaign.name}' are under way at site {elsewhere[0]}",
            hint=f"follow them with --site {elsewhere[0]}, or end them: fiducial campaign cancel {campaign.name}",
        )


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user asked the engine to stop."""


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that the loop stops between two steps and never within one."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 2:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    scheduler: Scheduler,
    campaign: Campaign,
    backend: Backend,
    *,
    site: str = LOCAL,
    until_step: str | None = None,
    on_round: Callable[[], None] = lambda: None,
    retry_failed: bool = True,
) -> bool:
    """Run a campaign until nothing is left to do or the user interrupts; the caller holds its folder's `locked`.

    Args:
        site: the name under which the backend's jobs are known.
        until_step: stop when this step (and what it needs) is done.
        on_round: called after every round, to show progress.
        retry_failed: begin by giving failed jobs another chance.

    Returns:
        False if the user interrupted; the same command goes on where it stopped.
    """
    steps = None if until_step is None else _steps_until(campaign, until_step)
    _must_be_here(scheduler, campaign, site)
    agent = Agent(scheduler, backend, campaign, site=site, steps=steps)
    with signals() as seen:
        try:
            agent.recover()
            if retry_failed:
                _retry_failed(scheduler, campaign)
            scheduler.settle(campaign.id)
            while not seen and not _over(scheduler, campaign, agent, steps):
                agent.step(POLL_SECONDS)
                on_round()
        finally:
            agent.stop(kill=True)
    on_round()
    return not seen


def _steps_until(campaign: Campaign, step: str) -> frozenset[str]:
    if step not in campaign.workflow.steps:
        raise WorkflowError(
            f"there is no step '{step}' in workflow '{campaign.workflow.name}'",
            hint=nearest(step, campaign.workflow.steps) or "steps: " + ", ".join(campaign.workflow.steps),
        )
    return advance.ancestors(campaign, step)


def _over(scheduler: Scheduler, campaign: Campaign, agent: Agent, steps: frozenset[str] | None) -> bool:
    """Whether nothing more can happen without a person."""
    if agent.busy:
        return False
    with scheduler.database.read() as connection:
        if queries.campaign_row(connection, campaign.id)["state"] != CampaignState.ACTIVE.value:
            return True
        groups = queries.group_rows(connection, campaign.id)
    open_work = [g for g in groups if g["ready"] + g["submitted"] + g["running"] + g["lost"]]
    return not any(steps is None or group["step"] in steps for group in open_work)


def _retry_failed(scheduler: Scheduler, campaign: Campaign) -> int:
    """Give failed and killed jobs another chance, because the user ran the same command again."""
    with scheduler.database.read() as connection:
        row = queries.campaign_row(connection, campaign.id)
        if row["state"] not in (CampaignState.FAILED.value, CampaignState.CANCELLED.value):
            return 0
        again = (JobState.FAILED.value, JobState.KILLED.value)
        ids = [job["id"] for job in queries.job_rows(connection, campaign.id, states=again)]
    return scheduler.retry(campaign.id, ids, getpass.getuser())
