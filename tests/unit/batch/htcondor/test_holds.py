"""Holds and removals: HTCondor's codes and everybody's words, as causes and in English."""

from __future__ import annotations

import pytest

from fiducial.batch.htcondor.holds import cause_of_hold, cause_of_removal, sentence

MISSING = (
    "Transfer input files failure at access point ap while sending files to execution point slot1@wn. "
    "Details: reading from file /nonexistent/file: (errno 2) No such file or directory"
)


@pytest.mark.parametrize(
    ("code", "subcode", "words", "cause"),
    [
        (1, 0, "via condor_hold (by user jdoe)", ""),
        (1, 0, "memory tests, held by me (by user jdoe)", ""),
        (15, 0, "submitted on hold at user's request", ""),
        (34, 0, "Error from slot1@wn: Job has gone over cgroup memory limit of 2048 megabytes.", "memory"),
        (34, 102, "", "memory"),
        (34, 0, "", "memory"),
        (34, 104, "Error from slot1@wn: Job has exceeded its disk", "disk"),
        (21, 102, "memory usage exceeded request_memory", "memory"),
        (21, 104, "disk usage exceeded allocated disk", "disk"),
        (21, 0, "Job failed to complete in 72 hrs", "wall_time"),
        (3, 34, "memory 209 > 50", "memory"),
        (26, 0, "MEMORY_EXCEEDED: resident memory above request_memory", "memory"),
        (26, 0, "TIME_EXCEEDED", "wall_time"),
        (26, 0, "contact the helpdesk", ""),
        (46, 0, "The job exceeded allowed job duration of 1+00:00:00", "wall_time"),
        (47, 0, "The job exceeded allowed execute duration of 3+00:00:00", "wall_time"),
        (13, 2, MISSING, "input"),
        (12, 2, "Transfer output files failure at execution point slot1@wn", "output"),
        (32, 0, "max total upload bytes exceeded (max=1024 MB, this file=2000 MB)", "input"),
        (33, 0, "max total download bytes exceeded (max=1024 MB, this file=764 MB)", "output"),
        (6, 2, "Error from slot1@wn: Failed to execute '/x': (errno=2: 'No such file or directory')", ""),
        (22, 13, "Failed to initialize user log to /eos/user/j/jdoe/x.log", ""),
        (999, 0, "something new", ""),
    ],
)
def test_causes_of_holds(code: int, subcode: int, words: str, cause: str) -> None:
    assert cause_of_hold(code, subcode, words) == cause


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("via condor_rm (by user jdoe)", "removed"),
        ("Job removed by SYSTEM_PERIODIC_REMOVE due to wall time exceeded allowed max.", "wall_time"),
        ("Job removed by SYSTEM_PERIODIC_REMOVE due to job running for more than 2 days.", "wall_time"),
        ("Job removed by SYSTEM_PERIODIC_REMOVE due to disk usage exceeded allowed max", "disk"),
        ("Job removed by SYSTEM_PERIODIC_REMOVE due to memory usage exceeded allowed max", "memory"),
        ("MaxRuntime 3 s of flavour brief exceeded", "wall_time"),
        ("The job attribute PeriodicRemove expression 'JobStatus == 5' evaluated to TRUE", "removed"),
        (
            "removed because <OtherJobRemoveRequirements = DAGManJobId =?= 7> fired when job (7.0) was removed",
            "removed",
        ),
        ("out of memory, said I (by user jdoe)", "removed"),
    ],
)
def test_causes_of_removals(words: str, cause: str) -> None:
    assert cause_of_removal(words) == cause


def test_sentences_say_what_it_means_and_what_was_said() -> None:
    assert sentence(13, MISSING) == f"its inputs could not be brought to the node: {MISSING}"
    assert sentence(1, "") == "it was held by hand"
    assert sentence(999, "something new") == "it is held (code 999): something new"
