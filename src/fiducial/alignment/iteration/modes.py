"""How the parameters of a fit hang together: their correlations, and the motions that the data hardly see."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["correlations", "unpack_correlations", "weak_modes"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

#: Parts of a mode that are smaller than this times its largest one are not told.
_SMALLEST_COMPONENT = 0.05


def correlations(result: FitResult) -> dict[str, Any]:
    """Correlations between the variable parameters of a fit, small enough for a summary: in percent, two digits."""
    labels, covariance = _known(result)
    errors = np.sqrt(np.diag(covariance))
    percent = np.rint(100.0 * covariance / np.outer(errors, errors)).astype(np.int8)
    packed = zlib.compress(percent[np.triu_indices(len(labels), 1)].tobytes(), 9)
    return {"labels": labels.tolist(), "percent": base64.b64encode(packed).decode("ascii")}


def unpack_correlations(stored: Mapping[str, Any]) -> tuple[Longs, Doubles]:
    """Labels (n,) and their correlations (n, n) from an entry of a summary's ``correlations``.

    Raises:
        ValueError: the entry is damaged.
    """
    labels = np.asarray(stored["labels"], dtype=np.int64)
    try:
        packed = zlib.decompress(base64.b64decode(stored["percent"], validate=True))
    except zlib.error as error:
        raise ValueError(f"correlations: {error}") from None
    above = np.triu_indices(len(labels), 1)
    if len(packed) != len(above[0]):
        raise ValueError(f"correlations: {len(packed)} numbers for {len(labels)} labels")
    half = np.zeros((len(labels), len(labels)))
    half[above] = np.frombuffer(packed, np.int8) / 100.0
    return labels, half + half.T + np.eye(len(labels))


def weak_modes(result: FitResult, most: int = 5) -> list[dict[str, Any]]:
    """The motions of many parameters together that a fit determines worst, the worst first.

    Each parameter is counted in units of its presigma (of its own error where it has none), so that mm and rad can be
    compared. In these units an eigenvalue of the normal matrix is one over the variance of the motion that is its
    eigenvector; it is 1 where the presigmas alone decide and the data say nothing.
    """
    labels, covariance = _known(result)
    if not len(labels):
        return []
    presigmas = result.presigmas[np.searchsorted(result.labels, labels)]
    units = np.where(presigmas > 0.0, presigmas, np.sqrt(np.diag(covariance)))
    variances, motions = np.linalg.eigh(covariance / np.outer(units, units))
    worst = [number for number in range(len(labels) - 1, -1, -1) if variances[number] > 0.0][:most]
    return [_mode(labels, float(variances[number]), motions[:, number]) for number in worst]


def _mode(labels: Longs, variance: float, motion: Doubles) -> dict[str, Any]:
    order = np.argsort(-np.abs(motion))
    told = order[np.abs(motion[order]) > _SMALLEST_COMPONENT * np.abs(motion[order[0]])]
    sign = 1.0 if motion[order[0]] > 0.0 else -1.0
    return {
        "eigenvalue": 1.0 / variance,
        "error": variance**0.5,
        "labels": labels[told].tolist(),
        "components": [round(sign * part, 4) for part in motion[told].tolist()],
    }


def _known(result: FitResult) -> tuple[Longs, Doubles]:
    """Labels and covariance of the variable parameters that have an error."""
    covariance = result.covariance
    if covariance is None:
        return np.zeros(0, np.int64), np.zeros((0, 0))
    known = np.flatnonzero(np.diag(covariance) > 0.0)
    return result.labels[result.variable[known]], covariance[np.ix_(known, known)]
