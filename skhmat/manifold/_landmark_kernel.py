"""A Gaussian kernel between samples through some of them, the landmarks, and its eigenpairs.

With the landmarks L that randomly pivoted Cholesky draws, the kernel is K(x, L) K(L, L)^-1 K(L, y).
Between all samples that is F F^T of low rank, so that its eigenpairs are the singular values and
vectors of F; and functions at new points are sums over the landmarks alone.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..linalg._cholesky.randomly_pivoted import pivoted_cholesky
from ..linalg._kernels.matrix import KernelMatrix


@dataclass(frozen=True, eq=False)
class LandmarkKernel:
    """The eigenpairs of such a kernel.

    Attributes
    ----------
    values : ndarray of shape (k,)
        Largest first.
    vectors : ndarray of shape (n, k)
        Orthonormal.
    landmarks : ndarray of shape (r, d)
    solutions : ndarray of shape (r, k)
        Column j has the weights of K(x, L) in the eigenvector j at a point x.
    error : float
        The part of the trace of the full kernel matrix that is left out.
    """

    values: np.ndarray
    vectors: np.ndarray
    landmarks: np.ndarray
    solutions: np.ndarray
    error: float

    @classmethod
    def from_samples(cls, X, epsilon, max_rank, min_relative, seed, n_jobs):
        """Draw landmarks and decompose.

        Parameters
        ----------
        X : ndarray of shape (n, d), float64
        epsilon : float
            Bandwidth of exp(-||x - y||^2 / (2 epsilon)).
        max_rank : int
            Largest number of landmarks.
        min_relative : float
            Eigenvalues below this, relative to the largest, are left out.
        seed : int
            Draws the landmarks.
        n_jobs : int
        """
        K = KernelMatrix(X, "gaussian", bandwidth=np.sqrt(epsilon), n_jobs=n_jobs)
        low_rank = pivoted_cholesky(
            K, min(max_rank, len(X)), rtol=min_relative, random_state=seed, n_jobs=n_jobs
        )
        factor, pivots = low_rank.factor, low_rank.pivots
        U, roots, Vt = scipy.linalg.svd(factor, full_matrices=False)
        kept = np.square(roots) > min_relative * np.square(roots[0])
        roots = roots[kept]
        # F = K(X, L) C^-T with the triangle C = F[L], so U = K(X, L) C^-T V / roots.
        solutions = scipy.linalg.solve_triangular(
            factor[pivots], Vt[kept].T / roots, lower=True, trans="T"
        )
        landmarks = np.ascontiguousarray(X[pivots])
        return cls(np.square(roots), U[:, kept], landmarks, solutions, low_rank.trace_error)
