"""What is off in a workflow file: one finding a mistake, each with its place and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fiducial.core.errors import WorkflowError

__all__ = ["Finding", "InvalidWorkflowError"]

_HINT = "'fiducial workflow schema' describes every key"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is off, or looks so.

    Args:
        where: the place in the workflow, e.g. ``steps.reco.command``; empty for the whole file.
        line: its line in the file, where there is a file.
        suggestion: what to do about it; may be empty.
    """

    severity: Literal["error", "warning"]
    where: str
    line: int | None
    message: str
    suggestion: str = ""

    def sentence(self) -> str:
        """Place, message and suggestion without the file."""
        place = f"{self.where}: " if self.where else ""
        advice = f", {self.suggestion}" if self.suggestion.startswith("did you mean") else ""
        advice = advice or (f" ({self.suggestion})" if self.suggestion else "")
        return f"{place}{self.message}{advice}"

    def text(self, file: str, *, severity: bool = False) -> str:
        """The finding as compilers write it: ``file:line: place: message``, which editors can jump to."""
        line = "" if self.line is None else f":{self.line}"
        return f"{file}{line}: {f'{self.severity}: ' if severity else ''}{self.sentence()}"


class InvalidWorkflowError(WorkflowError):
    """A workflow cannot be used; every mistake that was found is a line of the message.

    Args:
        file: the workflow file as the user named it; empty for a workflow built in Python.
    """

    def __init__(self, file: str, findings: Iterable[Finding]) -> None:
        self.findings: Sequence[Finding] = sorted(findings, key=lambda finding: finding.line or 0)
        lines = [finding.text(file) if file else finding.sentence() for finding in self.findings]
        super().__init__("\n".join(lines), hint=_HINT)
