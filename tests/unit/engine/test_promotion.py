"""Which jobs may start: all after all, one after one, tolerance, and what is not needed any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from campaigns import Stage, failure, fan, step, success
from fiducial.engine.scheduler import Report
from fiducial.ledger import ledger as write

NEVER_AGAIN = {"max": 0}


def matching(parent: str) -> dict[str, Any]:
    return {"step": parent, "matching": True}


def published(path: str) -> dict[str, Any]:
    return {"key": "0", "path": path, "size": 1, "adler32": "00620062"}


def test_a_step_waits_for_all_of_its_parents(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2)), "b": step(), "c": step(fanout=fan(2), after=["a", "b"])})
    a0, a1, b = stage.lease(campaign)
    stage.end(a0)
    stage.end(b)
    assert stage.group(campaign, "c")["waiting"] == 2
    stage.end(a1)
    assert stage.group(campaign, "c")["ready"] == 2


def test_a_matching_child_waits_for_its_own_parent_alone(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(3)), "b": step(fanout=fan(3), after=matching("a"))})
    _, a1, _ = stage.lease(campaign)
    stage.end(a1)
    assert [row["key"] for row in stage.rows(campaign, steps=["b"], states=["ready"])] == ["00001"]


def test_a_child_of_two_matching_parents_waits_for_both(stage: Stage) -> None:
    steps = {"a": step(fanout=fan(2)), "b": step(fanout=fan(2)), "c": step(fanout=fan(2), after=["a", "b"])}
    steps["c"]["after"] = [matching("a"), matching("b")]
    campaign = stage.create(steps)
    a0, a1, b0, b1 = stage.lease(campaign)
    stage.end_all([a0, b1])
    assert stage.group(campaign, "c")["ready"] == 0
    stage.end(b0)
    assert stage.states(campaign)["c/0/00000"] == "ready"
    stage.end(a1)
    assert stage.group(campaign, "c")["ready"] == 2


def test_a_matching_child_waits_for_its_other_parents_too(stage: Stage) -> None:
    campaign = stage.create(
        {"a": step(fanout=fan(2)), "b": step(), "c": step(fanout=fan(2), after=[matching("a"), "b"])}
    )
    a0, a1, b = stage.lease(campaign)
    stage.end(a0)
    assert stage.group(campaign, "c")["waiting"] == 2
    stage.end(b)
    assert stage.states(campaign)["c/0/00000"] == "ready"
    assert stage.states(campaign)["c/0/00001"] == "waiting"
    stage.end(a1)
    assert stage.group(campaign, "c")["ready"] == 2


def test_matching_children_take_the_file_of_their_own_parent(stage: Stage) -> None:
    campaign = stage.create(
        {
            "a": step(fanout=fan(2), outputs=["a_{{ file }}"]),
            "b": step(fanout=fan(2), after=matching("a"), inputs={"0": {"from": "a"}}),
        }
    )
    for place, spec in enumerate(stage.lease(campaign)):
        stage.end(spec, success(outputs=[published(f"/a_{place}")]))
    assert [spec["inputs"][0]["path"] for spec in stage.lease(campaign)] == ["/a_0", "/a_1"]


def test_jobs_of_the_same_name_in_different_steps_are_not_mixed_up(stage: Stage) -> None:
    """Two pairs of steps over ranges that overlap: file 2 is the third of one, and the first of the other."""
    long, short = {"files": "0-4"}, {"files": "2-4"}
    campaign = stage.create(
        {
            "a": step(fanout=long, outputs=["a_{{ file }}"]),
            "b": step(fanout=short, outputs=["b_{{ file }}"]),
            "aa": step(fanout=long, after=matching("a"), inputs={"0": {"from": "a"}}),
            "bb": step(fanout=short, after=matching("b"), inputs={"0": {"from": "b"}}),
        }
    )
    for spec in stage.lease(campaign):
        _, name, _, key = spec["name"].split("/")
        stage.end(spec, success(outputs=[published(f"/{name}_{int(key)}")]))
    taken = {spec["name"].split("/", 1)[1]: spec["inputs"][0]["path"] for spec in stage.lease(campaign)}
    assert taken == {
        "aa/00/00000": "/a_0",
        "aa/00/00001": "/a_1",
        "aa/00/00002": "/a_2",
        "aa/00/00003": "/a_3",
        "bb/00/00002": "/b_2",
        "bb/00/00003": "/b_3",
    }


def test_a_job_may_be_called_all(stage: Stage) -> None:
    names = {"list": ["none", "all"]}
    campaign = stage.create(
        {
            "a": step(fanout=names, outputs=["a_{{ item }}"]),
            "b": step(fanout=names, after=matching("a"), inputs={"0": {"from": "a"}}),
        }
    )
    for spec in stage.lease(campaign):
        stage.end(spec, success(outputs=[published(f"/{spec['name'].split('/')[-1]}")]))
    assert [spec["inputs"][0]["path"] for spec in stage.lease(campaign)] == ["/none", "/all"]


def test_more_failures_than_are_tolerated_end_the_campaign(stage: Stage) -> None:
    campaign = stage.create(
        {"a": step(fanout=fan(4), tolerate=0.25, retry=NEVER_AGAIN), "b": step(after="a")},
    )
    specs = stage.lease(campaign)
    stage.end_all(specs[:2])
    stage.end_all(specs[2:], failure())
    assert stage.state(campaign, "b") == "waiting"
    row = stage.row(campaign)
    assert (row["state"], row["reason"]) == ("failed", "step a: 2 failed of 4 jobs")


def test_tolerated_failures_do_not_stop_the_campaign(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(4), tolerate=0.25, retry=NEVER_AGAIN), "b": step(after="a")})
    specs = stage.lease(campaign)
    stage.end_all(specs[:3])
    stage.end(specs[3], failure())
    (last,) = stage.lease(campaign)
    stage.end(last)
    assert stage.row(campaign)["state"] == "done"


def test_the_tolerated_share_is_reached_exactly(stage: Stage) -> None:
    """0.29 x 100 is 28.999… in binary."""
    campaign = stage.create({"a": step(fanout=fan(100), tolerate=0.29, retry=NEVER_AGAIN)})
    specs = stage.lease(campaign)
    stage.end_all(specs[29:])
    stage.end_all(specs[:29], failure())
    assert stage.row(campaign)["state"] == "done"


def test_children_of_tolerated_failures_are_skipped(stage: Stage) -> None:
    campaign = stage.create(
        {
            "a": step(fanout=fan(4), tolerate=0.5, retry=NEVER_AGAIN),
            "b": step(fanout=fan(4), after=matching("a")),
            "c": step(fanout=fan(4), after=matching("b")),
            "d": step(after="c"),
        }
    )
    a = stage.lease(campaign)
    stage.end(a[0], failure())
    stage.end_all(a[1:])
    stage.end_all(stage.lease(campaign))
    stage.end_all(stage.lease(campaign))
    states = stage.states(campaign)
    assert (states["b/0/00000"], states["c/0/00000"], states["d/0/all"]) == ("skipped", "skipped", "ready")
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"


def test_a_skipped_child_runs_when_its_parent_is_retried(stage: Stage) -> None:
    campaign = stage.create(
        {
            "a": step(fanout=fan(4), tolerate=0.5, retry=NEVER_AGAIN),
            "b": step(fanout=fan(4), after=matching("a")),
            "c": step(fanout=fan(4), after=matching("b")),
        }
    )
    a = stage.lease(campaign)
    stage.end(a[0], failure())
    stage.end_all(a[1:])
    stage.end_all(stage.lease(campaign))
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"
    assert stage.scheduler.retry(campaign.id, [a[0]["job"]], "me") == 1
    for name in ("a", "b", "c"):
        (spec,) = stage.lease(campaign)
        assert spec["name"] == f"w/{name}/00/00000"
        stage.end(spec)
    assert stage.row(campaign)["state"] == "done"
    assert set(stage.states(campaign).values()) == {"done"}


def test_a_child_that_has_just_become_ready_keeps_the_campaign_going(stage: Stage) -> None:
    """The last parent that ends frees its child, though another parent has failed for good."""
    campaign = stage.create(
        {"a": step(fanout=fan(2), retry=NEVER_AGAIN), "b": step(fanout=fan(2), after=matching("a"))}
    )
    a0, a1 = stage.lease(campaign)
    stage.end(a0, failure())
    stage.end(a1)
    assert stage.states(campaign)["b/0/00001"] == "ready"
    assert stage.row(campaign)["state"] == "active"
    stage.end_all(stage.lease(campaign))
    row = stage.row(campaign)
    assert (row["state"], row["reason"]) == ("failed", "step a: 1 failed of 2 jobs")


def test_parents_and_children_may_end_in_one_batch_of_reports(stage: Stage) -> None:
    campaign = stage.create(
        {"a": step(fanout=fan(2), retry=NEVER_AGAIN), "b": step(fanout=fan(2), after=matching("a"))}
    )
    a0, a1 = stage.lease(campaign)
    stage.end(a0)
    (b0,) = stage.lease(campaign)
    stage.report(*(Report(spec["job"], 1, result=success()) for spec in (b0, a1)))
    assert stage.row(campaign)["state"] == "active"
    stage.end_all(stage.lease(campaign))
    assert stage.row(campaign)["state"] == "done"


def test_files_that_turn_up_later_make_no_jobs(stage: Stage, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.raw").touch()
    campaign = stage.create(
        {"a": step(fanout={"files": {"glob": str(tmp_path / "*.raw")}}, iterate=True)}, iteration={"max": 2}
    )
    (tmp_path / "c.raw").touch()
    stage.end_all(stage.lease(campaign))
    (tmp_path / "a.raw").unlink()
    stage.end_all(stage.lease(campaign))
    assert sorted(stage.states(campaign)) == ["a/1/a", "a/1/b", "a/2/a", "a/2/b"]
    assert stage.row(campaign)["state"] == "done"


def test_a_job_that_cannot_be_described_fails_alone(stage: Stage) -> None:
    campaign = stage.create(
        {
            "a": step(outputs={"x": {"path": "x", "optional": True}}),
            "b": step(after="a", inputs={"x": {"from": "a"}}),
            "c": step(after="a"),
        }
    )
    stage.end_all(stage.lease(campaign))
    (c,) = stage.lease(campaign)
    assert c["name"] == "w/c/00/all"
    assert stage.state(campaign, "b") == "failed"
    assert "step 'a' has published no 'x'" in stage.job(campaign, "b")["message"]
    stage.end(c)
    assert stage.row(campaign)["reason"] == "step b: 1 failed of 1 jobs"


def test_when_groups_began_and_ended_is_kept(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a")})
    assert stage.group(campaign, "b")["started"] is None
    stage.end_all(stage.lease(campaign))
    a, b = stage.group(campaign, "a"), stage.group(campaign, "b")
    assert a["started"] <= a["finished"] <= b["started"]
    assert b["finished"] is None


def test_a_group_that_is_taken_up_again_ends_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(write, "now", lambda: clock[0])
    campaign = stage.create({"a": step(fanout=fan(2), tolerate=0.5, retry=NEVER_AGAIN)})
    one, two = stage.lease(campaign)
    stage.end(one)
    stage.end(two, failure())
    assert stage.group(campaign, "a")["finished"] == 1000.0
    clock[0] = 2000.0
    stage.scheduler.retry(campaign.id, [two["job"]], "me")
    assert stage.group(campaign, "a")["finished"] is None
    stage.end_all(stage.lease(campaign))
    assert stage.group(campaign, "a")["finished"] == 2000.0
