"""``fiducial align`` from FASER's words to constants: simulated, and with a stand-in for Calypso (``calypso.py``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import calypso
from aligning import FIDUCIAL, NAME, SIMULATED, align, fiducial
from processes import wait_for

#: Tests of the same finished alignment, which one worker makes for all of them.
of_simulated = pytest.mark.xdist_group("simulated")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an alignment was simulated, all three iterations of it."""
    folder = tmp_path_factory.mktemp("simulated")
    align(folder, *SIMULATED, "-i", "3", "--all-iterations")
    return folder


@pytest.fixture
def site(tmp_path: Path) -> calypso.Site:
    site = calypso.build(tmp_path / "a site")
    site.take_data("450-453", 300)
    return site


@of_simulated
def test_the_folder_is_what_users_know(simulated: Path) -> None:
    campaign = simulated / NAME
    for number in range(1, 4):
        folder = campaign / f"iter{number:02d}"
        ntuples = [f"2kfalignment/kfalignment_011705_{file:05d}.root" for file in (450, 451, 452)]
        results = [f"3millepede/millepede.{ending}" for ending in ("res", "log", "end")]
        for name in ("1reco/inputforalign.txt", *ntuples, "3millepede/mp2input.bin", *results, "inputforalign.txt"):
            assert (folder / name).is_file(), name
        result = (folder / "inputforalign.txt").read_bytes()
        assert (folder / "3millepede" / "inputforalign_new.txt").read_bytes() == result
        after = campaign / f"iter{number + 1:02d}" / "1reco" / "inputforalign.txt"
        assert number == 3 or after.read_bytes() == result
    assert (campaign / "iter01" / "1reco" / "inputforalign.txt").read_bytes() == b""
    assert "</html>" in (campaign / "report.html").read_text("utf-8")


@of_simulated
def test_doing_it_again_changes_nothing(simulated: Path) -> None:
    constants = simulated / NAME / "iter03" / "inputforalign.txt"
    before = constants.read_bytes()
    found = json.loads(align(simulated, *SIMULATED, "-i", "3", "--all-iterations", "--json").stdout)
    assert found["iterations"] == 3
    assert found["max_shift_over_error"][-1] < found["max_shift_over_error"][0] / 5
    assert found["converged"] is (found["max_shift_over_error"][-1] < 0.3)
    assert found["constants"] == str(constants)
    assert constants.read_bytes() == before


@of_simulated
def test_other_options_are_told_apart_and_taken_up_on_request(simulated: Path) -> None:
    unknown = align(simulated, *SIMULATED, "--run", "99", "--continue", code=4).stderr
    assert "no campaign 'Y2023_R000099_F450-453' to go on with" in unknown
    refused = align(simulated, *SIMULATED, "-i", "4", "--all-iterations", code=5).stderr
    assert "max_iterations 3 -> 4" in refused
    assert "--continue takes up changed ones" in refused
    other = align(simulated, *SIMULATED, "-i", "4", "--continue", "--fourst", code=5).stderr
    assert "is another alignment: stations 3 -> 4" in other
    seed = align(simulated, *SIMULATED, "-i", "3", "--all-iterations", "--seed", "5", code=5).stderr
    assert "changed since it was created: seed 1 -> 5" in seed
    assert "--folder OTHER" in seed
    assert "--continue" not in seed
    found = json.loads(align(simulated, *SIMULATED, "-i", "4", "--all-iterations", "--continue", "--json").stdout)
    assert found["iterations"] == 4
    plan = align(simulated, *SIMULATED, "--fourst", "--folder", "four", "--dry-run").stdout
    assert f"campaign four in {simulated}/four" in plan


@of_simulated
def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(simulated: Path, tmp_path: Path) -> None:
    words = [FIDUCIAL, "align", *SIMULATED, "-i", "2", "--all-iterations"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / NAME / "iter01" / "inputforalign.txt").exists, "the first fit", 120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = json.loads(align(tmp_path, *words[2:], "--json").stdout)
    assert (found["iterations"], found["jobs"]) == (2, 15)  # start, report, 3 raw files; 5 jobs an iteration
    for number in (1, 2):
        place = Path(NAME) / f"iter{number:02d}" / "inputforalign.txt"
        assert (tmp_path / place).read_bytes() == (simulated / place).read_bytes()


def test_it_stops_when_nothing_moves(tmp_path: Path) -> None:
    found = json.loads(align(tmp_path, *SIMULATED, "-i", "5", "--threshold", "100", "--json").stdout)
    assert (found["iterations"], found["converged"]) == (1, True)


