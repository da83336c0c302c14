"""Toeplitz matrices of several levels, T[j, k] = t[j - k] for modes j and k, by real FFTs.

Between equally spaced frequencies, sums over points depend on differences alone: F* W F is Toeplitz
in each dimension, for any points and any weights W. It is embedded in a circulant matrix of twice
the size, which the FFT diagonalizes (Chan and Jin, An Introduction to Iterative Toeplitz Solvers,
2007), so that a product costs the same for any number of points.

Sums with real weights are Hermitian in the mode, t[-j] = conj(t[j]), and so are the modes of real
values. Half of them are held, and the circulant matrix becomes a product with a real array.
"""

import math
from functools import cached_property

import numpy as np
import scipy.fft

from ..._utils.parallel import run_tasks


class HalfSpectrum:
    """Hermitian arrays over the modes |j| <= n_half, of which half is held.

    Those with j >= 0 in the last dimension are, in the order of the FFT in the other ones. As a
    real vector, such an array has the norm that all its modes have together.

    Parameters
    ----------
    n_half : sequence of ints

    Attributes
    ----------
    shape : tuple of ints
        Of the half that is held.
    size : int
        Length of the real vector.
    """

    def __init__(self, n_half):
        self.n_half = tuple(int(m) for m in n_half)
        self.shape = (*(2 * m + 1 for m in self.n_half[:-1]), self.n_half[-1] + 1)
        self.size = 2 * math.prod(self.shape)

    @property
    def full_shape(self):
        """Number of all modes in each dimension."""
        return tuple(2 * m + 1 for m in self.n_half)

    @cached_property
    def scale(self):
        """Root of the number of modes that each one held stands for, along the last dimension."""
        return np.where(np.arange(self.n_half[-1] + 1) > 0, math.sqrt(2), 1.0)

    def from_full(self, full):
        """Return the half of a Hermitian array of all modes, lowest frequency first."""
        half = np.fft.ifftshift(full, axes=range(full.ndim - 1))
        return np.ascontiguousarray(half[..., self.n_half[-1] :])

    def to_full(self, half):
        """Return all modes, lowest frequency first, of the half of a Hermitian array."""
        full = np.empty(self.full_shape, dtype=half.dtype)
        last = self.n_half[-1]
        full[..., last:] = np.fft.fftshift(half, axes=range(half.ndim - 1))
        mirror = full[(*[slice(None, None, -1)] * (half.ndim - 1), slice(None, last, -1))]
        full[..., :last] = mirror.conj()
        return full

    def draw(self, n_columns, rng):
        """Return vectors, (size, n_columns), whose full arrays have the variance 1 in each mode.

        They are those of independent real functions √2 cos(j x) and √2 sin(j x).
        """
        n_modes = math.prod(self.full_shape)
        middle = n_modes // 2
        out = np.empty((self.size, n_columns))
        for column in range(n_columns):
            parts = rng.standard_normal((2, middle)) / math.sqrt(2)
            full = np.empty(n_modes, dtype=complex)
            full[middle] = rng.standard_normal()
            full[middle + 1 :] = parts[0] + 1j * parts[1]
            full[:middle] = full[:middle:-1].conj()
            out[:, column] = self.as_vector(self.from_full(full.reshape(self.full_shape)))
        return out

    def as_vector(self, half):
        """Return the half of a Hermitian array as a real vector."""
        return np.ascontiguousarray(half * self.scale).view(np.float64).ravel()

    def from_vector(self, v):
        """Return the half of a Hermitian array from its real vector."""
        return np.ascontiguousarray(v).view(np.complex128).reshape(self.shape) / self.scale


