"""A campaign that Slurm was given at once, followed: by marks and results first, and by few questions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan, step, success
from fiducial.batch.backend import Attempt, Finished, Held, Lost, Queued, Started, Submission
from fiducial.batch.kinds import read_site
from fiducial.batch.planned import followed
from fiducial.batch.planned.plan import Plan
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.slurm.detached import follow
from fiducial.batch.slurm.detached.follow import DetachedBackend
from fiducial.batch.slurm.detached.store import last_run, marks_folder
from fiducial.batch.slurm.detached.write import prepare, write_plan
from fiducial.batch.slurm.site import SlurmSite
from fiducial.core.errors import BackendError

MakePlan = Callable[..., Plan]

STEPS = {
    "reco": step(iterate=True, fanout=fan(3), resources={"memory": "1 GB"}, retry={"max": 1, "memory_max": "3 GB"}),
    "fit": step(iterate=True, after=["reco"]),
}
#: The numbers of the arrays, in their order.
RECO, AGAIN = "101", "102"


class Told:
    """A Slurm that says what it is told to say, and counts what it is asked."""

    def __init__(self) -> None:
        self.queue: dict[Ref, Status] = {}
        self.ended: dict[Ref, Status] = {}
        self.questions: list[str] = []
        self.orders: list[tuple[str, set[Ref]]] = []
        self.error: BackendError | None = None

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        self.questions.append("news " + ",".join(sorted(bundle.native for bundle in bundles)))
        if self.error is not None:
            raise self.error
        return dict(self.queue)

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        self.questions.append("endings")
        return {ref: self.ended[ref] for ref in refs if ref in self.ended}

    def cancel(self, refs: Iterable[Ref]) -> None:
        self.orders.append(("cancel", set(refs)))

    def hold(self, refs: Iterable[Ref]) -> None:
        self.orders.append(("hold", set(refs)))

    def release(self, refs: Iterable[Ref]) -> None:
        self.orders.append(("release", set(refs)))


class Followed:
    """A campaign that was handed over, and the backend that follows it."""

    def __init__(self, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
        site = read_site("cluster", {"backend": "slurm"}, "test")
        assert isinstance(site, SlurmSite)
        write_plan(plan, site)
        self.plan = plan
        self.run = prepare(plan, 1000)
        for number, array in enumerate(self.run.arrays, 101):
            self.run.note(array.name, str(number))
        self.run.mark("released")
        self.slurm = Told()
        monkeypatch.setattr(follow, "Slurm", lambda site: self.slurm)
        self.backend = DetachedBackend(plan.folder, site)
        self.all_wait()

    def all_wait(self) -> None:
        self.slurm.queue = {Ref(native, place): Status("pending") for native in (RECO, AGAIN) for place in (1, 2, 3)}

    def folder(self, number: int, attempt: int = 1) -> Path:
        """Of an attempt at one of the first iteration's reconstructions, which are counted from 1."""
        return self.plan.folder / ".fiducial" / "reco" / "01" / f"{number - 1:05d}.{attempt}"

    def look_for(self, *numbers: int, attempt: int = 1) -> list[Submission]:
        specs = [{"job": n, "attempt": attempt, "directory": str(self.folder(n, attempt))} for n in numbers]
        return self.backend.submit(specs)

    def ask(self) -> list[Any]:
        """A look that is also time for a question."""
        self.backend._next_question = 0.0
        return self.backend.poll(0.0)

    def mark(self, number: int, what: str, attempt: int = 1) -> None:
        folder = marks_folder(self.run, "reco_01") / what
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.folder(number, attempt).name).touch()

    def end(self, number: int, attempt: int = 1, **fields: Any) -> None:
        """What a runner leaves."""
        folder = self.folder(number, attempt)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps({**success(), **fields}))
        self.mark(number, "ended", attempt)

    def gone(self, number: int, *natives: str, **ended: Any) -> None:
        """A job is in the queue no more, in one array or both; what is known of its end."""
        for native in natives or (RECO, AGAIN):
            del self.slurm.queue[Ref(native, number)]
        if ended:
            self.slurm.ended[Ref(RECO, number)] = Status("ended", **ended)


