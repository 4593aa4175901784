"""``fiducial fit``: what it prints, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fiducial.alignment.fit.loops import Data
from fiducial.alignment.fit.outputs.files import read_end
from fiducial.alignment.mille.writer import MilleWriter
from fiducial.cli.main import main


def write_case(folder: Path, *, sigma: float = 1.0, fixed: bool = True) -> Path:
    """Records of three measurements that scatter by ±1 around a common value."""
    with MilleWriter(folder / "data.bin") as writer:
        for k in range(120):
            for plane in range(3):
                writer.measurement(0.5 * plane + (-1.0) ** (k + plane), sigma, {1: 1.0}, {plane + 1: 1.0})
            writer.end_record()
    path = folder / "steer.txt"
    path.write_text("data.bin\nmethod inversion 3 0.001\n" + ("Parameter\n1 0 -1\n" if fixed else ""))
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["fit", *map(str, arguments)])
    return int(caught.value.code or 0)


def test_a_table_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_case(tmp_path), "--output", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "label" in printed.out
    assert "1: Ended with warnings (bad measurements)" in printed.out
    assert "warning: chi2/ndf is" in printed.err
    names = ["millepede.end", "millepede.his", "millepede.json", "millepede.log", "millepede.res"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_case(tmp_path), "--json", "--threads", "2", "-o", tmp_path) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in result["parameters"]] == [1, 2, 3]
    assert result["parameters"][0]["error"] is None
    assert result["records"] == 120


def test_a_verdict_that_values_are_not_sound_is_an_error(tmp_path: Path) -> None:
    assert run(write_case(tmp_path, fixed=False), "-o", tmp_path) == 1
    assert (tmp_path / "millepede.res").exists()


@pytest.mark.parametrize(
    ("spoil", "code", "what"),
    [("hugecut 20\nnonsense\n", 3, "nonsense"), ("entries 1000\n", 1, "no variable parameter"), (None, 4, "steer.txt")],
)
def test_failures(spoil: str | None, code: int, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_case(tmp_path)
    if spoil is None:
        path.unlink()
    else:
        path.write_text(path.read_text() + spoil)
    assert run(path, "-o", tmp_path) == code
    assert what in capsys.readouterr().err
    assert not (tmp_path / "millepede.res").exists()


def test_the_mean_weight_of_files_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_case(tmp_path)
    path.write_text(path.read_text().replace("data.bin", "data.bin -- 0.5"))
    assert run(path, "-o", tmp_path) == 0
    assert " / 0.5, the mean weight" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("constraint", "what"),
    [("Constraint 0\n2 1\nConstraint 1\n2 1\n", "contradicts those before it"), ("Constraint 0\n1 1\n", "no variable")],
)
def test_a_check_fails_on_what_would_end_a_fit(
    constraint: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_case(tmp_path)
    assert run(path, "--check", "-o", tmp_path) == 0
    path.write_text(path.read_text() + constraint)
    capsys.readouterr()
    assert run(path, "--check", "-o", tmp_path) == 1
    printed = capsys.readouterr()
    assert "0: Ended normally; only the input was checked" in printed.out
    (line,) = [line for line in printed.err.splitlines() if what in line]
    assert line.startswith("error: this would end a fit: ")
    assert what in json.loads((tmp_path / "millepede.json").read_text())["obstacles"][0]
    assert run(path, "-o", tmp_path) == 1
    assert what in capsys.readouterr().err


def test_a_check_passes_what_a_fit_leaves_out(tmp_path: Path) -> None:
    path = write_case(tmp_path)
    path.write_text(path.read_text() + "skipemptycons\nConstraint 0\n1 1\n")
    assert run(path, "--check", "-o", tmp_path) == 0


def test_warnings_of_a_fit_that_ends_are_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty file may be the reason why there is nothing to fit."""
    path = write_case(tmp_path)
    (tmp_path / "empty.bin").touch()
    path.write_text("readerroraseof\nempty.bin\nentries 1000\n" + path.read_text())
    assert run(path, "-o", tmp_path) == 1
    said = capsys.readouterr().err
    assert said.index("empty.bin: is empty") < said.index("error: no variable parameter")
    assert "empty.bin: is empty" in (tmp_path / "millepede.log").read_text()
    (warning,) = json.loads((tmp_path / "millepede.json").read_text())["warnings"]
    assert "empty.bin: is empty" in warning


@pytest.mark.parametrize("what", ["Unable to allocate 90 GiB", ""])
def test_too_little_memory_has_a_verdict(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_room(_: Data) -> None:
        raise MemoryError(what)

    monkeypatch.setattr(Data, "count", no_room)
    assert run(write_case(tmp_path), "-o", tmp_path) == 1
    said = capsys.readouterr().err
    assert f"error: the memory is not enough{': ' * bool(what)}{what}\nhint: fit fewer parameters" in said
    assert read_end(tmp_path / "millepede.end")[0] == 30
