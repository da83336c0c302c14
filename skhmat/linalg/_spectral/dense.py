"""Eigenpairs of arrays."""

import numpy as np
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
    array = (array + array.T) / 2
    values, vectors = scipy.linalg.eigh(array, subset_by_index=(n - k, n - 1))
    if len(values) < k:
        # LAPACK may lose some of the pairs, or all, where eigenvalues coincide but for rounding.
        values, vectors = (pairs[..., n - k :] for pairs in np.linalg.eigh(array))
    return values[::-1], vectors[:, ::-1]
