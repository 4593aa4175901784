"""The steering language, as pede reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiducial.alignment.steering import METHODS, Parameter, Steering, match_keyword, read_steering
from fiducial.core.errors import NotFoundError, SteeringError


def read(folder: Path, text: str, **files: str) -> Steering:
    (folder / "data.bin").write_bytes(b"")
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    path = folder / "steer.txt"
    path.write_text(f"data.bin\n{text}\n")
    return read_steering(path)


def failure(folder: Path, text: str, **files: str) -> SteeringError:
    with pytest.raises(SteeringError) as caught:
        read(folder, text, **files)
    return caught.value


def test_files_with_kind_and_weight(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", "c.dat"):
        (tmp_path / name).touch()
    steering = read(tmp_path, "fortranfiles ! now Fortran\na.bin ! first\nCFILES\n b.bin -- 2.5D-1 ! less\nc.dat")
    found = [(file.path.name, file.fortran, file.weight) for file in steering.files]
    assert found == [("data.bin", False, 1), ("a.bin", True, 1), ("b.bin", False, 0.25), ("c.dat", False, 1)]


def test_blocks_in_text_files_and_over_their_ends(tmp_path: Path) -> None:
    steering = read(
        tmp_path,
        "one.txt\ntwo.txt\nmethod inversion 3 0.001\nConstraint 0.5\nend\nnonsense",
        one=" 11 1.0 12 -1.0\n* comment\n13 .5 ! and more\nMeasurement 0.01 2d-3 % why\n",
        two=" 14 1.0\nend\nnonsense",
    )
    (constraint,) = steering.constraints
    assert (constraint.value, constraint.terms) == (0.5, ((11, 1.0), (12, -1.0), (13, 0.5)))
    (measurement,) = steering.measurements
    assert (measurement.value, measurement.sigma, measurement.terms) == (0.01, 0.002, ((14, 1.0),))
    assert measurement.where.endswith("one.txt:4")


def test_parameters(tmp_path: Path) -> None:
    steering = read(tmp_path, "Parameter 5 1.0 0.1\n7 -.5 -1 99 98\n 7 2e1 0\n")
    assert steering.parameters == {5: Parameter(1.0, 0.1), 7: Parameter(20.0, 0.0)}


def test_the_last_method_counts(tmp_path: Path) -> None:
    method = read(tmp_path, "method diagonalisation 1 .1\nmethod inverison 3 0.001 ! Gauss 7 8").method
    assert (method.name, method.iterations, method.limit) == ("inversion", 3, 0.001)


def test_options(tmp_path: Path) -> None:
    options = read(tmp_path, "chisqcut 30.0 6.0\nregularization 1.0 0.01 ! 3\nPRINTCOUNTS\nhugecut 2000").options
    assert options == {
        "chisqcut": (30.0, 6.0), "regularisation": (1.0, 0.01), "printcounts": (), "hugecut": (2000.0,)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "keyword"),
    [
        ("CONSTRAINT", "constraint"),
        ("Constrain", "constraint"),
        ("outlierdownweightin", "outlierdownweighting"),
        ("hugecuts", "hugecut"),
        ("huge", None),
        ("xyz", None),
    ],
)
def test_keywords_match_approximately(word: str, keyword: str | None) -> None:
    assert match_keyword(word, ["constraint", "hugecut", "outlierdownweighting"]) == keyword


def test_every_method_is_found_by_its_own_name() -> None:
    assert [match_keyword(name, METHODS) for name in METHODS] == METHODS


def test_what_has_no_effect_is_said(tmp_path: Path) -> None:
    steering = read(tmp_path, "scaleerrors 1.5\nhistprint\nmethod inversion 3 .1")
    (warning,) = steering.warnings
    assert "steer.txt:2" in warning
    assert "scaleerrors" in warning


def test_a_cut_on_entries_that_would_be_iterated_is_said(tmp_path: Path) -> None:
    assert not read(tmp_path, "entries 25 10").warnings
    (warning,) = read(tmp_path, "entries 25 10 2").warnings
    assert warning.endswith("steer.txt:2: the third number of 'entries', 2, is not supported yet and has no effect")


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("hugecut 20\nchiskvut 3", "steer.txt:3", "neither a keyword nor the name of a file"),
        ("missing.bin", "steer.txt:2", "missing.bin"),
        ("Constraint", "steer.txt:2", "expected 1 numbers"),
        ("Constraint 0\n5 1.0 6", "steer.txt:3", "pairs"),
        ("Constraint 0\n0 1.0", "steer.txt:3", "positive integer, not 0"),
        ("Constraint 0\n5 1.0O", "steer.txt:3", "'1.0O'"),
        ("Parameter\n-5 1.0 0", "steer.txt:3", "positive integer, not -5"),
        ("Parameter\n5.5 1.0 0", "steer.txt:3", "positive integer, not 5.5"),
        ("Parameter\n5 1.0", "steer.txt:3", "expected 3 numbers, found 2"),
        ("hugecut\n5 1.0", "steer.txt:3", "belong to no"),
        ("Measurement 0.1", "steer.txt:2", "expected 2 numbers"),
        ("method Newton 3 1", "steer.txt:2", "no method 'Newton'"),
        ("method inversion", "steer.txt:2", "expected 2 numbers"),
        ("data.bin -- 0", "steer.txt:2", "weight"),
        ("other.txt", "other.txt:2", "neither"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, where: str, what: str, tmp_path: Path) -> None:
    error = failure(tmp_path, text, other="hugecut 20\n!\n  \n".replace("!\n", "foo 5\n"))
    assert f"{tmp_path / where.partition(':')[0]}:{where.partition(':')[2]}" in error.message
    assert what in error.message


def test_the_nearest_keyword_is_suggested(tmp_path: Path) -> None:
    assert failure(tmp_path, "chsqct 3").hint == "did you mean 'chisqcut'?"
    assert "blanks" in failure(tmp_path, "hugecut\t20").hint


def test_without_data_there_is_nothing_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "steer.txt"
    path.write_text("method inversion 3 0.001\n")
    with pytest.raises(SteeringError, match="no binary file"):
        read_steering(path)
    with pytest.raises(NotFoundError):
        read_steering(tmp_path / "nowhere.txt")
