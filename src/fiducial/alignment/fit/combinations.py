"""Linear combinations of parameters: which constraints are in force, and what is wrong with those that are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fiducial.alignment.fit.linear.constraints import Constraints
from fiducial.alignment.fit.settings import Settings
from fiducial.alignment.steering.reader import Combination
from fiducial.alignment.verdict import FitError

__all__ = ["Parameters", "groups", "in_force", "redundant", "terms"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

EMPTY_CONSTRAINTS, SINGULAR_CONSTRAINTS = 5, 27
_SAME_VALUE = 1e-9


@dataclass(frozen=True, slots=True)
class Parameters:
    """What constraints need to know of the parameters.

    Args:
        labels: all labels, ascending.
        start: their start values.
        counts: their entries in the data.
        variable: positions of the variable ones.
    """

    labels: Longs
    start: Doubles
    counts: Longs
    variable: Longs


def terms(labels: Longs, combination: Combination, counts: Longs | None = None) -> tuple[Longs, Doubles]:
    """Positions of the parameters of a combination, each once and ascending, and their factors, less zeros.

    Args:
        labels: all labels, ascending.
        combination: of them.
        counts: what factors are multiplied with if the combination is weighted.
    """
    pairs = np.array(combination.terms, np.float64).reshape(-1, 2)
    positions, of_term = np.unique(np.searchsorted(labels, pairs[:, 0].astype(np.int64)), return_inverse=True)
    factors = np.bincount(of_term, pairs[:, 1], len(positions))
    if combination.weighted and counts is not None:
        factors = factors * counts[positions]
    return positions[factors != 0], factors[factors != 0]


def groups(constraints: list[Combination]) -> list[tuple[set[int], list[int]]]:
    """Constraints that hang together by common parameters: labels and positions of each group, first label first."""
    found: list[tuple[set[int], list[int]]] = []
    for k, constraint in enumerate(constraints):
        labels, members = {label for label, _ in constraint.terms}, [k]
        apart = []
        for group in found:
            if group[0] & labels:
                labels, members = labels | group[0], [*group[1], *members]
            else:
                apart.append(group)
        found = [*apart, (labels, members)]
    return sorted(found, key=lambda group: min(group[0], default=0))


def redundant(constraints: list[Combination]) -> tuple[set[int], list[int]]:
    """Constraints that determine all their parameters alone: as many in a group as parameters in it.

    Returns:
        the labels of the parameters, and the positions of the constraints.
    """
    full = [group for group in groups(constraints) if len(group[0]) == len(group[1])]
    return {label for labels, _ in full for label in labels}, [k for _, members in full for k in members]


def in_force(
    constraints: list[Combination], parameters: Parameters, settings: Settings, warnings: list[str]
) -> tuple[Constraints, int, int, list[str]]:
    """The constraints that the fit keeps, how many act on no variable parameter, and how many depend on others.

    The last is what would end a fit, if only the input is checked.

    Raises:
        FitError: a constraint is empty, or with elimination depends on others.
    """
    obstacles: list[str] = []
    everything = _matrix(constraints, parameters)
    acting = np.diff(everything.columns.indptr) > 0
    for k in np.flatnonzero(~acting):
        _take(_empty(constraints[k]), EMPTY_CONSTRAINTS, settings, warnings, obstacles)
    used = np.flatnonzero(acting)
    found = _some(everything, used)
    dependent = found.dependent()
    for j in dependent:
        what = _dependent(constraints[used[j]], found, j, parameters)
        _take(what, SINGULAR_CONSTRAINTS, settings, warnings, obstacles)
    if dependent:
        found = _some(everything, np.delete(used, dependent))
    return found, len(constraints) - len(used), len(dependent), obstacles


def _matrix(constraints: list[Combination], parameters: Parameters) -> Constraints:
    rows = [terms(parameters.labels, constraint, parameters.counts) for constraint in constraints]
    start = np.cumsum([0, *(len(positions) for positions, _ in rows)])
    columns = np.concatenate([np.zeros(0, np.int64), *(positions for positions, _ in rows)])
    factors = np.concatenate([np.zeros(0), *(factors for _, factors in rows)])
    shape = (len(rows), len(parameters.labels))
    values = np.array([constraint.value for constraint in constraints], np.float64)
    return Constraints(csr_array((factors, columns, start), shape=shape), values, parameters.variable)


def _some(constraints: Constraints, rows: Longs) -> Constraints:
    return Constraints(csr_array(constraints.factors[rows]), constraints.value[rows], constraints.variable)


def _empty(constraint: Combination) -> str:
    return f"{constraint.where}: the constraint acts on no variable parameter"


def _dependent(constraint: Combination, found: Constraints, position: int, parameters: Parameters) -> str:
    relation = "contradicts" if _contradicts(found, position, parameters) else "follows from"
    return f"{constraint.where}: the constraint {relation} those before it"


def _take(what: str, verdict: int, settings: Settings, warnings: list[str], obstacles: list[str]) -> None:
    """Leave a constraint out, or end the fit with that verdict; of a check it is an obstacle then."""
    empty = verdict == EMPTY_CONSTRAINTS
    if settings.skip_empty if empty else settings.solver.multipliers:
        warnings.append(f"{what}: left out")
        return
    if not settings.check:
        hint = "take it out, or give the keyword `skipemptycons`" if empty else "take it out"
        raise FitError(what, verdict, hint=hint)
    warnings.append(what)
    obstacles.append(what)


def _contradicts(found: Constraints, position: int, parameters: Parameters) -> bool:
    """Whether a dependent constraint wants another value than those before it give."""
    missing = found.discrepancy(parameters.start)
    columns = found.columns[: position + 1].toarray()
    weights = np.linalg.lstsq(columns[:position].T, columns[position], rcond=None)[0]
    scale = np.abs(missing[position]) + np.abs(weights) @ np.abs(missing[:position])
    return bool(np.abs(missing[position] - weights @ missing[:position]) > _SAME_VALUE * max(scale, 1e-300))
