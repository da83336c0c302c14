"""Eigenpairs of normalised kernels against dense computations."""

import numpy as np
import pytest

from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.manifold._spectral.affinity import AffinityPolicy, sparse_affinity
from skhmat.manifold._spectral.eigenpairs import (
    POLICY,
    EigenpairPolicy,
    LeadingEigenpairs,
    block_width,
    count_unit_eigenvalues,
    drop_unreliable_pairs,
    find_eigenpairs,
    find_significant_pairs,
)
from skhmat.manifold._spectral.gaussian import TruncatedGaussian
from skhmat.manifold._spectral.multilevel_start import RandomStart, StartBlock
from skhmat.manifold._spectral.neighborhoods import NeighborhoodScales

from ...linalg.matrices import symmetric
from ..affinities import draws
from .problem import ALPHAS, Problem, assert_same_up_to_sign, ordered_arc


@pytest.mark.parametrize("solver", ["auto", "chebyshev", "lanczos", "dense"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_solvers_agree_with_the_dense_one(alpha, solver, rng):
    """Vectors to the documented error of 1e-5, values to its square."""
    problem = Problem(ordered_arc(rng, 600), alpha, rng)
    pairs = find_eigenpairs(problem.operator, 4, None, solver, problem.start(rng), draws(rng))
    assert pairs.is_converged
    assert pairs.method == ("chebyshev" if solver == "auto" else solver)
    np.testing.assert_allclose(pairs.values, problem.values[:4], rtol=1e-9)
    assert_same_up_to_sign(pairs.vectors, problem.vectors[:, :4], 1e-5)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(4), atol=1e-11)
    missed = problem.dense @ pairs.vectors - pairs.vectors * pairs.values
    true = np.linalg.norm(missed, axis=0) / pairs.values[0]
    np.testing.assert_allclose(pairs.residuals, true, atol=1e-12)


# ---- graphs


def graph(rng, X, knn):
    """Return the normalised kernel of near neighbours, and its eigenpairs, largest first."""
    samples = NeighborhoodScales.from_samples(X, knn, None, None, 1)
    epsilon = np.median(samples.cloud.radii) ** 2 or 1.0
    kernel = TruncatedGaussian(epsilon, np.finfo(np.float64).tiny)
    normalized = sparse_affinity(samples.cloud, kernel, 1.0, 1)
    values, vectors = np.linalg.eigh(normalized.operator.tocsr().toarray())
    return normalized, values[::-1], vectors[:, ::-1]


def find_in_graph(normalized, k, rng, tol=None, policy=POLICY):
    """Solve with no start but that of the graph."""
    degrees = normalized.normalization.degrees
    options = {"policy": policy, "degrees": degrees}
    return find_eigenpairs(normalized.operator, k, tol, "auto", None, draws(rng), **options)


CLOUDS = {
    "arc": ordered_arc,
    "plane": lambda rng, n: rng.random((n, 2)) * [1.0, 0.6],
    "space": lambda rng, n: rng.standard_normal((n, 5)),
    "grid": lambda rng, n: np.indices((n // 25, 25)).reshape(2, -1).T * [1.0, 1.3],
    "duplicates": lambda rng, n: np.repeat(rng.random((n // 4, 2)), 4, axis=0),
    "outliers": lambda rng, n: rng.standard_t(1.5, (n, 2)),
    "parts": lambda rng, n: rng.random((n, 2)) + 9 * rng.integers(0, 3, n)[:, np.newaxis],
    "two scales": lambda rng, n: (
        rng.random((n, 2)) * np.where(np.arange(n) < 300, 1, 0.01)[:, None]
    ),
}


@pytest.mark.parametrize("knn", [2, 10])
@pytest.mark.parametrize("name", CLOUDS)
def test_graphs_agree_with_dense_computations(name, knn, rng):
    """No eigenvalue is missed, whatever hangs together and whatever does not."""
    normalized, values, vectors = graph(rng, CLOUDS[name](rng, 600), knn)
    pairs = find_in_graph(normalized, 5, rng)
    assert pairs.is_converged
    np.testing.assert_allclose(pairs.values, values[:5], atol=1e-9)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(5), atol=1e-10)
    A = normalized.operator
    missed = np.linalg.norm(A @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
    np.testing.assert_allclose(pairs.residuals, missed, atol=1e-12)
    # Each vector to 1e-5 in the space of the eigenvalues that are equal to its own, about.
    for value, vector in zip(pairs.values, pairs.vectors.T, strict=True):
        others = vectors[:, np.abs(values - value) > 1e-7]
        near = np.abs(values - value)[np.abs(values - value) > 1e-7].min()
        assert np.linalg.norm(others.T @ vector) <= max(1e-5, 10 * pairs.residuals.max() / near)


def test_graphs_of_more_parts_than_vectors(rng):
    normalized, values, _ = graph(rng, np.repeat(np.arange(40.0)[:, None], 15, axis=0), 3)
    pairs = find_in_graph(normalized, 4, rng)
    np.testing.assert_allclose(pairs.values, np.ones(4), atol=1e-12)
    np.testing.assert_allclose(values[:40], 1)
    assert pairs.n_products == block_width(600, 4)


def test_products_of_graphs_do_not_grow(rng):
    """Those of filters grow like the inverse root of the distances between eigenvalues."""
    counts = []
    for n in (1500, 6000):
        samples = NeighborhoodScales.from_samples(
            rng.random((n, 2)) * [1.0, 0.6], 15, None, None, 1
        )
        kernel = TruncatedGaussian(np.median(samples.cloud.radii) ** 2, 1e-300)
        pairs = find_in_graph(sparse_affinity(samples.cloud, kernel, 1.0, 1), 4, rng)
        assert pairs.method == "lobpcg"
        counts.append(pairs.n_products)
    assert max(counts) <= 400
    assert counts[1] <= 1.6 * counts[0]


@pytest.mark.parametrize("tol", [1e-3, 1e-8])
def test_graphs_to_a_tolerance_that_is_given(tol, rng):
    normalized, values, _ = graph(rng, ordered_arc(rng, 600), 10)
    pairs = find_in_graph(normalized, 5, rng, tol)
    assert pairs.residuals.max() <= tol
    np.testing.assert_allclose(pairs.values, values[:5], atol=tol)


def test_filters_go_on_where_multigrid_ends(rng):
    """LOBPCG aims at a residual that is too large."""
    normalized, values, _ = graph(rng, ordered_arc(rng, 600), 10)
    policy = EigenpairPolicy(aim=1e6, max_products_per_row=1e9)
    pairs = find_in_graph(normalized, 4, rng, policy=policy)
    assert pairs.method == "chebyshev"
    assert pairs.is_converged
    np.testing.assert_allclose(pairs.values, values[:4], atol=1e-9)


def test_dense_rows_are_no_graph(rng):
    normalized, _, _ = graph(rng, ordered_arc(rng, 600), 30)
    policy = EigenpairPolicy(max_row_entries=20, max_products_per_row=1e9)
    start, degrees = RandomStart(600, draws(rng)), normalized.normalization.degrees
    options = {"policy": policy, "degrees": degrees}
    pairs = find_eigenpairs(normalized.operator, 4, None, "auto", start, draws(rng), **options)
    assert pairs.method == "chebyshev"


# ---- any matrix


@pytest.mark.parametrize("solver", ["chebyshev", "lanczos", "dense"])
@pytest.mark.parametrize("k", [1, 2, 29, 30])
def test_any_number_of_pairs(k, solver, rng, global_random_seed):
    values = np.linspace(1, -0.5, 30)
    A = DenseOperator(symmetric(values, global_random_seed))
    pairs = find_eigenpairs(A, k, 1e-8, solver, RandomStart(30, draws(rng)), draws(rng))
    np.testing.assert_allclose(pairs.values, values[:k], atol=1e-7)
    assert pairs.vectors.shape == (30, k)
    assert pairs.residuals.shape == (k,)


@pytest.mark.parametrize("solver", ["chebyshev", "dense"])
@pytest.mark.parametrize("copies", [2, 4])
def test_eigenvalues_that_come_more_than_once(copies, solver, rng, global_random_seed):
    """With their multiplicity, even if it exceeds k, and with orthogonal vectors."""
    values = np.r_[np.ones(copies), np.full(3, 0.8), np.linspace(0.5, 0, 593 - copies + 4)]
    A = symmetric(values, global_random_seed)
    for k in (3, 6):
        start = RandomStart(600, draws(rng))
        pairs = find_eigenpairs(DenseOperator(A), k, 1e-9, solver, start, draws(rng))
        np.testing.assert_allclose(pairs.values, values[:k], atol=1e-8)
        np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(k), atol=1e-10)
        np.testing.assert_allclose(A @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-8)


def test_a_tolerance_that_is_given_is_reached(rng):
    problem = Problem(ordered_arc(rng, 600), 1.0, rng)
    for tol in (1e-3, 1e-9):
        pairs = find_eigenpairs(
            problem.operator, 5, tol, "chebyshev", problem.start(rng), draws(rng)
        )
        assert pairs.residuals.max() <= tol
        assert pairs.is_converged


@pytest.mark.parametrize("solver", ["chebyshev", "lanczos", "dense"])
@pytest.mark.parametrize("tol", [None, 1e-10])
def test_entries_in_float32_do_not_limit_residuals(tol, solver, rng):
    policy = AffinityPolicy(max_always_dense=0, max_dense=0)
    problem = Problem(ordered_arc(rng, 600), 1.0, rng, policy=policy)
    A = problem.operator
    assert A.dtype == np.float32
    pairs = find_eigenpairs(A, 5, tol, solver, problem.start(rng), draws(rng))
    assert pairs.is_converged
    missed = A.in_float64() @ pairs.vectors - pairs.vectors * pairs.values
    assert np.linalg.norm(missed, axis=0).max() <= (tol or 1e-6)
    missed = A @ pairs.vectors - pairs.vectors * pairs.values  # as a user measures them
    np.testing.assert_allclose(pairs.residuals, np.linalg.norm(missed, axis=0), atol=2e-7)
    assert_same_up_to_sign(pairs.vectors, problem.vectors[:, :5], 2e-5)
    if solver == "chebyshev":
        assert pairs.n_products < 2000


def test_a_tolerance_that_is_missed(rng):
    problem = Problem(ordered_arc(rng, 600), 1.0, rng)
    pairs = find_eigenpairs(
        problem.operator,
        5,
        1e-12,
        "chebyshev",
        problem.start(rng),
        draws(rng),
        policy=EigenpairPolicy(max_filters=0),
    )
    assert not pairs.is_converged
    assert pairs.residuals.max() > 1e-12


@pytest.mark.parametrize(("n", "k", "solver"), [(512, 3, "dense"), (513, 3, "chebyshev")])
def test_small_matrices_are_decomposed(n, k, solver, rng, global_random_seed):
    A = DenseOperator(symmetric(0.9 ** np.arange(n), global_random_seed))
    pairs = find_eigenpairs(A, k, None, "auto", RandomStart(n, draws(rng)), draws(rng))
    assert pairs.method == solver
    many = find_eigenpairs(A, n // 2, None, "auto", RandomStart(n, draws(rng)), draws(rng))
    assert many.method == "dense"


def test_crowded_eigenvalues_are_not_filtered_for_ever(rng):
    """Two scales: for the narrow kernel hundreds of points stand alone."""
    X = np.sort(rng.standard_normal((600, 1)) * np.repeat([1, 1e-3], 300)[:, np.newaxis], axis=0)
    problem = Problem(X, 1.0, rng, epsilon=1e-8)
    pairs = find_eigenpairs(problem.operator, 3, None, "auto", problem.start(rng), draws(rng))
    assert pairs.method == "dense"
    assert pairs.is_converged
    np.testing.assert_allclose(pairs.values, problem.values[:3], atol=1e-12)
    # A start that is right already needs no decomposition.
    block = StartBlock(problem.vectors[:, :8], np.zeros(8))
    pairs = find_eigenpairs(problem.operator, 3, None, "auto", FixedStart(block), draws(rng))
    assert pairs.method == "chebyshev"
    assert pairs.is_converged
    assert pairs.n_products < 100


def test_products_are_counted(rng):
    problem = Problem(ordered_arc(rng, 600), 1.0, rng)
    for solver in ("chebyshev", "lanczos", "dense"):
        counted = CountedOperator(problem.operator)
        pairs = find_eigenpairs(counted, 4, None, solver, problem.start(rng), draws(rng))
        residuals = 4 if solver != "chebyshev" else 0
        assert pairs.n_products + residuals == counted.n_products > 0


def test_first_pairs(rng):
    problem = Problem(ordered_arc(rng, 100), 1.0, rng)
    some = problem.pairs(5).first(2)
    np.testing.assert_array_equal(some.values, problem.values[:2])
    np.testing.assert_array_equal(some.vectors, problem.vectors[:, :2])
    assert some.residuals.shape == (2,)
    assert len(some) == 2


@pytest.mark.parametrize("k", range(1, 60))
def test_width_of_a_block(k):
    width = block_width(1000, k)
    assert width % 8 == 0
    assert k + 5 <= width <= 1.5 * k + 16
    assert block_width(k, k) == k


class FixedStart:
    """A start that has one block."""

    def __init__(self, block):
        self._block = block

    def block(self, width):
        return self._block


def pairs_of(values, residual=0.0):
    """Eigenpairs of a diagonal matrix."""
    k = len(values)
    return LeadingEigenpairs(np.array(values), np.eye(k), np.full(k, residual), 0, "dense", True)


def test_a_search_for_significant_pairs_ends_where_they_do():
    values, policy = 0.5 ** np.arange(20), EigenpairPolicy(first_tried=3, max_tried=12)
    asked = []

    def find(k):
        asked.append(k)
        return pairs_of(values).first(k)

    pairs, is_complete = find_significant_pairs(find, 20, 1, 0.1, policy)
    assert len(pairs) == 5  # 1, and from 1/2 to 1/16
    assert is_complete
    assert asked == [3, 5, 9]
    pairs, is_complete = find_significant_pairs(find, 20, 1, 1e-9, policy)
    assert len(pairs) == 12
    assert not is_complete
    pairs, is_complete = find_significant_pairs(find, 4, 1, 1e-9, policy)
    assert len(pairs) == 4
    assert is_complete


def test_pairs_that_are_no_more_than_an_error_are_dropped():
    assert len(drop_unreliable_pairs(pairs_of([2.0, 1.0, 1e-5, 1e-15]), 0.0)) == 3
    assert len(drop_unreliable_pairs(pairs_of([2.0, 1.0, 1e-5, 1e-15]), 1e-4)) == 2
    assert len(drop_unreliable_pairs(pairs_of([2.0, 1.0]), 0.0)) == 2


def test_eigenvalues_that_are_1():
    values = [1.0, 1 - 5e-11, 1 - 5e-8, 0.5]
    assert count_unit_eigenvalues(pairs_of(values), 0.0) == 2
    assert count_unit_eigenvalues(pairs_of(values), 1e-7) == 3
    assert count_unit_eigenvalues(pairs_of(values, 1e-7), 0.0) == 3
    assert count_unit_eigenvalues(pairs_of(values, 1.0), 0.0) == 3
