"""Rules and checks of bandwidths."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from skhmat.linalg._kernels.sparse_rows import SparseRows
from skhmat.neighbors._density.bandwidth import (
    POLICY,
    candidate_bandwidths,
    check_bandwidths,
    choose_bandwidth,
)


def test_candidates_span_the_standard_bandwidth(rng):
    X = rng.standard_normal((500, 3)) * 7
    candidates = candidate_bandwidths(X)
    standard = np.sqrt(X.var(axis=0).mean()) * (500 * 5 / 4) ** (-1 / 7)
    assert len(candidates) == 20
    np.testing.assert_allclose(candidates[[0, -1]], [0.1 * standard, 2 * standard])
    few = candidate_bandwidths(X, replace(POLICY, n_candidates=3, largest_candidate=0.4))
    np.testing.assert_allclose(few, standard * np.array([0.1, 0.2, 0.4]))


def test_arrays_are_copied(rng):
    X, given = rng.random((30, 2)), np.array([0.5, 0.7])
    chosen = choose_bandwidth(given, X, None, 30)
    given[:] = -1
    np.testing.assert_array_equal(chosen, [0.5, 0.7])
    listed = check_bandwidths([1, 2])
    assert listed.dtype == np.float64


def test_asymmetry_that_passes_for_rounding(rng):
    X, matrix = rng.random((30, 2)), np.array([[2.0, 1.0], [1.0 + 1e-8, 3.0]])
    with pytest.raises(ValueError, match=r"symmetric and positive definite.* transpose by 1e-08"):
        choose_bandwidth(matrix, X, None, 30)
    rough = replace(POLICY, max_asymmetry=1e-6)
    np.testing.assert_array_equal(choose_bandwidth(matrix, X, None, 30, rough), matrix)


def test_weights_reduce_the_number_of_samples(rng):
    X = rng.standard_normal((100, 2))
    w = np.repeat([1.0, 1e-12], 50)
    few = choose_bandwidth("scaled_scott", X[:50], None, 50)
    np.testing.assert_allclose(choose_bandwidth("scaled_scott", X, w, 100), few, rtol=1e-6)
    # The plain rules also count samples without a weight.
    assert choose_bandwidth("scott", X[:50], None, 100) == pytest.approx(100 ** (-1 / 6))


@pytest.mark.parametrize("exponent", [-1000, -500, 500, 1020])
def test_candidates_have_the_unit_of_the_samples(exponent, rng):
    X = rng.uniform(-1, 1, (50, 3))
    expected, scaled = np.ldexp(candidate_bandwidths(X), exponent), np.ldexp(X, exponent)
    np.testing.assert_array_equal(candidate_bandwidths(scaled), expected)
    found = candidate_bandwidths(SparseRows(sparse.csr_matrix(scaled)))
    np.testing.assert_allclose(found / expected, 1)


@pytest.mark.parametrize("value", [0.1, 1e8 / 3, 1e-300])
def test_constant_features_have_no_variance(value, rng):
    X = np.column_stack([rng.standard_normal(60), np.full(60, value)])
    one, both = candidate_bandwidths(X[:, :1]), candidate_bandwidths(X)
    rules = (60 * 3 / 4) ** (-1 / 5), (60 * 4 / 4) ** (-1 / 6)
    np.testing.assert_allclose(both / rules[1], one / rules[0] / np.sqrt(2))
    for samples in (X[:, 1:], SparseRows(sparse.csr_matrix(X[:, 1:]))):
        with pytest.raises(ValueError, match="standard deviation of the samples is 0, got None"):
            candidate_bandwidths(samples)
    with pytest.raises(ValueError, match=r"bandwidth must be .*covariance of the samples is singu"):
        choose_bandwidth("scaled_scott", X, None, 60)


def test_covariance_in_the_unit_of_each_feature(rng):
    X = rng.uniform(-1, 1, (50, 2)) @ [[1, 0.5], [0, 1]]
    expected = choose_bandwidth("scaled_scott", X, None, 50)
    found = choose_bandwidth("scaled_scott", X * [2.0**-500, 2.0**500], None, 50)
    np.testing.assert_array_equal(found, expected * [[2.0**-1000, 1], [1, 2.0**1000]])
    for unit in (2.0**-1000, 2.0**1000):
        with pytest.raises(ValueError, match=r"bandwidth must be .* beyond all floats, got 'scal"):
            choose_bandwidth("scaled_scott", X * unit, None, 50)
