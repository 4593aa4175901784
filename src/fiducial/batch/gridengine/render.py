"""The command line and the script of a submission to Grid Engine. Options: manual page submit(1)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fiducial.batch.queue.system import Bundle, Ref, Request
from fiducial.batch.queue.words import by_submission, clock, job_name, ranges, units

if TYPE_CHECKING:
    from fiducial.batch.gridengine.site import GridEngineSite

__all__ = ["LOGS", "SCRIPT", "name", "script", "submission", "tasks"]

SCRIPT = "gridengine.sh"
#: Relative: in a path a colon would end a host name, and a comma the path.
LOGS = "logs/$TASK_ID.txt"
_MEBIBYTE = 2**20


def name(bundle: Bundle) -> str:
    """The job's name."""
    return job_name(bundle.title, bundle.token)


_SCRIPT = """\
#!/bin/bash
# Stays while the job runs: Grid Engine ends all of a job, whereas a node may kill the runner alone. The accounting
# then tells the one from the other.
trap : HUP INT TERM USR1 USR2 XCPU
{start} "$SGE_TASK_ID"
"""


def script(bundle: Bundle) -> str:
    """What each task of the array runs."""
    return _SCRIPT.format(start=shlex.quote(str(bundle.start)))


def submission(bundle: Bundle, site: GridEngineSite) -> list[str]:
    """The words of ``qsub``, to be run in the bundle's folder."""
    wishes = bundle.request.wishes
    words = ["qsub", "-terse", "-N", name(bundle), "-t", f"1-{len(bundle.keys)}"]
    words += ["-cwd", "-S", "/bin/bash", "-m", "n", "-r", "n", "-o", LOGS, "-j", "y"]
    if wishes.queue:
        words += ["-q", wishes.queue]
    if wishes.account:
        words += ["-P", wishes.account]
    if bundle.request.cpus > 1:
        words += ["-pe", site.parallel_environment, str(bundle.request.cpus)]
    for resource in resources(bundle.request, site):
        words += ["-l", resource]
    return [*words, *wishes.extra, SCRIPT]


def resources(request: Request, site: GridEngineSite) -> list[str]:
    """What is asked for, as ``-l`` wants it."""
    found = [request.wishes.requirements] if request.wishes.requirements else []
    if request.memory:
        size = request.memory + (site.memory_margin or 0)
        each = units(size, _MEBIBYTE * (request.cpus if site.memory_per_slot else 1))
        found += [f"{name}={each}M" for name in site.memory_resources]
    if request.walltime:
        found += [f"{name}={clock(request.walltime)}" for name in site.time_resources]
    if request.cputime:
        found += [f"{name}={clock(request.cputime)}" for name in site.cpu_resources]
    return found


def tasks(refs: Iterable[Ref]) -> list[str]:
    """Jobs as the commands take them: ``17.1-3``."""
    return [f"{native}.{span}" for native, places in by_submission(refs).items() for span in ranges(places)]
