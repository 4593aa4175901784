"""What the jobs would be: makes the first ones of each step and looks whether they get in each other's way."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fiducial.core.check.report import Report
from fiducial.core.errors import WorkflowError
from fiducial.core.jobspec import Artifact, JobFacts, StepRenderer
from fiducial.core.plan import Instance, campaign_scope, count, instances
from fiducial.core.variables import Scope, value_of
from fiducial.core.workflow import Glob, Step, Workflow
from fiducial.core.workflowfile import WorkflowFile

__all__ = ["check", "job_counts", "with_limit"]

#: So many jobs of a step are looked at: enough to see a pattern, few enough to take no time.
_SAMPLE = 500
_FOLDER = Path("/folder of the campaign")


def check(report: Report, overrides: Mapping[str, Any]) -> None:
    """Make the first jobs of every step that has no error yet."""
    if any(report.failed(place) for place in ("variables", "campaign", "folder", "")):
        return
    workflow = report.workflow
    readable = {name: report.readable(name, step) for name, step in workflow.steps.items()}
    workflow = workflow.model_copy(update={"steps": readable})
    try:
        scope = _scope(workflow, report.file.folder, overrides)
    except WorkflowError as error:
        _tell(report, "variables", error)
        return
    _check_iterations(report, scope)
    made: dict[str, Sequence[Instance]] = {}
    paths: dict[str, str] = {}
    for name in workflow.steps:
        if report.failed(f"steps.{name}"):
            continue
        try:
            _Jobs(report, workflow, scope, name).check(made, paths)
        except WorkflowError as error:
            _tell(report, f"steps.{name}", error)


def job_counts(workflowfile: WorkflowFile, overrides: Mapping[str, Any] | None = None) -> dict[str, int]:
    """How many jobs each step has in one iteration; a step whose files are not there yet is left out.

    Raises:
        WorkflowError: a fan-out that cannot make jobs.
    """
    workflow = workflowfile.workflow
    context = _scope(workflow, workflowfile.folder, overrides or {}).context({"iteration": 1})
    counts: dict[str, int] = {}
    for name, step in workflow.steps.items():
        try:
            counts[name] = count(step, context, f"steps.{name}.fanout")
        except WorkflowError as error:
            if not _waits_for_files(step, error):
                raise
    return counts


def with_limit(workflowfile: WorkflowFile, overrides: Mapping[str, Any] | None = None) -> Workflow:
    """The workflow with the most iterations as a number for people to see."""
    workflow = workflowfile.workflow
    if workflow.iteration is None:
        return workflow
    known = _scope(workflow, workflowfile.folder, overrides or {}).known
    limit = value_of(workflow.iteration.max, known, "iteration.max")
    return workflow.model_copy(update={"iteration": workflow.iteration.model_copy(update={"max": limit})})


def _waits_for_files(step: Step, error: WorkflowError) -> bool:
    return step.fanout is not None and isinstance(step.fanout.files, Glob) and error.hint.startswith("no file matches")


def _scope(workflow: Workflow, folder: Path, overrides: Mapping[str, Any]) -> Scope:
    names = {"workflow": workflow.name, "workflow_folder": str(folder), "python": sys.executable}
    names |= {"campaign": workflow.name, "folder": str(_FOLDER)}
    return campaign_scope(workflow, [{}, overrides], names)


def _tell(report: Report, fallback: str, error: WorkflowError) -> None:
    """Report an error whose message begins with its place."""
    place, _, rest = error.message.partition(": ")
    known = place.partition(".")[0] in {"steps", "variables", "iteration"} and " " not in place
    report.error(place if known else fallback, rest if known else error.message, error.hint)


def _check_iterations(report: Report, scope: Scope) -> None:
    iteration = report.workflow.iteration
    if iteration is None or report.failed("iteration.max"):
        return
    try:
        most = int(value_of(iteration.max, scope.known, "iteration.max"))
    except (TypeError, ValueError):
        report.error("iteration.max", f"'{iteration.max}' is not a whole number")
    except WorkflowError as error:
        _tell(report, "iteration.max", error)
    else:
        if most < 1:
            report.error("iteration.max", f"{most} is no number of iterations")


@dataclass(frozen=True)
class _AnyFile:
    """Stands for files that other steps will publish."""

    jobs: int

    def artifacts(self, step: str, iteration: int, output: str, key: str | None) -> Sequence[Artifact]:
        """As many as there may be: one of one job, else several."""
        files = [Artifact(f"{_FOLDER}/{step}/{output}/{place}", 1, "00000001") for place in range(self.jobs)]
        return files[:1] if key is not None else files


class _Jobs:
    """The first jobs of one step."""

    def __init__(self, report: Report, workflow: Workflow, scope: Scope, name: str) -> None:
        self.report = report
        self.scope = scope
        self.name = name
        self.step: Step = workflow.steps[name]
        self.where = f"steps.{name}"
        self.iteration = 1 if self.step.iterate else 0
        self.renderer = StepRenderer(workflow, name, scope, _FOLDER, "check")

    def check(self, made: dict[str, Sequence[Instance]], paths: dict[str, str]) -> None:
        sample = self._sample()
        if not sample:
            return
        made[self.name] = sample
        self._check_matching(made)
        for place in range(2 if self.step.iterate else 1):
            self.renderer.spec(self._facts(sample[0], self.iteration + place), _AnyFile(2))
        self._check_paths(sample, paths)

    def _sample(self) -> list[Instance]:
        where = f"{self.where}.fanout"
        context = self.scope.context({"iteration": self.iteration})
        try:
            return list(islice(instances(self.step, context, where), _SAMPLE))
        except WorkflowError as error:
            if _waits_for_files(self.step, error):
                self.report.warn(f"{where}.files", error.hint)
            else:
                _tell(self.report, where, error)
            return []

    def _check_matching(self, made: Mapping[str, Sequence[Instance]]) -> None:
        mine = [job.key for job in made[self.name]]
        for place, edge in enumerate(self.step.after):
            if not edge.matching or edge.step not in made:
                continue
            theirs = [job.key for job in made[edge.step]]
            if mine != theirs:
                odd = sorted(set(mine) ^ set(theirs)) or mine
                message = f"matching pairs jobs of equal fan-out; only one of the two steps has a job '{odd[0]}'"
                self.report.error(f"{self.where}.after.{place}", message, "leave out matching to wait for all of it")

    def _facts(self, job: Instance, iteration: int) -> JobFacts:
        return JobFacts(1, 1, self.name, iteration, job.key, job.values)

    def _check_paths(self, sample: Sequence[Instance], paths: dict[str, str]) -> None:
        """Whether any two jobs would publish under one name; ``paths`` are those of other steps."""
        mine: dict[str, tuple[str, str]] = {}
        told: set[str] = set()
        for job in sample:
            for output, path in self.renderer.output_paths(self._facts(job, self.iteration)).items():
                if output not in told and self._taken(output, path, job.key, mine, paths):
                    told.add(output)
                mine.setdefault(path, (output, job.key))
        paths.update(dict.fromkeys(mine, self.name))
        if self.step.iterate:
            self._check_iterated_paths(sample[0], told)

    def _taken(
        self, output: str, path: str, key: str, mine: Mapping[str, tuple[str, str]], others: Mapping[str, str]
    ) -> bool:
        where, shown = f"{self.where}.outputs.{output}", path.removeprefix(f"{_FOLDER}/")
        if path in others:
            self.report.error(where, f"step '{others[path]}' publishes '{shown}' too")
        elif path in mine and mine[path][1] == key:
            self.report.error(where, f"output '{mine[path][0]}' is '{shown}' too")
        elif path in mine:
            message = f"jobs '{mine[path][1]}' and '{key}' would overwrite each other's '{shown}'"
            self.report.error(where, message, "put {{ job }} or a name of the fan-out into the path")
        return path in others or path in mine

    def _check_iterated_paths(self, job: Instance, told: set[str]) -> None:
        first, second = (self.renderer.output_paths(self._facts(job, iteration)) for iteration in (1, 2))
        for output, path in first.items():
            if second[output] == path and output not in told:
                message = f"every iteration would overwrite '{path.removeprefix(f'{_FOLDER}/')}'"
                self.report.error(f"{self.where}.outputs.{output}", message, "put {{ iteration }} into the path")
