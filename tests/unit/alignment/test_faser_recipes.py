"""Which recipe ``fiducial align`` takes, by itself and for steps in FASER's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.faser.campaign import plan
from fiducial.alignment.faser.configfile import read_config
from fiducial.alignment.faser.recipes import STEERING_NAMES, recipe_of_sets, usual_recipe
from fiducial.alignment.faser.request import Request, parse_recipe
from fiducial.alignment.iteration.recipe import recipe_names
from fiducial.core.errors import UsageError


@pytest.mark.parametrize(
    ("stations", "constants", "recipe"),
    [
        (3, None, "one-fit"),
        (3, '"2": [0.1, 0, 0, 0, 0, 0]', "one-fit"),
        (4, None, "one-fit"),
        (4, "", "one-fit"),
        (4, '"0": [0.1, 0, 0, 0, 0, 0], "21": [0, 0, 0, 0, 0, 0]', "one-fit"),  # of the one in front alone
        (4, '"21": [0, 0.1, 0, 0, 0, 0]', "faser-4st"),
        (4, "damaged", "one-fit"),  # which is said elsewhere
    ],
)
def test_the_usual_recipe(stations: int, constants: str | None, recipe: str, tmp_path: Path) -> None:
    path = tmp_path / "inputforalign.txt"
    if constants is not None:
        path.write_text(constants)
    assert usual_recipe(stations, path) == recipe
    assert recipe in recipe_names()


TWO_STEPS = {"step1": ["IFT", 20, 22, 30, 31, 32, 40, 42], "step0": ["IFT", 21, 41]}


@pytest.mark.parametrize(
    ("stations", "pede", "recipe"),
    [
        (3, TWO_STEPS, "faser-3st"),
        (3, {"step0": ["210", 410], "step1": [200, 220, 300, 310, 320, 400, 420]}, "faser-3st"),
        (4, TWO_STEPS, None),  # it would let the station in front go
        (3, {"step0": [21, 41]}, None),
        (4, {"step0": ["side", "3ST"]}, "faser-4st-layers"),
        (4, {"step0": ["local", "3ST"]}, "faser-4st-layers"),
        (4, {"step0": ["3ST", "global"]}, "faser-4st-sides"),
        (4, {"step0": ["fixside"]}, "faser-4st-layers"),
        (4, {"step0": ["fixlayer", "3ST"]}, "faser-4st-sides"),
        (3, {"step0": ["fixside"]}, None),
        (4, {"step0": ["3ST"]}, "faser-4st"),
        (4, {"step0": ["IFT", "210"]}, None),
        (3, {}, None),
    ],
)
def test_steps_in_fasers_words(stations: int, pede: dict[str, Any], recipe: str | None) -> None:
    found, told = recipe_of_sets({"set0": {"iters": 5, "pede": pede}}, stations)
    assert found == recipe
    assert (f": recipe {recipe}" if recipe else "--recipe names one, or a file") in told


@pytest.mark.parametrize(
    ("words", "recipe"),
    [(["fixside"], "faser-4st-layers"), (["local", "3ST"], "faser-4st-layers"), (["fixlayer"], "faser-4st-sides")],
)
@pytest.mark.parametrize("generation", ["older", "newer"])
def test_config_json_chooses_the_recipe_of_four_stations(
    words: list[str], recipe: str, generation: str, tmp_path: Path
) -> None:
    sets = {"set0": {"pede": {"step0": words}}}
    raw = {"year": 2023, "run": 11705, "files": "450-453", "stations": 4}
    older = {"paths": {}, "alignment": {"default_stations": 4}, "workflow": sets}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(older if generation == "older" else {"raw": raw, "workflow": sets}))
    said = Request(year=2023, run=11705, files=range(450, 453), environment_script=Path("/env.sh"))
    planned = plan(said.over(read_config(file)), simulate=False)
    assert planned.recipe == recipe
    assert planned.source.workflow.variables["stations"] == 4


def test_names_of_steering_files_are_names_of_recipes() -> None:
    assert parse_recipe("fixside") == "faser-4st-layers"
    assert set(STEERING_NAMES.values()) <= set(recipe_names())


def test_further_sets_are_campaigns_of_their_own() -> None:
    sets = {"set1": {"pede": {"step0": ["side", "3ST"]}}, "set0": {"pede": TWO_STEPS}, "set2": {}}
    found, told = recipe_of_sets(sets, 3)
    assert found == "faser-3st"
    assert "set1, set2 left out: each is a campaign of its own" in told


@pytest.mark.parametrize("given", [5, {"pede": []}, {"pede": {"step0": "IFT"}}])
def test_what_is_no_set(given: Any) -> None:
    with pytest.raises(UsageError, match="set0: must be a table"):
        recipe_of_sets({"set0": given}, 3)
