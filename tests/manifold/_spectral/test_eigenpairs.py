"""Eigenpairs of normalised kernels against dense computations."""

import numpy as np
import pytest

from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.manifold._spectral.affinity import AffinityPolicy
from skhmat.manifold._spectral.eigenpairs import (
    EigenpairPolicy,
    LeadingEigenpairs,
    block_width,
    count_unit_eigenvalues,
    drop_unreliable_pairs,
    find_eigenpairs,
    find_significant_pairs,
)
from skhmat.manifold._spectral.multilevel_start import RandomStart, StartBlock

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
