"""Correlations and weak modes of a fit, and what a step of work took."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fiducial.alignment.iteration.meter import metered
from fiducial.alignment.iteration.modes import correlations, unpack_correlations, weak_modes


def result(covariance: Any, presigmas: list[float]) -> Any:
    """A result with parameters 10, 20, ..., of which the first is fixed."""
    covariance = np.asarray(covariance, float)
    count = len(covariance) + 1
    return SimpleNamespace(
        labels=10 * np.arange(1, count + 1),
        variable=np.arange(1, count),
        presigmas=np.array([-1.0, *presigmas]),
        covariance=covariance,
    )


def test_correlations_are_kept_to_a_percent() -> None:
    draw = np.random.default_rng(1)
    root = draw.normal(size=(12, 12))
    covariance = root @ root.T
    labels, matrix = unpack_correlations(correlations(result(covariance, [1.0] * 12)))
    errors = np.sqrt(np.diag(covariance))
    assert labels.tolist() == list(range(20, 140, 10))
    np.testing.assert_allclose(matrix, covariance / np.outer(errors, errors), atol=0.0051)
    np.testing.assert_array_equal(matrix, matrix.T)


def test_parameters_without_an_error_have_no_correlation() -> None:
    labels, matrix = unpack_correlations(correlations(result(np.diag([1.0, 0.0, 4.0]), [1.0] * 3)))
    assert labels.tolist() == [20, 40]
    np.testing.assert_array_equal(matrix, np.eye(2))


def test_a_method_without_errors_has_neither() -> None:
    nothing = result(np.eye(2), [1.0, 1.0])
    nothing.covariance = None
    assert unpack_correlations(correlations(nothing))[0].tolist() == []
    assert weak_modes(nothing) == []


@pytest.mark.parametrize("percent", ["AAAA", "eJxjAAAAAQAB"])
def test_damaged_correlations_are_refused(percent: str) -> None:
    with pytest.raises(ValueError, match="correlations"):
        unpack_correlations({"labels": [1, 2, 3], "percent": percent})


def test_the_worst_mode_is_the_one_with_the_largest_error_in_units_of_presigmas() -> None:
    """Two parameters whose sum is hardly known: variance 0.5 along it, 0.02 across."""
    along, across = np.array([1.0, 1.0]) / 2**0.5, np.array([1.0, -1.0]) / 2**0.5
    scaled = 0.5 * np.outer(along, along) + 0.02 * np.outer(across, across)
    units = np.array([0.05, 0.005])
    modes = weak_modes(result(scaled * np.outer(units, units), [0.05, 0.005]))
    assert [mode["error"] for mode in modes] == pytest.approx([0.5**0.5, 0.02**0.5])
    assert modes[0]["eigenvalue"] == pytest.approx(2.0)
    assert sorted(modes[0]["labels"]) == [20, 30]
    assert modes[0]["components"] == pytest.approx([0.7071, 0.7071])


def test_small_parts_of_a_mode_are_not_told() -> None:
    modes = weak_modes(result(np.diag([0.1, 0.2, 0.3]), [1.0] * 3), most=2)
    assert [mode["labels"] for mode in modes] == [[40], [30]]


def test_time_and_memory_of_a_part_are_measured() -> None:
    steps: list[dict[str, Any]] = []
    with metered(steps, "large") as step:
        step["hits"] = 7
        block = np.ones(30_000_000)
    with metered(steps, "small"):
        del block
    large, small = steps
    assert (large["name"], large["hits"]) == ("large", 7)
    assert large["seconds"] > 0.0
    if large["peak_mib"] is not None:  # the system can tell
        assert large["peak_mib"] > 228.0
        assert small["peak_mib"] <= large["peak_mib"]
