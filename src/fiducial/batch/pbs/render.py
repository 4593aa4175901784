"""The command line and the script of a submission to PBS.

Sources: PBS Professional reference guide, qsub; Torque administrator's guide, commands reference.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fiducial.batch.queue.system import Bundle, Ref, Request
from fiducial.batch.queue.words import by_submission, clock, job_name, ranges, units

if TYPE_CHECKING:
    from fiducial.batch.pbs.site import PbsSite

__all__ = ["SCRIPT", "arrays", "name", "script", "subjobs", "submission"]

SCRIPT = "pbs.sh"
_CHUNKS = {"openpbs": "select=1:ncpus={cpus}", "torque": "nodes=1:ppn={cpus}"}
_LONGEST = {"openpbs": 200, "torque": 15}
#: What OpenPBS counts on a host, and so wants to stand in the chunk that asks for it.
_OF_A_HOST = ("mem", "vmem")
_MEBIBYTE = 2**20
_SCRIPT = """\
#!/bin/bash
exec {start} "${{PBS_ARRAY_INDEX:-${{PBS_ARRAYID:-1}}}}"
"""


def name(bundle: Bundle, site: PbsSite) -> str:
    """The job's name, without the array's places."""
    return job_name(bundle.title, bundle.token, site.longest_name or _LONGEST[site.dialect])


def script(bundle: Bundle) -> str:
    """What each job of the array runs; a single job has no place, and its place is 1."""
    return _SCRIPT.format(start=shlex.quote(str(bundle.start)))


def submission(bundle: Bundle, site: PbsSite) -> list[str]:
    """The words of ``qsub``, to be run in the bundle's folder."""
    wishes = bundle.request.wishes
    words = ["qsub", "-N", name(bundle, site), "-S", "/bin/bash", "-m", "n", "-r", "n", "-j", "oe", "-o", "logs/"]
    if len(bundle.keys) > 1:  # OpenPBS has no array of one
        words += ["-J" if site.dialect == "openpbs" else "-t", f"1-{len(bundle.keys)}"]
    for option, value in (("-q", wishes.queue), ("-A", wishes.account), ("-P", site.project)):
        words += [option, value] if value else []
    for resource in resources(bundle.request, site):
        words += ["-l", resource]
    return [*words, *wishes.extra, SCRIPT]


def resources(request: Request, site: PbsSite) -> list[str]:
    """What is asked for, as ``-l`` wants it; the unit of memory is always named, for PBS would take bytes."""
    chunk = (_CHUNKS[site.dialect] if site.chunk is None else site.chunk).replace("{cpus}", str(request.cpus))
    parts, found = [chunk] if chunk else [], list[str]()
    if request.memory:
        for resource in site.memory_resources:
            asked = f"{resource}={units(request.memory, _MEBIBYTE)}mb"
            (parts if chunk and site.dialect == "openpbs" and resource in _OF_A_HOST else found).append(asked)
    if request.wishes.requirements:
        parts.append(request.wishes.requirements)
    if request.walltime:
        found += [f"{resource}={clock(request.walltime)}" for resource in site.time_resources]
    if request.cputime:
        found += [f"{resource}={clock(request.cputime)}" for resource in site.cpu_resources]
    return [":".join(parts), *found] if parts else found


def subjobs(refs: Iterable[Ref]) -> list[str]:
    """Jobs as OpenPBS takes them: ``17[1-3].server``."""
    return [
        native.replace("[]", f"[{span}]")
        for native, places in by_submission(refs).items()
        for span in (ranges(places) if "[]" in native else [""])
    ]


def arrays(refs: Iterable[Ref]) -> list[list[str]]:
    """Jobs as Torque takes them, which wants a command for each array: ``-t 1-3 17[].server``."""
    return [
        ["-t", ",".join(ranges(places)), native] if "[]" in native else [native]
        for native, places in by_submission(refs).items()
    ]
