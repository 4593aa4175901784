"""Iterations: again until it is enough, with the files and metrics of the iteration before."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns import Stage, failure, fan, step, success
from fiducial.engine.campaign import Campaign


def fit(**fields: Any) -> dict[str, Any]:
    return step(iterate=True, **fields)


def play(stage: Stage, campaign: Campaign, *values: float, metric: str = "shift") -> None:
    """End one iteration after another, each with its value."""
    for value in values:
        stage.end_all(stage.lease(campaign), success(metrics={metric: value}))


def ending(stage: Stage, campaign: Campaign) -> tuple[str, int, int | None, str]:
    row = stage.row(campaign)
    return row["state"], row["iteration"], row["converged"], row["reason"]


def test_it_goes_on_until_it_has_converged(stage: Stage) -> None:
    campaign = stage.create({"fit": fit()}, iteration={"max": 9, "until": "fit.shift < 0.1"})
    play(stage, campaign, 1.0, 0.5)
    assert ending(stage, campaign) == ("active", 3, None, "")
    play(stage, campaign, 0.05)
    assert ending(stage, campaign) == ("done", 3, 1, "converged after 3 iterations")
    assert sorted(stage.states(campaign)) == ["fit/1/all", "fit/2/all", "fit/3/all"]


def test_at_the_most_iterations_it_is_told_that_it_has_not_converged(stage: Stage) -> None:
    campaign = stage.create({"fit": fit()}, iteration={"max": 2, "until": "fit.shift < 0.1"})
    play(stage, campaign, 1.0, 0.5)
    assert ending(stage, campaign) == (
        "done",
        2,
        0,
        "not converged after 2 iterations, the most that were allowed",
    )


def test_without_a_condition_all_iterations_are_done(stage: Stage) -> None:
    campaign = stage.create({"fit": fit()}, iteration={"max": 2})
    play(stage, campaign, 1.0, 1.0)
    assert ending(stage, campaign) == ("done", 2, 1, "all 2 iterations are done")


def test_the_number_of_iterations_may_be_a_variable(stage: Stage) -> None:
    campaign = stage.create({"fit": fit()}, variables={"n": 2}, iteration={"max": "{{ n + 1 }}"})
    play(stage, campaign, 1.0, 1.0, 1.0)
    assert ending(stage, campaign)[:2] == ("done", 3)


def test_it_can_be_held_against_the_iteration_before(stage: Stage) -> None:
    until = "previous.fit.chi2 - fit.chi2 < 0.1"
    campaign = stage.create({"fit": fit()}, iteration={"max": 9, "until": until})
    play(stage, campaign, 5.0, 3.0, 2.95, metric="chi2")
    assert ending(stage, campaign)[:3] == ("done", 3, 1)


def test_the_values_of_many_jobs_are_looked_at_together(stage: Stage) -> None:
    until = "fit.shift | max < 0.1"
    campaign = stage.create({"fit": fit(fanout=fan(2))}, iteration={"max": 9, "until": f"({until})"})
    for first, second in ((0.01, 0.5), (0.01, 0.02)):
        one, two = stage.lease(campaign)
        stage.end(one, success(metrics={"shift": first}))
        stage.end(two, success(metrics={"shift": second}))
    assert ending(stage, campaign)[:3] == ("done", 2, 1)


def test_a_metric_that_nobody_reported_fails_the_campaign_and_is_named(stage: Stage) -> None:
    campaign = stage.create({"fit": fit()}, iteration={"max": 9, "until": "fit.chi3 < 1"})
    play(stage, campaign, 1.0, metric="chi2")
    state, iteration, converged, reason = ending(stage, campaign)
    assert (state, iteration, converged) == ("failed", 1, None)
    assert "'fit.chi3': step 'fit' reported no metric 'chi3'" in reason
    assert "chi2" in reason
    assert stage.row(campaign)["finished"] is not None
    assert stage.lease(campaign) == []


def test_steps_before_the_iteration_run_once(stage: Stage) -> None:
    campaign = stage.create({"raw": step(), "fit": fit(after="raw")}, iteration={"max": 2})
    (raw,) = stage.lease(campaign)
    assert raw["name"] == "w/raw/00/all"
    stage.end(raw)
    play(stage, campaign, 1.0, 1.0)
    assert sorted(stage.states(campaign)) == ["fit/1/all", "fit/2/all", "raw/0/all"]
    assert stage.row(campaign)["state"] == "done"


def test_steps_after_the_iteration_run_when_all_iterations_are_over(stage: Stage) -> None:
    campaign = stage.create({"fit": fit(), "plot": step(after="fit")}, iteration={"max": 9, "until": "fit.shift < 0.1"})
    play(stage, campaign, 1.0)
    assert stage.state(campaign, "plot") == "waiting"
    play(stage, campaign, 0.01)
    assert stage.state(campaign, "plot") == "ready"
    assert stage.row(campaign)["state"] == "active"
    (plot,) = stage.lease(campaign)
    stage.end(plot)
    assert stage.row(campaign)["state"] == "done"


def test_the_next_iteration_waits_for_every_iterated_step(stage: Stage) -> None:
    campaign = stage.create({"reco": fit(fanout=fan(2)), "fit": fit(after="reco")}, iteration={"max": 2})
    for iteration in (1, 2):
        reco = stage.lease(campaign)
        assert {spec["name"].split("/")[2] for spec in reco} == {f"{iteration:02}"}
        stage.end_all(reco)
        stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"


def test_an_iteration_takes_the_file_of_the_one_before(stage: Stage) -> None:
    constants = {"from": "fit", "previous": True, "initial": "/start"}
    output = {"key": "0", "size": 1, "adler32": "00620062"}
    campaign = stage.create(
        {
            "fit": fit(outputs=["c_{{ iteration }}"], inputs={"0": constants}),
            "last": step(after="fit", inputs={"0": {"from": "fit"}}),
        },
        iteration={"max": 3},
    )
    taken = []
    for iteration in (1, 2, 3):
        (spec,) = stage.lease(campaign)
        taken.append(spec["inputs"][0]["path"])
        stage.end(spec, success(outputs=[{**output, "path": f"/c_{iteration}"}]))
    assert taken == ["/start", "/c_1", "/c_2"]
    (last,) = stage.lease(campaign)
    assert last["inputs"][0]["path"] == "/c_3"


def test_a_failure_in_an_iteration_names_it(stage: Stage) -> None:
    campaign = stage.create({"fit": fit(retry={"max": 0})}, iteration={"max": 3})
    play(stage, campaign, 1.0)
    stage.end_all(stage.lease(campaign), failure())
    assert ending(stage, campaign)[3] == "step fit of iteration 2: 1 failed of 1 jobs"


def test_a_retried_failure_takes_the_iterations_up_again(stage: Stage) -> None:
    campaign = stage.create({"fit": fit(retry={"max": 0})}, iteration={"max": 2, "until": "fit.shift < 0.1"})
    (spec,) = stage.lease(campaign)
    stage.end(spec, failure())
    assert stage.row(campaign)["state"] == "failed"
    stage.scheduler.retry(campaign.id, [spec["job"]], "me")
    play(stage, campaign, 1.0, 0.01)
    assert ending(stage, campaign)[:3] == ("done", 2, 1)


@pytest.mark.parametrize("tolerated", [0.5])
def test_tolerated_failures_do_not_stop_the_iterations(stage: Stage, tolerated: float) -> None:
    campaign = stage.create(
        {"fit": fit(fanout=fan(2), tolerate=tolerated, retry={"max": 0})},
        iteration={"max": 9, "until": "(fit.shift | max) < 0.1"},
    )
    one, two = stage.lease(campaign)
    stage.end(one, failure())
    stage.end(two, success(metrics={"shift": 0.05}))
    assert ending(stage, campaign)[:3] == ("done", 1, 1)


def test_settling_again_and_again_changes_nothing(stage: Stage) -> None:
    campaign = stage.create({"fit": fit()}, iteration={"max": 3, "until": "fit.shift < 0.1"})
    play(stage, campaign, 1.0)
    before = (stage.row(campaign), stage.states(campaign))
    for _ in range(3):
        stage.scheduler.settle(campaign.id)
    assert (stage.row(campaign), stage.states(campaign)) == before
