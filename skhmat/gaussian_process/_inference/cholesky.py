"""Exact inference by a dense Cholesky factorization.

C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and
equation 5.9. Half of the matrix is evaluated, and factor and inverse take its place.
"""

import math

import numpy as np
import scipy.linalg

from ..._utils.errors import NotPositiveDefiniteError
from ..._utils.parallel import run_tasks
from .sample import Likelihood, cross_covariance, new_blocks, symmetric_sums


class CholeskyInference:
    """A Gaussian process given a sample, with all of its covariance matrix.

    Parameters
    ----------
    covariance : Covariance
    sample : Sample

    Attributes
    ----------
    dual : ndarray of shape (n, k)
        A^-1 Y, where A is the covariance matrix with the noise.

    Raises
    ------
    NotPositiveDefiniteError
        A is not positive definite to rounding.
    """

    method = "cholesky"

    def __init__(self, covariance, sample):
        self.covariance, self.sample = covariance, sample
        matrix = covariance_matrix(covariance, sample)
        # Lower and row-major is upper and column-major: LAPACK works in place.
        factor, status = scipy.linalg.lapack.dpotrf(matrix.T, lower=0, overwrite_a=1, clean=1)
        if status > 0:
            raise NotPositiveDefiniteError(
                0.0, f"the first {status} samples have a covariance matrix that is not definite."
            )
        self._factor = factor
        self.dual = self.solve(sample.Y)

    @property
    def L(self):
        """The lower Cholesky factor of A, (n, n)."""
        return self._factor.T

    def solve(self, B):
        """Return A^-1 B for B of shape (n, m)."""
        return scipy.linalg.cho_solve((self._factor, False), B, check_finite=False)

    def logdet(self):
        """Return log det A."""
        return 2 * math.fsum(np.log(self._factor.diagonal()))

    def likelihood(self, eval_gradient=False):
        """Return the `Likelihood` of the hyperparameters; its gradient ends the use of this.

        Parameters
        ----------
        eval_gradient : bool
            The inverse takes the place of the factor.
        """
        sample, dual = self.sample, self.dual
        value = sample.log_likelihood(dual, self.logdet())
        if not eval_gradient:
            return Likelihood(value)
        inverse = self._invert()
        n_targets = sample.n_targets

        def weights(rows, stop):
            W = dual[rows] @ dual[:stop].T
            W -= n_targets * _symmetric_rows(inverse, rows)
            W *= 0.5
            return W

        return Likelihood(value, symmetric_sums(self.covariance, sample, weights))

    def likelihood_error(self):
        """Return the error of the likelihood, in nats: none but rounding."""
        return 0.0

    def inverse_diagonal(self):
        """Return the diagonal of A^-1, (n,)."""
        n = len(self.sample)
        inverse, _ = scipy.linalg.lapack.dtrtri(self._factor, lower=0)
        out = np.empty(n)
        for rows in self.sample.blocks():
            out[rows] = np.square(inverse[rows]).sum(axis=1)
        return out

    def mean(self, X_new):
        """Return the posterior means at new points, (m, k)."""
        out = np.empty((len(X_new), self.sample.n_targets))
        for rows in new_blocks(len(X_new), len(self.sample)):
            out[rows] = cross_covariance(self.covariance, X_new[rows], self.sample) @ self.dual
        return out

    def variance(self, X_new):
        """Return the posterior variances at new points, (m,), without regard to rounding."""
        out = self.covariance.diagonal(X_new)
        for rows in new_blocks(len(X_new), len(self.sample)):
            V = self._whitened(X_new[rows])
            out[rows] -= np.einsum("ij,ij->j", V, V)
        return out

    def posterior_covariance(self, X_new):
        """Return the posterior covariance matrix of new points, (m, m)."""
        V = self._whitened(X_new)
        return self.covariance.block(X_new, X_new, own=0) - V.T @ V

    def _whitened(self, X_new):
        """Return L^-1 K for the covariances K of the samples with new points, (n, m)."""
        cross = cross_covariance(self.covariance, X_new, self.sample).T
        return scipy.linalg.solve_triangular(
            self._factor, cross, trans=1, overwrite_b=True, check_finite=False
        )

    def _invert(self):
        """Return A^-1 in the lower triangle of a row-major array; the factor is gone."""
        factor, self._factor = self._factor, None
        inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=0, overwrite_c=1)
        return inverse.T


def covariance_matrix(covariance, sample):
    """Return the lower triangle of the covariance matrix of a sample with its noise, (n, n).

    The upper triangle of each block on the diagonal is filled, too.
    """
    n = len(sample)
    out = np.zeros((n, n))

    def fill(rows):
        out[rows, : rows.stop] = covariance.block(sample.X[rows], sample.X[: rows.stop], rows.start)

    run_tasks(fill, sample.blocks(), sample.threads_for(covariance))
    out[np.diag_indices(n)] += sample.noise
    return out


def _symmetric_rows(lower, rows):
    """Return the rows up to the diagonal's block of a symmetric matrix given by one triangle."""
    out = lower[rows, : rows.stop].copy()
    own = np.tril(out[:, rows.start :])
    out[:, rows.start :] = own + np.tril(own, -1).T
    return out
