"""The parameters of a fit: which are variable, their constraints, and the terms that do not come from records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.combinations import Parameters, in_force, redundant, terms
from fiducial.alignment.fit.linear.constraints import Constraints
from fiducial.alignment.fit.loops import Data, Sums
from fiducial.alignment.fit.reading import recount
from fiducial.alignment.fit.settings import Settings
from fiducial.alignment.steering.reader import Combination, Parameter, Steering
from fiducial.alignment.verdict import FitError

__all__ = ["BY_ENTRIES", "BY_PRESIGMA", "BY_RECOUNT", "REDUNDANT", "VARIABLE", "Problem", "name_labels"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

# Why a parameter is fixed, numbered as pede does when it checks its input.
VARIABLE, BY_PRESIGMA, BY_ENTRIES, BY_RECOUNT, REDUNDANT = 0, -1, -2, -3, -4
_NO_LABELS, _NO_VARIABLE = 21, 22


@dataclass(frozen=True)
class Problem:
    """Parameters of a fit; arrays are by parameter, labels ascending.

    Args:
        labels: all labels in the data and in the steering.
        start: start values.
        presigmas: as given; negative: fixed.
        counts: entries in the data.
        status: `VARIABLE`, or why it is fixed.
        variable: (V,) positions of the variable parameters.
        constraints: those that are in force.
        empty: number of constraints that act on no variable parameter.
        dependent: number of constraints left out because they depend on others.
        obstacles: constraints that would end a fit, in words, if only the input is checked.
        measurements: of combinations of parameters.
        weights: (V,) 1/presigma² with the regularisation factor.
        regularised: whether the weights pull values to 0.
    """

    labels: Longs
    start: Doubles
    presigmas: Doubles
    counts: Longs
    status: Longs
    variable: Longs
    constraints: Constraints
    empty: int
    dependent: int
    obstacles: list[str]
    measurements: list[Combination]
    weights: Doubles
    regularised: bool

    @classmethod
    def of(cls, steering: Steering, settings: Settings, data: Data, warnings: list[str]) -> Problem:
        """Gather what the steering and the counted data say; `warnings` is added to.

        Raises:
            FitError: there is no variable parameter, or a constraint is empty or depends on others.
        """
        labels = _labels(steering, data)
        given = [steering.parameters.get(label, Parameter()) for label in labels.tolist()]
        start = np.array([parameter.value for parameter in given], np.float64)
        presigmas = np.array([parameter.presigma for parameter in given], np.float64)
        counts = np.array([data.derivatives.get(label, 0) for label in labels.tolist()], np.int64)
        status = _status(labels, presigmas, counts, settings)
        constraints = _resolve(steering.constraints, settings, labels, status, warnings)
        _iterate_entries(labels, counts, status, settings, data)
        variable = _variable(labels, status, settings, warnings)
        parameters = Parameters(labels, start, counts, variable)
        return cls(
            labels,
            start,
            presigmas,
            counts,
            status,
            variable,
            *in_force(constraints, parameters, settings, warnings),
            [measurement for measurement in steering.measurements if measurement.terms],
            _presigma_weights(presigmas[variable], settings),
            settings.regularised,
        )

    @cached_property
    def positions(self) -> Longs:
        """(all labels,) position among the variable parameters, or -1."""
        positions = np.full(len(self.labels), -1, np.int64)
        positions[self.variable] = np.arange(len(self.variable))
        return positions

    def spread(self, values: NDArray[Any], other: float) -> NDArray[Any]:
        """Values of the variable parameters among all parameters, which have another value."""
        full = np.full(len(self.labels), other, values.dtype)
        full[self.variable] = values
        return full

    def add_terms(self, sums: Sums, parameter: Doubles) -> None:
        """Add presigmas and measurements to the sums over records."""
        if sums.matrix is not None:
            sums.matrix.add_diagonal(self.weights)
        if self.regularised:
            values = parameter[self.variable]
            sums.gradient -= values * self.weights
            sums.chi2 += float(np.sum(self.weights * values * values))
        for measurement in self.measurements:
            self._add_measurement(measurement, sums, parameter)

    def _add_measurement(self, measurement: Combination, sums: Sums, parameter: Doubles) -> None:
        if measurement.sigma <= 0:
            return
        weight = 1.0 / measurement.sigma**2
        positions, factors = terms(self.labels, measurement)
        distance = float(factors @ parameter[positions]) - measurement.value
        slots = self.positions[positions]
        used, factors = slots[slots >= 0], factors[slots >= 0]
        sums.accepted[used] += 1
        sums.chi2 += weight * distance**2
        sums.ndf += 1
        sums.weighted_ndf += 1
        sums.gradient[used] -= weight * distance * factors
        if sums.matrix is not None:
            sums.matrix.add_elements(used, weight * np.outer(factors, factors))


def name_labels(labels: Longs, most: int = 20) -> str:
    """Labels in words, as many as a person reads."""
    shown = ", ".join(str(label) for label in labels[:most].tolist())
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _labels(steering: Steering, data: Data) -> Longs:
    mentioned = {label for c in steering.constraints + steering.measurements for label, _ in c.terms}
    labels = {*data.derivatives, *steering.parameters, *steering.comments, *mentioned}
    if not labels:
        raise FitError("no global parameter: there is no label in the data", _NO_LABELS)
    return np.array(sorted(labels), np.int64)


def _status(labels: Longs, presigmas: Doubles, counts: Longs, settings: Settings) -> Longs:
    status = np.full(len(labels), VARIABLE, np.int64)
    status[counts < settings.entries] = BY_ENTRIES
    status[presigmas < 0] = BY_PRESIGMA
    return status


def _resolve(
    constraints: list[Combination], settings: Settings, labels: Longs, status: Longs, warnings: list[str]
) -> list[Combination]:
    """Fix the parameters that constraints determine alone, if that is wanted; give back the other constraints."""
    if not settings.resolve_redundant:
        return constraints
    fixed, taken = redundant(constraints)
    if taken:
        warnings.append(f"{len(taken)} redundancy constraints are resolved: {len(fixed)} parameters keep their start")
    status[np.isin(labels, sorted(fixed)) & (status == VARIABLE)] = REDUNDANT
    return [constraint for k, constraint in enumerate(constraints) if k not in taken]


def _iterate_entries(labels: Longs, counts: Longs, status: Longs, settings: Settings, data: Data) -> None:
    """Count once more without measurements that depend on a parameter fixed for its few entries."""
    if settings.iterate_entries <= settings.entries or settings.reading.by_record:
        return
    again = recount(data.blocks(), labels[status == BY_ENTRIES])
    entries = np.array([again.get(label, 0) for label in labels.tolist()], np.int64)
    few = (entries < settings.entries) & (counts < settings.iterate_entries)
    status[few & (status == VARIABLE)] = BY_RECOUNT


def _variable(labels: Longs, status: Longs, settings: Settings, warnings: list[str]) -> Longs:
    variable = np.flatnonzero(status == VARIABLE)
    if not len(variable):
        raise FitError(
            f"no variable parameter: none of {len(labels)} has {settings.entries} entries and is not fixed",
            _NO_VARIABLE,
            hint="see `entries` and the presigmas in the steering file",
        )
    for why, how in ((BY_ENTRIES, ""), (BY_RECOUNT, " in measurements of parameters with enough")):
        if len(few := labels[status == why]):
            warnings.append(
                f"{len(few)} parameters have fewer than {settings.entries} entries{how} and are kept: "
                f"labels {name_labels(few)}"
            )
    return variable


def _presigma_weights(presigmas: Doubles, settings: Settings) -> Doubles:
    # pede keeps presigmas in single precision, and squares the default in it too.
    single = presigmas.astype(np.float32).astype(np.float64)
    squares = np.where(single == 0, float(np.float32(settings.presigma) ** 2), single**2)
    weights = np.zeros(len(single))
    weights[squares > 0] = 1.0 / squares[squares > 0]
    return weights * settings.regularisation
