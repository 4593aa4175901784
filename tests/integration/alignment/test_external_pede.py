"""An external pede, for which small scripts stand in: the Fortran program is not there where tests run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.constants.values import fingerprint, read_constants
from fiducial.alignment.fit.external import fit_with
from fiducial.alignment.fit.millepede import fit_into
from fiducial.alignment.fit.outputs.files import read_end
from fiducial.alignment.testdata import generate
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.ntuple import write_ntuple
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.simulation import Misalignment, misalign, simulate
from fiducial.alignment.verdict import FitError
from fiducial.cli.main import main
from fiducial.core.errors import DataError, NotFoundError

# What the stand-ins begin with: they say what they are, and mark the beginning as pede does.
BEGIN = """#!/bin/sh
echo "stand-in for pede, called with $1"
echo "   -1   Still running or crashed" > millepede.end
"""
SOLVE = """
{ echo " Sum(Chi^2)/Sum(Ndf) =   123.5"; echo "                     / (  120 -   2 )"; } > millepede.log
echo "     NREC =      2500 = number of records" >> millepede.log
cat > millepede.res <<'END'
 Parameter   ! first 3 elements per line are significant (if used as input)
        10     0.12346E-01    0.0000       0.12346E-01   0.50000E-03          31
        20      0.0000       -1.0000                                           8
        30    -0.50000        0.0000      -0.25000       0.50000E-03          -6
END
"""
FINE = BEGIN + SOLVE + 'echo "    1   Ended with warnings (bad measurements)" > millepede.end\n'


@pytest.fixture
def steering(tmp_path: Path) -> Path:
    """A steering file with a binary file beside it, and an earlier result in the folder of the output."""
    (tmp_path / "data.bin").write_bytes(b"records")
    path = tmp_path / "steer.txt"
    path.write_text("* data.bin\ndata.bin -- 0.5 ! tracks\nmethod inversion 3 0.001\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "millepede.res").write_text("stale")
    return path


def script(folder: Path, text: str) -> str:
    path = folder / "stand-in-pede"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def failing(steering: Path, text: str, **options: float) -> FitError:
    """The error of a stand-in that must fail, after a look at what it left."""
    output = steering.parent / "out"
    with pytest.raises(FitError) as caught:
        fit_with(script(steering.parent, text), steering, output, **options)
    assert not (output / "millepede.res").exists()
    assert (output / "millepede.res~").read_text() == "stale"
    return caught.value


def test_the_result_is_read_as_far_as_it_goes(steering: Path) -> None:
    output = steering.parent / "out"
    result = fit_with(script(steering.parent, FINE), steering, output)
    assert (result.verdict, result.message) == (1, "Ended with warnings (bad measurements)")
    assert result.labels.tolist() == [10, 20, 30]
    assert result.values.tolist() == [0.012346, 0.0, -0.5]
    assert result.starts.tolist() == [0.0, 0.0, -0.25]
    assert np.isnan(result.errors).tolist() == [False, True, False]
    assert result.variable.tolist() == [0, 2]
    assert result.accepted.tolist() == [31, 8, 5]
    assert (result.chi2, result.ndf, result.fitted, result.records) == (123.5, 120, 2, 2500)
    rows = json.loads((output / "millepede.json").read_text())["parameters"]
    assert [(row["count"], row["accepted"]) for row in rows] == [(None, 31), (None, 8), (None, 5)]
    assert (output / "pede.out").read_text() == "stand-in for pede, called with pede-steering.txt\n"


def test_it_gets_whole_paths_of_files_beside_the_steering_file(steering: Path) -> None:
    fit_with(script(steering.parent, FINE), steering, steering.parent / "out")
    lines = (steering.parent / "out" / "pede-steering.txt").read_text().splitlines()
    data = steering.parent / "data.bin"
    assert lines == ["* data.bin", f"{data}  -- 0.5 ! tracks", "method inversion 3 0.001", "end"]


def test_it_gets_whole_paths_of_files_in_the_current_folder(
    steering: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As our own fit finds them: beside the steering file, then where one is; pede itself runs elsewhere."""
    here = tmp_path_factory.mktemp("here")
    (here / "data.bin").touch()
    (here / "con.txt").touch()
    monkeypatch.chdir(here)
    steering.write_bytes(b"\xef\xbb\xbfdata.bin\ncon.txt\nEND\nmore\n")
    fit_with(script(steering.parent, FINE), steering, Path("out"))
    lines = Path("out", "pede-steering.txt").read_text().split()
    assert lines == [str(steering.parent / "data.bin"), str(here / "con.txt"), "end"]


