"""Small random problems against one large least-squares system of all local and global parameters, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.fit.millepede import fit
from fiducial.alignment.fit.result import FitResult
from fiducial.alignment.mille import reader
from fiducial.alignment.mille.writer import Kind, MilleWriter

LARGEST = 2**31 - 1
Pairs = list[tuple[int, float]]
Hit = tuple[float, float, Pairs, Pairs]


@dataclass
class Random:
    """A problem: records of hits by file, and what the steering says of the parameters."""

    weights: list[float]
    files: list[list[list[Hit]]]
    constraint: Pairs
    measurement: Pairs
    start: dict[int, float]
    presigma: float = 0.7


def rounded(number: float) -> float:
    return float(np.float32(number))


def random_hit(draw: np.random.Generator, locals_: int, labels: np.ndarray) -> Hit:
    """Some neighbours of many local parameters, or any of few; labels may repeat."""
    first = int(draw.integers(locals_ - 1)) if locals_ > 5 else 0
    used = range(first, min(first + 3, locals_)) if locals_ > 5 else range(locals_)
    local = [(i + 1, rounded(draw.normal())) for i in used if draw.random() < 0.98]
    derivatives = [(int(label), rounded(draw.normal())) for label in draw.choice(labels, draw.integers(4))]
    return rounded(draw.normal()), rounded(draw.uniform(0.05, 2)), local, derivatives


def random_record(draw: np.random.Generator, labels: np.ndarray) -> list[Hit]:
    locals_ = int(draw.choice([0, 1, 2, 3, 6, 9], p=[0.04, 0.3, 0.3, 0.3, 0.03, 0.03]))
    hits = max(1, locals_ + int(draw.choice([-1, 0, 1, 4, 8], p=[0.05, 0.05, 0.2, 0.3, 0.4])))
    return [random_hit(draw, locals_, labels) for _ in range(hits)]


def random_problem(seed: int) -> Random:
    draw = np.random.default_rng(seed)
    labels = np.sort(draw.choice(LARGEST if seed % 2 else 60, 5, replace=False) + 1)
    labels[-1] = LARGEST if seed % 2 else labels[-1]
    files = [[random_record(draw, labels) for _ in range(25)] for _ in range(2)]
    constraint = [(int(label), round(draw.normal(), 3)) for label in labels]
    measurement = [(int(label), round(draw.normal(), 3)) for label in labels[[0, 3, 0]]]
    return Random([1.0, 0.25], files, constraint, measurement, {int(labels[1]): 0.125})


def write_problem(problem: Random, folder: Path) -> Path:
    lines = ["Cfiles"]
    for k, (weight, records) in enumerate(zip(problem.weights, problem.files, strict=True)):
        with MilleWriter(folder / f"{k}.bin") as writer:
            for record in records:
                for value, sigma, local, derivatives in record:  # by hand: the writer takes no label twice
                    writer._numbers += [value, *[x for _, x in local], sigma, *[x for _, x in derivatives]]
                    writer._integers += [0, *[i for i, _ in local], 0, *[label for label, _ in derivatives]]
                writer.special([(1.5, 0), (-2.5, -9)])
                writer.end_record()
        lines.append(f"{k}.bin -- {weight}")
    lines += ["Constraint 0.3", *(f"{label} {x}" for label, x in problem.constraint)]
    lines += ["Measurement 0.2 0.5", *(f"{label} {x}" for label, x in problem.measurement)]
    lines += ["Parameter", *(f"{label} {value} 0" for label, value in problem.start.items())]
    lines += [f"regularisation 1 {problem.presigma}", "entries 1 1", "hugecut 1e9", "method inversion 5 1e-12", "force"]
    path = folder / "steer.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Dense:
    """What the large system gives."""

    values: np.ndarray
    covariance: np.ndarray
    chi2: float
    ndf: int
    rejects: list[int]


def row_of(pairs: Pairs, place: dict[int, int]) -> np.ndarray:
    row = np.zeros(len(place))
    for key, x in pairs:
        row[place[key]] += x
    return row


def solve_dense(problem: Random, labels: np.ndarray) -> Dense:
    """All parameters at once: local ones of each record, then global ones; the constraint by its null space."""
    place = {label: k for k, label in enumerate(labels.tolist())}
    start = np.array([problem.start.get(label, 0.0) for label in labels.tolist()])
    tables, ndf, rejects = [], 0, [0, 0]
    for weight, records in zip(problem.weights, problem.files, strict=True):
        for record in records:
            size = max([i for hit in record for i, _ in hit[2]], default=0)
            sigma = np.array([hit[1] for hit in record])
            local = np.array([row_of(hit[2], {i + 1: i for i in range(size)}) for hit in record])
            if size == 0:
                continue
            if np.linalg.matrix_rank(local / sigma[:, None]) < size or len(record) <= size:
                rejects[int(np.linalg.matrix_rank(local / sigma[:, None]) == size)] += 1
                continue
            ndf += len(record) - size
            derivative = np.array([row_of(hit[3], place) for hit in record])
            rest = np.array([hit[0] for hit in record]) - derivative @ start
            scale = np.sqrt(weight) / sigma
            tables.append((local * scale[:, None], derivative * scale[:, None], rest * scale))
    first = np.cumsum([0, *[local.shape[1] for local, _, _ in tables]])
    rows = [np.hstack([np.zeros((len(rest), first[k])), local, np.zeros((len(rest), first[-1] - first[k + 1])), table])
            for k, (local, table, rest) in enumerate(tables)]  # fmt: skip
    factors, none = row_of(problem.measurement, place) / 0.5, np.zeros(first[-1])
    prior = np.hstack([np.zeros((len(labels), first[-1])), np.eye(len(labels)) / rounded(problem.presigma)])
    design = np.vstack([*rows, np.hstack([none, factors]), prior])
    right = np.concatenate([*[rest for _, _, rest in tables], [0.4 - factors @ start], -start / problem.presigma])
    constraint = np.hstack([none, row_of(problem.constraint, place)])
    free = np.linalg.svd(constraint[None])[2][1:].T
    onto = constraint * (0.3 - constraint[first[-1] :] @ start) / (constraint @ constraint)
    reduced, *_ = np.linalg.lstsq(design @ free, right - design @ onto, rcond=None)
    inverse = free @ np.linalg.pinv(design @ free)
    found = onto + free @ reduced
    covariance = (inverse @ inverse.T)[first[-1] :, first[-1] :]
    chi2 = float(np.sum((right - design @ found) ** 2))
    return Dense(start + found[first[-1] :], covariance, chi2, ndf + 1, rejects)


def assert_agree(found: FitResult, expected: Dense) -> None:
    errors = np.sqrt(np.diag(expected.covariance))
    assert np.abs(found.values - expected.values).max() < 1e-7 * errors.max()
    assert found.covariance is not None
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-6, atol=1e-8 * errors.max() ** 2)
    assert found.chi2 == pytest.approx(expected.chi2, rel=1e-8)
    assert found.ndf == expected.ndf
    assert [found.rejects["rank"], found.rejects["ndf"]] == expected.rejects


@pytest.mark.parametrize("seed", range(24))
def test_the_fit_is_the_solution_of_the_large_system(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = random_problem(seed)
    path = write_problem(problem, tmp_path)
    found = fit(path)
    assert len(found.variable) == len(found.labels)
    assert_agree(found, solve_dense(problem, found.labels))
    three = fit(path, threads=3)
    assert np.array_equal(three.values, found.values)
    assert np.array_equal(three.covariance, found.covariance)
    monkeypatch.setitem(reader.raw_blocks.__kwdefaults__, "block_words", 300)
    monkeypatch.setattr("fiducial.alignment.fit.loops._KEEP_BYTES", 0)
    np.testing.assert_allclose(fit(path).values, found.values, rtol=1e-11, atol=1e-12)


def test_rank_of_many_local_parameters_does_not_hang_on_rounding(tmp_path: Path) -> None:
    """A last direction that no measurement sees, in coordinates where no pivot is exactly zero."""
    draw = np.random.default_rng(5)
    lines = [draw.normal(size=(20, n - 1)) @ draw.normal(size=(n - 1, n)) for n in draw.integers(3, 12, 200)]
    with MilleWriter(tmp_path / "0.bin", Kind.C_DOUBLE) as writer:
        for table in lines:
            for row in table:
                writer.measurement(draw.normal(), draw.uniform(0.01, 0.03), dict(enumerate(row.tolist(), 1)), {7: 1.0})
            writer.end_record()
        for _ in range(600):
            for x in range(4):
                writer.measurement(draw.normal(), 1.0, {1: 1.0}, {7: float(x)})
            writer.end_record()
    steering = tmp_path / "steer.txt"
    steering.write_text("0.bin\nmethod inversion 3 0.001\n")
    found = fit(steering)
    assert found.rejects["rank"] >= 198  # pede's own order of pivots leaves 1 in 400
