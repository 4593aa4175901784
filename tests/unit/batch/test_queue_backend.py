"""Jobs in a queue: what is believed, what is asked for, and what is decided, with a batch system that misbehaves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.backend import Attempt, Backend, Finished, Held, Lost, Queued, Started, Vanished
from fiducial.batch.queue.system import Status
from fiducial.core.errors import BackendError
from queues import FakeSystem, Rig

DONE = {"state": "done", "cause": "ok", "outputs": [], "metrics": {}}
STOPPED = {"state": "killed", "cause": "stopped", "message": "the runner was stopped by SIGTERM"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def told(events: list[Any]) -> list[tuple[str, int, str]]:
    """Kind, job, and cause of events."""
    return [
        (type(each).__name__, each.job, each.result["cause"] if isinstance(each, Finished) else "") for each in events
    ]


def test_it_is_a_backend(rig: Rig) -> None:
    assert isinstance(rig.backend, Backend)


def test_a_job_begins_and_ends_by_its_own_marks_without_a_question(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.run(ref, marked=True)
    assert told(rig.wait(2)) == [("Started", 1, "")]
    rig.system.end(ref, DONE)
    assert told(rig.wait(2)) == [("Finished", 1, "ok")]
    assert set(rig.system.calls) == {"submit"}


def test_jobs_of_a_kind_go_in_one_submission_and_others_in_their_own(rig: Rig) -> None:
    specs = [rig.spec(job, limits={"memory": 2**30 if job < 4 else 2**31}) for job in range(1, 6)]
    specs.append(rig.spec(6, step="fit"))
    taken = rig.backend.submit(specs)
    assert {each.job for each in taken} == {1, 2, 3, 4, 5, 6}
    assert rig.system.calls == ["submit"] * 3
    assert sorted(len(bundle.keys) for bundle in rig.system.bundles.values()) == [1, 2, 3]
    assert {bundle.request.memory for bundle in rig.system.bundles.values()} == {2**30 + 2**25, 2**31 + 2**25, None}


def test_a_submission_holds_no_more_jobs_than_the_system_takes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeSystem(most=4), max_array=3)
    rig.submit(7)
    assert [len(bundle.keys) for bundle in rig.system.bundles.values()] == [3, 3, 1]


def test_no_more_is_taken_than_the_site_allows(tmp_path: Path) -> None:
    rig = Rig(tmp_path, max_jobs=5)
    assert rig.backend.capacity() == 5
    rig.submit(3)
    assert rig.backend.capacity() == 2


def test_a_queue_that_has_its_fill_gets_less_and_the_rest_when_there_is_room_again(rig: Rig) -> None:
    rig.system.room = 6
    waiting = [rig.spec(job) for job in range(1, 11)]
    for _ in range(8):
        if room := rig.backend.capacity():
            del waiting[: len(rig.backend.submit(waiting[:room]))]
    assert len(rig.system.queue) == 6
    assert rig.backend.capacity() == 0
    assert rig.backend.trouble == "so many jobs are enough"
    assert len(rig.traces()) == len(rig.system.bundles)
    for ref in list(rig.system.queue):
        rig.system.end(ref, DONE)
    rig.wait(70)
    for _ in range(4):
        if room := rig.backend.capacity():
            del waiting[: len(rig.backend.submit(waiting[:room]))]
    assert not waiting
    assert not rig.backend.trouble
    assert sorted(key for bundle in rig.system.bundles.values() for key in bundle.keys) == [
        (j, 1) for j in range(1, 11)
    ]


def test_what_the_site_adds_is_in_the_specification(tmp_path: Path) -> None:
    rig = Rig(tmp_path, environment_script="/setup.sh", scratch="$TMPDIR", python="/opt/my python")
    rig.backend.submit([rig.spec(1), rig.spec(2, environment_script="/own.sh")])
    [bundle] = rig.system.bundles.values()
    specs = [json.loads(line) for line in (bundle.folder / "jobs.jsonl").read_text().splitlines()]
    assert [spec["environment_script"] for spec in specs] == ["/setup.sh", "/own.sh"]
    assert specs[0]["scratch"] == "$TMPDIR"
    assert "exec '/opt/my python' " in bundle.start.read_text()


def test_a_step_may_have_wishes_of_its_own(tmp_path: Path) -> None:
    rig = Rig(tmp_path, queue="long", memory="1 GB", steps={"fit": {"queue": "short"}})
    rig.backend.submit([rig.spec(1), rig.spec(2, step="fit")])
    wishes = {bundle.request.step: bundle.request.wishes for bundle in rig.system.bundles.values()}
    assert (wishes["reco"].queue, wishes["fit"].queue) == ("long", "short")
    assert wishes["fit"].memory == 2**30


def test_questions_become_rare_when_there_is_nothing_to_hear(rig: Rig) -> None:
    rig.submit(1)
    rig.wait(60)
    first = rig.system.calls.count("news")
    rig.wait(600)
    assert first <= 4
    assert rig.system.calls.count("news") - first <= 11


# ------------------------------------------------------------------------------------------------- held


def test_a_held_job_tells_why_and_goes_on_when_it_is_released_by_hand(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.queue[ref] = Status("held", "its output folder is not there")
    assert [(type(event), event.reason) for event in rig.wait(20) if isinstance(event, Held)] == [
        (Held, "its output folder is not there")
    ]
    assert rig.wait(120) == []
    rig.system.queue[ref] = Status("pending")
    assert told(rig.wait(61)) == [("Queued", 1, "")]
    rig.system.run(ref)
    assert told(rig.wait(61)) == [("Started", 1, "")]


def test_release_is_carried_to_the_batch_system_once(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.queue[ref] = Status("held", "why")
    rig.wait(20)
    for _ in range(5):
        rig.backend.release([(1, 1)])
        rig.wait(1)
    assert rig.system.calls.count("release") == 1
    assert told(rig.wait(61)) == [("Queued", 1, "")]


def test_a_release_soon_after_a_hold_is_carried_out(rig: Rig) -> None:
    rig.submit(1)
    for order in (rig.backend.hold, rig.backend.hold, rig.backend.release, rig.backend.release, rig.backend.hold):
        order([(1, 1)])
        rig.wait(2)
    assert [call for call in rig.system.calls if call in ("hold", "release")] == ["hold", "release", "hold"]


def test_a_result_counts_though_the_queue_lags_behind(tmp_path: Path) -> None:
    rig = Rig(tmp_path, fastest_poll=1, slowest_poll=1)
    [ref] = rig.submit(1)
    rig.system.run(ref)
    assert told(rig.wait(3)) == [("Started", 1, "")]
    rig.system.end(ref, DONE)
    rig.system.run(ref)
    calls = len(rig.system.calls)
    assert told(rig.wait(1.5)) == [("Finished", 1, "ok")]
    assert "news" in rig.system.calls[calls:]


def test_a_hold_with_a_cause_that_a_retry_mends_ends_the_attempt(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.queue[ref] = Status("held", "used 3 GB of memory, more than the 2 GB asked for", "memory")
    assert told(rig.wait(20)) == [("Finished", 1, "memory")]
    assert "cancel" in rig.system.calls or rig.wait(5) == []
    assert rig.system.queue == {}


def test_a_waiting_job_is_held_in_the_queue_and_a_running_one_is_stopped(rig: Rig) -> None:
    first, second = rig.submit(2)
    rig.system.run(second, marked=True)
    rig.wait(2)
    rig.backend.hold([(1, 1), (2, 1)])
    events = rig.wait(20)
    rig.system.end(second, STOPPED)
    events += rig.wait(20)
    assert ("Held", 1, "") in told(events)
    assert ("Finished", 2, "stopped") in told(events)
    assert rig.system.queue == {first: Status("held", "held by its owner")}


def test_where_only_whole_submissions_can_be_held_a_part_of_one_is_taken_out(rig: Rig) -> None:
    rig.system.holds_parts = False
    first, second = rig.submit(2)
    rig.backend.hold([(1, 1)])
    assert ("Finished", 1, "stopped") in told(rig.wait(20))
    rig.backend.hold([(2, 1)])
    assert ("Held", 2, "") in told(rig.wait(20))
    assert rig.system.queue == {second: Status("held", "held by its owner")}
    assert rig.system.calls.count("hold") == 1
    assert first not in rig.system.queue


def test_what_runs_does_not_keep_the_rest_of_a_submission_from_being_held(rig: Rig) -> None:
    rig.system.holds_parts = False
    first, second = rig.submit(2)
    rig.system.run(first, marked=True)
    rig.wait(2)
    rig.backend.hold([(2, 1)])
    assert ("Held", 2, "") in told(rig.wait(20))
    assert rig.system.queue[second].state == "held"


# -------------------------------------------------------------------------------------------------- ends


def test_a_result_may_come_later_than_the_end(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.run(ref, marked=True)
    rig.wait(2)
    del rig.system.queue[ref]
    events = rig.wait(20)
    assert told(events) in ([], [("Vanished", 1, "")])
    rig.system.end(ref, DONE, marked=False)
    assert told(rig.wait(10))[-1] == ("Finished", 1, "ok")


@pytest.mark.parametrize(
    ("status", "state", "cause"),
    [
        (Status("ended", "used too much", "memory"), "killed", "memory"),
        (Status("ended", "ran too long", "wall_time"), "killed", "wall_time"),
        (Status("ended", "cancelled by somebody", "removed"), "killed", "removed"),
        (Status("ended", exit_code=127), "failed", "start"),
        (Status("ended", exit_code=76), "failed", "publish"),
        (Status("ended", exit_code=66), "failed", "environment"),
    ],
)
def test_without_a_result_accounting_says_why(rig: Rig, status: Status, state: str, cause: str) -> None:
    [ref] = rig.submit(1)
    rig.system.run(ref)
    rig.wait(20)
    rig.system.history[ref] = status
    rig.system.end(ref, None)
    events = rig.wait(80)
    assert told(events)[-2:] == [("Vanished", 1, ""), ("Finished", 1, cause)]
    assert events[-1].result["state"] == state
    assert events[-1].result["message"]
    assert rig.system.calls.count("endings") == 1


@pytest.mark.parametrize("name", ["1.log", "17[1].server.OU", "reco.o17-1"])
def test_what_the_batch_system_wrote_of_a_job_that_never_began_is_kept(rig: Rig, name: str) -> None:
    [ref, other] = rig.submit(2)
    logs = rig.system.bundles[ref.native].folder / "logs"
    (logs / name).write_text("python3: command not found\n")
    (logs / "11.log").write_text("of another job\n")
    for each in (ref, other):
        rig.system.history[each] = Status("ended", exit_code=127)
        del rig.system.queue[each]
    assert told(rig.wait(80))[-1] == ("Finished", 2, "start")
    assert (rig.folder / "attempts/1.1/queue.txt").read_text() == "python3: command not found\n"
    assert not (rig.folder / "attempts/2.1").exists()
    assert rig.traces() == []  # of the submission


def test_node_trouble_is_no_failure_of_the_job(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.history[ref] = Status("ended", "its node failed", "lost")
    del rig.system.queue[ref]
    assert rig.wait(80)[-1] == Lost(1, 1, "its node failed")


def test_a_second_start_after_node_trouble_is_refused_and_told_so(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.run(ref)
    rig.system.history[ref] = Status("ended", exit_code=78)
    del rig.system.queue[ref]
    assert told(rig.wait(100))[-1] == ("Refused", 1, "")


def test_what_nobody_knows_of_is_lost_after_the_grace_time_and_not_before(tmp_path: Path) -> None:
    rig = Rig(tmp_path, grace=100.0)
    [ref] = rig.submit(1)
    rig.wait(16)
    del rig.system.queue[ref]
    assert told(rig.wait(60)) == [("Vanished", 1, "")]
    assert told(rig.wait(150)) == [("Lost", 1, "")]
    assert rig.system.calls.count("endings") == 2
    assert (tmp_path / "attempts" / "1.1" / "revoked").exists()  # it can never start any more


def test_what_was_lost_from_sight_may_be_in_the_queue_all_the_same(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.wait(16)
    status = rig.system.queue.pop(ref)
    rig.system.history[ref] = status
    events = rig.wait(50)
    assert told(events)[:2] == [("Vanished", 1, ""), ("Queued", 1, "")]


def test_a_stop_that_nobody_here_ordered_is_explained_by_the_batch_system(rig: Rig) -> None:
    refs = rig.submit(3)
    for ref in refs:
        rig.system.run(ref)
        rig.system.end(ref, STOPPED)
    rig.system.history[refs[0]] = Status("ended", "ran too long", "wall_time")
    rig.system.history[refs[1]] = Status("ended", "cancelled by somebody", "removed")
    ends = {event.job: event for event in rig.wait(120) if not isinstance(event, Vanished | Started)}
    assert ends[1].result["cause"] == "wall_time"
    assert ends[2].result["cause"] == "removed"
    assert ends[3] == Lost(3, 1, "the runner was stopped by SIGTERM")


# ------------------------------------------------------------------------------------------------ cancel


def test_what_waits_never_starts_and_what_runs_is_stopped(rig: Rig) -> None:
    _, second = rig.submit(2)
    rig.system.run(second, marked=True)
    rig.wait(2)
    rig.backend.cancel([(1, 1), (2, 1), (3, 1)])
    rig.backend.cancel([(1, 1), (2, 1)])
    assert ("Finished", 1, "stopped") in told(rig.wait(2))
    assert rig.system.queue == {}
    assert rig.system.calls.count("cancel") == 1
    rig.system.end(second, STOPPED)
    assert told(rig.wait(5)) == [("Finished", 2, "stopped")]
    assert (rig.folder / "attempts" / "1.1" / "revoked").exists()


def test_a_cancelled_job_whose_runner_was_killed_is_stopped_all_the_same(rig: Rig) -> None:
    [ref] = rig.submit(1)
    rig.system.run(ref, marked=True)
    rig.wait(2)
    rig.backend.cancel([(1, 1)])
    rig.system.history[ref] = Status("ended", "cancelled", "removed")
    assert told(rig.wait(100))[-1] == ("Finished", 1, "stopped")


# ---------------------------------------------------------------------------------------------- trouble


def test_a_queue_that_cannot_be_reached_for_a_while_loses_nothing(rig: Rig) -> None:
    refs = rig.submit(2)
    rig.system.run(refs[0], marked=True)
    with rig.system.unreachable():
        assert told(rig.wait(300)) == [("Started", 1, "")]
        assert rig.backend.trouble == "the controller does not answer"
        rig.system.end(refs[0], DONE)
        assert told(rig.wait(5)) == [("Finished", 1, "ok")]
        rig.backend.cancel([(2, 1)])
        rig.wait(100)
    rig.wait(61)
    assert rig.backend.trouble == ""
    assert rig.system.queue == {}


def test_a_submission_whose_answer_was_lost_is_found_again(rig: Rig) -> None:
    rig.system.lose_answers = 1
    taken = rig.backend.submit([rig.spec(1), rig.spec(2)])
    assert [each.backend_id for each in taken] == ["", ""]
    assert rig.backend.capacity() == 0
    assert [(event.job, event.backend_id) for event in rig.wait(100)] == [(1, "100/1"), (2, "100/2")]
    assert rig.backend.capacity() > 0
    assert rig.system.calls.count("submit") == 1
    for ref in sorted(rig.system.queue):
        rig.system.end(ref, DONE)
    assert Counter(told(rig.wait(5))) == {("Finished", 1, "ok"): 1, ("Finished", 2, "ok"): 1}


def test_what_runs_before_its_name_is_known_is_named_all_the_same(rig: Rig) -> None:
    rig.system.lose_answers = 1
    rig.backend.submit([rig.spec(1)])
    (ref,) = rig.system.queue
    rig.system.run(ref, marked=True)
    rig.system.end(ref, DONE)
    events = rig.wait(2)
    assert [type(event).__name__ for event in events] == ["Started", "Named", "Finished"]
    assert events[1].backend_id == "100/1"


def test_a_submission_that_never_arrived_is_made_again_when_the_queue_is_back(rig: Rig) -> None:
    with rig.system.unreachable():
        assert len(rig.backend.submit([rig.spec(1), rig.spec(2, step="fit")])) == 1
        rig.wait(300)
        assert rig.system.queue == {}
    rig.wait(61)
    assert len(rig.system.queue) == 1


def test_what_is_refused_for_good_fails_with_the_systems_words(rig: Rig) -> None:
    rig.system.failures["submit"] = [BackendError("fake queue: no such partition: gpu")]
    assert len(rig.backend.submit([rig.spec(1), rig.spec(2)])) == 2
    events = rig.wait(1)
    assert told(events) == [("Finished", 1, "refused"), ("Finished", 2, "refused")]
    assert events[0].result["message"] == "fake queue: no such partition: gpu"
    assert rig.backend.capacity() == 2000


# --------------------------------------------------------------------------------------------- recovery


def attempts(rig: Rig, *jobs: int) -> list[Attempt]:
    return [Attempt(job, 1, rig.folder / "attempts" / f"{job}.1") for job in jobs]


def test_another_engine_follows_what_is_in_the_queue(rig: Rig) -> None:
    first, second = rig.submit(2)
    rig.system.end(first, DONE)
    backend = rig.again()
    assert [event.backend_id for event in backend.recover(attempts(rig, 1, 2))] == ["100/1", "100/2"]
    assert backend.capacity() == 1998
    events = rig.wait(20)
    assert ("Finished", 1, "ok") in told(events)
    rig.system.end(second, DONE)
    assert told(rig.wait(5)) == [("Finished", 2, "ok")]
    assert rig.system.calls.count("submit") == 1


def test_an_engine_that_died_while_it_submitted_left_each_job_in_the_queue_once(rig: Rig) -> None:
    rig.submit(3)
    [token] = rig.traces()
    (rig.folder / "queue" / token / "native").unlink()  # it died before it could write the answer down
    rig.again().recover(attempts(rig, 1, 2, 3))
    rig.wait(30)
    assert rig.system.calls.count("submit") == 1
    for ref in sorted(rig.system.queue):
        rig.system.end(ref, DONE)
    assert len(rig.wait(10)) == 3


def test_what_was_leased_and_never_submitted_never_starts(rig: Rig) -> None:
    [event] = rig.again().recover(attempts(rig, 7))
    assert isinstance(event, Lost)
    assert (rig.folder / "attempts" / "7.1" / "revoked").exists()


def test_what_ended_without_its_submission_is_told_by_its_result(rig: Rig) -> None:
    directory = rig.folder / "attempts" / "7.1"
    directory.mkdir(parents=True)
    (directory / "result.json").write_text(json.dumps(DONE))
    assert told(rig.again().recover(attempts(rig, 7))) == [("Finished", 7, "ok")]


def test_a_submission_is_forgotten_when_its_last_job_is_over_and_told(rig: Rig) -> None:
    first, second = rig.submit(2)
    rig.system.end(first, DONE)
    rig.wait(30)
    assert len(rig.traces()) == 1
    rig.system.end(second, DONE)
    rig.wait(2)
    assert len(rig.traces()) == 1  # the ledger may not know yet
    rig.wait(20)
    assert rig.traces() == []
    assert rig.system.forgotten == ["100"]


def test_a_folder_that_was_not_written_to_its_end_is_no_submission(rig: Rig) -> None:
    half = rig.folder / "queue" / "fdabc" / "jobs"
    half.mkdir(parents=True)
    rig.again().recover(attempts(rig, 7))
    assert rig.traces() == []


def test_closing_stops_all_and_detaching_stops_nothing(rig: Rig) -> None:
    refs = rig.submit(2)
    assert rig.backend.detach() == []
    assert sorted(rig.system.queue) == refs
    assert Counter(told(rig.backend.close(kill=True))) == {("Finished", 1, "stopped"): 1, ("Finished", 2, "stopped"): 1}
    assert rig.system.queue == {}


# -------------------------------------------------------------------------------------------------- logs


def test_a_log_tells_what_is_new_and_its_silence_means_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeSystem(reads_log=True))
    [ref] = rig.submit(1)
    rig.system.queue = {ref: Status("running", host="node7", at=12.0)}
    assert rig.wait(3) == [Started(1, 1, 12.0, "node7")]
    assert rig.wait(3600) == []
    rig.system.queue = {ref: Status("held", "its disk is full")}
    assert rig.wait(3) == [Held(1, 1, "its disk is full")]
    rig.system.queue = {ref: Status("pending")}
    assert rig.wait(3) == [Queued(1, 1)]
    rig.system.end(ref, DONE, marked=False)
    rig.system.queue = {ref: Status("ended", exit_code=0)}
    assert told(rig.wait(3)) == [("Finished", 1, "ok")]


def test_what_cannot_be_forgotten_now_is_forgotten_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    [ref] = rig.submit(1)
    rig.system.run(ref, marked=True)
    rig.system.end(ref, DONE)

    def unreachable(bundle: Any) -> None:
        raise BackendError("the controller does not answer", transient=True)

    with monkeypatch.context() as patch:
        patch.setattr(rig.system, "forget", unreachable)
        assert told(rig.wait(30))[-1] == ("Finished", 1, "ok")
    assert rig.traces()
    rig.wait(30)
    assert rig.system.forgotten == [ref.native]
    assert rig.traces() == []
