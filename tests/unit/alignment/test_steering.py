"""The steering language, as pede reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fiducial.alignment.fit.result import verdict_of
from fiducial.alignment.steering.keywords import KEYWORDS, METHODS, find_keyword, match_keyword
from fiducial.alignment.steering.reader import Parameter, Steering, read_steering
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


def test_files_with_kind_and_weight_fortran_files_first(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", "c.dat"):
        (tmp_path / name).touch()
    steering = read(tmp_path, "fortranfiles ! now Fortran\na.bin ! first\nCFILES\n b.bin -- 2.5D-1 ! less\nc.dat")
    found = [(file.path.name, file.fortran, file.weight) for file in steering.files]
    assert found == [("a.bin", True, 1), ("data.bin", False, 1), ("b.bin", False, 0.25), ("c.dat", False, 1)]


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
    assert steering.parameters == {5: Parameter(1.0, 0.1), 7: Parameter(20.0, -1.0)}


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


def test_every_keyword_is_found_by_its_own_name() -> None:
    found = [getattr(find_keyword(name), "name", None) for name in KEYWORDS]
    assert found == [name.replace("regularisation", "regularization") for name in KEYWORDS]


def test_an_option_does_not_end_a_block(tmp_path: Path) -> None:
    steering = read(tmp_path, "Constraint 0.5\n11 1\nhugecut 20\n12 1\nCfiles\n13 1\nmethod inversion 3 1")
    assert [label for label, _ in steering.constraints[0].terms] == [11, 12, 13]


def test_numbers_as_pede_finds_them(tmp_path: Path) -> None:
    steering = read(tmp_path, "Parameter\n5,1.5\t- 2d-1\n6 1.0-2 % 8\nConstraint0.5\nchisqcut30. +6.")
    assert steering.parameters == {5: Parameter(1.5, -0.2), 6: Parameter(1, -2)}
    assert steering.constraints[0].value == 0.5
    assert steering.options["chisqcut"] == (30, 6)


def test_tabs_are_taken_as_blanks_with_a_warning_where_pede_stops(tmp_path: Path) -> None:
    steering = read(tmp_path, "hugecut\t20\nParameter\n\t5\t1.0\t0.1")
    assert steering.options == {"hugecut": (20,)}
    assert steering.parameters == {5: Parameter(1.0, 0.1)}
    (warning,) = steering.warnings
    assert "steer.txt:4: starts with a tab" in warning


def test_zeros_do_not_overwrite_and_factors_of_a_label_add_up(tmp_path: Path) -> None:
    steering = read(tmp_path, "Parameter\n5 0.3 -1\n5 0 0\n6 0 0\n7 1 0\n7 2 0\nConstraint 0\n5 1 6 0\n5 2")
    assert steering.parameters == {5: Parameter(0.3, -1), 7: Parameter(2, 0)}
    assert steering.constraints[0].terms == ((5, 1), (5, 2))
    zero, seven, twice = steering.warnings
    assert "steer.txt:4: label 5 was given before; now value 0.3, presigma -1 (a 0 changes nothing)" in zero
    assert "steer.txt:7: label 7 was given before; now value 2" in seven
    assert "steer.txt:8: the constraint names labels twice, whose factors add up: 5" in twice


def test_weights_of_constraints_hold_from_their_keyword_on(tmp_path: Path) -> None:
    steering = read(tmp_path, "Constraint 0\n5 1\nweightedcons\nConstraint 0\n5 1\nweightedcons 0\nConstraint 0 1")
    assert [constraint.weighted for constraint in steering.constraints] == [False, True, False]


def test_comments_on_parameters(tmp_path: Path) -> None:
    steering = read(tmp_path, "comment\n11 layer 2, left\n12\nhugecut 20\nConstraint 0\n11 1")
    assert steering.comments == {11: "layer 2, left", 12: ""}
    assert steering.constraints[0].terms == ((11, 1),)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("entries 0", "'entries 0' is left out, as pede does"),
        ("threads -1", "'threads -1' is left out"),
        ("mrestol 1", "'mrestol 1' is left out"),
        ("postprocessing rm -rf x", "is not run"),
        ("Measurement 0.1 0\n5 1", "without a positive sigma has no effect"),
        ("hugecut 20 tight", "the word 'tight' is left out"),
        ("data.bin", "data.bin is given twice"),
        ("../{folder}/data.bin", "data.bin is given twice"),
    ],
)
def test_what_has_no_effect_is_said(text: str, what: str, tmp_path: Path) -> None:
    (warning,) = read(tmp_path, text.format(folder=tmp_path.name)).warnings
    assert "steer.txt:2" in warning
    assert what in warning


@pytest.mark.parametrize("text", ["cache 1000", "memorydebug", "histprint", "matmoni 5", "compress", "closeandreopen"])
def test_what_cannot_matter_is_silent(text: str, tmp_path: Path) -> None:
    assert not read(tmp_path, text).warnings


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("hugecut 20\nchiskvut 3", "steer.txt:3", "neither a keyword nor the name of a file"),
        ("missing.bin", "steer.txt:2", "missing.bin"),
        ("mp2missing.bin", "steer.txt:2", "'mp2missing.bin' is neither a keyword nor the name of a file"),
        ("data2.bin -- 2", "steer.txt:2", "nor the name of a file"),
        ("Constraint", "steer.txt:2", "expected 1 numbers"),
        ("Constraint 0\n5 1.0 6", "steer.txt:3", "pairs"),
        ("Constraint 0\n0 1.0", "steer.txt:3", "positive integer, not 0"),
        ("Constraint 0\n5 1.0O", "steer.txt:3", "'1.0O'"),
        ("Constraint 0 11 1.0", "steer.txt:2", "expected 1 or 2 numbers, found 3"),
        ("Constraint 0\n2147483648 1.0", "steer.txt:3", "larger than 2147483647"),
        ("Parameter\n5 NaN 0", "steer.txt:3", "'NaN' is not a number"),
        ("Parameter\n5 1e999 0", "steer.txt:3", "too large"),
        ("entries nan 5", "steer.txt:2", "'nan'"),
        ("Parameter 5 1.0 0 1", "steer.txt:2", "expected 3 numbers, found 4"),
        ("dwfractioncut -0.1", "steer.txt:2", "'dwfractioncut' cannot be -0.1"),
        ("outlierdownweighting -3", "steer.txt:2", "cannot be -3"),
        ("scaleerrors 0", "steer.txt:2", "cannot be 0"),
        ("scaleerrors 1 0", "steer.txt:2", "'scaleerrors' cannot be 0"),
        ("scaleerrors 1 -1", "steer.txt:2", "'scaleerrors' cannot be -1"),
        ("comment\n² text", "steer.txt:3", "'² text' is neither"),
        ("presigma", "steer.txt:2", "'presigma' needs 1 number, found 0"),
        ("wolfe 0.1", "steer.txt:2", "'wolfe' needs 2 numbers, found 1"),
        ("Constraint 0\n" + "11 1.0 " * 200, "steer.txt:3", "longer than 1024"),
        ("Parameter\n-5 1.0 0", "steer.txt:3", "positive integer, not -5"),
        ("Parameter\n5.5 1.0 0", "steer.txt:3", "positive integer, not 5.5"),
        ("Parameter\n5 1.0", "steer.txt:3", "expected 3 numbers, found 2"),
        ("hugecut 1\n5 1.0", "steer.txt:3", "belong to no"),
        ("Parameter\n5 1 0\nmethod inversion 3 1\n6 1 0", "steer.txt:5", "belong to no"),
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
    assert failure(tmp_path, "method inverse 3 1").hint == "did you mean 'inversion'?"
    assert failure(tmp_path, "2missing.bin").hint == "there is no file '2missing.bin' either"
    assert "looked for beside steer.txt" in failure(tmp_path, "missing.bin").hint


def test_without_data_there_is_nothing_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "steer.txt"
    path.write_text("method inversion 3 0.001\n")
    with pytest.raises(SteeringError, match="no binary file") as caught:
        read_steering(path)
    assert verdict_of(caught.value) == 14


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        read_steering(tmp_path / "nowhere.txt")
    assert verdict_of(caught.value) == 16
    with pytest.raises(SteeringError, match="is a folder") as folder:
        read_steering(tmp_path)
    assert verdict_of(folder.value) == 11


def test_mistakes_have_the_numbers_of_pede(tmp_path: Path) -> None:
    assert verdict_of(failure(tmp_path, "nonsense")) == 13
    assert verdict_of(failure(tmp_path, "method Newton 3 1")) == 36


def test_what_is_no_file_to_read_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    error = failure(tmp_path, "pipe.bin")
    assert "'pipe.bin' is neither a keyword nor the name of a file" in error.message
    assert error.hint.startswith("it is a folder, a pipe or a device")


def test_a_binary_file_in_the_place_of_the_steering_is_not_printed(tmp_path: Path) -> None:
    error = failure(tmp_path, "\x16\x1b[2Jxyz\x01")
    assert error.message == f"{tmp_path / 'steer.txt'}:2: steer.txt is not a text file"


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "data.bin").touch()
    (tmp_path / "par.txt").write_text("Parameter\n5 0.1 -1\n", encoding="utf-8-sig")
    path = tmp_path / "steer.txt"
    path.write_text("data.bin\npar.txt\nmethod inversion 3 0.001\n", encoding="utf-8-sig")
    steering = read_steering(path)
    assert [file.path.name for file in steering.files] == ["data.bin"]
    assert steering.parameters == {5: Parameter(0.1, -1.0)}
