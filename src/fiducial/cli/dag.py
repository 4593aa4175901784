"""Campaigns for DAGMan, as several commands have them: write the DAG, submit it, say what there is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fiducial.core.errors import FiducialError, StateError, UsageError
from fiducial.core.places import is_dag, is_detached

if TYPE_CHECKING:
    from fiducial.batch.dagman.site import DagmanSite
    from fiducial.batch.planned.plan import Layout, Plan
    from fiducial.batch.site import Site
    from fiducial.engine.supervisor import Prepared

__all__ = [
    "dag_site",
    "from_here",
    "is_dag",
    "manager_view",
    "manager_words",
    "must_be_dagman",
    "must_not_be_dag",
    "plan_of",
    "remove",
    "resume",
    "tell_resumed",
    "tell_written",
    "write_dag",
]


def dag_site(name: str | None) -> DagmanSite | None:
    """The site that is meant, if it is one of DAGMan's."""
    from fiducial import settings

    chosen = settings.load()
    if name is None and chosen.get("run.site") is None:
        return None
    from fiducial.batch.dagman.site import DagmanSite
    from fiducial.cli.sites import chosen_site

    found = chosen_site(chosen, name)
    return found if isinstance(found, DagmanSite) else None


def plan_of(
    prepared: Prepared,
    site: Site,
    layout: Layout | None = None,
    *,
    ledger: str | None = None,
    done: Mapping[tuple[str, int], frozenset[str]] | None = None,
) -> Plan:
    """What is to become a DAG.

    Args:
        ledger: identity of the ledger that has the campaign; the DAG has one of its own where none has.
    """
    from fiducial.batch.planned.plan import Layout, Plan, frozen, read_plan
    from fiducial.core.plan import campaign_scope

    if ledger is None:
        ledger = str(uuid.uuid4())
        with suppress(FiducialError):  # written before
            ledger = read_plan(prepared.folder).ledger
    workflow = prepared.workflow
    if site.environment_script and not workflow.environment_script:
        workflow = workflow.model_copy(update={"environment_script": site.environment_script})
    workflow = frozen(workflow, campaign_scope(workflow, [{}, prepared.variables], prepared.names))
    return Plan(
        workflow=workflow,
        name=prepared.name,
        folder=prepared.folder,
        names=prepared.names,
        variables=prepared.variables,
        max_iterations=prepared.max_iterations,
        ledger=ledger,
        layout=layout or Layout(),
        done=done or {},
    )


@dataclass(frozen=True)
class _Identity:
    """Stands for a ledger where a folder is claimed."""

    id: str


