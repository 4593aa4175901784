"""When the iterations of a campaign are enough: the expression ``until``, over metrics that jobs reported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType, SimpleNamespace
from typing import Any

from jinja2 import nodes

from fiducial.core.errors import WorkflowError
from fiducial.core.variables import evaluate, expression_names, nearest, syntax_tree

__all__ = ["WHERE", "Reference", "converged", "references"]

#: The expression's place in a workflow.
WHERE = "iteration.until"

_Metrics = Mapping[str, Mapping[str, Sequence[float]]]  # step -> metric -> value of each job


class _One(float):
    """The value of the only job; ``| max`` works on it as on the values of many."""

    def __iter__(self) -> Iterator[float]:
        yield float(self)

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Reference:
    """What an expression refers to: ``fit.chi2`` is ``("fit", "chi2")``.

    Args:
        previous: whether it is that of the iteration before.
    """

    path: tuple[str, ...]
    previous: bool = False

    def __str__(self) -> str:
        return ".".join(["previous"] * self.previous + list(self.path))


@lru_cache(maxsize=256)
def references(until: str) -> tuple[Reference, ...]:
    """Everything that an expression refers to, each once.

    Raises:
        WorkflowError: the expression's syntax is off.
    """
    outside = expression_names(until)
    found = (_chain(node) for node in _chains(syntax_tree("{{ " + until + " }}")))
    kept = dict.fromkeys(path for path in found if path[0] in outside)
    return tuple(Reference(path[1:], True) if path[0] == "previous" else Reference(path) for path in kept)


def converged(
    until: str, metrics: Mapping[int, _Metrics], iteration: int, variables: Mapping[str, Any] = MappingProxyType({})
) -> bool:
    """Whether ``until`` holds after an iteration.

    A step is a name and its metrics are its attributes: a number, or, where several jobs reported, a list. A metric
    that only one step has may stand alone. ``previous.step.metric`` is that of the iteration before; in the first
    iteration there is none, and nothing has converged. Neither has anything while a metric that counts is not finite.

    Args:
        metrics: values of the jobs, by iteration, step and metric.
        variables: of the campaign; steps and metrics of the same name go before them.

    Raises:
        WorkflowError: a name that no job reported, or an expression that cannot be evaluated.
    """
    now, before = metrics.get(iteration, {}), metrics.get(iteration - 1, {}) if iteration > 1 else {}
    values: list[float] = []
    for reference in references(until):
        if _is_variable(reference, now, variables):
            continue
        if reference.previous:
            # A name that is wrong is wrong in the first iteration already.
            values += _values(reference, before or now, iteration)
        else:
            values += _values(reference, now, iteration)
    if any(reference.previous for reference in references(until)) and not before:
        return False
    if not all(map(math.isfinite, values)):
        return False
    return _holds(until, {**variables, **_context(now, before, iteration)}, iteration)


def _is_variable(reference: Reference, now: _Metrics, variables: Mapping[str, Any]) -> bool:
    first = reference.path[0] if reference.path else ""
    return not reference.previous and first in variables and first not in now and first not in _owners(now)


def _holds(until: str, context: Mapping[str, Any], iteration: int) -> bool:
    try:
        result = evaluate(until, context, WHERE)
    except WorkflowError as error:
        many = [reference for reference in references(until) if isinstance(_looked_up(reference, context), list)]
        if not many or error.hint:
            raise
        hint = f"{many[0]} has one value of each job; write for example {many[0]} | max"
        raise WorkflowError(error.message, hint=hint) from None
    return bool(result) and not (isinstance(result, float) and math.isnan(result))


def _looked_up(reference: Reference, context: Mapping[str, Any]) -> Any:
    value: Any = SimpleNamespace(**context)
    for name in str(reference).split("."):
        value = getattr(value, name, None)
    return value


def _context(now: _Metrics, before: _Metrics, iteration: int) -> dict[str, Any]:
    bare = {metric: _value(now[steps[0]][metric]) for metric, steps in _owners(now).items() if len(steps) == 1}
    return bare | _steps(now) | {"iteration": iteration, "previous": SimpleNamespace(**_steps(before))}


def _steps(metrics: _Metrics) -> dict[str, Any]:
    return {
        step: SimpleNamespace(**{name: _value(values) for name, values in named.items()})
        for step, named in metrics.items()
    }


def _value(values: Sequence[float]) -> Any:
    return _One(values[0]) if len(values) == 1 else list(values)


def _owners(metrics: _Metrics) -> dict[str, list[str]]:
    """Which steps report each metric."""
    owners: dict[str, list[str]] = {}
    for step, named in metrics.items():
        for metric in named:
            owners.setdefault(metric, []).append(step)
    return owners


def _values(reference: Reference, metrics: _Metrics, iteration: int) -> list[float]:
    """All numbers that a reference stands for.

    Raises:
        WorkflowError: there are none.
    """
    first, *rest = reference.path or ("",)
    if first in metrics:
        named = metrics[first]
        if rest and rest[0] not in named:
            raise _unknown(reference, rest[0], named, f"step '{first}' reported no metric '{rest[0]}'", iteration)
        chosen = [named[rest[0]]] if rest else list(named.values())
        return [value for values in chosen for value in values]
    owners = _owners(metrics).get(first, [])
    if len(owners) == 1 and not reference.previous:
        return list(metrics[owners[0]][first])
    if len(owners) > 1:
        raise WorkflowError(
            f"{WHERE}: '{first}' is a metric of several steps: {', '.join(owners)}", hint=f"write {owners[0]}.{first}"
        )
    if first == "iteration" and not reference.previous:
        return [iteration]
    known = [*metrics, *_owners(metrics), "iteration", "previous"]
    raise _unknown(reference, first, known, f"neither a step nor a metric '{first}' reported a number", iteration)


def _unknown(reference: Reference, name: str, known: Any, message: str, iteration: int) -> WorkflowError:
    hint = nearest(name, known) or "reported: " + (", ".join(known) or "nothing")
    return WorkflowError(f"{WHERE}: '{reference}': {message} in iteration {iteration}", hint=hint)


def _chains(node: nodes.Node) -> Iterator[nodes.Node]:
    """The outermost ``a.b.c`` of a tree."""
    if _chain(node):
        yield node
        return
    for child in node.iter_child_nodes():
        yield from _chains(child)


def _chain(node: nodes.Node) -> tuple[str, ...]:
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        inner = _chain(node.node)
        return (*inner, node.attr) if inner else ()
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        inner = _chain(node.node)
        return (*inner, node.arg.value) if inner else ()
    return ()
