"""What the nodes of a DAG have left: results by step and iteration, and the metrics in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fiducial.batch.planned.plan import Plan
from fiducial.core.convergence import converged, references
from fiducial.runner import runner

__all__ = ["counts", "enough", "metrics", "results"]

Metrics = dict[str, dict[str, list[float]]]


def results(plan: Plan, step: str, iteration: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The latest result of each job of a group, in their order; empty where there is none."""
    folder = plan.folder / ".fiducial" / step / f"{iteration:02d}"
    for instance in plan.instances(step, iteration):
        yield instance.key, _latest(folder, instance.key)


def _latest(folder: Path, key: str) -> dict[str, Any]:
    """The result that counts: of an attempt that is done, or else of the last that has ended."""
    ended: dict[str, Any] = {}
    for attempt in range(runner.last_attempt(f"{folder}/{key}"), 0, -1):
        result = runner.read_result(f"{folder}/{key}.{attempt}")
        if result.get("state") == "done":
            return result
        ended = ended or result
    return ended


def metrics(plan: Plan, iteration: int, steps: Iterable[str]) -> Metrics:
    """What steps have reported in an iteration: step, metric, values of the jobs in their order."""
    found: Metrics = {}
    for step in steps:
        for _, result in results(plan, step, iteration):
            for name, value in (result.get("metrics") or {}).items() if result.get("state") == "done" else ():
                found.setdefault(step, {}).setdefault(name, []).append(float(value))
    return found


def enough(plan: Plan, iteration: int) -> bool:
    """Whether the iterations are enough after this one: the same decision as that of the engine.

    Raises:
        WorkflowError: a metric was not reported, or the condition cannot be evaluated.
    """
    if not plan.until:
        return False
    steps = _asked(plan)
    values: Mapping[int, Metrics] = {n: metrics(plan, n, steps) for n in (iteration - 1, iteration) if n > 0}
    return converged(plan.until, values, iteration, plan.scope.known)


def _asked(plan: Plan) -> list[str]:
    """The steps that the condition may mean: a metric that stands alone may be any step's."""
    iterated = plan.workflow.iterated
    named = {reference.path[0] for reference in references(plan.until or "") if reference.path}
    alone = named - set(iterated) - plan.scope.known.keys() - {"iteration"}
    return iterated if alone else [step for step in iterated if step in named]


def counts(plan: Plan, step: str, iteration: int) -> Counter[str]:
    """How many jobs of a group are done, failed, or neither."""
    return Counter(result.get("state", "left") for _, result in results(plan, step, iteration))
