"""Where an alignment of older scripts is gone on from, and what of its unfinished iteration is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from fiducial.alignment.constants.values import Constants
from fiducial.alignment.faser.campaign import Plan, data_folder
from fiducial.alignment.faser.daemon import LOG, read_log
from fiducial.alignment.faser.layout import every_iteration, first_of
from fiducial.alignment.faser.recipes import usual_recipe
from fiducial.alignment.faser.takeover.found import (
    RESTING,
    Found,
    constants_in,
    find_iterations,
    look_at_ntuples,
)
from fiducial.alignment.faser.takeover.record import Takeover
from fiducial.core.errors import FolderError, StateError

__all__ = ["Decision", "decide", "left_by_others"]

#: DAGMan holds it while it runs, and leaves it behind where it was killed.
_LOCK = "*.dag.lock"
_CLOSE = 1e-9
_TOLD = 5


@dataclass
class Decision:
    """What is taken over, and what is told of it.

    Args:
        takeover: what is kept of it. Its recipe is that of the first iteration: constants that an iteration has found
            do not make it an alignment of the front station alone.
        told: sentences for the user.
        moves: ntuples that have to be laid aside, and where.
    """

    takeover: Takeover
    told: list[str] = field(default_factory=list)
    moves: dict[Path, Path] = field(default_factory=dict)


def left_by_others(plan: Plan) -> list[Found]:
    """Iterations that lie where the campaign's would."""
    base, data = plan.prepared.folder, data_folder(plan)
    return find_iterations(list(every_iteration(plan.prepared)), base, [data] if data else [])


def decide(plan: Plan, look: Callable[[int, int], None] | None = None) -> Decision | None:
    """What can be gone on with in the folder of a campaign that is not begun yet; None where nothing lies there.

    Args:
        look: told how many of how many ntuples have been looked at.

    Raises:
        StateError: a DAGMan may still be at it.
        FolderError: later iterations stand on one that is not proven to be done.
    """
    left = left_by_others(plan)
    if not left:
        return None
    _must_be_at_rest(plan)
    done = _done(left)
    rest = left[len(done) :]
    first = left[0].number if left[0].number < 2 else first_of(plan.prepared)
    resume = done[-1].number + 1 if done else left[0].number
    later = [found for found in rest if found.number > resume]
    if later:
        raise _cut_short(plan, rest, later)
    decision = Decision(Takeover(first=first, resume=resume, constants=_constants(plan, done, rest)))
    decision.told += _told_of_done(plan, done, resume)
    if rest:
        _take_ntuples(plan, rest[0], decision, done, look)
    decision.told += _told_of_log(plan, resume)
    if plan.request.recipe is None and not plan.request.sets:
        began = left[0].began_with or plan.request.initial_constants
        decision.takeover = decision.takeover.with_recipe(usual_recipe(plan.request.stations or 3, began))
    return decision


def _must_be_at_rest(plan: Plan) -> None:
    for folder in filter(None, (plan.prepared.folder, data_folder(plan))):
        for lock in sorted(folder.glob(_LOCK)):
            dag = lock.with_suffix("")
            hint = f"condor_q -dag shows it; condor_rm ends it, and its rescue file is not needed; then remove {lock}"
            raise StateError(f"{lock} says that a DAGMan works with {dag.name}", hint=hint)


def _done(left: Sequence[Found]) -> list[Found]:
    """Iterations that are proven to be done, one after the other from the first."""
    done: list[Found] = []
    for found in left:
        follows = not done or found.number == done[-1].number + 1
        if not follows or found.fit or not constants_in(found.result):
            break
        done.append(found)
    return done


def _cut_short(plan: Plan, rest: Sequence[Found], later: Sequence[Found]) -> FolderError:
    broken = rest[0]
    why = broken.fit or f"its constants are not there, or cannot be read ({broken.result})"
    names = ", ".join(found.places[0].folder.name for found in later)
    name = broken.places[0].folder.name if broken not in later else f"what comes before {names}"
    hint = (
        f"move {names} away, and it goes on with the iteration before; or --folder OTHER --constants FILE begins anew"
    )
    return FolderError(
        f"{plan.prepared.folder}: {name} is not done, as {why}; {names} was made on top of it", hint=hint
    )


