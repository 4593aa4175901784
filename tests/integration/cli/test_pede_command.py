"""``fiducial-pede``: its files, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fiducial.alignment.fit.outputs.files import read_end
from fiducial.alignment.fit.outputs.res import read_results
from fiducial.cli.pede import main

PROGRAM = [sys.executable, "-c", "from fiducial.cli.pede import main; main()"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FIDUCIAL_PEDE_EXIT_ZERO", raising=False)
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return int(caught.value.code or 0)


def test_a_newcomer_sees_it_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-t", "-n=400") == 0
    printed = capsys.readouterr().out
    assert "Test data 'wire': 400 records" in printed
    assert " it fc   fcn_value dfcn_exp" in printed
    assert "In units of their errors: rms 1." in printed
    assert "ending with exit code 0: Ended normally" in printed
    assert len(read_results(Path("millepede.res"))) == 200
    assert run("-t", "-n=400", "--exit-zero") == 0
    assert "is kept" not in capsys.readouterr().out


def test_changed_constraints_are_kept_and_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """The wire chamber's constraints say nothing about the silicon tracker, whose common motions stay free then."""
    assert run("-t=SL0", "-n=2000") == 1
    assert run("-t", "-n=200") == 0
    assert run("-t=SL0", "-n=2000") == 1
    alone, _, after_another = re.findall(r"In units of their errors: rms ([\d.]+)", capsys.readouterr().out)
    assert alone == after_another
    con = Path("mp2con.txt")
    con.write_text(con.read_text() + "! mine\n")
    run("-t=SL0", "-n=2000")
    printed = capsys.readouterr().out
    assert "mp2con.txt was changed since it was made and is kept" in printed
    assert "The constraints are not those of the test data" in printed
    assert "In units of their errors" not in printed


def test_it_is_a_program_that_exits_with_the_verdict() -> None:
    done = subprocess.run([*PROGRAM, "-t=SL0", "-n=2000"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert read_end(Path("millepede.end"))[0] == 1
    assert "warning: chi2/ndf is" in done.stdout


@pytest.mark.parametrize("how", ["option", "environment"])
def test_as_pede_it_can_exit_with_zero(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("FIDUCIAL_PEDE_EXIT_ZERO", "1")
    assert run("-t=SL0", "-n=2000", *(["--exit-zero"] if how == "option" else [])) == 0
    assert read_end(Path("millepede.end"))[0] == 1


def test_the_default_steering_file() -> None:
    assert run("-t", "-n=200") == 0
    Path("mp2str.txt").rename("steerfile")
    Path("millepede.res").unlink()
    assert run() == 0
    assert Path("millepede.res").exists()


def spoiled(how: str) -> list[str]:
    """Make input that cannot be fitted; the words to call it with."""
    assert run("-t", "-n=120") == 0
    steering, data = Path("mp2str.txt"), Path("mp2tst.bin")
    text, content = steering.read_text(), data.read_bytes()
    match how:
        case "no steering":
            steering.unlink()
        case "default":
            return []
        case "two":
            return ["mp2str.txt", "mp2con.txt"]
        case "keyword":
            steering.write_text("nonsense\n" + text)
        case "no data file":
            data.unlink()
        case "no file named":
            steering.write_text(text.replace("mp2tst.bin", "*"))
        case "bad records":
            data.write_bytes(content[:-6])
        case "nothing variable":
            steering.write_text("entries 100000\n" + text)
        case "constraint":
            con = Path("mp2con.txt")
            con.write_text(con.read_text() + con.read_text().replace("Constraint 0.0", "Constraint 1.0", 1))
        case "rejects":
            steering.write_text("chisqcut 1.0 1.0\n" + text)
            # Start values that are far off make every track a bad one.
            Path("far.txt").write_text(
                "Parameter\n" + "".join(f"{12 + 2 * k} {(-1) ** k * 0.1} 0\n" for k in range(100))
            )
            steering.write_text(steering.read_text().replace("mp2con.txt", "far.txt "))
    return ["mp2str.txt"]


@pytest.mark.parametrize(
    ("how", "codes"),
    [
        ("no steering", {11, 16}),
        ("default", {10}),
        ("two", {12}),
        ("keyword", {13}),
        ("no data file", {13}),
        ("no file named", {14}),
        ("bad records", {18, 20}),
        ("nothing variable", {22}),
        ("rejects", {26}),
    ],
)
def test_what_cannot_be_fitted(how: str, codes: set[int], capsys: pytest.CaptureFixture[str]) -> None:
    words = spoiled(how)
    capsys.readouterr()
    code = run(*words)
    assert code in codes
    assert read_end(Path("millepede.end"))[0] == code
    assert json.loads(Path("millepede.json").read_text())["verdict"] == code
    assert not Path("millepede.res").exists()
    assert Path("millepede.res~").exists()
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert lines[0].startswith("error: ")


def test_words_that_do_not_fit_touch_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-t=SL1") == 64
    assert "SL0, SLE" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("where", ["fiducial.alignment.testdata.generate", "fiducial.alignment.fit.millepede.fit_into"])
@pytest.mark.parametrize("debug", [False, True])
def test_what_was_not_foreseen_is_no_result(
    where: str, debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, with which the interpreter ends, would say that the values may be used."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("shapes do not fit:\n(2, 2)")

    assert run("-t", "-n=120") == 0
    capsys.readouterr()
    monkeypatch.setattr(where, broken)
    assert run("-t", "-n=120", *(["--debug"] if debug else [])) == 40
    assert read_end(Path("millepede.end")) == (40, "Aborted: shapes do not fit: (2, 2)")
    assert not Path("millepede.res").exists()
    said = capsys.readouterr().err
    assert "error: shapes do not fit: (2, 2)\nhint: this was not foreseen" in said
    assert ("Traceback" in said) == debug


def test_a_folder_that_cannot_be_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "millepede.end").mkdir()
    (here / "millepede.end~").write_text("in the way")
    assert run() == 10
    assert "no steering file is named" in capsys.readouterr().err
    assert run("-t", "-n=120") == 40
    assert "millepede.end: cannot be written" in capsys.readouterr().err
