"""Looking after the ledger's database: what it holds, whether it is sound, backups.

What may be wrong with a file is looked at with the plain driver, because a damaged ledger cannot be opened otherwise.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, literal_column, select, text, update

from fiducial.core.errors import LedgerError, NotFoundError, StateError
from fiducial.core.states import ACTIVE, JobState
from fiducial.ledger import schema
from fiducial.ledger.database import Database, filesystem_of
from fiducial.ledger.schema import attempts, groups, jobs
from fiducial.storage.replace import replacing

__all__ = [
    "Miscount",
    "backup",
    "copy_file",
    "damage",
    "info",
    "miscounts",
    "must_be_ledger",
    "repair",
    "restore",
    "revision",
    "vacuum",
]

Progress = Callable[[int, int], None]

_COUNTERS = (*(state.value for state in JobState), "total", "retrying", "attempts", "cpu_s", "wall_s", "max_rss")
_PAGES = 4096


# ---------------------------------------------------------------- what there is


def info(database: Database) -> dict[str, Any]:
    """Where the ledger is, how large, of which revision, and the rows of each table."""
    with database.read() as connection:
        row = connection.execute(select(schema.ledger)).mappings().one()
        rows = {table.name: _count(connection, table) for table in schema.metadata.sorted_tables}
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return {
        "ledger": database.where,
        "id": row["id"],
        "created": row["created"],
        "revision": revision,
        "size": _size(Path(database.where)) if database.sqlite else None,
        "file_system": filesystem_of(Path(database.where)) if database.sqlite else None,
        "rows": rows,
    }


def _count(connection: Connection, table: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _size(path: Path) -> int:
    """With the log of what is not yet in the file itself."""
    return sum(part.stat().st_size for part in _parts(path) if part.exists())


def _parts(path: Path) -> list[Path]:
    """The files of a database: they belong together, and an old log beside a new file destroys it."""
    return [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm")]


def revision(path: Path) -> str | None:
    """The revision of a ledger's file, read without bringing it up to date."""
    with suppress(sqlite3.DatabaseError), closing(_open(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    return None


# ---------------------------------------------------------------- is it sound?


def damage(path: Path) -> list[str]:
    """What SQLite finds wrong with a file; empty if nothing is.

    Raises:
        NotFoundError: there is no such file.
    """
    try:
        with closing(_open(path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
            strays = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    except sqlite3.DatabaseError as error:
        return [str(error)]
    lines = [] if found == ["ok"] else found
    return lines + [f"row {row} of table {table} refers to a missing row of {other}" for table, row, other, _ in strays]


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    return sqlite3.connect(path, timeout=5.0, isolation_level=None)


@dataclass(frozen=True, slots=True)
class Miscount:
    """A group's counter that is not what a recount of its jobs and attempts gives."""

    group: int
    campaign: int
    step: str
    iteration: int
    counter: str
    stored: float
    counted: float


def miscounts(connection: Connection) -> list[Miscount]:
    """Count all jobs and attempts again and compare with the counters that every status is read from."""
    counted = _recount(connection)
    found = []
    for row in connection.execute(select(groups)).mappings():
        for name in _COUNTERS:
            stored, real = row[name], counted.get(row["id"], {}).get(name, 0)
            # Sums of fractions differ in their last digits by the order of adding.
            if not math.isclose(stored, real, rel_tol=1e-6, abs_tol=1e-3):
                place = (row["id"], row["campaign"], row["step"], row["iteration"])
                found.append(Miscount(*place, name, stored, real))
    return found


def _recount(connection: Connection) -> dict[int, dict[str, float]]:
    counted: dict[int, dict[str, float]] = {}
    again = (jobs.c.attempt > literal_column("0")).label("again")
    more = (jobs.c.attempt > literal_column("1")).label("more")
    statement = select(jobs.c.group, jobs.c.state, again, more, func.count()).group_by(
        jobs.c.group, jobs.c.state, again, more
    )
    for group, state, tried, retried, number in connection.execute(statement):
        counter = counted.setdefault(group, dict.fromkeys(_COUNTERS, 0))
        counter[state] += number
        counter["total"] += number
        if (state == "ready" and tried) or (state in ACTIVE and retried):
            counter["retrying"] += number
    for row in connection.execute(_costs()).mappings():
        counted.setdefault(row["group"], dict.fromkeys(_COUNTERS, 0)).update(
            {name: row[name] for name in ("attempts", "cpu_s", "wall_s", "max_rss")}
        )
    return counted


def _costs() -> Any:
    sums = {name: func.coalesce(func.sum(attempts.c[name]), 0.0) for name in ("cpu_s", "wall_s")}
    return (
        select(
            jobs.c.group,
            func.count().label("attempts"),
            *(value.label(name) for name, value in sums.items()),
            func.coalesce(func.max(attempts.c.max_rss), 0).label("max_rss"),
        )
        .join(attempts, attempts.c.job == jobs.c.id)
        .group_by(jobs.c.group)
    )


def repair(connection: Connection, wrong: list[Miscount]) -> None:
    """Set counters to what was counted, in the transaction in which they were counted."""
    values: dict[int, dict[str, float]] = {}
    for miscount in wrong:
        values.setdefault(miscount.group, {})[miscount.counter] = miscount.counted
    for group, changed in values.items():
        connection.execute(update(groups).where(groups.c.id == group).values(**changed))


# ---------------------------------------------------------------- backups


def backup(database: Database, target: Path, progress: Progress | None = None) -> int:
    """Copy the ledger as it is at this moment, while others go on working with it; the size of the copy.

    Raises:
        StateError: the file is there already, or the ledger is no SQLite file.
    """
    source = _file_of(database, "pg_dump makes backups of PostgreSQL")
    if target.exists():
        raise StateError(f"{target} exists already", hint="name another file; a backup overwrites nothing")
    copy_file(source, target, progress)
    return target.stat().st_size


def _file_of(database: Database, otherwise: str) -> Path:
    if not database.sqlite:
        raise StateError(f"the ledger {database.where} is not an SQLite file", hint=otherwise)
    return Path(database.where)


def copy_file(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy an SQLite database, log and all, by its own backup; the target appears only when it is complete."""
    try:
        with (
            replacing(target) as temporary,
            closing(_open(source)) as from_,
            closing(sqlite3.connect(temporary)) as to,
        ):
            from_.backup(
                to,
                pages=_PAGES,
                progress=lambda _, left, total: progress(total - left, total) if progress else None,
                sleep=0.01,
            )
            # A copy is one file: it needs no log beside it.
            to.execute("PRAGMA journal_mode = DELETE")
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(
            f"cannot copy {source} to {target}: {error}", hint="is there space, and may you write?"
        ) from None


def restore(source: Path, ledger: Path, progress: Progress | None = None) -> Path | None:
    """Put a backup into the ledger's place; where the ledger that was there has been put, if there was one.

    Raises:
        NotFoundError: there is no such backup.
        LedgerError: it is damaged or no ledger, or the ledger is in use.
    """
    must_be_ledger(source)
    fresh = ledger.with_name(f"{ledger.name}.restoring")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    copy_file(source, fresh, progress)
    try:
        with _nobody_in(ledger):
            aside = _put_aside(ledger)
            fresh.replace(ledger)
    finally:
        fresh.unlink(missing_ok=True)
    return aside


def must_be_ledger(path: Path) -> None:
    """Make sure that a file is a sound ledger.

    Raises:
        NotFoundError: there is no such file.
        LedgerError: it is damaged, or something else.
    """
    wrong = damage(path)
    if wrong:
        raise LedgerError(f"{path} is damaged: {wrong[0]}", hint="the ledger was left as it is; try another backup")
    with closing(_open(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"ledger", "alembic_version"} <= tables:
        raise LedgerError(f"{path} holds no ledger", hint="fiducial db backup makes files that can be restored")


@contextmanager
def _nobody_in(ledger: Path) -> Iterator[None]:
    """Have a database for oneself: leaving the log needs that nobody else has it open."""
    if not ledger.exists():
        yield
        return
    with closing(sqlite3.connect(ledger, timeout=0.5, isolation_level=None)) as connection:
        try:
            # What cannot even be read is in nobody's use.
            with _only_locks_count():
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise LedgerError(
                f"the ledger {ledger} is in use", hint=f"stop what uses it first: fuser -v {ledger} tells"
            ) from None
        yield


@contextmanager
def _only_locks_count() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise


def _put_aside(ledger: Path) -> Path | None:
    if not ledger.exists():
        return None
    aside = ledger.with_name(f"{ledger.name}.before-restore-{time.strftime('%Y%m%d-%H%M%S')}")
    for old, new in zip(_parts(ledger), _parts(aside), strict=True):
        with suppress(FileNotFoundError):
            old.rename(new)
    return aside


def vacuum(database: Database) -> Mapping[str, int]:
    """Give back the space of what was deleted: bytes before and after."""
    path = _file_of(database, "VACUUM of psql does it for PostgreSQL")
    before = _size(path)
    database.close()
    try:
        with closing(_open(path)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be packed: {error}", hint="try when nothing runs") from None
    return {"before": before, "after": _size(path)}
