"""Kernels and distances that users computed, dense or sparse, as kernels."""

import numpy as np
from scipy import sparse

from ..._utils.validation import check_square
from ...linalg._operators.csr import SymmetricCSR as SparseKernel
from .affinity import DenseAffinity, SparseAffinity
from .distance_histogram import DistanceProfile

# Asymmetry that passes for rounding, relative to the largest entry.
_ASYMMETRY = 1e-6


def check_precomputed(X, name):
    """Raise ValueError unless a matrix is square, symmetric and not negative.

    Parameters
    ----------
    X : ndarray or csr_matrix
    name : str
        The parameter that is "precomputed".
    """
    check_square(X, name)
    entries = X.data if sparse.issparse(X) else X
    if entries.size and entries.min() < 0:
        raise ValueError(
            f"Negative values in data: {entries.min():.3g} in X; {name} is 'precomputed', so all "
            "entries must be at least 0."
        )
    difference = abs(X - X.T).max()
    if difference > _ASYMMETRY * max(entries.max(initial=0), np.finfo(np.float64).tiny):
        raise ValueError(
            f"{name} is 'precomputed', so X must be symmetric, but it differs from its transpose "
            f"by up to {difference:.3g}."
        )


def profile_of(distances, rng):
    """Return the profile of distances, of which a sparse matrix holds only the small ones."""
    if not sparse.issparse(distances):
        return DistanceProfile.of_distances(distances, rng)
    n = distances.shape[0]
    squares = np.square(distances.data[distances.data > 0], dtype=np.float64)
    return DistanceProfile(squares, n, 1 / n)


def gaussian(distances, epsilon, cut_off):
    """Return the Gaussian kernel of distances as a new array, or a sparse matrix.

    Parameters
    ----------
    distances : ndarray or csr_matrix
        Those that a sparse matrix does not hold are infinite.
    epsilon : float
    cut_off : float or None
        Beyond this distance the kernel is 0.
    """
    K = distances.astype(np.float64)
    entries = K.data if sparse.issparse(K) else K
    if cut_off is not None:
        entries[entries > cut_off] = np.inf
    np.square(entries, out=entries)
    entries /= -2 * epsilon
    np.exp(entries, out=entries)
    return K


def affinity_of(K, n_threads):
    """Return a kernel matrix in the form that the eigensolvers take; a dense one is overwritten."""
    if not sparse.issparse(K):
        return DenseAffinity(K)
    K.sort_indices()
    parts = K.indptr.astype(np.intp), K.indices.astype(np.int32), K.data
    return SparseAffinity(SparseKernel(*parts, n_threads))
