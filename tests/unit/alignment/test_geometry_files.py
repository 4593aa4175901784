"""Geometry files: what they may say, and what becomes of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.iteration.convert import append_records, branches, choose
from fiducial.alignment.iteration.recipe import Cuts, find_recipe
from fiducial.alignment.iteration.steeringfiles import Plan
from fiducial.alignment.mille.reader import read_blocks
from fiducial.alignment.mille.writer import MilleOutput
from fiducial.alignment.tracker.geometry import FASER, place, sensor_ids
from fiducial.alignment.tracker.geometryfile import Geometry, find_geometry, geometry_text, load_geometry
from fiducial.alignment.tracker.geometrypicture import draw_detector
from fiducial.alignment.tracker.numbering import AXES, Scheme
from fiducial.alignment.tracker.reconstruction import read_hits, reconstruct
from fiducial.alignment.tracker.simulation import Misalignment, Response, misalign, simulate
from fiducial.alignment.tracker.trajectory import cross, track_derivatives
from fiducial.core.check import check
from fiducial.core.errors import ConfigurationError, DataError, NotFoundError, UsageError
from fiducial.core.workflowfile import load

TELESCOPE = Path(__file__).parents[3] / "examples" / "telescope" / "geometry.toml"

STRIPS = """
format = 1
name = "strips"

[sensors.strip]
measures = ["x"]
pitch = 0.05
channels = 640
length = 32.0
radiation_lengths = 0.003

