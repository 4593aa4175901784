"""What Slurm is told: the words of its commands."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence

from fiducial.batch.queue.system import Bundle, Ref, Request
from fiducial.batch.queue.words import by_submission, job_name, portions, ranges, units
from fiducial.batch.slurm.site import SlurmWishes

__all__ = ["SCRIPT", "sbatch_words", "script", "task_lists", "time_limit"]

#: Of the script that Slurm starts for each job, in the bundle's folder.
SCRIPT = "slurm.sh"


def script(bundle: Bundle) -> str:
    """What Slurm starts for each job. Slurm keeps a copy, and gives a job its place by a variable only."""
    return f'#!/bin/bash\nexec {shlex.quote(str(bundle.start))} "$SLURM_ARRAY_TASK_ID"\n'


def sbatch_words(
    bundle: Bundle, *, node_disk: bool = False, tasks: str = "", more: Sequence[str] = ("--no-requeue",)
) -> list[str]:
    """The command that submits a bundle as one job array.

    As arguments and not as ``#SBATCH`` lines, for those give way to a user's ``SBATCH_…`` variables.

    Args:
        node_disk: ask for nodes that declare as much local disk as a job needs.
        tasks: numbers of the array's tasks, as Slurm has them; by default one for each of the bundle's jobs.
        more: options that go before what was wished. By default that of bundles: a retry is a new attempt with a number
            of its own, which Slurm's would not have.
    """
    return [
        "sbatch",
        *_resources(bundle.request, node_disk=node_disk),
        *_wishes(bundle.request),
        # Last, so that what we rely on holds whatever was wished.
        *more,
        "--parsable",
        f"--job-name={job_name(bundle.title, bundle.token)}",
        f"--array={tasks or f'1-{len(bundle.keys)}'}{_at_once(bundle.request)}",
        f"--chdir={bundle.folder}",
        f"--output={_log_pattern(bundle)}",
        f"--error={_log_pattern(bundle)}",
        "--open-mode=append",
        str(bundle.folder / SCRIPT),
    ]


def _resources(request: Request, *, node_disk: bool) -> Iterator[str]:
    yield from ("--nodes=1", "--ntasks=1", f"--cpus-per-task={request.cpus}")
    if request.memory:
        yield f"--mem={units(request.memory, 2**20)}M"
    if request.walltime:
        yield f"--time={time_limit(request.walltime)}"
    if request.disk and node_disk:
        yield f"--tmp={units(request.disk, 2**20)}M"


def _wishes(request: Request) -> Iterator[str]:
    wishes = request.wishes
    said = {"partition": wishes.queue, "account": wishes.account, "constraint": wishes.requirements}
    if isinstance(wishes, SlurmWishes):
        said |= {key: getattr(wishes, key) for key in ("qos", "reservation", "licenses", "gres", "exclude")}
    yield from (f"--{option}={value}" for option, value in said.items() if value)
    yield from wishes.extra


def _at_once(request: Request) -> str:
    wishes = request.wishes
    return f"%{wishes.at_once}" if isinstance(wishes, SlurmWishes) and wishes.at_once else ""


def time_limit(seconds: float) -> str:
    """A time span as ``D-HH:MM:SS``, the one form that Slurm cannot take for minutes.

    Source: sbatch(1), ``--time``.
    """
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{rest:02}"


def _log_pattern(bundle: Bundle) -> str:
    """Where Slurm writes what a job's script says, and what it has to say itself.

    A backslash anywhere keeps Slurm from filling in the place (sbatch(1), "filename pattern"): no log then.
    """
    folder = str(bundle.folder / "logs")
    return "/dev/null" if "\\" in folder else f"{folder.replace('%', '%%')}/%a.log"


def task_lists(refs: Iterable[Ref]) -> Iterator[Sequence[str]]:
    """Jobs as Slurm's commands take them, ``12_[1-3,7]``, so many at a time as fit into a command line."""
    words = [
        f"{native}_[{','.join(spans)}]"
        for native, places in by_submission(refs).items()
        for spans in portions(ranges(places))
    ]
    return portions(words)
