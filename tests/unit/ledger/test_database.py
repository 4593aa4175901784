"""A database that cannot be used is told from one that can, in plain words, and nothing of it is lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from campaigns import Stage, step, workflow
from fiducial.core.errors import ConfigurationError, FolderError, LedgerError, NotFoundError
from fiducial.engine.scheduler import Scheduler
from fiducial.engine.supervisor import create, prepare
from fiducial.ledger import database as module
from fiducial.ledger.database import Database, filesystem_of


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    Database(url(path)).close()
    return path


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def refusal(path: Path, **options: bool) -> LedgerError:
    with pytest.raises(LedgerError) as caught:
        Database(url(path), **options)
    assert caught.value.exit_code == 5
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


# ---------------------------------------------------------------- opening


def test_it_is_made_with_its_folder_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    first = Database(url(path))
    second = Database(url(path))
    assert first.id == second.id
    first.close()
    second.close()


def test_one_that_shall_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no ledger at") as caught:
        Database(url(tmp_path / "none.db"), create=False)
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_url() -> None:
    with pytest.raises(ConfigurationError, match="not a database URL"):
        Database("no url at all")


def test_another_program_s_database_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE t (x)")
    assert "holds no ledger" in refusal(path, create=False).message


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    content = b"This is a letter to my grandmother. " * 100
    path.write_bytes(content)
    assert "is damaged: file is not a database" in refusal(path).message
    assert path.read_bytes() == content


def test_a_file_with_a_hole(ledger: Path) -> None:
    size = ledger.stat().st_size
    with ledger.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    assert "is damaged" in refusal(ledger).message


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    # A path below a regular file is closed to root, too, whom permissions do not stop.
    (tmp_path / "file").touch()
    assert "cannot make a folder" in refusal(tmp_path / "file" / "ledger.db").message


# ---------------------------------------------------------------- locks


HOLD = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locker(ledger: Path) -> Iterator[None]:
    """Another process that writes and does not come to an end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield
    process.communicate("")


def test_a_ledger_that_another_process_locks(ledger: Path, locker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.1)
    database = Database(url(ledger))
    with database.read():
        pass  # reading goes on
    with pytest.raises(LedgerError, match=r"was locked by another process for 0\.1 s") as caught, database.write():
        pass
    assert "fuser" in caught.value.hint
    database.close()


# ---------------------------------------------------------------- network file systems


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /data nfs4 rw 0 0
/dev/sdb1 /data/local ext4 rw 0 0
AFS /afs afs rw 0 0
eos /eos fuse.eosxd rw 0 0
server:/odd /with\\040blank nfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    return table


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/u", "ext4"),
        ("/data/u", "nfs4"),
        ("/database", "ext4"),
        ("/data/local/u", "ext4"),
        ("/afs/cern.ch/user/u", "afs"),
        ("/eos/user", "fuse.eosxd"),
        ("/with blank/x", "nfs"),
    ],
)
def test_the_kind_of_a_file_system(path: str, kind: str, mounts: Path) -> None:
    assert filesystem_of(Path(path), mounts) == kind


def test_an_unknown_table_of_mounts_stops_nobody(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path, tmp_path / "none") == ""


@pytest.mark.parametrize("folder", ["/data/u", "/afs/cern.ch/user/u", "/eos/user/u"])
def test_a_network_file_system_is_refused(folder: str, mounts: Path) -> None:
    with pytest.raises(LedgerError, match="lies on a network file system") as caught:
        Database(f"sqlite:///{folder}/ledger.db", mounts=mounts)
    assert "FIDUCIAL_LEDGER" in caught.value.hint
    assert not Path(folder).exists()


# ---------------------------------------------------------------- folders of others


def test_the_folder_of_another_campaign(stage: Stage) -> None:
    stage.create({"a": step()}, folder="shared", campaign="first")
    with pytest.raises(FolderError, match="belongs to campaign 'first'") as caught:
        stage.create({"a": step()}, folder="shared", campaign="second")
    assert "--folder" in caught.value.hint


def test_the_folder_of_another_ledger(stage: Stage, tmp_path: Path) -> None:
    stage.create({"a": step()})
    other = Database(url(tmp_path / "other.db"))
    prepared = prepare(workflow({"a": step()}), {}, workflow_folder=tmp_path, base=tmp_path)
    with pytest.raises(FolderError, match="belongs to campaign 'w' of another ledger"):
        create(Scheduler(other), prepared)
    other.close()
