"""Leases and reports: the attempt's number decides whose word counts, and repeats and delays change nothing."""

from __future__ import annotations

import pytest

from campaigns import Stage, failure, fan, step, success
from fiducial.batch.backend import key_of
from fiducial.engine.scheduler import Report
from fiducial.ledger import queries
from fiducial.ledger.ledger import Lease


def test_a_job_is_leased_once(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(5))})
    first = stage.lease(campaign, 3)
    second = stage.scheduler.lease(campaign.id, 10, Lease("other", "elsewhere", 60.0))
    assert [spec["name"][-5:] for spec in first] == ["00000", "00001", "00002"]
    assert [spec["name"][-5:] for spec in second] == ["00003", "00004"]
    assert stage.lease(campaign) == []
    assert [stage.attempts(spec["job"])[0]["agent"] for spec in first + second] == ["agent"] * 3 + ["other"] * 2


def test_jobs_of_higher_priority_are_leased_first(stage: Stage) -> None:
    campaign = stage.create({"low": step(fanout=fan(2)), "high": step(fanout=fan(2), priority=5)})
    assert [spec["name"].split("/")[1] for spec in stage.lease(campaign, 3)] == ["high", "high", "low"]


def test_only_jobs_of_the_wanted_steps_are_leased(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step()})
    assert [spec["name"].split("/")[1] for spec in stage.lease(campaign, steps=frozenset({"b"}))] == ["b"]


def test_a_report_for_a_stale_attempt_is_refused_and_noted(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (old,) = stage.lease(campaign)
    stage.end(old, failure())
    (new,) = stage.lease(campaign)
    assert key_of(new) == (old["job"], 2)
    assert not stage.end(old, success(metrics={"m": 1}))
    assert stage.state(campaign, "a") == "submitted"
    assert stage.history(old["job"])[-1] == "refused"
    assert stage.end(new)
    assert stage.state(campaign, "a") == "done"


def test_a_report_for_a_job_that_never_was_is_refused(stage: Stage) -> None:
    stage.create({"a": step()})
    assert stage.report(Report(999, 1, result=success())) == [False]


def test_a_report_before_any_lease_changes_nothing(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    assert stage.report(Report(stage.job(campaign, "a")["id"], 0, result=success())) == [True]
    assert stage.state(campaign, "a") == "ready"


def test_a_repeated_report_changes_nothing(stage: Stage) -> None:
    output = {"key": "0", "path": "/out", "size": 3, "adler32": "0000002a"}
    campaign = stage.create({"a": step(), "b": step(after="a")})
    (spec,) = stage.lease(campaign)
    result = success(metrics={"m": 1.5}, outputs=[output])
    assert stage.end(spec, result)
    history, attempts = stage.history(spec["job"]), stage.attempts(spec["job"])
    assert stage.end(spec, result)
    assert stage.lose(spec)
    assert stage.end(spec, failure())
    assert stage.history(spec["job"]) == history
    assert stage.attempts(spec["job"]) == attempts
    assert stage.states(campaign) == {"a/0/all": "done", "b/0/all": "ready"}


def test_the_same_report_twice_in_one_batch_counts_once(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2)), "b": step(fanout=fan(2), after={"step": "a", "matching": True})})
    one, _ = stage.lease(campaign)
    done = Report(one["job"], 1, result=success(metrics={"m": 1}))
    assert stage.report(done, done) == [True, True]
    assert stage.states(campaign)["b/0/00000"] == "ready"
    assert stage.states(campaign)["b/0/00001"] == "waiting"


@pytest.mark.parametrize(
    "later",
    [
        Report(1, 1, lost="the node is gone"),
        Report(1, 1, result=failure()),
        Report(1, 1, result={"state": "killed", "cause": "stopped"}),
        Report(1, 1, started=100.0),
    ],
    ids=["lost", "failed", "stopped", "started"],
)
def test_the_first_end_in_a_batch_is_the_one_that_counts(stage: Stage, later: Report) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    assert spec["job"] == 1
    stage.report(Report(1, 1, result=success()), later)
    assert stage.state(campaign, "a") == "done"
    assert stage.row(campaign)["state"] == "done"


