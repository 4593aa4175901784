"""Campaigns that Slurm is given at once, as several commands have them: give, see how they are, go on, take back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fiducial.core.errors import StateError, UsageError
from fiducial.core.places import is_detached

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fiducial.batch.planned.plan import Plan
    from fiducial.batch.slurm.detached.arrays import Array
    from fiducial.batch.slurm.detached.store import Run
    from fiducial.batch.slurm.site import SlurmSite
    from fiducial.batch.slurm.system import Slurm
    from fiducial.engine.campaign import Campaign
    from fiducial.engine.scheduler import Scheduler
    from fiducial.engine.supervisor import Prepared

__all__ = [
    "export_detached",
    "given_view",
    "given_words",
    "remove",
    "resume",
    "site_of",
    "slurm_site",
    "start",
    "tell_given",
]

#: So many names in a line, for people.
_SHOWN = 4


def slurm_site(name: str | None) -> SlurmSite:
    """The site that is meant, which must be one of Slurm's.

    Raises:
        UsageError: it is not.
    """
    from fiducial import settings
    from fiducial.batch.slurm.site import SlurmSite
    from fiducial.cli.sites import chosen_site

    found = chosen_site(settings.load(), name)
    if isinstance(found, SlurmSite):
        return found
    hint = 'in the table of such a site stands backend = "slurm"'
    if found.backend == "dagman":
        hint = "DAGMan needs no process of ours anyway: --submit gives it the campaign"
    raise UsageError(f"--detached is for sites with Slurm, and {found.name} has {found.backend}", hint=hint)


def start(prepared: Prepared, site: SlurmSite, *, show: bool) -> dict[str, Any]:
    """Create or take up a campaign and give all that is left of it to Slurm; what ``--json`` prints."""
    from fiducial import settings
    from fiducial.engine import supervisor
    from fiducial.engine.scheduler import Scheduler
    from fiducial.ledger.database import Database

    with closing(Database(settings.load().ledger_url)) as database:
        scheduler = Scheduler(database)
        campaign = supervisor.create(scheduler, prepared)
        return _give(scheduler, campaign, site, submit=True, show=show)


def export_detached(
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
    """Write what is left of a campaign for Slurm, and submit it if that is wanted.

    Raises:
        StateError: the campaign is over, or jobs of it are under way.
        UsageError: the site is none of Slurm's, or another folder than the campaign's is wanted.
    """
    if folder is not None and folder.absolute() != campaign.folder:
        raise UsageError("--to slurm writes into the campaign's own folder", hint=f"leave out {folder}")
    chosen = slurm_site(site or "slurm")
    if dry_run:
        _tell_dry(scheduler, campaign, chosen, json_)
        return
    tell_given(_give(scheduler, campaign, chosen, submit=submit, show=show), json_)


def _tell_dry(scheduler: Scheduler, campaign: Campaign, site: SlurmSite, json_: bool) -> None:
    """Say which arrays Slurm would be given."""
    from fiducial.batch.slurm.detached.arrays import arrays_of
    from fiducial.batch.slurm.detached.write import left_of
    from fiducial.batch.slurm.system import Slurm
    from fiducial.cli.output import print_json, print_table

    _must_be_new(campaign.folder)
    with scheduler.database.read() as connection:
        plan = _plan(connection, campaign, site)
    left, last = left_of(plan)
    arrays = arrays_of(plan, left, last, _most(Slurm(site), site))
    jobs = sum(map(len, left.values()))
    if json_:
        named = [{"name": one.name, "tasks": one.tasks, "after": [name for _, name in one.after]} for one in arrays]
        found = {"campaign": campaign.name, "folder": str(campaign.folder), "site": site.name}
        print_json({**found, "left": jobs, "arrays": named, "submitted": None})
        return
    typer.echo(f"campaign {campaign.name}: {jobs} jobs are left; Slurm would be given {len(arrays)} job arrays\n")
    print_table(("array", "tasks", "waits for"), [(one.name, one.tasks, _waits_for(one)) for one in arrays])
    typer.echo("\ndry run: nothing was written")


def _waits_for(array: Array) -> str:
    names = [name for _, name in array.after]
    return " ".join(names) if len(names) <= _SHOWN else f"{' '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"


def _plan(connection: Connection, campaign: Campaign, site: SlurmSite) -> Plan:
    """What is left of a campaign in the ledger, which must rest."""
    from dataclasses import replace

    from fiducial.batch.slurm.detached.write import LAYOUT
    from fiducial.cli.dag import must_not_be_dag, plan_of
    from fiducial.cli.dagexport import must_rest, prepared_of

    must_not_be_dag(campaign.folder)
    must_rest(connection, campaign)
    return replace(plan_of(prepared_of(connection, campaign), site, ledger=campaign.ledger), layout=LAYOUT)


def _most(slurm: Slurm, site: SlurmSite) -> int:
    """Tasks that an array may have."""
    return min(slurm.most, site.max_array or slurm.most)


def _must_be_new(folder: Path) -> None:
    """See that Slurm was not given a campaign before; what was begun and broken off may go on.

    Raises:
        StateError: it was.
    """
    from fiducial.batch.slurm.detached.store import last_run

    run = last_run(folder) if is_detached(folder) else None
    if run is not None and run.is_marked("released"):
        raise StateError(
            f"Slurm was given the campaign in {folder} before",
            hint=f"fiducial follow {folder} shows how far it is; fiducial campaign resume submits what is left",
        )


def _give(scheduler: Scheduler, campaign: Campaign, site: SlurmSite, *, submit: bool, show: bool) -> dict[str, Any]:
    """Write a campaign's files for Slurm if they are not there, and hand it over; the same again goes on.

    Raises:
        StateError: Slurm was given it before.
    """
    from fiducial.engine import supervisor

    with supervisor.locked(campaign.folder):
        _must_be_new(campaign.folder)
        if not is_detached(campaign.folder):
            _write(scheduler, campaign, site, show=show)
        return _submit(campaign.folder, site, submit=submit, show=show)


def _write(scheduler: Scheduler, campaign: Campaign, site: SlurmSite, *, show: bool) -> None:
    from fiducial.batch.slurm.detached.write import write_plan
    from fiducial.cli.dagexport import align
    from fiducial.cli.opened import busy

    with scheduler.database.read() as connection, busy("writing what jobs do", show=show) as progress:
        plan = _plan(connection, campaign, site)
        align(connection, campaign)
        write_plan(plan, site, progress)


def _submit(folder: Path, site: SlurmSite, *, submit: bool = True, show: bool = True) -> dict[str, Any]:
    """Hand a campaign over, or go on where that was broken off; the caller holds its folder."""
    from fiducial.batch.slurm.detached.store import last_run
    from fiducial.batch.slurm.detached.submit import Submitter
    from fiducial.batch.slurm.detached.write import plan_in, prepare
    from fiducial.batch.slurm.system import Slurm
    from fiducial.cli.opened import busy

    plan, slurm = plan_in(folder), Slurm(site)
    found: dict[str, Any] = {"campaign": plan.name, "folder": str(folder), "site": site.name}
    if not submit:
        return {**found, "run": None, "arrays": None, "submitted": None}
    run = last_run(folder)
    if run is None or run.is_marked("released") or run.is_marked("gone"):
        run = prepare(plan, _most(slurm, site))
    with busy("submitting", show=show) as progress:
        Submitter(plan, run, slurm, site, progress).submit()
    numbers = [run.natives[array.name] for array in run.arrays]
    return {**found, "run": run.number, "arrays": len(run.arrays), "submitted": numbers}


def tell_given(found: Mapping[str, Any], json_: bool) -> None:
    """Say what was given to Slurm, and what to do with it."""
    if json_:
        from fiducial.cli.output import print_json

        print_json(found)
        return
    from fiducial.cli.dag import from_here

    folder = from_here(found["folder"])
    if found["submitted"] is None:
        left = f"{found['left']} jobs are left" if "left" in found else "written"
        typer.echo(f"campaign {found['campaign']}: {left}")
        typer.echo(
            "dry run: nothing was changed" if "left" in found else f"submit it: fiducial campaign resume {folder}"
        )
        return
    first, last = found["submitted"][0], found["submitted"][-1]
    typer.echo(f"campaign {found['campaign']}: {found['arrays']} job arrays in Slurm's queue, {first} to {last}")
    typer.echo("nothing of ours needs to run any more; the last of them writes summary.txt")
    typer.echo(f"follow it: fiducial follow {folder}")


def site_of(folder: Path, name: str | None = None) -> SlurmSite:
    """The site that was given the campaign in a folder, or the one of that name."""
    from fiducial.batch.slurm.detached.write import site_in

    return slurm_site(name or site_in(folder))


def resume(folder: Path, site: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    """Give Slurm what is left of a campaign that it had before; what ``--json`` prints.

    Raises:
        StateError: Slurm is at work on it, or has done all of it.
    """
    from fiducial.batch.slurm.detached.store import last_run
    from fiducial.batch.slurm.detached.write import left_of, plan_in
    from fiducial.batch.slurm.system import Slurm
    from fiducial.engine import supervisor

    chosen = site_of(folder, site)
    with supervisor.locked(folder):
        plan, run = plan_in(folder), last_run(folder)
        if run is not None and run.is_marked("released") and _is_at_work(folder, run, Slurm(chosen), chosen):
            raise StateError(
                f"Slurm is at work on the campaign in {folder}", hint=f"fiducial follow {folder} shows how far it is"
            )
        left = sum(map(len, left_of(plan)[0].values()))
        if not left:
            raise StateError(f"Slurm has done all of {folder}", hint=f"fiducial follow {folder} takes it in")
        if dry_run:
            return {"campaign": plan.name, "folder": str(folder), "site": chosen.name, "left": left, "submitted": None}
        return _submit(folder, chosen)


def _is_at_work(folder: Path, run: Run, slurm: Slurm, site: SlurmSite) -> bool:
    """Whether anything of a submission is in the queue: by its files if they tell, and else by one question."""
    from fiducial.batch.slurm.detached.store import summed_up
    from fiducial.batch.slurm.detached.write import plan_in, to_bundle

    if run.is_marked("gone") or summed_up(folder, run) is not None:
        return False
    plan = plan_in(folder)
    there = bool(slurm.news([to_bundle(plan, run, array, site) for array in run.arrays]))
    if not there:
        run.mark("gone")
    return there


def remove(folder: Path) -> None:
    """Take all of a campaign out of Slurm's queue, if Slurm was given it and may be at work."""
    if not is_detached(folder):
        return
    from fiducial.batch.slurm.detached.store import last_run, summed_up
    from fiducial.batch.slurm.detached.submit import Submitter
    from fiducial.batch.slurm.detached.write import plan_in
    from fiducial.batch.slurm.system import Slurm

    run = last_run(folder)
    if run is None or run.is_marked("gone") or summed_up(folder, run) is not None:
        return
    site = site_of(folder)
    count = Submitter(plan_in(folder), run, Slurm(site), site).take_back()
    typer.echo(f"{count} job arrays are taken out of Slurm's queue")


