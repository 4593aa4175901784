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
    H: frozenset({W, R, K, N}),
    R: frozenset({S, W, H, K, N}),
    # READY after SUBMITTED, RUNNING or LOST is a retry; HELD is a hold by the batch system or a person.
    S: frozenset({X, L, D, F, K, R, H}),
    X: frozenset({L, D, F, K, R, H}),
    L: frozenset({X, D, F, K, R, H}),
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

_RANK = {S: 1, X: 2, L: 2, D: 3, F: 3, K: 3}


def after(state: JobState, reported: JobState) -> JobState:
    """The state of a job in ``state`` after a report about its current attempt says ``reported``.

    Idempotent and order-tolerant: a repeat, a late *submitted* after *running*, or anything about a job that ended
    leaves the state as it is.
    """
    if reported is state or state in FINAL or state not in ACTIVE:
        return state
    if _RANK.get(reported, 3) < _RANK[state]:
        return state
    return reported if reported in LEGAL[state] else state