def test_threads_are_its_last_option(steering: Path) -> None:
    steering.write_text("threads 1\nconstraint 0\nend\n")
    fit_with(script(steering.parent, FINE), steering, steering.parent / "out", threads=3)
    text = (steering.parent / "out" / "pede-steering.txt").read_text()
    assert text == "threads 1\nconstraint 0\nthreads 3\nend\n"


WEIGHTED = """
{ echo " Sum(W*Chi^2)/Sum(Ndf)/<W> =   300.00000000000000"
  echo "                           / (                  120 -           2 )"
  echo "                           /   1.2500000000000000"
  echo "                           =   2.0338983050847457"; } > millepede.log
"""


def test_a_mean_weight_of_files_is_in_its_chi2(steering: Path) -> None:
    result = fit_with(script(steering.parent, FINE + WEIGHTED), steering, steering.parent / "out")
    assert (result.chi2, result.ndf, result.fitted, result.mean_weight) == (300.0, 120, 2, 1.25)
    assert result.chi2_per_ndf == pytest.approx(2.0338983050847457, rel=1e-15)


def test_its_own_verdict_counts_though_its_status_is_zero(steering: Path) -> None:
    error = failing(steering, BEGIN + 'echo hopeless\necho "   26   Aborted, too many rejects" > millepede.end\n')
    assert error.verdict == 26
    assert error.message == "stand-in-pede ended with 26: Aborted, too many rejects"
    assert "hopeless" in error.hint


def test_a_crash(steering: Path) -> None:
    error = failing(steering, BEGIN + "echo at the edge\nkill -SEGV $$\n")
    assert "was ended by signal 11 before it came to an end" in error.message
    assert "at the edge" in error.hint
    assert read_end(steering.parent / "out" / "millepede.end") == (-1, "Still running or crashed")


def test_a_crash_after_the_result(steering: Path) -> None:
    error = failing(steering, FINE + "exit 139\n")
    assert "ended with status 139 although millepede.end says 1" in error.message


def test_a_crash_before_anything(steering: Path) -> None:
    error = failing(steering, "#!/bin/sh\nexit 3\n")
    assert "ended with status 3 and left no millepede.end" in error.message
    assert "it printed nothing" in error.hint


def test_a_result_that_was_there_before_is_not_taken(steering: Path) -> None:
    with pytest.raises(NotFoundError, match=r"millepede\.res"):
        fit_with(
            script(steering.parent, BEGIN + 'echo "    0   Ended normally" > millepede.end\n'),
            steering,
            steering.parent / "out",
        )


def test_a_log_of_something_else(steering: Path) -> None:
    text = FINE + "echo nothing > millepede.log\n"
    with pytest.raises(DataError, match=r"no Sum\(Chi\^2\)"):
        fit_with(script(steering.parent, text), steering, steering.parent / "out")


