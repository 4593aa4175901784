"""What events of a log, and attributes in the queue, mean for a job."""

from __future__ import annotations

from typing import Any

import pytest

from fiducial.batch.htcondor.eventlog import Kind, LogEvent
from fiducial.batch.htcondor.states import JobLife, constraint, status_of_ad
from fiducial.batch.queue.system import Status

NORMAL = "\t(1) Normal termination (return value 68)\n"
KILLED = "\t(0) Abnormal termination (signal 9)\n"
RM = "\tvia condor_rm (by user jdoe)\n"
HOLD = "\tvia condor_hold (by user jdoe)\n\tCode 1 Subcode 0\n"
ON = "Job executing on host: <10.0.0.7:9618?addrs=10.0.0.7-9618&alias=wn7>"


def life(*events: tuple[Kind, str], restarts: bool = False) -> list[Status]:
    told = JobLife(restarts=restarts)
    heard = [told.hear(LogEvent(kind, 1, 0, 10.0, ON if kind == Kind.EXECUTING else "", body)) for kind, body in events]
    return [status for status in heard if status is not None]


def states(*events: tuple[Kind, str], restarts: bool = False) -> list[tuple[str, str]]:
    return [(status.state, status.cause) for status in life(*events, restarts=restarts)]


START = [(Kind.SUBMITTED, ""), (Kind.EXECUTING, "")]


def test_a_plain_life() -> None:
    pending, running, ended = life(*START, (Kind.TERMINATED, NORMAL))
    assert (pending.state, running.state, running.host) == ("pending", "running", "wn7")
    assert (ended.state, ended.exit_code, ended.host, ended.at) == ("ended", 68, "wn7", 10.0)


def test_an_end_by_a_signal() -> None:
    assert life(*START, (Kind.TERMINATED, KILLED))[-1].signal == 9


def test_an_end_without_a_beginning() -> None:
    assert states((Kind.TERMINATED, NORMAL)) == [("ended", "")]


def test_image_sizes_transfers_and_what_is_not_known_say_nothing() -> None:
    events = [(Kind.IMAGE_SIZE, ""), (Kind.FILE_TRANSFER, ""), (Kind.DISCONNECTED, ""), (Kind.GENERIC, "x")]
    assert states(*events) == []


@pytest.mark.parametrize("kind", [Kind.EVICTED, Kind.RECONNECT_FAILED, Kind.SHADOW_EXCEPTION])
def test_an_interruption_is_the_end_of_a_job_that_is_started_once(kind: Kind) -> None:
    interrupted = life(*START, (kind, "\tThe node went down\n"))[-1]
    assert (interrupted.state, interrupted.cause) == ("ended", "lost")
    assert interrupted.reason.endswith(": The node went down")


@pytest.mark.parametrize("kind", [Kind.EVICTED, Kind.RECONNECT_FAILED, Kind.SHADOW_EXCEPTION])
def test_an_interruption_is_none_where_the_job_may_be_started_again(kind: Kind) -> None:
    assert states(*START, (kind, ""), (Kind.EXECUTING, ""), restarts=True)[2:] == [("pending", ""), ("running", "")]


def test_a_shadow_that_failed_before_the_job_began_lets_it_wait() -> None:
    assert states((Kind.SUBMITTED, ""), (Kind.SHADOW_EXCEPTION, "")) == [("pending", ""), ("pending", "")]


def test_a_job_that_was_held_while_it_waited_goes_on() -> None:
    events = [(Kind.SUBMITTED, ""), (Kind.HELD, HOLD), (Kind.RELEASED, ""), (Kind.EXECUTING, "")]
    assert [state for state, _ in states(*events)] == ["pending", "held", "pending", "running"]


def test_a_job_that_was_held_while_it_ran_does_not_start_again() -> None:
    held, released = life(*START, (Kind.HELD, HOLD), (Kind.RELEASED, ""))[2:]
    assert held.reason == "it was held by hand: via condor_hold (by user jdoe)"
    assert (released.state, released.cause) == ("ended", "lost")


def test_spooling_is_no_hold() -> None:
    assert states((Kind.HELD, "\tSpooling input data files\n\tCode 16 Subcode 0\n")) == [("pending", "")]


def test_removal_by_hand_and_by_rule() -> None:
    assert states((Kind.ABORTED, RM)) == [("ended", "removed")]
    assert states((Kind.ABORTED, "\tMaxRuntime 3 s of flavour brief exceeded\n")) == [("ended", "wall_time")]


def test_a_reconnection_tells_where_it_runs() -> None:
    assert life(*START, (Kind.DISCONNECTED, ""), (Kind.RECONNECTED, ""))[-1].host == "wn7"


@pytest.mark.parametrize(
    ("ad", "restarts", "status"),
    [
        ({"JobStatus": 1}, False, Status("pending")),
        ({"JobStatus": 1, "NumJobStarts": 1}, True, Status("pending")),
        ({"JobStatus": 2, "RemoteHost": "slot1_1@wn7"}, False, Status("running", host="wn7")),
        ({"JobStatus": 6}, False, Status("running")),
        ({"JobStatus": 3, "RemoveReason": RM.strip()}, False, Status("ended", f"removed: {RM.strip()}", "removed")),
        (
            {"JobStatus": 4, "ExitCode": 3, "ExitBySignal": False, "LastRemoteHost": "slot1_1@wn7"},
            False,
            Status("ended", exit_code=3, host="wn7"),
        ),
        ({"JobStatus": 4, "ExitSignal": 9, "ExitBySignal": True}, False, Status("ended", signal=9)),
        (
            {"JobStatus": 5, "HoldReason": "x", "HoldReasonCode": 13, "HoldReasonSubCode": 2},
            False,
            Status("held", "its inputs could not be brought to the node: x", "input"),
        ),
        (
            {"JobStatus": 5, "HoldReasonCode": 16},
            False,
            Status("pending", "its files are on their way to the scheduler"),
        ),
        ({}, False, Status("pending")),
    ],
)
def test_attributes_in_the_queue(ad: dict[str, Any], restarts: bool, status: Status) -> None:
    assert status_of_ad(ad, restarts=restarts) == status


def test_an_idle_job_that_was_started_before_is_lost_where_it_is_started_once() -> None:
    status = status_of_ad({"JobStatus": 1, "NumJobStarts": 1, "EnteredCurrentStatus": 5}, restarts=False)
    assert (status.state, status.cause, status.at) == ("ended", "lost", 5.0)


def test_constraints_name_jobs_by_ranges_and_their_submission() -> None:
    assert constraint({7: [4, 0, 1, 2, 9], 5: None}, {7: "fd7"}) == (
        '(ClusterId == 5) || (ClusterId == 7 && FiducialToken =?= "fd7" && '
        "((ProcId >= 0 && ProcId <= 2) || ProcId == 4 || ProcId == 9))"
    )
