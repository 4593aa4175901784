"""The DAG file, line by line: nodes, what each waits for, when it is tried again, and when all of it is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from fiducial.batch.dagman.scripts import CONVERGED, FINAL
from fiducial.batch.dagman.submit import Options
from fiducial.batch.planned.nodefile import retries
from fiducial.batch.planned.plan import Group, Plan
from fiducial.core.errors import WorkflowError
from fiducial.runner import runner

__all__ = ["CONFIG", "DagFile", "begin_script"]

#: Suffix of DAGMan's own settings.
CONFIG = ".config"
#: Names of nodes on one line of dependencies.
_A_LINE = 20

Told = Callable[[Group], Iterator[str]]


def begin_script(plan: Plan, iteration: int) -> str:
    """Path of the script before an iteration."""
    return f"{plan.layout.iteration(iteration)}/{plan.layout.begin}"


class DagFile:
    """Writes the lines of a DAG.

    Args:
        told: the lines for the jobs of a group, their nodes and VARS; called once for each group that has nodes.

    Raises:
        WorkflowError: the workflow has a shape that no DAG can have.
    """

    def __init__(self, plan: Plan, options: Options, told: Told) -> None:
        self.plan, self.options, self._told = plan, options, told
        self.once = [group for group in plan.groups(0) if not plan.is_after(group.step)]
        self.after = [group for group in plan.groups(0) if plan.is_after(group.step)]
        self.local = plan.layout.local
        if plan.until:
            _must_be_single(plan, self.after)
        self._usual = self._most_frequent()

    def _most_frequent(self) -> int:
        """The number of retries that most nodes have."""
        found: Counter[int] = Counter()
        for name, step in self.plan.workflow.steps.items():
            if name not in self.local:
                found[retries(step)] += self.plan.total(name, int(step.iterate))
        return found.most_common(1)[0][0]

    def iterations(self) -> range:
        """The numbers of the iterations that there can be."""
        return range(1, self.plan.max_iterations + 1) if self.plan.workflow.iterated else range(0)

    def nodes_of(self, groups: Iterable[Group]) -> list[Group]:
        """Those that have nodes of their own."""
        return [group for group in groups if group.step not in self.local]

    def local_of(self, iteration: int) -> list[Group]:
        """Those that the script before an iteration runs."""
        groups = [*(self.once if iteration == 1 else ()), *self.plan.groups(iteration)]
        return [group for group in groups if group.step in self.local]

    def has_begin(self, iteration: int) -> bool:
        """Whether there is a node between an iteration and what comes before it."""
        if self.local_of(iteration):
            return True
        if iteration == 1:
            return False
        # A single node on either side stands for the dependencies itself, and saves DAGMan a look at its log.
        sides = self._sinks(iteration - 1), self._roots(iteration)
        return bool(self.plan.until) or min(map(self._count, sides)) > 1

    def text(self) -> Iterator[str]:
        """The whole file."""
        yield from self._head()
        yield from self._section("What runs once", self.nodes_of(self.once))
        for iteration in self.iterations():
            yield f"\n# Iteration {self.plan.layout.number(iteration)}\n"
            yield from self._begin(iteration)
            yield from self._groups(self.nodes_of(self.plan.groups(iteration)))
        if not self.plan.until:
            yield from self._section("What comes after the last iteration", self.after)
        yield from self._end()

    def _section(self, title: str, groups: list[Group]) -> Iterator[str]:
        if groups:
            yield f"\n# {title}\n"
            yield from self._groups(groups)

    def _head(self) -> Iterator[str]:
        plan = self.plan
        yield f"# Campaign {plan.name}, for HTCondor's DAGMan. Edit it as you like before you submit it.\n"
        yield "# Submit it in its own folder: ./submit.sh, or condor_submit_dag " + f"{plan.dag}\n"
        yield f"# Watch it: condor_q -dag; tail -f {plan.dag}.dagman.out; fiducial follow FOLDER\n"
        yield "# After a failure the same command goes on with what is left, by DAGMan's rescue file.\n\n"
        yield "# DAGMan's settings. That this file is found says that DAGMan was started in the right folder.\n"
        yield f"CONFIG {plan.dag}{CONFIG}\n"
        yield f"NODE_STATUS_FILE {plan.dag}.status {self.options.status_seconds}\n"
        yield "# The runner exits with the code of a failure's cause, and with "
        yield f"{runner.NO_RETRY} where another attempt would be of no use.\n"
        yield f"RETRY ALL_NODES {self._usual} UNLESS-EXIT {runner.NO_RETRY}\n"
        yield 'VARS ALL_NODES retry="$(RETRY)"\n'
        for name, most in self._limits():
            yield f"MAXJOBS {name} {most}\n"

    def _limits(self) -> Iterator[tuple[str, int]]:
        for name in self.plan.workflow.steps:
            most = self.options.max_jobs.get(name, self.options.max_jobs.get("", 0))
            if most and name not in self.local:
                yield name, most

    # ------------------------------------------------------------------------------------------------------ groups

    def _groups(self, groups: list[Group]) -> Iterator[str]:
        for group in groups:
            step = self.plan.workflow.steps[group.step]
            yield f"# {step.description or group.step}\n"
            yield from self._told(group)
            limited = group.step in dict(self._limits())
            for name in self._names(group) if limited or step.priority or retries(step) != self._usual else ():
                if retries(step) != self._usual:
                    yield f"RETRY {name} {retries(step)} UNLESS-EXIT {runner.NO_RETRY}\n"
                if step.priority:
                    yield f"PRIORITY {name} {step.priority}\n"
                if limited:
                    yield f"CATEGORY {name} {group.step}\n"
            yield from self._dependencies(group)

    def _names(self, group: Group) -> Iterator[str]:
        return (group.node(instance.key) for instance in self.plan.instances(group.step, group.iteration))

    def _count(self, groups: Iterable[Group]) -> int:
        return sum(self.plan.total(group.step, group.iteration) for group in groups)

    def _dependencies(self, group: Group) -> Iterator[str]:
        parents = []
        for edge in self.plan.workflow.steps[group.step].after:
            parent = self._parent(edge.step, group.iteration)
            if parent is None:
                continue
            if edge.matching and self.plan.workflow.steps[edge.step].iterate == (group.iteration > 0):
                yield from self._pairs(parent, group)
            else:
                parents.append(parent)
        if parents:
            yield from self._all(parents, group)

    def _parent(self, step: str, iteration: int) -> Group | None:
        """The group of a step that one of an iteration waits for by an edge of its own; None where others see to it."""
        iterated = self.plan.workflow.steps[step].iterate
        if step in self.local or (iteration > 0 and not iterated and (iteration > 1 or self.has_begin(1))):
            return None
        if iterated and not iteration:
            return self.plan.group(step, self.plan.max_iterations)
        return self.plan.group(step, iteration if iterated else 0)

    def _pairs(self, parent: Group, child: Group) -> Iterator[str]:
        for name, other in zip(self._names(parent), self._names(child), strict=True):
            yield f"PARENT {name} CHILD {other}\n"

    def _all(self, parents: list[Group], child: Group) -> Iterator[str]:
        """Every node of a group waits for all of some others: through a node that does nothing, if both are many."""
        names = chain.from_iterable(map(self._names, parents))
        if self._count(parents) == 1 or self._count([child]) == 1:
            yield from _edges(names, self._names(child), one_parent=self._count(parents) == 1)
            return
        join = f"{child.prefix}.join"
        yield f"# {join} does nothing, and stands for all dependencies between its parents and its children\n"
        yield f"JOB {join} {child.submit} NOOP\n"
        yield from _edges(names, iter([join]), one_parent=False)
        yield from _edges(iter([join]), self._names(child), one_parent=True)

    # --------------------------------------------------------------------------------------------------- iterations

    def _begin(self, iteration: int) -> Iterator[str]:
        """The node before an iteration."""
        roots = self._roots(iteration)
        before = self._before(iteration)
        if not self.has_begin(iteration):
            if iteration > 1:
                parents, children = map(self._all_names, (before, roots))
                yield from _edges(parents, children, one_parent=self._count(before) == 1)
            return
        name = self.begin_node(iteration)
        submit = (roots or self.nodes_of(self.plan.groups(iteration)))[0].submit
        done = " DONE" if self._is_begun(iteration) else ""
        yield f"# {name} is no job: it waits for all that comes before, and begins the iteration by its script\n"
        yield f"JOB {name} {submit} NOOP{done}\n"
        if self.needs_script(iteration):
            yield f"SCRIPT PRE {name} {begin_script(self.plan, iteration)} $RETRY\n"
        if iteration > 1 and self.plan.until:
            yield f"# Converged: {self.plan.until}\n"
            yield f"ABORT-DAG-ON {name} {CONVERGED} RETURN 0\n"
        if before:
            yield from _edges(self._all_names(before), iter([name]), one_parent=False)
        yield from _edges(iter([name]), self._all_names(roots), one_parent=True)

    def begin_node(self, iteration: int) -> str:
        """Name of the node before an iteration."""
        return f"iter{self.plan.layout.number(iteration):02d}.begin"

    def needs_script(self, iteration: int) -> bool:
        """Whether the node before an iteration has anything to do."""
        return bool(self.local_of(iteration)) or (iteration > 1 and bool(self.plan.until))

    def _is_begun(self, iteration: int) -> bool:
        """Whether an iteration was begun before the DAG was written."""
        groups = [group for group in self.plan.groups(iteration) if group.step in self.local] or self._roots(iteration)
        return any(self.plan.done.get((group.step, group.iteration)) for group in groups)

    def _all_names(self, groups: Iterable[Group]) -> Iterator[str]:
        return chain.from_iterable(map(self._names, groups))

    def _before(self, iteration: int) -> list[Group]:
        """What must be done before an iteration begins."""
        once = self.nodes_of(self.once)
        if iteration == 1:
            behind = self._ancestors(self.plan.workflow.iterated) | self._ancestors(self.local)
            return [group for group in once if group.step in behind]
        # When the iterations end early, DAGMan removes all that still runs: what runs beside them is waited for.
        beside = [group for group in once if group.step not in self._ancestors(self.plan.workflow.iterated)]
        return [*self._sinks(iteration - 1), *(beside if self.plan.until else ())]

    def _ancestors(self, steps: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(steps)
        while waiting:
            for edge in self.plan.workflow.steps[waiting.pop()].after:
                if edge.step not in found:
                    found.add(edge.step)
                    waiting.append(edge.step)
        return found

    def _roots(self, iteration: int) -> list[Group]:
        """The groups of an iteration that wait for no other node of it."""
        return [group for group in self._iterated(iteration) if not self._parents_in(group.step)]

    def _sinks(self, iteration: int) -> list[Group]:
        """The groups of an iteration for which no other of it waits."""
        needed = set(chain.from_iterable(self._parents_in(group.step) for group in self._iterated(iteration)))
        return [group for group in self._iterated(iteration) if group.step not in needed]

    def _iterated(self, iteration: int) -> list[Group]:
        return self.nodes_of(self.plan.groups(iteration))

    def _parents_in(self, step: str) -> list[str]:
        steps = self.plan.workflow.steps
        return [e.step for e in steps[step].after if steps[e.step].iterate and e.step not in self.local]

    # ---------------------------------------------------------------------------------------------------------- end

    def _end(self) -> Iterator[str]:
        noop = "" if self.final_groups() else " NOOP"
        yield "\n# Runs last, whatever has happened\n"
        yield f"FINAL campaign.final {FINAL[0]}{noop}\n"
        yield 'VARS campaign.final status="$(DAG_STATUS)" retry="$(RETRY)"\n'
        yield f"SCRIPT POST campaign.final {FINAL[2]} $DAG_STATUS $FAILED_COUNT $RETURN\n"

    def final_groups(self) -> list[Group]:
        """What the FINAL node runs: steps behind iterations that may end early; DAGMan then begins no other node."""
        return self.after if self.plan.until else []


def _must_be_single(plan: Plan, after: list[Group]) -> None:
    many = [group.step for group in after if plan.total(group.step, 0) > 1]
    if many:
        raise WorkflowError(
            f"steps.{many[0]}: it has many jobs and comes after iterations that may end early (iteration.until); a DAG"
            " that ends early can run single jobs only",
            hint="leave out iteration.until, or run this step as a workflow of its own",
        )


def _edges(parents: Iterator[str], children: Iterator[str], *, one_parent: bool) -> Iterator[str]:
    """Lines of dependencies, some names each; either side is a single node."""
    single, many = (parents, children) if one_parent else (children, parents)
    one = next(single)
    while names := list(islice(many, _A_LINE)):
        yield f"PARENT {one} CHILD {' '.join(names)}\n" if one_parent else f"PARENT {' '.join(names)} CHILD {one}\n"
