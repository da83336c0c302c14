"""Which Fourier modes a kernel needs on given points: period, highest frequency, coefficients.

The kernel is made periodic with a period so long that no difference of two points sees another copy
of it; the sum over frequencies, which are then equally spaced, is cut where the rest is too small
to matter. Barnett, Greengard & Hogg (arXiv:2305.11065, 2023) bound both errors for kernels with
positive transforms. Here they are not bounded but computed: the largest error by closed forms of
the same sums, and the mean error by Parseval's identity.
"""

import functools
import itertools
import math
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from scipy.special import erf, erfc, erfcinv

from .transforms import RationalQuadratic, transform_of


@dataclass(frozen=True)
class ModesPolicy:
    """How an error is divided, and how many modes are too many.

    Attributes
    ----------
    max_modes : int
        More are not considered: transforms would take gigabytes.
    aliasing : float
        Part of the allowed error that copies of the kernel at other periods may make.
    truncation : float
        Part that frequencies left out may make.
    transition : float
        Length over which a slowly decaying kernel is continued to its period, relative to the
        extent of the points,
    min_transition : float
        but at least this, in units of the bandwidth.
    """

    max_modes: int = 1 << 24
    aliasing: float = 0.1
    truncation: float = 0.6
    transition: float = 0.5
    min_transition: float = 6.0


POLICY = ModesPolicy()
# Bisections of a length or a frequency, which leave a part in a million.
_N_BISECTIONS = 20
# Frequencies at which coefficients may be cut off.
_N_EDGES = 256


@dataclass(frozen=True)
class Demand:
    """What a Fourier form has to achieve on a cloud of points.

    Attributes
    ----------
    rtol : float
        Relative error of the matrix in the Frobenius norm.
    mean_entry : float
        Root mean square of the entries of the matrix, where those of the diagonal are 1.
    n : int
        Rows.
    """

    rtol: float
    mean_entry: float
    n: int

    @property
    def entry_error(self):
        """The error that each entry may have."""
        return self.rtol * self.mean_entry

    def error(self, largest, mean_square, n_apart):
        """Return the relative error of the matrix.

        Parameters
        ----------
        largest : float
            Error of the kernel at distance 0, the largest. The diagonal has it, and all pairs
            closer than the wavelength of the frequencies that were left out.
        mean_square : float
            Its mean square over a period, relative to that of the kernel: pairs of points are not
            spread evenly over the period, but like the kernel the error is large where they are.
        n_apart : float
            Number of cells of that wavelength in the box around the points.
        """
        close = 1 / min(self.n, n_apart)
        return math.sqrt(mean_square + (largest / self.mean_entry) ** 2 * close)


@dataclass(frozen=True, eq=False)
class FourierModes:
    """A periodic kernel as a sum over frequencies j / period, |j| <= n_half in each dimension.

    Attributes
    ----------
    kernel : str
    alpha : float
    period : ndarray of shape (d,)
        In units of the bandwidth.
    n_half : ndarray of shape (d,), int
    extent : ndarray of shape (d,)
        Largest difference of coordinates for which the sum is the kernel, in the same unit.
    demand : Demand
        What was asked for.
    """

    kernel: str
    alpha: float
    period: np.ndarray
    n_half: np.ndarray
    extent: np.ndarray
    demand: Demand

    @property
    def shape(self):
        """Number of modes in each dimension."""
        return tuple(int(m) for m in 2 * self.n_half + 1)

    @cached_property
    def coefficients(self):
        """The coefficient of each mode, lowest frequency first, of the shape `shape`."""
        transform = transform_of(self.kernel, len(self.period), self.alpha)
        if isinstance(transform, RationalQuadratic):
            half = _folded_coefficients(
                transform, self.extent, self.period, self.n_half, self.demand.entry_error
            )
            return _mirrored(half)
        squares = sum(np.meshgrid(*self._square_frequencies(), indexing="ij", sparse=True))
        return transform.density(squares) / np.prod(self.period)

    def as_record(self):
        """Return what a file holds of the modes, as a dict of numbers and lists."""
        return {
            "period": self.period.tolist(),
            "n_half": self.n_half.tolist(),
            "extent": self.extent.tolist(),
            "demand": asdict(self.demand),
        }

    def _square_frequencies(self):
        return [
            (np.arange(-m, m + 1) / length) ** 2
            for m, length in zip(self.n_half, self.period, strict=True)
        ]

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "coefficients"}


