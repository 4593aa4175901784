"""Node files: what the jobs of a group do, in one text with placeholders that the runner fills in.

Their form is described in ``runner/runner.py``. Where placeholders do not do, because a template computes with a job's
own values, the jobs are described line by line beside the node file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from fiducial.batch.planned.plan import Group, Plan
from fiducial.batch.planned.symbols import Symbol, dependent, only_places, plain, strings
from fiducial.core.errors import WorkflowError
from fiducial.core.jobspec import EVERY, LAST, Artifact, JobFacts, StepRenderer, given_path
from fiducial.core.plan import SINGLE, Instance, fanout_names
from fiducial.core.retry import decide
from fiducial.core.workflow import Input, Step
from fiducial.runner import runner

__all__ = ["NodeFile", "ladder", "retries"]

#: What stands for the campaign's folder while templates are rendered: a path, so that those below it stay as they are.
_FOLDER = Path("/@{folder}")
_KEY = "@{key}"
#: What is known only when an attempt starts.
_LATE = ("attempt", "memory_mb")
#: Names of a job's files in templates.
_FILES = ("input", "inputs", "output", "outputs")
#: Values that can stand as words of a command without any quoting.
_SIMPLE = re.compile(r"[\w.+=@/:,-]+", re.ASCII)
#: Causes that DAGMan never hears of: HTCondor starts such jobs again by itself.
_UNHEARD = frozenset({"ok", "lost", "stopped", "refused"})
#: Jobs for which the placeholders are held against what they stand for.
_SAMPLES = 25


def retries(step: Step) -> int:
    """How often DAGMan may try a node of a step again: as often as any cause allows; the runner ends it sooner."""
    causes = {*runner.EXIT_CODES, *step.retry.by_cause} - _UNHEARD
    return max(step.retry.allowed(cause) for cause in causes)


def ladder(step: Step, cause: str) -> list[Any]:
    """Memory (bytes, for the cause ``memory``) or wall time (s, ``wall_time``) by the number of the retry."""
    steps: list[Any] = [step.resources.memory if cause == "memory" else step.resources.wall_seconds()]
    while len(steps) <= retries(step):
        steps.append(_more(step, cause, steps[-1]))
    return steps


def _more(step: Step, cause: str, limit: float | None) -> float | None:
    if limit is None:
        return None
    if cause == "memory":
        return decide(step, cause, None, {}, memory=int(limit)).memory or limit
    return decide(step, cause, None, {}, walltime=limit).walltime or limit


@dataclass
class _Foretold:
    """What other jobs will have published: a path where it is known, and a placeholder where only the node can tell.

    Args:
        numbers: places among the step's inputs of those that other steps publish, in their order.
        facts: the job that is rendered.
        renderer: of the steps.
    """

    plan: Plan
    numbers: Iterator[int]
    facts: JobFacts
    renderer: Callable[[str], StepRenderer]

    def artifacts(self, step: str, iteration: int, output: str, key: str | None) -> Sequence[Artifact]:
        """One file that stands for all; see `fiducial.core.jobspec.Published`."""
        number = next(self.numbers)
        if _is_open(self.plan, step, iteration, output, key):
            return [Artifact(f"@{{inputs.{number}}}", 0, "")]
        at = self.plan.max_iterations if iteration == LAST else iteration
        values = _late() if key == SINGLE else self.facts.values
        facts = JobFacts(0, 0, step, at, key or "", values)
        return [Artifact(self.renderer(step).output_paths(facts)[output], 0, "")]


def _late() -> dict[str, Symbol]:
    return {name: Symbol(name) for name in _LATE}


def _is_open(plan: Plan, step: str, iteration: int, output: str, key: str | None) -> bool:
    """Whether only the node can tell which files these are."""
    files = plan.workflow.steps[step].outputs[output].files
    unknown = iteration == EVERY or (iteration == LAST and plan.until is not None)
    return key is None or unknown or bool(files)


class NodeFile:
    """The node file of a group.

    Args:
        place: of the campaign's folder, as nodes find it: ``.`` where it is the DAG's own.

    Raises:
        WorkflowError: a template computes with what only the node knows.
    """

    def __init__(self, plan: Plan, group: Group, place: str = ".") -> None:
        self.plan, self.group, self.place = plan, group, place
        self.step = plan.workflow.steps[group.step]
        self._renderers: dict[tuple[str, Path], StepRenderer] = {}
        self._must_leave_open()
        self._kinds = {name: _kind(value) for name, value in self._samples[0].values.items()}

    def text(self) -> str:
        """What the file says."""
        step = self.step
        causes = {cause: step.retry.allowed(cause) for cause in runner.EXIT_CODES if cause not in _UNHEARD}
        most = retries(step)
        content = {
            "format": 1,
            "folder": self.place,
            "values": {name: kind for name, kind in self._kinds.items() if kind},
            "jobs": self.group.jobs,
            "retry": {
                "most": most,
                "causes": {cause: allowed for cause, allowed in causes.items() if allowed != most},
                "final_exit_codes": step.retry.final_exit_codes,
                "memory": _ends_alike(ladder(step, "memory")),
                "wall_time": _ends_alike(ladder(step, "wall_time")),
            },
            "tolerate": self.plan.tolerated(self.group.step, self.group.iteration),
            "job": self.template,
        }
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    def words(self, instance: Instance) -> str | None:
        """What tells a job from others on the command line of the runner; None where that needs a line of its own."""
        if self.template is None:
            return None
        words = []
        for name, value in instance.values.items():
            kind = _kind(value)
            if not kind or kind != self._kinds.get(name) or (kind == "text" and not _SIMPLE.fullmatch(value)):
                return None
            words.append(f"{name}={value}")
        return " ".join(words)

    def line(self, instance: Instance) -> str:
        """A job that words do not describe, as a line of the group's file of jobs."""
        if self.template is None:
            told: dict[str, Any] = {"key": instance.key, "job": self._job(_FOLDER, instance)}
        else:
            told = {"key": instance.key, "values": instance.values}
        return json.dumps(told, ensure_ascii=False) + "\n"

    @cached_property
    def template(self) -> dict[str, Any] | None:
        """What all jobs have in common, with placeholders; None where there is no such text."""
        if not self._may_be_symbolic(self.group.step):
            return None
        symbols: dict[str, Any] = {name: Symbol(name) for name in fanout_names(self.step.fanout)}
        try:
            template = self._job(_FOLDER, Instance(_KEY, symbols))
        except (WorkflowError, TypeError, AttributeError):
            return None
        return template if all(self._is_same(template, instance) for instance in self._samples) else None

    def _is_same(self, template: Mapping[str, Any], instance: Instance) -> bool:
        names = {**instance.values, "folder": str(self.plan.folder), "key": instance.key}
        real = self._job(self.plan.folder, instance)
        return bool(runner.filled(dict(template), names) == runner.filled(real, names))

    @cached_property
    def _samples(self) -> list[Instance]:
        """Some of the jobs: the first, the last, and others between them."""
        total = self.plan.total(self.group.step, self.group.iteration)
        every = max(1, total // _SAMPLES)
        wanted = {0, total - 1, *range(0, total, every)}
        made = self.plan.instances(self.group.step, self.group.iteration)
        return [instance for place, instance in enumerate(made) if place in wanted]

    # ------------------------------------------------------------------------------------------- what may be symbolic

    def _texts(self, step: str) -> list[str]:
        """All templates of a step."""
        not_templates = {"description", "variables", "fanout", "after", "metrics", "resources", "retry"}
        own = self.plan.workflow.steps[step].model_dump(exclude=not_templates)
        return [*strings(own), self.plan.workflow.environment_script or ""]

    def _only_places(self, step: str, names: set[str], symbols: set[str]) -> str:
        """The first template that does more with the names, or with what depends on them; empty if none does."""
        late = self.plan.scope.late(self.plan.workflow.steps[step].variables, f"steps.{step}")
        known = dependent(names, late)
        texts = [*self._texts(step), *(text for one in late if one.name in known for text in strings(one.value))]
        return next((text for text in texts if not only_places(text, known, symbols)), "")

    def _may_be_symbolic(self, step: str) -> bool:
        one = self.plan.workflow.steps[step]
        own = {*fanout_names(one.fanout), "job"}
        if self._only_places(step, own | set(_FILES), own):
            return False
        sources = {wanted.source for wanted in one.inputs.values()}
        return all(self._may_be_symbolic(edge.step) for edge in one.after if edge.matching and edge.step in sources)

    def _must_leave_open(self) -> None:
        names = {*_LATE, *self._open_inputs()}
        wrong = self._only_places(self.group.step, names, set(_LATE))
        if wrong:
            shown = wrong.strip() if len(wrong) <= 60 else f"{wrong.strip()[:57]}…"
            raise WorkflowError(
                f"steps.{self.group.step}: '{shown}' computes with what only the node of a DAG will know: "
                f"{', '.join(sorted(names & self._named(wrong)) or sorted(names))}",
                hint="put the value in its place as it is, and let the payload compute",
            )

    @staticmethod
    def _named(text: str) -> set[str]:
        return set(re.findall(r"inputs?(?:\.\w+)?|attempt|memory_mb", text))

    def _open_inputs(self) -> Iterator[str]:
        for place, (name, wanted) in enumerate(self.step.inputs.items()):
            if given_path(wanted, self.group.iteration) is not None:
                continue
            found = self._found(wanted)
            if _is_open(self.plan, wanted.source or "", found["at"], found["output"], found["key"]):
                yield f"inputs.{name}"
                if place == 0:
                    yield "input"

    # -------------------------------------------------------------------------------------------------- one job

    def _job(self, folder: Path, instance: Instance) -> dict[str, Any]:
        """The specification of a job, as a node file holds it."""
        values = {"job": Symbol("key") if instance.key == _KEY else instance.key, **_late(), **instance.values}
        facts = JobFacts(0, 0, self.group.step, self.group.iteration, instance.key, values)
        published = [place for place, _ in self._published]
        foretold = _Foretold(self.plan, iter(published), facts, lambda step: self._renderer(step, folder))
        spec = plain(self._renderer(self.group.step, folder).spec(facts, foretold))
        for place, wanted in self._published:
            spec = self._with_found(spec, place, wanted)
        del spec["job"], spec["attempt"], spec["resources"]["memory"]
        spec["limits"] = {name: limit for name, limit in spec["limits"].items() if name in ("cpu_time", "disk")}
        traces = f"{_FOLDER}/.fiducial/{self.group.step}/{self.group.iteration:02d}"
        spec["directory"] = f"{traces}/@{{key}}.@{{attempt}}"
        if "script" in spec:  # for people, line by line
            spec["script"] = spec["script"].split("\n")
        return dict(_replaced(spec, str(_FOLDER), "@{folder}"))

    def _renderer(self, step: str, folder: Path) -> StepRenderer:
        if (step, folder) not in self._renderers:
            scope = self.plan.scope_at(str(folder))
            self._renderers[step, folder] = StepRenderer(self.plan.workflow, step, scope, folder, self.plan.ledger)
        return self._renderers[step, folder]

    @cached_property
    def _published(self) -> list[tuple[int, Input]]:
        """The inputs that other steps publish, with their places."""
        wanted = enumerate(self.step.inputs.values())
        return [(place, one) for place, one in wanted if given_path(one, self.group.iteration) is None]

    def _found(self, wanted: Input) -> dict[str, Any]:
        """Where a node looks for an input: in which iteration (``at``, as in a rendering), for which job and output."""
        source = wanted.source or ""
        parent = self.plan.workflow.steps[source]
        at = 0
        if parent.iterate:
            at = EVERY if wanted.every else self.group.iteration - wanted.previous if self.step.iterate else LAST
        matching = any(edge.step == source and edge.matching for edge in self.step.after)
        key = _KEY if matching else SINGLE if parent.fanout is None else None
        output = parent.output_key(wanted.output)
        many = key is None or at == EVERY or bool(parent.outputs[output].files)
        return {"at": at, "key": key, "output": output, "many": many}

    def _with_found(self, spec: dict[str, Any], place: int, wanted: Input) -> dict[str, Any]:
        """The specification with an entry that the node resolves by the results of other jobs."""
        found = self._found(wanted)
        entry, at = spec["inputs"][place], found.pop("at")
        sign, link = f"@{{inputs.{place}}}", entry["name"]
        if link and found["many"]:
            link = link.rpartition("/")[0]
            spec = _replaced(spec, f"{link}/{sign}", sign)
        spec["inputs"][place] = {
            "from": f"@{{folder}}/.fiducial/{wanted.source}",
            "iteration": self._shown(at),
            **found,
            "name": link,
            "least": self._least(wanted.source or "", 1 if at < 0 else at) if found["key"] is None else 1,
        }
        return spec

    def _shown(self, at: int) -> int | str:
        """An iteration as the node file names it."""
        if at == LAST:
            return "last" if self.plan.until else self.plan.max_iterations
        return "every" if at == EVERY else at

    def _least(self, source: str, iteration: int) -> int:
        return max(1, self.plan.total(source, iteration) - self.plan.tolerated(source, iteration))


def _kind(value: Any) -> str:
    """How a value can stand as a word; empty if it cannot."""
    if isinstance(value, bool):
        return ""
    return "int" if isinstance(value, int) else "text" if isinstance(value, str) else ""


def _ends_alike(steps: Sequence[Any]) -> list[Any] | None:
    """The same without repeats at its end, but for one that says that there is no more; None for no limit."""
    if steps[0] is None:
        return None
    shown = list(islice(steps, len(steps)))
    while len(shown) > 2 and shown[-1] == shown[-2] == shown[-3]:
        shown.pop()
    return shown


def _replaced(value: Any, old: str, new: str) -> Any:
    """A tree with a part of its texts replaced."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return value
