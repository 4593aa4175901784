"""Raw files, reconstruction and ntuples of a tracker; damage is named."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path

import awkward
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from fiducial.alignment.tracker.geometry import FASER, place, sensor_ids
from fiducial.alignment.tracker.ntuple import HIT_BRANCHES, SCALAR_BRANCHES, TrackTable, read_ntuple, write_ntuple
from fiducial.alignment.tracker.raw import RawData, raw_path, read_raw, write_raw
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.simulation import (
    Beam,
    Misalignment,
    Response,
    misalign,
    read_truth,
    scatter,
    simulate,
    write_truth,
)
from fiducial.core.errors import DataError, NotFoundError

SENSORS = len(sensor_ids(FASER))
ROOT_MADE = Path(__file__).parents[2] / "data" / "ntuple"
TRUTH = misalign(FASER, Misalignment(), seed=1)


@pytest.fixture(scope="module")
def raw() -> RawData:
    return simulate(FASER, TRUTH, run=11705, file=450, events=200, seed=1)


@pytest.fixture(scope="module")
def table(raw: RawData) -> TrackTable:
    return reconstruct(FASER, raw, TRUTH, 4)[0]


@pytest.fixture
def raw_file(tmp_path: Path, raw: RawData) -> Path:
    path = raw_path(tmp_path, 2023, raw.run, raw.file)
    write_raw(path, raw)
    return path


def read(path: Path) -> RawData:
    return read_raw(path, FASER.channels)


def same(first: RawData, second: RawData) -> bool:
    arrays = zip((first.counts, first.sensor, first.strip), (second.counts, second.sensor, second.strip), strict=True)
    return (first.run, first.file) == (second.run, second.file) and all(np.array_equal(a, b) for a, b in arrays)


# Raw files


def test_a_raw_file_lies_where_the_experiment_puts_it(tmp_path: Path, raw_file: Path) -> None:
    assert raw_file == tmp_path / "2023" / "011705" / "Faser-Physics-011705-00450.raw"


@given(hits=st.lists(st.lists(st.tuples(st.integers(0, SENSORS - 1), st.integers(0, 767)), max_size=5), max_size=5))
def test_a_raw_file_holds_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, hits: list[list[tuple[int, int]]]
) -> None:
    flat = np.array([hit for event in hits for hit in event], dtype=np.int64).reshape(-1, 2)
    data = RawData(7, 3, np.array([len(event) for event in hits], dtype=np.int64), flat[:, 0], flat[:, 1])
    path = tmp_path_factory.mktemp("raw") / "some.raw"
    write_raw(path, data)
    assert same(read(path), data)


def test_a_missing_raw_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.raw: no such raw file"):
        read(tmp_path / "none.raw")


def test_an_empty_raw_file_is_refused(raw_file: Path) -> None:
    raw_file.write_bytes(b"")
    with pytest.raises(DataError, match=r"empty \(0 bytes\)"):
        read(raw_file)


@pytest.mark.parametrize("kept", [4, 20, 100, -1])
def test_a_cut_raw_file_is_refused_where_it_ends(raw_file: Path, kept: int) -> None:
    content = raw_file.read_bytes()
    raw_file.write_bytes(content[:kept])
    with pytest.raises(DataError, match=f"cut at byte {len(content[:kept])}"):
        read(raw_file)


def test_a_raw_file_with_something_behind_it_is_refused(raw_file: Path) -> None:
    size = raw_file.stat().st_size
    raw_file.write_bytes(raw_file.read_bytes() + b"more")
    with pytest.raises(DataError, match=f"too long at byte {size} of {size}"):
        read(raw_file)


def test_a_foreign_file_is_refused(raw_file: Path) -> None:
    raw_file.write_bytes(b"root\0\0\0 and more than a header of it")
    with pytest.raises(DataError, match="byte 0 does not begin"):
        read(raw_file)


def test_a_later_version_is_refused(raw_file: Path) -> None:
    content = bytearray(raw_file.read_bytes())
    content[8:12] = struct.pack("<I", 2)
    raw_file.write_bytes(content)
    with pytest.raises(DataError, match="version 2 of the format at byte 8"):
        read(raw_file)


def test_a_flipped_bit_is_noticed(raw_file: Path) -> None:
    content = bytearray(raw_file.read_bytes())
    content[200] ^= 1
    raw_file.write_bytes(content)
    with pytest.raises(DataError, match=f"checksum at byte {len(content) - 4}"):
        read(raw_file)


def test_a_raw_file_of_another_run_is_refused(raw_file: Path) -> None:
    other = raw_file.with_name("Faser-Physics-011706-00450.raw")
    shutil.copy(raw_file, other)
    with pytest.raises(DataError, match=r"holds run 11705 file 450 .*, its name says run 11706 file 450"):
        read(other)


def test_a_hit_outside_the_tracker_is_refused(tmp_path: Path, raw: RawData) -> None:
    strip = raw.strip.copy()
    strip[3] = 768
    write_raw(tmp_path / "x.raw", replace(raw, strip=strip))
    where = 28 + 2 * len(raw.counts) + 4 * 3
    with pytest.raises(DataError, match=f"strip 768 at byte {where} is not part"):
        read(tmp_path / "x.raw")


def test_counts_that_do_not_add_up_are_refused(tmp_path: Path, raw: RawData) -> None:
    write_raw(tmp_path / "x.raw", replace(raw, counts=raw.counts + 1))
    with pytest.raises(DataError, match=r"events count \d+ hits, there are"):
        read(tmp_path / "x.raw")


# Simulation


def test_a_file_can_be_simulated_again_alone(raw: RawData) -> None:
    assert same(raw, simulate(FASER, TRUTH, run=11705, file=450, events=200, seed=1))


@pytest.mark.parametrize("other", [{"file": 451}, {"run": 11706}, {"seed": 2}])
def test_files_runs_and_seeds_differ(raw: RawData, other: dict[str, int]) -> None:
    numbers = {"run": 11705, "file": 450, "seed": 1, **other}
    again = simulate(FASER, TRUTH, events=200, **numbers)
    assert not np.array_equal(raw.strip, again.strip)


def test_every_level_is_displaced() -> None:
    assert [sum(len(key) == depth for key in TRUTH) for depth in (1, 2, 3, 4)] == [4, 12, 96, 192]
    assert all(all(six) for six in TRUTH.values())
    assert not any(any(six) for six in misalign(FASER, Misalignment().scaled(0.0), seed=1).values())


def test_strips_are_inefficient_and_noisy() -> None:
    perfect = simulate(FASER, {}, run=1, file=1, events=300, seed=1, response=Response(1.0, 0.0))
    dead = simulate(FASER, {}, run=1, file=1, events=300, seed=1, response=Response(0.0, 1e-5))
    # A muon crosses the 24 sides and, where modules overlap, one or the other more.
    assert 22.0 < perfect.counts.mean() < 26.0
    expected = 1e-5 * 300 * SENSORS * 768
    assert abs(len(dead.strip) - expected) < 5 * expected**0.5


def test_scattering_grows_with_material_and_falls_with_momentum() -> None:
    """Highland: 13.6 MeV / 100 GeV * sqrt(0.012) * (1 + 0.038 ln 0.012) = 12.4 urad."""
    state = np.zeros((20_000, 5))
    state[:, 4] = 1 / 100
    scatter(state, 500.0, 0.012, np.random.default_rng(1))
    assert state[:, 2].std() == pytest.approx(12.4e-6, rel=0.03)
    np.testing.assert_allclose(state[:, 0] + state[:, 2] * 500.0, 0.0, atol=1e-15)


def test_momenta_stay_in_their_limits() -> None:
    beam = Beam(momentum=400.0, spread=1.0, lowest=300.0, highest=500.0)
    data = simulate(FASER, {}, run=1, file=1, events=300, seed=1, beam=beam, response=Response(1.0, 0.0))
    found, _ = reconstruct(FASER, data, {}, 4)
    assert (
        270.0 < np.percentile(found.scalars["fitParam_pz"], 1) < np.percentile(found.scalars["fitParam_pz"], 99) < 560.0
    )


def test_the_truth_is_written_and_read(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth.json", TRUTH, seed=1, misalignment=Misalignment())
    assert read_truth(tmp_path / "truth.json") == TRUTH


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "fiducial-alignment-truth"}'])
def test_a_foreign_truth_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(DataError, match=r"truth\.json"):
        read_truth(tmp_path / "truth.json")


def test_a_missing_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such truth file"):
        read_truth(tmp_path / "truth.json")


# Reconstruction


def test_true_constants_give_residuals_of_the_strips_width() -> None:
    response = Response(efficiency=0.985, noise=0.0)
    data = simulate(FASER, TRUTH, run=1, file=1, events=400, seed=1, response=response)
    table, _ = reconstruct(FASER, data, TRUTH, 4)
    residual = table.hits["fitParam_align_local_residual_x"]
    ndf = table.scalars["fitParam_ndf"]
    assert table.scalars["fitParam_chi2"].sum() / ndf.sum() == pytest.approx(1.0, abs=0.06)
    assert residual.std() == pytest.approx(FASER.resolution[0] * (1 - 5 / table.counts.mean()) ** 0.5, rel=0.04)


def test_nearly_every_muon_is_found(raw: RawData, table: TrackTable) -> None:
    assert len(table.counts) >= 0.98 * len(raw.counts)
    assert np.median(table.scalars["fitParam_pz"]) == pytest.approx(1000.0, rel=0.15)
    assert abs(table.scalars["fitParam_charge"].mean()) < 0.3


def test_three_stations_leave_the_first_one_out(raw: RawData) -> None:
    found, _ = reconstruct(FASER, raw, TRUTH, 3)
    assert found.hits["fitParam_align_id"].min() >= 1000


def test_noise_alone_makes_no_track() -> None:
    data = simulate(FASER, {}, run=1, file=1, events=50, seed=1, response=Response(0.0, 1e-5))
    with pytest.raises(DataError, match="run 1 file 1: no track in 50 events"):
        reconstruct(FASER, data, {}, 4)


def test_tracks_and_lost_events_add_up() -> None:
    data = simulate(FASER, {}, run=1, file=1, events=200, seed=1, response=Response(0.4, 1e-5))
    found, lost = reconstruct(FASER, data, {}, 3)
    assert lost["hits"] > 0
    assert len(found.counts) + sum(lost.values()) == 200


def test_hits_on_one_kind_of_side_do_not_determine_a_track() -> None:
    """Without the other stereo angle there is no horizontal coordinate."""
    data = simulate(FASER, {}, run=1, file=1, events=20, seed=1, response=Response(1.0, 0.0))
    axes = place(FASER, {}).axes[data.sensor]
    kept = axes[:, 0, 0] > 0
    event = np.repeat(np.arange(20), data.counts)[kept]
    half = RawData(1, 1, np.bincount(event, minlength=20), data.sensor[kept], data.strip[kept])
    with pytest.raises(DataError, match="no track"):
        reconstruct(FASER, half, {}, 4)


# Ntuples


def test_an_ntuple_holds_what_was_written(tmp_path: Path, table: TrackTable) -> None:
    write_ntuple(tmp_path / "a.root", table)
    blocks = list(read_ntuple(tmp_path / "a.root", block=64))
    assert len(blocks) == -(-len(table.counts) // 64)
    np.testing.assert_array_equal(np.concatenate([block.counts for block in blocks]), table.counts)
    for name in SCALAR_BRANCHES:
        np.testing.assert_array_equal(np.concatenate([block.scalars[name] for block in blocks]), table.scalars[name])
    for name in HIT_BRANCHES:
        np.testing.assert_array_equal(np.concatenate([block.hits[name] for block in blocks]), table.hits[name])


def test_an_ntuple_has_the_28_branches_of_the_experiment(tmp_path: Path, table: TrackTable) -> None:
    write_ntuple(tmp_path / "a.root", table)
    assert len({*SCALAR_BRANCHES, *HIT_BRANCHES}) == 28
    with uproot.open(tmp_path / "a.root") as file:
        assert {*SCALAR_BRANCHES, *HIT_BRANCHES, "fitParam_ndf"} <= set(file["tree"].keys())
        assert {file["tree"][name].typename for name in HIT_BRANCHES} == {"double[]"}


def test_vectors_that_root_wrote_are_read() -> None:
    """A file with std::vector<double>, as FASER's are; tests/data/ntuple/with_root.py made it."""
    path = ROOT_MADE / "kfalignment_vector.root"
    with uproot.open(path) as file:
        assert {file["tree"][name].typename for name in HIT_BRANCHES} == {"std::vector<double>"}
    (whole,) = read_ntuple(path)
    data = simulate(FASER, misalign(FASER, Misalignment(), seed=1), run=1, file=1, events=12, seed=1)
    expected, _ = reconstruct(FASER, data, {}, 3)
    assert whole.counts.tolist() == expected.counts.tolist()
    for name in HIT_BRANCHES:
        np.testing.assert_allclose(whole.hits[name], expected.hits[name], rtol=1e-9, atol=1e-9)
    blocks = list(read_ntuple(path, block=5))
    assert [len(block.counts) for block in blocks] == [5, 5, 2]
    np.testing.assert_array_equal(
        np.concatenate([block.hits[HIT_BRANCHES[0]] for block in blocks]), whole.hits[HIT_BRANCHES[0]]
    )


