"""Damage: full disks, broken results, folders that vanish, clocks that go backwards. Nothing is lost, or it is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from campaigns import ScriptedBackend, Stage, fan, step, success, workflow
from fiducial.batch.backend import Lost
from fiducial.batch.local import LocalBackend
from fiducial.core.errors import FolderError, LedgerError
from fiducial.core.jobspec import attempt_directory
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Scheduler
from fiducial.engine.supervisor import create, locked, prepare, run
from fiducial.ledger import ledger as write
from fiducial.ledger.database import Database


def carry(stage: Stage, campaign: Campaign) -> bool:
    """Run a campaign by real workers."""
    with LocalBackend(2) as backend, locked(campaign.folder):
        return run(stage.scheduler, campaign, backend)


def abandon(stage: Stage, campaign: Campaign) -> Path:
    """Lease the campaign's first job as an engine that dies at once; where that attempt's traces belong."""
    (spec,) = stage.lease(campaign, 1)
    return Path(spec["directory"])


# ---------------------------------------------------------------- results


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"state": "done"',
        "[]",
        "null",
        "\x00\xff",
        "{}",
        '{"state": "done"}',
        '{"state": "done", "outputs": 7}',
    ],
)
def test_a_damaged_result_proves_nothing_and_the_job_runs_again(stage: Stage, text: str) -> None:
    campaign = stage.create({"a": step(command=["sh", "-c", "echo x > a"], outputs=["a"], retry={"max": 0})})
    directory = abandon(stage, campaign)
    directory.mkdir(parents=True)
    (directory / "log.txt").touch()
    (directory / "result.json").write_bytes(text.encode("latin-1"))
    assert carry(stage, campaign)
    assert stage.states(campaign) == {"a/0/all": "done"}
    assert [attempt["cause"] for attempt in stage.attempts(1)][-1] == "ok"
    assert len(stage.attempts(1)) == 2
    assert (campaign.folder / "a").read_text() == "x\n"


def test_the_result_of_another_attempt_proves_nothing(stage: Stage) -> None:
    """As when an attempt's directory was copied by hand."""
    campaign = stage.create({"a": step(command=["sh", "-c", "echo x > a"], outputs=["a"])})
    directory = abandon(stage, campaign)
    directory.mkdir(parents=True)
    (directory / "log.txt").touch()
    foreign = {**success(), "job": 77, "attempt": 1, "ledger": stage.database.id, "format": 1}
    (directory / "result.json").write_text(json.dumps(foreign))
    assert carry(stage, campaign)
    assert len(stage.attempts(1)) == 2
    assert (campaign.folder / "a").exists()


def test_a_whole_result_of_an_engine_that_died_counts(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    directory = abandon(stage, campaign)
    directory.mkdir(parents=True)
    whole = {**success(metrics={"m": 2.0}), "job": 1, "attempt": 1, "ledger": stage.database.id, "format": 1}
    (directory / "result.json").write_text(json.dumps(whole))
    assert carry(stage, campaign)
    assert [attempt["cause"] for attempt in stage.attempts(1)] == ["ok"]


# ---------------------------------------------------------------- folders


def test_a_log_folder_that_vanishes_under_a_job_costs_that_attempt_alone(stage: Stage) -> None:
    script = 'if [ $FIDUCIAL_ATTEMPT = 1 ]; then rm -rf "$FIDUCIAL_DIRECTORY"; fi; echo x > {{ output }}'
    campaign = stage.create(
        {"a": step(command=["sh", "-c", script], fanout=fan(2), outputs=["{{ folder }}/a_{{ file }}"])}
    )
    assert carry(stage, campaign)
    assert set(stage.states(campaign).values()) == {"done"}
    for job in (1, 2):
        first, second = stage.attempts(job)
        assert first["state"] in ("failed", "lost")
        assert second["state"] == "done"


def test_a_campaign_folder_that_is_removed_between_runs_is_made_again(stage: Stage) -> None:
    steps = {
        "a": step(command=["sh", "-c", "echo x > {{ output }}"], outputs=["a"]),
        "b": step(command=["cat", "{{ input }}"], after="a", inputs={"0": {"from": "a"}}),
    }
    campaign = stage.create(steps)
    with LocalBackend(1) as backend, locked(campaign.folder):
        run(stage.scheduler, campaign, backend, until_step="a")
    shutil.rmtree(campaign.folder)
    with pytest.raises(FolderError, match="cannot use the campaign's folder"):
        carry(stage, campaign)
    again = stage.create(steps)
    assert carry(stage, again)
    assert stage.states(again) == {"a/0/all": "done", "b/0/all": "failed"}
    assert f"input {campaign.folder / 'a'} cannot be read" in stage.job(again, "b")["message"]
    assert stage.row(again)["state"] == "failed"


def test_attempts_whose_folder_is_gone_are_run_again(stage: Stage) -> None:
    steps = {"a": step(command=["true"], retry={"by_cause": {"lost": 0}})}
    campaign = stage.create(steps)
    directory = abandon(stage, campaign)
    directory.mkdir(parents=True)
    (directory / "log.txt").touch()
    shutil.rmtree(campaign.folder)
    assert carry(stage, stage.create(steps))
    assert [attempt["cause"] for attempt in stage.attempts(1)] == ["stopped", "ok"]


def test_a_file_in_the_place_of_an_attempt_does_not_stop_the_others(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(3), retry={"max": 1})})
    place = attempt_directory(campaign.folder, "a", 0, "00001", 1)
    place.parent.mkdir(parents=True)
    place.write_text("in the way")
    assert carry(stage, campaign)
    assert set(stage.states(campaign).values()) == {"done"}
    assert [stage.job(campaign, f"a/0000{n}")["attempt"] for n in range(3)] == [1, 2, 1]


