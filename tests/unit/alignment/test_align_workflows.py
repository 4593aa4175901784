"""The workflow of the demonstration and FASER's own: the same work, and the same numbers."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import fiducial
from fiducial.alignment.faser.campaign import plan
from fiducial.alignment.faser.request import Request, Storage
from fiducial.alignment.report.page import Report
from fiducial.cli.alignment import report
from fiducial.core.check import check
from fiducial.core.workflowfile import WorkflowFile, load

WORKFLOWS = Path(fiducial.__file__).parent / "alignment" / "workflows"
DEMO = WORKFLOWS / "align.toml"
FASER = WORKFLOWS / "faser.toml"


@pytest.fixture(params=[DEMO, FASER], ids=["demo", "faser"])
def workflowfile(request: pytest.FixtureRequest) -> WorkflowFile:
    return load(request.param)


def test_nothing_is_wrong_with_it(workflowfile: WorkflowFile) -> None:
    found = check(workflowfile, {"stations": 4})
    # FASER's environment script is the user's own.
    assert [finding for finding in found if "reco_condor_env.sh" not in finding.message] == []


@pytest.mark.parametrize("storage", [Storage(keep_ntuples=False), Storage(keep_constants=False, keep_scratch=True)])
def test_nothing_is_wrong_with_two_folders_and_a_clean_up(storage: Storage, tmp_path: Path) -> None:
    asked = Request(
        year=2023, run=1, files=range(1), environment_script=tmp_path / "env.sh", storage=storage, data="/eos/x"
    )
    (tmp_path / "env.sh").touch()
    assert check(plan(asked, simulate=False).source, {}) == []


def test_what_counts_as_converged_is_the_same_everywhere(workflowfile: WorkflowFile) -> None:
    option = inspect.signature(report).parameters["threshold"].default
    assert workflowfile.workflow.variables["threshold"] == Report.threshold == option


def test_faser_differs_only_in_where_tracks_come_from() -> None:
    demo, faser = (load(path).workflow.model_dump(exclude_none=True) for path in (DEMO, FASER))
    assert set(demo["steps"]) - set(faser["steps"]) == {"simulate"}
    assert demo["iteration"] == faser["iteration"]
    assert demo["campaign"] == faser["campaign"]
    for name in ("constants", "millepede", "report"):
        assert without_truth(demo["steps"][name]) == in_one_folder(without_truth(faser["steps"][name]))
    assert passed_on(demo, "inputs") | {"raw": {"source": None, "output": None}} == passed_on(faser, "inputs")
    assert passed_on(demo, "outputs").keys() == passed_on(faser, "outputs").keys()


def without_truth(step: dict[str, Any]) -> dict[str, Any]:
    truth = ("--truth", "{{ inputs.truth }}")
    inputs = {key: entry for key, entry in step["inputs"].items() if key != "truth"}
    return {**step, "inputs": inputs, "arguments": [word for word in step.get("arguments", []) if word not in truth]}


def in_one_folder(step: dict[str, Any]) -> dict[str, Any]:
    """Without the folder for data that FASER's may have."""
    paths = {
        name: {**entry, "path": entry["path"].removeprefix("{{ in_data }}")} for name, entry in step["outputs"].items()
    }
    return {**step, "outputs": paths}


def passed_on(workflow: dict[str, Any], key: str) -> dict[str, Any]:
    """What the reconstruction takes or gives, without where it lies."""
    entries = workflow["steps"]["reco"][key]
    return {name: {part: entry.get(part) for part in ("source", "output")} for name, entry in entries.items()}