def test_a_late_start_after_the_end_changes_nothing(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    done, failed = stage.lease(campaign)
    stage.end(done)
    stage.end(failed, failure())
    assert stage.start(done)
    assert stage.start(failed)
    assert stage.states(campaign) == {"a/0/00000": "done", "a/0/00001": "ready"}


def test_a_start_is_written_down_once(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.start(spec)
    stage.start(spec)
    assert stage.state(campaign, "a") == "running"
    stage.end(spec)
    assert stage.history(spec["job"]) == ["submitted", "running", "done"]


def test_a_start_that_was_never_told_is_told_with_the_end(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.end(spec)
    assert stage.history(spec["job"]) == ["submitted", "running", "done"]
    assert stage.attempts(spec["job"])[0]["started"] == 100.0


def test_an_end_before_its_start_is_kept_as_it_is(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.start(spec)
    stage.end(spec, {**success(), "started": 200.0, "finished": 150.0})
    attempt = stage.attempts(spec["job"])[0]
    assert (attempt["state"], attempt["started"], attempt["finished"]) == ("done", 200.0, 150.0)


def test_outputs_and_metrics_of_a_job_are_kept(stage: Stage) -> None:
    outputs = [
        {"key": "hits", "path": "/x/hits", "size": 7, "adler32": "00000007"},
        {"key": "tracks", "path": "/x/tracks", "size": 9, "adler32": "00000009"},
    ]
    campaign = stage.create({"a": step()})
    (spec,) = stage.lease(campaign)
    stage.end(spec, success(metrics={"chi2": 1.5}, outputs=outputs))
    with stage.database.read() as connection:
        kept = {row["name"]: (row["path"], row["size"]) for row in queries.artifacts_of(connection, spec["job"])}
        metrics = queries.metric_values(connection, campaign.id)
    assert kept == {"hits": ("/x/hits", 7), "tracks": ("/x/tracks", 9)}
    assert metrics == {0: {"a": {"chi2": [1.5]}}}


def test_a_failed_attempt_leaves_no_outputs_and_no_metrics(stage: Stage) -> None:
    output = {"key": "0", "path": "/x", "size": 7, "adler32": "00000007"}
    campaign = stage.create({"a": step()})
    (first,) = stage.lease(campaign)
    stage.end(first, {**failure(), "metrics": {"m": 1.0}, "outputs": [output]})
    (second,) = stage.lease(campaign)
    stage.end(second, success(metrics={"m": 2.0}, outputs=[{**output, "size": 8}]))
    with stage.database.read() as connection:
        assert [row["size"] for row in queries.artifacts_of(connection, first["job"])] == [8]
        assert queries.metric_values(connection, campaign.id) == {0: {"a": {"m": [2.0]}}}


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"state": "done"},
        {"state": "done", "cause": "ok", "outputs": [{"path": "/x"}]},
        {"state": "done", "cause": "ok", "outputs": 3, "metrics": {}},
        {"state": "done", "cause": "ok", "outputs": [], "metrics": {"m": "many"}},
        {"state": "done", "cause": "ok", "outputs": [], "metrics": {"m": float("nan")}},
        {"state": "failed", "cause": "exit", "usage": "much", "outputs": []},
        {**success(), "job": 7, "attempt": 1},
    ],
    ids=[
        "empty",
        "no outputs",
        "output without key",
        "outputs no list",
        "metric no number",
        "metric NaN",
        "usage",
        "of another",
    ],
)
def test_a_result_that_makes_no_sense_is_no_result(stage: Stage, result: dict[str, object]) -> None:
    campaign = stage.create({"a": step(), "b": step()})
    damaged, other = stage.lease(campaign)
    assert stage.report(Report(damaged["job"], 1, result=result), Report(other["job"], 1, result=success())) == [
        True,
        True,
    ]
    assert stage.states(campaign) == {"a/0/all": "ready", "b/0/all": "done"}
    attempt = stage.attempts(damaged["job"])[0]
    assert (attempt["state"], attempt["cause"]) == ("lost", "lost")
    assert "cannot be used" in attempt["message"]
