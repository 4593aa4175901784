"""Tables of the ledger. Times are seconds since the epoch (UTC), sizes bytes.

The jobs of a group have consecutive ids from ``groups.first_job`` on, so that a group needs no index to be walked, and
the n-th job of one group finds the n-th of another by adding. Counters in ``groups`` follow every change of a job's
state in the same transaction: a status never scans jobs.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from fiducial.core.states import JobState

__all__ = [
    "REVISION",
    "TROUBLED",
    "agents",
    "artifacts",
    "attempts",
    "campaigns",
    "for_postgresql",
    "groups",
    "jobs",
    "ledger",
    "metadata",
    "metrics",
    "transitions",
]

#: The migration (ledger/migrations/versions) that these tables are the result of.
REVISION = "0001"

#: Jobs that a person may have to look at. A query must use this very text to be answered from their index.
TROUBLED = "state IN ('failed', 'held', 'killed')"

metadata = MetaData()


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over some rows only. PostgreSQL is told later: naming it here would import its dialect every time."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), info={"where": where})


def for_postgresql() -> None:
    """Tell PostgreSQL too which rows the partial indexes are over."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options["postgresql"]["where"] = text(index.info["where"])


# SQLite counts rows by 64-bit integers only under the name INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")

ledger = Table(
    "ledger",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("created", Float, nullable=False),
    Column("next_job", Id, nullable=False),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("workflow", Text, nullable=False),
    Column("workflow_name", Text, nullable=False),
    Column("names", Text, nullable=False),
    Column("variables", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("max_iterations", Integer, nullable=False),
    Column("converged", Integer),
    Column("reason", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    _partial("campaigns_name", "name", where="state <> 'archived'", unique=True),
)

groups = Table(
    "groups",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign", Integer, ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("step", Text, nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("opened", Integer, nullable=False),
    Column("first_job", Id, nullable=False),
    Column("total", Id, nullable=False),
    *(Column(state.value, Id, nullable=False, server_default="0") for state in JobState),
    Column("retrying", Id, nullable=False, server_default="0"),
    # What all attempts have cost so far, kept here so that asking for it never scans attempts.
    Column("attempts", Id, nullable=False, server_default="0"),
    Column("cpu_s", Float, nullable=False, server_default="0"),
    Column("wall_s", Float, nullable=False, server_default="0"),
    Column("max_rss", Id, nullable=False, server_default="0"),
    Column("started", Float),
    Column("finished", Float),
    UniqueConstraint("campaign", "step", "iteration", name="groups_once"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("group", Integer, ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("vals", Text),
    Column("state", String(9), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("retries", Text),
    Column("memory", Id),
    Column("walltime", Float),
    Column("not_before", Float),
    Column("order", String(4)),
    _partial("jobs_ready", "group", "id", where="state = 'ready'"),
    _partial("jobs_troubled", "group", "id", where=TROUBLED),
    _partial("jobs_ordered", "id", where='"order" IS NOT NULL'),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job", Id, nullable=False),
    Column("number", Integer, nullable=False),
    Column("agent", String(36), nullable=False),
    Column("site", Text, nullable=False),
    Column("backend_id", Text),
    Column("host", Text),
    Column("leased", Float, nullable=False),
    Column("lease_until", Float),
    Column("started", Float),
    Column("finished", Float),
    Column("state", String(9), nullable=False),
    Column("cause", Text),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("wall_s", Float),
    Column("cpu_s", Float),
    Column("max_rss", Id),
    Column("read_bytes", Id),
    Column("write_bytes", Id),
    PrimaryKeyConstraint("job", "number"),
    _partial("attempts_open", "lease_until", where="finished IS NULL"),
    sqlite_with_rowid=False,
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", String(9), nullable=False),
    Column("at", Float, nullable=False),
    Column("who", Text),
    Column("why", Text),
    Index("transitions_job", "job"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("campaign", Integer, ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("job", Id, nullable=False),
    Column("value", Float, nullable=False),
    PrimaryKeyConstraint("campaign", "iteration", "step", "job", "name"),
    sqlite_with_rowid=False,
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size", Id, nullable=False),
    Column("adler32", String(8), nullable=False),
    PrimaryKeyConstraint("job", "name"),
    sqlite_with_rowid=False,
)

agents = Table(
    "agents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("stopped", Float),
)
