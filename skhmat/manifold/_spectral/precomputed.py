"""Kernels and distances that users computed, dense or sparse."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..._utils.validation import check_square, parameter_error
from ...linalg._entries.symmetry import check_symmetric_matrix
from ...linalg._operators.csr import SymmetricCSR
from ...linalg._operators.wrappers import DenseOperator
from .affinity import normalize_dense, normalize_sparse

# Asymmetry of distances that passes for rounding, relative to the largest one. Roots of differences
# that cancel have half as many correct digits as their dtype, which that of a kernel does not bear.
_MAX_ASYMMETRY_OF_DISTANCES = 1e-6


def check_precomputed(X, name):
    """Return a matrix if it is square, symmetric and not negative; raise ValueError otherwise.

    Parameters
    ----------
    X : ndarray or csr_matrix
    name : {"kernel", "metric"}
        The parameter that is "precomputed".
    """
    check_square(X, name)
    entries = X.data if sparse.issparse(X) else X
    if entries.size and entries.min() < 0:
        # scikit-learn's checks of estimators look for the first words.
        allowed = f"at least 0 in all entries where {name} is 'precomputed'"
        error = parameter_error("X", allowed, got=f"{entries.min():.3g}")
        raise ValueError(f"Negative values in data: {error}")
    check_symmetric_matrix(X, name, _MAX_ASYMMETRY_OF_DISTANCES if name == "metric" else None)
    return X


def gaussian_of_distances(distances, epsilon, cut_off):
    """Return the Gaussian kernel of distances as a new array or sparse matrix.

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


def as_symmetric_operator(K, n_threads):
    """Return an array or csr_matrix in float64 as an operator that shares its entries."""
    if not sparse.issparse(K):
        return DenseOperator(K)
    K.sort_indices()
    start, cols = K.indptr.astype(np.intp), K.indices.astype(np.int32)
    return SymmetricCSR(start, cols, K.data, n_threads)


def normalize_precomputed(K, alpha):
    """Normalise a DenseOperator or SymmetricCSR in place; returns a NormalizedAffinity."""
    if isinstance(K, DenseOperator):
        return normalize_dense(K, K.array.diagonal().copy(), alpha)
    return normalize_sparse(K, K.tocsr().diagonal(), alpha)


@dataclass(frozen=True, eq=False)
class PrecomputedExtension:
    """Eigenvectors at new points whose kernel with the samples was computed by the user.

    Attributes
    ----------
    weighted : ndarray of shape (n_samples, k + 1)
        The eigenvectors times the weights of the samples, and the weights.
    """

    weighted: np.ndarray

    @classmethod
    def from_eigenvectors(cls, functions, weights):
        """Take right eigenvectors, (n_samples, k), and weights, (n_samples,)."""
        weights = weights[:, np.newaxis]
        return cls(np.hstack([weights * functions, weights]))

    def __call__(self, K):
        """Return means of the eigenvectors, weighted by the kernel.

        Parameters
        ----------
        K : ndarray or sparse matrix of shape (n_new, n_samples)

        Returns
        -------
        means : ndarray of shape (n_new, k)
            Eigenvalues times eigenvectors; 0 at isolated points.
        is_isolated : ndarray of shape (n_new,)
            Whether the kernel of a point is 0 with all samples.
        """
        sums = K @ self.weighted
        is_isolated = sums[:, -1] <= 0
        sums[is_isolated, -1] = 1.0
        return sums[:, :-1] / sums[:, -1:], is_isolated
