"""DAGMan as a site: what ``[sites.NAME]`` may say with ``backend = "dagman"``, and what that makes of submit files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from fiducial.batch.dagman.follow import DagBackend
from fiducial.batch.dagman.submit import Options
from fiducial.batch.kinds import Kind
from fiducial.batch.site import Site, Wishes
from fiducial.core.errors import ConfigurationError, StateError
from fiducial.core.places import is_dag

__all__ = ["KIND", "NAME", "DagmanSite", "options_of"]

#: Name of the batch system, and of the site in the ledger.
NAME = "dagman"


class DagmanSite(Site):
    """HTCondor's DAGMan, which is given whole campaigns."""

    status_seconds: int = Field(60, ge=1, description="shortest time between two writings of the node status file")
    nodes_at_once: dict[str, int] = Field(
        default_factory=dict, description="most nodes of a step in the queue at a time (MAXJOBS), by the step's name"
    )


def options_of(site: DagmanSite, requirements: Mapping[str, str] | None = None) -> Options:
    """What a site asks for, for the writers.

    Args:
        requirements: of the machines by step, from elsewhere; those of the site go before.
    """
    lines = {"": _lines(site, site.name), **{step: _lines(own, site.name) for step, own in site.steps.items()}}
    own = {step: wishes.requirements for step, wishes in (("", site), *site.steps.items()) if wishes.requirements}
    return Options(
        requirements={**(requirements or {}), **own},
        lines={step: found for step, found in lines.items() if found},
        max_jobs=dict(site.nodes_at_once),
        status_seconds=site.status_seconds,
        most=("max_jobs" in site.model_fields_set and site.max_jobs) or 0,
        python=site.python if "python" in site.model_fields_set else "",
        environment_script=site.environment_script or "",
    )


def _lines(wishes: Wishes, name: str) -> dict[str, str]:
    found = {}
    if wishes.queue:
        found["+JobFlavour"] = f'"{wishes.queue}"'
    if wishes.account:
        found["accounting_group"] = wishes.account
    for line in wishes.extra:
        key, sign, value = line.partition("=")
        if not sign or not key.strip():
            raise ConfigurationError(
                f"sites.{name}: extra: '{line}' is no line of a submit description", hint='for example "+Group = x"'
            )
        found[key.strip()] = value.strip()
    return found


def _open(site: DagmanSite, folder: Path) -> DagBackend:
    here = folder.parents[2]
    if not is_dag(here):
        raise StateError(
            "DAGMan is given whole campaigns, and no single jobs",
            hint=f"fiducial run FILE --site {site.name} writes a DAG; fiducial site test htcondor tries out the pool",
        )
    return DagBackend(here, commands=site.commands)


KIND = Kind("DAGMan", DagmanSite, _open)
