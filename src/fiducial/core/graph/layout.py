"""Steps in rows: each below all that it waits for, iterated ones together, with few crossings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from fiducial.core.check.order import ancestors
from fiducial.core.errors import WorkflowError
from fiducial.core.workflow import Step, Workflow

__all__ = ["Edge", "Layout", "Link", "Node", "job_words", "layout", "loop_words", "previous_edges"]

_SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Edge:
    """``target`` waits for ``source``."""

    source: str
    target: str
    matching: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A step, or the place in a row where a long edge passes."""

    step: str
    edge: Edge | None = None
    row: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """The part of an edge between two neighbouring rows; ``last`` where it arrives."""

    upper: Node
    lower: Node
    edge: Edge
    last: bool


@dataclass(frozen=True)
class Layout:
    """Rows from top to bottom; ``loop`` holds the first and the last row of the iterated steps."""

    rows: list[list[Node]]
    links: list[Link]
    loop: tuple[int, int] | None = None
    row_of: Mapping[str, int] = field(default_factory=dict)


def layout(workflow: Workflow, width: Callable[[str], float], limit: float) -> Layout:
    """Give every step a place.

    Args:
        width: of a step's box, with the space to the next.
        limit: how wide a row of boxes may be.

    Raises:
        WorkflowError: the steps wait for each other in a circle.
    """
    row_of = _rows(workflow, width, limit)
    rows: list[list[Node]] = [[] for _ in range(max(row_of.values()) + 1)]
    for name in workflow.steps:
        rows[row_of[name]].append(Node(name))
    links = [link for edge in edges(workflow) for link in _route(edge, row_of, rows)]
    for sweep in range(_SWEEPS):
        _untangle(rows, links, downwards=sweep % 2 == 0)
    iterated = [row_of[name] for name in workflow.iterated]
    return Layout(rows, links, (min(iterated), max(iterated)) if iterated else None, row_of)


def edges(workflow: Workflow) -> list[Edge]:
    """What waits for what, without what follows from the rest: a -> c beside a -> b -> c."""
    return [
        Edge(after.step, name, after.matching)
        for name, step in workflow.steps.items()
        for after in step.after
        if after.step in workflow.steps and (after.matching or not _implied(workflow, step, after.step))
    ]


def _implied(workflow: Workflow, step: Step, source: str) -> bool:
    return any(source in ancestors(workflow, after.step) for after in step.after if after.step != source)


def previous_edges(workflow: Workflow) -> list[Edge]:
    """Which steps take a file of the iteration before."""
    found = [
        Edge(wanted.source or "", name)
        for name, step in workflow.steps.items()
        for wanted in step.inputs.values()
        if wanted.previous and wanted.source in workflow.steps
    ]
    return list(dict.fromkeys(found))


def job_words(step: Step, count: int | None) -> str:
    """``200 jobs``, or ``many jobs`` where the number is not known."""
    if count is None:
        return "1 job" if step.fanout is None else "many jobs"
    return "1 job" if count == 1 else f"{count:,} jobs"


def loop_words(workflow: Workflow) -> str:
    """``until fit.shift < 0.1, at most 10 iterations``."""
    iteration = workflow.iteration
    if iteration is None:
        return "iterated"
    until = f"until {iteration.until}, at most " if iteration.until else ""
    return f"{until}{iteration.max} iteration{'' if str(iteration.max) == '1' else 's'}"


def _rows(workflow: Workflow, width: Callable[[str], float], limit: float) -> dict[str, int]:
    rows: dict[str, int] = {}
    used: dict[int, float] = {}
    first = 0
    parts = _parts(workflow)
    for part in range(3):
        for name in [name for name in _sorted(workflow) if parts[name] == part]:
            parents = [rows[after.step] + 1 for after in workflow.steps[name].after if after.step in rows]
            row = max([first, *parents])
            while used.get(row, 0) and used[row] + width(name) > limit:
                row += 1
            rows[name] = row
            used[row] = used.get(row, 0) + width(name)
        first = max(rows.values(), default=-1) + 1
    return rows


def _parts(workflow: Workflow) -> dict[str, int]:
    """0: before the iterations or beside them; 1: in them; 2: afterwards."""
    before = frozenset().union(*(ancestors(workflow, name) for name in workflow.iterated))
    parts: dict[str, int] = {}
    for name in _sorted(workflow):
        step = workflow.steps[name]
        late = any(parts.get(after.step, 0) > 0 for after in step.after)
        # What is not iterated but lies between iterated steps is a mistake; it is drawn where it lies.
        parts[name] = 1 if step.iterate or (late and name in before) else 2 if late else 0
    return parts


def _sorted(workflow: Workflow) -> list[str]:
    """Steps in an order in which each follows those it waits for, else as written."""
    done: dict[str, None] = {}
    left = list(workflow.steps)
    while left:
        ready = [
            n for n in left if all(a.step in done or a.step not in workflow.steps for a in workflow.steps[n].after)
        ]
        if not ready:
            raise WorkflowError(f"steps wait for each other in a circle: {', '.join(left)}")
        done.update(dict.fromkeys(ready))
        left = [name for name in left if name not in done]
    return list(done)


def _route(edge: Edge, row_of: Mapping[str, int], rows: list[list[Node]]) -> list[Link]:
    """An edge cut at every row that it passes; adds the places where it does."""
    passed = [Node(edge.target, edge, row) for row in range(row_of[edge.source] + 1, row_of[edge.target])]
    stops = [Node(edge.source), *passed, Node(edge.target)]
    for node in passed:
        rows[node.row].append(node)
    return [Link(a, b, edge, place == len(passed)) for place, (a, b) in enumerate(pairwise(stops))]


def _untangle(rows: list[list[Node]], links: list[Link], *, downwards: bool) -> None:
    """Sort each row by the mean place of what its nodes are linked to in the row before."""
    pairs = list(pairwise(rows))
    for fixed, moved in pairs if downwards else [(lower, upper) for upper, lower in reversed(pairs)]:
        place = {node: index for index, node in enumerate(fixed)}
        ends = [(link.upper, link.lower) if downwards else (link.lower, link.upper) for link in links]
        near: dict[Node, list[int]] = {}
        for anchor, node in ends:
            if anchor in place:
                near.setdefault(node, []).append(place[anchor])
        means = {
            node: sum(near[node]) / len(near[node]) if node in near else float(index)
            for index, node in enumerate(moved)
        }
        moved.sort(key=means.__getitem__)
