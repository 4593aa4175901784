"""Which tracks and hits become records, what the fit is told, and what a solve step makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiducial.alignment.constants.values import fingerprint, write_constants
from fiducial.alignment.iteration.convert import append_records, choose
from fiducial.alignment.iteration.recipe import Cuts, FitOptions, Recipe, find_recipe
from fiducial.alignment.iteration.solve import Outputs, find_ntuples, solve
from fiducial.alignment.iteration.steeringfiles import Plan, write_steering
from fiducial.alignment.iteration.summary import Setup, state_of
from fiducial.alignment.mille.reader import read_blocks
from fiducial.alignment.mille.writer import MilleOutput
from fiducial.alignment.steering.reader import Steering, read_steering
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.ntuple import TRACK_BRANCHES, TrackTable, write_ntuple
from fiducial.alignment.tracker.numbering import FASER_SCHEME, Scheme, all_labels, layer_label, module_label, side_label
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.simulation import Response, simulate
from fiducial.core.errors import DataError, NotFoundError, UsageError

RESIDUAL = "fitParam_align_local_residual_x"


@pytest.fixture(scope="module")
def table() -> TrackTable:
    """Tracks without anything that the cuts would drop."""
    response = Response(efficiency=1.0, noise=0.0)
    raw = simulate(FASER, {}, run=1, file=1, events=60, seed=1, response=response)
    found, _ = reconstruct(FASER, raw, {}, 4)
    hits = {**found.hits, RESIDUAL: np.clip(found.hits[RESIDUAL], -0.049, 0.049)}
    for axis in ("rx", "ry"):
        name = f"fitParam_align_global_derivation_y_{axis}"
        hits[name] = np.clip(hits[name], -1.9, 1.9)
    scalars = {**found.scalars, "fitParam_pz": np.clip(found.scalars["fitParam_pz"], 200.0, 4000.0)}
    return TrackTable(scalars, found.counts, hits)


def with_scalar(table: TrackTable, name: str, track: int, value: float) -> TrackTable:
    column = table.scalars[name].copy()
    column[track] = value
    return replace(table, scalars={**table.scalars, name: column})


def with_hit(table: TrackTable, name: str, hit: int | slice, value: float) -> TrackTable:
    column = table.hits[name].copy()
    column[hit] = value
    return replace(table, hits={**table.hits, name: column})


def hits_of(table: TrackTable, track: int) -> slice:
    first = int(table.counts[:track].sum())
    return slice(first, first + int(table.counts[track]))


def records(tmp_path: Path, table: TrackTable, scheme: Scheme = FASER_SCHEME) -> Any:
    path = tmp_path / "mp2input.bin"
    with MilleOutput(path) as output:
        chosen = choose(FASER, table, Cuts())
        append_records(output, FASER, table, chosen, scheme, table.hits[RESIDUAL])
    (block,) = read_blocks(path)
    return block


def test_everything_passes_that_no_cut_drops(table: TrackTable) -> None:
    chosen = choose(FASER, table, Cuts())
    assert chosen.used.all()
    assert not chosen.counts.dropped_tracks.total()
    assert not chosen.counts.dropped_hits.total()
    assert (chosen.counts.used_tracks, chosen.counts.used_hits) == (len(table.counts), table.counts.sum())


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("fitParam_chi2", 2001.0, "chi2"),
        ("fitParam_pz", 99.0, "momentum"),
        ("fitParam_pz", 5001.0, "momentum"),
    ],
)
def test_tracks_are_dropped_by_reason(table: TrackTable, name: str, value: float, reason: str) -> None:
    chosen = choose(FASER, with_scalar(table, name, 7, value), Cuts())
    assert +chosen.counts.dropped_tracks == {reason: 1}
    assert not chosen.used[hits_of(table, 7)].any()
    assert chosen.counts.used_tracks == len(table.counts) - 1


@pytest.mark.parametrize(("name", "value"), [("chi2", 2000.0), ("pz", 100.0), ("pz", 5000.0)])
def test_limits_themselves_pass(table: TrackTable, name: str, value: float) -> None:
    assert choose(FASER, with_scalar(table, f"fitParam_{name}", 7, value), Cuts()).used.all()


def test_short_tracks_are_dropped(table: TrackTable) -> None:
    chosen = choose(FASER, table, Cuts(min_hits=int(table.counts.max())))
    assert chosen.counts.dropped_tracks["hits"] == (table.counts < table.counts.max()).sum() > 0


def test_a_track_that_fails_twice_is_counted_once(table: TrackTable) -> None:
    twice = with_scalar(with_scalar(table, "fitParam_chi2", 7, 1e4), "fitParam_pz", 7, 1.0)
    assert +choose(FASER, twice, Cuts()).counts.dropped_tracks == {"chi2": 1}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (RESIDUAL, -0.051, "residual"),
        ("fitParam_align_global_derivation_y_rx", 2.1, "tilt"),
        ("fitParam_align_global_derivation_y_ry", -2.1, "tilt"),
        ("fitParam_align_local_derivation_x_par_phi", -9999.0, "failed"),
        ("fitParam_align_local_derivation_x_rz", -99999.0, "failed"),
    ],
)
def test_hits_are_dropped_by_reason(table: TrackTable, name: str, value: float, reason: str) -> None:
    chosen = choose(FASER, with_hit(table, name, 30, value), Cuts())
    assert +chosen.counts.dropped_hits == {reason: 1}
    assert np.flatnonzero(~chosen.used).tolist() == [30]


def test_tracks_left_with_too_few_hits_are_not_written(table: TrackTable) -> None:
    hits = hits_of(table, 3)
    chosen = choose(FASER, with_hit(table, RESIDUAL, slice(hits.start + 5, hits.stop), 1.0), Cuts())
    assert +chosen.counts.dropped_tracks == {"used_hits": 1}
    assert chosen.counts.used_hits == chosen.used.sum() == table.counts.sum() - table.counts[3]


def test_tracks_left_undetermined_are_not_written(table: TrackTable) -> None:
    chosen = choose(FASER, with_hit(table, TRACK_BRANCHES[0], hits_of(table, 3), 0.0), Cuts())
    assert +chosen.counts.dropped_tracks == {"rank": 1}
    assert not chosen.used[hits_of(table, 3)].any()


def test_hits_of_unknown_sensors_are_refused(table: TrackTable) -> None:
    with pytest.raises(DataError, match=r"fitParam_align_id: 1380 \(hit 2 of the block\) is no sensor"):
        choose(FASER, with_hit(table, "fitParam_align_id", 2, 1380.0), Cuts())


@pytest.mark.parametrize("value", [1012.5, -1.0, 1e12])
def test_an_identifier_is_not_cut_to_a_whole_number(table: TrackTable, value: float) -> None:
    """It is stored as a double, and one between two sensors belongs to neither."""
    with pytest.raises(DataError, match="is no sensor"):
        choose(FASER, with_hit(table, "fitParam_align_id", 2, value), Cuts())


def test_counts_add_up(table: TrackTable) -> None:
    counts = choose(FASER, with_scalar(table, "fitParam_chi2", 7, 1e4), Cuts()).counts
    both = counts + counts
    assert (both.tracks, both.used_tracks, both.dropped_tracks["chi2"]) == (120, 118, 2)


def test_a_hit_becomes_a_measurement(tmp_path: Path, table: TrackTable) -> None:
    block = records(tmp_path, table)
    assert block.records == len(table.counts)
    np.testing.assert_array_equal(np.diff(block.measurement_start), table.counts)
    np.testing.assert_allclose(block.value, table.hits[RESIDUAL], rtol=1e-6)
    assert set(block.local_index.tolist()) == {1, 2, 3, 4, 5}
    # Tracks may have no derivative by a parameter; at the first hit all are there.
    ident = int(table.hits["fitParam_align_id"][0]) + 1000
    layer = ident // 100 * 10
    expected = [ident * 10 + 1, ident // 10 * 100 + 2, *range(layer + 1, layer + 6)]
    assert block.label[: block.global_start[1]].tolist() == expected
    names = ["local_derivation_x_x", "local_derivation_x_rz"]
    names += [f"global_derivation_y_{axis}" for axis in ("x", "y", "rx", "ry", "rz")]
    derivatives = [table.hits[f"fitParam_align_{name}"][0] for name in names]
    np.testing.assert_allclose(block.global_derivative[:7], derivatives, rtol=1e-6)
    local = [table.hits[name][0] for name in TRACK_BRANCHES]
    np.testing.assert_allclose(block.local_derivative[:5], local, rtol=1e-6)


def test_parameters_can_be_left_out(tmp_path: Path, table: TrackTable) -> None:
    layers = records(tmp_path, table, Scheme(sides=(), modules=()))
    assert max(len(str(label)) for label in layers.label.tolist()) == 3
    sides = records(tmp_path, table, Scheme(layers=()))
    assert {len(str(label)) for label in sides.label.tolist()} == {5}


def test_dropped_tracks_leave_no_empty_record(tmp_path: Path, table: TrackTable) -> None:
    block = records(tmp_path, with_scalar(table, "fitParam_chi2", 0, 1e4))
    assert block.records == len(table.counts) - 1
    assert block.value[0] == pytest.approx(table.hits[RESIDUAL][table.counts[0]])


# Recipe


def steering(tmp_path: Path, stations: int) -> Steering:
    (tmp_path / "mp2input.bin").touch()
    plan = Plan(FASER, FASER.stations(stations), find_recipe("one-fit"))
    return read_steering(write_steering(tmp_path, plan, plan.recipe.steps[0], {}))


@pytest.mark.parametrize("stations", [3, 4])
def test_every_parameter_is_told(tmp_path: Path, stations: int) -> None:
    told = steering(tmp_path, stations)
    assert sorted(told.parameters) == all_labels(FASER, FASER.stations(stations))
    assert (told.method.name, told.method.iterations, told.method.limit) == ("inversion", 3, 0.001)
    assert [path.path.name for path in told.files] == ["mp2input.bin"]


def test_reference_layers_and_every_x_are_held(tmp_path: Path) -> None:
    told = steering(tmp_path, 4)
    held = {label for label, parameter in told.parameters.items() if parameter.presigma < 0}
    references = {layer_label(s, 1, axis) for s in (1, 3) for axis in ("x", "y", "rx", "ry", "rz")}
    references |= {module_label(s, 1, m) for s in (1, 3) for m in range(8)}
    assert held == references | {layer_label(s, c, "x") for s in range(4) for c in range(3)}
    assert told.parameters[side_label(1, 1, 0, 0)].presigma == 0.05
    assert told.parameters[module_label(1, 0, 0)].presigma == 0.005
    assert told.parameters[layer_label(2, 1, "rx")].presigma == 0.005


@pytest.mark.parametrize("stations", [3, 4])
def test_sides_and_modules_add_up_to_nothing_in_each_layer(tmp_path: Path, stations: int) -> None:
    ties = [dict(constraint.terms) for constraint in steering(tmp_path, stations).constraints]
    for station in FASER.stations(stations):
        for layer in range(3):
            assert {side_label(station, layer, m, d): 1.0 for m in range(8) for d in (0, 1)} in ties
            if (station, layer) not in ((1, 1), (3, 1)):
                assert {module_label(station, layer, m): 1.0 for m in range(8)} in ties
    # The modules of the reference layers are held.
    assert len(ties) == 2 * 3 * stations - 2 + 2 + 4 + 7


def test_heights_that_bend_like_a_track_are_tied(tmp_path: Path) -> None:
    """In three stations only the middle one leaves the line through the others as a bent track does."""
    tie = next(dict(c.terms) for c in steering(tmp_path, 3).constraints if layer_label(2, 1, "y") in dict(c.terms))
    assert [tie[layer_label(2, c, "y")] for c in range(3)] == pytest.approx([1.0] * 3, abs=0.08)
    assert all(abs(factor) < 0.2 for label, factor in tie.items() if label // 100 != 3)
    assert layer_label(1, 1, "y") not in tie


# Solve

Files = Callable[..., Outputs]


@pytest.fixture
def files(tmp_path: Path, table: TrackTable) -> Files:
    """A folder with one ntuple and no constants; what a solve step shall write there."""

    def prepare(content: TrackTable = table) -> Outputs:
        write_ntuple(tmp_path / "in" / "k.root", content, fingerprint({}))
        write_constants(tmp_path / "old.txt", {})
        return Outputs(tmp_path / "fit", tmp_path / "new.txt", tmp_path / "summary.json", tmp_path / "metrics.json")

    return prepare


def run(outputs: Outputs, **options: Any) -> dict[str, Any]:
    folder = outputs.summary.parent
    return solve(find_ntuples([folder / "in"]), folder / "old.txt", outputs, Setup(4, **options))


def test_a_fit_that_ends_badly_gives_no_constants(files: Files) -> None:
    outputs = files()
    for stale in (outputs.constants, outputs.summary, outputs.metrics, outputs.folder / "millepede.res"):
        assert stale is not None
        stale.parent.mkdir(exist_ok=True)
        stale.write_text("from an earlier try")
    # Not one parameter has that many hits.
    with pytest.raises(DataError):
        run(outputs, recipe=Recipe(fit=FitOptions(entries=10**6)))
    assert not outputs.constants.exists()
    assert not outputs.summary.exists()
    assert outputs.metrics is not None
    assert not outputs.metrics.exists()
    result = outputs.folder / "millepede.res"
    assert not result.exists() or "earlier" not in result.read_text()


def test_no_track_that_passes_is_an_error_with_reasons(files: Files, table: TrackTable) -> None:
    bad = replace(table, scalars={**table.scalars, "fitParam_pz": np.full(len(table.counts), 10.0)})
    with pytest.raises(DataError, match=r"none of 60 tracks can be used; dropped by reason: \{'momentum': 60\}"):
        run(files(bad))


def test_the_file_with_an_unknown_sensor_is_named(files: Files, table: TrackTable) -> None:
    with pytest.raises(DataError, match=r"k\.root: branch fitParam_align_id"):
        run(files(with_hit(table, "fitParam_align_id", 2, 1380.0)))


def test_inputs_are_not_overwritten(files: Files) -> None:
    outputs = files()
    old = outputs.summary.with_name("old.txt")
    ntuple = outputs.summary.parent / "in" / "k.root"
    before = old.read_bytes(), ntuple.read_bytes()
    for wrong in ({"constants": old}, {"summary": old}, {"metrics": old}, {"constants": ntuple}):
        folder = outputs.summary.parent
        with pytest.raises(UsageError, match="would be overwritten: it is read"):
            solve(find_ntuples([folder / "in"]), old, replace(outputs, **wrong), Setup(4))
    with pytest.raises(UsageError, match="two outputs have this name"):
        run(replace(outputs, metrics=outputs.summary))
    with pytest.raises(UsageError, match="is a folder"):
        run(replace(outputs, constants=outputs.summary.parent))
    assert (old.read_bytes(), ntuple.read_bytes()) == before


def test_an_input_that_is_refused_costs_no_earlier_result(files: Files) -> None:
    outputs = files()
    outputs.constants.write_text("from an earlier try")
    outputs.folder.mkdir(exist_ok=True)
    foreign = outputs.folder / "millepede.py"
    foreign.touch()
    outputs.summary.with_name("old.txt").write_text("no constants")
    with pytest.raises(DataError):
        run(outputs)
    assert outputs.constants.read_text() == "from an earlier try"
    write_constants(outputs.summary.with_name("old.txt"), {})
    with pytest.raises(DataError):
        run(outputs, recipe=Recipe(fit=FitOptions(entries=10**6)))
    assert foreign.exists()


def test_a_file_in_the_place_of_the_folder(files: Files) -> None:
    outputs = files()
    outputs.folder.parent.mkdir(exist_ok=True)
    outputs.folder.write_text("")
    with pytest.raises(UsageError, match="no folder can be made: File exists"):
        run(outputs)


def test_ntuples_of_other_constants_are_refused(files: Files) -> None:
    outputs = files()
    write_constants(outputs.summary.with_name("old.txt"), {"2": (0.1, 0, 0, 0, 0, 0)})
    with pytest.raises(DataError, match="made under other constants"):
        run(outputs)


def test_ntuples_are_found_in_folders(tmp_path: Path) -> None:
    for name in ("b.root", "a.root", "c.txt"):
        (tmp_path / name).touch()
    assert find_ntuples([tmp_path]) == [tmp_path / "a.root", tmp_path / "b.root"]
    assert find_ntuples([tmp_path / "b.root"]) == [tmp_path / "b.root"]
    assert find_ntuples([tmp_path / "b.root", tmp_path]) == [tmp_path / "b.root", tmp_path / "a.root"]


def test_no_ntuples_are_an_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "a.root"):
        with pytest.raises(NotFoundError, match="no ntuple"):
            find_ntuples([place])


@pytest.mark.parametrize(
    ("presigma", "error", "state"),
    [
        (0.05, 2e-3, "determined"),
        (0.05, 4e-2, "weak"),
        (0.0, 2e-3, "determined"),
        (-1.0, 2e-3, "fixed"),
        (0.05, 0.0, "fixed"),
        # What constraints alone determine has an error of rounding, in which every shift would be large.
        (0.05, 1e-18, "fixed"),
        (0.0, 1e-18, "fixed"),
    ],
)
def test_what_data_determine(presigma: float, error: float, state: str) -> None:
    assert state_of(Setup(), error, presigma, usual=1e-3) == state
