"""Small fits of our own: lines y = a + b x through planes whose shifts are the global parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fiducial.alignment.fit.millepede import fit
from fiducial.alignment.fit.result import FitResult
from fiducial.alignment.mille.writer import MilleWriter

METHOD = "method inversion 3 0.001\n"


def write_tracks(
    path: Path, *, planes: int = 6, tracks: int = 60, fixed_slope: bool = False, labels: int = 1, seed: int = 1
) -> np.ndarray:
    """Tracks through shifted planes; returns the shifts, whose labels are 10, 20, …"""
    rng = np.random.default_rng(seed)
    shifts = rng.normal(0, 0.1, planes)
    with MilleWriter(path) as writer:
        for _ in range(tracks):
            a, b = rng.normal(0, 1, 2)
            for plane in range(planes):
                y = a + b * plane + shifts[plane] + rng.normal(0, 0.01)
                local = {1: 1.0} if fixed_slope else {1: 1.0, 2: float(plane)}
                writer.measurement(y, 0.01, local, {10 * (plane + 1) * labels: 1.0})
            writer.end_record()
    return shifts


def steer(folder: Path, text: str) -> Path:
    path = folder / "steer.txt"
    path.write_text(f"tracks.bin\n{METHOD}{text}")
    return path


FIX_TWO = "Parameter\n10 0 -1\n60 0 -1\n"


def fit_tracks(folder: Path, text: str = FIX_TWO) -> FitResult:
    return fit(steer(folder, text))
