"""Eigenpairs of arrays."""

import scipy.linalg


def largest_eigenpairs(array, k):
    """Find the k largest eigenpairs of a symmetric array by LAPACK.

    Parameters
    ----------
    array : ndarray of shape (n, n)
        Its symmetric part is decomposed, because rounding may have made it slightly unsymmetric.
    k : int

    Returns
    -------
    values : ndarray of shape (k,)
        Largest first.
    vectors : ndarray of shape (n, k)
        Orthonormal.
    """
    n = len(array)
    values, vectors = scipy.linalg.eigh((array + array.T) / 2, subset_by_index=(n - k, n - 1))
    return values[::-1], vectors[:, ::-1]
