"""Leave-one-out errors of projections, and what is chosen by them."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.linalg._spectral.dense import largest_eigenpairs
from skhmat.manifold._leave_one_out import (
    LeaveOneOutPolicy,
    Standardized,
    choose_count,
    choose_for_function,
    choose_simplest,
    leave_one_out,
    tried_counts,
)

from .affinities import arc, draws, kernel


def test_errors_are_those_of_leaving_one_out(rng):
    n, counts = 40, np.array([1, 4, 9])
    X = rng.standard_normal((n, 2))
    Y = np.column_stack([np.sin(X[:, 0]), rng.standard_normal(n)])
    values, vectors = largest_eigenpairs(kernel(X, X, 1.0), 12)
    squares = leave_one_out(values, vectors, Y, counts)
    for k, found in zip(counts, squares, strict=True):
        V, tau = vectors[:, :k], values[k - 1]
        A = (V * values[:k]) @ V.T + tau * (np.eye(n) - V @ V.T)
        expected = np.empty(n)
        for i in range(n):
            others = np.arange(n) != i
            predicted = A[i, others] @ np.linalg.solve(A[np.ix_(others, others)], Y[others])
            expected[i] = np.mean((predicted - Y[i]) ** 2)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-10)


def test_errors_are_close_to_those_of_new_eigenvectors(rng):
    n, k = 150, 12
    X = rng.uniform(-1, 1, (n, 2))
    Y = np.sin(2 * X[:, :1]) + 0.1 * rng.standard_normal((n, 1))
    K = kernel(X, X, 0.5)
    found = leave_one_out(*largest_eigenpairs(K, k), Y, np.array([k]))
    expected = np.empty(n)
    for i in range(n):
        others = np.arange(n) != i
        values, V = largest_eigenpairs(K[np.ix_(others, others)], k)
        predicted = K[i, others] @ V / values @ (V.T @ Y[others])
        expected[i] = (predicted - Y[i])[0] ** 2
    assert found.mean() == pytest.approx(expected.mean(), rel=0.3)


def test_a_kernel_that_reaches_no_sample_predicts_none(rng):
    """Whatever the eigenvectors are: at samples, they hold any function."""
    Y = rng.standard_normal((50, 1))
    V = np.linalg.qr(rng.standard_normal((50, 50)))[0]
    squares = leave_one_out(np.ones(50), V, Y, np.array([5, 50]))
    np.testing.assert_allclose(squares, np.tile(np.square(Y.T), (2, 1)), rtol=1e-6)


def test_counts_are_few_and_reach_the_last():
    for k in (1, 2, 7, 1000):
        counts = tried_counts(k, 1.1)
        assert counts[0] == 1
        assert counts[-1] == k
        assert len(counts) <= 80
        assert (np.diff(counts) > 0).all()
    np.testing.assert_array_equal(tried_counts(8, 1.1), np.arange(1, 9))


def test_the_fewest_eigenpairs_within_a_standard_error(rng):
    noise = 0.5 * rng.standard_normal(400)
    best = 2 + rng.uniform(-1, 1, 400)
    squares = np.array([best + 1, best + noise - noise.mean() + 0.01, best, best])
    assert choose_simplest(squares, np.array([1, 3, 9, 5])) == 1
    assert choose_simplest(squares[[0, 2]], np.array([1, 3])) == 1
    assert choose_simplest(np.array([[1e-13] * 4, [0.0] * 4]), np.array([1, 3])) == 0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_functions_of_any_size_are_standardized(scale, rng):
    Y = scale * rng.uniform(-1, 1, (60, 2))
    functions = Standardized.from_functions(Y)
    np.testing.assert_allclose(functions.values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(functions.values.std(axis=0), 1)
    np.testing.assert_allclose(functions.restore(functions.values), Y, atol=1e-12 * scale)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300])
def test_constant_functions(value):
    functions = Standardized.from_functions(np.full((30, 1), value))
    assert not functions.values.any()
    np.testing.assert_allclose(functions.restore(functions.values), value, rtol=1e-14)


def test_choice_has_the_unit_of_squared_distances_and_no_order(rng):
    X = arc(rng, 120)
    Y = Standardized.from_functions(np.sin(3 * X[:, 2:]) + 0.1 * rng.standard_normal((120, 1)))
    one = choose_for_function(X, Y.values, "auto", None, draws(rng))
    order = rng.permutation(120)
    for scale in (2.0**-20, 8.0):
        other = choose_for_function(scale * X[order], Y.values[order], "auto", None, draws(rng))
        assert other.epsilon == pytest.approx(scale**2 * one.epsilon)
        assert other.n_pairs == one.n_pairs
        assert other.error == pytest.approx(one.error)
    assert (np.diff(one.curve[0]) > 0).all()
    given = choose_for_function(X, Y.values, one.epsilon, None, draws(rng))
    assert given.epsilon == one.epsilon
    assert given.curve[0].tolist() == [one.epsilon]


def test_drawn_samples_do_not_depend_on_the_order(rng):
    X, policy = rng.uniform(-1, 1, (300, 2)), LeaveOneOutPolicy(max_rows=80)
    Y = Standardized.from_functions(np.sin(3 * X[:, :1])).values
    order = rng.permutation(300)
    seed = rng.integers(2**31)
    one, other = (
        choose_for_function(X[rows], Y[rows], "auto", None, np.random.RandomState(seed), policy)
        for rows in (np.arange(300), order)
    )
    # Some distances lie in another order by the last bit.
    assert other.epsilon == pytest.approx(one.epsilon)


def test_noise_needs_few_eigenpairs_and_a_function_as_many_as_it_has(rng):
    X = np.sort(rng.uniform(0, 2 * np.pi, (300, 1)), axis=0)
    noise = Standardized.from_functions(rng.standard_normal((300, 1))).values
    assert choose_for_function(X, noise, "auto", None, draws(rng)).error > 0.8
    values, vectors = largest_eigenpairs(np.exp(cdist(X, X, "sqeuclidean") / -0.5), 60)
    wave = Standardized.from_functions(np.sin(4 * X)).values
    count, error = choose_count(values, vectors, wave)
    assert count >= 8
    assert error <= 1e-6


def test_cut_off_takes_part(rng):
    X = arc(rng, 100)
    Y = Standardized.from_functions(X[:, :1]).values
    near = choose_for_function(X, Y, 1.0, 1e-6, draws(rng))
    assert near.error == pytest.approx(1)  # no sample has a neighbour
    assert choose_for_function(X, Y, 1.0, None, draws(rng)).error < 0.1
