"""Opening the ledger's database: safe settings, and a clear word when it cannot be used."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from fiducial.core.errors import ConfigurationError, LedgerError, NotFoundError
from fiducial.ledger import schema

__all__ = ["Database", "filesystem_of"]

# SQLite's write-ahead log needs shared memory and honest locks, which file systems of several hosts do not give.
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "afs", "auristorfs", "cifs", "smb3", "smbfs", "9p", "ncpfs", "fuse.sshfs", "fuse.eosxd", "fuse.eos"}
)
BUSY_SECONDS = 30.0


def filesystem_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that ``path`` lies on, such as ``ext4``; empty where that is not known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    target = f"{path.resolve()}/"
    for line in lines:
        _, mount, fstype, *_ = [*line.split(), "", "", ""]
        mount = mount.replace("\\040", " ").rstrip("/") + "/"
        if target.startswith(mount) and len(mount) >= len(best):
            best, kind = mount, fstype
    return kind


class Database:
    """A ledger's database, open.

    Args:
        url: SQLAlchemy URL; ``sqlite:////path/ledger.db`` by default.
        create: make it if it is not there.

    Raises:
        LedgerError: newer, damaged, locked, or on a network file system.
        NotFoundError: it is not there and shall not be made.
        ConfigurationError: not a database URL.
    """

    def __init__(self, url: str, *, create: bool = True, mounts: Path = Path("/proc/self/mounts")) -> None:
        try:
            self.url: URL = make_url(url)
        except ArgumentError:
            raise ConfigurationError(
                f"'{url}' is not a database URL", hint="write sqlite:////absolute/path/ledger.db or postgresql://…"
            ) from None
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            self._check_place(create, mounts)
        self.engine: Engine = _engine(self.url, self.sqlite)
        self._connection: Connection | None = None
        with self._explained():
            self.id = self._open(create)

    @property
    def where(self) -> str:
        """The database, as a user would name it; without password."""
        return str(self.url.database) if self.sqlite else self.url.render_as_string(hide_password=True)

    def _check_place(self, create: bool, mounts: Path) -> None:
        path = Path(str(self.url.database))
        kind = filesystem_of(path.parent, mounts)
        if kind in NETWORK_FILESYSTEMS:
            raise LedgerError(
                f"the ledger {path} lies on a network file system ({kind}), where SQLite loses data",
                hint="set FIDUCIAL_LEDGER to a path on a local disk, or to a PostgreSQL URL",
            )
        if path.exists():
            return
        if not create:
            raise NotFoundError(
                f"there is no ledger at {path}",
                hint="fiducial run makes one; go to its folder, or set FIDUCIAL_LEDGER",
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"cannot make a folder for the ledger {path}: {error.strerror}", hint="set FIDUCIAL_LEDGER"
            ) from None

    def _open(self, create: bool) -> str:
        with self.engine.connect() as connection:
            there = inspect(connection).has_table("ledger")
            revision = self._revision(connection) if there else None
        if not there:
            if not create:
                raise LedgerError(f"{self.where} holds no ledger", hint="is it another program's database?")
            return self._create()
        if revision != schema.REVISION:
            from fiducial.ledger.migrate import upgrade

            upgrade(self, revision)
        with self.read() as connection:
            return str(connection.execute(select(schema.ledger.c.id)).scalar_one())

    def _create(self) -> str:
        """Make all tables; two processes that start at the same time make them once."""
        with self.write() as connection:
            if not inspect(connection).has_table("ledger"):
                schema.metadata.create_all(connection)
                connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
                connection.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": schema.REVISION})
                row = {"id": str(uuid.uuid4()), "created": time.time(), "next_job": 1}
                connection.execute(insert(schema.ledger), row)
            return str(connection.execute(select(schema.ledger.c.id)).scalar_one())

    @staticmethod
    def _revision(connection: Connection) -> str:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; all of it is kept, durably, or nothing."""
        with self._explained(), self._kept().execution_options(writes=True).begin():
            yield self._kept()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that sees one state of the ledger."""
        with self._explained(), self._kept().execution_options(writes=False).begin():
            yield self._kept()

    def _kept(self) -> Connection:
        # Opening a connection costs as much as a small transaction, so one is kept.
        if self._connection is None or self._connection.closed:
            self._connection = self.engine.connect()
        return self._connection

    def close(self) -> None:
        """Let go of the database; it opens again when it is next used."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise explain(error, self.where) from error


def _engine(url: URL, sqlite: bool) -> Engine:
    if not sqlite:
        schema.for_postgresql()
        return create_engine(url, isolation_level="READ COMMITTED")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # The driver must not begin transactions by its own rules; _begin_sqlite does.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: a read that turns into a write cannot wait and would fail under load.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def explain(error: DBAPIError, where: str) -> LedgerError:
    """Say in plain words what a database refused."""
    said = str(error.orig).strip()
    if "locked" in said or "busy" in said:
        return LedgerError(
            f"the ledger {where} was locked by another process for {BUSY_SECONDS:g} s",
            hint="find it with: fuser -v " + where,
        )
    if "not a database" in said or "malformed" in said:
        return LedgerError(
            f"the ledger {where} is damaged: {said}",
            hint="fiducial db check tells more; fiducial db restore brings back a backup",
        )
    if "disk is full" in said or "disk I/O" in said:
        return LedgerError(f"the ledger {where} cannot be written: {said}", hint="free some disk space and run again")
    if "readonly" in said or "unable to open" in said:
        return LedgerError(f"the ledger {where} cannot be opened: {said}", hint="check the folder's permissions")
    kind = "cannot be reached" if isinstance(error, OperationalError) else "refused"
    return LedgerError(f"the ledger {where} {kind}: {said}")
