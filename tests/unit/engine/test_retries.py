"""What follows a failure, by its cause."""

from __future__ import annotations

import json
from typing import Any

import pytest

from campaigns import Stage, failure, step
from fiducial.engine.campaign import Campaign
from fiducial.ledger import ledger as write

MB = 1024**2


def fail_until_over(stage: Stage, campaign: Campaign, cause: str, exit_code: int | None = None) -> list[dict[str, Any]]:
    """Fail every attempt; the specifications of them all."""
    specs: list[dict[str, Any]] = []
    while leased := stage.lease(campaign):
        assert len(specs) < 50
        specs += leased
        stage.end_all(leased, failure(cause, exit_code))
    return specs


@pytest.mark.parametrize(
    ("cause", "attempts"),
    [("exit", 3), ("signal", 3), ("output", 3), ("lost", 6), ("input", 1), ("spec", 1), ("start", 1), ("cpu_time", 1)],
)
def test_each_cause_is_tried_again_as_often_as_it_may_mend(stage: Stage, cause: str, attempts: int) -> None:
    campaign = stage.create({"a": step()})
    assert len(fail_until_over(stage, campaign, cause, 1)) == attempts
    job = stage.job(campaign, "a")
    assert (job["state"], job["attempt"], job["cause"]) == ("failed", attempts, cause)
    assert stage.row(campaign)["state"] == "failed"


def test_causes_are_counted_one_by_one(stage: Stage) -> None:
    campaign = stage.create({"a": step(retry={"max": 1})})
    for cause in ("exit", "signal", "output"):
        stage.end_all(stage.lease(campaign), failure(cause))
    assert stage.state(campaign, "a") == "ready"
    assert json.loads(stage.job(campaign, "a")["retries"]) == {"exit": 1, "signal": 1, "output": 1}
    stage.end_all(stage.lease(campaign), failure("signal"))
    assert stage.state(campaign, "a") == "failed"


def test_out_of_memory_is_tried_again_with_more_up_to_the_cap(stage: Stage) -> None:
    campaign = stage.create(
        {"a": step(resources={"memory": "100 MB"}, retry={"by_cause": {"memory": 9}, "memory_max": "300 MB"})}
    )
    specs = fail_until_over(stage, campaign, "memory")
    assert [spec["limits"]["memory"] for spec in specs] == [100 * MB, 200 * MB, 300 * MB]


def test_out_of_wall_time_is_tried_again_with_more_up_to_the_cap(stage: Stage) -> None:
    retry = {"by_cause": {"wall_time": 9}, "walltime_factor": 3, "walltime_max": "1m"}
    campaign = stage.create({"a": step(resources={"walltime": "10s"}, retry=retry)})
    assert [spec["limits"]["wall_time"] for spec in fail_until_over(stage, campaign, "wall_time")] == [10, 30, 60]


def test_what_was_raised_for_one_cause_stays_for_the_next(stage: Stage) -> None:
    campaign = stage.create({"a": step(resources={"memory": "100 MB"})})
    for cause in ("memory", "exit"):
        stage.end_all(stage.lease(campaign), failure(cause))
    (spec,) = stage.lease(campaign)
    assert spec["limits"]["memory"] == 200 * MB


@pytest.mark.parametrize(("exit_code", "state"), [(3, "failed"), (4, "ready")])
def test_exit_codes_that_are_final_are_not_tried_again(stage: Stage, exit_code: int, state: str) -> None:
    campaign = stage.create({"a": step(retry={"final_exit_codes": [3]})})
    stage.end_all(stage.lease(campaign), failure("exit", exit_code))
    assert stage.state(campaign, "a") == state


def test_a_lost_job_is_told_as_lost_and_runs_again(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.lose(spec)
    assert stage.state(campaign, "a") == "ready"
    attempt = stage.attempts(spec["job"])[0]
    assert (attempt["state"], attempt["message"]) == ("lost", "the node is gone")


def test_being_stopped_with_the_engine_costs_no_retry(stage: Stage) -> None:
    campaign = stage.create({"a": step(retry={"max": 0})})
    for _ in range(8):
        stage.end_all(stage.lease(campaign), {"state": "killed", "cause": "stopped"})
    job = stage.job(campaign, "a")
    assert (job["state"], job["attempt"], job["retries"]) == ("ready", 8, None)


def test_a_retry_waits_longer_each_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(write, "now", lambda: clock[0])
    campaign = stage.create({"a": step(retry={"delay": "10s"}), "b": step()})
    waited = []
    for _ in range(2):
        stage.end_all([spec for spec in stage.lease(campaign) if "/a/" in spec["name"]], failure())
        before, due = clock[0], stage.job(campaign, "a")["not_before"]
        clock[0] = due - 1
        assert stage.lease(campaign) == []
        clock[0] = due
        waited.append(due - before)
    assert waited == [10, 20]
    assert stage.row(campaign)["state"] == "active"


def test_a_delay_does_not_hold_up_others(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout={"files": "0-2"}, retry={"delay": "1h"})})
    (first,) = stage.lease(campaign, 1)
    stage.end(first, failure())
    (second,) = stage.lease(campaign)
    assert second["job"] != first["job"]


def test_asking_again_gives_fresh_retries(stage: Stage) -> None:
    campaign = stage.create({"a": step(resources={"memory": "100 MB"}, retry={"max": 1})})
    specs = fail_until_over(stage, campaign, "memory")
    assert len(specs) == 2
    assert stage.scheduler.retry(campaign.id, [specs[0]["job"]], "me") == 1
    assert stage.row(campaign)["state"] == "active"
    again = fail_until_over(stage, campaign, "memory")
    assert [spec["limits"]["memory"] for spec in again] == [200 * MB, 400 * MB]
    assert stage.row(campaign)["state"] == "failed"


def test_the_number_of_jobs_on_another_try_is_counted(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout={"files": "0-3"})})
    specs = stage.lease(campaign)
    stage.end(specs[0], failure())
    assert stage.group(campaign, "a")["retrying"] == 1
    (again,) = stage.lease(campaign)
    assert stage.group(campaign, "a")["retrying"] == 1
    stage.end(again)
    assert stage.group(campaign, "a")["retrying"] == 0
