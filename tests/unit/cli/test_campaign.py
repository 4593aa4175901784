"""``fiducial campaign``."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from campaigns import Stage, failure, fan, step
from fiducial.core.errors import StateError
from fiducial.engine.supervisor import is_running, locked


def content(stage: Stage) -> list[Any]:
    """Everything that a command could change."""
    with stage.database.read() as connection:
        tables = ("campaigns", "groups", "jobs", "attempts", "transitions", "metrics", "artifacts", "agents")
        return [connection.execute(text(f"SELECT * FROM {table}")).fetchall() for table in tables]


def state(stage: Stage, number: int = 1) -> str:
    with stage.database.read() as connection:
        return str(connection.execute(text(f"SELECT state FROM campaigns WHERE id = {number}")).scalar_one())


# ---------------------------------------------------------------- list and show


def test_list(align: Stage, say: Any) -> None:
    said = say("campaign", "list")
    assert said.lines[0] == "number campaign state done failed iteration created reason"
    assert said.lines[1].startswith("1 align active 6/11 1 2 ")


def test_list_as_json(align: Stage, say: Any) -> None:
    (view,) = say("campaign", "list", "--json").json
    assert (view["name"], view["state"], view["iteration"], view["total"]) == ("align", "active", 2, 11)
    assert view["counts"]["ready"] == 2


def test_list_of_nothing(stage: Stage, say: Any) -> None:
    assert "fiducial run" in say("campaign", "list").out
    assert say("campaign", "list", "--json").json == []


def test_where_there_is_no_ledger(say: Any, tmp_path: Path) -> None:
    said = say("campaign", "list")
    assert said.code == 4
    assert f"error: there is no ledger at {tmp_path}/.fiducial/ledger.db" in said.err
    assert list(tmp_path.iterdir()) == []


def test_show(align: Stage, say: Any) -> None:
    said = say("campaign", "show", "align")
    assert said.code == 0
    assert "campaign align: active" in said.lines
    assert "iteration 2 of at most 3" in said.lines
    assert "step iteration jobs waiting ready done failed time" in said.lines
    assert "reco 2 4 2 1 1" in said.lines
    assert "metric iteration 1" in said.lines
    assert "fit.shift 0.5" in said.lines
    assert "reco 7 3.5 s 7.0 s" in said.lines
    assert "align/reco/02/00451: failed: the payload ended with exit code 3" in said.lines
    assert any(line.endswith("align/.fiducial/reco/02/00451.2/log.txt") for line in said.lines)


def test_show_as_json(align: Stage, say: Any) -> None:
    view = say("campaign", "show", "align", "--json").json
    assert view["counts"]["done"] == 6
    assert view["metrics"] == {"1": {"fit": {"shift": [0.5]}}}
    assert view["cost"][0] == {"step": "reco", "attempts": 7, "cpu_s": 3.5, "wall_s": 7.0, "max_rss": 0}
    assert [(job["name"], job["cause"], job["exit_code"]) for job in view["problems"]] == [
        ("align/reco/02/00451", "exit", 3)
    ]
    assert [group["step"] for group in view["groups"]] == ["reco", "fit", "report", "reco", "fit"]


def test_an_attempt_that_never_began_on_a_node_has_no_log(stage: Stage, say: Any) -> None:
    campaign = stage.create({"a": step(retry={"max": 0})})
    [spec] = stage.lease(campaign)
    with stage.database.write() as connection:
        connection.execute(text("UPDATE attempts SET site = 'cluster', backend_id = '10_1'"))
    stage.end_all([spec], failure("start", 127, "the runner could not be started"))
    queue = campaign.folder / ".fiducial/.queue/cluster"
    (queue / "fd1/jobs").mkdir(parents=True)
    lines = say("campaign", "show", "w").lines
    assert "w/a/all: failed: the runner could not be started" in lines
    assert "no log: the runner never started; it is 10_1 in the queue of cluster" in lines
    assert f"what was submitted: {queue}" in lines
    assert "log.txt" not in "".join(lines)

    said = Path(spec["directory"]) / "queue.txt"
    said.parent.mkdir(parents=True)
    said.write_text("python3: command not found\n")
    lines = say("campaign", "show", "w").lines
    assert f"the batch system wrote: {said}" in lines
    assert "| python3: command not found" in lines
    assert say("job", "log", "w/a/all").out == "python3: command not found\n"
    (said.parent / "log.txt").write_text("there is one\n")
    assert "| there is one" in say("campaign", "show", "w").lines


def test_many_problems_are_not_all_shown(stage: Stage, say: Any) -> None:
    campaign = stage.create({"a": step(fanout=fan(30), retry={"max": 0})})
    stage.end_all(stage.lease(campaign), failure())
    said = say("campaign", "show", "w")
    assert "and 20 more: fiducial job list w --state failed --state held --state killed" in said.lines


def test_a_wrong_name(align: Stage, say: Any) -> None:
    said = say("campaign", "show", "algin")
    assert (said.code, said.out) == (4, "")
    assert said.err == "error: there is no campaign 'algin'\nhint: did you mean 'align'?\n"


@pytest.mark.parametrize("name", ["my campaign", "Ausrichtung für Köln", "ターゲット"])
def test_a_name_with_blanks_and_other_letters(name: str, stage: Stage, say: Any) -> None:
    stage.create({"a": step(fanout={"list": ["first key", "Größe", "鍵"]})}, campaign=name)
    view = say("campaign", "show", name, "--json").json
    assert say("campaign", "show", view["name"]).code == 0
    for key in ("first key", "Größe", "鍵"):
        assert say("job", "show", f"{name}/a/{key}", "--json").json["values"] == {"item": key}


def test_a_campaign_by_its_number(align: Stage, say: Any) -> None:
    assert say("campaign", "show", "1", "--json").json["name"] == "align"


# ---------------------------------------------------------------- cancel


def test_cancel(align: Stage, say: Any) -> None:
    said = say("campaign", "cancel", "align")
    assert said.out == "campaign align cancelled: 4 jobs will never start\n"
    assert state(align) == "cancelled"
    again = say("campaign", "cancel", "align")
    assert (again.code, "was cancelled before" in again.out) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        ("campaign", "cancel", "align"),
        ("campaign", "retry", "align"),
        ("campaign", "archive", "align"),
        ("campaign", "resume", "align"),
        ("job", "retry", "align"),
        ("job", "kill", "align/reco"),
        ("job", "hold", "align/reco/02/*"),
    ],
)
def test_a_dry_run_changes_nothing(words: tuple[str, ...], align: Stage, say: Any) -> None:
    before = content(align)
    said = say(*words, "--dry-run")
    assert said.code == 0
    assert said.out.endswith("dry run: nothing was changed\n")
    assert content(align) == before


def test_cancel_leaves_running_jobs_to_the_engine_that_runs_them(align: Stage, say: Any) -> None:
    (spec,) = align.lease(align.scheduler._campaigns[1], 1)
    folder = Path(spec["directory"]).parents[3]
    with locked(folder):
        assert is_running(folder)
        said = say("campaign", "cancel", "align")
    assert "the engine that runs the campaign stops what is under way" in said.out
    with align.database.read() as connection:
        orders = connection.execute(text("SELECT \"order\" FROM jobs WHERE state = 'submitted'")).scalars().all()
    assert orders == ["kill"]


def test_cancel_ends_what_a_dead_engine_has_left(align: Stage, say: Any) -> None:
    align.lease(align.scheduler._campaigns[1], 1)
    said = say("campaign", "cancel", "align")
    assert "no engine runs; what an earlier one had left of 1 attempt is stopped" in said.out
    with align.database.read() as connection:
        states = connection.execute(text("SELECT DISTINCT state FROM jobs ORDER BY 1")).scalars().all()
    assert states == ["done", "failed", "killed"]


def test_cancel_where_the_campaign_s_folder_is_gone(align: Stage, say: Any) -> None:
    import shutil

    align.lease(align.scheduler._campaigns[1], 1)
    shutil.rmtree(align.folder / "align")
    assert say("campaign", "cancel", "align").code == 0


def test_what_is_done_cannot_be_cancelled(stage: Stage, say: Any) -> None:
    stage.end_all(stage.lease(stage.create({"a": step()})))
    assert say("campaign", "cancel", "w").code == 5


# ---------------------------------------------------------------- retry, archive


def test_retry(align: Stage, say: Any) -> None:
    said = say("campaign", "retry", "align")
    assert said.out == "1 job of campaign align will run again; to run them: fiducial campaign resume align\n"
    assert say("campaign", "show", "align", "--json").json["counts"]["failed"] == 0
    assert "nothing to retry: no job of align is failed or killed" in say("campaign", "retry", "align").out


def test_retry_of_a_step(align: Stage, say: Any) -> None:
    assert "nothing to retry" in say("campaign", "retry", "align", "--step", "fit").out
    assert "1 job" in say("campaign", "retry", "align", "--step", "reco", "--state", "failed").out


def test_retry_of_a_step_that_is_not_there(align: Stage, say: Any) -> None:
    said = say("campaign", "retry", "align", "--step", "recco")
    assert (said.code, said.err) == (4, "error: campaign 'align' has no step 'recco'\nhint: did you mean 'reco'?\n")


def test_what_is_done_is_not_retried(align: Stage, say: Any) -> None:
    said = say("campaign", "retry", "align", "--state", "done")
    assert said.code == 2
    assert "possible: failed, killed, skipped, held" in said.err


def test_archive_is_refused_while_jobs_are_under_way(align: Stage, say: Any) -> None:
    align.lease(align.scheduler._campaigns[1], 1)
    said = say("campaign", "archive", "align")
    assert said.code == 5
    assert "fiducial campaign cancel align" in said.err
    assert state(align) == "active"


def test_the_logs_of_an_archived_campaign_stay_apart_from_its_successor(stage: Stage, say: Any) -> None:
    steps = {"a": step(script="echo said by {{ word }}", command=None, variables={"word": "one"})}
    number = stage.create(steps).id
    assert say("campaign", "resume", "w", "--quiet").code == 0
    assert say("campaign", "archive", "w").code == 0
    stage.create({"a": step(script="echo said by another", command=None)})
    assert say("campaign", "resume", "w", "--quiet").code == 0
    assert say("job", "show", "w/a", "--json").json["attempt"] == 1
    assert say("job", "log", "w/a").out == "said by another\n"
    assert say("job", "log", f"{number}/a").out == "said by one\n"


def test_an_archived_campaign_is_out_of_the_way(align: Stage, say: Any) -> None:
    assert say("campaign", "archive", "align").code == 0
    assert say("campaign", "list", "--json").json == []
    assert [view["name"] for view in say("campaign", "list", "--all", "--json").json] == ["align"]
    for words in (["campaign", "cancel"], ["campaign", "retry"], ["campaign", "archive"], ["campaign", "resume"]):
        said = say(*words, "align")
        assert (said.code, "is archived" in said.err) == (5, True)
    assert say("job", "retry", "align").code == 5


# ---------------------------------------------------------------- resume


def test_resume_runs_what_is_left(stage: Stage, say: Any) -> None:
    stage.create({"a": step(fanout=fan(3)), "b": step(after="a")})
    said = say("campaign", "resume", "w", "--quiet", "--workers", "2")
    assert (said.code, said.out) == (0, "campaign w done; 4 jobs done\nresults: w\n")
    assert say("campaign", "resume", "w", "--json").json["counts"]["done"] == 4


def test_resume_is_refused_while_an_engine_runs(stage: Stage, say: Any) -> None:
    stage.create({"a": step()})
    with locked(stage.folder / "w"):
        said = say("campaign", "resume", "w")
    assert said.code == 5
    assert f"another fiducial (process {os.getpid()} on {socket.gethostname()}) is running" in said.err


def test_the_lock_of_a_folder_that_is_gone(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "none")
    with pytest.raises(StateError, match="cannot use the campaign's folder"), locked(tmp_path / "none"):
        pass


# ---------------------------------------------------------------- export


def test_export(align: Stage, say: Any, tmp_path: Path) -> None:
    assert say("campaign", "export", "align", "--output", "all.json").code == 0
    exported = json.loads((tmp_path / "all.json").read_text())
    assert exported == say("campaign", "export", "align").json
    assert exported["campaign"]["workflow"]["steps"]["reco"]["fanout"] == {"files": "450-454"}
    assert [group["counts"] for group in exported["groups"]][3] == {"ready": 2, "done": 1, "failed": 1}
    assert exported["metrics"] == [{"iteration": 1, "step": "fit", "name": "shift", "job": 5, "value": 0.5}]
    assert len(exported["jobs"]) == 11
    first = exported["jobs"][0]
    assert (first["step"], first["iteration"], first["key"], first["values"]) == ("reco", 1, "00450", {"file": 450})
    assert first["artifacts"] == [{"name": "0", "path": "/data/r", "size": 7, "adler32": "0badcafe"}]
    assert [change["state"] for change in first["history"]] == ["submitted", "running", "done"]
    failed = next(job for job in exported["jobs"] if job["state"] == "failed")
    assert [attempt["exit_code"] for attempt in failed["attempts"]] == [3, 3]


def test_export_without_artifacts(align: Stage, say: Any) -> None:
    assert "artifacts" not in say("campaign", "export", "align", "--no-artifacts").json["jobs"][0]


def test_export_in_pages(align: Stage, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = say("campaign", "export", "align").out
    monkeypatch.setattr("fiducial.cli.export._PAGE", 3)
    assert say("campaign", "export", "align").out == whole


def test_an_export_that_cannot_be_written(align: Stage, say: Any) -> None:
    said = say("campaign", "export", "align", "--output", "none/all.json")
    assert (said.code, said.err) == (2, "error: cannot write none/all.json: No such file or directory\n")
