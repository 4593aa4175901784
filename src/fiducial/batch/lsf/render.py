"""The command line and the script of a submission to LSF. Options: IBM Spectrum LSF 10.1, command reference, bsub."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fiducial.batch.queue.system import Bundle, Ref, Request
from fiducial.batch.queue.words import by_submission, job_name, ranges, units
from fiducial.core.errors import BackendError

if TYPE_CHECKING:
    from fiducial.batch.lsf.site import LsfSite

__all__ = ["SCRIPT", "elements", "minutes", "name", "script", "submission"]

SCRIPT = "lsf.sh"
_BYTES = {"KB": 2**10, "MB": 2**20, "GB": 2**30}
_MEMORY, _CPUS = "{memory}", "{cpus}"


def name(bundle: Bundle) -> str:
    """The job's name, without the array's places."""
    return job_name(bundle.title, bundle.token)


def script(bundle: Bundle) -> str:
    """What each element of the array runs."""
    return f'#!/bin/bash\nexec {shlex.quote(str(bundle.start))} "$LSB_JOBINDEX"\n'


def submission(bundle: Bundle, site: LsfSite) -> list[str]:
    """The words of ``bsub``, to be run in the bundle's folder."""
    request, wishes = bundle.request, bundle.request.wishes
    count = len(bundle.keys)
    words = ["bsub", "-J", f"{name(bundle)}[1-{count}]" if count > 1 else f"{name(bundle)}[1]"]
    words += ["-rn", "-oo", "logs/%I.txt"]
    for option, value in (("-q", wishes.queue), ("-P", wishes.account), ("-G", site.user_group)):
        words += [option, value] if value else []
    words += ["-W", minutes(request.walltime)] if request.walltime else []
    words += ["-c", minutes(request.cputime)] if request.cputime else []
    words += ["-n", str(request.cpus), "-R", "span[hosts=1]"] if request.cpus > 1 else []
    words += [*_memory(request, site), *_requirements(request, site), *wishes.extra]
    # bsub joins the words of the command, and a shell reads them.
    return [*words, shlex.quote(str(bundle.folder / SCRIPT))]


def minutes(seconds: float) -> str:
    """Seconds as ``HH:MM``, rounded up: a single number would be minutes."""
    whole = math.ceil(seconds / 60)
    return f"{whole // 60:02d}:{whole % 60:02d}"


def _memory(request: Request, site: LsfSite) -> list[str]:
    if not request.memory or not site.memory_limit:
        return []
    return ["-M", str(_amount(request, site, "KB"))]


def _amount(request: Request, site: LsfSite, unit: str) -> int:
    """Memory in the cluster's unit, or in that which LSF has where no unit is set."""
    share = request.cpus if site.memory_per_slot else 1
    return units(request.memory or 0, _BYTES[site.memory_unit or unit] * share)


def _requirements(request: Request, site: LsfSite) -> list[str]:
    """Requirement strings; one that names ``{memory}`` reserves it by itself."""
    wanted = request.wishes.requirements or ""
    if _MEMORY in wanted:
        if not request.memory:
            raise BackendError(
                f"the site's requirements name {_MEMORY}, and step {request.step} names none",
                hint="give the step, or the site, a memory",
            )
        wanted = wanted.replace(_MEMORY, str(_amount(request, site, "MB")))
        reserve = ""
    else:
        reserve = f"rusage[mem={_amount(request, site, 'MB')}]" if request.memory and site.memory_reserve else ""
    return [word for each in (wanted.replace(_CPUS, str(request.cpus)), reserve) if each for word in ("-R", each)]


def elements(refs: Iterable[Ref]) -> list[str]:
    """Jobs as the commands take them: ``17[1-3,5]``."""
    return [f"{native}[{','.join(ranges(places))}]" for native, places in by_submission(refs).items()]
