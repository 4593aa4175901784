"""``fiducial db``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from campaigns import Stage


def test_info(align: Stage, say: Any) -> None:
    said = say("db", "info")
    assert f"ledger {align.database.where}" in said.lines
    assert "jobs 11" in said.lines
    found = say("db", "info", "--json").json
    assert (found["rows"]["campaigns"], found["revision"]) == (1, "0001")


def test_check(align: Stage, say: Any) -> None:
    assert say("db", "check").out == "the file is sound, and all counters are right\n"
    assert say("db", "check", "--json").json == {"damage": [], "counters": [], "repaired": False}


def test_check_and_repair(align: Stage, say: Any) -> None:
    with align.database.write() as connection:
        connection.execute(text("UPDATE groups SET failed = failed + 2 WHERE step = 'fit' AND iteration = 2"))
    said = say("db", "check")
    assert said.code == 5
    assert said.out == "campaign 1, fit of iteration 2: failed was 2, counted 0\n"
    assert "--repair" in said.err
    (wrong,) = say("db", "check", "--json").json["counters"]
    assert (wrong["counter"], wrong["stored"], wrong["counted"]) == ("failed", 2, 0)
    assert say("db", "check", "--repair").code == 0
    assert say("db", "check").code == 0


def test_check_of_a_damaged_file(say: Any, tmp_path: Path) -> None:
    (tmp_path / ".fiducial").mkdir()
    (tmp_path / ".fiducial" / "ledger.db").write_bytes(b"no database" * 1000)
    said = say("db", "check")
    assert said.code == 5
    assert "error: the file is damaged: file is not a database" in said.err
    assert say("db", "check", "--json").json["damage"] == ["file is not a database"]
    assert say("campaign", "list").code == 5


def test_backup_and_restore(align: Stage, say: Any, tmp_path: Path) -> None:
    assert say("db", "backup", "copy.db").code == 0
    assert say("db", "backup", "copy.db").code == 5
    say("campaign", "cancel", "align")
    align.close()
    assert say("db", "restore", "copy.db", "--dry-run").out.endswith("nothing was changed\n")
    assert say("campaign", "list", "--json").json[0]["state"] == "cancelled"
    said = say("db", "restore", "copy.db")
    assert "what it was is now" in said.out
    assert say("campaign", "list", "--json").json[0]["state"] == "active"


def test_restore_is_refused_while_the_ledger_is_in_use(align: Stage, say: Any) -> None:
    say("db", "backup", "copy.db")
    with align.database.read():
        said = say("db", "restore", "copy.db")
    assert (said.code, "is in use" in said.err) == (5, True)


@pytest.mark.parametrize(("name", "code"), [("none.db", 4), ("letter.db", 5)])
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_restore_of_what_is_no_backup(
    name: str, code: int, options: list[str], align: Stage, say: Any, tmp_path: Path
) -> None:
    (tmp_path / "letter.db").write_text("Dear reader" * 1000)
    assert say("db", "restore", name, *options).code == code


def test_upgrade(align: Stage, say: Any) -> None:
    assert say("db", "upgrade").out == f"{align.database.where} is up to date: revision 0001\n"
    assert "the ledger is of revision 0001" in say("db", "upgrade", "--dry-run").out


def test_vacuum(align: Stage, say: Any) -> None:
    assert "before," in say("db", "vacuum").out


def test_a_server_is_not_a_file(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIDUCIAL_LEDGER", "postgresql://user:secret@nowhere/ledger")
    said = say("db", "restore", "copy.db")
    assert said.code == 5
    assert "pg_restore" in said.err
    assert "secret" not in said.out + said.err