def test_branches_of_another_type_are_refused(tmp_path: Path, table: TrackTable) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("tree", {"fitParam_align_id": np.float64, "fitParam_x": "var * float64"})
        file["tree"].extend({"fitParam_align_id": np.zeros(2), "fitParam_x": awkward.Array([[1.0], [2.0]])})
    with pytest.raises(DataError, match=r"branch fitParam_align_id is double, and should be a list of numbers"):
        list(read_ntuple(tmp_path / "a.root", ["fitParam_align_id"]))
    with pytest.raises(DataError, match=r"branch fitParam_x is double\[\], and should be one number"):
        list(read_ntuple(tmp_path / "a.root", ["fitParam_x"]))


def test_further_branches_do_no_harm(tmp_path: Path, table: TrackTable) -> None:
    more = {**table.scalars, "fitParam_nMeasurements": np.zeros(len(table.counts))}
    write_ntuple(tmp_path / "a.root", replace(table, scalars=more))
    (found,) = read_ntuple(tmp_path / "a.root")
    assert set(found.scalars) == set(SCALAR_BRANCHES)


def test_only_the_finished_file_is_left(tmp_path: Path, table: TrackTable) -> None:
    write_ntuple(tmp_path / "a.root", table)
    assert [path.name for path in tmp_path.iterdir()] == ["a.root"]


