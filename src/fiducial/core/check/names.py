"""Every name in every template: whether it is known there, and whether every variable is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import nodes

from fiducial.core.check.report import Report
from fiducial.core.errors import WorkflowError
from fiducial.core.plan import CAMPAIGN_NAMES, JOB_NAMES, fanout_names
from fiducial.core.variables import is_template, nearest, syntax_tree, variables_in
from fiducial.core.workflow import Fanout, Step, Workflow

__all__ = ["check"]

#: Names of files; they are known only once the paths are.
_FILE_NAMES = frozenset({"input", "inputs", "output", "outputs"})
_TABLE_METHODS = frozenset({"get", "items", "keys", "values"})

#: A place and the text that stands there.
_Text = tuple[str, str]


@dataclass(frozen=True)
class Uses:
    """What a template refers to, each with its line in the template."""

    names: Mapping[str, int]
    attributes: list[tuple[str, str, int]] = field(default_factory=list)


@lru_cache(maxsize=1024)
def uses(text: str) -> Uses:
    """Names that a template takes from outside, and attributes of ``inputs`` and ``outputs``.

    Raises:
        WorkflowError: the template's syntax is off.
    """
    outside = variables_in(text)
    tree = syntax_tree(text)
    rows: dict[str, int] = {}
    for name in tree.find_all(nodes.Name):
        if name.name in outside:
            rows.setdefault(name.name, name.lineno)
    attributes = [
        (node.node.name, node.attr, node.lineno)
        for node in tree.find_all(nodes.Getattr)
        if isinstance(node.node, nodes.Name) and node.attr not in _TABLE_METHODS
    ]
    attributes += [
        (node.node.name, str(node.arg.value), node.lineno)
        for node in tree.find_all(nodes.Getitem)
        if isinstance(node.node, nodes.Name) and isinstance(node.arg, nodes.Const)
    ]
    return Uses(rows, [found for found in attributes if found[0] in {"inputs", "outputs"} & outside])


def check(report: Report, overrides: Mapping[str, Any]) -> None:
    """Look at all templates of a workflow."""
    checker = _Checker(report, overrides)
    checker.variables()
    checker.campaign()
    for name, step in report.workflow.steps.items():
        checker.step(name, step)
    checker.unused()


class _Checker:
    def __init__(self, report: Report, overrides: Mapping[str, Any]) -> None:
        self.report = report
        self.workflow: Workflow = report.workflow
        self.overrides = overrides
        self.shared: dict[str, Any] = {**self.workflow.variables, **overrides}
        self.used: set[str] = set()
        self.job_names = JOB_NAMES.union(
            *(fanout_names(step.fanout) | step.variables.keys() for step in self.workflow.steps.values())
        )

    def variables(self) -> None:
        for name in self.overrides:
            if name not in self.workflow.variables:
                advice = nearest(name, self.workflow.variables)
                self.report.error("", f"variable '{name}' is set, but the workflow has none of this name", advice)
        for name, value in self.shared.items():
            where = f"variables.{name}"
            self._name(where, name)
            everything = (CAMPAIGN_NAMES | self.shared.keys() | self.job_names) - {name}
            for place, text in templates(value, where):
                self._look(place, text, everything, "")

    def campaign(self) -> None:
        before = self._reachable(CAMPAIGN_NAMES - {"campaign", "folder"})
        self._look("campaign", self.workflow.campaign, before, "")
        self._look("folder", self.workflow.folder, before | {"campaign"}, "")
        everything = self._reachable(CAMPAIGN_NAMES)
        if self.workflow.iteration is not None:
            for place, text in templates(self.workflow.iteration.max, "iteration.max"):
                self._look(place, text, everything, "")
        for place, text in templates(self.workflow.environment_script, "environment_script"):
            self._look(place, text, everything | JOB_NAMES | self.job_names, "")

    def step(self, name: str, step: Step) -> None:
        where = f"steps.{name}"
        for variable in step.variables:
            self._name(f"{where}.variables.{variable}", variable)
        if step.fanout is not None:
            self._fanout(f"{where}.fanout", step.fanout)
        own = fanout_names(step.fanout) | step.variables.keys()
        inside = self._reachable(CAMPAIGN_NAMES | (JOB_NAMES - _FILE_NAMES) | own)
        for place, text in early_texts(where, step):
            self._look(place, text, inside, name)
        given = {"input", "inputs"} if step.inputs else set()
        given |= {"output", "outputs"} if step.outputs else set()
        for place, text in late_texts(where, step, self.report.scripts.get(name)):
            self._look(place, text, inside | given, name)

    def unused(self) -> None:
        for name in self.workflow.variables:
            if name not in self.used and not self.report.failed(f"variables.{name}"):
                self.report.warn(f"variables.{name}", "is never used")
        for step_name, step in self.workflow.steps.items():
            for name in step.variables:
                where = f"steps.{step_name}.variables.{name}"
                if name not in self.used and not self.report.failed(where):
                    self.report.warn(where, "is never used")

    def _name(self, where: str, name: str) -> None:
        if name in JOB_NAMES or name in CAMPAIGN_NAMES:
            self.report.error(where, f"'{name}' is a name that every job has already", "choose another one")
        elif not name.isidentifier():
            self.report.error(where, f"templates cannot refer to '{name}'", "use letters, digits and _")

    def _fanout(self, where: str, fanout: Fanout) -> None:
        known = self._reachable(CAMPAIGN_NAMES | {"iteration"})
        data = fanout.model_dump(by_alias=True, exclude_none=True)
        for place, text in templates(data, where):
            self._look(place, text, known, "")
        taken = fanout_names(fanout) & (JOB_NAMES | CAMPAIGN_NAMES)
        for name in sorted(taken):
            self.report.error(
                where, f"'{name}' is a name that every job has already", 'choose another one with as = "…"'
            )
        named = [key for key in ("files", "runs", "list") if key in data]
        if fanout.name is not None and len(named) > 1:
            self.report.error(f"{where}.as", f"cannot name {' and '.join(named)} at once", "leave it out")

    def _reachable(self, names: Iterable[str]) -> frozenset[str]:
        """``names`` and the shared variables that can be filled in with them."""
        known = set(names)
        waiting = {name: _needs(value) for name, value in self.shared.items() if name not in known}
        while ready := [name for name, needs in waiting.items() if needs <= known]:
            known.update(ready)
            for name in ready:
                del waiting[name]
        return frozenset(known)

    def _look(self, where: str, text: str, known: frozenset[str], step: str) -> None:
        if not is_template(text):
            return
        try:
            found = uses(text)
        except WorkflowError as error:
            self.report.error(where, error.message, error.hint)
            return
        self.used |= found.names.keys()
        for name, row in found.names.items():
            if name not in known:
                message, suggestion = self._explain(name, known, step)
                self.report.error(where, message + self._row(where, row), suggestion, row=row)
        if step:
            self._attributes(where, found, self.workflow.steps[step])

    def _attributes(self, where: str, found: Uses, step: Step) -> None:
        for base, attribute, row in found.attributes:
            names: Mapping[str, Any] = step.inputs if base == "inputs" else step.outputs
            if names and attribute not in names:
                advice = nearest(attribute, names) or f"this step has {', '.join(names)}"
                message = f"there is no {base}.{attribute}" + self._row(where, row)
                self.report.error(where, message, advice, row=row)

    def _row(self, where: str, row: int) -> str:
        """Where in the template's own file a mistake is."""
        if not where.endswith(".template"):
            return ""
        return f" in line {row} of {self.workflow.steps[where.split('.')[1]].template}"

    def _explain(self, name: str, known: frozenset[str], step: str) -> tuple[str, str]:
        if name in self.shared:
            missing = " and ".join(f"'{need}'" for need in sorted(_needs(self.shared[name]) - known))
            return f"variable '{name}' needs {missing}, not known here", ""
        if name in _FILE_NAMES:
            kind = name.rstrip("s")
            if step and not getattr(self.workflow.steps[step], f"{kind}s"):
                return f"'{name}' is not known: this step has no {kind}s", ""
            return f"'{name}' is not known before the step's paths are", ""
        if name in JOB_NAMES:
            return f"'{name}' is known only inside a job", ""
        givers = [other for other, given in self.workflow.steps.items() if name in fanout_names(given.fanout)]
        message = f"unknown variable '{name}'"
        if givers and step:
            return message, f"it belongs to the fan-out of step '{givers[0]}'"
        return message, nearest(name, known) or "set it under [variables]"


