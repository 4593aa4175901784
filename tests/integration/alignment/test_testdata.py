"""The fit finds what was put into the test experiments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.fit.millepede import fit
from fiducial.alignment.testdata import generate

MODELS_OF_ALL_SCATTERING = ["wire", "BP", "BRLF", "BRLC"]


@pytest.mark.parametrize("model", MODELS_OF_ALL_SCATTERING)
def test_the_truth_is_found_within_the_errors(model: str, tmp_path: Path) -> None:
    # So many that every module has hits enough: one that is kept where it is would pull at the others.
    made = generate(tmp_path, model, records=5_000 if model == "wire" else 20_000)
    made.steering.write_text(made.steering.read_text().replace("*entries 50", "entries 10"))
    result = fit(made.steering)
    truth = np.array([made.truth[label] for label in result.labels.tolist()])
    pulls = ((result.values - truth) / result.errors)[result.variable]
    assert result.verdict == 0
    assert abs(result.chi2_per_ndf - 1) < 0.01
    assert 0.9 < pulls.std() < 1.1
    assert np.abs(pulls).max() < 5


def test_a_model_without_scattering_is_told_by_chi2(tmp_path: Path) -> None:
    result = fit(generate(tmp_path, "SL0").steering)
    assert result.verdict == 1
    assert 1.6 < result.chi2_per_ndf < 1.9


def test_scattering_in_the_errors_alone_makes_chi2_small(tmp_path: Path) -> None:
    result = fit(generate(tmp_path, "SLE").steering)
    assert result.verdict == 1
    assert 0.25 < result.chi2_per_ndf < 0.45