def test_options_of_auto_iter(site: calypso.Site, tmp_path: Path) -> None:
    """The environment script is made, a failure is tried again, four stations are four."""
    (site.source / "broken-00451").write_text("x")
    words = ["-y", "2023", "-r", "011705", "-f", "450:453", "-i", "1", "--fourst", *site.options()]
    words += ["--calypso_path", str(site.calypso)]
    done = align(tmp_path, *words, "--submit", "--workers", "2")
    assert "nothing is sent to HTCondor" in done.stderr
    assert f"fiducial campaign show {NAME}" in done.stderr
    assert "NOT converged after 1 iteration" in done.stdout
    assert os.access(tmp_path / "reco_condor_env.sh", os.X_OK)
    log = fiducial(tmp_path, "job", "log", f"{NAME}/reco/01/00450").stdout
    assert "stand-in for Calypso: --alignment --noForward\n" in log
    labels = [
        line.split()[0] for line in (tmp_path / NAME / "iter01/3millepede/millepede.res").read_text().split("\n")[1:-1]
    ]
    assert any(label.startswith("1") for label in labels)  # of the interface tracker
    rows = json.loads(fiducial(tmp_path, "job", "list", NAME, "--step", "reco", "--json").stdout)
    attempts = {row["key"]: row["attempt"] for row in rows}
    assert attempts == {"00450": 1, "00451": 2, "00452": 1}

    # What is shown is what ran: it goes on with the same campaign, and there is nothing left to do.
    shown = align(tmp_path, *words, "--show-workflow").stdout
    (tmp_path / "mine.toml").write_text(shown)
    again = fiducial(tmp_path, "run", "mine.toml")
    assert f"campaign {NAME} done" in again.stdout
    align(tmp_path, *words[:-2], "--continue")  # the environment script is there by now


def test_a_reconstruction_that_fails_stops_everything_and_can_be_mended(site: calypso.Site, tmp_path: Path) -> None:
    (site.source / "broken-00451").write_text("x" * 99)
    (site.source / "broken-00452").write_text("s" * 99)
    words = ["-y", "2023", "-r", "11705", "-f", "450-453", "-i", "1", "--calypso-path", str(site.calypso)]
    words += [*site.options(), "--workers", "2"]
    failed = align(tmp_path, *words, code=1)
    assert f"{NAME}/reco/01/00451" in failed.stderr
    assert f"{NAME}/reco/01/00452" in failed.stderr  # what it says of itself is not what counts
    assert not (tmp_path / NAME / "iter01" / "3millepede").exists()
    (site.source / "broken-00451").unlink()
    (site.source / "broken-00452").unlink()
    align(tmp_path, *words)
    assert (tmp_path / NAME / "iter01" / "inputforalign.txt").stat().st_size


def test_a_fit_that_is_aborted_gives_no_constants(site: calypso.Site, tmp_path: Path) -> None:
    """Results of an earlier work in the same place are not taken for its own."""
    site.take_data("450-453", 5)
    words = ["-y", "2023", "-r", "11705", "-f", "450-453", "-i", "3", "--calypso_path", str(site.calypso)]
    words += [*site.options(), "--workers", "2", "--json"]
    align(tmp_path, *words, code=1)
    stale = tmp_path / NAME / "iter01" / "3millepede" / "millepede.res"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text(" Parameter\n 111011 9.0 0.05\n")
    found = json.loads(align(tmp_path, *words, code=1).stdout)
    assert (found["state"], found["constants"], found["iterations"]) == ("failed", None, 1)
    assert "no variable parameter" in fiducial(tmp_path, "job", "log", f"{NAME}/millepede/01/all").stdout
    assert not (tmp_path / NAME / "iter01" / "inputforalign.txt").exists()
    assert not (tmp_path / NAME / "iter02").exists()


def test_an_alignment_of_older_scripts_is_left_alone(tmp_path: Path) -> None:
    old = {tmp_path / NAME / "iter01" / name: name for name in ("3millepede/millepede.res", "inputforalign.txt")}
    for path, text in old.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for more in ([], ["--dry-run"], ["--once"], ["--continue"]):
        assert "has not made and would overwrite" in align(tmp_path, *SIMULATED, "-i", "1", *more, code=5).stderr
    assert {path: path.read_text() for path in (tmp_path / NAME).rglob("*") if path.is_file()} == old