def templates(value: Any, where: str) -> Iterator[_Text]:
    """All templates in a value, through lists and tables."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from templates(item, f"{where}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from templates(item, f"{where}.{place}")
    elif is_template(value):
        yield where, value


def early_texts(where: str, step: Step) -> Iterator[_Text]:
    """Templates of a step that are filled in before its files have paths."""
    yield from templates(step.variables, f"{where}.variables")
    for key, wanted in step.inputs.items():
        given = {"path": wanted.path, "initial": wanted.initial, "link": wanted.link}
        yield from templates(given, f"{where}.inputs.{key}")
    for key, made in step.outputs.items():
        yield from templates({"path": made.path, "files": made.files, "check": made.check}, f"{where}.outputs.{key}")


def late_texts(where: str, step: Step, script: str | None) -> Iterator[_Text]:
    """Templates of a step that may refer to its files."""
    if script is not None:
        yield f"{where}.{'script' if step.template is None else 'template'}", script
        yield from templates(step.interpreter, f"{where}.interpreter")
    yield from templates(step.command, f"{where}.command")
    yield from templates(step.call, f"{where}.call")
    yield from templates(step.arguments, f"{where}.arguments")
    yield from templates(step.environment, f"{where}.environment")
    yield from templates(step.environment_script, f"{where}.environment_script")


def _needs(value: Any) -> frozenset[str]:
    try:
        return frozenset().union(*(variables_in(text) for _, text in templates(value, "")))
    except WorkflowError:  # told where the variable is looked at
        return frozenset()
