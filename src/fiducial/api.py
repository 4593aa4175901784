"""Workflows from Python: build them, check them, run them on this machine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiducial.core.errors import WorkflowError
from fiducial.core.workflow import Step, Workflow
from fiducial.core.workflowfile import WorkflowFile, resolved
from fiducial.core.workflowfile import load as load_file

__all__ = ["Outcome", "call", "check", "load", "run"]


@dataclass(frozen=True)
class Outcome:
    """How a campaign ended.

    Attributes:
        name: of the campaign.
        state: ``done``, ``failed``, ``active`` (stopped before its end) or ``cancelled``.
        reason: why it is in that state, in words.
        folder: where its files are.
        converged: for iterated workflows, whether ``until`` was met; without one, whether all iterations are done.
            None for others, and while it goes on.
        iterations: how many there were.
        counts: jobs by state.
        metrics: iteration -> step -> name -> values of the jobs.
        problems: jobs that failed or are held, with cause, message and log.
    """

    name: str
    state: str
    reason: str
    folder: Path
    converged: bool | None
    iterations: int
    counts: Mapping[str, int]
    metrics: Mapping[int, Mapping[str, Mapping[str, list[float]]]]
    problems: list[dict[str, Any]]

    @property
    def done(self) -> bool:
        """Whether everything was done."""
        return self.state == "done"

    def path(self, relative: str) -> Path:
        """A file in the campaign's folder."""
        return self.folder / relative


def load(file: str | Path) -> Workflow:
    """Read a workflow file; what it refers to by relative paths is found beside it.

    Raises:
        WorkflowError: all mistakes of the file, each with its line.
    """
    return resolved(load_file(Path(file)))


def check(workflow: Workflow, **variables: Any) -> list[str]:
    """What is wrong, or worth a warning, in a workflow; empty when nothing is."""
    from fiducial.core.check import check as find

    return [
        finding.text("", severity=True).removeprefix(": ")
        for finding in find(WorkflowFile(workflow, Path.cwd() / "workflow"), variables)
    ]


def call(function: Callable[..., Any], /, **fields: Any) -> Step:
    """A step that calls a Python function; ``fields`` are those of `Step`, ``arguments`` the function's keywords.

    The job imports the function anew, so it must stand at the top level of a module or script.

    Raises:
        WorkflowError: a lambda, a method or a function inside a function.
    """
    name = function.__qualname__
    if not name.isidentifier():
        raise WorkflowError(
            f"'{name}' cannot be called by a job: it is not at the top level of a module",
            hint="move the function to the top level",
        )
    source = inspect.getsourcefile(function)
    if function.__module__ == "__main__" and source:
        return Step(call=f"{Path(source).absolute()}:{name}", **fields)
    return Step(call=f"{function.__module__}:{name}", **fields)


def run(
    workflow: Workflow | str | Path,
    *,
    workers: int | None = None,
    folder: str | Path | None = None,
    until_step: str | None = None,
    progress: bool = False,
    **variables: Any,
) -> Outcome:
    """Run a workflow on this machine, as ``fiducial run`` does; the same call goes on where an earlier one stopped.

    Args:
        workers: jobs at a time; by default as many as there are cores.
        folder: the campaign's folder, where it shall not be the workflow's choice.
        until_step: stop when this step is done.
        progress: show progress on standard error.
        variables: values for the workflow's variables.

    Raises:
        WorkflowError: the workflow or a variable is off.
        StateError: the campaign exists and was something else, or another process runs it.
    """
    from fiducial.cli.run import execute
    from fiducial.engine.supervisor import prepare

    place = Path(workflow).absolute().parent if isinstance(workflow, str | Path) else Path.cwd()
    flow = load(workflow) if isinstance(workflow, str | Path) else workflow
    prepared = prepare(flow, variables, workflow_folder=place, folder=Path(folder) if folder else None)
    return _outcome(execute(prepared, workers=workers, until_step=until_step, show=progress))


def _outcome(view: dict[str, Any]) -> Outcome:
    kept = ("name", "state", "reason", "converged", "counts", "metrics", "problems")
    return Outcome(**{key: view[key] for key in kept}, folder=Path(view["folder"]), iterations=view["iteration"])
