"""This machine as a site. Apart from its backend, which starts its workers before anything else is imported."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from fiducial.batch.kinds import Kind
from fiducial.batch.local import LocalBackend
from fiducial.batch.site import Site
from fiducial.core.resources import Size

__all__ = ["KIND", "LocalSite"]


class LocalSite(Site):
    """This machine."""

    workers: int | None = Field(None, ge=1, description="jobs at a time; default: this machine's cores")
    all_memory: Size | None = Field(None, description="memory that jobs may use together; default: the machine's")


def _open(site: LocalSite, folder: Path) -> LocalBackend:
    return LocalBackend(site.workers or len(os.sched_getaffinity(0)), site.all_memory, site.placed)


KIND = Kind("this machine", LocalSite, _open)
