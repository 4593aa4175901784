"""A cluster with LSF as a site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from fiducial.batch.kinds import Kind
from fiducial.batch.lsf.system import Lsf
from fiducial.batch.queue.backend import QueueBackend
from fiducial.batch.site import Site

__all__ = ["KIND", "LsfSite"]


class LsfSite(Site):
    """A cluster with LSF."""

    user_group: str | None = Field(None, description="user group that jobs are submitted for (-G)")
    memory_unit: Literal["KB", "MB", "GB"] | None = Field(
        None,
        description="LSF_UNIT_FOR_LIMITS of the cluster; default: limits in KB, reservations in MB",
    )
    memory_limit: bool = Field(True, description="whether LSF is to limit a job's memory (-M)")
    memory_reserve: bool = Field(True, description="whether LSF is to reserve a job's memory (-R rusage[mem=…])")
    memory_per_slot: bool = Field(False, description="whether memory counts for each core, not for the job")


def _open(site: LsfSite, folder: Path) -> QueueBackend:
    return QueueBackend(Lsf(site), site, folder)


KIND = Kind("LSF", LsfSite, _open)
