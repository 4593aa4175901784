"""Reference results of pede: unpack them into a folder, read them, and compare a fit with them."""

from __future__ import annotations

import gzip
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.result import FitResult

DATA = Path(__file__).parent / "data" / "pede"

PARAMETER_TOLERANCE = 1e-6  # of the error of the parameter
ERROR_TOLERANCE = 1e-4
CHI2_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Reference:
    """What pede found; errors are 0 where it has none."""

    chi2: float
    ndf: int
    loops: int
    verdict: int
    rejects: list[int]
    labels: NDArray[np.int64]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]


def unpack(name: str, folder: Path) -> Path:
    """Copy a set to a folder, with the binary files as pede took them."""
    target = folder / name
    shutil.copytree(DATA / name, target)
    for packed in target.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    return target


def read_verdict(name: str, variant: str) -> int:
    return int((DATA / name / f"millepede{variant}.end").read_text().split()[0])


def read_reference(name: str, variant: str) -> Reference:
    head, *lines = (DATA / name / f"millepede{variant}.dbl").read_text().splitlines()
    chi2, ndf, loops = head.split()[1:]
    table = np.array([line.split() for line in lines], np.float64)
    return Reference(
        float(chi2),
        int(ndf),
        int(loops),
        read_verdict(name, variant),
        _rejects(DATA / name / f"millepede{variant}.rejects"),
        table[:, 0].astype(np.int64),
        table[:, 1],
        table[:, 2],
    )


def _rejects(path: Path) -> list[int]:
    found = re.findall(r"(\d+) +\(", path.read_text()) if path.exists() else [0] * 4
    return [int(number) for number in found]


def assert_same(result: FitResult, reference: Reference) -> None:
    """Fail if a fit differs from pede by more than the tolerances."""
    assert result.labels.tolist() == reference.labels.tolist()
    assert (result.verdict, result.loops, result.ndf) == (reference.verdict, reference.loops, reference.ndf)
    assert list(result.rejects.values()) == reference.rejects
    assert abs(result.chi2 / reference.chi2 - 1) < CHI2_TOLERANCE
    # Methods without errors are compared on the scale of our errors.
    errors = np.where(reference.errors > 0, reference.errors, result.errors)
    fitted = errors > 0
    assert fitted.sum() == len(result.variable)
    pulls = np.abs(result.values - reference.values)[fitted] / errors[fitted]
    assert pulls.max() < PARAMETER_TOLERANCE
    assert np.array_equal(result.values[~fitted], reference.values[~fitted])
    known = reference.errors > 0
    assert np.all(np.abs(result.errors[known] / reference.errors[known] - 1) < ERROR_TOLERANCE)
