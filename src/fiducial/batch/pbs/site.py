"""A cluster with PBS as a site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from fiducial.batch.kinds import Kind
from fiducial.batch.pbs.system import Pbs
from fiducial.batch.queue.backend import QueueBackend
from fiducial.batch.site import Site, Words

__all__ = ["KIND", "PbsSite"]


class PbsSite(Site):
    """A cluster with PBS."""

    dialect: Literal["openpbs", "torque"] = Field("openpbs", description="which PBS: openpbs (also PBS Pro), or torque")
    project: str | None = Field(None, description="project that jobs are for (-P), beside the account (-A)")
    chunk: str | None = Field(
        None, description="how cores are asked for; default: select=1:ncpus={cpus}, for Torque nodes=1:ppn={cpus}"
    )
    memory_resources: Words = Field(["mem"], description="resources that are asked for a job's memory")
    time_resources: Words = Field(["walltime"], description="resources that are asked for a job's wall time")
    cpu_resources: Words = Field(["cput"], description="resources that are asked for a job's CPU time")
    longest_name: int | None = Field(
        None, ge=15, description="characters that a job's name may have; default: 200, for Torque 15"
    )


def _open(site: PbsSite, folder: Path) -> QueueBackend:
    return QueueBackend(Pbs(site), site, folder)


KIND = Kind("PBS", PbsSite, _open)
