"""Single records in a form that people can read: what `printrecord` asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.localfit import chi2_limit
from fiducial.alignment.fit.loops import Cuts, Data, Details
from fiducial.alignment.mille.reader import MilleBlock

__all__ = ["show_records"]

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_CAUSES = {
    -2: "no local parameter",
    0: "rank deficit of the local fit",
    1: "no degree of freedom",
    2: "huge chi2",
    3: "large chi2",
}


@dataclass(frozen=True, slots=True)
class _Found:
    """A record, and why it is shown."""

    block: MilleBlock
    position: int
    number: int
    why: str = ""
    size: float = 0.0


def show_records(data: Data, labels: Longs, parameter: Doubles, wanted: tuple[int, int], cuts: Cuts) -> str:
    """The records that are wanted, with their local fit at the present values of the parameters.

    Args:
        data: all records.
        labels: all labels, ascending.
        parameter: their values.
        wanted: numbers of records, from 1 over all files; a negative first (second) one stands for the record with the
            largest residual over sigma (the largest chi2 over degrees of freedom), 0 for none.
        cuts: of the fit, by which records are left out; they are shown nevertheless, with all weights.
    """
    found = _find(data, labels, parameter, wanted)
    missing = [number for number in wanted if number > 0 and number not in {record.number for record in found}]
    causes = _causes(data, parameter, cuts, {record.number for record in found})
    texts = ["\n".join(_show(record, labels, parameter, causes.get(record.number, ""))) for record in found]
    texts += [f"record {number}: there are only {data.records}" for number in missing]
    return "".join(f"\n{text}\n" for text in texts)


def _find(data: Data, labels: Longs, parameter: Doubles, wanted: tuple[int, int]) -> list[_Found]:
    chosen: list[_Found] = []
    worst: dict[str, _Found] = {}
    before = 0
    for details in data.details(parameter, Cuts()):
        block = details.block
        here = [number for number in dict.fromkeys(wanted) if before < number <= before + block.records]
        chosen += [_Found(block, number - before - 1, number) for number in here]
        if min(wanted) < 0:
            _note_worst(worst, details, before, wanted)
        before += block.records
    return chosen + list(worst.values())


def _causes(data: Data, parameter: Doubles, cuts: Cuts, numbers: set[int]) -> dict[int, str]:
    """Why the fit leaves out those of these records that it does leave out."""
    causes: dict[int, str] = {}
    before = 0
    for details in data.details(parameter, cuts):
        for number in numbers:
            if before < number <= before + details.block.records:
                causes[number] = _CAUSES.get(int(details.cause[number - before - 1]), "")
        before += details.block.records
    return causes


def _note_worst(worst: dict[str, _Found], details: Details, before: int, wanted: tuple[int, int]) -> None:
    block = details.block
    fitted = details.chi2 > 0  # else there was no fit
    ratio = np.where(fitted, details.chi2 / np.maximum(details.ndf, 1), 0.0)
    pull = np.append(np.abs(details.residual) / block.sigma, 0.0)
    residual = np.where(fitted, np.maximum.reduceat(pull, block.measurement_start[:-1]), 0.0)
    for number, sizes, why in ((wanted[0], residual, "largest residual/sigma"), (wanted[1], ratio, "largest chi2/ndf")):
        at = int(np.argmax(sizes))
        if number < 0 and (why not in worst or sizes[at] > worst[why].size):
            worst[why] = _Found(block, at, before + at + 1, why, float(sizes[at]))


def _show(found: _Found, labels: Longs, parameter: Doubles, cause: str) -> Iterator[str]:
    """Lines about a record, which may be left out of the fit."""
    block, r = found.block, found.position
    m0, m1 = block.measurement_start[r : r + 2].tolist()
    why = f", {found.why} {found.size:.4g}" if found.why else ""
    left_out = f", left out of the fit ({cause})" if cause else ""
    yield f"record {found.number}, {block.first_record + r} of {block.source.path}{why}{left_out}:"
    before = np.array([_without_globals(block, m, labels, parameter) for m in range(m0, m1)])
    sigma = block.sigma[m0:m1].astype(np.float64)
    local, errors = _local_fit(block, m0, m1, int(block.local_size[r]), before, sigma)
    after = before - _design(block, m0, m1, len(local)) @ local
    chi2, ndf = float(np.sum((after / sigma) ** 2)), m1 - m0 - len(local)
    limit = f", at three standard deviations {float(chi2_limit(ndf)):.4g}" if ndf > 0 else ""
    yield f"  chi2 {chi2:.5g} for {ndf} degrees of freedom{limit}"
    for k, (value, error) in enumerate(zip(local, errors, strict=True), 1):
        yield f"  local parameter {k:4d} {value:14.6g} +- {error:.3g}"
    yield "  measurement          value        sigma    corrected     residual  /sigma  global derivatives"
    for m in range(m0, m1):
        k = m - m0
        numbers = f"{block.value[m]:13.5g}{sigma[k]:13.5g}{before[k]:13.5g}{after[k]:13.5g}{after[k] / sigma[k]:8.2f}"
        yield f"  {k + 1:11d}  {numbers}  {_derivatives(block, m)}"


def _without_globals(block: MilleBlock, m: int, labels: Longs, parameter: Doubles) -> float:
    """A measured value less what the global parameters make of it."""
    part = slice(block.global_start[m], block.global_start[m + 1])
    values = parameter[np.searchsorted(labels, block.label[part])]
    return float(block.value[m] - block.global_derivative[part].astype(np.float64) @ values)


def _design(block: MilleBlock, m0: int, m1: int, size: int) -> Doubles:
    """(measurements, local parameters) the local derivatives."""
    design = np.zeros((m1 - m0, size))
    for m in range(m0, m1):
        part = slice(block.local_start[m], block.local_start[m + 1])
        np.add.at(design[m - m0], block.local_index[part] - 1, block.local_derivative[part])
    return design


def _local_fit(
    block: MilleBlock, m0: int, m1: int, size: int, before: Doubles, sigma: Doubles
) -> tuple[Doubles, Doubles]:
    """Local parameters and their errors, all measurements with full weight."""
    design = _design(block, m0, m1, size) / sigma[:, None]
    inverse = np.linalg.pinv(design.T @ design)
    return inverse @ design.T @ (before / sigma), np.sqrt(np.maximum(np.diag(inverse), 0))


def _derivatives(block: MilleBlock, m: int) -> str:
    part = slice(block.global_start[m], block.global_start[m + 1])
    pairs = zip(block.label[part].tolist(), block.global_derivative[part].tolist(), strict=True)
    return " ".join(f"{label}:{derivative:.4g}" for label, derivative in pairs)
