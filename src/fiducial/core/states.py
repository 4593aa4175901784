"""The states of a job and every legal change between them: one table, and one function that applies it.

Batch systems repeat events, drop some and deliver late. So a report is judged by the state that it finds: it moves the
job forward, or it is an old story and changes nothing. Reports that carry another attempt's number never get here.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ACTIVE", "FINAL", "LEGAL", "CampaignState", "JobState", "after"]


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    HELD = "held"
    READY = "ready"
    SUBMITTED = "submitted"
    RUNNING = "running"
    LOST = "lost"
    DONE = "done"
    FAILED = "failed"
    KILLED = "killed"
    SKIPPED = "skipped"


class CampaignState(StrEnum):
    """Where a campaign is."""

    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


W, H, R, S, X, L, D, F, K, N = JobState

# LEGAL[state] holds the states that may follow it.
LEGAL: dict[JobState, frozenset[JobState]] = {
    W: frozenset({R, H, K, N}),
    # What a batch system holds has its attempt under way, and goes on with that when it is released.
    H: frozenset({W, R, K, N, S, X, L, D, F}),
    R: frozenset({S, W, H, K, N}),
    # READY after SUBMITTED, RUNNING or LOST is a retry; HELD is a hold by the batch system or a person.
    S: frozenset({X, L, D, F, K, R, H}),
    X: frozenset({L, D, F, K, R, H}),
    L: frozenset({S, X, D, F, K, R, H}),
    # A person may ask for anything that ended to be run again.
    D: frozenset({R, W}),
    F: frozenset({R, W, H}),
    K: frozenset({R, W, H}),
    N: frozenset({R, W}),
}

#: An attempt is under way.
ACTIVE = frozenset({S, X, L})
#: Nothing more happens by itself.
FINAL = frozenset({D, F, K, N})


def after(state: JobState, reported: JobState) -> JobState:
    """The state of a job in ``state``, whose attempt is under way, after a report about that says ``reported``.

    Idempotent and order-tolerant: a repeat, a late *submitted* after *running*, or anything about a job that ended
    leaves the state as it is. A job is held with its attempt under way only by its batch system; that it is
    *submitted* again is told of such a job, and of one that was lost from sight.
    """
    if state not in ACTIVE and state is not H:
        return state
    if (state is X and reported is S) or reported in (W, N):
        return state
    return reported if reported in LEGAL[state] else state
