"""From a workflow to a campaign: created once, taken up again, updated, and its folder is its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from campaigns import ScriptedBackend, Stage, failure, fan, step, success, workflow
from fiducial.batch.backend import Event, Finished, JobSpec, key_of
from fiducial.core.errors import FolderError, StateError, WorkflowError
from fiducial.core.workflow import Workflow
from fiducial.engine import supervisor
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Scheduler
from fiducial.engine.supervisor import claim_folder, create, locked, prepare, run, update
from fiducial.ledger import queries
from fiducial.ledger.database import Database


def prepared(stage: Stage, made: Workflow, **variables: Any) -> Any:
    return prepare(made, variables, workflow_folder=stage.folder, base=stage.folder)


def carry(stage: Stage, campaign: Campaign, backend: ScriptedBackend | None = None, **options: Any) -> ScriptedBackend:
    backend = backend or ScriptedBackend()
    with locked(campaign.folder):
        assert run(stage.scheduler, campaign, backend, **options)
    return backend


def steps_of(backend: ScriptedBackend) -> list[str]:
    return [spec["name"].split("/")[1] for spec in backend.submitted]


def test_a_campaign_runs_to_its_end(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(5)), "b": step(after="a")})
    backend = carry(stage, campaign)
    assert steps_of(backend) == ["a"] * 5 + ["b"]
    assert stage.row(campaign)["state"] == "done"
    assert backend.closed


def test_the_same_command_again_changes_nothing(stage: Stage) -> None:
    made = workflow({"a": step(fanout=fan(3))})
    first = stage.create_from(made)
    carry(stage, first)
    states = stage.states(first)
    again = create(Scheduler(stage.database), prepared(stage, made))
    assert again.id == first.id
    assert carry(stage, again).submitted == []
    assert stage.states(first) == states


def test_the_same_command_gives_failed_jobs_another_chance(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2), retry={"max": 0}), "b": step(after="a")})

    def fail_the_first(spec: JobSpec) -> list[Event]:
        return [Finished(*key_of(spec), failure() if spec["job"] == 1 else success())]

    carry(stage, campaign, ScriptedBackend(fail_the_first))
    assert stage.row(campaign)["state"] == "failed"
    assert steps_of(carry(stage, campaign)) == ["a", "b"]
    assert stage.row(campaign)["state"] == "done"


def test_failed_jobs_stay_failed_where_that_is_asked(stage: Stage) -> None:
    campaign = stage.create({"a": step(retry={"max": 0})})
    carry(stage, campaign, ScriptedBackend(lambda spec: [Finished(*key_of(spec), failure())]))
    assert carry(stage, campaign, retry_failed=False).submitted == []


def test_it_stops_when_the_wanted_step_is_done(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a"), "c": step(after="b"), "other": step()})
    assert steps_of(carry(stage, campaign, until_step="b")) == ["a", "b"]
    assert stage.row(campaign)["state"] == "active"
    assert sorted(steps_of(carry(stage, campaign))) == ["c", "other"]
    assert stage.row(campaign)["state"] == "done"


def test_a_wanted_step_that_is_not_there_is_an_error(stage: Stage) -> None:
    campaign = stage.create({"reco": step()})
    with pytest.raises(WorkflowError, match="no step 'rco'") as caught, locked(campaign.folder):
        run(stage.scheduler, campaign, ScriptedBackend(), until_step="rco")
    assert "reco" in caught.value.hint


def test_it_ends_when_only_held_jobs_are_left(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2)), "b": step(after="a")})
    stage.scheduler.hold([1], "me")
    carry(stage, campaign)
    assert stage.states(campaign) == {"a/0/00000": "held", "a/0/00001": "done", "b/0/all": "waiting"}
    assert stage.row(campaign)["state"] == "active"


def test_a_changed_workflow_is_not_taken_for_the_same(stage: Stage) -> None:
    stage.create({"a": step()})
    with pytest.raises(StateError, match="the workflow changed"):
        stage.create({"a": step(command=["false"])})


def test_changed_variables_are_not_taken_for_the_same(stage: Stage) -> None:
    made = workflow({"a": step(command=["echo", "{{ x }}"])}, variables={"x": 1})
    stage.create_from(made, x=2)
    with pytest.raises(StateError, match="the variables changed"):
        stage.create_from(made, x=3)


def test_an_unknown_variable_is_an_error_that_names_the_nearest(stage: Stage) -> None:
    with pytest.raises(WorkflowError, match="no variable 'runn'") as caught:
        stage.create_from(workflow({"a": step()}, variables={"run": 1}), runn=2)
    assert "run" in caught.value.hint


def test_an_update_changes_what_is_left(stage: Stage) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a")})
    stage.end_all(stage.lease(campaign))
    changed = workflow({"a": step(command=["new"]), "b": step(after="a", command=["new"])})
    updated = update(stage.scheduler, prepared(stage, changed))
    assert updated.id == campaign.id
    (b,) = stage.lease(updated)
    assert b["argv"] == ["new"]
    stage.end(b)
    assert stage.create_from(changed).id == campaign.id


def test_an_update_of_nothing_creates(stage: Stage) -> None:
    campaign = update(stage.scheduler, prepared(stage, workflow({"a": step()})))
    assert stage.states(campaign) == {"a/0/all": "ready"}


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ({"a": step(fanout=fan(2))}, "its steps changed"),
        ({"a": step(fanout=fan(3)), "b": step(after="a")}, "fanout of step 'a' changed"),
        ({"a": step(fanout=fan(2)), "b": step()}, "after of step 'b' changed"),
        ({"a": step(fanout=fan(2)), "b": step(after="a", iterate=True)}, "iterate of step 'b' changed"),
    ],
    ids=["step gone", "fan-out", "after", "iterate"],
)
def test_an_update_that_changes_the_jobs_is_refused(stage: Stage, steps: dict[str, Any], reason: str) -> None:
    stage.create({"a": step(fanout=fan(2)), "b": step(after="a")})
    with pytest.raises(StateError, match=reason):
        update(stage.scheduler, prepared(stage, workflow(steps)))


def test_an_update_mends_a_condition_that_named_the_wrong_metric(stage: Stage) -> None:
    steps = {"fit": step(iterate=True)}
    campaign = stage.create(steps, iteration={"max": 3, "until": "fit.sihft < 1"})
    shifted = ScriptedBackend(lambda spec: [Finished(*key_of(spec), success(metrics={"shift": 0.5}))])
    carry(stage, campaign, shifted)
    assert stage.row(campaign)["state"] == "failed"
    mended = update(stage.scheduler, prepared(stage, workflow(steps, iteration={"max": 3, "until": "fit.shift < 1"})))
    assert carry(stage, mended).submitted == []
    assert stage.row(campaign)["reason"] == "converged after 1 iteration"


def iterated(most: int, until: str = "fit.shift < 0.1") -> Workflow:
    steps = {
        "fit": step(iterate=True),
        "plots": step(after="fit", fanout=fan(3), metrics=["good"]),
        "pages": step(after={"step": "plots", "matching": True}, fanout=fan(3)),
        "aside": step(),
    }
    return workflow(steps, iteration={"max": most, "until": until})


def halving() -> ScriptedBackend:
    """Each iteration's shift is half that of the one before."""

    def work(spec: JobSpec) -> list[Event]:
        _, name, *rest = spec["name"].split("/")
        found = {"shift": 0.5 ** int(rest[0])} if name == "fit" else {"good": 1.0} if name == "plots" else {}
        return [Finished(*key_of(spec), success(metrics=found))]

    return ScriptedBackend(work)


