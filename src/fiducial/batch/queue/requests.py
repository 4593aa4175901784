"""What jobs ask of a batch system, and which of them can be handed over together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fiducial.batch.backend import JobSpec
from fiducial.batch.queue.system import Request
from fiducial.batch.site import Site

__all__ = ["kinds_of", "request_of"]

#: Time beyond a job's own limit that the batch system is asked to grant, so that our watchdog speaks first.
_MARGIN_SECONDS = 90.0
#: Memory beyond a job's own limit: that of the runner.
_MARGIN_BYTES = 32 * 2**20


def kinds_of(specs: Sequence[JobSpec], site: Site) -> list[tuple[Request, list[JobSpec]]]:
    """Jobs by what they ask for: those that ask for the same go in one submission."""
    kinds: dict[tuple[Any, ...], list[JobSpec]] = defaultdict(list)
    for spec in specs:
        limits, resources = spec.get("limits") or {}, spec.get("resources") or {}
        asked = [limits.get(limit) for limit in ("memory", "wall_time", "disk", "cpu_time")]
        kinds[spec["name"].split("/")[1], resources.get("cpus") or 1, *asked].append(spec)
    return [(request_of(site, *kind), same) for kind, same in kinds.items()]


def request_of(
    site: Site,
    step: str,
    cpus: int,
    memory: int | None,
    walltime: float | None,
    disk: int | None,
    cputime: float | None,
) -> Request:
    """What is asked for a job of a step: its limits or, where it has none, the site's, and what the runner needs.

    Args:
        memory: bytes.
        walltime: seconds.
        disk: bytes.
        cputime: seconds.
    """
    wishes = site.wishes(step)
    memory, walltime, cputime = memory or wishes.memory, walltime or wishes.walltime, cputime or wishes.cputime
    return Request(
        step,
        cpus,
        memory + _MARGIN_BYTES if memory else None,
        walltime + _MARGIN_SECONDS if walltime else None,
        disk,
        wishes,
        cputime + _MARGIN_SECONDS if cputime else None,
    )
