"""Eigenpairs of dense matrices."""

import scipy.linalg


def _decomposed(array, k):
    """Return the k largest eigenvalues of an array and their eigenvectors, largest first."""
    n = len(array)
    values, vectors = scipy.linalg.eigh((array + array.T) / 2, subset_by_index=(n - k, n - 1))
    return values[::-1], vectors[:, ::-1]
