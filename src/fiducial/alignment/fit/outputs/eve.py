"""The file ``millepede.eve``: eigenvectors of the matrix, for the method diagonalization.

The smallest eigenvalues show what the data hardly determine: which parameters may move together without F noticing.
The vectors are those of the parameters themselves, also where constraints were eliminated; motions that constraints
forbid are not among them. See the Millepede-II manual, "Diagonalization".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.outputs.fortran import real

__all__ = ["Eigenvectors", "eigenvector_text"]

Doubles = NDArray[np.float64]

_SMALLEST = 10
_LARGEST = 6


@dataclass(frozen=True)
class Eigenvectors:
    """Eigenvectors of the matrix, K of them.

    Args:
        labels: (V,) of the variable parameters.
        values: (K,) eigenvalues > 0, descending; in units of 1/parameter².
        vectors: (V, K) of length 1, by column.
    """

    labels: NDArray[np.int64]
    values: Doubles
    vectors: Doubles

    @classmethod
    def of(cls, labels: NDArray[np.int64], covariance: Doubles, count: int) -> Eigenvectors:
        """From the covariance of the variable parameters.

        Args:
            labels: (V,) of the variable parameters.
            covariance: (V, V).
            count: its rank; the directions beyond it are forbidden by constraints, or not determined.
        """
        variances, vectors = np.linalg.eigh(covariance)
        variances, vectors = variances[len(labels) - count :], vectors[:, len(labels) - count :]
        # A rank defect leaves variances of 0, which rounding makes a little more or less.
        determined = variances > len(labels) * np.finfo(np.float64).eps * variances.max(initial=0.0)
        return cls(labels, 1.0 / variances[determined], vectors[:, determined])

    def shown(self) -> list[int]:
        """Which of them pede writes: the ten smallest eigenvalues, from below, then the six largest, from above."""
        count = len(self.values)
        smallest = list(range(count - 1, max(count - 1 - _SMALLEST, -1), -1))
        return smallest + list(range(min(_LARGEST, count - len(smallest))))


def eigenvector_text(eigenvectors: Eigenvectors) -> str:
    """The content of millepede.eve: to each vector its eigenvalue, and labels with components, three in a line."""
    return "\n".join(line for k in eigenvectors.shown() for line in _lines(eigenvectors, k)) + "\n"


def _lines(eigenvectors: Eigenvectors, k: int) -> Iterator[str]:
    yield f" Eigenvector {k + 1:12d}  with eigenvalue{real(eigenvectors.values[k])}"
    pairs = [
        f"{label:11d}{component:11.7f}  "
        for label, component in zip(eigenvectors.labels.tolist(), eigenvectors.vectors[:, k].tolist(), strict=True)
    ]
    yield from ("".join(pairs[first : first + 3]).rstrip() for first in range(0, len(pairs), 3))
    yield ""
