"""``fiducial align --continue`` in folders that older scripts left half-finished, and their daemon while it runs.

The scripts' own folders are made of the files of an alignment that ran through; the goal is the same constants.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import calypso
from aligning import NAME, align, fiducial
from older import lay_out, made_of
from processes import wait_for

WORDS = ["-y", "2023", "-r", "11705", "-f", "450-453", "--all-iterations", "--workers", "2", "-i", "2"]


pytestmark = pytest.mark.xdist_group("older")  # one whole alignment is enough


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> calypso.Site:
    site = calypso.build(tmp_path_factory.mktemp("site"))
    site.take_data("450-453", 300)
    return site


@pytest.fixture(scope="module")
def whole(site: calypso.Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An alignment of two iterations that ran through."""
    folder = tmp_path_factory.mktemp("whole")
    align(folder, *WORDS, *site.options(), "--calypso_path", str(site.calypso))
    return folder / NAME


def test_the_daemons_half_finished_folder(whole: Path, site: calypso.Site, tmp_path: Path) -> None:
    old = tmp_path / NAME
    lay_out(old, [made_of(whole, 1), made_of(whole, 2, done=False, files=(450, 451))])
    cut = old / "iter02" / "2kfalignment" / "kfalignment_011705_00451.root"
    cut.write_bytes(cut.read_bytes()[:-1000])
    log = tmp_path / "auto_iter.log"
    log.write_text("Starting iteration: 2\niter: 2, cluster: 4711, jobs: 3.\n")
    os.utime(log, (time.time() - 86400,) * 2)
    words = [*WORDS, *site.options(), "--calypso_path", str(site.calypso)]
    before = {path: path.stat().st_mtime_ns for path in (old / "iter01").rglob("*") if path.is_file()}

    refused = align(tmp_path, *words, code=5).stderr
    assert "--continue goes on with it where it stopped" in refused
    dry = align(tmp_path, *words, "--continue", "--dry-run")
    assert "iteration 01 is done and stays; on with 02" in dry.stderr
    assert "iteration 02: 1 of 3 ntuples are taken, the rest is made" in dry.stderr
    assert "condor_q 4711" in dry.stderr
    assert "at most 1 iteration" in dry.stdout
    assert not (old / ".fiducial").exists()
    checked = fiducial(
        tmp_path, "align", "check", *WORDS[:6], *site.options(), "--env_script", "reco_condor_env.sh", code=1
    )
    assert "--continue goes on with it" in checked.stdout

    found = json.loads(align(tmp_path, *words, "--continue", "--json").stdout)
    assert (found["state"], found["constants"]) == ("done", str(old / "iter02" / "inputforalign.txt"))
    name = "iter02/inputforalign.txt"
    assert (old / name).read_bytes() == (whole / name).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not (old / "iter02" / "taken").exists()
    taken = fiducial(tmp_path, "job", "log", f"{NAME}/reco/01/00450").stdout
    assert "taken over from older scripts" in taken
    assert "stand-in for Calypso" in fiducial(tmp_path, "job", "log", f"{NAME}/reco/01/00451").stdout

    # The same command is the same campaign; more iterations go on; put aside, it does not begin over what others made.
    assert json.loads(align(tmp_path, *words, "--json").stdout)["jobs"] == found["jobs"]
    more = json.loads(align(tmp_path, *words[:-1], str(site.calypso), "-i", "3", "--continue", "--json").stdout)
    assert more["constants"] == str(old / "iter03" / "inputforalign.txt")
    fiducial(tmp_path, "campaign", "archive", NAME)
    assert "would overwrite: iter01" in align(tmp_path, *words, code=5).stderr


def test_the_newest_dags_folders_on_afs_and_eos(whole: Path, site: calypso.Site, tmp_path: Path) -> None:
    name = f"{NAME}_ST3"
    work, data = tmp_path / "dag" / name, tmp_path / "data" / name
    lay_out(data, [made_of(whole, 1), made_of(whole, 2, done=False)], first=0, work=work)
    config = {
        "raw": {"year": 2023, "run": 11705, "files": "450-453", "iters": 2, "stations": 3,
                "format": "Y{year}_R{run}_F{files}_ST{stations}"},
        "dag": {"dir": f"{tmp_path}/dag/{{format}}"},
        "data": {"dir": f"{tmp_path}/data/{{format}}"},
        "src": {"dir": str(site.source)},
        "env": {"calypso": {"asetup": f"{site.calypso.parent}/asetup.faser", "setup": f"{site.calypso}/setup.sh"}},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (work / "config.json").write_text('{"as": "it was"}')
    done = align(tmp_path, *site.options()[2:], "--all-iterations", "--continue", "--workers", "2")
    assert "iteration 00 is done and stays; on with 01" in done.stderr
    assert "3 of 3 ntuples are taken" in done.stderr
    assert (work / "iter01" / "inputforalign.txt").read_bytes() == (whole / "iter02" / "inputforalign.txt").read_bytes()
    assert (data / "iter01" / "inputforalign.txt").samefile(work / "iter01" / "inputforalign.txt")
    assert (work / "iter01" / "3millepede" / "millepede.res").samefile(data / "iter01" / "3millepede" / "millepede.res")
    assert (work / "config.json").read_text() == '{"as": "it was"}'
    assert (work / "iter00" / "reco_iter00_00450.sub").is_file()


def test_a_daemon_at_work_is_named_and_left(site: calypso.Site, tmp_path: Path) -> None:
    script = tmp_path / "auto_iter.py"
    script.write_text("import time\nprint('Starting iteration: 1', flush=True)\ntime.sleep(600)\n")
    words = ["-y", "2023", "-r", "011705", "-f", "450-453", "-i", "3"]
    log = tmp_path / "auto_iter.log"
    with log.open("w") as output:
        daemon = subprocess.Popen([sys.executable, "auto_iter.py", *words], cwd=tmp_path, stdout=output)
    try:
        wait_for(lambda: log.stat().st_size > 0, "its first line", 10)
        ours = [*WORDS[:6], "-i", "1", *site.options(), "--calypso_path", str(site.calypso)]
        refused = align(tmp_path, *ours, code=5).stderr
        assert f"auto_iter.py runs as process {daemon.pid} in {tmp_path}, at {NAME}" in refused
        assert f"kill {daemon.pid} stops it" in refused
        assert f"kill {daemon.pid}" in fiducial(tmp_path, "align", "check", *ours, code=1).stdout
        assert not (tmp_path / NAME).exists()
        other = align(tmp_path, *ours, "--folder", "elsewhere", "--dry-run")
        assert f"note: auto_iter.py runs as process {daemon.pid}" in other.stderr
        align(tmp_path, *ours, "--despite-daemon", "--dry-run")
    finally:
        daemon.kill()
        daemon.wait()
    assert "is still growing" in align(tmp_path, *ours, "--dry-run", code=5).stderr  # one may run on another machine
    os.utime(log, (time.time() - 3600,) * 2)
    align(tmp_path, *ours, "--dry-run")
