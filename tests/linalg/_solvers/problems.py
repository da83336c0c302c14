"""Systems with a compressed Gaussian kernel matrix of N points in the plane."""

import numpy as np

N = 600
# What makes compression of that matrix take each form.
FORMS = {"hss": {"budget": 0}, "fmm": {"budget": 0.2}, "dense": {"fallback": "exact"}}


def own_dense(H):
    """Return a compressed matrix as an array: itself, not what it approximates."""
    dense = H @ np.eye(len(H.diagonal()))
    return (dense + dense.T) / 2
