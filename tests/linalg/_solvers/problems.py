"""A Gaussian kernel matrix compressed with many leaves, and the same as an array."""

import numpy as np

from skhmat.linalg import compress

N = 600


def small(K, **options):
    """Return a kernel matrix compressed with small leaves."""
    return compress(K, **{"rtol": 1e-3, "leaf_size": 32, "random_state": 0, **options})


def own_dense(H):
    """Return a compressed matrix as an array: itself, not what it approximates."""
    dense = H @ np.eye(len(H.diagonal()))
    return (dense + dense.T) / 2