def given_view(folder: Path) -> dict[str, Any] | None:
    """How a campaign is that Slurm was given, from its files alone; None for others."""
    if not is_detached(folder):
        return None
    from fiducial.batch.slurm.detached.store import last_run, summed_up
    from fiducial.batch.slurm.detached.write import site_in

    run = last_run(folder)
    summary = summed_up(folder, run) if run is not None else None
    if run is None or not run.is_marked("released"):
        phase = "new"
    else:
        phase = "over" if summary is not None or run.is_marked("gone") else "running"
    return {
        "site": site_in(folder),
        "phase": phase,
        "run": run.number if run is not None else None,
        "arrays": len(run.arrays) if run is not None else 0,
        "jobs": list(run.natives.values()) if run is not None else [],
        "state": summary["state"] if summary is not None else None,
    }


def given_words(view: Mapping[str, Any], name: str) -> str:
    """The same in words."""
    again = f"fiducial campaign resume {name} submits what is left"
    if view["phase"] == "new":
        return f"not all is submitted, and nothing begins; fiducial campaign resume {name} does it"
    if view["phase"] == "running":
        return f"at work, {view['arrays']} job arrays, {view['jobs'][0]} to {view['jobs'][-1]}"
    if view["state"] == "done":
        return "ended, all is done"
    return f"ended, not all is done; {again}" if view["state"] else f"nothing is in the queue any more; {again}"
