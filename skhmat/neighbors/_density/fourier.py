"""Kernel sums through Fourier modes, with a bound of the largest error.

A Gaussian that is made periodic around the samples has few modes, and nonuniform fast Fourier
transforms take the samples to them and them to the queries (Barnett, Magland & af Klinteberg, SIAM
J. Sci. Comput. 41, 2019). The promise is for each sum, however small: what counts is the largest
error and not the mean square that `linalg._fourier` divides among the entries of a matrix. All its
parts are bounded: copies of the kernel at other periods, frequencies left out (both by closed
forms; compare Barnett, Greengard & Hogg, arXiv:2305.11065), transforms, and rounding.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc, erfcinv

from ...linalg._fourier.modes import POLICY as MODES
from ...linalg._fourier.nonuniform import POLICY as TRANSFORMS
from ...linalg._fourier.nonuniform import NonuniformTransform
from ...linalg._gofmm.cost_model import RATES

# Kernels whose transform falls off fast enough for an error of every sum: "exponential" takes about
# a million frequencies in each dimension for six digits, and compact kernels hardly fewer.
FOURIER_DENSITIES = ("gaussian",)
# Features for which there are nonuniform transforms.
MAX_DIMENSION = 3


@dataclass(frozen=True)
class FourierPolicy:
    """How modes are chosen, and what their sums may be off by.

    Attributes
    ----------
    aliasing, truncation : float
        Parts of the error that copies of the kernel and frequencies left out make.
    transform : float
        Part of each of the two transforms.
    transform_error : float
        Largest error of a sum over all modes by FINUFFT, for one sample, over the tolerance that it
        was asked for: at most 0.9 for those from 1e-2 to 1e-14, and by linearity no more for many.
    mode_error : float
        The same for any single mode: at most 8.
    min_error, max_error : float
        Limits of the error that is aimed for, relative to the sum of all weights.
    coordinate_rounding, value_rounding : float
        Errors of coordinates, relative to the period, and of values, in units of the rounding of
        float64.
    margin : float
        Queries are taken up to this distance from the box around the samples, in bandwidths;
        others have small sums.
    least_sum : tuple of 3 floats
        Sums to keep the promise for, relative to what one mean weight by itself makes, in 1, 2 and
        3 dimensions: queries in the tails of the density have smaller ones, and other algorithms
        take a thousand times as long for each; but digits cost more in more dimensions.
    outliers : float
        Fraction of the samples beyond each side of the box in which sums are taken,
    fewer_modes : float
        if that divides the number of modes by this,
    n_for_quantiles : int
        seen from so many samples.
    phase : float
        Nanoseconds of moving the phase of a value.
    """

    aliasing: float = 0.05
    truncation: float = 0.1
    transform: float = 0.4
    transform_error: float = 2.0
    mode_error: float = 10.0
    min_error: float = 5e-13
    max_error: float = 1e-2
    coordinate_rounding: float = 8.0
    value_rounding: float = 64.0
    margin: float = 2.0
    least_sum: tuple = (0.01, 0.1, 1.0)
    outliers: float = 1e-3
    fewer_modes: float = 8.0
    n_for_quantiles: int = 1 << 14
    phase: float = 25.0


POLICY = FourierPolicy()


@dataclass(frozen=True, eq=False)
class FourierPlan:
    """The modes for sums over given samples.

    Attributes
    ----------
    bandwidth : float
    center : ndarray of shape (d,)
        Middle of the box in which sums are taken.
    half : ndarray of shape (d,)
        Half the sides of this box, in bandwidths.
    reach : ndarray of shape (d,)
        The same for the box of the samples that are seen from there.
    period : ndarray of shape (d,)
        In bandwidths.
    n_half : ndarray of shape (d,), int
        Frequencies are j / period, abs(j) <= n_half.
    aim : float
        The error that was aimed for, relative to the sum of all weights.
    policy : FourierPolicy
    """

    bandwidth: float
    center: np.ndarray
    half: np.ndarray
    reach: np.ndarray
    period: np.ndarray
    n_half: np.ndarray
    aim: float
    policy: FourierPolicy = POLICY

    def shape(self, is_halved):
        """Return the number of modes in each dimension.

        The modes of real weights are conjugate at opposite frequencies: half of them is enough.
        """
        shape = [2 * int(n) + 1 for n in self.n_half]
        if is_halved:
            # Odd, as the transforms have it; the last one may be one more than is needed.
            shape[0] = 2 * ((int(self.n_half[0]) + 1) // 2) + 1
        return tuple(shape)

    @property
    def n_modes(self):
        """Number of modes."""
        return math.prod(self.shape(is_halved=False))

    @property
    def tolerance(self):
        """Tolerance of the transform of the samples."""
        return self.policy.transform * self.aim / self.policy.transform_error

    @property
    def error(self):
        """Bound of the error of all but the transforms, relative to the sum of all weights."""
        policy, d = self.policy, len(self.period)
        rounding = np.finfo(np.float64).eps
        gap = self.period - self.half - self.reach
        # The nearest copy is no nearer than this; each further one has a period more.
        copies = 2 * np.exp(-(gap**2) / 2) / -np.expm1(-gap * self.period)
        aliasing = float(np.expm1(np.log1p(copies).sum()))
        left_out = erfc(math.sqrt(2) * np.pi * self.n_half / self.period).sum()
        # Moved by a length s, the Gaussian changes by less than s; so do samples and queries.
        moved = policy.coordinate_rounding * rounding * float(np.linalg.norm(self.period))
        truncation = float(left_out) * (1 + aliasing) ** (d - 1)
        # Samples that aren't seen are no nearer, either.
        unseen = float(np.exp(-(gap.min() ** 2) / 2))
        return max(aliasing, unseen) + truncation + moved + policy.value_rounding * rounding

    def seconds(self, n_points, rates=RATES):
        """Return what a transform between points and modes takes on one core, and if by halves."""
        return min((self._seconds(n_points, is_halved, rates), is_halved) for is_halved in (0, 1))

    def _seconds(self, n_points, is_halved, rates):
        d = len(self.period)
        grid = math.prod(2 * m for m in self.shape(is_halved))
        part = max(TRANSFORMS.min_part, int(TRANSFORMS.points_per_grid * grid))
        reach = math.ceil(-math.log10(self.tolerance)) + 1
        # The rates are those of the way there and back.
        point = (rates.spread_point[d - 1] + rates.spread[d - 1] * reach**d) / 2
        point += self.policy.phase * is_halved
        transforms = grid * math.log2(grid) * rates.fft / 2
        return 1e-9 * (n_points * point + max(n_points // part, 1) * transforms)

    def phases(self, X):
        """Return points in units of the period, times 2 pi, of shape (m, d)."""
        phases = np.empty(X.T.shape)
        steps = zip(phases, X.T, self.center, 2 * np.pi / self.period, strict=True)
        with np.errstate(over="ignore", invalid="ignore"):
            for out, column, center, unit in steps:
                np.subtract(column, center, out=out)
                out *= unit / self.bandwidth
        return phases.T

    def is_inside(self, phases):
        """Return which points, given by their phases, lie in the box, (m,)."""
        return self._is_within(self.half, phases)

    def is_seen(self, phases):
        """Return which samples, given by their phases, are seen from the box, (n,)."""
        return self._is_within(self.reach, phases)

    def _is_within(self, half, phases):
        limits = half / self.period * 2 * np.pi * (1 + 1e-12)
        return np.logical_and.reduce(
            [np.abs(c) <= t for c, t in zip(phases.T, limits, strict=True)]
        )


def plan_fourier(Y, kernel, weights, policy=POLICY):
    """Return the modes for sums over samples, or None where there is no use in them.

    The error that is aimed for keeps the promise for sums about as large as one sample by itself
    makes them. Where few outliers would multiply the modes, queries near these are left out.

    Parameters
    ----------
    Y : ndarray of shape (n, d)
    kernel : DensityKernel
        One of `FOURIER_DENSITIES`.
    weights : ndarray of shape (n,) or None
    policy : FourierPolicy

    Returns
    -------
    FourierPlan or None
        None where they are too many, or the promise allows no error.
    """
    n, d = Y.shape
    total = float(n if weights is None else weights.sum())
    allowed = kernel.rtol * policy.least_sum[d - 1] / n + kernel.atol / total
    if allowed <= 0:
        return None
    aim = min(max(allowed, policy.min_error), policy.max_error)
    # By columns: NumPy is slow along an axis of two or three.
    ends = np.array([(column.min(), column.max()) for column in Y.T], dtype=np.float64).T
    plan = _plan_in(ends, ends, float(kernel.bandwidth), aim, policy)
    if plan is not None and plan.seconds(0)[0] < plan.seconds(n)[0] / 2:
        return plan
    some = np.linspace(0, n - 1, min(n, policy.n_for_quantiles)).astype(np.intp)
    levels = policy.outliers, 1 - policy.outliers
    inner = np.quantile(Y[some].astype(np.float64), levels, axis=0, method="inverted_cdf")
    smaller = _plan_in(inner, ends, float(kernel.bandwidth), aim, policy)
    if smaller is None or plan is None:
        return smaller
    return smaller if plan.n_modes > policy.fewer_modes * smaller.n_modes else plan


def _plan_in(box, ends, bandwidth, aim, policy):
    """Return the modes for sums in a box, with samples between ends, or None if there are many.

    Parameters
    ----------
    box, ends : ndarray of shape (2, d)
        Least and largest coordinates.
    bandwidth, aim : float
    policy : FourierPolicy
    """
    d = box.shape[1]
    gap = math.sqrt(2 * math.log(2 * d / (policy.aliasing * aim)))
    with np.errstate(over="ignore", invalid="ignore"):
        center = box[0] / 2 + box[1] / 2
        half = (box[1] / 2 - box[0] / 2) / bandwidth + policy.margin
        farthest = np.maximum(ends[1] - center, center - ends[0]) / bandwidth
        reach = np.minimum(farthest, half + gap)
        period = half + reach + gap
        frequency = float(erfcinv(policy.truncation * aim / d)) / (math.sqrt(2) * np.pi)
        n_half = np.ceil(frequency * period)
        if not np.prod(2 * n_half + 1) <= MODES.max_modes:
            return None
    return FourierPlan(bandwidth, center, half, reach, period, n_half.astype(int), aim, policy)


class FourierSums:
    """Sums of a Gaussian over samples at any points near them.

    Parameters
    ----------
    plan : FourierPlan
    Y : ndarray of shape (n, d)
    weights : ndarray of shape (n,) or None
    n_threads : int

    Attributes
    ----------
    plan : FourierPlan
    error : float
        Bound of the error of all sums.
    """

    def __init__(self, plan, Y, weights, n_threads):
        self.plan, policy = plan, plan.policy
        is_halved = bool(plan.seconds(len(Y))[1])
        phases = plan.phases(Y)
        seen = plan.is_seen(phases)
        unseen = 0.0
        if not seen.all():
            phases = phases[seen]
            unseen = float(np.count_nonzero(~seen) if weights is None else weights[~seen].sum())
            weights = None if weights is None else weights[seen]
        values = np.zeros((1, len(phases)), dtype=np.complex128)
        values[0] = 1.0 if weights is None else weights
        total = float(values.real.sum())
        shape = plan.shape(is_halved)
        # Frequencies from 0 on have their middle moved to 0 by a phase.
        self._shift = shape[0] // 2 if is_halved else 0
        if is_halved:
            values[0] *= np.exp(1j * self._shift * phases[:, 0])
        transform = NonuniformTransform(phases, shape, plan.tolerance, np.float64)
        del phases
        self._charges = transform.to_modes(values, n_threads)
        self._charges *= self._coefficients(shape, is_halved)
        # Smooth samples have few large charges: their transform may have a larger error.
        charges = float(np.abs(self._charges).sum())
        largest = min(policy.mode_error * charges, policy.transform_error * total)
        allowed = policy.transform * plan.aim * total
        self._tolerance = min(allowed / largest if largest > 0 else 1.0, policy.max_error)
        by_transforms = policy.transform_error * transform.tolerance * total
        by_transforms += max(self._tolerance, TRANSFORMS.min_tolerance) * largest
        self.error = plan.error * (total + unseen) + by_transforms

    @property
    def nbytes(self):
        """Bytes held."""
        return self._charges.nbytes

    def __call__(self, X, n_threads):
        """Return sums at points X of shape (m, d), NaN where they are too far from the samples."""
        phases = self.plan.phases(X)
        inside = self.plan.is_inside(phases)
        out = np.full(len(X), np.nan)
        if not inside.any():
            return out
        if not inside.all():
            phases = phases[inside]
        shape = self._charges.shape[1:]
        transform = NonuniformTransform(phases, shape, self._tolerance, np.float64)
        values = transform.to_points(self._charges, n_threads)[0]
        if self._shift:
            turn = self._shift * phases[:, 0]
            out[inside] = values.real * np.cos(turn) + values.imag * np.sin(turn)
        else:
            out[inside] = values.real
        return out

    def _coefficients(self, shape, is_halved):
        """Return the coefficient of each mode, lowest frequency first."""
        out = np.ones(())
        for axis, (m, length) in enumerate(zip(shape, self.plan.period, strict=True)):
            first = 0 if is_halved and axis == 0 else -(m // 2)
            j = np.arange(first, first + m)
            c = math.sqrt(2 * np.pi) / length * np.exp(-2 * (np.pi * j / length) ** 2)
            if is_halved and axis == 0:
                c[1:] *= 2  # of the opposite frequency, too
            out = np.multiply.outer(out, c)
        return out
