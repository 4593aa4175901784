"""The fit against pede, and what it says when it cannot be done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.fit.millepede import fit, fit_into
from fiducial.alignment.fit.result import FitError, read_results, verdict_of
from fiducial.alignment.mille.writer import MilleWriter
from fiducial.alignment.verdict import WriteError
from fiducial.core.errors import DataError, FiducialError, NotFoundError, SteeringError
from line_tracks import FIX_TWO, fit_tracks, steer, write_tracks
from pede_reference import DATA, assert_same, read_reference, unpack


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pede")
    return {name: unpack(name, root) for name in ("SL0", "wire", "formats")}


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("SL0", ""),
        ("SL0", "_chisq"),
        ("SL0", "_cauchy"),
        ("SL0", "_matiter"),
        ("SL0", "_meas"),
        ("SL0", "_entries"),
        ("wire", ""),
        ("wire", "_huber"),
        ("wire", "_presig"),
        ("wire", "_regul"),
    ],
)
def test_the_numbers_are_those_of_pede(name: str, variant: str, folders: dict[str, Path]) -> None:
    result = fit(folders[name] / f"mp2str{variant}.txt")
    assert_same(result, read_reference(name, variant))


def test_too_many_rejects_end_the_fit(folders: dict[str, Path]) -> None:
    with pytest.raises(FitError, match="1550 of 2500 records are rejected in loop 1") as caught:
        fit(folders["wire"] / "mp2str_chisq.txt")
    assert caught.value.verdict == 26


def test_threads_do_not_change_a_bit(folders: dict[str, Path]) -> None:
    one, three = (fit(folders["SL0"] / "mp2str_chisq.txt", threads=threads) for threads in (1, 3))
    assert np.array_equal(one.values, three.values)
    assert np.array_equal(one.covariance, three.covariance)
    assert one.chi2 == three.chi2


@pytest.mark.parametrize("variant", ["", "_monres", "_diag"])
def test_the_result_file_reads_like_pedes(variant: str, folders: dict[str, Path], tmp_path: Path) -> None:
    fit_into(folders["SL0"] / f"mp2str{variant}.txt", tmp_path)
    ours = (tmp_path / "millepede.res").read_text().splitlines()
    theirs = (DATA / "SL0" / f"millepede{variant}.res").read_text().splitlines()
    assert len(ours) == len(theirs)
    different = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.rstrip() != b.rstrip()]
    # The last of five digits may be rounded the other way.
    assert len(different) <= len(ours) // 100
    assert (tmp_path / "millepede.end").read_text() == (DATA / "SL0" / f"millepede{variant}.end").read_text()


def test_results_can_be_read_again(folders: dict[str, Path], tmp_path: Path) -> None:
    result = fit_into(folders["SL0"] / "mp2str_meas.txt", tmp_path)
    lines = read_results(tmp_path / "millepede.res")
    assert list(lines) == result.labels.tolist()
    assert lines[60].presigma == -1
    assert lines[60].error is None
    values = np.array([line.value for line in lines.values()])
    assert np.allclose(values, result.values, rtol=1e-4)
    content = json.loads((tmp_path / "millepede.json").read_text())
    assert content == json.loads(json.dumps(result.to_json()))
    assert content["verdict"] == 1
    assert content["rejects"] == {"rank": 0, "ndf": 0, "huge": 0, "chi2": 0}
    fixed = next(row for row in content["parameters"] if row["label"] == 60)
    assert (fixed["value"], fixed["error"], fixed["presigma"]) == (0.004, None, -1.0)
    assert "warning: chi2/ndf" in (tmp_path / "millepede.log").read_text()


# Small fits of our own; the global parameters are the shifts of planes.


def test_a_fit_against_least_squares_in_one_piece(tmp_path: Path) -> None:
    shifts = write_tracks(tmp_path / "tracks.bin")
    result = fit(steer(tmp_path, f"Parameter\n10 {shifts[0]} -1\n60 {shifts[5]} -1\n"))
    pulls = (result.values - shifts)[1:5] / result.errors[1:5]
    assert result.verdict == 0
    assert np.abs(pulls).max() < 4
    # All planes and all tracks at once: each plane's covariance from the projection onto the locals' complement.
    x = np.column_stack([np.ones(6), np.arange(6)])
    projection = np.eye(6) - x @ np.linalg.solve(x.T @ x, x.T)
    expected = np.linalg.inv(60 * projection[1:5, 1:5]) * 0.01**2
    assert np.allclose(result.covariance, expected, rtol=1e-6)


def test_constraints_are_kept(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    levers = " ".join(f"{10 * (k + 1)} {k}.0" for k in range(6))
    ones = " ".join(f"{10 * (k + 1)} 1.0" for k in range(6))
    result = fit(steer(tmp_path, f"Constraint 0.3\n{ones}\nConstraint -0.2\n{levers}\n"))
    assert result.verdict == 0
    assert result.fitted == 4
    assert np.sum(result.values) == pytest.approx(0.3, abs=1e-12)
    assert result.values @ np.arange(6) == pytest.approx(-0.2, abs=1e-12)
    assert np.allclose(result.covariance.sum(axis=0), 0, atol=1e-15)


def test_labels_beyond_any_table(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin", labels=1_000_003)
    fixed = "Parameter\n10000030 0 -1\n60000180 0 -1\n"
    wide = fit_tracks(tmp_path, fixed)
    write_tracks(tmp_path / "tracks.bin")
    assert np.array_equal(wide.values, fit_tracks(tmp_path).values)
    assert wide.counts.tolist() == [60] * 6


def test_a_rank_defect_is_named_by_label(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    result = fit_tracks(tmp_path, "")
    assert result.verdict == 3
    directions = [warning for warning in result.warnings if "do not determine labels" in warning]
    assert len(directions) == 2
    assert all(str(label) in "".join(directions) for label in (10, 20, 30, 40, 50, 60))


def test_parameters_with_few_data_are_named(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    result = fit_tracks(tmp_path, FIX_TWO + "70 0.5 0\nentries 61 61\nentries 25 61\n")
    assert result.verdict == 2
    assert any("fewer than 25 entries and are kept: labels 70" in warning for warning in result.warnings)
    assert any("61 entries in accepted records: labels 20, 30, 40, 50" in warning for warning in result.warnings)
    assert result.values[-1] == 0.5
    assert np.isnan(result.errors[-1])


def test_no_variable_parameter(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin", tracks=10)
    with pytest.raises(FitError, match="no variable parameter") as caught:
        fit_tracks(tmp_path)
    assert caught.value.verdict == 22


@pytest.mark.parametrize(
    ("text", "what", "verdict"),
    [
        ("Constraint 0\n20 1\nConstraint 0\n30 1\nConstraint 0\n20 2 30 2\n", r"steer\.txt:10: .* follows", 27),
        ("Constraint 0\n20 1\nConstraint 0\n30 1\nConstraint 1\n20 2 30 2\n", r"steer\.txt:10: .* contradicts", 27),
        ("Constraint 0\n10 1\n", r"steer\.txt:6: .* no variable parameter", 5),
        ("Constraint 0\n", r"steer\.txt:6: .* no variable parameter", 5),
    ],
)
def test_constraints_that_cannot_be_kept(text: str, what: str, verdict: int, tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    with pytest.raises(FitError, match=what) as caught:
        fit_tracks(tmp_path, FIX_TWO + text)
    assert caught.value.verdict == verdict


def test_empty_constraints_may_be_skipped(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    result = fit_tracks(tmp_path, FIX_TWO + "Constraint 0\n10 1\nskipemptycons\n")
    assert any("steer.txt:6" in warning and "left out" in warning for warning in result.warnings)
    assert result.verdict == 1  # what is left out is a warning to pede, too


@pytest.mark.parametrize("method", ["diagonalization", "decomposition", "fullLAPACK"])
def test_other_exact_methods_give_the_same_and_say_so(method: str, tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    other, plain = fit_tracks(tmp_path, f"{FIX_TWO}method {method} 3 0.001\n"), fit_tracks(tmp_path)
    assert np.array_equal(other.values, plain.values)
    assert any(f"steer.txt:6: method {method} is solved like inversion" in warning for warning in other.warnings)


def test_records_without_local_parameters_are_counted(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    with MilleWriter(tmp_path / "more.bin") as writer:
        writer.measurement(0.1, 0.1, {}, {20: 1.0})
        writer.end_record()
    result = fit_tracks(tmp_path, FIX_TWO + "more.bin\n")
    assert "1 of 61 records have no local parameter and are left out" in result.warnings
    assert np.array_equal(result.values, fit_tracks(tmp_path).values)


def test_subito_makes_one_step(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    once, full = fit_tracks(tmp_path, FIX_TWO + "subito\n"), fit_tracks(tmp_path)
    assert (once.loops, full.loops) == (1, 3)
    assert np.allclose(once.values, full.values, atol=1e-9)


def spoil(path: Path) -> None:
    words = np.fromfile(path, "<f4")
    words[2] = np.nan
    words.tofile(path)


def broken(folder: Path, how: str) -> Path:
    """A steering file whose fit must fail."""
    write_tracks(folder / "tracks.bin")
    path = steer(folder, FIX_TWO + ("nonsense\n" if how == "keyword" else ""))
    match how:
        case "steering":
            path.unlink()
        case "missing":
            (folder / "tracks.bin").unlink()
        case "empty":
            (folder / "tracks.bin").write_bytes(b"")
        case "truncated":
            (folder / "tracks.bin").write_bytes((folder / "tracks.bin").read_bytes()[:-8])
        case "NaN":
            spoil(folder / "tracks.bin")
        case "kind":
            path.write_text("fortranfiles\n" + path.read_text())
    return path


@pytest.mark.parametrize(
    ("how", "kind", "code", "what"),
    [
        ("steering", NotFoundError, 16, "steer.txt"),
        ("missing", SteeringError, 13, "steer.txt:1: 'tracks.bin'"),
        ("empty", DataError, 20, "is empty"),
        ("truncated", DataError, 18, "record 60 at byte"),
        ("NaN", DataError, 20, "record 1 at byte 0: holds a number that is not finite"),
        ("kind", DataError, 18, "record 1 at byte 0"),
        ("keyword", SteeringError, 13, "steer.txt:6: 'nonsense'"),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_leaves_nothing_that_looks_new(
    how: str, kind: type[FiducialError], code: int, what: str, threads: int, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "millepede.res").write_text(" Parameter\n 10 0.5 0.0\n")
    with pytest.raises(kind) as caught:
        fit_into(broken(tmp_path, how), output, threads=threads)
    assert what in caught.value.message
    assert sorted(path.name for path in output.iterdir()) == [
        "millepede.end",
        "millepede.json",
        "millepede.log",
        "millepede.res~",
    ]
    end = (output / "millepede.end").read_text()
    assert int(end[:5]) == code
    assert what in end


def test_a_result_replaces_an_earlier_one(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    first = fit_into(steer(tmp_path, FIX_TWO), tmp_path)
    first.write(tmp_path)
    names = ["millepede.end", "millepede.his", "millepede.json", "millepede.log", "millepede.res"]
    assert sorted(p.name for p in tmp_path.glob("millepede.*")) == sorted([*names, *(f"{name}~" for name in names)])
    assert (tmp_path / "millepede.res").read_text() == (tmp_path / "millepede.res~").read_text()


def test_what_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    result = fit_tracks(tmp_path)
    (tmp_path / "millepede.end~").mkdir()
    (tmp_path / "millepede.end").write_text("    0   Ended normally\n")
    with pytest.raises(WriteError, match=r"millepede\.end: cannot be written: "):
        result.write(tmp_path)
    assert not (tmp_path / "millepede.res").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "res:1: not a millepede.res"),
        ("x\n", "res:1: not a millepede.res"),
        (" Parameter\n", "holds no parameter"),
        (" Parameter\n  10  0.5  0.0\n  20  0.5\n", "res:3: not a line"),
    ],
)
def test_damaged_results_are_refused(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "millepede.res"
    path.write_text(text)
    with pytest.raises(DataError, match=what):
        read_results(path)
    with pytest.raises(NotFoundError):
        read_results(tmp_path / "none.res")


def test_progress_is_told(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    told: list[str] = []
    fit(steer(tmp_path, FIX_TWO), progress=told.append)
    assert told[0] == "counting records and labels"
    assert sum(line.startswith("loop ") for line in told) == 3


def told(folder: Path, what: str, action: Callable[[Path], object]) -> Callable[[str], None]:
    """Do something to the data when the fit tells of something."""

    def tell(text: str) -> None:
        if text.startswith(what):
            action(folder / "tracks.bin")

    return tell


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def other_labels(path: Path) -> None:
    words = np.fromfile(path, np.int32)
    words[words == 30] = 2_000_000_000
    words.tofile(path)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


@pytest.mark.parametrize("action", [cut, other_labels, append])
@pytest.mark.parametrize("lenient", ["", "readerroraseof\n"])
def test_a_file_that_changes_between_loops_ends_the_fit(
    action: Callable[[Path], object], lenient: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fiducial.alignment.fit.loops._KEEP_BYTES", 0)
    write_tracks(tmp_path / "tracks.bin")
    with pytest.raises(DataError, match=r"tracks\.bin: it was changed while it was being read") as caught:
        fit_into(steer(tmp_path, FIX_TWO + lenient), tmp_path, progress=told(tmp_path, "loop 1", action))
    assert verdict_of(caught.value) == 18
    assert not (tmp_path / "millepede.res").exists()
    assert (tmp_path / "millepede.end").read_text().startswith("   18   Aborted: ")


def test_data_in_memory_may_go(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.bin")
    expected = fit_tracks(tmp_path)
    found = fit(tmp_path / "steer.txt", progress=told(tmp_path, "loop 1", lambda path: path.write_bytes(b"")))
    assert np.array_equal(found.values, expected.values)
