"""When an iteration is enough."""

from __future__ import annotations

import math

import pytest

from fiducial.core.convergence import Reference, converged, references
from fiducial.core.errors import WorkflowError

METRICS = {
    1: {"fit": {"shift": [0.5], "chi2": [2.0]}, "reco": {"tracks": [10.0, 20.0, 30.0], "chi2": [1.0, 3.0, 2.0]}},
    2: {"fit": {"shift": [0.05], "chi2": [1.5]}, "reco": {"tracks": [11.0, 21.0, 31.0], "chi2": [1.0, 2.0, 1.0]}},
}


@pytest.mark.parametrize(
    ("until", "first", "second"),
    [
        ("fit.shift < 0.1", False, True),
        ("shift < 0.1", False, True),
        ("fit['shift'] < 0.1 and iteration > 1", False, True),
        ("reco.chi2 | max < 2.5", False, True),
        ("tracks | sum > 62", False, True),
        ("reco.tracks | length == 3", True, True),
        ("fit.shift | max < 1", True, True),  # one job, asked like many
        ("previous.fit.chi2 - fit.chi2 < 1", False, True),
        ("not (previous.fit.chi2 < 1)", False, True),  # there is none in the first iteration
        ("(previous.reco.tracks | sum - tracks | sum) | abs < 5", False, True),
        ("iteration >= 2", False, True),
    ],
)
def test_expressions(until: str, first: bool, second: bool) -> None:
    assert converged(until, METRICS, 1) is first
    assert converged(until, METRICS, 2) is second


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "until", ["fit.shift < 0.1", "not (fit.shift > 0.1)", "fit.shift | min < 1", "shift != 1", "fit.shift", "not (fit)"]
)
def test_what_is_no_number_has_not_converged(until: str, value: float) -> None:
    assert not converged(until, {1: {"fit": {"shift": [value]}}}, 1)
    assert not converged(until, {1: {"fit": {"shift": [0.0, value]}}}, 1)


def test_variables_are_names_too() -> None:
    metrics = {1: {"fit": {"shift": [0.2], "chi2": [2.0]}}}
    assert converged("fit.shift < threshold", metrics, 1, {"threshold": 0.3})
    assert not converged("fit.shift < threshold", metrics, 1, {"threshold": 0.1})
    assert not converged("fit.shift < limits.shift", metrics, 1, {"limits": {"shift": 0.1}})
    assert converged("shift < 0.3", metrics, 1, {"shift": 99}), "the metric goes first"
    with pytest.raises(WorkflowError, match=r"'previous\.threshold'"):
        converged("fit.shift < previous.threshold", metrics, 1, {"threshold": 0.3})


def test_a_nan_that_is_not_asked_for_does_not_matter() -> None:
    assert converged("fit.shift < 0.1", {1: {"fit": {"shift": [0.0], "chi2": [math.nan]}}}, 1)


@pytest.mark.parametrize(
    ("until", "message", "hint"),
    [
        ("fit.shfit < 1", "'fit.shfit': step 'fit' reported no metric 'shfit' in iteration 1", "did you mean 'shift'?"),
        ("ftt.shift < 1", "neither a step nor a metric 'ftt'", "did you mean 'fit'?"),
        ("xyzzy < 1", "neither a step nor a metric 'xyzzy'", "reported: fit, reco, "),
        ("previous.fit.shfit < 1", "'previous.fit.shfit'", "did you mean 'shift'?"),
        ("previous.shift < 1", "'previous.shift'", "did you mean 'shift'?"),
        ("chi2 < 1", "'chi2' is a metric of several steps: fit, reco", "write fit.chi2"),
        ("reco.chi2 < 1", "not supported", "write for example reco.chi2 | max"),
        ("fit.shift <", "template syntax", ""),
        ("fit.shift | padd", "padd", ""),
    ],
)
def test_mistakes_are_told(until: str, message: str, hint: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        converged(until, METRICS, 1)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_metrics_of_no_iteration_are_not_the_previous_ones() -> None:
    metrics = {0: {"fit": {"shift": [1.0]}}, 1: {"fit": {"shift": [1.0]}}}
    assert not converged("previous.fit.shift == fit.shift", metrics, 1)


def test_references() -> None:
    found = references("fit.a < 1 and previous.reco['b'] | max > c and fit.a")
    assert found == (Reference(("fit", "a")), Reference(("reco", "b"), True), Reference(("c",)))
    assert [str(reference) for reference in found] == ["fit.a", "previous.reco.b", "c"]