def choose_modes(kernel, alpha, extent, demand, policy=POLICY):
    """Return the fewest modes that meet a demand, or None where they are too many.

    Parameters
    ----------
    kernel : str
        One of `transforms.FOURIER_KERNELS`.
    alpha : float
        Exponent of "rational_quadratic".
    extent : ndarray of shape (d,)
        Extent of the points in each dimension, in units of the bandwidth.
    demand : Demand
    policy : ModesPolicy

    Returns
    -------
    FourierModes or None
    """
    transform = transform_of(kernel, len(extent), alpha)
    if isinstance(transform, RationalQuadratic):
        found = _folded_modes(transform, extent, demand, policy)
    else:
        found = _decaying_modes(transform, extent, demand, policy)
    if found is None:
        return None
    return FourierModes(kernel, alpha, *found, extent, demand)


def _decaying_modes(transform, extent, demand, policy):
    """Return period and n_half of a kernel with a known transform, or None."""
    reach = _smallest(
        lambda length: _aliasing(transform, extent, length), policy.aliasing * demand.entry_error
    )
    period = extent + reach

    def error(frequency):
        n_apart = _n_cells(extent, frequency)
        return demand.error(transform.tail(frequency), transform.square_tail(frequency), n_apart)

    frequency = _smallest(error, policy.truncation * demand.rtol)
    n_half = np.ceil(frequency * period)
    return None if are_too_many(n_half, policy) else (period, n_half.astype(int))


def _n_cells(extent, frequency):
    """Return the number of cells of a wavelength in a box."""
    return math.prod((1 + 2 * frequency * extent).tolist())


def are_too_many(n_half, policy=POLICY):
    """Return whether the modes up to n_half, (d,), are more than are considered.

    In Python's numbers: the product of NumPy's integers could overflow.
    """
    return not math.prod((2 * n_half + 1).tolist()) <= policy.max_modes


def _aliasing(transform, extent, reach):
    """Return a bound of the sum of all copies of the kernel, at differences within the extent.

    Copies farther than the next ones are smaller by more than the sum over them counts twice.
    """
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=len(extent))))
    steps = steps[np.any(steps != 0, axis=1)]
    distances = np.where(steps != 0, reach, 0.0)
    return float(transform.value((distances**2).sum(axis=1)).sum())


