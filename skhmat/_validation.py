"""Checks of what estimators are given, the same for all of them."""

import numpy as np
from sklearn.utils.validation import _check_sample_weight


def checked_weights(X, sample_weight):
    """Return weights of samples as an array of float64, none negative and one of them positive."""
    sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if sample_weight.min() < 0:
        i = int(np.argmin(sample_weight))
        raise ValueError(
            f"Negative values in sample_weight: {sample_weight[i]:.3g} at {i}; allowed are weights "
            "of at least 0."
        )
    if not sample_weight.any():
        raise ValueError("sample_weight is zero for all samples; one must be positive.")
    return sample_weight


def check_square(X, name):
    """Raise ValueError unless a matrix is square; parameter `name` says that it is precomputed."""
    if X.shape[0] != X.shape[1]:
        raise ValueError(
            f"{name} is 'precomputed', so X must be a square matrix, but its shape is {X.shape}"
        )