def _constants(plan: Plan, done: Sequence[Found], rest: Sequence[Found]) -> Path | None:
    """What the iteration begins with that is gone on with."""
    if done:
        return done[-1].result
    began = rest[0].began_with if rest else None
    return began if constants_in(began) else plan.request.initial_constants


def _told_of_done(plan: Plan, done: Sequence[Found], resume: int) -> list[str]:
    if not done:
        return [f"{plan.prepared.folder} was begun by older scripts; no iteration is done"]
    names = f"{done[0].number:02d}" + (f" to {done[-1].number:02d}" if len(done) > 1 else "")
    said = [
        f"{plan.prepared.folder} was begun by older scripts: iteration {names} is done and stays; on with {resume:02d}"
    ]
    for before, after in pairwise(done):
        if after.began_with and not _same(constants_in(before.result), constants_in(after.began_with)):
            said.append(f"iteration {after.number:02d} began with other constants than {before.number:02d} had found")
    return said


def _take_ntuples(
    plan: Plan, found: Found, decision: Decision, done: Sequence[Found], look: Callable[[int, int], None] | None
) -> None:
    """Ntuples of the unfinished iteration, if they were made with the constants that it begins with."""
    files, run = plan.request.files or range(0), plan.request.run or 0
    there = [number for number in found.ntuples(run) if number in files]
    name = f"iteration {found.number:02d}"
    if not there:
        decision.told.append(f"{name}: there are no ntuples of these files; it is made from its beginning")
        return
    before = constants_in(decision.takeover.constants) or {}
    if found.began_with is None or not _same(before, constants_in(found.began_with)):
        where = found.began_with or "no inputforalign.txt says with which"
        decision.told.append(
            f"{name}: its {len(there)} ntuples are made again, for they were made with other constants ({where})"
        )
        return
    taken, broken = {}, []
    for place, (number, path, fault) in enumerate(look_at_ntuples(found, run, files), 1):
        if look is not None:
            look(place, len(there))
        if fault:
            broken.append(fault)
        else:
            rest = path if path.parent.name == RESTING else path.parent.parent / RESTING / path.name
            taken[number] = str(rest)
            decision.moves |= {path: rest} if rest != path else {}
    decision.takeover = decision.takeover.with_ntuples(taken)
    decision.told.append(f"{name}: {len(taken)} of {len(files)} ntuples are taken, the rest is made")
    decision.told += _some(broken)
    fit = "" if found.fit else "; one is there, but no constants were made of it"
    decision.told.append(f"{name}: then comes its fit{fit}")


def _same(first: Constants | None, second: Constants | None) -> bool:
    """Whether two sets of constants are the same; a part that is missing is zero."""
    if first is None or second is None:
        return False
    zero = (0.0,) * 6
    return all(
        abs(a - b) <= _CLOSE
        for key in {*first, *second}
        for a, b in zip(first.get(key, zero), second.get(key, zero), strict=True)
    )


def _some(lines: Sequence[str]) -> Iterable[str]:
    yield from (f"made again: {line}" for line in lines[:_TOLD])
    if len(lines) > _TOLD:
        yield f"made again: {len(lines) - _TOLD} more"


def _told_of_log(plan: Plan, resume: int) -> list[str]:
    """Jobs of the daemon that may still be in the queue, and would write where ours do."""
    for folder in dict.fromkeys((Path.cwd(), plan.prepared.folder.parent)):
        story = read_log(folder / LOG)
        if story is not None:
            told = f"{folder / LOG} tells last of iteration {story.iteration}"
            if story.cluster is None or story.iteration < resume:
                return [told]
            cluster = story.cluster
            told += f", {story.jobs} jobs in cluster {cluster}"
            return [f"{told}: condor_q {cluster} shows whether some are left, condor_rm {cluster} takes them out"]
    return []
