"""What ``until`` asks for, against the metrics that steps declare."""

from __future__ import annotations

from fiducial.core.check.report import Report
from fiducial.core.convergence import WHERE, Reference, references
from fiducial.core.errors import WorkflowError
from fiducial.core.variables import nearest

__all__ = ["check"]


def check(report: Report) -> None:
    """Look at every name in the expression."""
    iteration = report.workflow.iteration
    if iteration is None or iteration.until is None:
        return
    try:
        found = references(iteration.until)
    except WorkflowError as error:
        report.error(WHERE, error.message, error.hint)
        return
    if not any(len(reference.path) and reference.path != ("iteration",) for reference in found):
        report.warn(WHERE, "refers to no metric", "write for example fit.max_shift < 0.1")
    for reference in found:
        _check_reference(report, reference)


def _check_reference(report: Report, reference: Reference) -> None:
    first, *rest = reference.path or ("",)
    if first in report.workflow.steps:
        _check_step(report, reference, first, rest[0] if rest else None)
    elif not (first == "iteration" and not reference.previous):
        _check_bare(report, reference, first)


def _check_step(report: Report, reference: Reference, name: str, metric: str | None) -> None:
    step = report.workflow.steps[name]
    if not step.iterate:
        report.error(WHERE, f"'{reference}': step '{name}' is not iterated")
    elif metric is None:
        report.error(WHERE, f"'{reference}' is a step; name one of its metrics", f"write {reference}.NAME")
    elif not step.metrics:
        advice = f'write metrics = ["{metric}"] there'
        report.warn(WHERE, f"'{reference}': step '{name}' does not say that it reports '{metric}'", advice)
    elif metric not in step.metrics:
        advice = nearest(metric, step.metrics) or f"add it to metrics of steps.{name}"
        report.error(WHERE, f"'{reference}': step '{name}' does not say that it reports '{metric}'", advice)
    elif step.fanout is not None and report.workflow.iteration is not None:
        _check_many(report, reference, report.workflow.iteration.until or "")


def _check_many(report: Report, reference: Reference, until: str) -> None:
    if "|" not in until:
        message = f"'{reference}' has one value of each job, which cannot be compared"
        report.error(WHERE, message, f"write for example {reference} | max")


def _check_bare(report: Report, reference: Reference, metric: str) -> None:
    iterated = {name: report.workflow.steps[name] for name in report.workflow.iterated}
    owners = [name for name, step in iterated.items() if metric in step.metrics]
    declared = [other for step in iterated.values() for other in step.metrics] + list(report.workflow.variables)
    silent = [name for name, step in iterated.items() if not step.metrics]
    if reference.previous:
        advice = f"write previous.{owners[0]}.{metric}" if owners else nearest(metric, iterated)
        report.error(WHERE, f"'{reference}': after 'previous' comes a step", advice)
    elif len(owners) > 1:
        report.error(WHERE, f"'{metric}' is a metric of {' and of '.join(owners)}", f"write {owners[0]}.{metric}")
    elif not owners and metric in report.workflow.variables:
        return
    elif not owners and silent:
        report.warn(WHERE, f"no step says that it reports '{metric}'", nearest(metric, [*declared, *iterated]))
    elif not owners:
        report.error(WHERE, f"no step reports '{metric}'", nearest(metric, [*declared, *iterated]))
    elif iterated[owners[0]].fanout is not None and report.workflow.iteration is not None:
        _check_many(report, reference, report.workflow.iteration.until or "")
