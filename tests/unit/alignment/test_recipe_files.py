"""Recipes: what their files may say, and what each step of them tells the fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiducial.alignment.iteration.patterns import chosen, mistake
from fiducial.alignment.iteration.recipe import (
    Parameters,
    Recipe,
    Step,
    find_recipe,
    load_recipe,
    recipe_names,
    recipe_text,
)
from fiducial.alignment.iteration.steeringfiles import Plan, write_steering
from fiducial.alignment.steering.reader import Steering, read_steering
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.geometryfile import load_geometry
from fiducial.alignment.tracker.numbering import AXES, FASER_SCHEME, Meaning, Scheme, all_labels, describe, meanings
from fiducial.core.errors import ConfigurationError, DataError, NotFoundError

TELESCOPE = Path(__file__).parents[3] / "examples" / "telescope" / "geometry.toml"
ALL = meanings(FASER, FASER.stations(4))


def plan(recipe: str | Recipe, stations: int = 3) -> Plan:
    found = find_recipe(recipe) if isinstance(recipe, str) else recipe
    if found.name == "planes":
        detector = load_geometry(TELESCOPE).detector
        return Plan(detector, detector.stations(), found)
    return Plan(FASER, FASER.stations(stations), found)


def written(tmp_path: Path, plan: Plan, step: int, held: dict[int, float] | None = None) -> Steering:
    (tmp_path / "mp2input.bin").touch()
    return read_steering(write_steering(tmp_path, plan, plan.recipe.steps[step], held or {}))


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.toml"
    path.write_text("format = 1\n" + text, encoding="utf-8")
    return path


# Files


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_of_the_package_says_what_it_is_and_frees_something(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.description
    for step in recipe.steps:
        assert plan(name, 4 if "4st" in name else 3).free(step)


def test_a_recipe_can_be_printed_changed_and_read(tmp_path: Path) -> None:
    text = recipe_text("one-fit").replace("max_chi2 = 2000.0", "max_chi2 = 500.0")
    (tmp_path / "my.toml").write_text(text)
    mine = find_recipe(str(tmp_path / "my.toml"))
    assert (mine.name, mine.cuts.max_chi2) == ("my", 500.0)
    assert mine.constraints == find_recipe("one-fit").constraints


def test_what_the_commented_recipe_says_is_the_default() -> None:
    recipe = find_recipe("one-fit")
    default = Recipe()
    for part in ("cuts", "parameters", "presigma", "fit", "determined"):
        assert getattr(recipe, part) == getattr(default, part)


@pytest.mark.parametrize(("other", "name"), [("fixside", "faser-4st-layers"), ("fixlayer", "faser-4st-sides")])
def test_fasers_own_names_are_known(other: str, name: str) -> None:
    assert find_recipe(other).name == name


def test_a_recipe_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe 'on-fit'") as caught:
        find_recipe("on-fit")
    assert "one-fit" in caught.value.hint
    with pytest.raises(NotFoundError, match=r"none\.toml: no such recipe"):
        find_recipe(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cuts]\nmax_chi = 3.0", r"my\.toml:3: cuts\.max_chi: this key is not known, did you mean 'max_chi2'\?"),
        ("[cuts]\nmin_hits = 'many'", r"my\.toml:3: cuts\.min_hits: Input should be a valid integer"),
        ("[cuts]\nmin_hits = 0", r"my\.toml:3: cuts\.min_hits: .*greater than or equal to 1"),
        ("[[steps]]\nfree = ['layer 1']", r"my\.toml:3: steps\.0\.free\.0: 'layer 1' begins neither with a label"),
        ("[[steps]]\nfree = ['layers 1a']", r"steps\.0\.free\.0: '1a' in 'layers 1a' is not made of digits"),
        ("[[steps]]\nfixed = ['layers 1? x,w']", r"steps\.0\.fixed\.0: 'w' in 'layers 1\? x,w' is none of the axes"),
        ("[[steps]]\nname = 'a/b'", r"steps\.0\.name: 'a/b' is no name of a folder"),
        ("[[steps]]\nfit = { itrations = 3 }", r"my\.toml:3: steps\.0\.fit\.itrations: .* did you mean 'iterations'\?"),
        ("[[steps]]\n\n[steps.fit]\nlimit = inf", r"my\.toml:5: steps\.0\.fit\.limit: Input should be a finite number"),
        (
            "[fit]\nmethod = 'invert'",
            r"my\.toml:3: fit\.method: there is no method 'invert', did you mean 'inversion'\?",
        ),
        ("[cuts]\nmax_chi2 = nan", r"my\.toml:3: cuts\.max_chi2: Input should be greater than 0"),
        ("[presigma]\nturn = inf", r"my\.toml:3: presigma\.turn: Input should be a finite number"),
        ("[[steps]]\n[[steps]]", r"my\.toml:2: steps: two have the name 'fit'"),
        ("steps = []", r"my\.toml:2: steps: .*at least 1 item"),
        (
            "[[constraints]]\nparameters = ['layers']\nweights = 'bending'",
            r"constraints\.0: line: 'bending' is measured",
        ),
        ("[[constraints]]\nparameters = ['layers']\neach = 'plane'", r"constraints\.0\.each\.0: Input should be"),
        (
            "[[constraints]]\nparameters = ['layers']\nweights = 'bending'\nline = ['11', '11']",
            r"my\.toml:5: constraints\.0: line: layer '11' stands twice",
        ),
        (
            "[parameters]\nmodules = ['rz', 'y', 'x']",
            r"my\.toml:3: parameters: modules: x and y together with sides' x: a module's shift follows",
        ),
        ("[parameters]\nlayers = ['x', 'x']", r"my\.toml:3: parameters: layers: an axis stands twice"),
        ("[parameters]\nsides = ['y']", r"parameters\.sides\.0: Input should be 'x'"),
        ("[parameters]\ndumplayers = 'yes'", r"dumplayers: 'yes' is neither true nor false"),
        ("[parameters]\ndumplayers = true\nlayers = ['x']", r"layers: give either this or FASER's flags"),
        ("[parameters]\ndump6ndf_modules = true", r"dump6ndf_modules with use_sidebyside"),
        ("[cuts]\nmax_chi2 = = 1", r"my\.toml: not TOML: .*line 3"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(file(tmp_path, text))


def test_a_limit_may_be_none(tmp_path: Path) -> None:
    cuts = load_recipe(file(tmp_path, "[cuts]\nmax_chi2 = inf\nmax_pz = inf\nmax_residual = inf\nmax_tilt = inf")).cuts
    assert {cuts.max_chi2, cuts.max_pz, cuts.max_residual, cuts.max_tilt} == {float("inf")}


def test_recipes_differ_where_a_step_repeats_a_default(tmp_path: Path) -> None:
    plain = load_recipe(file(tmp_path, "[fit]\niterations = 5\n[[steps]]"))
    own = load_recipe(file(tmp_path, "[fit]\niterations = 5\n[[steps]]\nfit = { iterations = 3 }"))
    assert plain != own
    assert [one.options(one.steps[0]).iterations for one in (plain, own)] == [5, 3]
    assert own == load_recipe(file(tmp_path, "[fit]\niterations = 5\n[[steps]]\n[steps.fit]\niterations = 3"))


def test_every_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_recipe(file(tmp_path, "[cuts]\nmax_chi = 3.0\nmin_hits = 'many'\n[presigma]\nshift = -1.0"))
    assert len(str(caught.value).splitlines()) == 3


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"format = 1 # \xff")
    with pytest.raises(ConfigurationError, match=r"my\.toml: is not UTF-8 text"):
        load_recipe(tmp_path / "my.toml")


# Flags of FASER's converter


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"dumplayers": True}, Parameters()),
        ({"dumplayers": False}, Parameters(layers=())),
        ({"dump6ndf_layers": False}, Parameters(layers=("y", "rz"))),
        ({"dumpz_layers": True}, Parameters(layers=AXES)),
        ({"dumpstations": True}, Parameters(stations=AXES)),
        ({"dumpstations": True, "dump6ndf_stations": False}, Parameters(stations=("y", "rz"))),
        ({"use_sidebyside": False}, Parameters(modules=("x", "rz"), sides=())),
        ({"use_sidebyside": False, "dump6ndf_modules": True}, Parameters(modules=AXES, sides=())),
    ],
)
def test_flags_of_the_converter_are_understood(flags: dict[str, bool], expected: Parameters) -> None:
    assert Parameters.model_validate(flags) == expected


# Labels


def test_a_layers_third_parameter_is_z_where_z_is_aligned() -> None:
    known = meanings(FASER, FASER.stations(3), Scheme(layers=AXES))
    assert (known[213].axis, known[214].axis, known[216].axis) == ("z", "rx", "rz")


def test_modules_count_on_from_their_sides() -> None:
    known = meanings(FASER, FASER.stations(3), Scheme(modules=("x", "rz"), sides=()))
    assert known[21301] == Meaning("113", "x")
    assert known[21302] == Meaning("113", "rz")
    assert 21311 not in known


def test_planes_have_ten_labels_each() -> None:
    known = plan("planes").known
    assert list(known)[:4] == [1, 2, 3, 11]
    assert known[53] == Meaning("05", "rz")


def test_two_parameters_cannot_have_one_label() -> None:
    with pytest.raises(ConfigurationError, match=r"label 1 would stand for .* and "):
        meanings(FASER, FASER.stations(4), Scheme(stations=("x",), first_station=0))


def test_labels_say_the_same_with_and_without_a_recipe() -> None:
    assert {label: describe(label) for label in ALL} == ALL


# Patterns


@pytest.mark.parametrize(
    ("pattern", "labels"),
    [
        ("layers 21", [311, 312, 313, 314, 315]),
        ("layers 0? y", [102, 112, 122]),
        ("layers 01,02 x,rz", [111, 115, 121, 125]),
        ("sides 2130", [31301]),
        ("sides 213*", [31301, 31311]),
        ("modules ??7 rz", [label for label in all_labels(FASER, FASER.stations(4)) if str(label).endswith("702")]),
        ("101-103", [101, 102, 103]),
        ("31301", [31301]),
    ],
)
def test_patterns_choose_labels(pattern: str, labels: list[int]) -> None:
    assert not mistake(pattern)
    assert chosen([pattern], ALL) == labels


def test_a_star_chooses_everything_and_no_pattern_nothing() -> None:
    assert chosen(["*"], ALL) == list(ALL)
    assert chosen([], ALL) == []
    assert len(chosen(["sides", "modules", "layers"], ALL)) == len(ALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[steps]]\nfixed = ['layers * x', 'layers 21,41']",
            r"step fit: fixed: '41' in 'layers 21,41' is no layer",
        ),
        (
            "[[steps]]\nname = 's'\nfree = ['*', 'modules 218']",
            r"step s: free: '218' in 'modules 218' is no module",
        ),
        ("[[steps]]\nfixed = ['* 7']", r"step fit: fixed: '7' in '\* 7' is no part of faser"),
        ("[[steps]]\nfixed = ['900-999']", r"step fit: fixed: '900-999' is no label of a parameter of faser"),
        ("[[constraints]]\nparameters = ['layers 77 y']", r"constraints\.0\.parameters: '77' in 'layers 77 y' is no"),
    ],
)
def test_a_pattern_that_names_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        plan(load_recipe(file(tmp_path, text))).check()
    assert caught.value.hint.startswith("layers are 00, 01, 02, 10")


def test_a_pattern_may_name_stations_that_take_no_part(tmp_path: Path) -> None:
    text = "[[steps]]\nfree = ['*']\nfixed = ['layers 0?', 'sides 0*', '101-125']"
    plan(load_recipe(file(tmp_path, text)), 3).check()


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_of_the_package_have_no_such_pattern(name: str) -> None:
    plan(name, 4 if "4st" in name else 3).check()


# Steps


def test_fasers_first_step_fits_all_but_two_layers(tmp_path: Path) -> None:
    told = written(tmp_path, plan("faser-3st-literal"), 0)
    free = {label for label, one in told.parameters.items() if one.presigma >= 0}
    assert len(told.constraints) == 14
    assert not [label for label in free if str(label).startswith(("21", "41"))]
    assert not [label for label in free if len(str(label)) == 3 and str(label).endswith("1")]
    assert len(free) == 7 * (4 + 16 + 8)


def test_fasers_second_step_holds_what_the_first_found(tmp_path: Path) -> None:
    held = {label: 1e-3 * label / 3 for label in all_labels(FASER, FASER.stations(3))}
    told = written(tmp_path, plan("faser-3st-literal"), 1, held)
    free = {label for label, one in told.parameters.items() if one.presigma >= 0}
    assert len(told.constraints) == 4
    assert len(free) == 2 * (4 + 16 + 8)
    assert all(str(label).startswith(("21", "41")) for label in free)
    assert {label: one.value for label, one in told.parameters.items()} == held


@pytest.mark.parametrize(
    ("name", "free", "constraints"),
    [
        ("faser-4st-layers-literal", range(101, 126), 0),
        ("faser-4st-sides", range(10001, 12799), 6),
    ],
)
def test_the_four_station_recipes_fit_the_front_station_alone(
    tmp_path: Path, name: str, free: range, constraints: int
) -> None:
    told = written(tmp_path, plan(name, 4), 0)
    expected = [label for label in ALL if label in free]
    assert [label for label, one in told.parameters.items() if one.presigma >= 0] == expected
    assert len(told.constraints) == constraints


def test_a_step_can_have_its_own_keywords_and_presigmas(tmp_path: Path) -> None:
    recipe = load_recipe(
        file(tmp_path, "[[steps]]\nfit = { hugecut = 7.0, lines = ['chisqcut 30 6'] }\npresigma = { shift = 1.0 }")
    )
    told = written(tmp_path, plan(recipe), 0)
    assert told.options["hugecut"] == (7.0,)
    assert told.options["chisqcut"] == (30.0, 6.0)
    assert told.parameters[212].presigma == 1.0
    assert told.parameters[213].presigma == 0.005


def test_constraints_of_planes_hold_the_mean_and_what_grows_along_the_beam(tmp_path: Path) -> None:
    ties = [dict(one.terms) for one in written(tmp_path, plan("planes"), 0).constraints]
    assert {10 * plane + 1: 1.0 for plane in range(6)} in ties
    shear = next(tie for tie in ties if tie.get(12, 1.0) != 1.0)
    assert sorted(shear) == [2, 12, 22, 32, 42, 52]
    assert sum(shear.values()) == pytest.approx(0.0, abs=1e-9)


def test_a_recipe_that_frees_nothing_of_a_detector_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="step layers has no free parameter among the 261 of faser's stations"):
        plan("faser-4st-layers").free(find_recipe("faser-4st-layers").steps[0])


def test_a_line_through_a_layer_that_takes_no_part_is_refused(tmp_path: Path) -> None:
    text = "[[constraints]]\nparameters = ['layers * y']\nweights = 'bending'\nline = ['01', '31']"
    with pytest.raises(ConfigurationError, match="layer '01' takes no part"):
        plan(load_recipe(file(tmp_path, text))).constraints(Step())


def test_a_line_through_two_layers_at_one_place_is_refused(tmp_path: Path) -> None:
    text = TELESCOPE.read_text().replace("450.0]", "150.0]")
    detector = load_geometry(file(tmp_path, text.replace("format = 1", ""))).detector
    line = (
        "[parameters]\nsides = []\n[[constraints]]\nparameters = ['layers']\nweights = 'bending'\nline = ['01', '03']"
    )
    with pytest.raises(ConfigurationError, match="its two layers stand at one place, z = 150 mm"):
        Plan(detector, detector.stations(), load_recipe(file(tmp_path, line))).check()


def test_crossed_coordinates_are_no_stereo_pair() -> None:
    detector = load_geometry(TELESCOPE).detector
    with pytest.raises(ConfigurationError, match=r"parameters\.sides: .* are no stereo pairs"):
        Plan(detector, detector.stations(), find_recipe("one-fit")).check()


def test_labels_that_no_recipe_has_are_refused() -> None:
    from fiducial.alignment.tracker.numbering import reader

    with pytest.raises(DataError, match="label 999 is no parameter of this recipe"):
        reader(meanings(FASER, FASER.stations(3), FASER_SCHEME))(999)