class ToeplitzMatrix:
    """A Hermitian Toeplitz matrix between modes |j|, |k| <= n_half.

    Parameters
    ----------
    coefficients : ndarray of shape (4 n_half + 1, ...), complex
        t[l] for |l| <= 2 n_half, lowest first, Hermitian.
    """

    def __init__(self, coefficients):
        self.coefficients = coefficients
        lags = HalfSpectrum([(m - 1) // 2 for m in coefficients.shape])
        self.spectrum = HalfSpectrum([m // 2 for m in lags.n_half])
        self._lengths = tuple(
            scipy.fft.next_fast_len(m, real=axis == coefficients.ndim - 1)
            for axis, m in enumerate(coefficients.shape)
        )
        self._symbol = self._to_grid(lags.from_full(coefficients), lags.n_half, 1)

    def multiply(self, half, n_threads):
        """Return the product with the half of a Hermitian array."""
        grid = self._to_grid(half, self.spectrum.n_half, n_threads)
        grid *= self._symbol
        return self._from_grid(grid, n_threads)

    def gram(self):
        """Return the matrix between the real functions √2 cos(j x) and √2 sin(j x), (M, M).

        The modes j are those of which no other is the negative, mode 0 first, whose function is 1;
        all cosines come before all sines. With t[l] the sums of w exp(i l x), the sum of
        2 w cos(j x) cos(k x) is Re t[j - k] + Re t[j + k], and so on.
        """
        modes = positive_modes(self.spectrum.n_half)
        n_half = np.array(self.spectrum.n_half)

        def gather(lags):
            return self.coefficients[tuple(np.moveaxis(lags + 2 * n_half, -1, 0))]

        minus, plus = (gather(modes[:, None] + sign * modes) for sign in (-1, 1))
        cosines = minus.real + plus.real
        cosines[0] /= math.sqrt(2)
        cosines[:, 0] /= math.sqrt(2)
        mixed = plus.imag - minus.imag  # 2 cos(j x) sin(k x)
        mixed[0] /= math.sqrt(2)
        sines = minus.real - plus.real
        mixed = mixed[:, 1:]
        return np.block([[cosines, mixed], [mixed.T, sines[1:, 1:]]])

    def _to_grid(self, half, n_half, n_threads):
        """Return the real values, at the points of the grid, of the sum over Hermitian modes."""
        for axis, m in enumerate(n_half[:-1]):
            length = self._lengths[axis]
            padded = np.zeros((*half.shape[:axis], length, *half.shape[axis + 1 :]), complex)
            rows, other = np.moveaxis(padded, axis, 0), np.moveaxis(half, axis, 0)
            rows[: m + 1] = other[: m + 1]
            rows[length - m :] = other[m + 1 :]
            half = scipy.fft.ifft(
                padded, axis=axis, norm="forward", overwrite_x=True, workers=n_threads
            )
        return scipy.fft.irfft(half, self._lengths[-1], norm="forward", workers=n_threads)

    def _from_grid(self, grid, n_threads):
        """Return the modes of the spectrum from real values on the grid."""
        half = scipy.fft.rfft(grid, norm="forward", overwrite_x=True, workers=n_threads)
        half = half[..., : self.spectrum.n_half[-1] + 1]
        for axis in reversed(range(half.ndim - 1)):
            m, length = self.spectrum.n_half[axis], self._lengths[axis]
            half = scipy.fft.fft(half, axis=axis, norm="forward", workers=n_threads)
            kept = np.r_[: m + 1, length - m : length]
            half = np.take(half, kept, axis=axis)
        return half


def positive_modes(n_half):
    """Return mode 0 and, of each other pair j and -j, one, of shape ((M + 1) // 2, d)."""
    axes = [np.arange(-m, m + 1) for m in n_half]
    modes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(n_half))
    return modes[len(modes) // 2 :]


class ShiftedGram:
    """alpha I + R T R for a Toeplitz matrix T and a diagonal R, on real vectors of modes.

    Parameters
    ----------
    toeplitz : ToeplitzMatrix
    roots : ndarray of the shape of the half spectrum
        The diagonal of R.
    alpha : float
    n_threads : int
    """

    def __init__(self, toeplitz, roots, alpha, n_threads):
        self._toeplitz, self._alpha, self._n_threads = toeplitz, alpha, n_threads
        scale = toeplitz.spectrum.scale
        self._first, self._last = roots / scale, roots * scale

    def __matmul__(self, V):
        spectrum = self._toeplitz.spectrum
        per_column = max(self._n_threads // V.shape[1], 1)

        def multiply(column):
            half = np.ascontiguousarray(V[:, column]).view(np.complex128).reshape(spectrum.shape)
            half = self._toeplitz.multiply(half * self._first, per_column)
            half *= self._last
            return half.view(np.float64).ravel()

        columns = run_tasks(multiply, range(V.shape[1]), self._n_threads)
        out = columns[0][:, np.newaxis] if len(columns) == 1 else np.stack(columns, axis=1)
        out += self._alpha * V
        return out
