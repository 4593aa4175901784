"""The files of a campaign that Slurm is given at once: what its jobs do, and what each array starts."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fiducial.batch.planned.nodefile import NodeFile, ladder
from fiducial.batch.planned.plan import Group, Layout, Plan, read_plan
from fiducial.batch.planned.results import enough, results
from fiducial.batch.queue.requests import request_of
from fiducial.batch.queue.system import Bundle, Request
from fiducial.batch.slurm.detached.arrays import Array, arrays_of
from fiducial.batch.slurm.detached.store import PLAN, Run, last_run, marks_folder, new_run
from fiducial.batch.slurm.site import SlurmSite
from fiducial.core.errors import FolderError
from fiducial.core.places import DETACHED
from fiducial.runner import runner
from fiducial.storage.replace import replace_text, replacing

__all__ = ["LAYOUT", "left_of", "plan_in", "prepare", "script_of", "site_in", "to_bundle", "write_plan"]

#: Names of the files of a group, below the runner's folder.
LAYOUT = Layout()
#: From there to the campaign's folder.
_UP = "../.."
#: Holds the name of the site that was given the campaign.
_SITE = "site"
#: What our own programs need.
_MEMORY, _SECONDS = 512 * 2**20, 900.0

Progress = Callable[[int, int], None]


def plan_in(here: Path) -> Plan:
    """The plan of the campaign in a folder that Slurm was given, or is to be."""
    return replace(read_plan(here, PLAN), layout=LAYOUT)


def site_in(here: Path) -> str:
    """Name of the site that was given the campaign in a folder."""
    return (here / DETACHED / _SITE).read_text("utf-8")


def write_plan(plan: Plan, site: SlurmSite, progress: Progress | None = None) -> None:
    """Write what jobs do, of all groups; the plan comes last, and makes the campaign Slurm's.

    Raises:
        WorkflowError: a template computes with what only a job will know.
        FolderError: the folder cannot be written.
    """
    here = plan.folder / DETACHED
    groups = [group for iteration in _iterations(plan) for group in plan.groups(iteration)]
    total = sum(plan.total(group.step, group.iteration) for group in groups)
    try:
        here.mkdir(parents=True, exist_ok=True)
        replace_text(here / "runner.py", Path(runner.__file__).read_text("utf-8"))
        written = 0
        for group in groups:
            _write_group(plan, group, here, site)
            written += plan.total(group.step, group.iteration)
            if progress is not None:
                progress(written, total)
        replace_text(here / _SITE, site.name)
        replace_text(plan.folder / PLAN, plan.dump(here))
    except OSError as error:
        raise FolderError(f"cannot write {error.filename or here}: {error.strerror}") from None


def _iterations(plan: Plan) -> range:
    return range(plan.max_iterations + 1) if plan.workflow.iterated else range(1)


def _write_group(plan: Plan, group: Group, here: Path, site: SlurmSite) -> None:
    """The node file of a group, a line for each of its jobs, and where each line begins."""
    file = NodeFile(plan, group, _UP)
    content = json.loads(file.text())
    if content["job"]:
        content["job"]["scratch"] = content["job"].get("scratch") or site.scratch
    replace_text(here / group.nodes, json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    index = (here / group.jobs).with_suffix(".index")
    with replacing(here / group.jobs) as lines, replacing(index) as places:
        _write_lines(file, lines, places)


def _write_lines(file: NodeFile, lines: Path, places: Path) -> None:
    offset = 0
    with lines.open("wb") as jobs, places.open("w", encoding="ascii") as index:
        for instance in file.plan.instances(file.group.step, file.group.iteration):
            index.write(f"{offset:<{runner.INDEX_WIDTH - 1}}\n")
            offset += jobs.write(file.line(instance).encode("utf-8"))


# ------------------------------------------------------------------------------------------------------ what is left


def left_of(plan: Plan) -> tuple[dict[tuple[str, int], list[int]], int]:
    """Places of the jobs that are not done, by step and iteration, and the last iteration that there can be."""
    last = plan.max_iterations if plan.workflow.iterated else 0
    left: dict[tuple[str, int], list[int]] = {}
    for iteration in range(1, last + 1):
        found = {(group.step, iteration): _left(plan, group) for group in plan.groups(iteration)}
        left |= found
        if not any(found.values()) and enough(plan, iteration):
            last = iteration
            break
    return left | {(group.step, 0): _left(plan, group) for group in plan.groups(0)}, last


def _left(plan: Plan, group: Group) -> list[int]:
    if not (plan.folder / ".fiducial" / group.step / f"{group.iteration:02d}").is_dir():
        return list(range(1, plan.total(group.step, group.iteration) + 1))
    states = [result.get("state") for _, result in results(plan, group.step, group.iteration)]
    left = [place for place, state in enumerate(states, 1) if state != "done"]
    ended = all(states)
    return [] if ended and len(left) <= plan.tolerated(group.step, group.iteration) else left


def prepare(plan: Plan, most: int) -> Run:
    """A new submission of all that is left; nothing of it is handed over yet."""
    left, last = left_of(plan)
    before = last_run(plan.folder)
    run = new_run(plan.folder, before.number + 1 if before else 1, arrays_of(plan, left, last, most))
    for array in run.arrays:
        if array.kind == "jobs":
            marks = marks_folder(run, plan.group(array.step, array.iteration).prefix)
            for kind in ("begun", "ended"):
                (marks / kind).mkdir(parents=True, exist_ok=True)
    return run


# ---------------------------------------------------------------------------------------------------------- an array


def to_bundle(plan: Plan, run: Run, array: Array, site: SlurmSite, *, modest: bool = False) -> Bundle:
    """An array as what is submitted.

    Args:
        modest: ask for no more than at first, where Slurm has refused more.
    """
    return Bundle(
        token=run.tokens[array.name],
        title=f"{plan.name}.{array.name}",
        folder=run.folder_of(array),
        keys=(),
        directories=(),
        request=_request(plan, array, site, modest),
        ledger=plan.ledger,
        native=run.natives.get(array.name, ""),
    )


def _request(plan: Plan, array: Array, site: SlurmSite, modest: bool) -> Request:
    if array.kind not in ("jobs", "again"):
        request = request_of(site, "", 1, _MEMORY, _SECONDS, None, None)
        wishes = site.model_copy(update={"licenses": None, "gres": None})
        return replace(request, wishes=wishes)
    resources = plan.workflow.steps[array.step].resources
    memory, wall = _granted(plan, array, modest)
    return request_of(site, array.step, resources.cpus, memory, wall, resources.disk, None)


def _granted(plan: Plan, array: Array, modest: bool) -> tuple[int | None, float | None]:
    """Memory and time of an array's jobs: at first what the step says, and then all that a retry may ask for."""
    step = plan.workflow.steps[array.step]
    place = -1 if array.kind == "again" and not modest else 0
    return ladder(step, "memory")[place], ladder(step, "wall_time")[place]