def write_dag(
    plan: Plan,
    site: DagmanSite,
    *,
    here: Path | None = None,
    requirements: Mapping[str, str] | None = None,
    submit: bool = False,
    show: bool = True,
    begun: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write a DAG and, if that is wanted, give it to DAGMan; what ``--json`` prints.

    Args:
        here: the DAG's folder; by default the campaign's.
        begun: called when the folder is the campaign's own, before the DAG is there.
    """
    from fiducial.batch.dagman.control import submit as submit_dag
    from fiducial.batch.dagman.site import options_of
    from fiducial.batch.dagman.write import write
    from fiducial.cli.opened import busy
    from fiducial.engine.supervisor import claim_folder

    folder = (here or plan.folder).absolute()
    claim_folder(plan.folder, _Identity(plan.ledger), plan.name)
    begun()
    with busy("writing the DAG", show=show) as progress:
        written = write(plan, folder, options_of(site, requirements), progress)
    found = {
        "campaign": plan.name,
        "folder": str(folder),
        "dag": str(folder / written.dag),
        "nodes": written.nodes,
        "submit_descriptions": written.submits,
        "submitted": None,
    }
    if submit:
        found["submitted"] = submit_dag(plan, folder, site.commands)
    return found


def tell_written(found: Mapping[str, Any], json_: bool) -> None:
    """Say what was written, and what to do with it."""
    if json_:
        from fiducial.cli.output import print_json

        print_json(found)
        return
    folder = from_here(found["folder"])
    typer.echo(f"campaign {found['campaign']}: {found['nodes']} jobs as nodes of {from_here(found['dag'])}")
    if found["submitted"] is None:
        typer.echo(f"submit it: {folder}/submit.sh   (or the same command with --submit)")
    else:
        typer.echo(f"submitted to DAGMan, which is job {found['submitted']}: condor_q -dag shows it")
    typer.echo(f"follow it: fiducial follow {folder}")


def from_here(place: str) -> Path:
    """A path as a person would type it."""
    path = Path(place)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def must_not_be_dag(folder: Path) -> None:
    """Nothing else may run a campaign's jobs that DAGMan runs, or Slurm by itself.

    Raises:
        StateError: one of them has it.
    """
    for owner, given in (("DAGMan", is_dag(folder)), ("Slurm", is_detached(folder))):
        if given:
            raise StateError(
                f"the campaign in {folder} is {owner}'s",
                hint=f"fiducial follow {folder} shows how far it is; fiducial campaign resume submits what is left",
            )


def must_be_dagman(submit: bool, site: DagmanSite | None) -> None:
    """``--submit`` is for a DAG that is written first.

    Raises:
        UsageError: nothing is written that could be submitted.
    """
    if submit and site is None:
        raise UsageError("--submit goes with --backend dagman", hint="without it, the jobs run at once")


def resume(folder: Path, site: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    """Submit what is left of a DAG, by its newest rescue file; what ``--json`` prints.

    Raises:
        StateError: DAGMan is at work on it, or has done all of it.
        UsageError: at a site that is none of DAGMan's.
    """
    from fiducial.batch.dagman.control import manager, rescue_file
    from fiducial.batch.dagman.control import submit as submit_dag
    from fiducial.batch.planned.plan import read_plan

    chosen = dag_site(site)
    if chosen is None and site is not None:
        raise UsageError(f"the campaign in {folder} is DAGMan's, and --site {site} is not")
    plan = read_plan(folder)
    before, rescue = manager(folder, plan.dag), rescue_file(folder, plan.dag)
    if before.phase == "over" and before.exit_code == 0:
        raise StateError(f"DAGMan has done all of {folder / plan.dag}", hint=f"fiducial follow {folder} takes it in")
    found: dict[str, Any] = {
        "campaign": plan.name,
        "folder": str(folder),
        "dag": str(folder / plan.dag),
        "rescue": str(rescue) if rescue else None,
        "submitted": None,
    }
    if not dry_run:
        found["submitted"] = submit_dag(plan, folder, chosen.commands if chosen else None)
    return found


def remove(folder: Path) -> None:
    """Take DAGMan out of the queue, with all its nodes, if it has the campaign in a folder and is at work."""
    if not is_dag(folder):
        return
    from fiducial.batch.dagman.control import manager
    from fiducial.batch.dagman.control import remove as remove_dag
    from fiducial.batch.planned.plan import read_plan

    plan = read_plan(folder)
    cluster = manager(folder, plan.dag).cluster
    if remove_dag(folder, plan.dag):
        typer.echo(f"DAGMan, job {cluster}, is taken out of the queue")


def tell_resumed(found: Mapping[str, Any], json_: bool) -> None:
    """Say what was submitted again."""
    if json_:
        from fiducial.cli.output import print_json

        print_json(found)
        return
    what = f"{from_here(found['dag'])}" + (f", by {Path(found['rescue']).name}" if found["rescue"] else "")
    if found["submitted"] is None:
        typer.echo(f"what is left of {what} would be submitted\ndry run: nothing was changed")
        return
    typer.echo(f"submitted what is left of {what}: DAGMan is job {found['submitted']}")
    typer.echo(f"follow it: fiducial follow {from_here(found['folder'])}")


def is_at_work(folder: Path) -> bool:
    """Whether DAGMan or Slurm was given the campaign in a folder, and has not ended."""
    from fiducial.cli.detached import given_view

    view = manager_view(folder) or given_view(folder)
    return view is not None and view["phase"] in ("queued", "running", "held")


def manager_view(folder: Path) -> dict[str, Any] | None:
    """How DAGMan itself is, for a campaign that it has; None for others."""
    if not is_dag(folder):
        return None
    from fiducial.batch.dagman.control import manager, rescue_file
    from fiducial.batch.planned.plan import read_plan

    plan = read_plan(folder)
    found, rescue = manager(folder, plan.dag), rescue_file(folder, plan.dag)
    return {
        "dag": str(folder / plan.dag),
        "phase": found.phase,
        "job": found.cluster or None,
        "exit_code": found.exit_code,
        "reason": found.reason,
        "rescue": str(rescue) if rescue else None,
    }


def manager_words(view: Mapping[str, Any], name: str) -> str:
    """The same in words."""
    job, reason = f"job {view['job']}", f": {view['reason']}" if view["reason"] else ""
    match view["phase"]:
        case "new":
            return f"not submitted yet; {Path(view['dag']).parent}/submit.sh does it"
        case "queued" | "running":
            return f"at work as {job}"
        case "held":
            return f"held as {job}{reason}; condor_release {view['job']} lets it go on"
    again = f"fiducial campaign resume {name} submits what is left"
    if view["exit_code"] == 0:
        return "ended, all is done"
    if view["exit_code"] is None:
        return f"was removed{reason}; {again}"
    return f"ended, not all is done; {again}" + (f" (by {Path(view['rescue']).name})" if view["rescue"] else "")