def test_a_missing_ntuple_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such ntuple"):
        list(read_ntuple(tmp_path / "a.root"))


def test_an_empty_ntuple_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.root").touch()
    with pytest.raises(DataError, match=r"a\.root: empty"):
        list(read_ntuple(tmp_path / "a.root"))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_a_cut_ntuple_is_refused(tmp_path: Path, table: TrackTable, share: float) -> None:
    write_ntuple(tmp_path / "a.root", table)
    content = (tmp_path / "a.root").read_bytes()
    (tmp_path / "a.root").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.root: (not a complete ROOT file|cut at byte)"):
        list(read_ntuple(tmp_path / "a.root"))


def test_a_foreign_ntuple_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.root").write_text("no ROOT file\n" * 100)
    with pytest.raises(DataError, match=r"a\.root: not a complete ROOT file"):
        list(read_ntuple(tmp_path / "a.root"))


def test_an_ntuple_without_the_tree_is_refused(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["other"] = "text"
    with pytest.raises(DataError, match=r"has no tree \"tree\", but \['other'\]"):
        list(read_ntuple(tmp_path / "a.root"))


def test_a_missing_branch_is_named(tmp_path: Path, table: TrackTable) -> None:
    hits = {name: column for name, column in table.hits.items() if name != "fitParam_align_id"}
    write_ntuple(tmp_path / "a.root", replace(table, hits=hits))
    with pytest.raises(DataError, match="lacks the branch fitParam_align_id"):
        list(read_ntuple(tmp_path / "a.root"))


def test_an_ntuple_without_tracks_is_refused(tmp_path: Path, table: TrackTable) -> None:
    nothing = TrackTable(
        {name: column[:0] for name, column in table.scalars.items()},
        table.counts[:0],
        {name: column[:0] for name, column in table.hits.items()},
    )
    write_ntuple(tmp_path / "a.root", nothing)
    with pytest.raises(DataError, match="holds no track"):
        list(read_ntuple(tmp_path / "a.root"))


def test_a_number_that_is_none_is_found(tmp_path: Path, table: TrackTable) -> None:
    residual = table.hits["fitParam_align_local_residual_x"].copy()
    residual[table.counts[:70].sum()] = np.nan
    write_ntuple(tmp_path / "a.root", replace(table, hits={**table.hits, "fitParam_align_local_residual_x": residual}))
    with pytest.raises(DataError, match="branch fitParam_align_local_residual_x, entry 70: nan"):
        list(read_ntuple(tmp_path / "a.root", block=64))


def test_an_infinite_number_of_a_track_is_found(tmp_path: Path, table: TrackTable) -> None:
    chi2 = table.scalars["fitParam_chi2"].copy()
    chi2[5] = np.inf
    write_ntuple(tmp_path / "a.root", replace(table, scalars={**table.scalars, "fitParam_chi2": chi2}))
    with pytest.raises(DataError, match="branch fitParam_chi2, entry 5: inf"):
        list(read_ntuple(tmp_path / "a.root"))


def test_tracks_made_under_other_constants_are_refused(tmp_path: Path, table: TrackTable) -> None:
    write_ntuple(tmp_path / "a.root", table, "00000001")
    assert list(read_ntuple(tmp_path / "a.root", constants="00000001"))
    with pytest.raises(DataError, match=r"made under other constants \(checksum 00000001, not 11e60398\)"):
        list(read_ntuple(tmp_path / "a.root", constants="11e60398"))


def test_branches_that_count_differently_are_refused(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        lists = {"one": awkward.Array([[1.0], [2.0, 3.0]]), "two": awkward.Array([[1.0], [2.0]])}
        file.mktree("tree", {name: lists[name].type.content for name in lists})
        file["tree"].extend(lists)
    with pytest.raises(DataError, match="branch two, entry 1: not as many hits"):
        list(read_ntuple(tmp_path / "a.root", ["one", "two"]))
