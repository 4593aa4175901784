"""What a real HTCondor said of jobs with different fates, understood. The recordings tell how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.htcondor.eventlog import EventLog, Kind
from fiducial.batch.htcondor.schedd import TRANSIENT
from fiducial.batch.htcondor.states import JobLife, status_of_ad
from fiducial.batch.htcondor.tools import NOTHING_TO_DO, cluster_in, read_ads
from fiducial.batch.queue.system import Status
from fiducial.core.errors import BackendError

DATA = Path(__file__).parents[3] / "data" / "htcondor"
FATES = (
    "plain",
    "exit",
    "signal",
    "held and released",
    "removed while it waited",
    "removed while it ran",
    "memory",
    "input",
    "output",
    "flavour",
    "requeued",
    "vacated",
    "reconnected",
    "no such program",
)
OURS_IN_THE_END = Kind.ABORTED  # the recording ends with the removal of all that is left


def last_word(fate: str, *, restarts: bool, before: int | None = None, upto: int | None = None) -> Status:
    """What the log says of a job in the end, or before the first event of a kind, or with it."""
    cluster, life, last = FATES.index(fate) + 1, JobLife(restarts=restarts), None
    for event in EventLog(DATA / "lives.log").read():
        if event.cluster == cluster:
            if event.kind == before:
                break
            last = life.hear(event) or last
            if event.kind == upto:
                break
    assert last is not None
    return last


def test_all_of_the_log_is_understood() -> None:
    events = list(EventLog(DATA / "lives.log").read())
    lines = (DATA / "lives.log").read_text().splitlines()
    assert len(events) == sum(line == "..." for line in lines)
    assert {event.cluster for event in events} == set(range(1, len(FATES) + 1))
    assert all(event.host.endswith(".pool.test") for event in events if event.kind in (Kind.SUBMITTED, Kind.EXECUTING))


@pytest.mark.parametrize(("fate", "code", "signal"), [("plain", 0, None), ("exit", 3, None), ("signal", None, 9)])
def test_ends(fate: str, code: int | None, signal: int | None) -> None:
    status = last_word(fate, restarts=False)
    assert (status.state, status.exit_code, status.signal, status.cause) == ("ended", code, signal, "")


@pytest.mark.parametrize(
    ("fate", "cause", "words"),
    [
        ("memory", "memory", "the job's own holds it: memory usage exceeded"),
        ("input", "input", "its inputs could not be brought to the node"),
        ("output", "output", "its outputs could not be brought back"),
        ("no such program", "", "could not be started on the node"),
    ],
)
def test_holds(fate: str, cause: str, words: str) -> None:
    status = last_word(fate, restarts=False, before=OURS_IN_THE_END)
    assert (status.state, status.cause) == ("held", cause)
    assert words in status.reason


@pytest.mark.parametrize("fate", ["removed while it waited", "removed while it ran"])
def test_removals_by_hand(fate: str) -> None:
    status = last_word(fate, restarts=False)
    assert (status.state, status.cause) == ("ended", "removed")


def test_removal_by_the_rule_of_a_flavour() -> None:
    status = last_word("flavour", restarts=False)
    assert (status.cause, status.reason) == ("wall_time", "removed: Job ran longer than its MaxRuntime of 20 s")


def test_a_vacated_job_is_lost_where_it_is_started_once_and_waits_where_it_is_not() -> None:
    assert last_word("vacated", restarts=False, upto=Kind.EVICTED).cause == "lost"
    assert last_word("vacated", restarts=True, upto=Kind.EVICTED).state == "pending"


def test_a_job_goes_on_under_a_scheduler_that_crashed() -> None:
    status = last_word("reconnected", restarts=False)
    assert (status.state, status.exit_code) == ("ended", 0)


def test_a_second_start_by_the_scheduler_is_seen() -> None:
    requeued = [event for event in EventLog(DATA / "lives.log").read() if event.requeued]
    assert [(FATES[event.cluster - 1], event.exit_code) for event in requeued] == [("requeued", 7)]


def test_nodes_of_a_dag() -> None:
    events = list(EventLog(DATA / "nodes.log").read())
    submitted = [event.node for event in events if event.kind == Kind.SUBMITTED]
    assert submitted == ["first", "first", "second", "second"]
    posts = [(event.node, event.exit_code) for event in events if event.kind == Kind.POST_SCRIPT_TERMINATED]
    assert posts == [("second", 0)]


# ------------------------------------------------------------------------------------------------------- commands


def ads(name: str) -> dict[str, Any]:
    return {FATES[ad["ClusterId"] - 1]: ad for ad in read_ads((DATA / name).read_text(), "condor_q")}


def test_the_queue_says_what_the_log_says() -> None:
    queue = ads("queue.json")
    assert set(queue) == {"memory", "input", "output", "vacated", "no such program"}
    for fate in ("memory", "input", "output", "no such program"):
        told = last_word(fate, restarts=False, before=OURS_IN_THE_END)
        asked = status_of_ad(queue[fate], restarts=False)
        assert (asked.state, asked.cause, asked.reason) == (told.state, told.cause, told.reason)


def test_the_history_says_what_the_log_says() -> None:
    history = ads("history.json")
    assert set(FATES) - set(history) == {"vacated"}  # which was being removed
    for fate in ("plain", "exit", "signal", "removed while it waited", "flavour", "reconnected"):
        told, asked = last_word(fate, restarts=False), status_of_ad(history[fate], restarts=False)
        assert (asked.state, asked.cause, asked.reason, asked.exit_code, asked.signal) == (
            told.state,
            told.cause,
            told.reason,
            told.exit_code,
            told.signal,
        )


@pytest.mark.parametrize("answer", ["", "\n", "[]", "[\n]\n"])
def test_nothing_is_said_in_several_ways(answer: str) -> None:
    assert read_ads(answer, "condor_q") == []


@pytest.mark.parametrize("answer", ['[\n{\n  "ClusterId": 1', "-- Failed to fetch ads", '{"a": 1}', "[1]"])
def test_an_answer_that_was_cut_is_a_passing_trouble(answer: str) -> None:
    with pytest.raises(BackendError) as told:
        read_ads(answer, "condor_q")
    assert told.value.transient


@pytest.mark.parametrize(
    ("answer", "cluster"),
    [
        ("12.0 - 12.999\n", 12),
        ("To monitor your job(s), run: condor_q 12\n12.0 - 12.0\n", 12),
        ("12.0 - 12.3\n13.0 - 13.3\n", None),
        ("", None),
        ("ERROR: no", None),
    ],
)
def test_the_cluster_in_the_answer_to_a_submission(answer: str, cluster: int | None) -> None:
    assert cluster_in(answer) == cluster


@pytest.mark.parametrize(
    ("words", "nothing"),
    [
        ("condor_rm:0:There are no jobs in the queue\n", True),
        ("\nCouldn't find/remove all jobs matching constraint (ClusterId == 99)\n\n", True),
        ("\nCouldn't find/hold all jobs matching constraint (ClusterId == 99)\n", True),
        (
            "SECMAN:2007:Read failure during security negotiation.\n"
            "Couldn't find/remove all jobs matching constraint (ClusterId == 99)\n",
            False,
        ),
        ("condor_rm: Can't find address for schedd ap.site.org\n", False),
    ],
)
def test_jobs_that_are_not_there_are_told_from_a_scheduler_that_is_not(words: str, nothing: bool) -> None:
    assert (NOTHING_TO_DO.search(words) is not None) == nothing
    assert (TRANSIENT.search(words) is not None) != nothing
