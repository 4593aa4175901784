"""``fiducial align check``, row by row; the programs of AFS, EOS, Kerberos and HTCondor are stand-ins here."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import calypso
from fiducial.alignment.faser.checkup import everything, tools
from fiducial.alignment.faser.checkup.everything import check_everything
from fiducial.alignment.faser.checkup.space import (
    AFS,
    EOS,
    Needed,
    folder_rows,
    kind_of,
    parse_eos_quota,
    parse_fs_quota,
    size_text,
)
from fiducial.alignment.faser.checkup.tickets import ticket_rows
from fiducial.alignment.faser.pede import Pede
from fiducial.alignment.faser.request import Request
from fiducial.core.rows import Row

GB = 2**30


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins, the only programs there are."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str, output: str = "", code: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{output}\nEND\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> calypso.Site:
    site = calypso.build(tmp_path / "site")
    for file in range(450, 470):
        path = site.raw / "2023" / "011705" / f"Faser-Physics-011705-{file:05d}.raw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return site


def asked(site: calypso.Site, **more: Any) -> Request:
    variables = {"raw": str(site.raw), "database": str(site.database)}
    given: dict[str, Any] = {"year": 2023, "run": 11705, "files": range(450, 460), "calypso": site.calypso}
    return Request(**{**given, "source": site.source, "variables": variables, **more})


def rows_of(request: Request, tmp_path: Path, **more: Any) -> dict[str, Row]:
    options: dict[str, Any] = {"backend": "local", "ledger": f"sqlite:///{tmp_path}/ledger.db", "pede": None, **more}
    return {row.what: row for row in check_everything(request, **options)}


def bad(rows: dict[str, Row]) -> dict[str, str]:
    return {what: row.state for what, row in rows.items() if row.state != "ok"}


def test_all_is_there(site: calypso.Site, tmp_path: Path) -> None:
    rows = rows_of(asked(site), tmp_path)
    assert bad(rows) == {}
    assert "all 10 are in" in rows["raw files"].told
    assert "is made" in rows["environment script"].told
    assert "Y2023_R011705_F450-460: 3 stations, recipe one-fit, 10 iterations" in rows["alignment"].told


def test_everything_is_told_at_once(site: calypso.Site, tmp_path: Path) -> None:
    (site.calypso / "setup.sh").unlink()
    (site.source / "faser_reco_alignment.py").unlink()
    site.database.unlink()
    rows = rows_of(asked(site, files=range(465, 475), folder="/eos-of-nobody/x/{format}"), tmp_path)
    wrong = dict.fromkeys(("Calypso", "environment script", "FASER's scripts", "database", "raw files"), "fail")
    assert bad(rows) == {**wrong, "work folder": "fail"}
    assert all(rows[what].mend for what in wrong)
    assert "there is no /eos-of-nobody here" in rows["work folder"].told


def test_without_a_run_all_else_is_looked_at(site: calypso.Site, tmp_path: Path) -> None:
    rows = rows_of(asked(site, run=None), tmp_path)
    assert bad(rows) == {"run": "warn"}
    assert "raw files" not in rows
    assert rows["work folder"].told.startswith(f"{tmp_path} is there")


def test_one_missing_file_of_twenty_is_a_warning(site: calypso.Site, tmp_path: Path) -> None:
    assert bad(rows_of(asked(site, files=range(451, 471)), tmp_path)) == {"raw files": "warn"}


def test_an_alignment_of_older_scripts_is_seen(site: calypso.Site, tmp_path: Path) -> None:
    old = tmp_path / "Y2023_R011705_F450-460" / "iter01" / "inputforalign.txt"
    old.parent.mkdir(parents=True)
    old.write_text("x")
    assert bad(rows_of(asked(site), tmp_path)) == {"state": "warn"}


def test_a_ledger_on_afs_cannot_be(site: calypso.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "filesystem_of", lambda path: "afs")
    rows = rows_of(asked(site), tmp_path)
    assert bad(rows) == {"ledger": "fail"}
    assert "FIDUCIAL_LEDGER" in rows["ledger"].mend
    assert bad(rows_of(asked(site), tmp_path, ledger="postgresql://me:secret@host/db")) == {}
    assert "secret" not in rows_of(asked(site), tmp_path, ledger="postgresql://me:secret@host/db")["ledger"].told


def test_an_older_daemon_fails_the_check_where_it_is_in_the_way(site: calypso.Site, tmp_path: Path) -> None:
    (tmp_path / "auto_iter.log").write_text("Starting iteration: 1\n")
    row = rows_of(asked(site), tmp_path)["older daemon"]
    assert (row.state, "is still growing" in row.told) == ("fail", True)
    assert rows_of(asked(site, folder=f"{tmp_path}/a/b/{{format}}"), tmp_path)["older daemon"].state == "warn"


def test_who_fits(site: calypso.Site, tmp_path: Path) -> None:
    own = asked(site, pede=Pede(tmp_path))
    assert rows_of(own, tmp_path)["fit"].told == "Fiducial's own"
    assert rows_of(own, tmp_path, pede="pede")["fit"].told.startswith("pede: pede, by the setting")
    wanted = asked(site, pede=Pede(tmp_path), with_pede=True)
    assert rows_of(wanted, tmp_path)["fit"].state == "fail"
    put(tmp_path, "pede")
    assert rows_of(own, tmp_path)["fit"].told == f"Fiducial's own; {tmp_path}/pede would with --with-pede"
    assert rows_of(wanted, tmp_path)["fit"] == Row("ok", "fit", f"pede: {tmp_path}/pede")
    assert tools.pede_row(None, wanted=True).state == "fail"


# ------------------------------------------------------------------------------------------------- room and quotas


def test_what_is_needed_is_that_of_fifty_files() -> None:
    whole = Needed.of(50, 10, keep_ntuples=True, keep_records=True)
    assert 9.5 * GB < whole.large < 10.5 * GB
    assert 0.1 * GB < whole.small < 0.2 * GB
    assert Needed.of(50, 10, keep_ntuples=False, keep_records=False).large < 1.6 * GB


def test_kinds_of_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"AFS {tmp_path}/home afs rw 0 0\neos {tmp_path}/data fuse.eosxd rw 0 0\n")
    assert kind_of(tmp_path / "home" / "x", mounts) == AFS
    assert kind_of(tmp_path / "data" / "x", mounts) == EOS
    assert kind_of(tmp_path, mounts) == ""
    assert kind_of(Path("/afs/cern.ch/user/f/faser")) == AFS
    assert kind_of(Path("/eos/user/f/faser")) == EOS


@pytest.mark.parametrize(
    ("output", "free"),
    [
        ("Volume Name   Quota    Used %Used   Partition\nuser.faser  10000000  9000000  90%  70%", 1000000 * 1024),
        ("Volume Name   Quota    Used %Used   Partition\nuser.f  100  200  200%<<  70%  <<WARNING", -100 * 1024),
        ("Volume Name   Quota    Used %Used   Partition\np.faser  no limit  9000000  0%  70%", -1),
        ("fs: File '/x' doesn't exist", None),
    ],
)
def test_quota_of_afs(output: str, free: int | None) -> None:
    assert parse_fs_quota(output) == free


@pytest.mark.parametrize(
    ("output", "free"),
    [
        (f"quota=node uid=f space=/eos/user/f/ usedlogicalbytes={GB} usedfiles=3 maxlogicalbytes={3 * GB}", 2 * GB),
        (f"quota=node uid=f usedlogicalbytes={GB} maxlogicalbytes={3 * GB}\n"
         f"quota=node gid=p usedlogicalbytes={GB} maxlogicalbytes={2 * GB}", GB),
        ("quota=node uid=f usedlogicalbytes=5 maxlogicalbytes=0", -1),
        ("error: no such path", None),
    ],
)  # fmt: skip
def test_quota_of_eos(output: str, free: int | None) -> None:
    assert parse_eos_quota(output) == free


def test_folders_with_quotas(tmp_path: Path, programs: Path) -> None:
    def states(kind: str, needed: int) -> list[str]:
        return [row.state for row in folder_rows("work folder", tmp_path / "new", needed, kind)]

    assert states(AFS, 1000) == ["ok", "ok", "warn"]  # there is no fs
    put(programs, "fs", "heading\nuser.faser  10000  9000  90%  70%")
    assert states(AFS, 1000) == ["ok", "ok", "ok"]
    assert states(AFS, 1000 * 1024 - 1) == ["ok", "ok", "warn"]
    assert states(AFS, 1001 * 1024) == ["ok", "ok", "fail"]
    put(programs, "fs", "heading\np.faser  no limit  9000  0%  70%")
    assert states(AFS, 1001 * 1024) == ["ok", "ok", "ok"]
    put(programs, "eos", f"uid=f usedlogicalbytes=0 maxlogicalbytes={2**20}")
    assert states(EOS, 2**21) == ["ok", "ok", "fail"]
    put(programs, "eos", "error: cannot connect", 111)
    (*_, last) = folder_rows("data folder", tmp_path, 5, EOS)
    assert (last.state, "cannot connect" in last.told) == ("warn", True)
    assert [row.state for row in folder_rows("x", tmp_path, 2**60, "")] == ["ok", "fail"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (row,) = folder_rows("work folder", tmp_path / "file" / "new", 0, "")
    assert (row.state, "is no folder" in row.told) == ("fail", True)


def test_sizes_are_told_shortly() -> None:
    assert [size_text(size) for size in (-5, 2**10, 3 * 2**20, 10 * GB, 1200 * GB)] == [
        "0 KB", "1 KB", "3 MB", "10 GB", "1.17 TB",
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- tickets, HTCondor


def test_tickets(programs: Path) -> None:
    def states(*kinds: str) -> list[tuple[str, str]]:
        return [(row.what.split()[0], row.state) for row in ticket_rows(kinds)]

    assert states() == []
    assert states(EOS) == [("Kerberos", "warn")]
    assert states(AFS) == [("Kerberos", "warn"), ("AFS", "warn")]
    put(programs, "klist", "22/11/26 09:00:00  23/11/26 10:00:00  krbtgt/CERN.CH@CERN.CH")
    put(programs, "tokens", "User's (AFS ID 1) tokens for afs@cern.ch [Expires Nov 23 10:00]")
    assert states(AFS, EOS) == [("Kerberos", "ok"), ("AFS", "ok")]
    assert "until 23/11/26 10:00:00" in next(ticket_rows([EOS])).told
    put(programs, "tokens", "User's (AFS ID 1) tokens for afs@cern.ch [>> Expired <<]")
    put(programs, "klist", code=1)
    assert states(AFS) == [("Kerberos", "fail"), ("AFS", "fail")]


def test_htcondor(programs: Path, site: calypso.Site, tmp_path: Path) -> None:
    assert [(row.what, row.state) for row in tools.condor_rows()] == [("HTCondor", "fail")]
    put(programs, "condor_version", "$CondorVersion: 25.0.1 $")
    (row,) = tools.condor_rows()
    assert "there is no condor_submit, condor_submit_dag, condor_q, condor_rm here" in row.told
    for name in ("condor_submit", "condor_submit_dag", "condor_rm"):
        put(programs, name)
    put(programs, "condor_q", "-- Failed to fetch ads from schedd", 1)
    assert [row.state for row in tools.condor_rows()] == ["ok", "fail"]
    put(programs, "condor_q")
    rows = rows_of(asked(site), tmp_path, backend="dagman")
    assert rows["HTCondor"].told == "CondorVersion: 25.0.1"
    assert rows["queue"].state == "ok"
    assert tools.python_row(elsewhere=False).state == "ok"
