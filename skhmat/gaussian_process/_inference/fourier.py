"""Inference in the space of Fourier modes, for samples with one to three features.

With K = Phi Phi^T (P. Greengard, M. Rachh, A. Barnett, arXiv:2210.10210, 2022), the covariance
A = Phi Phi^T + s W^-1, B = s I + Phi^T W Phi and b = B^-1 Phi^T W y,

    A^-1 y = W (y - Phi b) / s,    Phi^T A^-1 y = b,    Phi^T A^-1 Phi = I - s B^-1,

so that with modes k, of which theta changes the coefficients D_k alone,

    d log p(y) / d theta = 1/2 sum_k (d log D_k / d theta) (b_k² - 1 + s (B^-1)_kk).

Samples are touched by a few nonuniform transforms; all the rest takes as long for a million of them
as for a thousand.
"""

import math
from dataclasses import dataclass

import numpy as np

from ...linalg._fourier.features import FourierFeatures
from ...linalg._fourier.few_modes import FewModes
from ...linalg._gofmm.error_estimate import draw_half_by_size
from .sample import Likelihood, cross_covariance, new_blocks
from .spectrum import Grid, Spectrum, grid_for, noise_of

# Relative error of transforms.
_TOLERANCE = 1e-13


@dataclass(frozen=True)
class FourierPolicy:
    """How accurate the sum over modes is, and how many modes are too many.

    Attributes
    ----------
    error_share : float
        Part of the tolerance of the likelihood for which the modes are chosen.
    max_modes : int
        Their matrix is factorized: it takes 8 bytes for each pair, twice.
    max_entry_error : float
        Largest error of entries, relative to the variance, for which modes are chosen where those
        for the tolerance are too many.
    spare : float
        A grid is longer and finer by this factor than it must be, so that it serves other
        hyperparameters, too,
    max_excess : float
        but only those that need this part of its modes.
    margin : float
        New points may lie this far outside the box around the samples, relative to its extent;
        farther ones take the covariances with all samples.
    n_rows : int
        Rows of the exact matrix that are read to measure the error.
    """

    error_share: float = 0.05
    max_modes: int = 6000
    max_entry_error: float = 1e-2
    spare: float = 1.15
    max_excess: float = 2.5
    margin: float = 0.05
    n_rows: int = 64


POLICY = FourierPolicy()


class TooManyModesError(ValueError):
    """A covariance takes more modes than are factorized."""


class ModeSystems:
    """The moments of a sample between modes, kept from one set of hyperparameters to the next.

    Parameters
    ----------
    sample : Sample
    tolerance : float
        Of the likelihood, in nats.
    policy : FourierPolicy
    """

    def __init__(self, sample, tolerance, *, policy=POLICY):
        self.sample, self.tolerance, self.policy = sample, tolerance, policy
        low, high = sample.X.min(axis=0), sample.X.max(axis=0)
        self.center = low / 2 + high / 2
        self.extent = (high - low) * (1 + policy.margin)
        margin = policy.margin * (high - low)
        self.low, self.high = low - margin, high + margin
        self._grid = self._gram = self._weights = None

    def grid(self, covariance, is_strict=False):
        """Return a grid for a covariance.

        Parameters
        ----------
        covariance : Covariance
        is_strict : bool
            Whether it must be fine enough for the tolerance. Otherwise a coarser one will do, so
            that a search for hyperparameters can pass by those that take too many modes.

        Raises
        ------
        TooManyModesError
        """
        policy = self.policy
        noise = float(self.sample.noise.min()) + noise_of(covariance)
        # An error E of the entries changes the likelihood by about n E / (2 noise).
        entry_error = policy.error_share * self.tolerance * 2 * noise / len(self.sample)
        largest = policy.max_entry_error * float(covariance.diagonal(self.sample.X[:1])[0])
        needed = grid_for(covariance, self.extent, entry_error, policy.max_modes)
        while needed is None and not is_strict and entry_error < largest:
            entry_error = min(10 * entry_error, largest)
            needed = grid_for(covariance, self.extent, entry_error, policy.max_modes)
        if needed is None:
            raise TooManyModesError(f"length scales that take more than {policy.max_modes} modes")
        if not self._serves(needed):
            spare = policy.spare ** (1 / len(self.extent))
            period = needed.period * spare
            wide = Grid(period, np.ceil(needed.n_half * spare**2).astype(int))
            self._grid = wide if wide.size <= policy.max_modes else needed
            self._gram = None
        return self._grid

    def _serves(self, needed):
        """Return whether the last grid does for one that is needed, and is not much larger."""
        old, most = self._grid, self.policy.max_excess * needed.size
        return old is not None and old.covers(needed) and old.size <= most

    def gram(self, features, weights):
        """Return F^T W F between cosines and sines; the last one is kept."""
        if self._gram is None or not np.array_equal(weights, self._weights):
            self._gram, self._weights = features.toeplitz(weights).gram(), weights
        return self._gram


