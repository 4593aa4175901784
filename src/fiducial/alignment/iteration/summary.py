"""What one iteration of an alignment found, for people, pages and the workflow's decisions.

The summary (``summary.json``)::

    format, version      "fiducial-alignment-summary", 1
    detector             name of the geometry, "faser" for the built-in one
    recipe               name of the recipe
    stations             how many of the detector's stations took part, e.g. 3 or 4 of FASER's
    inputs               ntuples that were read
    constants            {"before": {"path", "adler32"}, "after": {...}}
    tracks, hits         {"read", "used", "dropped": {reason: number}}
    residuals            of the constants before: {"hits", "width_um", "mean_um", "layers": [{"layer", "hits",
                         "width_um", "mean_um"}], "histogram": {"edges_um", "counts", "outside"}}; over all hits of the
                         tracks that passed the cuts on tracks, also those with large residuals; widths are about zero
    track_chi2_ndf       of the same tracks, with the constants before
    fit                  {"verdict", "message", "loops", "chi2", "ndf", "chi2_ndf", "rejects": {reason: number}}, of the
                         last step of the recipe
    steps                [{"name", "seconds", "peak_mib"}], the conversion first (its name is "convert"), then each step
                         of the recipe's fits, which have besides {"folder", "free", "constraints", "verdict",
                         "message", "loops", "chi2", "ndf", "chi2_ndf", "rejects"}; seconds are wall time, peak_mib the
                         largest resident memory of the whole process during it, and null where the system cannot
                         tell; free and constraints are numbers of parameters and constraints in force, folder is
                         relative to the fit's own
    correlations         [{"step", "labels", "percent"}] for each step of fits, to be read with
                         :func:`fiducial.alignment.iteration.modes.unpack_correlations`; between steps there is none
    weak_modes           [{"step", "eigenvalue", "error", "labels", "components"}], the five worst of each step, worst
                         first: motions of many parameters that the data hardly see. Components have length one together
                         and count each parameter in units of its presigma, as the error does; eigenvalue is 1 / error²,
                         and 1 where nothing but the presigma decides
    convergence          {"max_shift_over_error", "label", "determined", "weak": [label], "fixed", "definition"}
    pulls                null, or {"mean", "width", "parameters", "definition"}
    parameters           [{"label", "key", "side", "axis", "unit", "state", "step", "shift", "error", "presigma",
                         "entries", "true_shift", "pull"}]; state is "determined", "weak" or "fixed", which what
                         constraints alone determine is, too; step is the name of the one whose fit had it free; step,
                         side and the last two may be null; true_shift is in the gauge of the fit (see
                         :mod:`fiducial.alignment.tracker.projection`)

Lengths are in mm and angles in rad where the name does not say otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np

from fiducial.alignment.iteration.convert import Counts
from fiducial.alignment.iteration.modes import correlations, weak_modes
from fiducial.alignment.iteration.recipe import Recipe, find_recipe
from fiducial.alignment.iteration.steeringfiles import Plan
from fiducial.alignment.tracker.geometry import FASER, Detector
from fiducial.alignment.tracker.residuals import Residuals

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["DEFAULT_RECIPE", "Fitted", "Gathered", "Setup", "fit_summary", "metrics", "state_of", "summarize"]

_FORMAT = {"format": "fiducial-alignment-summary", "version": 1}

#: Errors below this part of the presigma are what is left of a difference that is zero.
_ROUNDING = 1e-6

#: What is done unless another recipe is asked for.
DEFAULT_RECIPE = "one-fit"


@dataclass(frozen=True)
class Setup:
    """How a solve step works.

    Args:
        stations: how many of them, counted from the last; by default the usual ones of the detector.
        detector: the tracker.
        recipe: what is fitted, and with which tracks.
        threads: of the fit.
        pede: name or path of an external pede that fits; by default nothing but our own fit.
    """

    stations: int | None = None
    detector: Detector = FASER
    recipe: Recipe = field(default_factory=lambda: find_recipe(DEFAULT_RECIPE))
    threads: int = 1
    pede: str | None = None

    @cached_property
    def plan(self) -> Plan:
        """The recipe for this detector."""
        return Plan(self.detector, self.detector.stations(self.stations), self.recipe)


@dataclass(frozen=True)
class Fitted:
    """What the steps of a recipe found together.

    Args:
        result: with the values, errors and presigmas of each parameter from the step that fitted it last; the rest is
            that of the last step.
        step: name of the step that fitted a parameter last, by label.
        results: of each step, by name.
    """

    result: FitResult
    step: dict[int, str]
    results: dict[str, FitResult]

    @property
    def values(self) -> dict[int, float]:
        """Value by label."""
        return dict(zip(self.result.labels.tolist(), self.result.values.tolist(), strict=True))


class Gathered:
    """What the conversion of all ntuples adds up to.

    Args:
        detector: the tracker.
    """

    def __init__(self, detector: Detector) -> None:
        self.residuals = Residuals(detector)
        self.counts = Counts(0, 0, 0, 0, Counter(), Counter())
        self.chi2 = 0.0
        self.ndf = 0

    def to_json(self) -> dict[str, Any]:
        """The part of the summary that speaks of tracks and hits."""
        counts = self.counts
        return {
            "tracks": {"read": counts.tracks, "used": counts.used_tracks, "dropped": dict(counts.dropped_tracks)},
            "hits": {"read": counts.hits, "used": counts.used_hits, "dropped": dict(counts.dropped_hits)},
            "residuals": self.residuals.to_json(),
            "track_chi2_ndf": self.chi2 / self.ndf if self.ndf else 0.0,
        }


def summarize(
    setup: Setup,
    ntuples: Sequence[Path],
    gathered: Gathered,
    steps: list[dict[str, Any]],
    fitted: Fitted,
    expected: Fitted | None,
) -> dict[str, Any]:
    """Make the summary, all but the constants.

    Args:
        setup: of the solve step.
        ntuples: that were read.
        gathered: from them.
        steps: of the work, with their time and memory.
        fitted: by the steps of the recipe.
        expected: what they would have found without measurement errors, when the truth is known.
    """
    table = _parameters(fitted, setup, expected)
    fits = fitted.results.items()
    return {
        **_FORMAT,
        "detector": setup.detector.name,
        "recipe": setup.recipe.name,
        "stations": len(setup.plan.stations),
        "inputs": [str(path) for path in ntuples],
        **gathered.to_json(),
        "fit": fit_summary(fitted.result),
        "steps": steps,
        "correlations": [{"step": name, **correlations(result)} for name, result in fits],
        "weak_modes": [{"step": name, **mode} for name, result in fits for mode in weak_modes(result)],
        "convergence": _convergence(table, setup),
        "pulls": None if expected is None else _pulls(table),
        "parameters": table,
    }


def _parameters(fitted: Fitted, setup: Setup, expected: Fitted | None) -> list[dict[str, Any]]:
    result = fitted.result
    columns = (result.labels, result.values, result.errors, result.presigmas, result.counts)
    true = [None] * len(result.labels) if expected is None else expected.result.values.tolist()
    # Where there is no presigma, the usual error tells what is none at all.
    positive = result.errors[result.errors > 0]
    usual = float(np.median(positive)) if len(positive) else 0.0
    rows = zip(*(column.tolist() for column in columns), true, strict=True)
    return [_parameter(setup, fitted.step.get(label), usual, label, *row) for label, *row in rows]


def _parameter(
    setup: Setup,
    step: str | None,
    usual: float,
    label: int,
    shift: float,
    error: float,
    presigma: float,
    entries: int,
    true: float | None,
) -> dict[str, Any]:
    what = setup.plan.known[label]
    state = state_of(setup, error, presigma, usual)
    return {
        "label": label,
        "key": what.key,
        "side": what.side,
        "axis": what.axis,
        "unit": what.unit,
        "state": state,
        "step": step,
        "shift": shift,
        "error": error if state != "fixed" else 0.0,
        "presigma": presigma,
        "entries": entries,
        "true_shift": true,
        "pull": None if true is None or state == "fixed" else (shift - true) / error,
    }


def state_of(setup: Setup, error: float, presigma: float, usual: float) -> str:
    """Whether data determine a parameter: "determined", "weak", or "fixed".

    What constraints alone determine is fixed, too; its error is nothing but rounding.

    Args:
        setup: of the solve step.
        error: of the parameter.
        presigma: as in the steering: negative if it is fixed, 0 if there is none.
        usual: error of others, by which rounding is told where there is no presigma.
    """
    if presigma < 0.0 or not error > _ROUNDING * (presigma or usual):
        return "fixed"
    if not presigma:
        return "determined"
    return "determined" if error < setup.recipe.determined * presigma else "weak"


def fit_summary(result: FitResult) -> dict[str, Any]:
    """What one fit says of itself."""
    return {
        "verdict": int(result.verdict),
        "message": result.message,
        "loops": int(result.loops),
        "chi2": float(result.chi2),
        "ndf": int(result.ndf),
        "chi2_ndf": float(result.chi2) / max(int(result.ndf), 1),
        "rejects": {name: int(number) for name, number in result.rejects.items()},
    }


def _convergence(table: list[dict[str, Any]], setup: Setup) -> dict[str, Any]:
    determined = [row for row in table if row["state"] == "determined"]
    largest = max(determined, key=lambda row: abs(row["shift"]) / row["error"], default=None)
    return {
        "max_shift_over_error": abs(largest["shift"]) / largest["error"] if largest else 0.0,
        "label": largest["label"] if largest else None,
        "determined": len(determined),
        "weak": [row["label"] for row in table if row["state"] == "weak"],
        "fixed": sum(row["state"] == "fixed" for row in table),
        "definition": f"determined: error below {setup.recipe.determined:g} of the presigma",
    }


def _pulls(table: list[dict[str, Any]]) -> dict[str, Any]:
    pulls = [row["pull"] for row in table if row["state"] == "determined"]
    return {
        "mean": fmean(pulls) if pulls else 0.0,
        "width": pstdev(pulls) if pulls else 0.0,
        "parameters": len(pulls),
        "definition": "(shift - true shift) / error of determined parameters, the truth seen through the same fit",
    }


def metrics(summary: dict[str, Any]) -> dict[str, float]:
    """Name -> number: what a workflow decides on and a plot over iterations shows.

    ``chi2_ndf`` and the residuals are those of the tracks with the constants before; ``fit_chi2_ndf`` is what the fit
    has left of it, which in a first iteration is too little, because the worst hits are cut.
    """
    numbers = {
        "chi2_ndf": summary["track_chi2_ndf"],
        "fit_chi2_ndf": summary["fit"]["chi2_ndf"],
        "max_shift_over_error": summary["convergence"]["max_shift_over_error"],
        "residual_width_um": summary["residuals"]["width_um"],
        "residual_mean_um": summary["residuals"]["mean_um"],
        "tracks": summary["tracks"]["used"],
        "tracks_dropped": sum(summary["tracks"]["dropped"].values()),
        "hits": summary["hits"]["used"],
        "hits_dropped": sum(summary["hits"]["dropped"].values()),
        "fit_rejected": sum(summary["fit"]["rejects"].values()),
        "parameters_determined": summary["convergence"]["determined"],
        "parameters_weak": len(summary["convergence"]["weak"]),
    }
    if summary["pulls"]:
        numbers |= {"pull_mean": summary["pulls"]["mean"], "pull_width": summary["pulls"]["width"]}
    return numbers