@pytest.fixture
def campaign(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> Followed:
    monkeypatch.setattr(followed, "_RESULT_SECONDS", 0.0)  # nothing is late
    return Followed(make_plan(STEPS, iteration={"max": 2}), monkeypatch)


# ------------------------------------------------------------------------------------------------- marks and results


def test_beginnings_and_ends_are_seen_without_further_questions(campaign: Followed) -> None:
    assert campaign.look_for(1, 2, 3) == [Submission(n, 1, f"{RECO}_{n}") for n in (1, 2, 3)]
    campaign.mark(2, "begun")
    (event,) = campaign.backend.poll(0.0)
    assert isinstance(event, Started)
    assert (event.job, event.at) == (2, pytest.approx(time.time(), abs=60))
    campaign.end(2)
    campaign.end(3, state="failed", cause="exit", exit_code=3)
    first, second = sorted(campaign.backend.poll(0.0), key=lambda event: event.job)
    assert isinstance(first, Finished)
    assert (first.result["state"], first.result["job"]) == ("done", 2)
    assert isinstance(second, Finished)
    assert second.result["exit_code"] == 3
    assert campaign.backend.poll(0.0) == []
    assert len(campaign.slurm.questions) == 1  # when it began


def test_what_was_begun_is_found_again_by_the_next_engine(campaign: Followed) -> None:
    campaign.mark(1, "begun")
    campaign.end(2)
    events = campaign.backend.recover([Attempt(n, 1, campaign.folder(n)) for n in (1, 2, 3)])
    assert {(type(event), event.job) for event in events} == {(Started, 1), (Finished, 2)}


def test_files_are_where_the_campaign_is_by_now(campaign: Followed) -> None:
    campaign.look_for(1)
    before = "/where/it/was"
    output = {"key": "0", "path": f"{before}/out/1", "size": 1, "adler32": "00000001"}
    campaign.end(1, folder=before, outputs=[output])
    (event,) = campaign.backend.poll(0.0)
    assert isinstance(event, Finished)
    assert event.result["outputs"][0]["path"] == f"{campaign.plan.folder}/out/1"


def test_an_attempt_has_the_number_that_the_ledger_gives(campaign: Followed) -> None:
    """The runner counts what it finds, so that folders of attempts of which it knows nothing are made."""
    campaign.look_for(1, attempt=3)
    assert [(campaign.folder(1, number) / "revoked").exists() for number in (1, 2)] == [True, True]
    assert not campaign.folder(1, 3).exists()


def test_the_second_array_runs_what_needs_more(campaign: Followed) -> None:
    campaign.end(1, state="failed", cause="memory")
    campaign.end(2, state="failed", cause="exit")
    assert [one.backend_id for one in campaign.look_for(1, 2, attempt=2)] == [f"{AGAIN}_1", f"{RECO}_2"]


# --------------------------------------------------------------------------------------------------------- questions


def test_questions_become_rarer_while_nothing_happens(campaign: Followed) -> None:
    campaign.look_for(1)
    pauses = []
    for _ in range(4):
        campaign.ask()
        pauses.append(campaign.backend._next_question - time.monotonic())
    assert pauses == [pytest.approx(seconds, abs=5) for seconds in (15, 30, 60, 60)]
    assert len(campaign.slurm.questions) == 4


def test_holds_are_told_with_their_reason_and_so_is_their_end(campaign: Followed) -> None:
    campaign.look_for(1, 2)
    for native in (RECO, AGAIN):
        campaign.slurm.queue[Ref(native, 1)] = Status("held", "somebody holds it (JobHeldUser)")
    assert campaign.ask() == [Held(1, 1, "somebody holds it (JobHeldUser)")]
    assert campaign.ask() == []
    campaign.all_wait()
    assert campaign.ask() == [Queued(1, 1)]


def test_a_slurm_that_does_not_answer_costs_nothing(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.slurm.error = BackendError("Slurm: timed out", transient=True)
    assert campaign.ask() == []
    assert campaign.backend.trouble == "Slurm: timed out"
    campaign.slurm.error = None
    campaign.ask()
    assert campaign.backend.trouble == ""
    assert campaign.backend.phase == "running"


def test_what_somebody_removed_is_killed(campaign: Followed) -> None:
    campaign.look_for(1, 2)
    campaign.gone(1, reason="cancelled by olga", cause="removed", host="n7")
    (event,) = campaign.ask()
    assert isinstance(event, Finished)
    assert (event.job, event.result["cause"], event.result["host"]) == (1, "removed", "n7")
    assert event.result["message"] == "its job was removed from the queue: cancelled by olga"
    assert (campaign.folder(1) / "revoked").exists()


def test_while_the_second_array_waits_the_first_may_be_gone(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.gone(1, RECO)
    assert campaign.ask() == []
    assert "endings" not in campaign.slurm.questions


def test_a_runner_that_died_is_lost(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.folder(1).mkdir(parents=True)
    (campaign.folder(1) / "log.txt").touch()
    campaign.gone(1, reason="node n7 failed", cause="lost")
    assert campaign.ask() == [Lost(1, 1, "node n7 failed")]


def test_a_runner_that_was_stopped_is_asked_about(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.end(1, state="killed", cause="stopped")
    campaign.gone(1, RECO, reason="over its time limit", cause="wall_time")
    assert campaign.backend.poll(0.0) == []  # by whom is not known yet
    (event,) = campaign.ask()
    assert isinstance(event, Finished)
    assert (event.result["cause"], event.result["message"]) == ("wall_time", "over its time limit")


def test_a_runner_that_was_stopped_by_nobody_knows_whom(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.end(1, state="killed", cause="stopped")
    campaign.gone(1, RECO)
    events = [event for _ in range(6) for event in campaign.ask()]
    assert [event.result["cause"] for event in events] == ["removed"]
    assert campaign.slurm.questions.count("endings") == 3


def test_an_attempt_that_its_causes_forbid_fails_as_the_one_before(campaign: Followed) -> None:
    campaign.end(1, state="failed", cause="exit", exit_code=4, message="exit code 4")
    campaign.look_for(1, attempt=2)
    campaign.gone(1, reason="never ran", cause="")
    (event,) = campaign.ask()
    assert isinstance(event, Finished)
    told = {name: event.result[name] for name in ("state", "cause", "exit_code", "message")}
    assert told == {"state": "failed", "cause": "exit", "exit_code": 4, "message": "not tried again: exit code 4"}


# ------------------------------------------------------------------------------------------------------ end and orders


def test_when_all_has_gone_without_a_summary_the_jobs_are_given_back(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.slurm.queue = {}
    campaign.backend._explain = lambda keys: None  # type: ignore[method-assign] # nothing is known of any
    campaign.ask()
    assert campaign.backend.phase == "running"  # once may be a moment in which Slurm knew nothing
    campaign.ask()
    assert campaign.backend.phase == "over"
    (event,) = campaign.backend.detach()
    assert isinstance(event, Finished)
    assert (event.result["cause"], event.result["message"]) == ("stopped", campaign.backend.over)


def test_a_summary_ends_it(campaign: Followed) -> None:
    assert campaign.backend.phase == "running"
    (campaign.plan.folder / "summary.json").write_text(json.dumps({"run": 1}))
    assert campaign.backend.phase == "over"


def test_a_new_submission_is_followed(campaign: Followed) -> None:
    campaign.run.mark("gone")
    again = prepare(campaign.plan, 1000)
    again.note("reco_01", "900")
    again.mark("released")
    assert campaign.backend.phase == "over"
    campaign.backend.poll(0.0)
    assert campaign.backend.phase == "running"
    assert campaign.look_for(1)[0].backend_id == "900_1"
    found = last_run(campaign.plan.folder)
    assert found is not None
    assert found.number == 2


def test_orders_are_for_both_arrays(campaign: Followed) -> None:
    campaign.look_for(1, 2)
    campaign.backend.hold([(2, 1)])
    campaign.backend.release([(2, 1)])
    campaign.backend.cancel([(1, 1), (9, 1)])
    one, two = ({Ref(native, n) for native in (RECO, AGAIN)} for n in (1, 2))
    assert campaign.slurm.orders == [("hold", two), ("release", two), ("cancel", one)]
    (event,) = campaign.backend.poll(0.0)
    assert isinstance(event, Finished)
    assert event.result["cause"] == "stopped"


def test_what_we_cancelled_was_stopped_by_us(campaign: Followed) -> None:
    campaign.look_for(1)
    campaign.folder(1).mkdir(parents=True)
    (campaign.folder(1) / "log.txt").touch()  # it runs
    campaign.backend.cancel([(1, 1)])
    assert campaign.backend.poll(0.0) == []
    campaign.end(1, state="killed", cause="stopped")
    (event,) = campaign.backend.poll(0.0)
    assert isinstance(event, Finished)
    assert event.result["cause"] == "stopped"
    assert "endings" not in campaign.slurm.questions
