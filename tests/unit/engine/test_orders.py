"""What people ask for while a campaign runs: hold, release, kill, retry, cancel, archive."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns import Stage, failure, fan, step, success
from fiducial.core.states import JobState
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Report
from fiducial.ledger import queries

STOPPED = {"state": "killed", "cause": "stopped", "message": "stopped"}


def ids(stage: Stage, campaign: Campaign, **options: Any) -> list[int]:
    return [row["id"] for row in stage.rows(campaign, **options)]


def orders(stage: Stage) -> list[tuple[int, int, str]]:
    with stage.database.read() as connection:
        return [tuple(row) for row in queries.orders(connection, stage.agent.agent)]


def test_a_held_job_is_not_leased_until_it_is_released(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    first, second = ids(stage, campaign)
    assert stage.scheduler.hold([first], "me") == 1
    assert [spec["job"] for spec in stage.lease(campaign)] == [second]
    assert stage.row(campaign)["state"] == "active"
    assert stage.scheduler.release(campaign.id, [first], "me") == 1
    assert [spec["job"] for spec in stage.lease(campaign)] == [first]


def test_a_campaign_is_not_over_while_a_job_is_held(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    first, _ = ids(stage, campaign)
    stage.scheduler.hold([first], "me")
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "active"
    stage.scheduler.release(campaign.id, [first], "me")
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"


def test_a_job_that_is_held_while_it_waits_goes_on_waiting_when_released(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a")})
    b = stage.job(campaign, "b")["id"]
    stage.scheduler.hold([b], "me")
    stage.scheduler.release(campaign.id, [b], "me")
    assert stage.state(campaign, "b") == "waiting"
    stage.end_all(stage.lease(campaign))
    assert stage.state(campaign, "b") == "ready"


def test_a_job_that_is_held_while_its_parents_end_is_ready_when_released(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2)), "b": step(fanout=fan(2), after={"step": "a", "matching": True})})
    held = stage.job(campaign, "b/00001")["id"]
    stage.scheduler.hold([held], "me")
    stage.end_all(stage.lease(campaign))
    assert stage.state(campaign, "b/00001") == "held"
    stage.scheduler.release(campaign.id, [held], "me")
    assert stage.state(campaign, "b/00001") == "ready"


def test_a_job_that_is_released_too_late_is_skipped_like_its_siblings(stage: Stage) -> None:
    campaign = stage.create(
        {
            "a": step(fanout=fan(2), tolerate=0.5, retry={"max": 0}),
            "b": step(fanout=fan(2), after={"step": "a", "matching": True}),
        }
    )
    held = stage.job(campaign, "b/00000")["id"]
    stage.scheduler.hold([held], "me")
    a0, a1 = stage.lease(campaign)
    stage.end(a0, failure())
    stage.end(a1)
    stage.end_all(stage.lease(campaign))
    stage.scheduler.release(campaign.id, [held], "me")
    assert stage.state(campaign, "b/00000") == "skipped"
    assert stage.row(campaign)["state"] == "done"


@pytest.mark.parametrize(("what", "state"), [("hold", "held"), ("kill", "killed")])
def test_a_running_job_is_stopped_by_its_agent(stage: Stage, what: str, state: str) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.start(spec)
    assert getattr(stage.scheduler, what)([spec["job"]], "me") == 1
    assert stage.state(campaign, "a") == "running"
    assert orders(stage) == [(spec["job"], 1, what)]
    stage.end(spec, STOPPED)
    assert stage.state(campaign, "a") == state
    assert orders(stage) == []


def test_a_hold_that_is_taken_back_in_time_stops_nothing(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.scheduler.hold([spec["job"]], "me")
    assert stage.scheduler.release(campaign.id, [spec["job"]], "me") == 1
    assert orders(stage) == []
    stage.end(spec, STOPPED)
    assert stage.state(campaign, "a") == "ready"


def test_releasing_does_not_take_back_a_kill(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.scheduler.kill([spec["job"]], "me")
    assert stage.scheduler.release(campaign.id, [spec["job"]], "me") == 0
    assert orders(stage) == [(spec["job"], 1, "kill")]
    stage.end(spec, STOPPED)


def test_a_job_that_ends_before_it_is_stopped_keeps_its_end(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    done, failed = stage.lease(campaign)
    stage.scheduler.kill([done["job"], failed["job"]], "me")
    stage.end(done)
    stage.end(failed, failure())
    assert stage.states(campaign) == {"a/0/00000": "done", "a/0/00001": "killed"}


def test_an_order_does_not_outlive_its_attempt(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.scheduler.kill([spec["job"]], "me")
    stage.end(spec, STOPPED)
    stage.scheduler.retry(campaign.id, [spec["job"]], "me")
    (again,) = stage.lease(campaign)
    assert orders(stage) == []
    stage.end(again, failure())
    assert stage.state(campaign, "a") == "ready"


def test_killing_what_waits_ends_the_campaign(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a")})
    assert stage.scheduler.kill(ids(stage, campaign), "me") == 2
    assert set(stage.states(campaign).values()) == {"killed"}
    row = stage.row(campaign)
    assert (row["state"], row["reason"]) == ("failed", "step a: 1 killed of 1 jobs; step b: 1 killed of 1 jobs")


def test_killed_jobs_run_again_when_asked(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a")})
    stage.scheduler.kill(ids(stage, campaign), "me")
    assert stage.scheduler.retry(campaign.id, ids(stage, campaign), "me") == 2
    assert stage.states(campaign) == {"a/0/all": "ready", "b/0/all": "waiting"}
    for _ in "ab":
        stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"


def test_what_is_done_or_under_way_is_not_run_again(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    done, running = stage.lease(campaign)
    stage.end(done, success(metrics={"m": 1.0}))
    assert stage.scheduler.retry(campaign.id, [done["job"], running["job"]], "me") == 0
    with stage.database.read() as connection:
        assert queries.metric_values(connection, campaign.id) == {0: {"a": {"m": [1.0]}}}
    stage.end(running)
    assert stage.row(campaign)["state"] == "done"


def test_what_ended_cannot_be_held_or_killed(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.end(spec)
    assert stage.scheduler.hold([spec["job"]], "me") == 0
    assert stage.scheduler.kill([spec["job"]], "me") == 0
    assert stage.state(campaign, "a") == "done"


def test_jobs_that_never_were_are_passed_over(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    assert stage.scheduler.hold([999], "me") == 0
    assert stage.scheduler.kill([999], "me") == 0
    assert stage.scheduler.retry(campaign.id, [999], "me") == 0
    assert stage.scheduler.release(campaign.id, [999], "me") == 0


def test_jobs_of_another_campaign_are_passed_over(stage: Stage) -> None:
    mine = stage.create({"a": step()}, name="mine")
    other = stage.create({"a": step()}, name="other")
    foreign = ids(stage, other)
    stage.scheduler.kill(foreign, "me")
    assert stage.scheduler.retry(mine.id, foreign, "me") == 0
    assert stage.scheduler.release(mine.id, foreign, "me") == 0
    assert stage.state(other, "a") == "killed"


def test_a_cancelled_campaign_ends_and_can_be_taken_up_again(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(3)), "b": step(after="a")})
    running, done = stage.lease(campaign, 2)
    stage.end(done)
    assert stage.scheduler.cancel(campaign.id, "me") == 3
    assert orders(stage) == [(running["job"], 1, "kill")]
    assert stage.lease(campaign) == []
    stage.end(running, STOPPED)
    assert sorted(stage.states(campaign).values()) == ["done", "killed", "killed", "killed"]
    row = stage.row(campaign)
    assert (row["state"], row["reason"]) == ("cancelled", "cancelled by me")
    stage.scheduler.settle(campaign.id)
    assert stage.row(campaign)["state"] == "cancelled"
    stage.scheduler.retry(campaign.id, ids(stage, campaign, states=["killed"]), "me")
    stage.end_all(stage.lease(campaign))
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"


def test_nothing_of_a_cancelled_campaign_starts_by_a_late_report(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2)), "b": step(fanout=fan(2), after={"step": "a", "matching": True})})
    a0, a1 = stage.lease(campaign)
    stage.scheduler.cancel(campaign.id, "me")
    stage.report(Report(a0["job"], 1, result=success()), Report(a1["job"], 1, result=failure()))
    assert stage.lease(campaign) == []
    assert stage.states(campaign) == {
        "a/0/00000": "done",
        "a/0/00001": "killed",
        "b/0/00000": "killed",
        "b/0/00001": "killed",
    }


def test_the_name_of_an_archived_campaign_is_free_again(stage: Stage) -> None:
    first = stage.create({"a": step()})
    stage.end_all(stage.lease(first))
    stage.scheduler.archive(first.id)
    second = stage.create({"a": step()})
    assert second.id != first.id
    assert stage.row(first)["state"] == "archived"
    with stage.database.read() as connection:
        found = queries.find_campaign(connection, "w")
        assert found is not None
        assert found["id"] == second.id
        assert [row["id"] for row in queries.campaign_rows(connection)] == [second.id]
        assert len(queries.campaign_rows(connection, archived=True)) == 2


def hold_in_queue(stage: Stage, spec: dict[str, Any]) -> None:
    stage.report(Report(spec["job"], spec["attempt"], state=JobState.HELD, why="no space left for its output"))


def test_what_its_batch_system_holds_goes_on_with_the_same_attempt(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    [spec] = stage.lease(campaign)
    hold_in_queue(stage, spec)
    assert stage.state(campaign, "a") == "held"
    assert stage.row(campaign)["state"] == "active"
    assert stage.scheduler.release(campaign.id, [spec["job"]], "me") == 1
    assert orders(stage) == [(spec["job"], 1, "free")]
    stage.report(Report(spec["job"], 1, state=JobState.SUBMITTED, why="released"))
    assert orders(stage) == []
    assert stage.start(spec)
    stage.end(spec)
    assert stage.row(campaign)["state"] == "done"
    assert stage.history(spec["job"]) == ["submitted", "held", "submitted", "running", "done"]


def test_what_its_batch_system_holds_may_run_by_itself_or_end(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    first, second = stage.lease(campaign)
    hold_in_queue(stage, first)
    hold_in_queue(stage, second)
    stage.start(first)
    assert stage.states(campaign)["a/0/00000"] == "running"
    stage.end(second)
    assert stage.states(campaign)["a/0/00001"] == "done"


def test_what_its_batch_system_holds_is_killed_by_its_agent(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    first, second = stage.lease(campaign)
    hold_in_queue(stage, first)
    assert stage.scheduler.kill([first["job"]], "me") == 1
    assert orders(stage) == [(first["job"], 1, "kill")]
    hold_in_queue(stage, second)
    stage.scheduler.cancel(campaign.id, "me")
    assert {what for _, _, what in orders(stage)} == {"kill"}
    stage.end_all([first, second], STOPPED)
    assert set(stage.states(campaign).values()) == {"killed"}


def test_what_its_batch_system_holds_is_not_run_a_second_time(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    [spec] = stage.lease(campaign)
    hold_in_queue(stage, spec)
    assert stage.scheduler.retry(campaign.id, [spec["job"]], "me") == 0
    assert stage.state(campaign, "a") == "held"
    with stage.database.read() as connection:
        assert [row["id"] for row in queries.active_attempts(connection, campaign.id)] == [spec["job"]]


def test_a_job_that_was_lost_from_sight_may_be_seen_again(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    [spec] = stage.lease(campaign)
    stage.report(Report(spec["job"], 1, state=JobState.LOST, why="it has left the queue"))
    assert stage.state(campaign, "a") == "lost"
    stage.report(Report(spec["job"], 1, state=JobState.SUBMITTED))
    assert stage.state(campaign, "a") == "submitted"


def test_what_somebody_took_out_of_the_queue_is_not_run_again(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    [spec] = stage.lease(campaign)
    stage.end(spec, {"state": "killed", "cause": "removed", "message": "removed by condor_rm"})
    assert stage.state(campaign, "a") == "killed"