class FourierInference:
    """A Gaussian process given a sample, in the space of the modes.

    Parameters
    ----------
    covariance : Covariance
    systems : ModeSystems
        Of the sample.
    grid : Grid
        The last one of these that was asked for.

    Attributes
    ----------
    dual : ndarray of shape (n, k)
        A^-1 Y, where A is the covariance matrix with the noise.

    Raises
    ------
    NotPositiveDefiniteError
        The noise is below the rounding of the matrix.
    """

    method = "fourier"

    def __init__(self, covariance, systems, grid):
        self.covariance, self._systems = covariance, systems
        self.sample = sample = systems.sample
        self.spectrum = Spectrum.of_covariance(covariance, grid)
        noise = sample.noise + (self.spectrum.noise + max(self.spectrum.rest, 0.0))
        self._s = float(noise.min())
        self._weights = self._s / noise
        self.features = self._features_at(sample.X)
        gram = systems.gram(self.features, self._weights)
        self.few = FewModes(self.features, self._weights, gram=gram)
        self.dual = self.few.solve(sample.Y, self._s)
        self._b = self.features.to_modes(self.dual)

    def _features_at(self, X):
        phases = (X - self._systems.center) * (2 * np.pi / self.spectrum.period)
        return FourierFeatures(self.spectrum, phases, self.sample.n_threads, _TOLERANCE)

    def solve(self, B):
        """Return A^-1 B for B of shape (n, m)."""
        return self.few.solve(B, self._s)

    def logdet(self):
        """Return log det A."""
        return self.few.logdet(self._s)

    def likelihood(self, eval_gradient=False):
        """Return the `Likelihood` of the hyperparameters."""
        value = self.sample.log_likelihood(self.dual, self.logdet())
        return Likelihood(value, self._gradient() if eval_gradient else None)

    def _gradient(self):
        """Return the gradient by theta, (n_dims,)."""
        spectrum, k, s = self.spectrum, self.sample.n_targets, self._s
        half = self.features.spectrum
        squares = sum(np.abs(half.to_full(half.from_vector(b))) ** 2 for b in self._b.T)
        # Mode 0, and pairs of modes with the same coefficient.
        counts = np.full((squares.size + 1) // 2, 2.0)
        counts[0] = 1.0

        def first_of_pairs(modes):
            return modes.ravel()[len(counts) - 1 :]

        pairs = counts * first_of_pairs(squares)
        pairs += k * (s * self.few.inverse_diagonal(s) - counts)
        coefficients = first_of_pairs(spectrum.coefficients)
        pairs = np.divide(pairs, coefficients, out=np.zeros(len(pairs)), where=coefficients > 0)
        noise = spectrum.rest_derivatives * (spectrum.rest > 0) + spectrum.noise_derivatives
        gradient = 0.5 * noise * (np.square(self.dual).sum() - k * self.inverse_diagonal().sum())
        for index, derivative in enumerate(spectrum.derivatives):
            if derivative is not None:
                gradient[index] += 0.5 * (pairs @ first_of_pairs(derivative))
        return gradient

    def inverse_diagonal(self):
        """Return the diagonal of A^-1, (n,)."""
        return self._weights / self._s * (1 - self.few.leverages(self._s))

    def likelihood_error(self):
        """Return an estimate of the error of the likelihood, in nats, that errors of entries make.

        That of y^T A^-1 y is a^T E a for a = A^-1 y, of which rows are drawn in proportion to the
        squares of a; errors of log det A are smaller, since frequencies that are missing are not in
        what A^-1 is other than a diagonal matrix.
        """
        a, X = self.dual, self.sample.X
        sizes = np.square(a).sum(axis=1)
        if not sizes.any():
            return 0.0
        n_rows = min(self._systems.policy.n_rows, len(a))
        rows, chances = draw_half_by_size(sizes, n_rows, 0, np.random.default_rng(0))
        exact = cross_covariance(self.covariance, X[rows], self.sample) @ a
        approximate = (
            self.features.at(rows, _TOLERANCE).to_points(self._b) + self.spectrum.rest * a[rows]
        )
        values = np.einsum("ij,ij->i", a[rows], exact - approximate) / chances
        deviation = values.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0
        return 0.5 * (abs(float(values.mean())) + 2 * float(deviation))

    def mean(self, X_new):
        """Return the posterior means at new points, (m, k)."""
        inside = self.is_inside(X_new)
        out = np.empty((len(X_new), self.sample.n_targets))
        if inside.any():
            out[inside] = self._features_at(X_new[inside]).to_points(self._b)
        for rows in self._outside_blocks(inside):
            out[rows] = cross_covariance(self.covariance, X_new[rows], self.sample) @ self.dual
        return out

    def variance(self, X_new):
        """Return the posterior variances at new points, (m,), without regard to rounding."""
        inside = self.is_inside(X_new)
        out = np.empty(len(X_new))
        if inside.any():
            features = self._features_at(X_new[inside])
            out[inside] = self._s * self.few.quadratic_forms(self._s, features)
            out[inside] += self.spectrum.rest + self.spectrum.noise
        for rows in self._outside_blocks(inside):
            cross = cross_covariance(self.covariance, X_new[rows], self.sample).T
            out[rows] = self.covariance.diagonal(X_new[rows])
            out[rows] -= np.einsum("ij,ij->j", cross, self.solve(cross))
        return out

    def posterior_covariance(self, X_new):
        """Return the posterior covariance matrix of new points, (m, m)."""
        cross = cross_covariance(self.covariance, X_new, self.sample)
        out = self.covariance.block(X_new, X_new, own=0)
        out -= cross @ self.solve(np.ascontiguousarray(cross.T))
        return (out + out.T) / 2

    def draw(self, X_new, n_draws, rng):
        """Draw functions, and return their values at points inside, (m, k, n_draws).

        Weights of the modes and noise are drawn from the prior, and what the samples differ from
        them by is interpolated (Wilson et al., arXiv:2002.09309, 2020, equation 9).
        """
        n, n_targets = self.sample.Y.shape
        n_columns = n_targets * n_draws
        prior = self.features.spectrum.draw(n_columns, rng)
        noise = np.sqrt(self._s / self._weights)[:, np.newaxis] * rng.standard_normal(
            (n, n_columns)
        )
        Y = np.repeat(self.sample.Y, n_draws, axis=1)
        missed = Y - self.features.to_points(prior) - noise
        posterior = prior + self.features.to_modes(self.solve(missed))
        values = self._features_at(X_new).to_points(posterior)
        own = max(self.spectrum.rest, 0.0) + self.spectrum.noise
        values += math.sqrt(own) * rng.standard_normal(values.shape)
        return values.reshape(len(X_new), n_targets, n_draws)

    def is_inside(self, X_new):
        """Return which points lie in the box for which the modes were chosen, (m,)."""
        systems = self._systems
        return np.all((X_new >= systems.low) & (X_new <= systems.high), axis=1)

    def _outside_blocks(self, inside):
        """Return the indices of the points outside the box, a few at a time."""
        outside = np.flatnonzero(~inside)
        return [outside[rows] for rows in new_blocks(len(outside), len(self.sample))]
