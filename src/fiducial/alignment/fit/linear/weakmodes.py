"""Combinations of parameters that the data hardly determine, found before they hurt.

The matrix is looked at with its diagonal scaled to 1, so that units do not matter. An eigenvalue of 1e-9 there means
that nine of the sixteen digits of a double are spent on the combination that belongs to it: its value hangs on how sums
were rounded, and differs from one computer to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

__all__ = ["WeakMode", "weak_modes"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

SMALLEST_EIGENVALUE = 1e-9
_MOST_MODES = 3
_MOST_PARAMETERS = 8000  # above, Lanczos steps would cost as much as the fit
_TAKES_PART = 0.1


@dataclass(frozen=True, slots=True)
class WeakMode:
    """A combination of variable parameters with a small eigenvalue.

    Args:
        eigenvalue: of the scaled matrix.
        parameters: positions of those that take part, largest first.
    """

    eigenvalue: float
    parameters: Longs


def weak_modes(step: Callable[[Doubles], Doubles], diagonal: Doubles) -> list[WeakMode]:
    """Up to three modes with an eigenvalue below 1e-9, the smallest first.

    Args:
        step: solves the system for a gradient, with constraints at what they are.
        diagonal: (V,) of the matrix.
    """
    if not 0 < len(diagonal) <= _MOST_PARAMETERS:
        return []
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    inverse, vectors = _largest(lambda vector: scale * step(scale * vector), len(diagonal))
    order = np.argsort(-inverse)
    return [
        WeakMode(1.0 / float(inverse[k]), _taking_part(vectors[:, k]))
        for k in order
        if inverse[k] * SMALLEST_EIGENVALUE > 1
    ]


def _largest(multiply: Callable[[Doubles], Doubles], size: int) -> tuple[Doubles, Doubles]:
    """The largest eigenvalues of a symmetric operator, with their vectors."""
    if size <= 4 * _MOST_MODES:
        matrix = np.column_stack([multiply(unit) for unit in np.eye(size)])
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return values[-_MOST_MODES:], vectors[:, -_MOST_MODES:]
    operator = LinearOperator((size, size), matvec=lambda vector: multiply(np.ravel(vector)), dtype=np.float64)
    start = np.cos(np.arange(size))  # any vector that is no mode itself, the same each time
    try:
        values, vectors = eigsh(operator, _MOST_MODES, which="LA", v0=start, tol=1e-3, maxiter=300)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    return np.asarray(values), np.asarray(vectors)


def _taking_part(vector: Doubles) -> Longs:
    size = np.abs(vector)
    order = np.argsort(-size)
    return np.asarray(order[size[order] > _TAKES_PART * size.max()], np.int64)