# ---------------------------------------------------------------- clocks


def test_a_clock_that_goes_backwards_breaks_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6, 0, -100))
    monkeypatch.setattr(write, "now", lambda: float(next(clock)))
    campaign = stage.create({"a": step(fanout=fan(3), iterate=True), "b": step(after="a")}, iteration={"max": 2})
    backwards: dict[str, Any] = {**success(), "started": 500.0, "finished": 400.0, "usage": {"wall_s": -100.0}}
    for _ in range(3):
        stage.end_all(stage.lease(campaign), backwards)
    assert stage.row(campaign)["state"] == "done"
    attempt = stage.attempts(1)[0]
    assert attempt["finished"] < attempt["started"]


def test_real_jobs_do_not_mind_a_ledger_clock_that_goes_backwards(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6, 0, -10))
    monkeypatch.setattr(write, "now", lambda: float(next(clock)))
    campaign = stage.create({"a": step(fanout=fan(20)), "b": step(after="a")})
    assert carry(stage, campaign)
    assert set(stage.states(campaign).values()) == {"done"}


# ---------------------------------------------------------------- a full disk


def test_a_ledger_on_a_full_disk_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    """The disk fills up while the ledger writes: what was written stays, and with room again it goes on."""
    database = Database(f"sqlite:///{small_disk / 'ledger.db'}")
    scheduler = Scheduler(database)
    stage = Stage(tmp_path)
    stage.close()
    stage.database, stage.scheduler = database, scheduler  # this one lies on the small disk
    try:
        campaign = stage.create({"a": step(fanout=fan(500)), "b": step(after="a")})
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(max(0, free - 60_000)))
        with pytest.raises(LedgerError, match="cannot be written") as caught, locked(campaign.folder):
            run(scheduler, campaign, ScriptedBackend(slots=20))
        assert "free some disk space" in caught.value.hint
        stage.check()
        done = len(stage.rows(campaign, states=["done"]))
        assert done < 500
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
        keys = [(row["id"], row["attempt"]) for row in stage.rows(campaign, states=["submitted", "running"])]
        backend = ScriptedBackend(slots=20, left={key: Lost(*key, "its engine is gone") for key in keys})
        with locked(campaign.folder):
            assert run(scheduler, campaign, backend)
        assert set(stage.states(campaign).values()) == {"done"}
        stage.check()
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    finally:
        database.close()


def test_a_ledger_that_another_process_holds_for_too_long_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = stage.create({"a": step()})
    other = Database(f"sqlite:///{stage.folder / 'ledger.db'}")
    try:
        with stage.database.read() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 50")
        with other.write() as connection:
            connection.exec_driver_sql("UPDATE campaigns SET reason = ''")
            with pytest.raises(LedgerError, match="locked by another process"):
                stage.lease(campaign)
        assert len(stage.lease(campaign)) == 1
    finally:
        other.close()


def test_create_is_repeated_after_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    database = Database(f"sqlite:///{small_disk / 'ledger.db'}")
    scheduler = Scheduler(database)
    try:
        made = prepare(workflow({"a": step(fanout=fan(60_000))}), {}, workflow_folder=tmp_path, base=tmp_path)
        with pytest.raises(LedgerError, match="cannot be written"):
            create(scheduler, made)
        subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
        campaign = create(scheduler, made)
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM campaigns").scalar() == 1
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM jobs").scalar() == 60_000
        assert campaign.name == "w"
    finally:
        database.close()


def test_a_full_disk_stops_the_change_and_loses_nothing(small_disk: Path) -> None:
    stage = Stage(small_disk)
    campaign = stage.create({"a": step(fanout=fan(10))})
    with pytest.raises(LedgerError, match=r"cannot be written: .*full") as caught:
        stage.create({"a": step(fanout=fan(100_000))}, name="large", campaign="large")
    assert "free some disk space" in caught.value.hint
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"
    stage.check()
    stage.close()
