"""Logarithms of kernel sums for any metric of scikit-learn, and of sparse points, term by term."""

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import DistanceMetric

from ..._utils.parallel import run_tasks
from ...linalg._kernels.sparse_rows import squared_distances
from .kernels import log_values

# Distances that a thread holds at a time.
_BLOCK_ENTRIES = 1 << 20


def is_euclidean(metric, metric_params):
    """Return whether a metric of scikit-learn is the Euclidean one."""
    if metric in ("minkowski", "p"):
        return (metric_params or {}) in ({}, {"p": 2})
    return metric in ("euclidean", "l2")


class GenericMetricSums:
    """Like `DensitySums`, with the distances of scikit-learn and without a tree.

    Parameters
    ----------
    Y : ndarray of shape (n, d)
    metric : str
    metric_params : dict or None
    n_threads : int
    """

    def __init__(self, Y, metric, metric_params, n_threads):
        self.Y, self.n_threads = np.ascontiguousarray(Y, dtype=np.float64), n_threads
        self._metric = DistanceMetric.get_metric(metric, **(metric_params or {}))

    def __len__(self):
        return len(self.Y)

    def distances(self, X):
        """Return the distances of points X, (m, d), from those of the sums, of shape (m, n)."""
        return self._metric.pairwise(np.ascontiguousarray(X, dtype=np.float64), self.Y)

    def direct(self, X, kernel, weights=None, exclude=None):
        """Add up all terms; see `DensitySums.direct`."""
        n_rows = max(1, _BLOCK_ENTRIES // len(self.Y))
        with np.errstate(divide="ignore"):
            log_weights = 0.0 if weights is None else np.log(weights)

        def sum_block(first):
            rows = slice(first, first + n_rows)
            R = self.distances(X[rows]) / kernel.bandwidth
            terms = log_values(kernel.name, R)
            terms += log_weights
            if exclude is not None:
                terms[np.arange(len(terms)), exclude[rows]] = -np.inf
            return logsumexp(terms, axis=1)

        blocks = run_tasks(sum_block, range(0, len(X), n_rows), self.n_threads)
        return np.concatenate([np.empty(0), *blocks])


class SparseSums(GenericMetricSums):
    """The same for Euclidean distances of points that are `SparseRows`."""

    def __init__(self, Y, n_threads):
        self.Y, self.n_threads = Y, n_threads

    def distances(self, X):
        """Return the distances of points X, SparseRows, from those of the sums."""
        return np.sqrt(squared_distances(X, self.Y))
