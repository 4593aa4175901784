"""A cluster with Grid Engine as a site."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fiducial.batch.gridengine.system import GridEngine
from fiducial.batch.kinds import Kind
from fiducial.batch.queue.backend import QueueBackend
from fiducial.batch.site import Site, Words
from fiducial.core.resources import Size

__all__ = ["KIND", "GridEngineSite"]


class GridEngineSite(Site):
    """A cluster with Grid Engine."""

    parallel_environment: str = Field("smp", description="parallel environment for jobs that need several cores")
    memory_resources: Words = Field(["mem_free"], description="resources that are asked for a job's memory")
    memory_per_slot: bool = Field(False, description="whether these count for each core, not for the job")
    memory_margin: Size | None = Field(
        None, description="memory that is asked for beyond a job's own, where virtual memory is counted"
    )
    time_resources: Words = Field(["h_rt"], description="resources that are asked for a job's wall time")
    cpu_resources: Words = Field(["h_cpu"], description="resources that are asked for a job's CPU time")


def _open(site: GridEngineSite, folder: Path) -> QueueBackend:
    return QueueBackend(GridEngine(site), site, folder)


KIND = Kind("Grid Engine", GridEngineSite, _open)
