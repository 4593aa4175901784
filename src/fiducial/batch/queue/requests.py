"""What jobs ask of a batch system, and which of them can be handed over together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fiducial.batch.backend import JobSpec
from fiducial.batch.queue.system import Request
from fiducial.batch.site import Site

__all__ = ["kinds_of"]

#: Time beyond a job's own limit that the batch system is asked to grant, so that our watchdog speaks first.
_MARGIN_SECONDS = 90.0
#: Memory beyond a job's own limit: that of the runner.
_MARGIN_BYTES = 32 * 2**20


def kinds_of(specs: Sequence[JobSpec], site: Site) -> list[tuple[Request, list[JobSpec]]]:
    """Jobs by what they ask for: those that ask for the same go in one submission."""
    kinds: dict[tuple[Any, ...], list[JobSpec]] = defaultdict(list)
    for spec in specs:
        limits, resources = spec.get("limits") or {}, spec.get("resources") or {}
        asked = (resources.get("cpus") or 1, limits.get("memory"), limits.get("wall_time"), limits.get("disk"))
        kinds[spec["name"].split("/")[1], *asked].append(spec)
    return [(_request(site, *kind), same) for kind, same in kinds.items()]


def _request(site: Site, step: str, cpus: int, memory: int | None, walltime: float | None, disk: int | None) -> Request:
    wishes = site.wishes(step)
    memory, walltime = memory or wishes.memory, walltime or wishes.walltime
    return Request(
        step,
        cpus,
        memory + _MARGIN_BYTES if memory else None,
        walltime + _MARGIN_SECONDS if walltime else None,
        disk,
        wishes,
    )
