"""``fiducial alignment recipe`` and ``fiducial alignment geometry``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.iteration.recipe import recipe_names, recipe_text

TELESCOPE = Path(__file__).parents[3] / "examples" / "telescope" / "geometry.toml"


def test_recipes_are_listed(say: Any) -> None:
    lines = say("alignment", "recipe", "list").lines
    assert lines[0] == "recipe steps what it is"
    assert [line.split()[0] for line in lines[1:]] == recipe_names()
    assert [one["name"] for one in say("alignment", "recipe", "list", "--json").json] == recipe_names()


def test_a_recipe_is_shown_as_it_can_be_given_back(say: Any, tmp_path: Path) -> None:
    shown = say("alignment", "recipe", "show", "faser-3st").out
    assert shown == recipe_text("faser-3st")
    (tmp_path / "my.toml").write_text(shown)
    assert say("alignment", "recipe", "show", "my.toml").out == shown
    assert say("alignment", "recipe", "show", "my.toml", "--json").json["cuts"]["max_chi2"] == 2000.0


def test_a_recipe_is_printed_as_json_that_every_reader_takes(say: Any, tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    (tmp_path / "my.toml").write_text(recipe_text("planes") + "fit = { iterations = 2 }\n")
    shown = json.loads(say("alignment", "recipe", "show", "my.toml", "--json").out, parse_constant=refuse)
    assert shown["cuts"]["max_pz"] is None
    assert shown["fit"]["iterations"] == 3
    assert shown["steps"][0]["fit"] == {"iterations": 2}


def test_a_check_tells_what_each_step_fits(say: Any) -> None:
    said = say("alignment", "recipe", "check", "faser-3st-literal")
    assert said.lines[0] == "recipe faser-3st-literal for faser: 261 parameters"
    assert any(line.startswith("step1 196 14 7 layers' y") for line in said.lines)
    steps = say("alignment", "recipe", "check", "fixside", "--stations", 4, "--json").json["steps"]
    assert steps[0]["labels"] == [101, 102, 105, 111, 112, 115, 121, 122, 125]


def test_a_recipe_with_mistakes_is_refused_with_their_places(say: Any, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("format = 1\n[cuts]\nmax_chi = 2.0\n")
    said = say("alignment", "recipe", "check", "my.toml")
    assert said.code == 3
    assert "my.toml:3: cuts.max_chi: this key is not known, did you mean 'max_chi2'?" in said.err


def test_a_recipe_for_other_stations_is_refused_with_a_way_out(say: Any) -> None:
    said = say("alignment", "recipe", "check", "faser-4st")
    assert said.code == 3
    assert "are other --stations meant?" in said.err


def test_a_geometry_is_checked_against_its_recipe(say: Any) -> None:
    said = say("alignment", "geometry", "check", TELESCOPE)
    assert said.lines[-1] == "recipe planes: fits 18 of 18 parameters"
    assert "no field" in said.out
    assert say("alignment", "geometry", "check", "faser", "--json").json["free"] == 228


def test_a_check_tells_which_layers_stand_in_which_station(say: Any, tmp_path: Path) -> None:
    head, planes, rest = re.split(r"(?s)(?=\[\[planes\]\])(.*?)(?=# -{9})", TELESCOPE.read_text(), maxsplit=1)
    positions = (f'[[planes]]\nsensor = "pixels"\nposition = [0.0, 0.0, {50.0 * one}]\n' for one in range(12))
    assert planes.count("[[planes]]") == 6
    (tmp_path / "twelve.toml").write_text(head + "".join(positions) + rest)
    said = say("alignment", "geometry", "check", "twelve.toml")
    assert said.lines[1] == "stations 0 (00 to 09), 1 (10 to 11): the first digit of a layer's key"
    assert said.lines[-1] == "recipe planes: fits 36 of 36 parameters"
    assert not any(line.startswith("stations") for line in say("alignment", "geometry", "check", TELESCOPE).lines)


def test_a_geometry_is_listed_and_drawn(say: Any, tmp_path: Path) -> None:
    said = say("alignment", "geometry", "show", TELESCOPE, "--picture", "pictures/t.svg")
    assert "05 5 750.0 1 2" in said.lines
    drawn = (tmp_path / "pictures" / "t.svg").read_text()
    assert drawn.startswith("<svg")
    assert {"00", "05", "measures this coordinate"} <= set(re.findall(r">([^<]+)</text>", drawn))
    assert "measures another one" not in drawn, "pixels measure both"
    assert say("alignment", "geometry", "show", "faser", "--json").json["sensors"] == 192


def test_layers_that_stand_close_share_a_label(say: Any, tmp_path: Path) -> None:
    assert say("alignment", "geometry", "show", "faser", "--picture", "f.svg").code == 0
    drawn = (tmp_path / "f.svg").read_text()
    assert {"00 to 02", "30 to 32", "magnet", "measures another one"} <= set(re.findall(r">([^<]+)</text>", drawn))


def test_a_picture_of_another_kind_is_refused(say: Any) -> None:
    said = say("alignment", "geometry", "show", "faser", "--picture", "t.jpg")
    assert said.code == 2
    assert "t.jpg: a picture is .svg or .png" in said.err


def test_the_built_in_geometry_is_a_file_too(say: Any, tmp_path: Path) -> None:
    (tmp_path / "faser.toml").write_text(say("alignment", "geometry", "show", "faser", "--toml").out)
    first, second = (say("alignment", "geometry", "show", name, "--json").json for name in ("faser", "faser.toml"))
    assert first == second


@pytest.mark.parametrize("words", [("recipe", "show", "nowhere"), ("geometry", "show", "nowhere.toml")])
def test_what_is_not_there_is_told(say: Any, words: tuple[str, ...]) -> None:
    said = say("alignment", *words)
    assert said.code == 4
    assert "nowhere" in said.err
    assert "Traceback" not in said.err
