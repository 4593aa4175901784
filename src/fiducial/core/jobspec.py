"""From a job in the ledger to what the runner is told. Pure: what other jobs published is handed in.

The runner's side of the contract is described in ``runner/runner.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fiducial.core.errors import WorkflowError
from fiducial.core.places import attempt_directory
from fiducial.core.plan import SINGLE
from fiducial.core.variables import Scope, fill, render, value_of
from fiducial.core.workflow import Input, Output, Step, Workflow

__all__ = ["EVERY", "LAST", "Artifact", "JobFacts", "Published", "StepRenderer", "attempt_directory", "given_path"]


#: The last iteration that there is, and all of them.
LAST = -1
EVERY = -2

_MOST_READ = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a job published."""

    path: str
    size: int
    adler32: str


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the ledger knows of a job that is about to be run."""

    job: int
    attempt: int
    step: str
    iteration: int
    key: str
    values: Mapping[str, Any] = field(default_factory=dict)
    memory: int | None = None
    walltime: float | None = None


class Published(Protocol):
    """Where rendering asks what other jobs have published."""

    def artifacts(self, step: str, iteration: int, output: str, key: str | None) -> Sequence[Artifact]:
        """Files that a step's jobs published as ``output``, in the order of the jobs.

        ``iteration`` is 0 for a step that is not iterated, or `LAST` or `EVERY`; ``key`` picks one job.
        """


class _Named(dict[str, Any]):
    """Files by name; those without a name are found by their place, ``{{ inputs[0] }}``."""

    def __missing__(self, key: object) -> Any:
        if isinstance(key, int) and str(key) in self:
            return self[str(key)]
        raise KeyError(key)


class StepRenderer:
    """Renders the jobs of one step of one campaign.

    Args:
        scope: the campaign's variables.
        folder: the campaign's folder, absolute.
        ledger: the ledger's identity, by which processes are told apart.
    """

    def __init__(self, workflow: Workflow, name: str, scope: Scope, folder: Path, ledger: str) -> None:
        self.workflow = workflow
        self.name = name
        self.step: Step = workflow.steps[name]
        self.scope = scope
        self.folder = folder
        self.ledger = ledger
        self.where = f"steps.{name}"
        # The same as `attempt_directory`, put together a million times.
        self._attempts = f"{folder}/.fiducial/{name}"
        self._late = scope.late(self.step.variables, self.where)
        self._memory_default = self.step.resources.memory
        self._walltime_default = self.step.resources.wall_seconds()

    def spec(self, facts: JobFacts, published: Published) -> dict[str, Any]:
        """The job spec of an attempt.

        Raises:
            WorkflowError: a template cannot be filled in, or an input that must be there was not published.
        """
        context = self._context(facts)
        inputs, named_inputs = self._inputs(facts, context, published)
        outputs, named_outputs = self._outputs(context)
        context["inputs"], context["outputs"] = _Named(named_inputs), _Named(named_outputs)
        context["input"] = next(iter(named_inputs.values()), "")
        context["output"] = next(iter(named_outputs.values()), "")
        step = self.step
        return {
            "format": 1,
            "ledger": self.ledger,
            "job": facts.job,
            "attempt": facts.attempt,
            "name": self._name(facts),
            **self._payload(context),
            "environment": {
                k: render(v, context, f"{self.where}.environment.{k}") for k, v in step.environment.items()
            },
            "environment_script": self._environment_script(context),
            "directory": f"{self._attempts}/{facts.iteration:02d}/{facts.key}.{facts.attempt}",
            "scratch": None,
            "keep_scratch": step.keep_scratch,
            "inputs": inputs,
            "outputs": outputs,
            "metrics": "metrics.json",
            "required_metrics": step.metrics,
            "resources": {"cpus": step.resources.cpus, "memory": self._memory(facts)},
            "limits": {
                "memory": self._memory(facts),
                "cpu_time": step.resources.cputime,
                "wall_time": facts.walltime or self._walltime_default,
                "disk": step.resources.disk,
            },
            "grace": 10.0,
        }

    def output_paths(self, facts: JobFacts) -> dict[str, str]:
        """Where a job would publish its outputs, by their names."""
        context = self._context(facts)
        return {
            name: self._path(wanted.path, context, f"{self.where}.outputs.{name}")
            for name, wanted in self.step.outputs.items()
        }

    def _name(self, facts: JobFacts) -> str:
        campaign = self.scope.known.get("campaign", self.workflow.name)
        return f"{campaign}/{self.name}/{facts.iteration:02d}/{facts.key}"

    def _memory(self, facts: JobFacts) -> int | None:
        return facts.memory or self._memory_default

    def _context(self, facts: JobFacts) -> dict[str, Any]:
        memory = self._memory(facts)
        names = {
            "iteration": facts.iteration,
            "step": self.name,
            "job": facts.key,
            "attempt": facts.attempt,
            "cpus": self.step.resources.cpus,
            "memory_mb": memory // 2**20 if memory else 0,
            **facts.values,
        }
        return self.scope.context(names, self._late)

    def _path(self, text: str, context: Mapping[str, Any], where: str) -> str:
        path = render(text, context, where)
        if not path:
            raise WorkflowError(f"{where}: the path is empty")
        return path if path[0] == "/" or "://" in path else f"{self.folder}/{path}"

    def _inputs(
        self, facts: JobFacts, context: Mapping[str, Any], published: Published
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        named: dict[str, Any] = {}
        for name, wanted in self.step.inputs.items():
            where = f"{self.where}.inputs.{name}"
            link = render(wanted.link, context, where) if wanted.link else None
            path = given_path(wanted, facts.iteration)
            if path is not None:
                full = self._path(path, context, where)
                entries.append({"path": full, "name": link, "size": None, "adler32": None})
                named[name] = link or full
                continue
            files, many = self._published(wanted, facts, published, where)
            links = _links(files, link) if many else [link]
            entries += [
                {"path": file.path, "name": place, "size": file.size, "adler32": _worth_reading(file)}
                for file, place in zip(files, links, strict=True)
            ]
            paths = [place or file.path for file, place in zip(files, links, strict=True)]
            named[name] = paths if many else paths[0]
        return entries, named

    def _published(
        self, wanted: Input, facts: JobFacts, published: Published, where: str
    ) -> tuple[Sequence[Artifact], bool]:
        source = wanted.source or ""
        parent = self.workflow.steps[source]
        iteration = self._iteration_of(wanted, parent, facts)
        matching = any(after.step == source and after.matching for after in self.step.after)
        key = facts.key if matching else SINGLE if parent.fanout is None else None
        files = published.artifacts(source, iteration, parent.output_key(wanted.output), key)
        if not files:
            raise WorkflowError(f"{where}: step '{source}' has published no '{parent.output_key(wanted.output)}'")
        many = key is None or iteration == EVERY or bool(parent.outputs[parent.output_key(wanted.output)].files)
        return files, many

    def _iteration_of(self, wanted: Input, parent: Step, facts: JobFacts) -> int:
        if not parent.iterate:
            return 0
        if wanted.every:
            return EVERY
        if not self.step.iterate:
            return LAST
        return facts.iteration - 1 if wanted.previous else facts.iteration

    def _outputs(self, context: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        entries: list[dict[str, Any]] = []
        named: dict[str, str] = {}
        used: set[str] = set()
        for name, wanted in self.step.outputs.items():
            where = f"{self.where}.outputs.{name}"
            path = self._path(wanted.path, context, where)
            local = "." if wanted.files else None if wanted.direct else _scratch_name(path, used)
            entries.append(self._output(name, wanted, path, local, context, where))
            named[name] = local or path
        return entries, named

    @staticmethod
    def _output(
        key: str, wanted: Output, path: str, local: str | None, context: Mapping[str, Any], where: str
    ) -> dict[str, Any]:
        check = [render(word, context, f"{where}.check") for word in wanted.check] if wanted.check else None
        files = [render(pattern, context, f"{where}.files") for pattern in wanted.files]
        return {
            "key": key,
            "path": path,
            "name": local,
            "min_size": wanted.min_size,
            "check": check,
            "optional": wanted.optional,
            **({"files": files} if files else {}),
        }

    def _payload(self, context: Mapping[str, Any]) -> dict[str, Any]:
        step, where = self.step, self.where
        if step.command is not None:
            return {"argv": _words(step.command, context, f"{where}.command")}
        if step.call is not None:
            given = step.arguments if isinstance(step.arguments, dict) else {}
            kwargs = {key: fill(value, context, f"{where}.arguments.{key}") for key, value in given.items()}
            call = render(step.call, context, f"{where}.call")
            return {"call": call, "kwargs": kwargs, "python": context["python"]}
        arguments = step.arguments if isinstance(step.arguments, list) else []
        return {
            "script": render(step.script or "", context, f"{where}.script"),
            "interpreter": _words(step.interpreter, context, f"{where}.interpreter"),
            "arguments": _words(arguments, context, f"{where}.arguments"),
        }

    def _environment_script(self, context: Mapping[str, Any]) -> str | None:
        script = self.step.environment_script or self.workflow.environment_script
        return render(script, context, f"{self.where}.environment_script") if script else None


def given_path(wanted: Input, iteration: int) -> str | None:
    """The path of an input that the workflow gives; None where another step publishes it."""
    return wanted.initial if wanted.previous and iteration <= 1 else wanted.path


def _worth_reading(file: Artifact) -> str | None:
    """The checksum to hold an input against; a large file is told from another by its size alone."""
    return file.adler32 if file.size <= _MOST_READ else None


def _links(files: Sequence[Artifact], folder: str | None) -> list[str | None]:
    """Names in a folder of links: those of the files, with their own folders where they would be the same."""
    names = [Path(file.path).name for file in files]
    if len(set(names)) < len(names):
        base = os.path.commonpath([Path(file.path).parent for file in files])
        names = [os.path.relpath(file.path, base) for file in files]
    return [None if folder is None else f"{folder}/{name}" for name in names]


def _scratch_name(path: str, used: set[str]) -> str:
    name = path.rpartition("/")[2]
    while name in used:
        name = f"_{name}"
    used.add(name)
    return name


def _words(words: Sequence[str], context: Mapping[str, Any], where: str) -> list[str]:
    """Fill in the words of a command; a word that is one expression with a list as value becomes several words."""
    filled: list[str] = []
    for word in words:
        value = value_of(word, context, where)
        if isinstance(value, list | tuple):
            filled.extend(map(str, value))
        else:
            filled.append(str(value))
    return filled
