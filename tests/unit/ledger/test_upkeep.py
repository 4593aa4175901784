"""Counters are recounted, backups hold what the log alone had, and a restore never loses the ledger that was there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from campaigns import Stage, failure, fan, step
from fiducial.core.errors import LedgerError, NotFoundError, StateError
from fiducial.ledger import queries, upkeep
from fiducial.ledger.database import Database


@pytest.fixture
def used(stage: Stage) -> Stage:
    """A ledger with jobs in many states."""
    campaign = stage.create({"a": step(fanout=fan(6), retry={"max": 1}), "b": step(after="a")})
    first, second, *_ = stage.lease(campaign, 4)
    stage.end(first)
    stage.end(second, failure())
    return stage


def miscounts(stage: Stage) -> list[tuple[str, str, float, float]]:
    with stage.database.read() as connection:
        return [(m.step, m.counter, m.stored, m.counted) for m in upkeep.miscounts(connection)]


def test_right_counters_are_found_right(used: Stage) -> None:
    assert miscounts(used) == []


@pytest.mark.parametrize("counter", ["done", "retrying", "attempts", "cpu_s", "total"])
def test_a_wrong_counter_is_found_and_mended(counter: str, used: Stage) -> None:
    with used.database.write() as connection:
        connection.execute(text(f"UPDATE groups SET {counter} = {counter} + 3 WHERE step = 'a'"))
    (found,) = miscounts(used)
    assert found[:2] == ("a", counter)
    assert found[2] == pytest.approx(found[3] + 3)
    with used.database.write() as connection:
        upkeep.repair(connection, upkeep.miscounts(connection))
    assert miscounts(used) == []


def test_info_counts_rows(used: Stage) -> None:
    found = upkeep.info(used.database)
    assert found["rows"]["jobs"] == 7
    assert found["rows"]["attempts"] == 4
    assert found["revision"] == "0001"
    assert found["size"] > 4096


# ---------------------------------------------------------------- backups


def test_a_backup_holds_what_is_in_the_log_alone(used: Stage, tmp_path: Path) -> None:
    assert (tmp_path / "ledger.db-wal").stat().st_size > 0
    copy = tmp_path / "copy.db"
    assert upkeep.backup(used.database, copy) == copy.stat().st_size
    other = Database(f"sqlite:///{copy}", create=False)
    with other.read() as connection:
        assert len(queries.job_rows(connection, 1)) == 7
    other.close()
    assert upkeep.damage(copy) == []


def test_a_backup_overwrites_nothing(used: Stage, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StateError, match="exists already"):
        upkeep.backup(used.database, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_a_backup_into_a_folder_that_is_not_there(used: Stage, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot copy"):
        upkeep.backup(used.database, tmp_path / "none" / "copy.db")


def test_a_restore_keeps_what_was_there(used: Stage, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    upkeep.backup(used.database, tmp_path / "copy.db")
    used.create({"c": step()}, name="later")
    used.close()
    aside = upkeep.restore(tmp_path / "copy.db", ledger)
    assert [row["name"] for row in campaigns(ledger)] == ["w"]
    assert aside is not None
    assert [row["name"] for row in campaigns(aside)] == ["later", "w"]


def campaigns(path: Path) -> list[dict[str, object]]:
    database = Database(f"sqlite:///{path}", create=False)
    with database.read() as connection:
        rows = [dict(row) for row in queries.campaign_rows(connection)]
    database.close()
    return rows


def test_a_restore_where_there_is_none(used: Stage, tmp_path: Path) -> None:
    upkeep.backup(used.database, tmp_path / "copy.db")
    assert upkeep.restore(tmp_path / "copy.db", tmp_path / "new" / "ledger.db") is None
    assert [row["name"] for row in campaigns(tmp_path / "new" / "ledger.db")] == ["w"]


def test_a_damaged_ledger_can_be_replaced(used: Stage, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    upkeep.backup(used.database, tmp_path / "copy.db")
    used.close()
    kept = ledger.read_bytes()
    ledger.write_bytes(b"no database" * 1000)
    aside = upkeep.restore(tmp_path / "copy.db", ledger)
    assert aside is not None
    assert aside.read_bytes() == b"no database" * 1000
    assert len(campaigns(ledger)) == 1
    assert len(kept) > 0


OPEN = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("SELECT * FROM jobs").fetchone()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_ledger_in_use_is_not_replaced(used: Stage, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    upkeep.backup(used.database, tmp_path / "copy.db")
    command = [sys.executable, "-c", OPEN, str(ledger)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        used.close()
        with pytest.raises(LedgerError, match="is in use"):
            upkeep.restore(tmp_path / "copy.db", ledger)
        process.communicate("")
    assert sorted(tmp_path.glob("ledger.db.*")) == []
    assert len(campaigns(ledger)) == 1


def test_what_is_no_backup_is_not_restored(used: Stage, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with pytest.raises(NotFoundError, match="there is no file"):
        upkeep.restore(tmp_path / "none.db", ledger)
    (tmp_path / "letter.db").write_bytes(os.urandom(10_000))
    with pytest.raises(LedgerError, match="is damaged"):
        upkeep.restore(tmp_path / "letter.db", ledger)
    with closing(sqlite3.connect(tmp_path / "other.db")) as raw:
        raw.execute("CREATE TABLE t (x)")
    with pytest.raises(LedgerError, match="holds no ledger"):
        upkeep.restore(tmp_path / "other.db", ledger)
    assert miscounts(used) == []


def test_damage_is_named(used: Stage, tmp_path: Path) -> None:
    upkeep.backup(used.database, tmp_path / "copy.db")
    size = (tmp_path / "copy.db").stat().st_size
    with (tmp_path / "copy.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    assert upkeep.damage(tmp_path / "copy.db")


def test_a_stray_reference_is_damage(used: Stage, tmp_path: Path) -> None:
    upkeep.backup(used.database, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as raw, raw:
        raw.execute("DELETE FROM groups WHERE step = 'b'")
    assert upkeep.damage(tmp_path / "copy.db") == ["row 7 of table jobs refers to a missing row of groups"]


def test_vacuum_gives_space_back(used: Stage) -> None:
    with used.database.write() as connection:
        connection.execute(text("CREATE TABLE large (x)"))
        connection.execute(text("INSERT INTO large VALUES (zeroblob(1000000))"))
        connection.execute(text("DROP TABLE large"))
    size = upkeep.vacuum(used.database)
    assert size["after"] < size["before"] - 900_000
    assert miscounts(used) == []


# ---------------------------------------------------------------- looks that must stay quick


def plans(stage: Stage, look: str) -> str:
    """How SQLite would go about the queries of a look."""
    asked: list[str] = []
    with stage.database.read() as connection:
        raw = connection.connection.driver_connection
        raw.set_trace_callback(asked.append)
        {
            "problems": lambda: queries.job_rows(connection, 1, states=("failed", "held", "killed"), limit=20),
            "cost": lambda: queries.usage(connection, 1),
            "metrics": lambda: queries.metric_values(connection, 1, most=5),
            "list": lambda: queries.campaign_rows(connection),
        }[look]()
        raw.set_trace_callback(None)
        found = [row[3] for query in asked for row in raw.execute(f"EXPLAIN QUERY PLAN {query}")]
    return "\n".join(found)


@pytest.mark.parametrize("look", ["problems", "cost", "metrics", "list"])
def test_a_look_at_a_campaign_never_walks_over_jobs(look: str, used: Stage) -> None:
    stage_with_trouble(used)
    plan = plans(used, look)
    assert plan
    for table in ("jobs", "attempts", "metrics"):
        assert f"SCAN {table}" not in plan
    if look == "problems":
        assert "SEARCH jobs USING INDEX jobs_troubled" in plan
    if look == "metrics":
        assert "metrics" not in plan or "iteration=? AND step=?" in plan


def stage_with_trouble(stage: Stage) -> None:
    with stage.database.read() as connection:
        number = queries.job_rows(connection, 1)[-1]["id"]
    stage.scheduler.hold([number], "a test")
