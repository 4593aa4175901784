"""``fiducial constants``: what is printed and drawn, and the exit codes that scripts ask for."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fiducial.alignment.constants.values import Constants, checksum, write_constants

FIRST: Constants = {
    "21": (0.0, 0.01, 0.0, 0.0, 0.0, 1e-4),
    "210": (0.001,) * 6,
    "211": (1 / 3, 0.0, 0.0, 0.0, 0.0, 0.0),
}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    write_constants(tmp_path / "iter01" / "inputforalign.txt", FIRST)
    return tmp_path / "iter01" / "inputforalign.txt"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    write_constants(tmp_path / "iter02" / "inputforalign.txt", FIRST | {"21": (0.0, 0.013, 0.0, 0.0, 0.0, 3e-4)})
    return tmp_path / "iter02" / "inputforalign.txt"


def test_show_lists_keys_and_sums(say: Any, first: Path) -> None:
    said = say("constants", "show", first)
    assert said.code == 0
    assert f"{first}: 3 keys, Adler-32 {checksum(first)}" in said.lines
    assert "21 layer 0 10.000 0 0 0 0.1000" in said.lines
    assert "21 2 334.333 1.000 1.000 1.0000 1.0000 1.0000" in said.lines


def test_show_json_and_csv_keep_every_digit(say: Any, first: Path) -> None:
    content = say("constants", "show", first, "--json").json
    assert content["constants"] == {key: list(six) for key, six in FIRST.items()}
    assert content["sums"]["21"]["modules"] == 2
    rows = list(csv.DictReader(io.StringIO(say("constants", "show", first, "--csv").out)))
    assert [(row["key"], row["level"], float(row["x_mm"])) for row in rows][2] == ("211", "module", 1 / 3)
    assert say("constants", "show", first, "--csv", "--json").code == 2


def test_show_of_no_constants_says_so(say: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "nominal place" in say("constants", "show", "empty").out


def test_diff_exits_like_diff(say: Any, first: Path, second: Path) -> None:
    assert say("constants", "diff", first, first).code == 0
    said = say("constants", "diff", first, second)
    assert said.code == 1
    assert "21 layer y 10.000 13.000 3.000" in said.lines
    assert "21 layer rz 0.1000 0.3000 0.2000" in said.lines
    assert say("constants", "diff", first, second, "--tolerance", 0.0031).code == 0
    assert say("constants", "diff", first, "nowhere").code == 4


def test_diff_names_what_only_one_has_and_counts_what_it_hides(say: Any, first: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    said = say("constants", "diff", first, "empty", "--rows", 1)
    assert f"only in {first}: 21, 210, 211" in said.lines
    assert "… and 4 more; --rows 0 shows all" in said.lines
    whole = say("constants", "diff", first, "empty", "--json")
    assert (whole.code, whole.json["equal"], len(whole.json["differences"])) == (1, False, 9)
    assert whole.json["only_first"] == ["21", "210", "211"]


def test_plot_refuses_what_makes_no_picture(say: Any, first: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for words, code, what in (
        ([first, "-o", "c.jpg"], 2, ".svg or .png"),
        ([first, "--evolution"], 2, "two files"),
        (["empty"], 1, "nothing to draw"),
    ):
        said = say("constants", "plot", *words)
        assert said.code == code
        assert what in said.err


def test_check_names_mistakes_and_exits_with_one(say: Any, first: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text('"21": [0, 0, 0, 0, 0, nan]')
    assert say("constants", "check", first).code == 0
    said = say("constants", "check", first, "bad")
    assert said.code == 1
    assert "bad: error: character 23:" in said.out
    assert f"{first}: sound, 3 keys" in said.out
    files = say("constants", "check", first, "bad", "--json").json
    assert [(one["sound"], one["keys"]) for one in files] == [(True, 3), (False, 0)]
    assert files[1]["faults"][0]["character"] == 23


TELESCOPE = Path(__file__).parents[3] / "examples" / "telescope" / "geometry.toml"


def test_constants_of_another_detector(say: Any, tmp_path: Path) -> None:
    for name, shift in (("first.txt", 0.2), ("second.txt", 0.3)):
        write_constants(tmp_path / name, {"00": (0.1,) * 6, "05": (shift, 0.0, 0.0, 0.0, 0.0, 0.0)})
    other = ("--geometry", TELESCOPE)
    assert "05 layer 200.000 0 0 0 0 0" in say("constants", "show", "first.txt", *other).lines
    assert "05 layer x 200.000 300.000 100.000" in say("constants", "diff", "first.txt", "second.txt", *other).lines
    assert say("constants", "check", "first.txt", *other).code == 0
    assert say("constants", "plot", "first.txt", "second.txt", *other, "-o", "t.svg").code == 0
    drawn = [element.text for element in ElementTree.parse(tmp_path / "t.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert {"00", "05", "layer x (µm)"} <= set(drawn)


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_key_of_another_detector_is_told_what_there_is(command: str, say: Any, tmp_path: Path) -> None:
    write_constants(tmp_path / "c.txt", {"05": (0.0,) * 6})
    said = say("constants", command, "c.txt")
    assert said.code == 1
    assert "faser has layers 00, 01, 02, 10, 11, 12, 20, 21, 22, 30, 31, 32; --geometry FILE" in said.out + said.err
    write_constants(tmp_path / "c.txt", {"06": (0.0,) * 6})
    said = say("constants", command, "c.txt", "-g", TELESCOPE)
    assert "telescope has layers 00, 01, 02, 03, 04, 05;" in said.out + said.err
