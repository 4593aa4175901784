"""What agents write of themselves, and of what they have handed to their batch systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, update

from fiducial.ledger.bulk import execute_many
from fiducial.ledger.schema import agents, attempts

__all__ = ["insert_agent", "note_submitted", "stop_agent"]

_SET_NAME = (
    update(attempts)
    .where(attempts.c.job == bindparam("j"), attempts.c.number == bindparam("a"))
    .values(backend_id=bindparam("name"))
)


def note_submitted(connection: Connection, names: Sequence[tuple[int, int, str]]) -> None:
    """Note what attempts are called in their batch system: (job, attempt, name)."""
    execute_many(connection, _SET_NAME, [{"j": job, "a": attempt, "name": name} for job, attempt, name in names])


def insert_agent(connection: Connection, row: Mapping[str, Any]) -> None:
    """Make an agent known."""
    connection.execute(insert(agents).values(**row))


def stop_agent(connection: Connection, agent: str, now: float) -> None:
    """Note that an agent stopped by itself."""
    connection.execute(update(agents).where(agents.c.id == agent).values(stopped=now, seen=now))
