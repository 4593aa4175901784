"""Recipes in the loop of simulation, reconstruction and fit: each converges, and finds what it should."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fiducial.alignment.constants.values import Constants, fingerprint, read_constants, write_constants
from fiducial.alignment.fit.result import read_results
from fiducial.alignment.iteration.modes import unpack_correlations
from fiducial.alignment.iteration.recipe import Recipe, find_recipe
from fiducial.alignment.iteration.solve import Outputs, find_ntuples, solve
from fiducial.alignment.iteration.summary import Setup
from fiducial.alignment.tracker.geometry import Detector
from fiducial.alignment.tracker.geometryfile import Geometry, load_geometry
from fiducial.alignment.tracker.ntuple import TrackTable, write_ntuple
from fiducial.alignment.tracker.raw import RawData
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.simulation import misalign, simulate, write_truth
from fiducial.core.errors import DataError

RESIDUAL = "fitParam_align_local_residual_x"
TELESCOPE = Path(__file__).parents[3] / "examples" / "telescope" / "geometry.toml"
THRESHOLD = 0.3


@dataclass
class Loop:
    """Data of a displaced detector, aligned by one recipe after the other."""

    folder: Path
    geometry: Geometry
    raw: list[RawData]
    truth: Constants
    constants: Constants

    @classmethod
    def begin(cls, folder: Path, geometry: Geometry, files: int, events: int) -> Loop:
        truth = misalign(geometry.detector, geometry.misalignment, seed=1)
        settings = {"beam": geometry.beam, "response": geometry.response}
        raw = [
            simulate(geometry.detector, truth, run=1, file=file, events=events, seed=1, **settings)  # type: ignore[arg-type]
            for file in range(files)
        ]
        write_truth(folder / "truth.json", truth, seed=1, misalignment=geometry.misalignment)
        return cls(folder, geometry, raw, truth, {})

    @property
    def detector(self) -> Detector:
        return self.geometry.detector

    def tracks(self, stations: int | None, constants: Constants) -> list[Any]:
        finding = self.geometry.finding
        return [reconstruct(self.detector, data, constants, stations, finding)[0] for data in self.raw]

    def ideal(self, stations: int | None) -> float:
        """Width of the residuals under true constants, um."""
        return float(np.concatenate([t.hits[RESIDUAL] for t in self.tracks(stations, self.truth)]).std() * 1e3)

    def step(self, recipe: str | Recipe, stations: int | None) -> dict[str, Any]:
        for number, table in enumerate(self.tracks(stations, self.constants)):
            write_ntuple(self.folder / "in" / f"{number}.root", table, fingerprint(self.constants))
        before, after = self.folder / "before.txt", self.folder / "after.txt"
        write_constants(before, self.constants)
        outputs = Outputs(self.folder / "fit", after, self.folder / "s.json")
        setup = Setup(stations, self.detector, find_recipe(recipe) if isinstance(recipe, str) else recipe)
        summary = solve(find_ntuples([self.folder / "in"]), before, outputs, setup, self.folder / "truth.json")
        self.constants = read_constants(after, self.detector)
        return summary

    def align(self, recipe: str, stations: int | None, most: int) -> dict[str, Any]:
        """Iterate until nothing moves, but not longer; the last summary."""
        for _ in range(most):
            summary = self.step(recipe, stations)
            if summary["convergence"]["max_shift_over_error"] < THRESHOLD:
                break
        return summary


@pytest.fixture(scope="module")
def spectrometer(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """FASER's tracker, whose three stations behind are aligned already."""
    loop = Loop.begin(tmp_path_factory.mktemp("faser"), Geometry(), files=2, events=2000)
    for _ in range(4):
        loop.step("one-fit", 3)
    return loop


@pytest.fixture
def aligned(spectrometer: Loop) -> Loop:
    return Loop(spectrometer.folder, Geometry(), spectrometer.raw, spectrometer.truth, spectrometer.constants)


