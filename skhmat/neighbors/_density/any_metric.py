"""Sums of kernels of densities for any metric: all distances, one by one."""

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import DistanceMetric

from ..._utils.parallel import run_tasks
from .kernels import _log_values

# Distances that one thread holds at once.
_BATCH = 1 << 20


class DistanceSums:
    """What `DensitySums` does, with the distances of scikit-learn and no tree.

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

    def brute(self, X, kernel, weights=None, own=None):
        """Sum up all points one by one; see `DensitySums.brute`."""
        X = np.ascontiguousarray(X, dtype=np.float64)
        rows = max(1, _BATCH // len(self.Y))
        with np.errstate(divide="ignore"):
            log_weights = 0.0 if weights is None else np.log(weights)

        def some(first):
            part = slice(first, first + rows)
            logs = _log_values(
                kernel.name, self._metric.pairwise(X[part], self.Y) / kernel.bandwidth
            )
            logs += log_weights
            if own is not None:
                logs[np.arange(len(logs)), own[part]] = -np.inf
            return logsumexp(logs, axis=1)

        parts = run_tasks(some, range(0, len(X), rows), self.n_threads)
        return np.concatenate([np.empty(0), *parts])
