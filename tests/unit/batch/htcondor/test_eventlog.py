"""Reading HTCondor's event logs: whole ones, growing ones, torn, rotated and rewritten ones."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fiducial.batch.htcondor.eventlog import EventLog, Kind, LogEvent, parse

SUBMIT = (
    "000 (017.002.000) 2026-11-20 16:04:06 Job submitted from host: "
    "<127.0.0.1:29011?addrs=127.0.0.1-29011&alias=ap.site.org&noUDP>\n...\n"
)
EXECUTE = (
    "001 (017.002.000) 2026-11-20 16:04:07 Job executing on host: "
    "<10.0.0.7:9618?addrs=10.0.0.7-9618&alias=wn7.site.org>\n"
    "\tSlotName: slot1_3@wn7.site.org\n\tCpus = 1\n\tMemory = 128\n...\n"
)
END = (
    "005 (017.002.000) 2026-11-20 16:04:10 Job terminated.\n\t(1) Normal termination (return value 68)\n"
    "\t\tUsr 0 01:00:03, Sys 0 00:00:02  -  Run Remote Usage\n\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage\n"
    "\t\tUsr 1 01:00:03, Sys 0 00:00:02  -  Total Remote Usage\n"
    "\tPartitionable Resources :    Usage  Request Allocated \n"
    "\t   Cpus                 :        0        1         1 \n"
    "\t   Memory (MB)          :        5       10       128 \n\n"
    "\tJob terminated of its own accord at 2026-11-20T16:04:10Z with exit-code 68.\n...\n"
)
HELD = (
    "012 (018.000.000) 2026-11-20 16:04:11 Job was held.\n\tTransfer input files failure at access point ap. "
    "Details: reading from file /nö/file: (errno 2) No such file or directory\n\tCode 13 Subcode 2\n...\n"
)


def _kinds(events: list[LogEvent]) -> list[int]:
    return [event.kind for event in events]


def _one(text: str) -> LogEvent:
    (event,) = parse(text.encode())
    return event


def test_life_of_a_job() -> None:
    submit, execute, end = parse((SUBMIT + EXECUTE + END).encode())
    assert (submit.kind, submit.cluster, submit.proc, submit.host) == (Kind.SUBMITTED, 17, 2, "ap.site.org")
    assert (execute.kind, execute.host) == (Kind.EXECUTING, "wn7.site.org")
    assert (end.kind, end.exit_code, end.signal, end.cpu_seconds, end.memory) == (
        Kind.TERMINATED,
        68,
        None,
        25 * 3600 + 5,
        5 * 2**20,
    )
    assert end.at - submit.at == 4.0


def test_hold_with_codes_and_characters_of_any_language() -> None:
    event = _one(HELD)
    assert event.codes == (13, 2)
    assert event.reason.startswith("Transfer input files failure")
    assert "/nö/file" in event.reason
    assert "Code" not in event.reason


def test_signal_and_requeued_eviction() -> None:
    killed = _one(
        "005 (1.0.0) 11/20 16:04:10 Job terminated.\n\t(0) Abnormal termination (signal 9)\n\t(0) No core file\n...\n"
    )
    assert (killed.signal, killed.exit_code) == (9, None)
    evicted = _one(
        "004 (017.000.000) 2026-11-20 16:04:06 Job was evicted.\n\t(0) Job terminated and was requeued\n"
        "\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Remote Usage\n\t(1) Normal termination (return value 7)\n"
        "\tThe job attribute OnExitRemove expression 'ExitCode =?= 0' evaluated to FALSE\n...\n"
    )
    assert (evicted.requeued, evicted.exit_code) == (True, 7)
    assert evicted.reason == "The job attribute OnExitRemove expression 'ExitCode =?= 0' evaluated to FALSE"


def test_use_of_memory_is_not_taken_from_the_request() -> None:
    event = _one(
        "004 (1.0.0) 2026-11-20 16:04:06 Job was evicted.\n\t(0) CPU times\n"
        "\tPartitionable Resources :    Usage  Request Allocated \n"
        "\t   Memory (MB)          :                10       128 \n...\n"
    )
    assert event.memory is None
    assert event.reason == ""


def test_lost_connection_tells_all_its_lines() -> None:
    event = _one(
        "024 (1.0.0) 2026-11-20 16:04:06 Job reconnection failed\n"
        "    Job disconnected too long: JobLeaseDuration (2400 seconds) expired\n"
        "    Can not reconnect to slot1@wn7, rescheduling job\n...\n"
    )
    assert event.reason == (
        "Job disconnected too long: JobLeaseDuration (2400 seconds) expired "
        "Can not reconnect to slot1@wn7, rescheduling job"
    )


def test_note_of_a_node_and_types_that_are_not_known() -> None:
    events = list(
        parse(
            b"000 (010.000.000) 2026-11-20 16:03:48 Job submitted from host: <h>\n    DAG Node: reco 00450\n...\n"
            b"099 (010.000.000) 2026-11-20 16:03:49 Something new\n\twith lines\n...\n"
        )
    )
    assert events[0].node == "reco 00450"
    assert (events[1].kind, events[1].text, events[1].body) == (99, "Something new", "\twith lines")


@pytest.mark.parametrize("clock", ["2026-11-20 16:04:06", "2026-11-20T16:04:06", "2026-11-20 16:04:06.250"])
def test_times_with_a_year_are_local(clock: str) -> None:
    event = _one(f"001 (1.0.0) {clock} Job executing on host: <h>\n...\n")
    assert int(event.at) == time.mktime((2026, 11, 20, 16, 4, 6, 0, 0, -1))


def test_times_in_utc_say_so() -> None:
    assert _one("001 (1.0.0) 2026-11-20T16:04:06Z Job executing on host: <h>\n...\n").at == 1795190646.0


@pytest.mark.parametrize("days", [0, 1, 200, 360])
def test_times_without_a_year_are_the_last_such(days: int) -> None:
    moment = float(int(time.time()) - days * 86400)
    clock = time.strftime("%m/%d %H:%M:%S", time.localtime(moment))
    assert _one(f"001 (1.0.0) {clock} Job executing on host: <h>\n...\n").at == moment


def test_nothing_comes_before_the_log_and_nothing_twice(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    assert list(log.read()) == []
    (tmp_path / "log").write_text(SUBMIT + EXECUTE)
    assert _kinds(list(log.read())) == [0, 1]
    assert list(log.read()) == []
    with (tmp_path / "log").open("a") as file:
        file.write(END)
    assert _kinds(list(log.read())) == [5]


def test_event_is_taken_when_it_is_complete(tmp_path: Path) -> None:
    log, path = EventLog(tmp_path / "log"), tmp_path / "log"
    text = (SUBMIT + HELD).encode()
    seen: list[int] = []
    for size in range(1, len(text) + 1):
        path.write_bytes(text[:size])
        seen += _kinds(list(log.read()))
    assert seen == [0, 12]


def test_reading_goes_on_at_the_place(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(SUBMIT + EXECUTE)
    first = EventLog(path)
    assert len(list(first.read())) == 2
    with path.open("a") as file:
        file.write(END)
    assert _kinds(list(EventLog(path, first.place).read())) == [5]


def test_place_does_not_pass_what_was_not_taken(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(SUBMIT + EXECUTE)
    log = EventLog(tmp_path / "log")
    next(log.read())
    assert _kinds(list(EventLog(tmp_path / "log", log.place).read())) == [0, 1]


@pytest.mark.parametrize("name", ["log.old", "log.1"])
def test_rotated_log_is_read_to_its_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log"
    path.write_text(SUBMIT)
    log = EventLog(path)
    assert _kinds(list(log.read())) == [0]
    with path.open("a") as file:
        file.write(EXECUTE)
    path.rename(tmp_path / name)
    path.write_text(END)
    assert _kinds(list(log.read())) == [1, 5]


@pytest.mark.parametrize("text", [HELD, HELD * 20])
def test_log_that_was_written_anew_is_read_from_its_beginning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(SUBMIT + EXECUTE)
    log = EventLog(path)
    assert len(list(log.read())) == 2
    path.write_text(text)
    assert set(_kinds(list(log.read()))) == {12}


def test_torn_event_and_holes_do_not_hide_the_next() -> None:
    torn = END[: len(END) // 3]
    assert _kinds(list(parse((SUBMIT + torn + "\n" + HELD).encode()))) == [0, 5, 12]
    assert _kinds(list(parse(b"lost words\n...\n" + b"\0" * 700 + HELD.encode()))) == [12]


def test_more_than_a_chunk(tmp_path: Path) -> None:
    (tmp_path / "log").write_text((SUBMIT + EXECUTE + END) * 3000)
    log = EventLog(tmp_path / "log")
    assert sum(1 for _ in log.read()) == 9000
    assert log.place.offset == (tmp_path / "log").stat().st_size