def test_it_is_ended_with_all_that_it_started_when_it_takes_too_long(steering: Path) -> None:
    started = time.monotonic()
    error = failing(steering, BEGIN + "sleep 60 & echo $! > child\nwait\n", timeout=0.5)
    assert "longer than 0.5 s" in error.message
    assert time.monotonic() - started < 30
    child = int((steering.parent / "out" / "child").read_text())
    while _runs(child) and time.monotonic() - started < 30:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: int) -> bool:
    """Whether a process is there, and not only its exit status for a parent that does not ask."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("kind", ["missing", "not executable", "not a program"])
def test_no_program(kind: str, steering: Path) -> None:
    program = steering.parent / "stand-in-pede"
    if kind != "missing":
        program.write_bytes(b"\x00\x01")
    if kind == "not a program":
        program.chmod(0o755)
    with pytest.raises((NotFoundError, FitError), match="stand-in-pede"):
        fit_with(str(program), steering, steering.parent / "out")
    if kind != "not a program":  # nothing was begun, so what was there is still there
        assert (steering.parent / "out" / "millepede.res").read_text() == "stale"


@pytest.mark.parametrize("how", ["option", "environment", "project"])
def test_one_setting_for_the_command(
    how: str, steering: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = script(steering.parent, FINE)
    monkeypatch.chdir(steering.parent)
    if how == "environment":
        monkeypatch.setenv("FIDUCIAL_ALIGNMENT_PEDE", program)
    if how == "project":
        Path("fiducial.toml").write_text(f'[alignment]\npede = "{program}"\n')
    named = ["--pede", program] if how == "option" else []
    with pytest.raises(SystemExit) as caught:
        main(["fit", "steer.txt", "-o", "out", "--parquet", "--threads", "2", *named])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "0.012346" in printed
    assert "1: Ended with warnings" in printed
    assert Path("out", "millepede.parquet").exists()
    assert "\nthreads 2\n" in Path("out", "pede-steering.txt").read_text()


def test_our_own_fit_reads_its_copy_of_the_steering(tmp_path: Path) -> None:
    """The copy that pede gets names the same files, so that both fit the same."""
    made = generate(tmp_path, records=100)
    stand_in = script(tmp_path, FINE)
    fit_with(stand_in, made.steering, tmp_path / "out")
    first = fit_into(made.steering, tmp_path / "one")
    second = fit_into(tmp_path / "out" / "pede-steering.txt", tmp_path / "two")
    assert first.values.tolist() == second.values.tolist()


OURS = """#!/bin/sh
echo "stand-in for pede: our own fit, with pede's files and pede's exit status"
exec {pede} --exit-zero "$1"
"""


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ntuple of one simulated file, and no constants."""
    folder = tmp_path_factory.mktemp("tracks")
    (folder / "none.txt").touch()
    detector, truth = FASER, misalign(FASER, Misalignment(), seed=1)
    table, _ = reconstruct(detector, simulate(detector, truth, run=1, file=0, events=500, seed=1), {}, 3)
    write_ntuple(folder / "in" / "0.root", table, fingerprint({}))
    return folder


def solve(tracks: Path, name: str, *more: str) -> object:
    """The exit code of a solve step with two fits."""
    words = ["alignment", "solve", "--ntuples", str(tracks / "in"), "--constants", str(tracks / "none.txt")]
    words += ["--output-dir", name, "--new-constants", f"{name}.txt", "--recipe", "faser-3st", *more]
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def test_a_solve_step_with_pede(tracks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both steps are fitted outside, and the constants are those of our own fit to the five digits that pede writes."""
    monkeypatch.chdir(tmp_path)
    assert solve(tracks, "own") == 0
    monkeypatch.setenv(
        "FIDUCIAL_ALIGNMENT_PEDE", script(tmp_path, OURS.format(pede=Path(sys.executable).with_name("fiducial-pede")))
    )
    assert solve(tracks, "pede") == 0
    assert "stand-in for pede" in Path("pede/step1/pede.out").read_text()
    assert "stand-in for pede" in Path("pede/pede.out").read_text()
    own, pede = read_constants(Path("own.txt")), read_constants(Path("pede.txt"))
    assert own.keys() == pede.keys()
    for key, six in own.items():
        # A module's y is the difference of two sides over a small angle.
        np.testing.assert_allclose(pede[key], six, rtol=1e-3, atol=2e-5)
    ours, theirs = (json.loads(Path(name, "summary.json").read_text()) for name in ("own", "pede"))
    for row, same in zip(theirs["parameters"], ours["parameters"], strict=True):
        assert row["state"] == same["state"]
        assert row["state"] == "fixed" or row["entries"] == same["entries"] > 0
    found = theirs["convergence"]["max_shift_over_error"]
    assert found == pytest.approx(ours["convergence"]["max_shift_over_error"], rel=1e-3)


def test_a_solve_step_in_which_pede_gives_up(
    tracks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its status is zero, an older result lies there, and yet there are no constants."""
    monkeypatch.chdir(tmp_path)
    Path("pede/step1").mkdir(parents=True)
    Path("pede/step1/millepede.res").write_text(" Parameter\n  21 9.0 0.05\n")
    Path("pede.txt").write_text("stale")
    program = script(tmp_path, BEGIN + 'echo "   26   Aborted, too many rejects" > millepede.end\n')
    assert solve(tracks, "pede", "--pede", program) == 1
    said = capsys.readouterr().err
    assert "step step1: the fit was aborted (verdict 26): stand-in-pede ended with 26" in said
    assert not Path("pede.txt").exists()
    assert not Path("pede/step1/millepede.res").exists()
