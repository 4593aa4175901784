"""What migrations make is what the tables say, and an older ledger is brought up to date without loss."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, insert, text

from fiducial.core.errors import LedgerError
from fiducial.ledger import schema
from fiducial.ledger.database import Database
from fiducial.ledger.migrate import configuration, upgrade


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Connection]:
    """An empty database after all migrations."""
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        yield connection
    engine.dispose()


def tables(connection: Connection) -> dict[str, list[str]]:
    """What SQLite keeps of each table and index; columns and constraints in any order."""
    rows = connection.execute(
        text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    )
    return {name: sorted(line.strip(" \t,") for line in sql.replace(", \n", "\n").splitlines()) for name, sql in rows}


def test_migrations_make_the_tables_of_the_schema(migrated: Connection) -> None:
    assert compare_metadata(MigrationContext.configure(migrated), schema.metadata) == []


def test_down_to_the_letter(migrated: Connection) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        wanted = tables(connection)
    engine.dispose()
    assert tables(migrated) == wanted
    assert {"jobs", "jobs_troubled", "attempts"} <= wanted.keys()


def test_the_revision_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(configuration()).get_heads() == [schema.REVISION]


def test_a_forgotten_migration_would_be_seen(migrated: Connection) -> None:
    migrated.execute(text("ALTER TABLE groups ADD COLUMN forgotten INTEGER"))
    assert compare_metadata(MigrationContext.configure(migrated), schema.metadata)


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A ledger of a Fiducial that is one migration younger than the ledger."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with database.write() as connection:
        row = {"id": "x", "site": "s", "host": "h", "pid": 1, "started": 0.0, "seen": 0.0}
        connection.execute(insert(schema.agents), [row])
    folder = tmp_path / "migrations"
    versions = folder / "versions"
    versions.mkdir(parents=True)
    own = Path(schema.__file__).parent / "migrations"
    for file in [own / "env.py", *(own / "versions").glob("*.py")]:
        (folder / file.relative_to(own)).write_bytes(file.read_bytes())
    (versions / "next.py").write_text(
        'from alembic import op\nimport sqlalchemy as sa\nrevision = "next"\ndown_revision = "0001"\n'
        'def upgrade():\n    op.add_column("agents", sa.Column("mood", sa.Text()))\n'
    )
    config = configuration()
    config.set_main_option("script_location", str(folder))
    monkeypatch.setattr("fiducial.ledger.migrate.configuration", lambda: config)
    monkeypatch.setattr(schema, "REVISION", "next")
    return database


def test_an_older_ledger_is_upgraded_when_it_is_opened(older: Database) -> None:
    # It stays open on purpose: what stands in the log alone must be in the copy, too.
    database = Database(str(older.url))
    with database.read() as connection:
        assert connection.execute(text("SELECT id, mood FROM agents")).fetchall() == [("x", None)]
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "next"
    copy = Path(older.where).with_name("ledger.db.before-upgrade-from-0001")
    with closing(sqlite3.connect(copy)) as raw:
        assert raw.execute("SELECT id FROM agents").fetchall() == [("x",)]
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    database.close()
    older.close()


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Database(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match=r"made by a newer Fiducial \(revision 9999") as caught:
        Database(f"sqlite:///{path}")
    assert "pip install --upgrade" in caught.value.hint
    assert list(tmp_path.glob("*before-upgrade*")) == []


def test_upgrading_twice_is_harmless(older: Database) -> None:
    upgrade(older, "0001")
    upgrade(older, "next")
    with older.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "next"
    older.close()
