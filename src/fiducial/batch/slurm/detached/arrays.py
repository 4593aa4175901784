"""The job arrays of a campaign and what each waits for: pure, from the plan and from what is left of it.

Every group has an array, cut where Slurm allows no larger one, and behind it a second that Slurm starts only if jobs of
the first have failed (``afternotok``), and else cancels by itself. What comes behind waits for either. An iteration is
begun by a small job that ends with an error when the iterations are enough: Slurm then cancels what is behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fiducial.batch.planned.nodefile import retries
from fiducial.batch.planned.plan import Group, Plan
from fiducial.batch.queue.words import ranges

__all__ = ["Array", "Kind", "Left", "arrays_of", "dependency"]

#: ``jobs``: of a group. ``again``: what of them needs another allocation. ``begin``: goes on with an iteration or not.
#: ``end``: sees that the iterations are over. ``join``: does nothing, and stands for others. ``final``: sums up.
Kind = Literal["jobs", "again", "begin", "end", "join", "final"]

#: Places of the jobs that are not done, from 1, by step and iteration.
Left = Mapping[tuple[str, int], Sequence[int]]


@dataclass(frozen=True)
class Array:
    """One job array.

    Args:
        name: in the campaign.
        tasks: numbers of its tasks, as Slurm has them.
        offset: what makes a task's number the job's place in its group.
        after: what it waits for: the kind of dependency, and the other array's name.
        any_of: whether it waits for one of those only.
    """

    name: str
    kind: Kind
    step: str = ""
    iteration: int = 0
    tasks: str = "1"
    offset: int = 0
    after: tuple[tuple[str, str], ...] = ()
    any_of: bool = False


@dataclass(frozen=True)
class _Unit:
    """A part of a group: its array, and the one behind that."""

    part: int
    first: str
    again: str

    @property
    def last(self) -> str:
        return self.again or self.first

    def conditions(self, kind: str) -> tuple[tuple[str, str], ...]:
        """That one of the two has done all."""
        return tuple((kind, name) for name in (self.first, self.again) if name)


def arrays_of(plan: Plan, left: Left, last: int, most: int) -> list[Array]:
    """All arrays, each behind those that it waits for.

    Args:
        last: the last iteration that there can be: the one that is known to have converged, or the most allowed.
        most: tasks that fit in an array.
    """
    return _Arrays(plan, left, last, most).all()


def dependency(array: Array, natives: Mapping[str, str]) -> str:
    """What ``sbatch --dependency`` is given; empty for an array that waits for none."""
    return ("?" if array.any_of else ",").join(f"{kind}:{natives[name]}" for kind, name in array.after)


class _Arrays:
    def __init__(self, plan: Plan, left: Left, last: int, most: int) -> None:
        self.plan, self.left, self.last, self.most = plan, left, last, most
        self._made: dict[str, Array] = {}
        self._units: dict[tuple[str, int], list[_Unit]] = {}

    def all(self) -> list[Array]:
        for iteration in range(self.last + 1):
            for group in self.plan.groups(iteration):
                self._units_of(group.step, iteration)
        self._make(Array("final", "final", after=tuple(("afterany", name) for name in self._made)))
        return list(self._made.values())

    def _make(self, array: Array) -> str:
        self._made.setdefault(array.name, array)
        return array.name

    def _units_of(self, step: str, iteration: int) -> list[_Unit]:
        """The parts of a group in which anything is left; those of its parents are made before."""
        if (step, iteration) not in self._units:
            parts: dict[int, list[int]] = {}
            for place in self.left.get((step, iteration), ()):
                parts.setdefault((place - 1) // self.most, []).append(place)
            group = self.plan.group(step, iteration)
            made = [self._unit(group, part, places, len(parts) > 1) for part, places in parts.items()]
            self._units[step, iteration] = made
        return self._units[step, iteration]

    def _unit(self, group: Group, part: int, places: Sequence[int], many: bool) -> _Unit:
        name = group.prefix + (f".{part + 1}" if many else "")
        offset = part * self.most
        tasks = ",".join(ranges(place - offset for place in places))
        after, any_of = self._conditions(group, part)
        facts = (group.step, group.iteration, tasks, offset)
        first = self._make(Array(name, "jobs", *facts, after, any_of))
        if not retries(self.plan.workflow.steps[group.step]):
            return _Unit(part, first, "")
        again = (("afternotok", first), *(("afterok", name) for name in self._begun(group)))
        return _Unit(part, first, self._make(Array(f"{name}.again", "again", *facts, again)))

    def _begun(self, group: Group) -> list[str]:
        """What else a second array waits for: ``afternotok`` is true as well where the first was never to begin."""
        found = [self._begin(group.iteration)] if group.iteration > 1 else []
        _, units, others = self._parents(group)
        if self.plan.total(group.step, group.iteration) > 1:  # a single job that looks and ends costs no more
            found += [*map(self._joined, units), *others]
        return list(dict.fromkeys(filter(None, found)))

    # --------------------------------------------------------------------------------------------- what waits for what

    def _conditions(self, group: Group, part: int) -> tuple[tuple[tuple[str, str], ...], bool]:
        """What a part of a group waits for, and whether any of that is enough."""
        matching, units, others = self._parents(group)
        if matching is not None and not units and not others:
            same = [unit for unit in matching if unit.part == part]
            return (same[0].conditions("aftercorr"), True) if same else ((), False)
        units = [*units, *(matching or ())]
        if len(units) == 1 and not others:
            return units[0].conditions("afterok"), True
        return tuple(("afterok", name) for name in (*map(self._joined, units), *others)), False

    def _joined(self, unit: _Unit) -> str:
        """One array that ends well if a unit has: Slurm takes "and" or "or", and not both."""
        if not unit.again:
            return unit.first
        return self._make(Array(f"{unit.first}.done", "join", after=unit.conditions("afterok"), any_of=True))

    def _parents(self, group: Group) -> tuple[list[_Unit] | None, list[_Unit], list[str]]:
        """Units that match job by job, units that must be done as a whole, and other arrays."""
        steps, iteration = self.plan.workflow.steps, group.iteration
        matching: list[_Unit] | None = None
        units: list[_Unit] = []
        others: list[str] = []
        for edge in steps[group.step].after:
            before = steps[edge.step].iterate
            if before and not iteration:
                found, gates = self._after_iterations(edge.step)
                units, others = [*units, *found], [*others, *gates]
                continue
            found = self._units_of(edge.step, iteration if before else 0)
            if edge.matching and before == bool(iteration) and matching is None:
                matching = found
            else:
                units += found
        if iteration > 1 and not any(steps[edge.step].iterate for edge in steps[group.step].after):
            found, gates = self._after_iteration(iteration - 1)
            units, others = [*units, *found], [*others, *gates]
        return matching, list(dict.fromkeys(units)), list(dict.fromkeys(filter(None, others)))

    def _after_iteration(self, iteration: int) -> tuple[list[_Unit], list[str]]:
        """What the next iteration waits for."""
        return ([], [self._begin(iteration + 1)]) if self.plan.until else (self._sinks(iteration), [])

    def _begin(self, iteration: int) -> str:
        """What ends well if an iteration begins; empty where nothing is left of what comes before."""
        units = self._sinks(iteration - 1)
        if not units:
            return ""
        after, any_of = self._all_of(units)
        kind: Kind = "begin" if self.plan.until else "join"
        return self._make(Array(f"iter{iteration:02d}.begin", kind, "", iteration, after=after, any_of=any_of))

    def _all_of(self, units: Sequence[_Unit]) -> tuple[tuple[tuple[str, str], ...], bool]:
        if len(units) == 1:
            return units[0].conditions("afterok"), True
        return tuple(("afterok", self._joined(unit)) for unit in units), False

    def _after_iterations(self, step: str) -> tuple[list[_Unit], list[str]]:
        """What a step behind the iterations waits for: they may end early, and all of the last is cancelled then."""
        if not self.plan.until:
            return self._units_of(step, self.last), []
        units = self._sinks(self.last)
        if not units:
            return [], []
        after = tuple(("afterany", unit.last) for unit in units)
        return [], [self._make(Array("iterations.end", "end", after=after))]

    def _sinks(self, iteration: int) -> list[_Unit]:
        """The units of an iteration for which no other group of it waits."""
        steps = self.plan.workflow.steps
        iterated = self.plan.workflow.iterated
        needed = {edge.step for name in iterated for edge in steps[name].after}
        return [unit for name in iterated if name not in needed for unit in self._units_of(name, iteration)]
