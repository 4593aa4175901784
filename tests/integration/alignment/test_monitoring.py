"""Residuals by label and histograms, against pede's and against what they must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.fit.millepede import fit, fit_into
from fiducial.alignment.fit.outputs.his import Histogram
from fiducial.alignment.testdata import generate
from pede_reference import DATA, unpack


@pytest.mark.parametrize("name", ["wire", "SL0"])
def test_monitored_residuals_are_pedes(name: str, tmp_path: Path) -> None:
    fit_into(unpack(name, tmp_path) / "mp2str_monres.txt", tmp_path)
    ours = (tmp_path / "millepede.mon").read_text().splitlines()
    theirs = (DATA / name / "millepede_monres.mon").read_text().splitlines()
    assert len(ours) == len(theirs)
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    # A residual that lies on the edge of a bin may fall to the other side.
    assert len(different) <= len(ours) // 200, different[:5]


def steering(folder: Path, options: str, records: int = 3000) -> Path:
    made = generate(folder, "BRLC", records=records)
    made.steering.write_text(options + made.steering.read_text())
    return made.steering


@pytest.mark.parametrize(("mode", "loops"), [(1, [1]), (2, [3]), (3, [1, 3]), (-1, [1, 2, 3])])
def test_which_loops_are_monitored(mode: int, loops: list[int], tmp_path: Path) -> None:
    result = fit(steering(tmp_path, f"monitorpulls {mode} 200\n"))
    assert result.loops == 3
    assert result.monitored is not None
    assert [loop for loop, _ in result.monitored.loops] == loops
    assert result.monitored.loops[0][1].shape == (len(result.monitored.labels), 200)


def test_pulls_are_as_wide_as_their_errors_say(tmp_path: Path) -> None:
    result = fit(steering(tmp_path, "monitorpulls\nhistprint\nentries 5\n", 6000))
    pulls = {(h.number, h.version): h for h in result.histograms}
    first, last = (pulls[13, version].mean_and_sigma for version in (0, 1))
    kinks = pulls[14, 1].mean_and_sigma
    assert first is not None
    assert last is not None
    assert kinks is not None
    assert first[1] > 1.2  # before the fit, modules are not where they are thought to be
    assert abs(last[1] - 1) < 0.03
    assert abs(kinks[1] - 1) < 0.03
    assert abs(last[0]) < 0.01
    chi2 = pulls[4, 1].mean_and_sigma
    assert chi2 is not None
    assert abs(chi2[0] - 1) < 0.05


def test_without_being_asked_it_looks_at_few_records(tmp_path: Path) -> None:
    few = fit(steering(tmp_path / "few", "", 4000), sampled=True)
    all_ = fit(steering(tmp_path / "all", "histprint\n", 4000))
    assert (few.draw, all_.draw) == (False, True)
    entries = [next(h for h in result.histograms if h.number == 5).entries for result in (few, all_)]
    assert entries[0] <= entries[1] == 4000
    assert all(isinstance(h, Histogram) for h in few.histograms)
    assert np.array_equal(few.values, all_.values)


def test_outliers_do_not_change_what_is_looked_at(tmp_path: Path) -> None:
    """Records that are cut are in the histograms all the same, as in pede."""
    result = fit(steering(tmp_path, "histprint\nchisqcut 100.0 10.0\n", 3000))
    assert sum(result.rejects.values()) > 0
    assert {h.entries for h in result.histograms if h.number == 5} == {3000}
