"""A site: a batch system, and how it is to be spoken to. ``[sites.NAME]`` in ``fiducial.toml``.

The keys here mean the same on every batch system; a batch system adds keys of its own by a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fiducial.core.resources import Duration, Size

__all__ = ["Site", "Wishes"]


def _list_of(value: object) -> object:
    return [value] if isinstance(value, str) else value


Words = Annotated[list[str], BeforeValidator(_list_of)]


class Wishes(BaseModel):
    """What is asked of the batch system for every job of a site, or of one step there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: str | None = Field(None, description="queue or partition; on HTCondor the job flavour")
    account: str | None = Field(None, description="account, project or accounting group that pays")
    requirements: str | None = Field(
        None, description="which nodes will do: HTCondor expression, Slurm constraint, LSF and SGE requirement string"
    )
    memory: Size | None = Field(None, description='memory of a job whose step names none, e.g. "2 GB"')
    walltime: Duration | None = Field(None, description='wall time of a job whose step names none, e.g. "2h"')
    cputime: Duration | None = Field(
        None, description="CPU time of a job whose step names none, where the batch system limits it"
    )
    extra: Words = Field(default_factory=list, description="more options for the submission, taken as they are")


class Site(Wishes):
    """A place with a batch system."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the site; folders bear it")
    backend: str = Field(description="which batch system: local, htcondor, slurm, gridengine, pbs, lsf, …")
    max_jobs: int = Field(2000, ge=1, description="most jobs in the queue at a time")
    max_array: int | None = Field(None, ge=1, description="most jobs in one submission; default: what the system takes")
    environment_script: str | None = Field(
        None, description="sourced by bash before a payload whose workflow names no environment script"
    )
    scratch: str | None = Field(
        None, description="where jobs have their scratch folders, e.g. $TMPDIR; default: beside their logs"
    )
    python: str = Field("python3", description="Python (3.6 or later) on the nodes that the runner is started with")
    shared: bool = Field(True, description="whether nodes see the campaign's folder under the same path")
    work: Path | None = Field(
        None, description="folder for submissions and event logs; default: in the campaign's folder"
    )
    grace: Duration = Field(60.0, description="a job that nobody has seen for this long is given up as lost")
    result_grace: Duration = Field(
        10.0, description="how long the result of a job that ended may take to appear, as on slow network file systems"
    )
    slowest_poll: Duration = Field(60.0, gt=0, description="longest pause between two questions to the batch system")
    fastest_poll: Duration = Field(15.0, gt=0, description="shortest pause between two questions to the batch system")
    commands: Path | None = Field(None, description="folder of the batch system's commands; default: as PATH says")
    steps: dict[str, Wishes] = Field(default_factory=dict, description="the same for single steps, by name")

    @model_validator(mode="after")
    def _polls_in_order(self) -> Self:
        if self.fastest_poll > self.slowest_poll:
            raise ValueError("fastest_poll is longer than slowest_poll")
        return self

    def placed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """A job's specification with what the site adds where the workflow says nothing."""
        return {
            **spec,
            "environment_script": spec.get("environment_script") or self.environment_script,
            "scratch": spec.get("scratch") or self.scratch,
        }

    def wishes(self, step: str) -> Wishes:
        """What is asked for the jobs of a step: its own table where that has the key, else the site's."""
        own = self.steps.get(step)
        if own is None:
            return self
        said = {key: getattr(own, key) for key in own.model_fields_set}
        return self.model_copy(update=said)