def test_iterations_go_on_when_an_update_allows_more(stage: Stage) -> None:
    campaign = stage.create_from(iterated(2))
    carry(stage, campaign, halving())
    assert stage.row(campaign)["reason"].startswith("not converged after 2 iterations")
    again = update(stage.scheduler, prepared(stage, iterated(9)))
    assert steps_of(carry(stage, again, halving())) == ["fit"] * 2 + ["plots"] * 3 + ["pages"] * 3
    assert stage.row(campaign)["reason"] == "converged after 4 iterations"
    assert [row["attempt"] for row in stage.rows(campaign) if row["step"] == "plots"] == [2, 2, 2]
    with stage.database.read() as connection:
        assert len(queries.metric_values(connection, campaign.id)[0]["plots"]["good"]) == 3, "the new ones alone"


def test_an_update_of_what_does_not_iterate_leaves_it_done(stage: Stage) -> None:
    steps = {"a": step(fanout=fan(2)), "b": step(after="a")}
    campaign = stage.create(steps)
    carry(stage, campaign, halving())
    before = dict(stage.row(campaign))
    assert (before["state"], before["converged"]) == ("done", None)
    again = update(stage.scheduler, prepared(stage, workflow(steps)))
    assert carry(stage, again, halving()).submitted == []
    assert {**stage.row(campaign), "workflow": ""} == {**before, "workflow": ""}


