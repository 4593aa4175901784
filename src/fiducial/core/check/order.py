"""What waits for what: unknown steps, circles, inputs that may not be there, iterations."""

from __future__ import annotations

from collections.abc import Iterator

from fiducial.core.check.report import Report
from fiducial.core.variables import nearest
from fiducial.core.workflow import Input, Step, Workflow

__all__ = ["ancestors", "check"]


def check(report: Report) -> None:
    """Look at ``after``, ``from``, ``previous`` and ``iterate``."""
    for name, step in report.workflow.steps.items():
        _check_after(report, name, step)
        for key, wanted in step.inputs.items():
            _check_input(report, name, step, f"steps.{name}.inputs.{key}", wanted)
    for circle in circles(report.workflow):
        report.error(f"steps.{circle[0]}.after", f"steps wait for each other in a circle: {' -> '.join(circle)}")
    _check_iteration(report)


def ancestors(workflow: Workflow, name: str) -> frozenset[str]:
    """All steps that are done before a step starts."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        step = workflow.steps.get(waiting.pop())
        new = {edge.step for edge in step.after} - found if step else set()
        found |= new
        waiting += new
    return frozenset(found)


def circles(workflow: Workflow) -> Iterator[list[str]]:
    """Each circle once, from the step of it that is written first."""
    seen: set[str] = set()
    for name in workflow.steps:
        if name not in seen and name in ancestors(workflow, name):
            circle = _way_back(workflow, name)
            seen.update(circle)
            yield circle


def _way_back(workflow: Workflow, name: str) -> list[str]:
    """The shortest way from a step over those it waits for back to itself."""
    ways = [[name]]
    seen: set[str] = set()
    for way in ways:
        step = workflow.steps.get(way[-1])
        for edge in step.after if step else ():
            if edge.step == name:
                return [*way, name]
            if edge.step not in seen:
                seen.add(edge.step)
                ways.append([*way, edge.step])
    raise ValueError(f"'{name}' is in no circle")


def _check_after(report: Report, name: str, step: Step) -> None:
    seen: set[str] = set()
    for place, edge in enumerate(step.after):
        where = f"steps.{name}.after.{place}"
        if edge.step not in report.workflow.steps:
            report.error(where, f"there is no step '{edge.step}'", nearest(edge.step, report.workflow.steps))
        elif edge.step in seen:
            report.error(where, f"'{edge.step}' stands here twice")
        elif edge.matching:
            _check_matching(report, where, step, edge.step)
        seen.add(edge.step)


def _check_matching(report: Report, where: str, step: Step, parent_name: str) -> None:
    parent = report.workflow.steps[parent_name]
    advice = "leave out matching to wait for all of it"
    if step.fanout is None or parent.fanout is None:
        which = "this step" if step.fanout is None else f"'{parent_name}'"
        report.error(where, f"matching pairs jobs of equal fan-out, and {which} has none", advice)


def _check_input(report: Report, name: str, step: Step, where: str, wanted: Input) -> None:
    if wanted.source is None:
        for key in ("output", "initial", "every"):
            if getattr(wanted, key) not in (None, False):
                report.error(f"{where}.{key}", f"'{key}' goes with 'from'")
        return
    parent = report.workflow.steps.get(wanted.source)
    if parent is None:
        report.error(
            f"{where}.from", f"there is no step '{wanted.source}'", nearest(wanted.source, report.workflow.steps)
        )
        return
    _check_output_name(report, where, wanted, parent)
    if wanted.previous and wanted.every:
        report.error(f"{where}.every", "take the iteration before or every one, not both")
    if wanted.previous:
        _check_previous(report, where, wanted.source, step, parent)
        return
    if wanted.every and (step.iterate or not parent.iterate):
        message = "every iteration can be taken only from an iterated step, by a step that is not"
        report.error(f"{where}.every", message)
    if wanted.initial is not None:
        report.warn(f"{where}.initial", "is not used without previous = true")
    if wanted.source not in ancestors(report.workflow, name):
        already = [edge.step for edge in step.after if edge.step in report.workflow.steps]
        after = ", ".join(f'"{other}"' for other in [*already, wanted.source])
        report.error(
            where,
            f"this step does not wait for '{wanted.source}', so its file may not be there yet",
            f"after = [{after}]",
        )


def _check_output_name(report: Report, where: str, wanted: Input, parent: Step) -> None:
    if not parent.outputs:
        report.error(where, f"step '{wanted.source}' has no outputs")
    elif wanted.output is not None and wanted.output not in parent.outputs:
        known = nearest(wanted.output, parent.outputs) or f"it has {', '.join(parent.outputs)}"
        report.error(f"{where}.output", f"step '{wanted.source}' has no output '{wanted.output}'", known)


def _check_previous(report: Report, where: str, source: str, step: Step, parent: Step) -> None:
    for iterated, who in ((step.iterate, "this step"), (parent.iterate, f"step '{source}'")):
        if not iterated:
            report.error(
                f"{where}.previous", f"there is no iteration before: {who} is not iterated", "set iterate = true"
            )


def _check_iteration(report: Report) -> None:
    workflow = report.workflow
    if workflow.iteration is not None and not workflow.iterated:
        report.error("iteration", "no step is iterated", "set iterate = true in the steps that are to be repeated")
    if workflow.iteration is None and workflow.iterated:
        where = f"steps.{workflow.iterated[0]}.iterate"
        report.error(where, "the workflow does not say how often", "add [iteration] with max = 5")
    iterated = set(workflow.iterated)
    for name in workflow.steps:
        before = [other for other in workflow.iterated if other in ancestors(workflow, name)]
        behind = [other for other in workflow.iterated if name in ancestors(workflow, other)]
        if name not in iterated and before and behind:
            message = f"this step runs once, but lies inside the iterations: after '{before[0]}', before '{behind[0]}'"
            report.error(f"steps.{name}", message, "set iterate = true here too")
