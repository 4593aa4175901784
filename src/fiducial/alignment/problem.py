"""The parameters of a fit: which are variable, their constraints, and the terms that do not come from records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.loops import Data, Sums
from fiducial.alignment.result import FitError
from fiducial.alignment.settings import Settings
from fiducial.alignment.solution import Constraints
from fiducial.alignment.steering import Combination, Parameter, Steering

__all__ = ["Problem", "name_labels"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """Parameters of a fit; arrays are by parameter, labels ascending.

    Args:
        labels: all labels in the data and in the steering.
        start: start values.
        presigmas: as given; negative: fixed.
        counts: global derivatives in the data.
        variable: (V,) positions of the variable parameters.
        constraints: those that are in force.
        measurements: of combinations of parameters.
        weights: (V,) 1/presigma² with the regularisation factor.
        regularised: whether the weights pull values to 0.
    """

    labels: Longs
    start: Doubles
    presigmas: Doubles
    counts: Longs
    variable: Longs
    constraints: Constraints
    measurements: list[Combination]
    weights: Doubles
    regularised: bool

    @classmethod
    def of(cls, steering: Steering, settings: Settings, data: Data, warnings: list[str]) -> Problem:
        """Gather what the steering and the counted data say; `warnings` is added to.

        Raises:
            FitError: there is no variable parameter, or a constraint is empty or follows from others.
        """
        mentioned = {label for c in steering.constraints + steering.measurements for label, _ in c.terms}
        labels = np.array(sorted({*data.derivatives, *steering.parameters, *mentioned}), np.int64)
        given = [steering.parameters.get(label, Parameter()) for label in labels.tolist()]
        presigmas = np.array([parameter.presigma for parameter in given], np.float64)
        counts = np.array([data.derivatives.get(label, 0) for label in labels.tolist()], np.int64)
        variable = _variable(labels, presigmas, counts, settings, warnings)
        return cls(
            labels,
            np.array([parameter.value for parameter in given], np.float64),
            presigmas,
            counts,
            variable,
            _constraints(steering, settings, labels, variable, warnings),
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
            sums.matrix[np.diag_indices(len(self.variable))] += self.weights
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
        factors = _row(self.labels, measurement)
        distance = float(factors @ parameter) - measurement.value
        factors = factors[self.variable]
        sums.chi2 += weight * distance**2
        sums.ndf += 1
        sums.gradient -= weight * distance * factors
        if sums.matrix is not None:
            used = np.flatnonzero(factors)
            sums.matrix[np.ix_(used, used)] += weight * np.outer(factors[used], factors[used])


def name_labels(labels: Longs, most: int = 20) -> str:
    """Labels in words, as many as a person reads."""
    shown = ", ".join(str(label) for label in labels[:most].tolist())
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _variable(labels: Longs, presigmas: Doubles, counts: Longs, settings: Settings, warnings: list[str]) -> Longs:
    variable = np.flatnonzero((presigmas >= 0) & (counts >= settings.entries))
    few = labels[(presigmas >= 0) & (counts < settings.entries)]
    if not len(variable):
        raise FitError(
            f"no variable parameter: none of {len(labels)} has {settings.entries} derivatives and is not fixed",
            22,
            hint="see `entries` and the presigmas in the steering file",
        )
    if len(few):
        warnings.append(f"{len(few)} parameters have fewer than {settings.entries} derivatives and are kept: labels "
                        + name_labels(few))  # fmt: skip
    return variable


def _presigma_weights(presigmas: Doubles, settings: Settings) -> Doubles:
    # pede keeps presigmas in single precision, and squares the default in it too.
    single = presigmas.astype(np.float32).astype(np.float64)
    squares = np.where(single == 0, float(np.float32(settings.presigma) ** 2), single**2)
    weights = np.zeros(len(single))
    weights[squares > 0] = 1.0 / squares[squares > 0]
    return weights * settings.regularisation


def _row(labels: Longs, combination: Combination) -> Doubles:
    """Factors of a combination over all parameters."""
    row = np.zeros(len(labels))
    terms = np.array(combination.terms)
    np.add.at(row, np.searchsorted(labels, terms[:, 0].astype(np.int64)), terms[:, 1])
    return row


def _constraints(
    steering: Steering, settings: Settings, labels: Longs, variable: Longs, warnings: list[str]
) -> Constraints:
    rows = [
        _row(labels, constraint) if constraint.terms else np.zeros(len(labels)) for constraint in steering.constraints
    ]
    kept: list[int] = []
    for k, row in enumerate(rows):
        if row[variable].any():
            kept.append(k)
        elif settings.skip_empty:
            warnings.append(f"{steering.constraints[k].where}: the constraint acts on no variable parameter: left out")
        else:
            raise FitError(
                f"{steering.constraints[k].where}: the constraint acts on no variable parameter",
                27,
                hint="take it out, or give the keyword `skipemptycons`",
            )
    factors = np.array([rows[k] for k in kept]).reshape(len(kept), len(labels))
    value = np.array([steering.constraints[k].value for k in kept], np.float64)
    constraints = Constraints(factors, value, variable)
    for k in constraints.dependent():
        raise FitError(
            f"{steering.constraints[kept[k]].where}: the constraint follows from those before it, or contradicts them",
            27,
            hint="take it out",
        )
    return constraints