def script_of(plan: Plan, run: Run, array: Array, site: SlurmSite, *, modest: bool = False) -> str:
    """What Slurm starts for each task of an array; it keeps a copy."""
    return (
        f"#!/bin/bash\nexec {_command(plan, run, array, site, modest)}\n" if array.kind != "join" else "#!/bin/bash\n"
    )


def _command(plan: Plan, run: Run, array: Array, site: SlurmSite, modest: bool) -> str:
    if array.kind not in ("jobs", "again"):
        words = [array.kind, str(plan.folder), str(array.iteration), str(run.number)]
        return shlex.join([sys.executable, "-m", "fiducial.batch.slurm.detached.program", *words])
    group = plan.group(array.step, array.iteration)
    start = [site.python, str(plan.folder / DETACHED / "runner.py"), "--node", group.nodes]
    place = f"--place $((SLURM_ARRAY_TASK_ID + {array.offset}))"
    return " ".join([shlex.join(start), place, shlex.join(_limits(plan, run, array, group, site, modest))])


def _limits(plan: Plan, run: Run, array: Array, group: Group, site: SlurmSite, modest: bool) -> Sequence[str]:
    memory, wall = _granted(plan, array, modest)
    wishes = site.wishes(array.step)
    memory, wall = memory or wishes.memory, wall or wishes.walltime
    return [
        *("--run", str(run.number), "--marks", str(marks_folder(run, group.prefix))),
        *(("--memory", str(int(memory))) if memory else ()),
        *(("--within", str(int(wall))) if wall else ()),
        *(("--again",) if array.kind == "again" else ()),
    ]
