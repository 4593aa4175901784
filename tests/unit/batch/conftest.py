"""Plans of small workflows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaigns import workflow
from fiducial.batch.planned.plan import Plan
from fiducial.engine.supervisor import prepare

MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    """Make the plan of a workflow, in a folder of its own whose name is no plain word."""

    def make(steps: dict[str, Any], *, more: dict[str, Any] | None = None, **fields: Any) -> Plan:
        found = prepare(workflow(steps, **fields), {}, workflow_folder=tmp_path, folder=tmp_path / "ein Ordner ø")
        return Plan(
            found.workflow,
            found.name,
            found.folder,
            found.names,
            found.variables,
            found.max_iterations,
            "ledger-id",
            **(more or {}),
        )

    return make
