"""Fourier features: functions Phi of the points with K ~ Phi Phi*, one for each mode of the kernel.

With K ~ F D F*, F the exponentials of the modes at the points and D the coefficients of the kernel,
Phi = F D^(1/2) (Greengard, Rachh & Barnett, arXiv:2210.10210, 2022, section 2). What multiplies Phi
are weights of modes, what multiplies Phi* values at points; real values have Hermitian weights,
which are held as the real vectors of `HalfSpectrum`.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from .matrix import transform_tolerance
from .nonuniform import NonuniformTransform, hermitian_parts, pair_columns, unpair_columns
from .toeplitz import HalfSpectrum, ToeplitzMatrix


class FourierFeatures:
    """The features of some points.

    Parameters
    ----------
    modes : FourierModes
    phases : ndarray of shape (n, d)
        The points, in [-pi, pi]: 2 pi times their distance from the center of their box, by period.
    n_threads : int
    tolerance : float or None
        Of the transforms; None means what the demand for the modes allows.
    """

    def __init__(self, modes, phases, n_threads, tolerance=None):
        self.modes, self.phases, self.n_threads = modes, phases, n_threads
        self.tolerance = transform_tolerance(modes.demand) if tolerance is None else tolerance
        self.spectrum = HalfSpectrum(modes.n_half)

    @classmethod
    def of_points(cls, modes, X, bandwidth, center, n_threads, tolerance=None):
        """Return the features of points in the user's unit."""
        phases = (X - center) / bandwidth * (2 * np.pi / modes.period)
        return cls(modes, phases, n_threads, tolerance)

    @property
    def size(self):
        """Length of the vectors of modes."""
        return self.spectrum.size

    @cached_property
    def roots(self):
        """Roots of the coefficients of the kernel, in the half spectrum."""
        return np.sqrt(self.spectrum.from_full(self.modes.coefficients))

    def lowest(self, n_half):
        """Return the features of the lowest frequencies alone."""
        return FourierFeatures(
            replace(self.modes, n_half=np.asarray(n_half)),
            self.phases,
            self.n_threads,
            self.tolerance,
        )

    def at(self, rows, tolerance=None):
        """Return the features of some of the points."""
        return FourierFeatures(self.modes, self.phases[rows], self.n_threads, tolerance)

    def to_points(self, V):
        """Return Phi V, (n, k), for real vectors of modes V of shape (size, k)."""
        full = np.zeros(((V.shape[1] + 1) // 2, *self.spectrum.full_shape), complex)
        for column in range(V.shape[1]):
            half = self.spectrum.from_vector(V[:, column]) * self.roots
            full[column // 2] += self.spectrum.to_full(half) * (1j if column % 2 else 1)
        return unpair_columns(self._transform.to_points(full, self.n_threads))[:, : V.shape[1]]

    def to_modes(self, Y):
        """Return Phi* Y, (size, k), for values Y of shape (n, k)."""
        sums = self._transform.to_modes(pair_columns(Y, np.complex128), self.n_threads)
        out = np.empty((self.size, Y.shape[1]))
        for pair, both in enumerate(map(hermitian_parts, sums)):
            for column, part in enumerate(both, 2 * pair):
                if column < Y.shape[1]:
                    half = self.spectrum.from_full(part) * self.roots
                    out[:, column] = self.spectrum.as_vector(half)
        return out

    def toeplitz(self, weights, tolerance=None):
        """Return F* diag(weights) F, a `ToeplitzMatrix`; the tolerance is that of the sums."""
        lags = tuple(4 * m + 1 for m in self.spectrum.n_half)
        tolerance = self.tolerance if tolerance is None else tolerance
        transform = NonuniformTransform(self.phases, lags, tolerance, np.float64)
        sums = transform.to_modes(weights[np.newaxis].astype(complex), self.n_threads)[0]
        return ToeplitzMatrix(hermitian_parts(sums)[0])

    def smooth_density(self, toeplitz, power):
        """Return the density of the weights of a matrix at each point, (n,), by period.

        It is smoothed by a window whose coefficients are those of the kernel to a power, 1 for mode
        0.
        """
        modes = self.modes.coefficients
        lags = toeplitz.coefficients
        low = tuple(
            slice(m // 2 - h, m // 2 + h + 1)
            for m, h in zip(lags.shape, self.spectrum.n_half, strict=True)
        )
        window = (modes / modes.max()) ** power
        sums = self._transform.to_points((lags[low] * window)[np.newaxis], self.n_threads)
        return sums[0].real

    def wave_sums(self, modes):
        """Return the real parts of sums over modes, of any shape (1, ...), at the points, (n,)."""
        transform = NonuniformTransform(self.phases, modes.shape[1:], self.tolerance, np.float64)
        return transform.to_points(modes, self.n_threads)[0].real

    @cached_property
    def _transform(self):
        return NonuniformTransform(
            self.phases, self.spectrum.full_shape, self.tolerance, np.float64
        )
