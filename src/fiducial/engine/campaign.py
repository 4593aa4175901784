"""A campaign in memory: its workflow, variables and groups, as the ledger holds them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping

from fiducial.core.jobspec import EVERY, LAST, Artifact, StepRenderer
from fiducial.core.plan import campaign_scope
from fiducial.core.variables import Scope
from fiducial.core.workflow import Workflow
from fiducial.core.workflowfile import parse_json
from fiducial.ledger import queries

__all__ = ["Campaign", "LedgerFiles", "scope_names"]


def scope_names(workflow: Workflow, workflow_folder: Path | str) -> dict[str, Any]:
    """Names that are the same for all campaigns of a workflow."""
    return {"workflow": workflow.name, "workflow_folder": str(workflow_folder), "python": sys.executable}


class Campaign:
    """One campaign's row and what follows from it.

    Args:
        row: of the table ``campaigns``.
        ledger: the ledger's identity.
        workflow: spares reading the snapshot where it is at hand.
    """

    def __init__(self, row: RowMapping | Mapping[str, Any], ledger: str, workflow: Workflow | None = None) -> None:
        self.id = int(row["id"])
        self.name = str(row["name"])
        self.folder = Path(row["folder"])
        self.max_iterations = int(row["max_iterations"])
        self._row = row
        self.ledger = ledger
        self._workflow = workflow
        self._renderers: dict[str, StepRenderer] = {}

    @cached_property
    def workflow(self) -> Workflow:
        """The workflow as it was when the campaign was created."""
        return self._workflow or parse_json(self._row["workflow"])

    @cached_property
    def scope(self) -> Scope:
        """The campaign's variables."""
        return campaign_scope(self.workflow, [{}, json.loads(self._row["variables"])], json.loads(self._row["names"]))

    @cached_property
    def has_matching(self) -> bool:
        """Whether any job waits for one job of another step."""
        return any(edge.matching for step in self.workflow.steps.values() for edge in step.after)

    def renderer(self, step: str) -> StepRenderer:
        """Renders the jobs of a step."""
        if step not in self._renderers:
            self._renderers[step] = StepRenderer(self.workflow, step, self.scope, self.folder, self.ledger)
        return self._renderers[step]


class LedgerFiles:
    """What other jobs published, for rendering the jobs of one lease.

    Attributes:
        place: ordinal number in its group of the job that is rendered; a matching parent has the same.
    """

    def __init__(self, connection: Connection, campaign: int) -> None:
        self.place = 0
        self._connection = connection
        self._campaign = campaign
        self._known: dict[tuple[int, str], Sequence[Artifact]] = {}

    def artifacts(self, step: str, iteration: int, output: str, key: str | None) -> Sequence[Artifact]:
        """Files of a step's output; see `fiducial.core.jobspec.Published`."""
        return [file for group in self._chosen(step, iteration) for file in self._of_group(group, output, key)]

    @cached_property
    def _groups(self) -> Sequence[RowMapping]:
        return queries.group_rows(self._connection, self._campaign)

    def _chosen(self, step: str, iteration: int) -> Sequence[RowMapping]:
        mine = [group for group in self._groups if group["step"] == step]
        if iteration == EVERY:
            return mine
        return mine[-1:] if iteration == LAST else [group for group in mine if group["iteration"] == iteration]

    def _of_group(self, group: RowMapping, output: str, key: str | None) -> Sequence[Artifact]:
        first = int(group["first_job"])
        if key is not None and group["total"] > 1:
            return self._read(first + self.place, first + self.place, output)
        wanted = (group["id"], output)
        if wanted not in self._known:
            self._known[wanted] = self._read(first, first + group["total"] - 1, output)
        return self._known[wanted]

    def _read(self, first: int, last: int, output: str) -> Sequence[Artifact]:
        return [Artifact(*row) for row in queries.pending_artifacts(self._connection, first, last, output)]
