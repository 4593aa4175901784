"""Whatever agents and people do, in whatever order: counters are right, histories legal, no job leased twice."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from campaigns import Stage, failure, fan, step, success
from fiducial.batch.backend import JobKey, key_of
from fiducial.core.states import ACTIVE, JobState
from fiducial.engine.scheduler import Report

STOPPED = {"state": "killed", "cause": "stopped", "message": "stopped"}
JOBS = st.lists(st.integers(1, 24), min_size=1, max_size=4)
STEPS = {
    "raw": step(fanout=fan(3), tolerate=0.4, retry={"max": 1}),
    "copy": step(fanout=fan(3), after={"step": "raw", "matching": True}, retry={"max": 0}, tolerate=0.4),
    "reco": step(fanout=fan(2), after="copy", iterate=True, retry={"max": 1}),
    "fit": step(after="reco", iterate=True),
    "plot": step(fanout=fan(2), after=["fit", {"step": "last", "matching": True}]),
    "last": step(fanout=fan(2)),
}


class Histories(RuleBasedStateMachine):
    """A campaign with every kind of dependency, and random acts of agents and people."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fiducial-tests-"))
        self.stage = Stage(self.folder)
        self.leased: list[JobKey] = []

    @initialize()
    def create(self) -> None:
        self.campaign = self.stage.create(STEPS, iteration={"max": 2, "until": "fit.shift < 0.1"})

    @rule(limit=st.integers(1, 6))
    def lease(self, limit: int) -> None:
        busy = {row["id"] for row in self.stage.rows(self.campaign) if JobState(row["state"]) in ACTIVE}
        keys = [key_of(spec) for spec in self.stage.lease(self.campaign, limit)]
        assert len(keys) <= limit
        assert len({job for job, _ in keys}) == len(keys)
        assert not busy & {job for job, _ in keys}, "a job was leased that is under way"
        assert not set(keys) & set(self.leased), "an attempt was leased twice"
        self.leased += keys

    def some(self, places: list[int]) -> list[JobKey]:
        """Attempts of any age, the latest most often."""
        recent = self.leased[::-1]
        return [recent[place % len(recent)] for place in places] if recent else []

    def report(self, places: list[int], what: Any) -> None:
        reports = [Report(job, attempt, **what) for job, attempt in self.some(places)]
        before = {row["id"]: (row["attempt"], row["state"]) for row in self.stage.rows(self.campaign)}
        accepted = self.stage.report(*reports)
        after = {row["id"]: (row["attempt"], row["state"]) for row in self.stage.rows(self.campaign)}
        for report, current in zip(reports, accepted, strict=True):
            assert current == (before[report.job][0] == report.attempt)
        told = {report.job for report, current in zip(reports, accepted, strict=True) if current}
        moved = {job for job in before if before[job] != after[job] and JobState(before[job][1]) in ACTIVE}
        assert moved <= told, "a job moved that nobody spoke of"

    @rule(places=st.lists(st.integers(0, 8), min_size=1, max_size=5), shift=st.sampled_from([1.0, 0.01]))
    def done(self, places: list[int], shift: float) -> None:
        self.report(places, {"result": success(metrics={"shift": shift})})

    @rule(
        places=st.lists(st.integers(0, 8), min_size=1, max_size=3),
        cause=st.sampled_from(["exit", "lost", "memory", "input"]),
    )
    def failed(self, places: list[int], cause: str) -> None:
        self.report(places, {"result": failure(cause)})

    @rule(places=st.lists(st.integers(0, 8), min_size=1, max_size=3))
    def stopped(self, places: list[int]) -> None:
        self.report(places, {"result": STOPPED})

    @rule(places=st.lists(st.integers(0, 8), min_size=1, max_size=3))
    def started(self, places: list[int]) -> None:
        self.report(places, {"started": 1.0})

    @rule(places=st.lists(st.integers(0, 8), min_size=1, max_size=2))
    def lost(self, places: list[int]) -> None:
        self.report(places, {"lost": "gone"})

    @rule(ids=JOBS)
    def hold(self, ids: list[int]) -> None:
        self.stage.scheduler.hold(ids, "me")

    @rule(ids=JOBS)
    def release(self, ids: list[int]) -> None:
        self.stage.scheduler.release(self.campaign.id, ids, "me")

    @rule(ids=JOBS)
    def kill(self, ids: list[int]) -> None:
        self.stage.scheduler.kill(ids, "me")

    @rule(ids=JOBS)
    def retry(self, ids: list[int]) -> None:
        self.stage.scheduler.retry(self.campaign.id, ids, "me")

    @rule()
    def cancel(self) -> None:
        self.stage.scheduler.cancel(self.campaign.id, "me")

    @rule()
    def settle(self) -> None:
        before = self.stage.states(self.campaign), self.stage.row(self.campaign)["state"]
        self.stage.scheduler.settle(self.campaign.id)
        assert (self.stage.states(self.campaign), self.stage.row(self.campaign)["state"]) == before, (
            "something was left undone"
        )

    @invariant()
    def the_ledger_is_right(self) -> None:
        self.stage.check()

    @invariant()
    def a_campaign_that_is_over_has_nothing_to_do(self) -> None:
        states = set(self.stage.states(self.campaign).values())
        if self.stage.row(self.campaign)["state"] in ("done", "cancelled"):
            assert "ready" not in states
        if self.stage.row(self.campaign)["state"] == "done":
            assert states <= {"done", "failed", "skipped"}

    def teardown(self) -> None:
        self.finish()
        self.stage.close()
        shutil.rmtree(self.folder)

    def finish(self) -> None:
        """From wherever it is, a campaign that is taken up again comes to its end."""
        for _ in range(6):
            rows = self.stage.rows(self.campaign)
            self.stage.scheduler.release(self.campaign.id, [row["id"] for row in rows], "me")
            self.stage.scheduler.retry(self.campaign.id, [row["id"] for row in rows], "me")
            while True:
                self.stage.lease(self.campaign)
                busy = [row for row in self.stage.rows(self.campaign) if JobState(row["state"]) in ACTIVE]
                if not busy:
                    break
                done = success(metrics={"shift": 0.01})
                self.stage.report(*(Report(row["id"], row["attempt"], result=done) for row in busy))
        assert self.stage.row(self.campaign)["state"] == "done", self.stage.row(self.campaign)["reason"]
        assert set(self.stage.states(self.campaign).values()) == {"done"}
        self.stage.check()


Histories.TestCase.settings = settings(
    max_examples=8, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
