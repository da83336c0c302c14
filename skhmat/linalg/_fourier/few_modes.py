"""Regularized systems with so few Fourier modes that their matrix is factorized.

All that a Gaussian process or a choice of alpha asks for then follows from one Cholesky
factorization for each alpha: solutions, the log-determinant, and the leverages of all points. See
`weight_space` for the equations.
"""

import math

import numpy as np
import scipy.linalg

from ..._utils.errors import NotPositiveDefiniteError
from .toeplitz import positive_modes


class FewModes:
    """Systems (K + alpha W^-1) x = y with K = Phi Phi*, where Phi has few columns.

    Parameters
    ----------
    features : FourierFeatures
        Phi.
    weights : ndarray of shape (n,) or None
        Positive, the diagonal of W: sample i has the penalty alpha / weights[i].
    toeplitz : ToeplitzMatrix or None
        F* W F, where it is known.
    gram : ndarray of shape (M, M) or None
        What its `gram` returns, where that is known, too; it is not changed.
    """

    def __init__(self, features, weights=None, toeplitz=None, gram=None):
        n = len(features.phases)
        self.features, self.weights = features, np.ones(n) if weights is None else weights
        if gram is None:
            gram = (features.toeplitz(self.weights) if toeplitz is None else toeplitz).gram()
        self._modes = positive_modes(features.spectrum.n_half)
        n_half = np.array(features.spectrum.n_half)
        roots = np.sqrt(features.modes.coefficients[tuple((self._modes + n_half).T)])
        self._roots = np.concatenate([roots, roots[1:]])
        self._gram = gram * self._roots[:, np.newaxis]
        self._gram *= self._roots
        self._alpha = self._factor = self._inverse_parts = None

    def solve(self, Y, alpha):
        """Return X of shape (n, k) for Y of shape (n, k).

        What rounding leaves of the residual, some times alpha / n of it, is solved for once more.
        """
        weights, shift = self.weights[:, np.newaxis], (alpha / self.weights)[:, np.newaxis]
        X, R = np.zeros_like(Y), Y
        for _ in range(2):
            b = self.solve_modes(self.features.to_modes(weights * R), alpha)
            X = X + weights * (R - self.features.to_points(b)) / alpha
            R = Y - shift * X - self.features.to_points(self.features.to_modes(X))
        return X

    def solve_modes(self, B, alpha):
        """Return (alpha I + Phi* W Phi)^-1 B for real vectors of modes, of shape (size, k)."""
        factor = self._factorize(alpha)
        spectrum = self.features.spectrum
        n_positive = len(self._modes)
        full = np.stack([spectrum.to_full(spectrum.from_vector(b)).ravel() for b in B.T], axis=1)
        half = full[n_positive - 1 :]
        half[1:] *= math.sqrt(2)
        solved = scipy.linalg.cho_solve(
            factor, np.vstack([half.real, half[1:].imag]), check_finite=False
        )
        out = np.empty_like(B)
        for column, x in enumerate(solved.T):
            full = np.zeros(spectrum.full_shape, complex)
            values = x[:n_positive].astype(complex)
            values[1:] += 1j * x[n_positive:]
            values[1:] /= math.sqrt(2)
            full.ravel()[n_positive - 1 :] = values
            full.ravel()[: n_positive - 1] = values[:0:-1].conj()
            out[:, column] = spectrum.as_vector(spectrum.from_full(full))
        return out

    def logdet(self, alpha):
        """Return log det (K + alpha W^-1)."""
        (factor, _), n = self._factorize(alpha), len(self.weights)
        rest = (n - len(self._gram)) * math.log(alpha) - np.log(self.weights).sum()
        return float(2 * np.log(factor.diagonal()).sum() + rest)

    def leverages(self, alpha):
        """Return the diagonal of K (K + alpha W^-1)^-1, (n,).

        It is w_i times `quadratic_forms` at point i.
        """
        return self.weights * self.quadratic_forms(alpha, self.features)

    def quadratic_forms(self, alpha, features):
        """Return phi^T (alpha I + Phi* W Phi)^-1 phi for the features phi of each point, (m,).

        With C that inverse, it is the sum of the C[j, k] phi_j phi_k. As products of two waves are
        waves, these are sums over modes up to twice the frequency, for all points by one nonuniform
        transform.

        Parameters
        ----------
        alpha : float
        features : FourierFeatures
            The same modes at any points.
        """
        return features.wave_sums(self._invert(alpha)[1])

    def inverse_diagonal(self, alpha):
        """Return the diagonal of (alpha I + Phi* W Phi)^-1, (n_pairs,), by pairs j and -j of modes.

        Each pair has the sum of its two entries, mode 0, the first, its own.
        """
        return self._invert(alpha)[0]

    def _invert(self, alpha):
        """Return what is asked of the inverse for an alpha: the last one's is kept.

        Returns
        -------
        diagonal : ndarray of shape (n_pairs,)
            As `inverse_diagonal` has it.
        waves : ndarray of shape (1, 4 n_half + 1, ...), complex
            The quadratic form as a sum over waves.
        """
        self._factorize(alpha)
        if self._inverse_parts is None:
            inverse = self._inverse()
            n_pairs, entries = len(self._modes), inverse.diagonal()
            diagonal = entries[:n_pairs].copy()
            diagonal[1:] += entries[n_pairs:]
            self._inverse_parts = diagonal, self._waves(inverse)
        return self._inverse_parts

    def _waves(self, inverse):
        """Return the sum over waves of phi^T C phi for an inverse C, which is overwritten."""
        inverse *= self._roots[:, np.newaxis]
        inverse *= self._roots
        n_cosines = len(self._modes)
        # √2 cos(j x) of mode 0 is 1.
        inverse[0] /= math.sqrt(2)
        inverse[:, 0] /= math.sqrt(2)
        lags = tuple(4 * m + 1 for m in self.features.spectrum.n_half)
        middle = 2 * np.array(self.features.spectrum.n_half)
        minus, plus = (
            np.ravel_multi_index(
                tuple(np.moveaxis(self._modes[:, None] + sign * self._modes + middle, -1, 0)), lags
            )
            for sign in (-1, 1)
        )
        size = math.prod(lags)

        def add(where, values):
            return np.bincount(where.ravel(), values.ravel(), size)

        both, mixed = inverse[:n_cosines, :n_cosines], np.zeros((n_cosines, n_cosines))
        sines = np.zeros_like(both)
        sines[1:, 1:] = inverse[n_cosines:, n_cosines:]
        mixed[:, 1:] = 2 * inverse[:n_cosines, n_cosines:]
        cosine_sums = add(minus, both + sines) + add(plus, both - sines)
        sine_sums = add(plus, mixed) - add(minus, mixed)
        # The real part of (c + i s) exp(-i l x) is c cos(l x) + s sin(l x).
        return (cosine_sums + 1j * sine_sums).reshape(1, *lags)

    def _factorize(self, alpha):
        """Return the Cholesky factor for an alpha; the last one is kept."""
        if self._alpha != alpha:
            matrix = self._gram.copy()
            matrix[np.diag_indices(len(matrix))] += alpha
            try:
                factor = scipy.linalg.cho_factor(matrix.T, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError as error:
                message = f"alpha={alpha:.3g} is below the rounding of the matrix of the modes."
                raise NotPositiveDefiniteError(0.0, message) from error
            self._alpha, self._factor, self._inverse_parts = alpha, factor, None
        return self._factor

    def _inverse(self):
        """Return the symmetric inverse of the matrix of the modes for the last alpha."""
        factor, is_lower = self._factor
        inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=is_lower)
        half = np.tril(inverse) if is_lower else np.triu(inverse)
        return half + half.T - np.diag(half.diagonal())
