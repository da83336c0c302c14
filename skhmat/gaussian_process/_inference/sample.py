"""What inference is made from, and what it finds."""

import math
from dataclasses import dataclass

import numpy as np

from ..._utils.parallel import run_tasks

# Rows of a block of covariances.
BLOCK_ROWS = 256
# Entries of a block, at most, that is made for new points.
_BLOCK_ENTRIES = 1 << 24


@dataclass(frozen=True, eq=False)
class Sample:
    """Observations of a function with noise.

    Attributes
    ----------
    X : ndarray of shape (n, d), float64, C-contiguous
    Y : ndarray of shape (n, k)
        Targets, each an independent process with the same covariance.
    noise : ndarray of shape (n,)
        Variances of the noise, in addition to that of the kernel.
    n_threads : int
    """

    X: np.ndarray
    Y: np.ndarray
    noise: np.ndarray
    n_threads: int

    def __len__(self):
        return len(self.X)

    @property
    def n_targets(self):
        """Number of targets."""
        return self.Y.shape[1]

    def threads_for(self, covariance):
        """Return the threads that may evaluate a covariance: one where it calls Python."""
        return 1 if covariance.is_called else self.n_threads

    def blocks(self):
        """Return slices of the samples, one for each block of rows."""
        n = len(self)
        return [slice(i, min(i + BLOCK_ROWS, n)) for i in range(0, n, BLOCK_ROWS)]

    def log_likelihood(self, dual, logdet):
        """Return the log-likelihood of Y from A^-1 Y and log det A, A being its covariance."""
        n, k = self.Y.shape
        return float(-0.5 * (np.vdot(self.Y, dual) + k * (logdet + n * math.log(2 * math.pi))))


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The log marginal likelihood of hyperparameters.

    Attributes
    ----------
    value : float
        Of all targets together; -inf where the covariance matrix is not positive definite.
    gradient : ndarray of shape (n_dims,) or None
        By theta.
    """

    value: float
    gradient: np.ndarray | None = None


def symmetric_sums(covariance, sample, weights):
    """Return the sums of W dK/dtheta over all pairs of samples, (n_dims,).

    Parameters
    ----------
    covariance : Covariance
    sample : Sample
    weights : callable
        ``weights(rows, stop)`` returns W[rows, :stop], a new array, of a symmetric W.
    """

    def add(rows):
        W = weights(rows, rows.stop)
        W[:, : rows.start] *= 2  # and those of the mirrored pairs
        return covariance.derivative_sums(sample.X[rows], sample.X[: rows.stop], W, rows.start)

    if covariance.n_dims == 0:
        return np.zeros(0)
    return np.sum(run_tasks(add, sample.blocks(), sample.threads_for(covariance)), axis=0)


def new_blocks(n_new, n):
    """Return slices of new points whose covariances with n samples are held at once."""
    step = max(_BLOCK_ENTRIES // max(n, 1), 64)
    return [slice(i, min(i + step, n_new)) for i in range(0, n_new, step)]


def cross_covariance(covariance, X_new, sample):
    """Return the covariances of new points with the samples, (m, n)."""
    out = np.empty((len(X_new), len(sample)))

    def fill(start):
        rows = slice(start, start + BLOCK_ROWS)
        out[rows] = covariance.block(X_new[rows], sample.X)

    run_tasks(fill, range(0, len(X_new), BLOCK_ROWS), sample.threads_for(covariance))
    return out
