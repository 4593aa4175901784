"""Constants of a tracker: their file, labels, and how a fit's result is added."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiducial.alignment.constants.values import (
    Constants,
    accumulate,
    checksum,
    corrections,
    fingerprint,
    format_constants,
    parse_constants,
    read_constants,
    write_constants,
)
from fiducial.alignment.tracker.geometry import FASER, sensor_ids
from fiducial.alignment.tracker.numbering import all_labels, describe, hit_labels, layer_label, module_label, side_label
from fiducial.core.errors import DataError, NotFoundError

KEYS = st.from_regex(r"[0-3](?:[0-2][0-7]?)?", fullmatch=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CONSTANTS = st.dictionaries(KEYS, st.tuples(*[NUMBERS] * 6), max_size=12)


@given(constants=CONSTANTS)
def test_text_keeps_every_digit(constants: Constants) -> None:
    assert parse_constants(format_constants(constants)) == constants


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    constants: Constants = {"2": (1 / 3, 0.0, -1e-300, 2e-3, 0.0, 0.1), "21": (0.0,) * 6, "207": (1.0,) * 6}
    write_constants(tmp_path / "new" / "inputforalign.txt", constants)
    assert read_constants(tmp_path / "new" / "inputforalign.txt") == constants
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["inputforalign.txt"]


def test_the_file_is_one_line_without_braces(tmp_path: Path) -> None:
    write_constants(tmp_path / "c", {"21": (0.1, 0, 0, 0, 0, 1e-05), "2": (0,) * 6})
    expected = '"2": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "21": [0.1, 0.0, 0.0, 0.0, 0.0, 1e-05]\n'
    assert (tmp_path / "c").read_text() == expected


@pytest.mark.parametrize("text", ["", "\n", "  \n"])
def test_an_empty_file_is_no_constants(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").write_text(text)
    assert read_constants(tmp_path / "c") == {}


def test_the_older_tools_layout_is_read() -> None:
    text = '"00":[0,-0.0123,0,0.1,0,0], "000": [1.5e-3, 2, 0, 0, 0, 1E-4],\n"10": [0, 0, 0, 0, 0, 0],'
    assert parse_constants(text) == {
        "00": (0.0, -0.0123, 0.0, 0.1, 0.0, 0.0),
        "000": (1.5e-3, 2.0, 0.0, 0.0, 0.0, 1e-4),
        "10": (0.0,) * 6,
    }


SIX = "[0, 0, 0, 0, 0, 0]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'"21": {SIX}, "21": {SIX}', r'character 28: key "21" stands twice'),
        (f'"4": {SIX}', r'character 2: key "4" is not in the detector'),
        (f'"2x": {SIX}', r'character 2: key "2x" is no station'),
        (f'"2100": {SIX}', r'character 2: key "2100" is no station'),
        ('"21": [0, 0, 0, 0, 0]', r'character 2: key "21" does not have six finite numbers but 5'),
        ('"21": [0, 0, 0, 0, 0, nan]', r'character 23: key "21" does not have six finite numbers: nan'),
        ('"21": [0, 0, 0, 0, 0, one]', r"character 23: key \"21\" has no number but 'one'"),
        (f'"21": {SIX} "22": {SIX}', r'character 25: no comma after key "21"'),
        (f'"2": {SIX}, garbage', r"character 26: no entry: 'garbage'"),
        (f'{{"2": {SIX}}}', r"character 1: a brace {"),
    ],
)
def test_malformed_constants_are_refused_with_key_and_position(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(DataError, match=rf"c: {message}"):
        read_constants(tmp_path / "c")


def test_missing_constants_are_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file of constants"):
        read_constants(tmp_path / "inputforalign.txt")


def test_binary_constants_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b'"2": \xff')
    with pytest.raises(DataError, match="byte 6 is no text"):
        read_constants(tmp_path / "c")


def test_the_checksum_is_adler32(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"Wikipedia")
    assert checksum(tmp_path / "c") == "11e60398"


@given(constants=CONSTANTS)
def test_the_fingerprint_is_the_checksum_of_our_own_file(constants: Constants) -> None:
    assert fingerprint(constants) == f"{zlib.adler32(format_constants(constants).encode()):08x}"


def test_labels_have_the_digits_of_what_they_belong_to() -> None:
    assert layer_label(1, 1, "y") == 212
    assert layer_label(3, 2, "rz") == 425
    assert side_label(0, 2, 7, 1) == 12711
    assert module_label(2, 0, 3) == 30302


@pytest.mark.parametrize(("stations", "number"), [(3, 261), (4, 348)])
def test_there_are_as_many_labels_as_parameters(stations: int, number: int) -> None:
    labels = all_labels(FASER, FASER.stations(stations))
    assert len(set(labels)) == len(labels) == number


def test_hits_name_the_labels_of_their_side_module_and_layer() -> None:
    assert hit_labels(sensor_ids(FASER)[-1:]).tolist() == [[42711, 42702, 421, 422, 423, 424, 425]]


def test_every_label_of_a_hit_is_known() -> None:
    assert set(hit_labels(sensor_ids(FASER)).ravel().tolist()) == set(all_labels(FASER, FASER.stations(4)))


@pytest.mark.parametrize(
    ("label", "key", "axis", "side"),
    [
        (25, "1", "ry", None),
        (212, "11", "y", None),
        (213, "11", "rx", None),
        (425, "32", "rz", None),
        (12711, "027", "x", 1),
        (30302, "203", "rz", None),
    ],
)
def test_labels_are_read_back(label: int, key: str, axis: str, side: int | None) -> None:
    meaning = describe(label)
    assert (meaning.key, meaning.axis, meaning.side) == (key, axis, side)


@pytest.mark.parametrize("label", [5, 27, 51, 216, 230, 2121, 18001, 21003, 21012, 21021, 123456, -21])
def test_numbers_that_are_no_label_are_refused(label: int) -> None:
    with pytest.raises(DataError, match="is no parameter of a tracker"):
        describe(label)


def test_a_layers_third_parameter_leaves_z_alone() -> None:
    fitted = {layer_label(2, 1, axis): value for value, axis in enumerate(("x", "y", "rx", "ry", "rz"), 1)}
    assert corrections(FASER, fitted) == {"21": (1.0, 2.0, 0.0, 3.0, 4.0, 5.0)}


def test_sides_shift_their_module() -> None:
    plus = corrections(FASER, {side_label(1, 0, 2, 0): 0.010, side_label(1, 0, 2, 1): 0.014})
    minus = corrections(FASER, {side_label(1, 0, 3, 0): 0.010, side_label(1, 0, 3, 1): 0.014})
    assert plus["102"] == pytest.approx((0.012, 0.1, 0, 0, 0, 0))
    assert minus["103"] == pytest.approx((0.012, -0.1, 0, 0, 0, 0))


def test_one_side_alone_moves_its_module_along_x_only() -> None:
    assert corrections(FASER, {side_label(1, 0, 2, 1): 0.25})["102"] == (0.25, 0, 0, 0, 0, 0)


def test_a_modules_rz_joins_its_shift() -> None:
    fitted = {side_label(0, 0, 0, 0): 0.5, side_label(0, 0, 0, 1): 0.5, module_label(0, 0, 0): 1e-3}
    assert corrections(FASER, fitted) == {"000": (0.5, 0.0, 0.0, 0.0, 0.0, 1e-3)}


def test_an_unknown_label_is_no_correction() -> None:
    with pytest.raises(DataError, match="label 999"):
        corrections(FASER, {999: 0.1})


def test_constants_add_up_at_full_precision() -> None:
    total: Constants = {}
    step = 1e-7 / 3
    for _ in range(15):
        total = parse_constants(format_constants(accumulate(total, {"21": (0.0, step, 0.0, 0.0, 0.0, 1.0)})))
    assert total["21"][1] == sum([step] * 15)
    assert total["21"][5] == 15.0


def test_keys_of_either_side_stay() -> None:
    first: Constants = {"1": (1.0,) * 6, "2": (1.0,) * 6}
    second: Constants = {"2": (0.5,) * 6, "3": (0.5,) * 6}
    assert accumulate(first, second) == {"1": (1.0,) * 6, "2": (1.5,) * 6, "3": (0.5,) * 6}
