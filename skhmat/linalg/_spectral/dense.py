"""Eigenpairs of arrays."""

import scipy.linalg


def largest_eigenpairs(array, k):
    """Return the k largest eigenvalues of a symmetric array, largest first, and their vectors.

    Parameters
    ----------
    array : ndarray of shape (n, n)
        Rounding may have made it slightly unsymmetric.
    k : int

    Returns
    -------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
    """
    n = len(array)
    values, vectors = scipy.linalg.eigh((array + array.T) / 2, subset_by_index=(n - k, n - 1))
    return values[::-1], vectors[:, ::-1]