def test_one_iteration_at_a_time_with_a_fit_by_hand(site: calypso.Site, tmp_path: Path) -> None:
    words = ["--once", "-y", "2023", "-r", "11705", "-f", "450-453", "--env_script", "my_env.sh"]
    words += ["--calypso_path", str(site.calypso), *site.options(), "--set", "ntuple_folder={{ iter }}/kf"]
    first = json.loads(align(tmp_path, *words, "-i", "1", "--json").stdout)
    assert (tmp_path / "my_env.sh").is_file()
    base = tmp_path / NAME
    assert len(list((base / "iter01" / "kf").glob("kfalignment_011705_*.root"))) == 3
    assert "no constants to begin with" in align(tmp_path, *words, "-i", "2", code=4).stderr
    subprocess.run([FIDUCIAL, *first["next"][0].split()[1:]], cwd=tmp_path, check=True, capture_output=True)
    told = align(tmp_path, *words, "-i", "2").stdout
    assert "next, the fit" in told
    assert f"--output-dir {base}/iter02/3millepede" in told
    used = (base / "iter02" / "1reco" / "inputforalign.txt").read_bytes()
    assert used == (base / "iter01" / "inputforalign.txt").read_bytes()
    assert used
    assert "threshold 0.3 -> 0.2" in align(tmp_path, *words, "-i", "2", "--set", "threshold=0.2", code=5).stderr

    # A fit that is done again changes what the next iteration begins with.
    (base / "iter01" / "inputforalign.txt").write_text('"2": [0.001, 0, 0, 0, 0, 0]\n')
    stale = align(tmp_path, *words, "-i", "2", code=5).stderr
    assert "began with other constants" in stale
    archive = f"fiducial campaign archive {NAME}_iter02"
    assert archive in stale
    fiducial(tmp_path, *archive.split()[1:])
    align(tmp_path, *words, "-i", "2")
    assert (base / "iter02" / "1reco" / "inputforalign.txt").read_text().startswith('"2": [0.001')
    assert "--once" in align(tmp_path, *words[1:], code=5).stderr


def test_the_newer_config_says_everything(site: calypso.Site, tmp_path: Path) -> None:
    (site.folder / "align_test.txt").write_text('"2": [0.001, 0, 0, 0, 0, 0]\n')
    config = {
        "raw": {"year": 2023, "run": "011705", "files": "450-453", "iters": 1, "stations": 3,
                "format": "Y{year}_R{run}_F{files}_ST{stations}_back_local", "verbosity": "WARNING"},
        "data": {"dir": str(tmp_path / "eos" / "{format}"),
                 "iter": {"dir": "iter{iter}", "reco": "1reco", "kfalign": "2kfalignment", "millepede": "3millepede"}},
        "tpl": {"dir": str(site.folder), "inputforalign": "align_test.txt"},
        "src": {"dir": str(site.source)},
        "env": {"calypso": {"asetup": f"{site.calypso.parent}/asetup.faser", "setup": f"{site.calypso}/setup.sh"},
                "pede": "/nowhere"},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = align(tmp_path, *site.options()[2:], "--workers", "2")  # dag_manager.py without a word took it too
    assert "is taken from config.json" in done.stderr
    assert "not needed any more" not in done.stderr
    name = "Y2023_R011705_F450-453_ST3_back_local"
    folder = tmp_path / "eos" / name
    assert (folder / "iter00" / "1reco" / "inputforalign.txt").read_text() == '"2": [0.001, 0, 0, 0, 0, 0]\n'
    assert '"2": [0.001, 0.0, 0.0, 0.0, 0.0, 0.0]' in (folder / "iter00" / "inputforalign.txt").read_text()
    assert not (folder / "iter01").exists()
    assert os.access(folder / "reco_condor_env.sh", os.X_OK)
    assert json.loads((folder / "config.json").read_text()) == config
    assert "--output_level WARNING --noIFT" in fiducial(tmp_path, "job", "log", f"{name}/reco/01/00450").stdout


def test_words_that_do_not_fit_write_nothing(tmp_path: Path) -> None:
    words = ["-y", "2023", "-r", "11705"]
    for more, said in (
        (["-f", "400-400"], "is empty"),
        (["-f", "400", "--fourst", "--threest"], "exclude each other"),
        (["-f", "400", "--once"], "needs the number of the iteration"),
        (["-f", "400", "--simulate", "--raw", "/eos"], "does not go with --simulate"),
        (["-f", "400", "--events", "500"], "goes with --simulate"),
        (["-f", "400", "--simulate", "--", "--isMC"], "what stands behind --"),
        (["-f", "400", "--nevents", "5"], "option of faser_reco_alignment.py"),
    ):
        assert said in align(tmp_path, *words, *more, code=2).stderr
    assert "no environment script" in align(tmp_path, *words, "-f", "400", code=4).stderr
    nothing = align(tmp_path, *words, "-f", "400", "--continue", "--simulate", code=4).stderr
    assert "there is no campaign 'Y2023_R011705_F400' to go on with" in nothing
    plan = align(tmp_path, *words, "-f", "400-403", "-i", "2", "--simulate", "--dry-run").stdout
    assert "reco: 3 jobs x up to 2 iterations" in plan
    assert list(tmp_path.iterdir()) == []
