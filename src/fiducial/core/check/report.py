"""Where the checks write what they find."""

from __future__ import annotations

from functools import cached_property

from fiducial.core.findings import Finding
from fiducial.core.workflow import Step
from fiducial.core.workflowfile import WorkflowFile

__all__ = ["Report"]


class Report:
    """Findings about one workflow file, and what several checks want to know about it."""

    def __init__(self, file: WorkflowFile) -> None:
        self.file = file
        self.workflow = file.workflow
        self.findings: list[Finding] = []

    def error(self, where: str, message: str, suggestion: str = "", *, row: int = 1) -> None:
        """Something that cannot work.

        Args:
            row: line within a text of several lines.
        """
        self.findings.append(Finding("error", where, self._line(where, row), message, suggestion))

    def warn(self, where: str, message: str, suggestion: str = "") -> None:
        """Something that may be meant."""
        self.findings.append(Finding("warning", where, self._line(where, 1), message, suggestion))

    def failed(self, where: str) -> bool:
        """Whether an error was found at a place or below it."""
        return any(
            finding.severity == "error" and (finding.where == where or finding.where.startswith(f"{where}."))
            for finding in self.findings
        )

    @cached_property
    def scripts(self) -> dict[str, str]:
        """Text of the scripts by step, read from the template where there is one; none where it cannot be read."""
        texts: dict[str, str] = {}
        for name, step in self.workflow.steps.items():
            if step.script is not None:
                texts[name] = step.script
            elif step.template is not None:
                try:
                    texts[name] = (self.file.folder / step.template).read_text("utf-8")
                except (OSError, UnicodeError):
                    self.error(f"steps.{name}.template", f"cannot read '{self.file.folder / step.template}'")
        return texts

    def readable(self, name: str, step: Step) -> Step:
        """A step with its template's text in place of the template."""
        if step.template is None:
            return step
        return step.model_copy(update={"template": None, "script": self.scripts.get(name, "")})

    def _line(self, where: str, row: int) -> int | None:
        line = self.file.line(where)
        if line is None or row == 1:
            return line
        opening = self.file.text.split("\n")[line - 1].rstrip()
        if not opening.endswith(('"""', "'''")):
            return line + row - 1 if '"""' in opening or "'''" in opening else line
        return line + row  # TOML drops the line end after the opening quotes
