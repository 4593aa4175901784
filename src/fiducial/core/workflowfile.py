"""Reading a workflow file: every mistake at once, each with its line.

What only a mistake needs (positions of keys, nearest names) is computed when there is one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fiducial.core.errors import NotFoundError
from fiducial.core.findings import Finding, InvalidWorkflowError
from fiducial.core.workflow import Step, Workflow

__all__ = ["WorkflowFile", "build", "dump_json", "load", "parse", "parse_json", "resolved"]

_Line = Callable[[str], int | None]

_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True)
class WorkflowFile:
    """A workflow and the file that it was read from.

    Args:
        path: the file as the user named it.
        text: what stands in it; empty for a workflow built in Python.
    """

    workflow: Workflow
    path: Path
    text: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the file, absolute; relative paths in the file start there."""
        return self.path.absolute().parent

    def line(self, where: str) -> int | None:
        """The line of a place such as ``steps.reco.inputs.0``, or of what is written of the way to it."""
        return _line_in(self._positions, where)

    @cached_property
    def _positions(self) -> dict[str, int]:
        from fiducial.core.positions import positions

        return positions(self.text)


def load(path: Path) -> WorkflowFile:
    """Read a workflow file.

    Raises:
        NotFoundError: there is no such file.
        InvalidWorkflowError: a `WorkflowError` that lists every mistake in the file.
    """
    return parse(_read(path), path)


def parse(text: str, path: Path) -> WorkflowFile:
    """Read the text of a workflow file.

    Args:
        path: the file that it is from, or shall become.

    Raises:
        InvalidWorkflowError: a `WorkflowError` that lists every mistake in the text.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidWorkflowError(str(path), [_syntax(str(error), text)]) from None
    return WorkflowFile(_validated(_without_dates(data), str(path), text), path, text)


def build(**fields: Any) -> Workflow:
    """A workflow from Python: the keys of the file as keywords.

    Raises:
        InvalidWorkflowError: a `WorkflowError` that lists every mistake.
    """
    return _validated(fields, "", "")


def dump_json(workflow: Workflow) -> str:
    """A workflow as one line of JSON, without what is left at its default."""
    return json.dumps(workflow.model_dump(by_alias=True, exclude_defaults=True), default=str, separators=(",", ":"))


def parse_json(text: str) -> Workflow:
    """The workflow that `dump_json` wrote."""
    return Workflow.model_validate_json(text)


def resolved(workflowfile: WorkflowFile) -> Workflow:
    """The workflow without ties to its file: templates inlined as scripts, relative paths made absolute.

    Raises:
        InvalidWorkflowError: a template that is not there.
    """
    mistakes: list[Finding] = []
    folder = workflowfile.folder
    steps: dict[str, Step] = {}
    for name, step in workflowfile.workflow.steps.items():
        try:
            steps[name] = _resolved_step(step, folder)
        except (OSError, UnicodeError) as error:
            where = f"steps.{name}.template"
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            mistakes.append(
                Finding("error", where, workflowfile.line(where), f"cannot read '{step.template}': {reason}")
            )
    if mistakes:
        raise InvalidWorkflowError(str(workflowfile.path), mistakes)
    script = _absolute(workflowfile.workflow.environment_script, folder)
    return workflowfile.workflow.model_copy(update={"steps": steps, "environment_script": script})


def _resolved_step(step: Step, folder: Path) -> Step:
    changes: dict[str, Any] = {}
    if step.template is not None:
        changes |= {"template": None, "script": (folder / step.template).read_text("utf-8")}
    if step.environment_script is not None:
        changes["environment_script"] = _absolute(step.environment_script, folder)
    if step.call is not None and is_file_call(step.call):
        changes["call"] = _absolute(step.call, folder)
    return step.model_copy(update=changes) if changes else step


def is_file_call(call: str) -> bool:
    """Whether ``call`` names a file, ``path/file.py:function``, and not a module."""
    file = call.rpartition(":")[0]
    return file.endswith(".py") or "/" in file


def _absolute(path: str | None, folder: Path) -> str | None:
    """``path`` seen from ``folder``; what a template, the shell or the node will fill in stays."""
    if path is None or path.startswith(("~", "$")) or "{{" in path or "{%" in path:
        return path
    return str(folder / path)


def _read(path: Path) -> str:
    try:
        # TOML counts \r\n as one end of line, and so does the scanner of positions.
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"there is no workflow file '{path}'") from None
    except IsADirectoryError:
        raise NotFoundError(f"'{path}' is a folder", hint="name the workflow file in it") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidWorkflowError(str(path), [Finding("error", "", line, "this is not UTF-8 text")]) from None


def _syntax(message: str, text: str) -> Finding:
    match = _AT_LINE.search(message)
    line = int(match[1]) if match and match[1] else text.rstrip().count("\n") + 1
    words = _AT_LINE.sub("", message)
    return Finding("error", "", line, f"not TOML: {words[:1].lower()}{words[1:]}")


def _without_dates(value: Any) -> Any:
    """Dates as text: templates show them the same, and JSON can hold them."""
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    return str(value) if isinstance(value, date | datetime | time) else value


def _validated(data: Mapping[str, Any], file: str, text: str) -> Workflow:
    try:
        return Workflow.model_validate(data)
    except ValidationError as error:
        from fiducial.core.english import findings_of
        from fiducial.core.positions import positions

        lines = positions(text)
        raise InvalidWorkflowError(file, findings_of(error, data, lambda where: _line_in(lines, where))) from None


def _line_in(lines: Mapping[str, int], where: str) -> int | None:
    while where:
        if where in lines:
            return lines[where]
        where = where.rpartition(".")[0]
    return None
