"""Rescue DAGs that can be submitted themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns import fan, step
from fiducial.batch.dagman.control import manager, rescue_file
from fiducial.batch.dagman.finish import main as finish
from fiducial.batch.dagman.rescue import complete_rescue
from fiducial.batch.dagman.write import write
from fiducial.batch.planned.plan import Plan

#: As HTCondor 23.9 writes it.
PARTIAL = """\
# Rescue DAG file, created after running
#   the w.dag DAG file
# Created 11/22/2026 04:59:38 UTC
# Rescue DAG version: 2.0.1 (partial)
#
# Total number of Nodes: 3
# Nodes premarked DONE: 1
# Nodes that failed: 1
#   a_00001,<ENDLIST>

DONE a_00000
RETRY a_00000 2 UNLESS-EXIT 79
# 0 of 2 retries performed; remaining attempts aborted after node returned 79
RETRY a_00001 2 UNLESS-EXIT 79
"""


@pytest.fixture
def here(make_plan: Callable[..., Plan], tmp_path: Path) -> Path:
    """A DAG in a folder without blanks, of which DAGMan has left a rescue file."""
    plan = dataclasses.replace(make_plan({"a": step(fanout=fan(2)), "b": step(after=["a"])}), folder=tmp_path / "w")
    write(plan, plan.folder)
    (plan.folder / "w.dag.rescue001").write_text(PARTIAL)
    return plan.folder


def test_it_is_whole_and_can_be_submitted_from_anywhere(here: Path) -> None:
    assert finish(str(here), "2", "1", "0") == 1
    lines = (here / "w.dag.rescue001").read_text().splitlines()
    assert lines[0].endswith(f"Submit it: condor_submit_dag {here}/w.dag.rescue001")
    assert f"CONFIG {here}/w.dag.config" in lines
    assert f"NODE_STATUS_FILE {here}/w.dag.status 60" in lines
    assert [line for line in lines if line.startswith(("JOB ", "FINAL "))] == [
        f"JOB a_00000 a/a.sub DIR {here} DONE",
        f"JOB a_00001 a/a.sub DIR {here}",
        f"JOB b b/b.sub DIR {here}",
        f"FINAL campaign.final final.sub DIR {here} NOOP",
    ]
    assert "SCRIPT POST campaign.final finish.sh $DAG_STATUS $FAILED_COUNT $RETURN w.dag.rescue001" in lines
    assert "PARENT a_00000 a_00001 CHILD b" in lines
    assert (here / "w.dag.rescue002").read_text() == PARTIAL  # what goes beside the DAG is still the newest


def test_when_it_was_submitted_and_nodes_failed_again(here: Path) -> None:
    complete_rescue(here, "w.dag", "w.dag")
    (here / "w.dag.rescue001.rescue001").write_text(PARTIAL.replace("RETRY a_00001", "DONE a_00001"))
    assert finish(str(here), "2", "1", "0", "w.dag.rescue001") == 1
    assert "JOB a_00001 a/a.sub DIR" in (here / "w.dag.rescue003").read_text()
    assert (here / "w.dag.rescue003").read_text().count(" DONE\n") == 2
    newest = rescue_file(here, "w.dag")
    assert newest == here / "w.dag.rescue004"
    assert newest.read_text() == (here / "w.dag.rescue001.rescue001").read_text()


def test_in_a_folder_whose_name_no_dag_can_hold(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan({"a": step(fanout=fan(2))})
    write(plan, plan.folder)
    (plan.folder / "w.dag.rescue001").write_text(PARTIAL)
    complete_rescue(plan.folder, "w.dag", "w.dag")
    lines = (plan.folder / "w.dag.rescue001").read_text().splitlines()
    assert lines[0].endswith("Submit it in its folder: condor_submit_dag w.dag.rescue001")
    assert "JOB a_00000 a/a.sub DONE" in lines
    assert "CONFIG w.dag.config" in lines


@pytest.mark.parametrize("text", ["", PARTIAL.replace("(partial)", "(full)"), None])
def test_what_is_no_partial_rescue_file_is_left_alone(here: Path, text: str | None) -> None:
    path = here / "w.dag.rescue001"
    path.unlink() if text is None else path.write_text(text)
    assert complete_rescue(here, "w.dag", "w.dag") is None
    assert path.exists() == (text is not None)
    assert not (here / "w.dag.rescue002").exists()


def test_that_it_cannot_be_written_does_not_hide_the_failure(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "w.dag").unlink()
    assert finish(str(here), "2", "1", "0") == 1
    assert "no rescue DAG: " in capsys.readouterr().out


def test_dagman_at_work_on_a_rescue_dag_is_at_work_on_the_campaign(here: Path) -> None:
    event = "{} ({:03d}.000.000) 2026-11-22 05:0{}:00 {}\n...\n"
    end = event.format("005", 7, 1, "Job terminated.\n\t(1) Normal termination (return value 1)")
    (here / "w.dag.dagman.log").write_text(event.format("000", 7, 0, "Job submitted from host: <127.0.0.1:9>") + end)
    log = here / "w.dag.rescue001.dagman.log"
    log.write_text(event.format("000", 9, 2, "Job submitted from host: <127.0.0.1:9>"))
    assert (manager(here, "w.dag").cluster, manager(here, "w.dag").at_work) == (9, True)
    with log.open("a") as file:
        file.write(event.format("005", 9, 3, "Job terminated.\n\t(1) Normal termination (return value 0)"))
    assert (manager(here, "w.dag").phase, manager(here, "w.dag").exit_code) == ("over", 0)