def _smallest(function, bound):
    """Return the smallest positive number, to some digits, where a falling function is <= bound."""
    low, high = 0.0, 1.0
    while function(high) > bound and high < 1e300:
        low, high = high, 2 * high
    for _ in range(_N_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > bound else (low, middle)
    return high


def _folded_modes(transform, extent, demand, policy):
    """Return period and n_half of a kernel that is continued to its period, or None.

    Coefficients on finer and finer grids tell where they may be cut off.
    """
    period = 2 * (extent + np.maximum(policy.transition * extent, policy.min_transition))
    frequency = 1.0
    while True:
        n_half = np.ceil(frequency * period)
        if are_too_many(n_half, policy):
            return None
        n_half = n_half.astype(int)
        coefficients = _folded_coefficients(transform, extent, period, n_half, demand.entry_error)
        cut = _cut(coefficients, n_half / period, extent, demand, policy)
        # Above three quarters of the grid's frequencies its own error may be as large.
        if cut <= 0.75 * frequency:
            return period, np.ceil(cut * period).astype(int)
        frequency *= 1.5


def _cut(coefficients, limits, extent, demand, policy):
    """Return the lowest frequency above which coefficients, (m + 1, ...), are not needed."""
    axes = [np.linspace(0, limit, m) for m, limit in zip(coefficients.shape, limits, strict=True)]
    height = functools.reduce(np.maximum, np.meshgrid(*axes, indexing="ij", sparse=True))
    # Others than zero stand for two frequencies.
    n_signs = [np.where(axis > 0, 2.0, 1.0) for axis in axes]
    counts = math.prod(np.meshgrid(*n_signs, indexing="ij", sparse=True))
    edges = np.linspace(0, height.max(), _N_EDGES)
    at = np.ceil(height.ravel() * ((_N_EDGES - 1) / height.max())).astype(np.intp)
    at = np.minimum(at, _N_EDGES - 1)
    sizes = np.bincount(at, (counts * np.abs(coefficients)).ravel(), _N_EDGES)
    squares = np.bincount(at, (counts * np.square(coefficients)).ravel(), _N_EDGES)
    # Of all coefficients above an edge.
    largest = sizes[::-1].cumsum()[::-1] - sizes
    mean_squares = (squares[::-1].cumsum()[::-1] - squares) / squares.sum()
    errors = [
        demand.error(*sizes, _n_cells(extent, edge))
        for *sizes, edge in zip(largest, mean_squares, edges, strict=True)
    ]
    return edges[np.argmax(np.array(errors) <= policy.truncation * demand.rtol)]


def _folded_coefficients(transform, extent, period, n_half, entry_error):
    """Return the Fourier coefficients of a kernel of folded coordinates, (m + 1, ...).

    It is even in each coordinate: those of the frequencies that are not negative are all.
    """
    # Samples of half a period, ends included, for a cosine transform of the first kind.
    n_intervals = [scipy.fft.next_fast_len(int(m) + 1, real=True) for m in n_half]
    squares = [
        folded_square(np.linspace(0, length / 2, n + 1), reach, length, entry_error)
        for n, length, reach in zip(n_intervals, period, extent, strict=True)
    ]
    values = transform.value(sum(np.meshgrid(*squares, indexing="ij", sparse=True)))
    kept = tuple(slice(int(m) + 1) for m in n_half)
    return scipy.fft.dctn(values, type=1)[kept] / math.prod(2 * n for n in n_intervals)


def _mirrored(half):
    """Return coefficients of all frequencies, lowest first, from those that are not negative."""
    for axis in range(half.ndim):
        upper = half.take(range(1, half.shape[axis]), axis=axis)
        half = np.concatenate([np.flip(upper, axis), half], axis=axis)
    return half


def folded_square(x, extent, period, error):
    """Return x² within an extent, continued smoothly to an even function of a period.

    Its derivative 2 |x| is multiplied with a step that falls from 1 at the extent to 0 at half the
    period, to an error. A function that is smooth in the square of the distance becomes a smooth
    periodic one of these; compare the regularization of Potts & Steidl (SIAM J. Sci. Comput. 24,
    2003), which does the same to the kernel in place of its argument.

    Parameters
    ----------
    x : ndarray
        From 0 to the period.
    extent, period : float
        The extent is less than half the period.
    error : float
        In (0, 1).
    """
    x = np.minimum(x, period - x)
    center = (extent + period / 2) / 2
    width = (period / 2 - extent) / (2 * erfcinv(2 * max(error, 1e-16)))

    def integral(t):
        """Return an integral of t erfc((t - center) / width)."""
        u = (t - center) / width
        gauss = np.exp(-(u**2)) / math.sqrt(np.pi)
        linear = u**2 / 2 * erfc(u) - u * gauss / 2 + erf(u) / 4
        return width * (width * linear + center * (u * erfc(u) - gauss))

    outside = extent**2 + integral(x) - integral(np.array(float(extent)))
    return np.where(x <= extent, x**2, outside)
