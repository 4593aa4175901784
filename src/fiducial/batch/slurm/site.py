"""A site with Slurm, and what can be asked of it for its jobs."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fiducial.batch.site import Site, Wishes

__all__ = ["SlurmSite", "SlurmWishes"]


class SlurmWishes(Wishes):
    """What is asked of Slurm for every job of a site, or of one step there."""

    qos: str | None = Field(None, description="quality of service")
    reservation: str | None = Field(None, description="reservation that the jobs run in")
    licenses: str | None = Field(None, description='licences that each job takes, e.g. "conditions:1"')
    gres: str | None = Field(None, description='generic resources of each job, e.g. "gpu:1"')
    exclude: str | None = Field(None, description='nodes that get no jobs, e.g. "n[03-05],n17"')
    at_once: int | None = Field(None, ge=1, description="most jobs of an array that run at a time (`--array=…%N`)")


class SlurmSite(SlurmWishes, Site):
    """Slurm."""

    steps: dict[str, SlurmWishes] = Field(  # type: ignore[assignment]  # of more keys than those of any site
        default_factory=dict, description="the same for single steps, by name"
    )
    node_disk: bool = Field(
        False,
        description="look for nodes that declare as much local disk (TmpDisk) as a step asks for; few sites set it",
    )

    @model_validator(mode="after")
    def _moves_no_files(self) -> Self:
        if not self.shared:
            raise ValueError("Slurm moves no files: its nodes must see the campaign's folder (shared = true)")
        return self