def assert_good(summary: dict[str, Any], mean: float = 0.3, width: tuple[float, float] = (0.7, 1.3)) -> None:
    assert summary["convergence"]["max_shift_over_error"] < THRESHOLD
    assert abs(summary["pulls"]["mean"]) < mean
    assert width[0] < summary["pulls"]["width"] < width[1]


def test_fasers_two_steps_converge(aligned: Loop) -> None:
    aligned.constants = {}
    summary = aligned.align("faser-3st", 3, most=8)
    assert_good(summary)
    assert summary["residuals"]["width_um"] < 1.02 * aligned.ideal(3)
    assert [step["name"] for step in summary["steps"]] == ["convert", "step1", "step2"]
    assert {row["step"] for row in summary["parameters"]} == {"step1", "step2", None}


def test_fasers_two_steps_to_the_letter_do_not(aligned: Loop) -> None:
    """Residuals become good, and constants go on moving: the data hardly see the motions that are left free."""
    aligned.constants = {}
    summary = aligned.align("faser-3st-literal", 3, most=8)
    assert summary["residuals"]["width_um"] < 1.02 * aligned.ideal(3)
    assert summary["convergence"]["max_shift_over_error"] > 1.0
    assert summary["weak_modes"][0]["error"] > 0.9


def test_four_stations_converge_with_layers_first_and_then_sides(aligned: Loop) -> None:
    before = dict(aligned.constants)
    layers = aligned.align("faser-4st-layers", 4, most=8)
    assert_good(layers, mean=0.6, width=(0.2, 1.3))  # of six parameters
    sides = aligned.align("faser-4st-sides", 4, most=8)
    assert_good(sides)
    assert sides["residuals"]["width_um"] < 1.02 * aligned.ideal(4)
    assert {key: six for key, six in aligned.constants.items() if key[0] != "0"} == before


def test_four_stations_converge_with_all_of_the_front_one_at_once(aligned: Loop) -> None:
    summary = aligned.align("faser-4st", 4, most=8)
    assert_good(summary)
    assert summary["residuals"]["width_um"] < 1.02 * aligned.ideal(4)


def test_a_telescope_converges(tmp_path: Path) -> None:
    loop = Loop.begin(tmp_path, load_geometry(TELESCOPE), files=2, events=2500)
    summary = loop.align("planes", None, most=4)
    assert_good(summary, width=(0.5, 1.4))  # of eighteen parameters, of which six are tied
    assert summary["residuals"]["width_um"] < 1.02 * loop.ideal(None)
    assert (summary["detector"], summary["recipe"], summary["stations"]) == ("telescope", "planes", 1)
    assert_planes_are_found(loop)


def assert_planes_are_found(loop: Loop) -> None:
    """Distances of planes from the line through all of them are those of the truth, to a fraction of a um."""
    keys = sorted(loop.detector.keys[1])
    z = np.array([loop.detector.layer_z[key] for key in keys])
    for axis, precision in ((0, 1e-3), (1, 1e-3), (5, 1e-4)):
        difference = np.array([loop.constants[key][axis] - loop.truth[key][axis] for key in keys])
        assert np.abs(difference - np.polyval(np.polyfit(z, difference, 1), z)).max() < precision


def test_the_files_of_every_step_are_kept_and_the_results_merged(aligned: Loop) -> None:
    summary = aligned.step("faser-3st-literal", 3)
    fit = aligned.folder / "fit"
    first, merged = read_results(fit / "step1" / "millepede.res"), read_results(fit / "millepede.res")
    assert first.keys() == merged.keys()
    for row in summary["parameters"]:
        line = merged[row["label"]]
        assert line.value == pytest.approx(row["shift"], rel=1e-4, abs=1e-12)
        if row["step"] == "step1":
            assert (line.value, line.error) == (first[row["label"]].value, first[row["label"]].error)
    for name in ("mp2str.txt", "mp2par.txt", "mp2con.txt", "millepede.end", "millepede.log"):
        assert (fit / name).exists()
        assert (fit / "step1" / name).exists()
    assert "../mp2input.bin" in (fit / "step1" / "mp2str.txt").read_text()


