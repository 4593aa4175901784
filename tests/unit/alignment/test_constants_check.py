"""Every mistake in a file of constants is named with its place, and comparisons see every difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiducial.alignment.constants.check import check_file, excerpt
from fiducial.alignment.constants.compare import differences, layer_sums, read_any, readable
from fiducial.alignment.constants.grammar import scan
from fiducial.alignment.constants.values import Constants, format_constants, parse_constants
from fiducial.core.errors import DataError, NotFoundError

SIX = "[0, 0, 0, 0, 0, 0]"
KEYS = st.from_regex(r"[0-3](?:[0-2][0-7]?)?", fullmatch=True)
NUMBERS = st.floats(-1.0, 1.0)
CONSTANTS = st.dictionaries(KEYS, st.tuples(*[NUMBERS] * 6), min_size=1, max_size=8)


def write(folder: Path, text: str) -> Path:
    path = folder / "constants.txt"
    path.write_text(text, encoding="utf-8")
    return path


@given(CONSTANTS)
def test_what_we_write_has_no_fault(constants: Constants) -> None:
    found = scan(format_constants(constants))
    assert found.faults == []
    assert [entry.key for entry in found.entries] == sorted(constants)


@pytest.mark.parametrize(
    ("text", "position", "what", "level"),
    [
        (f'{{"21": {SIX}', 1, "a brace {", "error"),
        (f'"21": {SIX}}}', 25, "a brace }", "error"),
        (f'"21": {SIX},', 25, "a comma behind the last entry", "layout"),
        (f'"21": {SIX},,"22": {SIX}', 26, "a comma with no entry", "error"),
        (f',"21": {SIX}', 1, "a comma with no entry", "error"),
        (f'"21": {SIX},\n"22": {SIX}', 26, "the line ends here", "layout"),
        (f'"21":\n{SIX}', 6, "the line ends here", "layout"),
        (f'"21": {SIX} "22": {SIX}', 25, 'no comma after key "21"', "error"),
        (f'"21": {SIX}, "21": {SIX}', 28, "stands twice", "error"),
        (f'"4": {SIX}', 2, "is not in the detector", "error"),
        (f'"039": {SIX}', 2, "is not in the detector", "error"),
        (f'"": {SIX}', 2, "is no station, layer or module", "error"),
        ('"21": [0, 0, 0, 0, 0]', 2, "but 5", "error"),
        ('"21": [0, 0, 0, 0, 0, 0, 0]', 2, "but 7", "error"),
        ('"21": []', 2, "but 0", "error"),
        ('"21": [0, 0, 0, 0, 0,]', 22, "no number but ''", "error"),
        ('"21": [0, 0, inf, 0, 0, 0]', 14, "six finite numbers: inf", "error"),
        ('"21": [0, 0, 1e999, 0, 0, 0]', 14, "too large", "error"),
        ('"21": [0, 0, 1_0, 0, 0, 0]', 14, "no number but '1_0'", "error"),
        ('"21": [0, 0, .5, 0, 0, 0]', 14, ".5 is no number of JSON", "layout"),
        ('"21": [0, 0, +1, 0, 0, 0]', 14, "+1 is no number of JSON", "layout"),
        (f"'21': {SIX}", 1, "' is no quotation mark", "error"),
        (f"\u201c21\u201d: {SIX}", 1, "is no quotation mark", "error"),
        (f'\ufeff"21": {SIX}', 1, "byte order mark", "error"),
        (f'"21": {SIX}, ü', 27, "is no ASCII character", "error"),
        ('"21": [0, 0', 1, "an entry that is not complete", "error"),
        (f'"21" {SIX}', 1, "no entry", "error"),
        ('"21": [0, 6, 0, 0, 0, 0]', 2, 'y of key "21" is 6 mm', "warning"),
        ('"21": [0, 0, 0, 0, 0, 0.1]', 2, 'rz of key "21" is 0.1 rad', "warning"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place(text: str, position: int, what: str, level: str, tmp_path: Path) -> None:
    checked = check_file(write(tmp_path, text))
    (fault,) = checked.faults
    assert (fault.position, fault.level) == (position, level)
    assert what in fault.what
    assert fault.hint
    assert checked.sound == (level == "warning")


@pytest.mark.parametrize("text", [f'"21": {SIX},\n"22": {SIX},\n', f'"21": {SIX}, "22": [0, 0, .0, +0, 0., 00]'])
def test_an_odd_layout_is_a_mistake_that_can_be_read(text: str, tmp_path: Path) -> None:
    assert not check_file(write(tmp_path, text)).sound
    assert parse_constants(text).keys() == {"21", "22"}


def test_all_faults_are_named_in_their_order(tmp_path: Path) -> None:
    text = f'{{"21": {SIX}, "219": [1],\n "21": [nan] "3": [0, 9, 0, 0, 0, 0], "10": [1'
    checked = check_file(write(tmp_path, text))
    positions = [fault.position for fault in checked.faults]
    assert positions == sorted(positions)
    found = " | ".join(fault.what for fault in checked.faults)
    wanted = ("a brace", "219", "the line ends", "twice", "finite", "no comma", "9 mm", "not complete")
    assert all(word in found for word in wanted), found
    assert checked.keys == ["21", "3"]


@given(CONSTANTS, st.data())
def test_a_damaged_text_is_noticed_or_means_the_same_grammar(constants: Constants, data: st.DataObject) -> None:
    """Leaving out any punctuation is noticed; no text makes the scan fail."""
    text = format_constants(constants).rstrip()
    place = data.draw(st.sampled_from([at for at, character in enumerate(text) if character in '"[]:,']))
    assert scan(text[:place] + text[place + 1 :]).faults


@given(st.text(alphabet="\"0123[],: {}\n'ax.-", max_size=60))
def test_no_text_makes_the_scan_fail(text: str) -> None:
    found = scan(text)
    assert all(1 <= fault.position <= len(text) + 1 for fault in found.faults)
    if text.strip() and not found.faults:
        json.loads("{" + text + "}")


def test_an_empty_file_is_sound(tmp_path: Path) -> None:
    checked = check_file(write(tmp_path, ""))
    assert (checked.sound, checked.keys, checked.adler32) == (True, [], "00000001")


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        check_file(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        check_file(tmp_path)


@pytest.mark.parametrize("position", [1, 2, 90, 200])
def test_the_excerpt_marks_the_character(position: int) -> None:
    text = "".join(chr(97 + at % 26) for at in range(200))
    line, mark = excerpt(text, position)
    assert line[mark.index("^")] == text[position - 1]
    assert len(line) <= 74


A: Constants = {"2": (0.0, 1.0, 0.0, 0.0, 0.0, 0.0), "21": (0.0,) * 6}
B: Constants = {"2": (0.0, 1.0, 0.0, 1e-3, 0.0, 0.0), "217": (2e-3, -5e-3, 0.0, 0.0, 0.0, 0.0)}


def test_differences_come_by_kind_and_size() -> None:
    found = differences(A, B)
    assert [(one.key, one.axis, one.change) for one in found] == [
        ("217", "y", -5e-3), ("217", "x", 2e-3), ("2", "rx", 1e-3),
    ]  # fmt: skip
    assert [one.key for one in differences(A, B, 2e-3)] == ["217"]
    assert differences(A, A) == []


@given(CONSTANTS, CONSTANTS)
def test_without_differences_constants_are_the_same(first: Constants, second: Constants) -> None:
    nothing = (0.0,) * 6
    same = all(first.get(key, nothing) == second.get(key, nothing) for key in {*first, *second})
    assert (differences(first, second) == []) == same
    assert len(differences(first, second)) == len(differences(second, first))


def test_sums_are_those_of_the_modules_of_a_layer() -> None:
    sums = layer_sums({"210": (1.0, 0.0, 0.0, 0.0, 0.0, 2.0), "211": (2.0,) * 6, "21": (9.0,) * 6, "2": (9.0,) * 6})
    assert sums == {"21": (2, (3.0, 2.0, 2.0, 2.0, 2.0, 4.0))}


@pytest.mark.parametrize(
    ("value", "axis", "text"),
    [(0.0, "x", "0"), (0.0123456, "x", "12.346"), (-1e-5, "rz", "-0.0100"), (1e-12, "y", "1.0e-09")],
)
def test_numbers_are_readable(value: float, axis: str, text: str) -> None:
    assert readable(value, axis) == text


def test_a_truth_is_read_without_its_sides(tmp_path: Path) -> None:
    truth = {"format": "fiducial-alignment-truth", "constants": {"2": [0, 1, 0, 0, 0, 0], "2171": [1] * 6}}
    assert read_any(write(tmp_path, json.dumps(truth))) == ({"2": A["2"]}, "truth")
    assert read_any(write(tmp_path, format_constants(A))) == (A, "constants")
    with pytest.raises(DataError, match="a brace"):
        read_any(write(tmp_path, "{" + format_constants(A) + "}"))
