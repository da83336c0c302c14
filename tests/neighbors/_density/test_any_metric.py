"""Sums with other metrics against sums of all terms."""

import numpy as np
import pytest

from skhmat.linalg._kernels.sparse_rows import SparseRows
from skhmat.neighbors._density.any_metric import GenericMetricSums, SparseSums, is_euclidean
from skhmat.neighbors._density.kernels import DENSITIES, DensityKernel

from ..densities import assert_logs, clusters, slow_logs


@pytest.mark.parametrize("metric", ["manhattan", "chebyshev"])
@pytest.mark.parametrize("name", DENSITIES)
def test_other_metrics(name, metric, rng):
    X, Y = clusters(rng, 300, 2)
    w = rng.random(300)
    R = np.abs(X[:, np.newaxis] - Y)
    R = R.sum(axis=2) if metric == "manhattan" else R.max(axis=2)
    sums = GenericMetricSums(Y, metric, None, 2)
    kernel = DensityKernel(name, 2.0)
    assert_logs(sums.direct(X, kernel, w), slow_logs(name, R / 2, w), 1e-10)
    R[np.arange(20), np.arange(20)] = np.inf
    exclude = np.arange(20)
    assert_logs(sums.direct(X[:20], kernel, w, exclude), slow_logs(name, R[:20] / 2, w), 1e-10)


def test_sparse_points(rng):
    X, Y = clusters(rng, 300, 2)
    w = rng.random(300)
    R = np.linalg.norm(X[:, np.newaxis] - Y, axis=2)
    R[np.arange(20), np.arange(20)] = np.inf
    found = SparseSums(SparseRows(Y), 2).direct(
        SparseRows(X[:20]), DensityKernel("gaussian", 2.0), w, np.arange(20)
    )
    assert_logs(found, slow_logs("gaussian", R[:20] / 2, w), 1e-8)


def test_names_of_the_euclidean_metric():
    for metric, params in (("euclidean", None), ("l2", {}), ("minkowski", {"p": 2}), ("p", None)):
        assert is_euclidean(metric, params)
    for metric, params in (("minkowski", {"p": 3}), ("manhattan", None)):
        assert not is_euclidean(metric, params)
