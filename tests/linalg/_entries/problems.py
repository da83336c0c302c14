"""Small definite matrices, and some of their rows and columns."""

import numpy as np

N = 60
DTYPES = [np.float32, np.float64]


def spd(rng, n=N, dtype=np.float64):
    A = rng.standard_normal((n, n + 3))
    return (A @ A.T / n).astype(dtype)


def some_indices(rng):
    return rng.permutation(N)[:17], rng.integers(0, N, 23)
