"""Which matrix and which solution belong to a method of the steering, and to the number of parameters.

Up to 2000 parameters an exact solution costs less than an approximate one, so that methods that approach it give it
too, with errors. Beyond that the methods with a sparse matrix run MINRES on it; those with a full matrix are exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.linear.constraints import Constraints
from fiducial.alignment.fit.linear.exact import ExactSolution, Solution
from fiducial.alignment.fit.linear.minres import IterativeSolution
from fiducial.alignment.fit.linear.tiles import TiledSolution
from fiducial.alignment.fit.loops import Workers
from fiducial.alignment.fit.matrices import FullMatrix, SparseMatrix
from fiducial.alignment.fit.settings import Solver

__all__ = ["is_approached", "new_matrix", "solve_with"]

_SMALL = 2000  # parameters for which an exact solution takes under a second
_TURNED = 3000  # up to here the matrix is copied and turned, beyond it is factorised where it is
_ENOUGH = 1e-12  # of F, which MINRES may leave to gain: a millionth of an error, squared


def is_approached(solver: Solver, size: int) -> bool:
    """Whether a system of so many parameters is solved by MINRES."""
    return solver.sparse and solver.iterative and size > _SMALL


def new_matrix(solver: Solver, size: int, workers: Workers) -> FullMatrix | SparseMatrix:
    """A matrix of zeros to sum in."""
    return SparseMatrix(size, workers.threads) if is_approached(solver, size) else FullMatrix(size)


def solve_with(
    matrix: FullMatrix | SparseMatrix, constraints: Constraints, solver: Solver, labels: NDArray[np.int64],
    workers: Workers,
) -> Solution:  # fmt: skip
    """Make ready to solve with a matrix, which may be overwritten.

    Args:
        matrix: as `new_matrix` made it.
        constraints: to hold exactly.
        solver: what the steering says.
        labels: (V,) of the variable parameters.
        workers: to share the work.
    """
    if isinstance(matrix, SparseMatrix):
        wanted = np.flatnonzero(np.isin(labels, solver.error_labels)).tolist()
        return IterativeSolution(matrix.lower(), constraints, _ENOUGH, wanted)
    if len(matrix.elements) <= _TURNED:
        return ExactSolution(matrix.elements, constraints)
    return TiledSolution(matrix.elements, constraints, workers.each)
