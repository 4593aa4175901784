"""Neighbouring parameters that appear together only: are their derivatives independent?

What `checkparametergroups` asks for. Data that always depend on the parameters of a group in the same combination
leave the group's own block of the matrix singular, whatever else there is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.appearance import Appearance
from fiducial.alignment.fit.loops import Data
from fiducial.alignment.fit.matrices import FullMatrix, SparseMatrix
from fiducial.alignment.fit.problem import Problem

__all__ = ["dependent_groups", "parameter_groups"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_SMALLEST_EIGENVALUE = 1e-10
_LARGEST_GROUP = 1000


def parameter_groups(problem: Problem, data: Data) -> list[Longs]:
    """Variable parameters of each group, by their position among the variable ones; all data are read for it."""
    appearance = Appearance(problem.labels, data.files, [])
    appearance.look(data.blocks())
    group = np.cumsum(appearance.starts())[problem.variable]
    return np.split(np.arange(len(group)), np.flatnonzero(np.diff(group)) + 1)


def dependent_groups(matrix: FullMatrix | SparseMatrix, groups: list[Longs]) -> list[Longs]:
    """Groups of up to 1000 parameters whose block of the matrix is singular."""
    return [group for group in groups if 1 < len(group) <= _LARGEST_GROUP and _is_singular(matrix.block(group))]


def _is_singular(block: Doubles) -> bool:
    diagonal = np.diag(block)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return bool(np.linalg.eigvalsh(block * scale * scale[:, None])[0] < _SMALLEST_EIGENVALUE)
