"""Densities of mixtures by their definition."""

import numpy as np
import pytest
from scipy.special import logsumexp

from skhmat.neighbors._density.mixture import Mixture, relative_tolerance, scale_weights

from ..densities import assert_logs, distances


def make_mixture(X, weights=None, bandwidth=1.0, metric="euclidean"):
    return Mixture(
        X, weights, bandwidth, metric=metric, metric_params=None, leaf_size=16, n_threads=1
    )


@pytest.mark.parametrize("algorithm", ["auto", "brute", "tree"])
def test_excluded_samples_and_other_weights(algorithm, rng):
    Y, w = rng.standard_normal((200, 2)), rng.random(200)
    mixture, own = make_mixture(Y, rng.random(200)), np.arange(200)
    for bandwidth in (0.3, 2.0):
        terms = -0.5 * (distances(Y, Y) / bandwidth) ** 2 + np.log(w)
        np.fill_diagonal(terms, -np.inf)
        norm = np.log(2 * np.pi * bandwidth**2)
        expected = logsumexp(terms, axis=1) - np.log(w.sum() - w) - norm
        logs, chosen = mixture.log_densities(
            Y, "gaussian", bandwidth, 1e-6, algorithm=algorithm, weights=w, exclude=own
        )
        assert_logs(logs, expected, 2e-6)
        assert chosen in ("brute", "tree")


def test_other_metrics_have_one_algorithm(rng):
    Y = rng.standard_normal((50, 2))
    mixture = make_mixture(Y, metric="manhattan")
    assert mixture.log_densities(Y, "gaussian", 1.0, 1e-4, algorithm="auto")[1] == "brute"


def test_equal_weights_are_none(rng):
    Y = rng.standard_normal((50, 2))
    assert make_mixture(Y, np.full(50, 3.0)).weights is None
    assert make_mixture(Y, rng.random(50)).weights is not None


@pytest.mark.parametrize("largest", [5e-324, 1e-200, 1.0, 1e200, 1.7e308])
@pytest.mark.parametrize("ratio", [1.0, 1e-3, 1e-290])
def test_scaled_weights_keep_their_ratios(largest, ratio):
    w = np.array([largest, largest * ratio, 0.0])
    scaled = scale_weights(w)
    assert np.isfinite(scaled.sum())
    assert scaled[2] == 0
    if w[1] > 0:
        assert scaled[1] > 0
        expected = np.log(w[1]) - np.log(w[0])
        assert np.log(scaled[1]) - np.log(scaled[0]) == pytest.approx(expected)


@pytest.mark.parametrize("log_tol", [0.0, 1e-12, 1e-4, 0.5])
def test_relative_tolerance_is_that_of_the_logarithm(log_tol):
    rtol = relative_tolerance(log_tol)
    assert -np.log1p(-rtol) <= log_tol
    assert -np.log1p(-rtol) == pytest.approx(log_tol, rel=2e-3)
