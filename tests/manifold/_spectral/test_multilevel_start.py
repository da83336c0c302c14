"""Starts of an eigensolver against the eigenvectors of dense computations."""

import numpy as np
import pytest
from scipy import sparse

from skhmat.manifold._spectral.eigenpairs import find_eigenpairs
from skhmat.manifold._spectral.multilevel_start import RandomStart, StartPolicy, with_components
from skhmat.manifold._spectral.precomputed import as_symmetric_operator, normalize_precomputed

from ..affinities import arc, draws, kernel
from .problem import ALPHAS, Problem, angles_between, ordered_arc


@pytest.mark.parametrize("alpha", ALPHAS)
def test_starts_are_close_to_the_eigenvectors(alpha, rng):
    problem = Problem(ordered_arc(rng, 600), alpha, rng)
    block = problem.start(rng).block(16)
    V = block.vectors
    assert V.shape == (600, 16)
    assert block.gaps.shape == (16,)
    assert np.all(np.isfinite(V))
    assert np.linalg.matrix_rank(V) == 16
    assert angles_between(V, problem.vectors[:, :4]).max() <= 0.1
    assert angles_between(rng.standard_normal(V.shape), problem.vectors[:, :4]).min() > 0.8


def test_starts_over_several_levels(rng):
    policy = StartPolicy(max_coarsest=100, thinning=3, max_lowest=10)
    problem = Problem(ordered_arc(rng, 700), 1.0, rng, 0.004)
    V = problem.start(rng, policy=policy).block(16).vectors
    assert angles_between(V, problem.vectors[:, :4]).max() <= 0.2


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_starts_from_few_points(n, alpha, rng):
    problem = Problem(ordered_arc(rng, n), alpha, rng)
    block = problem.start(rng).block(n)
    assert block.vectors.shape == (n, n)
    assert np.all(np.isfinite(block.vectors))
    assert np.all(np.isfinite(block.gaps))


def test_starts_from_points_that_are_the_same(rng):
    """There is no distance from which to choose a bandwidth."""
    problem = Problem(np.ones((20, 2)), 1.0, rng)
    assert np.all(np.isfinite(problem.start(rng).block(8).vectors))


def test_a_start_saves_products(rng):
    problem = Problem(ordered_arc(rng, 600), 1.0, rng, 0.005)
    pairs = [
        find_eigenpairs(problem.operator, 5, None, "chebyshev", start, draws(rng))
        for start in (problem.start(rng), RandomStart(600, draws(rng)))
    ]
    assert pairs[0].n_products < 0.9 * pairs[1].n_products


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_without_a_connection_are_all_found(parts, rng):
    """Single points far away, too, which a subsample leaves out: an eigenvalue 1 for each."""
    X = ordered_arc(rng, 600)
    X[[10, 301, 550][: parts - 1]] = 100 * np.eye(3)[: parts - 1]
    problem = Problem(X, 1.0, rng, 0.05)
    for k in (2, 3, 5):
        pairs = find_eigenpairs(problem.operator, k, None, "auto", problem.start(rng), draws(rng))
        np.testing.assert_allclose(pairs.values, problem.values[:k], atol=1e-6)


def in_parts(rng, sizes):
    """A sparse kernel of parts that nothing connects, in the order of their sizes."""
    blocks = [kernel(X, X, 0.5) for X in (arc(rng, n) for n in sizes)]
    K = as_symmetric_operator(sparse.block_diag(blocks, format="csr"), 1)
    return normalize_precomputed(K, 1.0)


def test_a_start_begins_with_the_largest_parts(rng):
    normalized = in_parts(rng, [30, 10, 60])
    start = with_components(RandomStart(100, draws(rng)), normalized)
    block = start.block(8)
    assert block.vectors.shape == (100, 8)
    assert block.gaps is None
    V = block.vectors[:, :3]
    np.testing.assert_allclose(normalized.operator @ V, V, atol=1e-12)
    assert [np.count_nonzero(column) for column in V.T] == [60, 30, 10]


def test_a_connected_or_dense_kernel_starts_as_it_would(rng):
    start = RandomStart(30, draws(rng))
    assert with_components(start, in_parts(rng, [30])) is start
    dense = normalize_precomputed(as_symmetric_operator(np.eye(30), 1), 1.0)
    assert with_components(start, dense) is start
