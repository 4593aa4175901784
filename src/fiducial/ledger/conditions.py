"""Which jobs have an attempt under way: those in an active state, and those that their batch system holds."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, bindparam, exists, or_, select

from fiducial.core.states import ACTIVE, JobState
from fiducial.ledger.records import Job
from fiducial.ledger.schema import attempts, jobs

__all__ = ["QUEUED", "UNDER_WAY", "held_in_queue"]

_present = attempts.alias("present")
#: Held by the batch system: the attempt is not finished.
QUEUED = and_(
    jobs.c.state == "held",
    exists()
    .where(_present.c.job == jobs.c.id, _present.c.number == jobs.c.attempt, _present.c.finished.is_(None))
    .correlate(jobs),
)
UNDER_WAY = or_(jobs.c.state.in_(ACTIVE), QUEUED)

_HELD_IN_QUEUE = select(jobs.c.id).where(jobs.c.id.in_(bindparam("ids", expanding=True)), QUEUED)
_AT_A_TIME = 10_000


def held_in_queue(connection: Connection, found: Iterable[Job]) -> set[int]:
    """Those of the jobs that their batch systems hold."""
    ids = [job.id for job in found if job.state is JobState.HELD]
    parts = [ids[start : start + _AT_A_TIME] for start in range(0, len(ids), _AT_A_TIME)]
    return {row[0] for part in parts for row in connection.execute(_HELD_IN_QUEUE, {"ids": part})}
