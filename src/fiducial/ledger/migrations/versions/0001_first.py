"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def Id() -> sa.types.TypeEngine[int]:  # noqa: N802 - it stands among sa.Text() and sa.Integer()
    """A number of 64 bits; SQLite has them under the name INTEGER alone."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table, those that are referred to first."""
    _agents()
    _artifacts()
    _attempts()
    _campaigns()
    _ledger()
    _transitions()
    _groups()
    _metrics()
    _jobs()


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("stopped", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("job", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", Id(), nullable=False),
        sa.Column("adler32", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("job", "name"),
        sqlite_with_rowid=False,
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("job", Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(length=36), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("backend_id", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("leased", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("started", sa.Float(), nullable=True),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("wall_s", sa.Float(), nullable=True),
        sa.Column("cpu_s", sa.Float(), nullable=True),
        sa.Column("max_rss", Id(), nullable=True),
        sa.Column("read_bytes", Id(), nullable=True),
        sa.Column("write_bytes", Id(), nullable=True),
        sa.PrimaryKeyConstraint("job", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "attempts_open",
        "attempts",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("finished IS NULL"),
        postgresql_where=sa.text("finished IS NULL"),
    )


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("workflow_name", sa.Text(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("variables", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("max_iterations", sa.Integer(), nullable=False),
        sa.Column("converged", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "campaigns_name",
        "campaigns",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state <> 'archived'"),
        postgresql_where=sa.text("state <> 'archived'"),
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("next_job", Id(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _transitions() -> None:
    op.create_table(
        "transitions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("job", Id(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("transitions_job", "transitions", ["job"], unique=False)


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("first_job", Id(), nullable=False),
        sa.Column("total", Id(), nullable=False),
        sa.Column("waiting", Id(), server_default="0", nullable=False),
        sa.Column("held", Id(), server_default="0", nullable=False),
        sa.Column("ready", Id(), server_default="0", nullable=False),
        sa.Column("submitted", Id(), server_default="0", nullable=False),
        sa.Column("running", Id(), server_default="0", nullable=False),
        sa.Column("lost", Id(), server_default="0", nullable=False),
        sa.Column("done", Id(), server_default="0", nullable=False),
        sa.Column("failed", Id(), server_default="0", nullable=False),
        sa.Column("killed", Id(), server_default="0", nullable=False),
        sa.Column("skipped", Id(), server_default="0", nullable=False),
        sa.Column("retrying", Id(), server_default="0", nullable=False),
        sa.Column("attempts", Id(), server_default="0", nullable=False),
        sa.Column("cpu_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("wall_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("max_rss", Id(), server_default="0", nullable=False),
        sa.Column("started", sa.Float(), nullable=True),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign", "step", "iteration", name="groups_once"),
    )


def _metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("job", Id(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("campaign", "iteration", "step", "job", "name"),
        sqlite_with_rowid=False,
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", Id(), nullable=False),
        sa.Column("group", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("vals", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Text(), nullable=True),
        sa.Column("memory", Id(), nullable=True),
        sa.Column("walltime", sa.Float(), nullable=True),
        sa.Column("not_before", sa.Float(), nullable=True),
        sa.Column("order", sa.String(length=4), nullable=True),
        sa.ForeignKeyConstraint(["group"], ["groups.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "jobs_ordered",
        "jobs",
        ["id"],
        unique=False,
        sqlite_where=sa.text('"order" IS NOT NULL'),
        postgresql_where=sa.text('"order" IS NOT NULL'),
    )
    op.create_index(
        "jobs_ready",
        "jobs",
        ["group", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "jobs_troubled",
        "jobs",
        ["group", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('failed', 'held', 'killed')"),
        postgresql_where=sa.text("state IN ('failed', 'held', 'killed')"),
    )