def test_the_summary_tells_time_memory_correlations_and_weak_modes(aligned: Loop) -> None:
    summary = aligned.step("faser-4st", 4)
    json.dumps(summary, allow_nan=False)
    convert, front = summary["steps"]
    assert convert["seconds"] > 0.0
    assert front["free"] == 84
    assert front["constraints"] == 8
    (stored,) = summary["correlations"]
    labels, matrix = unpack_correlations(stored)
    free = [row["label"] for row in summary["parameters"] if row["step"] == "front"]
    assert labels.tolist() == free
    np.testing.assert_allclose(np.diag(matrix), 1.0)
    modes = summary["weak_modes"]
    assert len(modes) == 5
    assert [mode["error"] for mode in modes] == sorted((mode["error"] for mode in modes), reverse=True)


def test_a_method_without_errors_is_refused(aligned: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would move by more than its error, and the alignment would pass for converged."""
    # Small systems would be solved exactly, with errors.
    monkeypatch.setattr("fiducial.alignment.fit.linear.methods._SMALL", 0)
    recipe = find_recipe("one-fit")
    without = recipe.model_copy(update={"fit": recipe.fit.model_copy(update={"method": "sparseMINRES"})})
    with pytest.raises(DataError, match="step fit: method sparseMINRES gives no errors"):
        aligned.step(without, 3)
    assert not (aligned.folder / "after.txt").exists()


def test_a_fit_done_twice_adds_its_corrections_once(aligned: Loop) -> None:
    """A try after another in the same folder, as after a crash, begins with the same constants."""
    begun = dict(aligned.constants)
    aligned.step("one-fit", 3)
    once, aligned.constants = aligned.constants, begun
    aligned.step("one-fit", 3)
    assert aligned.constants == once != begun


def test_recipes_leave_nothing_of_an_earlier_try(aligned: Loop) -> None:
    stale: Sequence[Path] = [aligned.folder / "fit" / "step1" / "millepede.res", aligned.folder / "s.json"]
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from an earlier try")
    aligned.step("faser-3st-literal", 3)
    assert all("earlier" not in path.read_text() for path in stale)


def test_a_module_of_which_one_side_is_dead_keeps_its_height(aligned: Loop) -> None:
    """What has no hits is not known to be where it was: the other side alone moves the module."""
    summary = refit(aligned, lambda sensor: sensor == 2130)
    found = read_constants(aligned.folder / "after.txt")["213"]
    (side,) = (row for row in summary["parameters"] if row["key"] == "213" and row["side"] == 1)
    assert found[0] == side["shift"] != 0.0
    assert found[1] == 0.0


def refit(loop: Loop, dead: Callable[[int], bool]) -> dict[str, Any]:
    """One iteration from the nominal place with the hits of some sensors lost."""
    for number, table in enumerate(loop.tracks(3, {})):
        lost = [dead(int(sensor)) for sensor in table.hits["fitParam_align_id"]]
        assert any(lost)
        write_ntuple(loop.folder / "in" / f"{number}.root", without(table, np.array(lost)), fingerprint({}))
    write_constants(loop.folder / "before.txt", {})
    outputs = Outputs(loop.folder / "fit", loop.folder / "after.txt", loop.folder / "s.json")
    return solve(find_ntuples([loop.folder / "in"]), loop.folder / "before.txt", outputs, Setup(3))


def without(table: TrackTable, lost: NDArray[np.bool_]) -> TrackTable:
    counts = np.bincount(table.track[~lost], minlength=len(table.counts))
    return TrackTable(table.scalars, counts, {name: column[~lost] for name, column in table.hits.items()})


def test_presigmas_that_leave_nothing_to_the_data_are_no_convergence(aligned: Loop) -> None:
    recipe = find_recipe("one-fit")
    tight = recipe.model_copy(update={"presigma": recipe.presigma.model_copy(update={"shift": 1e-6, "turn": 1e-9})})
    with pytest.raises(DataError, match=r"no parameter is determined: all errors are above 0\.2 of the presigmas"):
        aligned.step(tight, 3)
    assert not (aligned.folder / "after.txt").exists()
