"""The agent's loop, against a fake batch system that brings faults and orders of events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from campaigns import ScriptedBackend, Stage, failure, fan, step, stopped, success
from fiducial.batch.backend import Backend, Event, Finished, JobSpec, Lost, Refused, Started, Submission, key_of
from fiducial.core.errors import BackendError
from fiducial.engine import agent as module
from fiducial.engine.agent import Agent
from fiducial.engine.campaign import Campaign
from fiducial.engine.supervisor import locked, run


def drive(agent: Agent, *, rounds: int = 200) -> None:
    for _ in range(rounds):
        agent.step(0.001)
        if not agent.busy:
            return
    raise AssertionError("the agent does not come to an end")


def silent(spec: JobSpec) -> Sequence[Event]:
    return ()


def die(stage: Stage, campaign: Campaign, backend: ScriptedBackend) -> Agent:
    """An agent that has leased and submitted, and is never heard of again."""
    agent = Agent(stage.scheduler, backend, campaign)
    agent.step(0.0)
    assert backend.submitted
    return agent


def test_the_fake_is_a_backend() -> None:
    assert isinstance(ScriptedBackend(), Backend)


def test_no_more_is_submitted_than_the_backend_takes(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(9))})
    backend = ScriptedBackend(silent, slots=3)
    die(stage, campaign, backend)
    assert len(backend.submitted) == 3


def test_an_agent_is_busy_until_the_last_of_its_jobs_has_ended(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2))})
    backend = ScriptedBackend(silent)
    agent = die(stage, campaign, backend)
    for job in (1, 2):
        agent.flush()
        assert agent.busy
        backend.open[job, 1].append(Finished(job, 1, success()))
        agent.step(0.0)
    agent.flush()
    assert not agent.busy


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 1, 0), (0, 0, 1), (1, 2, 0)])
def test_events_may_come_in_any_order_and_twice(stage: Stage, order: tuple[int, ...]) -> None:
    campaign = stage.create({"a": step(), "b": step(after="a")})

    def script(spec: JobSpec) -> list[Event]:
        key = key_of(spec)
        told: list[Event] = [Started(*key, 100.0), Finished(*key, success()), Started(*key, 100.5)]
        return [told[place] for place in order]

    backend = ScriptedBackend(script)
    agent = Agent(stage.scheduler, backend, campaign)
    for _ in range(20):
        agent.step(0.001)
        agent.flush()
    assert not agent.busy
    assert stage.row(campaign)["state"] == "done"
    assert len(backend.submitted) == 2


def test_what_is_lost_or_refused_is_run_again_as_another_attempt(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2), retry={"by_cause": {"lost": 1}})})

    def script(spec: JobSpec) -> list[Event]:
        key = key_of(spec)
        if spec["attempt"] > 1:
            return [Finished(*key, success())]
        return [Lost(*key, "gone") if spec["job"] == 1 else Refused(*key, "not ours")]

    drive(Agent(stage.scheduler, ScriptedBackend(script), campaign))
    assert stage.row(campaign)["state"] == "done"
    assert [[a["cause"] for a in stage.attempts(job)] for job in (1, 2)] == [["lost", "ok"], ["stopped", "ok"]]


def test_what_an_engine_that_died_has_left_is_taken_over(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(4), retry={"by_cause": {"lost": 0}})})
    die(stage, campaign, ScriptedBackend(silent, slots=4))
    left: dict[tuple[int, int], Event] = {
        (1, 1): Finished(1, 1, success()),
        (2, 1): Finished(2, 1, failure("input")),
        (3, 1): Lost(3, 1, "gone with the engine"),
    }
    backend = ScriptedBackend(left=left)
    agent = Agent(stage.scheduler, backend, campaign)
    assert agent.recover() == 4
    assert list(stage.states(campaign).values()) == ["done", "failed", "ready", "submitted"]
    assert stage.attempts(3)[0]["cause"] == "stopped"
    assert stage.attempts(4)[0]["agent"] == agent.lease.agent
    backend.open[4, 1].append(Finished(4, 1, success()))
    drive(agent)
    assert list(stage.states(campaign).values()) == ["done", "failed", "done", "done"]
    assert [key_of(spec) for spec in backend.submitted] == [(3, 2)]


def test_of_a_queue_all_is_taken_over_and_only_what_was_meant_is_counted(stage: Stage) -> None:
    class Queue(ScriptedBackend):
        outlives = True

    campaign = stage.create({"a": step(fanout=fan(3))})
    die(stage, campaign, Queue(silent, slots=3))
    agent = Agent(stage.scheduler, Queue(), campaign)
    assert agent.recover({2}) == 1
    assert {stage.attempts(job)[0]["agent"] for job in (1, 2, 3)} == {agent.lease.agent}


def test_an_engine_that_comes_back_late_cannot_touch_what_was_taken_over(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    old_backend = ScriptedBackend(silent)
    old = die(stage, campaign, old_backend)
    new = Agent(stage.scheduler, ScriptedBackend(silent, left={(1, 1): Lost(1, 1, "gone")}), campaign)
    new.recover()
    new.step(0.0)
    old_backend.open[1, 1].append(Finished(1, 1, success(metrics={"m": 1.0})))
    old.step(0.0)
    old.flush()
    job = stage.job(campaign, "a")
    assert (job["state"], job["attempt"]) == ("submitted", 2)
    assert stage.history(1)[-1] == "refused"


def test_orders_are_obeyed_for_what_runs_and_for_what_was_leased_ahead(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ORDERS_SECONDS", 0.0)
    monkeypatch.setattr(module.Pace, "ahead", lambda pace: 1)
    campaign = stage.create({"a": step(fanout=fan(3))})
    backend = ScriptedBackend(silent, slots=2)
    agent = Agent(stage.scheduler, backend, campaign)
    agent.step(0.0)
    assert (len(backend.submitted), len(stage.rows(campaign, states=["submitted"]))) == (2, 3)
    stage.scheduler.kill([1, 3], "me")
    for _ in range(3):
        agent.step(0.001)
    agent.flush()
    assert list(stage.states(campaign).values()) == ["killed", "submitted", "killed"]
    assert set(backend.cancelled) >= {(1, 1)}
    agent.stop()


def test_stopping_gives_everything_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Pace, "ahead", lambda pace: 2)
    campaign = stage.create({"a": step(fanout=fan(5))})
    backend = ScriptedBackend(silent, slots=2)
    agent = Agent(stage.scheduler, backend, campaign)
    agent.step(0.0)
    assert stage.group(campaign, "a")["submitted"] == 4
    agent.stop(kill=True)
    assert backend.closed is True
    assert stage.group(campaign, "a")["ready"] == 5
    assert all(row["retries"] is None for row in stage.rows(campaign))
    assert not agent.busy


class Broken(ScriptedBackend):
    """Refuses every submission."""

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        raise BackendError("the batch system is down")


def test_when_the_backend_fails_nothing_stays_leased(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(3), retry={"max": 0})})
    with pytest.raises(BackendError, match="down"), locked(campaign.folder):
        run(stage.scheduler, campaign, Broken())
    assert stage.group(campaign, "a")["ready"] == 3
    with locked(campaign.folder):
        assert run(stage.scheduler, campaign, ScriptedBackend())
    assert stage.row(campaign)["state"] == "done"


def test_leases_are_prolonged(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    campaign = stage.create({"a": step()})
    agent = die(stage, campaign, ScriptedBackend(silent))
    first = stage.attempts(1)[0]["lease_until"]
    agent.step(0.001)
    assert stage.attempts(1)[0]["lease_until"] > first
    agent.stop()


def test_directories_of_attempts_are_those_that_the_jobs_were_given(stage: Stage) -> None:
    """Recovery looks where the runner was told to write."""
    campaign = stage.create({"a": step(fanout={"list": ["x/y", "z"]}, iterate=True)}, iteration={"max": 2})
    asked: list[tuple[int, Path]] = []

    class Asked(ScriptedBackend):
        def recover(self, attempts):  # type: ignore[no-untyped-def]
            found = list(attempts)
            asked.extend((attempt.job, Path(attempt.directory)) for attempt in found)
            return [stopped((attempt.job, attempt.attempt)) for attempt in found]

    backend = ScriptedBackend(silent)
    die(stage, campaign, backend)
    Agent(stage.scheduler, Asked(), campaign).recover()
    assert asked == [(spec["job"], Path(spec["directory"])) for spec in backend.submitted]
