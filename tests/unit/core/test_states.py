"""Reports about a job, in any order and number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiducial.core.states import ACTIVE, FINAL, LEGAL, JobState, after

STATES = st.sampled_from(JobState)
REPORTS = st.lists(STATES, max_size=12)
#: What agents and runners report; the rest is decided by the engine or a person.
STORY = (JobState.SUBMITTED, JobState.RUNNING, JobState.DONE)


def told(state: JobState, reports: list[JobState]) -> JobState:
    for report in reports:
        state = after(state, report)
    return state


@given(STATES, STATES)
def test_a_report_moves_along_the_table_or_not_at_all(state: JobState, report: JobState) -> None:
    new = after(state, report)
    assert new is state or (new is report and new in LEGAL[state])


@given(STATES, STATES)
def test_a_repeated_report_changes_nothing(state: JobState, report: JobState) -> None:
    once = after(state, report)
    assert after(once, report) is once


@given(STATES, REPORTS)
def test_repeats_anywhere_change_nothing(state: JobState, reports: list[JobState]) -> None:
    doubled = [report for report in reports for _ in range(2)]
    assert told(state, doubled) is told(state, reports)


@given(st.sampled_from(sorted(FINAL)), REPORTS)
def test_what_ended_stays(state: JobState, reports: list[JobState]) -> None:
    assert told(state, reports) is state


@given(st.sampled_from(sorted(set(JobState) - ACTIVE - {JobState.HELD})), REPORTS)
def test_reports_without_an_attempt_change_nothing(state: JobState, reports: list[JobState]) -> None:
    assert told(state, reports) is state


@given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=5))
def test_the_order_of_a_story_does_not_matter(order: list[JobState], repeats: list[JobState]) -> None:
    assert told(JobState.SUBMITTED, [*order, *repeats]) is JobState.DONE


@given(st.lists(st.sampled_from([JobState.SUBMITTED, JobState.RUNNING]), min_size=1))
def test_a_late_submission_does_not_take_back_a_start(reports: list[JobState]) -> None:
    started = JobState.RUNNING in reports
    assert told(JobState.SUBMITTED, reports) is (JobState.RUNNING if started else JobState.SUBMITTED)


@pytest.mark.parametrize("end", [JobState.DONE, JobState.FAILED, JobState.KILLED])
def test_a_lost_job_may_turn_up(end: JobState) -> None:
    assert told(JobState.RUNNING, [JobState.LOST]) is JobState.LOST
    assert told(JobState.LOST, [JobState.RUNNING]) is JobState.RUNNING
    assert told(JobState.LOST, [end]) is end


def test_a_retry_and_a_hold() -> None:
    assert after(JobState.RUNNING, JobState.READY) is JobState.READY
    assert after(JobState.SUBMITTED, JobState.HELD) is JobState.HELD


def test_the_table_is_closed() -> None:
    assert set(LEGAL) == set(JobState)
    assert all(state not in follow for state, follow in LEGAL.items())
    assert not ACTIVE & FINAL
    # Everything can be reached, and everything that waits or runs can end.
    assert set().union(*LEGAL.values()) == set(JobState)
    assert all(LEGAL[state] & {JobState.KILLED, JobState.SKIPPED} for state in set(JobState) - FINAL)


def test_names_are_what_the_ledger_stores() -> None:
    assert [str(state) for state in JobState] == [state.name.lower() for state in JobState]
