"""Eigenvectors at new points."""

import numpy as np

from .gaussian import Gaussian, kernel_sums, row_times

# Rows that residuals are measured on: those that see fewest others, and as many that are drawn.
_N_MEASURED = 256
# Entries of distances that are held at once.
_BATCH_ENTRIES = 1 << 22


class Extension:
    """Right eigenvectors of a Markov matrix at new points: the Nystroem extension, one by one.

    Parameters
    ----------
    affinity : object with ``sums_at(cloud, W)`` and `least_sum`
    norm : Normalization
    functions : ndarray of shape (n, k)
        The eigenvectors.
    cloud : Cloud
    epsilon : float
    n_threads : int
    """

    def __init__(self, affinity, norm, functions, cloud, epsilon, n_threads):
        self._affinity, self._cloud, self._epsilon = affinity, cloud, epsilon
        self._n_threads = n_threads
        weights = norm.weights[:, np.newaxis]
        self._W = np.hstack([weights * functions, weights, np.ones_like(weights)])

    def __call__(self, cloud):
        """Return eigenvalues times eigenvectors: means of these, weighted by the kernel."""
        sums = self._affinity.sums_at(cloud, self._W)
        far = np.flatnonzero(~(sums[:, -1] >= self._affinity.least_sum))
        batch = max(1, _BATCH_ENTRIES // len(self._cloud))
        for first in range(0, len(far), batch):
            some = far[first : first + batch]
            sums[some] = self._relative_sums(cloud[some])
        return sums[:, :-2] / sums[:, -2:-1]

    def _relative_sums(self, cloud):
        """Return sums of the kernel over its largest value at each point: they do not underflow."""
        n, every = len(self._cloud), np.arange(len(self._cloud))
        exponents = Gaussian(self._epsilon).exponents(
            cloud, np.arange(len(cloud)), self._cloud, every
        )
        exponents -= exponents.max(axis=1, keepdims=True)
        rows = (
            np.arange(0, len(cloud) * n + 1, n),
            np.tile(every.astype(np.int32), len(cloud)),
            np.exp(exponents).ravel(),
        )
        return row_times(rows, self._W, self._n_threads)


def residuals_at_points(cloud, epsilon, norm, functions, pairs, rng, n_threads):
    """Estimate the residuals of the exact operator from some of its rows.

    Parameters
    ----------
    cloud : Cloud
    epsilon : float
    norm : Normalization
    functions : ndarray of shape (n, k)
        Right eigenvectors of the Markov matrix, in any scaling.
    pairs : Eigenpairs
    rng : numpy.random.RandomState
    n_threads : int

    Returns
    -------
    residuals : ndarray of shape (k,)
    """
    n = len(cloud)
    # Those that see fewest others stand for themselves: an eigenvector may live on few of them.
    order = np.argsort(norm.sums, kind="stable")
    lowest, others = np.split(order, [min(_N_MEASURED, n)])
    drawn = rng.permutation(others)[:_N_MEASURED]
    rows = np.concatenate([lowest, drawn])
    counts = np.repeat([1.0, len(others) / max(len(drawn), 1)], [len(lowest), len(drawn)])
    weights = norm.weights[:, np.newaxis]
    W = np.hstack([weights * functions, weights])
    sums = kernel_sums(cloud[rows], cloud, Gaussian(epsilon), W, n_threads)
    missed = sums[:, :-1] / sums[:, -1:] - pairs.values * functions[rows]
    missed *= np.sqrt(norm.degrees[rows] * counts)[:, np.newaxis]
    size = np.linalg.norm(functions * np.sqrt(norm.degrees)[:, np.newaxis], axis=0)
    return np.linalg.norm(missed, axis=0) / size