@pytest.mark.parametrize("most", [2, 9])
def test_iterations_go_on_when_an_update_asks_for_more(stage: Stage, most: int) -> None:
    campaign = stage.create_from(iterated(most, "fit.shift < 0.3"))
    carry(stage, campaign, halving())
    assert stage.row(campaign)["reason"] == "converged after 2 iterations"
    again = update(stage.scheduler, prepared(stage, iterated(most)))
    carry(stage, again, halving())
    assert stage.row(campaign)["iteration"] == (4 if most == 9 else 2)


def test_an_update_that_asks_for_no_more_does_nothing_again(stage: Stage) -> None:
    campaign = stage.create_from(iterated(2))
    carry(stage, campaign, halving())
    same = update(stage.scheduler, prepared(stage, iterated(1)))
    assert carry(stage, same, halving()).submitted == []
    assert stage.row(campaign)["state"] == "done"


def test_iterations_go_on_after_a_later_step_has_failed(stage: Stage) -> None:
    campaign = stage.create_from(iterated(2))
    broken = halving()
    fine = broken.script
    broken.script = lambda spec: [Finished(*key_of(spec), failure())] if "plots" in spec["name"] else fine(spec)
    carry(stage, campaign, broken)
    assert stage.row(campaign)["state"] == "failed"
    again = update(stage.scheduler, prepared(stage, iterated(9)))
    carry(stage, again, halving())
    assert stage.row(campaign)["reason"] == "converged after 4 iterations"


def test_an_update_is_refused_while_an_engine_runs(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    with locked(campaign.folder), pytest.raises(StateError, match="another fiducial"):
        update(stage.scheduler, prepared(stage, workflow({"a": step(command=["new"])})))
    assert stage.create({"a": step()}).id == campaign.id


def test_two_engines_cannot_hold_one_folder(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    with (
        locked(campaign.folder),
        pytest.raises(StateError, match=r"another fiducial .*process"),
        locked(campaign.folder),
    ):
        pass
    with locked(campaign.folder):
        pass


def test_a_folder_that_is_gone_cannot_be_locked(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    shutil.rmtree(campaign.folder)
    with pytest.raises(FolderError, match=str(campaign.folder)), locked(campaign.folder):
        pass


def test_a_folder_of_another_campaign_is_refused(stage: Stage) -> None:
    stage.create({"a": step()}, name="one", folder="shared")
    with pytest.raises(FolderError, match="belongs to campaign 'one'"):
        stage.create({"a": step()}, name="two", folder="shared")


def test_a_folder_of_another_ledger_is_refused(stage: Stage, tmp_path: Path) -> None:
    stage.create({"a": step()})
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    try:
        with pytest.raises(FolderError, match="another ledger"):
            create(Scheduler(other), prepared(stage, workflow({"a": step()})))
    finally:
        other.close()


def test_a_folder_with_a_damaged_mark_is_refused(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    mark = campaign.folder / ".fiducial" / "campaign.json"
    assert json.loads(mark.read_text())["campaign"] == "w"
    for damage in ("", "[1]", '{"campa'):
        mark.write_text(damage)
        with pytest.raises(FolderError):
            stage.create({"a": step()})


def test_a_folder_that_cannot_be_written_is_an_error(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="file"):
        stage.create({"a": step()}, folder="file/below")


def test_a_campaign_may_have_a_number_as_its_name(stage: Stage) -> None:
    first = stage.create({"a": step()}, name="first")
    number = workflow({"a": step()}, name=str(first.id))
    second = stage.create_from(number)
    assert (second.name, second.id) == (str(first.id), first.id + 1)
    assert stage.create_from(number).id == second.id


def test_a_fan_out_that_makes_no_job_leaves_no_campaign(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="makes no job"):
        stage.create({"a": step(), "b": step(fanout={"files": {"glob": str(tmp_path / "*.none")}})})
    with stage.database.read() as connection:
        assert connection.exec_driver_sql("SELECT (SELECT COUNT(*) FROM campaigns) + COUNT(*) FROM jobs").scalar() == 0


def test_two_commands_that_create_the_same_campaign_at_once_make_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked and found nothing before either has written."""
    made = prepared(stage, workflow({"a": step()}))
    other: list[Campaign] = []

    def be_slow(*arguments: Any) -> None:
        monkeypatch.setattr(supervisor, "claim_folder", claim_folder)
        other.append(create(stage.scheduler, made))
        claim_folder(*arguments)

    monkeypatch.setattr(supervisor, "claim_folder", be_slow)
    assert create(stage.scheduler, made).id == other[0].id
    assert stage.states(other[0]) == {"a/0/all": "ready"}
