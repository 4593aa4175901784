"""Three ways to the solution of the same system, and two matrices to sum it in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fiducial.alignment.fit.kernels import row_start
from fiducial.alignment.fit.linear import minres, tiles
from fiducial.alignment.fit.linear.constraints import Constraints
from fiducial.alignment.fit.linear.exact import ExactSolution, Solution
from fiducial.alignment.fit.linear.minres import IterativeSolution
from fiducial.alignment.fit.linear.tiles import TiledSolution
from fiducial.alignment.fit.loops import Workers
from fiducial.alignment.fit.matrices import FullMatrix, SparseMatrix
from fiducial.core.errors import DataError

Doubles = NDArray[np.float64]
SIZE = 130


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 32)


def system(*, gauge: int = 0, decades: float = 3, seed: int = 1) -> tuple[Doubles, Constraints]:
    """A matrix of very different diagonal elements, singular in as many directions as the constraints fix."""
    random = np.random.default_rng(seed)
    design = (
        random.normal(size=(400, SIZE))
        * (random.random((400, SIZE)) < 0.2)
        * 10 ** random.uniform(-decades, decades, SIZE)
    )
    factors = random.normal(size=(gauge, SIZE)) * (random.random((gauge, SIZE)) < 0.3)
    if gauge:  # the data do not see what the constraints fix
        design -= design @ factors.T @ np.linalg.solve(factors @ factors.T, factors)
    values = random.normal(size=gauge)
    return design.T @ design, Constraints(csr_array(factors), values, np.arange(SIZE))


def lower(matrix: Doubles) -> csr_array:
    return csr_array(np.tril(matrix))


def tiled(threads: int) -> Callable[[Doubles, Constraints], Solution]:
    return lambda matrix, constraints: TiledSolution(matrix.copy(), constraints, Workers(threads).each)


WAYS: dict[str, Callable[[Doubles, Constraints], Solution]] = {
    "tiles": tiled(1),
    "tiles, 3 threads": tiled(3),
    "minres": lambda matrix, constraints: IterativeSolution(lower(matrix), constraints, 1e-12, range(SIZE)),
}


@pytest.mark.parametrize("gauge", [0, 7])
@pytest.mark.parametrize("way", WAYS)
def test_all_ways_lead_to_the_same(way: str, gauge: int) -> None:
    # MINRES needs many steps where constraints tie parameters of very different sizes.
    matrix, constraints = system(gauge=gauge, decades=1 if way == "minres" else 3)
    gradient = matrix @ np.random.default_rng(2).normal(size=SIZE)
    expected, found = ExactSolution(matrix, constraints), WAYS[way](matrix, constraints)
    errors = np.sqrt(expected.variances())
    step = found.step(gradient, constraints.value)
    assert (
        np.abs((step - expected.step(gradient, constraints.value)) / errors).max() < 1e-6 * np.abs(step / errors).max()
    )
    assert np.allclose(constraints.factors @ step, constraints.value)
    assert np.allclose(np.sqrt(found.variances()), errors, rtol=1e-5)
    assert np.allclose(found.diagonal(), np.diag(matrix))
    assert found.rank_defect == expected.rank_defect == 0


def test_threads_do_not_change_a_bit_of_a_large_solution() -> None:
    matrix, constraints = system(gauge=3)
    one, three = (tiled(threads)(matrix, constraints) for threads in (1, 3))
    gradient = np.arange(SIZE) + 1.0
    assert np.array_equal(one.step(gradient, constraints.value), three.step(gradient, constraints.value))
    assert np.array_equal(one.variances(), three.variances())


@pytest.mark.parametrize("make", [ExactSolution, tiled(2)], ids=["turned", "tiles"])
def test_what_is_not_determined_is_named(make: Callable[[Doubles, Constraints], Solution]) -> None:
    matrix, constraints = system()
    design = np.linalg.cholesky(matrix).T
    design[:, 70] = design[:, 5] * 3 - design[:, 40] * 2
    solution = make(design.T @ design, constraints)
    assert solution.rank_defect == 1
    (direction,) = solution.undetermined()
    assert set(direction.tolist()) <= {5, 40, 70}
    step = solution.step(design.T @ design @ np.ones(SIZE), np.zeros(0))
    assert np.allclose(design @ step, design @ np.ones(SIZE), rtol=1e-6, atol=1e-6 * np.abs(design).max())
    assert np.count_nonzero(solution.variances() == 0) == 1


def test_minres_says_when_it_does_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minres, "_MOST_STEPS", 0.05)
    monkeypatch.setattr(minres, "_LOOK", 3)
    matrix, constraints = system()
    solution = IterativeSolution(lower(matrix), constraints, 1e-12)
    with pytest.raises(DataError, match=r"MINRES did not arrive in 9 steps: F still fell by \d"):
        solution.step(np.ones(SIZE), np.zeros(0))


def test_minres_finds_motions_that_the_data_hardly_see() -> None:
    """In a chain of differences the residual is small long before the far end has come to its place."""
    size = 1500
    random = np.random.default_rng(4)
    weight = 10 ** random.uniform(-3, 1, size)
    diagonal = weight + np.append(weight[1:], 0.0)
    chain = csr_array(np.diag(diagonal) - np.diag(weight[1:], -1))
    matrix = (chain + csr_array(np.tril(chain.toarray(), -1).T)).toarray()
    free = Constraints(csr_array((0, size)), np.zeros(0), np.arange(size))
    gradient = random.normal(size=size) * np.sqrt(diagonal)
    expected = ExactSolution(matrix, free)
    step = IterativeSolution(chain, free, 1e-12).step(gradient, np.zeros(0))
    off = (step - expected.step(gradient, np.zeros(0))) / np.sqrt(expected.variances())
    assert np.abs(off).max() < 1e-5


@pytest.mark.parametrize("decades", [0, 3])
def test_many_defects_are_dropped_together(decades: float) -> None:
    """As one by one: the largest pivot goes first, whatever the sizes of the parameters."""
    matrix, constraints = system(decades=decades)
    design = np.linalg.cholesky(matrix).T
    random = np.random.default_rng(5)
    pairs = random.permutation(SIZE)[:80].reshape(40, 2)
    design[:, pairs[:, 0]] = design[:, pairs[:, 1]] * random.uniform(0.1, 2, 40)
    solution = ExactSolution(design.T @ design, constraints)
    assert solution.rank_defect == 40
    dropped = np.flatnonzero(solution.variances() == 0)
    assert {tuple(sorted(pair)) for pair in pairs.tolist() if set(pair) & set(dropped.tolist())} == {
        tuple(sorted(pair)) for pair in pairs.tolist()
    }


def test_nothing_at_all_is_determined() -> None:
    free = Constraints(csr_array((0, 3)), np.zeros(0), np.arange(3))
    solution = ExactSolution(np.zeros((3, 3)), free)
    assert solution.rank_defect == 3
    assert not solution.variances().any()
    assert not solution.step(np.zeros(3), np.zeros(0)).any()


@pytest.mark.parametrize("parts", [1, 3])
def test_a_sparse_matrix_holds_what_a_full_one_does(parts: int) -> None:
    random = np.random.default_rng(3)
    size = 500
    sparse, full = SparseMatrix(size, parts), FullMatrix(size)
    for _ in range(200):
        counts = random.integers(1, 30, 3)
        columns = np.concatenate([random.permutation(size)[:count] for count in counts]).astype(np.uint32)
        triangles = random.normal(size=sum(row_start(int(count)) for count in counts))
        for part in range(parts):
            sparse.add(counts, columns, triangles, part, parts)
            full.add(counts, columns, triangles, part, parts)
    few = np.sort(random.permutation(size)[:9])
    none = few[:0]
    for matrix in (sparse, full):
        matrix.add_diagonal(np.arange(size) % 3.0)
        matrix.add_elements(few, np.outer(few, few) * 1.0)
        matrix.add_elements(none, np.outer(none, none) * 1.0)
    assert np.array_equal(sparse.full(), np.tril(full.elements))
    assert np.array_equal(sparse.block(few), np.tril(full.block(few)))