[sensors.turned]
measures = [1.5707963267948966]
pitch = 0.05
channels = 640
length = 32.0
resolution = 0.02
"""


def planes(kinds: str) -> str:
    """Planes 100 mm apart, each one a letter: s measures x, t measures y."""
    names = {"s": "strip", "t": "turned"}
    lines = [
        f'[[planes]]\nsensor = "{names[kind]}"\nposition = [0.0, 0.0, {100 * number}]'
        for number, kind in enumerate(kinds)
    ]
    return STRIPS + "\n".join(lines)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "geometry.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_built_in_detector_can_be_written_and_read(tmp_path: Path) -> None:
    again = load_geometry(file(tmp_path, geometry_text(Geometry())))
    truth = misalign(FASER, Misalignment(), seed=1)
    for constants in ({}, truth):
        first, second = place(FASER, constants), place(again.detector, constants)
        np.testing.assert_array_equal(first.origin, second.origin)
        np.testing.assert_array_equal(first.axes, second.axes)
    for name in ("channels", "pitch", "resolution", "lengths", "material"):
        np.testing.assert_array_equal(getattr(FASER, name), getattr(again.detector, name))
    assert again.detector.magnets == FASER.magnets
    assert again.detector.stations() == FASER.stations(3)
    assert again.prefix == "Faser-Physics"
    assert (again.beam, again.finding, again.misalignment) == (Geometry().beam, Geometry().finding, Misalignment())


def test_without_a_file_or_by_its_name_the_detector_is_faser() -> None:
    assert find_geometry(None).detector is find_geometry("faser").detector is FASER


def test_a_plane_is_a_layer_that_moves_along_the_detectors_axes() -> None:
    telescope = load_geometry(TELESCOPE).detector
    assert list(telescope.keys[1]) == [f"0{plane}" for plane in range(6)]
    assert sensor_ids(telescope).tolist() == [100 * plane + side for plane in range(6) for side in (0, 1)]
    plain, moved = place(telescope, {}), place(telescope, {"04": (0.1, 0.2, 0.0, 0.0, 0.0, 0.0)})
    np.testing.assert_allclose((moved.origin - plain.origin)[8:10], [[0.1, 0.2, 0.0]] * 2, atol=1e-12)
    # Plane 4 is mounted upside down, and measures -x and -y.
    np.testing.assert_allclose(plain.axes[8, :, 0], [-1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(plain.axes[9, :, 0], [0.0, -1.0, 0.0], atol=1e-12)


def test_pixels_are_as_long_across_as_the_other_coordinate_has_channels() -> None:
    telescope = load_geometry(TELESCOPE).detector
    np.testing.assert_allclose(telescope.lengths[:2], [576 * 0.0184, 1152 * 0.0184])


def test_without_a_field_a_track_has_four_parameters() -> None:
    telescope = load_geometry(TELESCOPE).detector
    state = np.array([[1.0, 2.0, 1e-3, -1e-3, 1e-2]])
    assert track_derivatives(telescope, cross(telescope, place(telescope, {}), state, np.array([0]))).shape == (1, 4)


def test_strips_of_both_directions_make_a_telescope(tmp_path: Path) -> None:
    known = load_geometry(file(tmp_path, planes("stststst")))
    data = simulate(known.detector, {}, run=1, file=1, events=300, seed=1, beam=known.beam, response=Response(1.0, 0.0))
    table, _ = reconstruct(known.detector, data, {}, None, known.finding)
    residual = table.hits["fitParam_align_local_residual_x"]
    turned = table.hits["fitParam_align_id"] % 200 == 100
    assert known.finding.fewest_hits == 5
    assert len(table.counts) > 250
    # Of eight measurements four parameters take half.
    assert residual[~turned].std() == pytest.approx(0.05 / 12**0.5 / 2**0.5, rel=0.1)
    assert residual[turned].std() == pytest.approx(0.02 / 2**0.5, rel=0.1)


def test_tracks_that_only_one_direction_measures_are_lost(tmp_path: Path) -> None:
    known = load_geometry(file(tmp_path, planes("ssssssst") + "\n[finding]\nfewest_hits = 7"))
    data = simulate(known.detector, {}, run=1, file=1, events=50, seed=1, response=Response(1.0, 0.0))
    with pytest.raises(DataError, match="no track in 50 events"):
        reconstruct(known.detector, data, {}, None, known.finding)


@pytest.mark.parametrize(
    "keys",
    [("10", "11", "12", "20", "21", "22"), ("00", "01", "30", "31", "32", "33"), ("00", "10", "20", "60", "80", "90")],
)
def test_stations_take_part_whatever_their_numbers(tmp_path: Path, keys: tuple[str, ...]) -> None:
    text = planes("ststst")
    for key in keys:
        text = text.replace("[[planes]]\nsensor", f"[[planes]]\nkey = '{key}'\nsensor", 1)
    known = load_geometry(file(tmp_path, text))
    assert known.detector.stations() == tuple(sorted({int(key[0]) for key in keys}))
    data = simulate(known.detector, {}, run=1, file=1, events=50, seed=1, beam=known.beam, response=Response(1.0, 0.0))
    assert set(read_hits(known.detector, data, known.detector.stations()).sensor.tolist()) == set(range(6))
    recipe = find_recipe("planes")
    plan = Plan(known.detector, known.detector.stations(), recipe)
    assert {plan.known[label].key for label in plan.free(recipe.steps[0])} == set(keys)


def test_a_choice_of_stations_is_counted_from_the_last(tmp_path: Path) -> None:
    text = planes("ststst").replace("format = 1", "format = 1\nstations = [1, 2]")
    for key in ("10", "11", "12", "40", "41", "42"):
        text = text.replace("[[planes]]\nsensor", f"[[planes]]\nkey = '{key}'\nsensor", 1)
    detector = load_geometry(file(tmp_path, text)).detector
    assert detector.stations() == (4,)
    assert detector.stations(2) == (1, 4)
    with pytest.raises(UsageError, match="0 stations"):
        detector.stations(0)


def test_other_numbers_of_stations_are_a_matter_of_the_file(tmp_path: Path) -> None:
    detector = load_geometry(file(tmp_path, planes("ststst"))).detector
    assert detector.stations() == (0,)
    with pytest.raises(UsageError, match="3 stations") as caught:
        detector.stations(3)
    assert "(1,)" in caught.value.hint


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[misalignment]\nshifts = { plane = 0.1 }", r"misalignment\.shifts\.plane: .*'station', 'layer'"),
        ("[misalignment]\nshifts = { layer = -0.1 }", r"misalignment\.shifts\.layer: .* greater than or equal to 0"),
        ("[misalignment]\nturns = { layer = inf }", r"misalignment\.turns\.layer: .* finite number"),
        ("[beam]\nmomentum = 600.0\nspread = -1.0", r"beam\.spread: .* greater than or equal to 0"),
        (
            "[beam]\nmomentum = 600.0\nlowest = 600.0\nhighest = 600.0",
            r"beam\.spread: 0\.4 has 0\.00% of the momenta between lowest \(600\) and highest \(600\); 0 is for one",
        ),
        ("[beam]\nspread = 1e9", r"beam\.spread: 1e\+09 has 0\.00% of the momenta"),
        ("[beam]\nlowest = -1.0", r"beam\.lowest: .* greater than 0"),
        ("[beam]\nhalf_width = nan", r"beam\.half_width: .* finite number"),
        ("[response]\nnoise = -1.0", r"response\.noise: .* greater than or equal to 0"),
        ("[response]\nefficiency = 1.1", r"response\.efficiency: .* less than or equal to 1"),
        ("[finding]\nwindows = []", r"finding\.windows: .* at least 1 item"),
        ("[finding]\nscales = [2.0, 0.0]", r"finding\.scales\.1: .* greater than 0"),
        ("[finding]\nmomentum = 0.0", r"finding\.momentum: .* greater than 0"),
        ("[finding]\nfewest_hits = 7", r"finding\.fewest_hits: 7, and there are 6 sensors"),
        ("[finding]\nfewest_hit = 7", r"finding\.fewest_hit: this key is not known, did you mean 'fewest_hits'\?"),
        ("[[magnets]]\nz_min = 1.0\nz_max = 2.0\nfield = inf", r"magnets\.0\.field: .* finite number"),
        ("[[groups]]\nkey = '0'\n[[groups]]\nkey = '0'", r"groups\.1\.key: '0' stands twice"),
        ("[[groups]]\nkey = '0'\nposition = [nan, 0.0, 0.0]", r"groups\.0\.position\.0: .* finite number"),
        ("[[groups]]\nkey = '0'\nrotation = [1.5707963, 0.0, 0.0]", r"planes\.0\.rotation: the plane stands along"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"geometry\.toml:[0-9]+: {message}"):
        load_geometry(file(tmp_path, f"{planes('ststst')}\n{table}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pitch = 0.05", "pitch = -0.05"), r"geometry\.toml:7: sensors\.strip\.pitch"),
        (("pitch = 0.05", "picth = 0.05"), r"sensors\.strip\.picth: this key is not known, did you mean 'pitch'\?"),
        (("pitch = 0.05", "pitch = [0.05, 0.05]"), r"sensors\.strip: pitch: 2 numbers for 1 measured coordinates"),
        (("length = 32.0", ""), r"sensors\.strip: length: how long are the strips\?"),
        (("resolution = 0.02", "resolution = 0.01"), r"resolution: below pitch / sqrt\(12\)"),
        (
            ('sensor = "strip"', 'sensor = "stirp"'),
            r"planes\.0\.sensor: there is no sensor 'stirp'; known: strip, turned",
        ),
        (('sensor = "strip"', 'key = "01"\nsensor = "strip"'), r"planes: two have the key '01'"),
        (('sensor = "strip"', 'key = "010"\nsensor = "strip"'), r"planes: keys have two digits .* the same number"),
        (("position = [0.0, 0.0, 0]", "position = [0.0, 0.0]"), r"planes\.0\.position"),
        (("position = [0.0, 0.0, 0]", "position = [0.0, 0.0, nan]"), r"planes\.0\.position\.2: .* finite number"),
        (
            ("position = [0.0, 0.0, 300]", "rotation = [0.0, 1.57079, 0.0]\nposition = [0.0, 0.0, 300]"),
            r"geometry\.toml:29: planes\.3\.rotation: the plane stands along the beam",
        ),
        (("measures = [1.5707963267948966]", "measures = [inf]"), r"sensors\.turned\.measures\.0"),
        (("radiation_lengths = 0.003", "radiation_lengths = inf"), r"sensors\.strip\.radiation_lengths: .* finite"),
        (("format = 1", "format = 1\nreference_z = inf"), r"geometry\.toml:3: reference_z: .* finite number"),
        (("format = 1", "format = 2"), r"geometry\.toml:2: format: Input should be 1"),
        (('name = "strips"', 'name = "a/b"'), r"name: String should match pattern"),
        (("format = 1", "format = 1\nstations = [2]"), r"stations: there are not so many"),
        (
            ("[sensors.strip]", "[[groups]]\nkey = '7'\n[sensors.strip]"),
            r":6: groups\.0\.key: no plane belongs to '7'",
        ),
        (
            ("[sensors.strip]", "[beam]\nmomentum = 1.0\n[sensors.strip]"),
            r":6: beam\.momentum: 1 is not between lowest \(500\)",
        ),
        (
            ("[sensors.strip]", "[beam]\nmomentun = 1.0\n[sensors.strip]"),
            r":6: beam\.momentun: this key is not known, did you mean 'momentum'",
        ),
        (
            ("[sensors.strip]", "[[magnets]]\nz_min = -1.0\nz_max = 1.0\nfield = 1.0\n[sensors.strip]"),
            r"reference_z: lies inside a magnet",
        ),
        (
            ("[sensors.strip]", "[[magnets]]\nz_min = 1.0\nz_max = 1.0\nfield = 1.0\n[sensors.strip]"),
            r"magnets\.0: z_min: is not below z_max",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = planes("ststst")
    assert change[0] in text
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(file(tmp_path, text.replace(*change, 1)))


@pytest.mark.parametrize(("kinds", "said"), [("stst", "4 coordinates, and a track"), ("ss", "2 coordinates")])
def test_too_few_planes_are_refused(tmp_path: Path, kinds: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"planes: they measure {said}"):
        load_geometry(file(tmp_path, planes(kinds)))


def test_planes_at_one_place_are_refused(tmp_path: Path) -> None:
    text = re.sub(r"position = .*", "position = [0.0, 0.0, 7.0]", planes("ststst"))
    with pytest.raises(ConfigurationError, match="planes: all stand at one z"):
        load_geometry(file(tmp_path, text))


def test_one_momentum_is_a_beam(tmp_path: Path) -> None:
    table = "\n[beam]\nmomentum = 5.0\nlowest = 5.0\nhighest = 5.0\nspread = 0.0"
    known = load_geometry(file(tmp_path, planes("ststst") + table))
    assert simulate(known.detector, {}, run=1, file=1, events=5, seed=1, beam=known.beam).counts.sum() > 0


def test_hardly_any_material_scatters_nothing(tmp_path: Path) -> None:
    known = load_geometry(
        file(tmp_path, planes("ststst").replace("radiation_lengths = 0.003", "radiation_lengths = 1e-15"))
    )
    assert len(simulate(known.detector, {}, run=1, file=1, events=5, seed=1, beam=known.beam).counts) == 5


@pytest.mark.parametrize(
    "table", ["", "[beam]\nmomentum = 600.0", "[beam]\nslope = 0.001\n[finding]\nmomentum = 600.0"]
)
def test_what_a_table_leaves_out_follows_from_the_detector(tmp_path: Path, table: str) -> None:
    known = load_geometry(file(tmp_path, f"{planes('stststst')}\n{table}"))
    assert known.beam.half_width == pytest.approx(0.9 * 16.0)
    assert known.finding.fewest_hits == 5
    data = simulate(known.detector, {}, run=1, file=1, events=200, seed=1, beam=known.beam)
    assert len(reconstruct(known.detector, data, {}, None, known.finding)[0].counts) > 180


def test_a_beam_covers_what_all_layers_cover(tmp_path: Path) -> None:
    moved = planes("ststst").replace("position = [0.0, 0.0, 0]", "position = [6.0, 0.0, 0]")
    assert load_geometry(file(tmp_path, moved)).beam.half_width == pytest.approx(0.9 * 10.0)
    aside = planes("ststst").replace("position = [0.0,", "position = [90.0,")
    assert load_geometry(file(tmp_path, aside)).beam.half_width == pytest.approx(0.9 * 16.0)
    text = geometry_text(Geometry())
    without = re.sub(r"(?m)^half_width = .*\n", "", text)
    assert without != text
    assert load_geometry(file(tmp_path, without)).beam.half_width == pytest.approx(
        0.9 * (90 + 768 * 0.04 - 5), abs=0.01
    )


def test_a_recipe_may_lie_beside_its_geometry(tmp_path: Path) -> None:
    text = TELESCOPE.read_text().replace('recipe = "planes"', 'recipe = "mine.toml"')
    (tmp_path / "geometry.toml").write_text(text)
    assert load_geometry(tmp_path / "geometry.toml").recipe == "mine.toml"
    (tmp_path / "mine.toml").touch()
    assert load_geometry(tmp_path / "geometry.toml").recipe == str(tmp_path / "mine.toml")


def test_a_file_that_is_called_like_a_recipe_of_the_package_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "geometry.toml").write_text(TELESCOPE.read_text())
    (tmp_path / "planes").touch()
    assert load_geometry(tmp_path / "geometry.toml").recipe == "planes"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such geometry"):
        load_geometry(tmp_path / "geometry.toml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "geometry.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load_geometry(tmp_path / "geometry.toml")


@pytest.mark.parametrize("axis", range(6))
def test_derivatives_by_a_stations_constants_are_those_of_the_crossing(tmp_path: Path, axis: int) -> None:
    """A station that turns carries its layers about its own middle."""
    truth = misalign(FASER, Misalignment(shifts={}, turns={}), seed=1)
    data = simulate(FASER, truth, run=1, file=1, events=20, seed=1, response=Response(1.0, 0.0))
    table, _ = reconstruct(FASER, data, {}, 4)
    scheme = Scheme(stations=AXES, layers=(), modules=(), sides=())
    chosen = choose(FASER, table, Cuts(max_residual=1.0, max_tilt=1e9, min_pz=0.0, max_pz=1e9))
    path = tmp_path / "mp2input.bin"
    with MilleOutput(path) as out:
        append_records(out, FASER, table, chosen, scheme, table.hits["fitParam_align_local_residual_x"])
    (block,) = read_blocks(path)
    assert set(branches(scheme)) >= {f"fitParam_align_global_derivation_y_{name}" for name in AXES}
    found = np.zeros(len(chosen.sensor))
    hit = np.repeat(np.arange(len(block.value)), np.diff(block.global_start))
    wanted = block.label % 10 == axis + 1
    found[hit[wanted]] = block.global_derivative[wanted]
    np.testing.assert_allclose(found, _numeric(table, chosen.sensor, axis), rtol=1e-3, atol=2e-3)


def _numeric(table: object, sensor: np.ndarray[tuple[int], np.dtype[np.int64]], axis: int) -> object:
    from fiducial.alignment.tracker.projection import track_parameters

    state = track_parameters(table)[table.track]  # type: ignore[attr-defined, arg-type]
    step = 1e-3 if axis < 3 else 1e-5
    found = []
    for sign in (1.0, -1.0):
        six = tuple(sign * step * (number == axis) for number in range(6))
        placement = place(FASER, dict.fromkeys("0123", six))
        found.append(cross(FASER, placement, state, sensor).along)
    return (found[0] - found[1]) / (2 * step)


def test_nothing_is_wrong_with_the_workflow_of_the_telescope() -> None:
    workflowfile = load(TELESCOPE.with_name("align.toml"))
    assert check(workflowfile, {}) == []
    assert workflowfile.workflow.variables["recipe"] == load_geometry(TELESCOPE).recipe


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<svg"), (".png", b"\x89PNG")])
def test_a_detector_can_be_drawn(suffix: str, start: bytes) -> None:
    drawn = draw_detector(load_geometry(TELESCOPE).detector, suffix)
    assert drawn.startswith(start)
    if suffix == ".svg":
        assert b"Sensors of telescope" in drawn
        assert b"magnet" not in drawn
