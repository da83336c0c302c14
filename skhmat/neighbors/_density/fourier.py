"""Kernel sums through Fourier modes, with a bound of the largest error.

A Gaussian that is made periodic around the samples has few modes, and nonuniform fast Fourier
transforms take the samples to them and them to the queries (Barnett, Magland & af Klinteberg, SIAM
J. Sci. Comput. 41, 2019). The promise is for each sum, however small: what counts is the largest
error and not the mean square that `linalg._fourier` divides among the entries of a matrix. All its
parts are bounded: copies of the kernel at other periods and frequencies left out by closed forms
(compare Barnett, Greengard & Hogg, arXiv:2305.11065), transforms relative to the sum, and rounding.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc, erfcinv

from ...linalg._fourier.modes import POLICY as MODES
from ...linalg._fourier.nonuniform import POLICY as TRANSFORMS
from ...linalg._fourier.nonuniform import NonuniformTransform, n_parts
from ...linalg._gofmm.cost_model import RATES, transform_time

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
    least_sum : tuple of 3 floats
        Sums to keep the promise for, relative to what one mean weight by itself makes, in 1, 2 and
        3 dimensions: queries in the tails of the density have smaller ones, and other algorithms
        take a thousand times as long for each; but low sums cost modes, in more dimensions more.
    absolute, relative : float
        Parts of the error that is allowed for such a sum: of those errors that do not depend on
        the sum, and of the transforms, which do.
    aliasing : float
        The part of the former that copies of the kernel make; frequencies left out make the rest.
    transform_error : float
        Largest error of one transform of one sample by FINUFFT, relative to the kernel, over the
        tolerance that it was asked for: at most 120 for tolerances from 1e-1 to 1e-13.
    min_error, max_error : float
        Limits of the error that does not depend on the sum, relative to the sum of all weights.
    max_tolerance : float
        Largest tolerance of the transforms.
    coordinate_rounding, value_rounding : float
        Errors of coordinates, relative to the period, and of values, in units of the rounding of
        float64.
    margin : float
        Queries are taken up to this distance from the box around the samples, in bandwidths;
        others have small sums.
    outliers : float
        Fraction of the samples beyond each side of the box in which sums are taken,
    fewer_modes : float
        if that divides the number of modes by this,
    n_for_quantiles : int
        seen from so many samples.
    """

    least_sum: tuple = (0.001, 0.001, 0.1)
    absolute: float = 0.4
    relative: float = 0.5
    aliasing: float = 0.5
    transform_error: float = 200.0
    min_error: float = 1e-13
    max_error: float = 1e-2
    max_tolerance: float = 1e-3
    coordinate_rounding: float = 8.0
    value_rounding: float = 64.0
    margin: float = 2.0
    outliers: float = 1e-3
    fewer_modes: float = 8.0
    n_for_quantiles: int = 1 << 14


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
        The error of all but the transforms that was aimed for, relative to the sum of all weights.
    tolerance : float
        Of the transforms.
    policy : FourierPolicy
    """

    bandwidth: float
    center: np.ndarray
    half: np.ndarray
    reach: np.ndarray
    period: np.ndarray
    n_half: np.ndarray
    aim: float
    tolerance: float
    policy: FourierPolicy = POLICY

    @property
    def shape(self):
        """Number of modes in each dimension."""
        return tuple(2 * int(n) + 1 for n in self.n_half)

    @property
    def n_modes(self):
        """Number of modes."""
        return math.prod(self.shape)

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

    @property
    def relative_error(self):
        """Bound of the error of the transforms, relative to the sum itself.

        A sample is spread to a few points of a grid, and so it is to the kernel around it: the
        error of one sample falls off like the kernel. By linearity, the bound for one sample is
        that for all.
        """
        lowest = max(self.tolerance, TRANSFORMS.min_tolerance)
        return 2 * self.policy.transform_error * lowest

    def seconds(self, n_points, rates=RATES):
        """Return what a transform between points and modes takes on one core."""
        n_grids = 2 * n_parts(n_points, self.shape)
        return 0.5e-9 * transform_time(self.shape, self.tolerance, n_points, n_grids, rates=rates)

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
            [np.abs(column) <= limit for column, limit in zip(phases.T, limits, strict=True)]
        )


def plan_fourier(Y, kernel, weights, policy=POLICY):
    """Return the modes for sums over samples, or None where there is no use in them.

    The error that is aimed for keeps the promise for sums as large as one sample by itself makes
    them, and some that are smaller. Where few outliers would multiply the modes, queries near these
    are left out.

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
    aim = min(max(policy.absolute * allowed, policy.min_error), policy.max_error)
    # No sum is larger than that of the weights.
    tolerance = policy.relative * (kernel.rtol + kernel.atol / total) / (2 * policy.transform_error)
    errors = aim, min(max(tolerance, TRANSFORMS.min_tolerance), policy.max_tolerance)
    # By columns: NumPy is slow along an axis of two or three.
    ends = np.array([(column.min(), column.max()) for column in Y.T], dtype=np.float64).T
    plan = _plan_in(ends, ends, float(kernel.bandwidth), *errors, policy)
    if plan is not None and plan.seconds(0) < plan.seconds(n) / 2:
        return plan
    some = np.linspace(0, n - 1, min(n, policy.n_for_quantiles)).astype(np.intp)
    levels = policy.outliers, 1 - policy.outliers
    inner = np.quantile(Y[some].astype(np.float64), levels, axis=0, method="inverted_cdf")
    smaller = _plan_in(inner, ends, float(kernel.bandwidth), *errors, policy)
    if smaller is None or plan is None:
        return smaller
    return smaller if plan.n_modes > policy.fewer_modes * smaller.n_modes else plan


def _plan_in(box, ends, bandwidth, aim, tolerance, policy):
    """Return the modes for sums in a box, with samples between ends, or None if there are many.

    Parameters
    ----------
    box, ends : ndarray of shape (2, d)
        Least and largest coordinates.
    bandwidth, aim, tolerance : float
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
        frequency = float(erfcinv((1 - policy.aliasing) * aim / d)) / (math.sqrt(2) * np.pi)
        n_half = np.ceil(frequency * period)
        if not np.prod(2 * n_half + 1) <= MODES.max_modes:
            return None
    n_half = n_half.astype(int)
    return FourierPlan(bandwidth, center, half, reach, period, n_half, aim, tolerance, policy)


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
        Bound of the error of all sums, in addition to `FourierPlan.relative_error`.
    """

    def __init__(self, plan, Y, weights, n_threads):
        self.plan = plan
        total = float(len(Y) if weights is None else weights.sum())
        self.error = plan.error * total
        phases = plan.phases(Y)
        seen = plan.is_seen(phases)
        if not seen.all():
            phases = phases[seen]
            weights = None if weights is None else weights[seen]
        values = np.zeros((1, len(phases)), dtype=np.complex128)
        values[0] = 1.0 if weights is None else weights
        self._charges = self._transform(phases).to_modes(values, n_threads)
        for axis, (m, length) in enumerate(zip(plan.shape, plan.period, strict=True)):
            j = np.arange(m) - m // 2
            factors = math.sqrt(2 * np.pi) / length * np.exp(-2 * (np.pi * j / length) ** 2)
            self._charges *= factors.reshape(-1, *[1] * (len(plan.shape) - 1 - axis))

    def __call__(self, X, n_threads):
        """Return sums at points X of shape (m, d), NaN where they are too far from the samples."""
        phases = self.plan.phases(X)
        inside = self.plan.is_inside(phases)
        out = np.full(len(X), np.nan)
        if inside.any():
            transform = self._transform(phases if inside.all() else phases[inside])
            out[inside] = transform.to_points(self._charges, n_threads)[0].real
        return out

    def errors(self, values):
        """Return the bound of the error of each sum, (m,).

        The sum itself is not known, but is no larger than this error and the value.
        """
        part = self.plan.relative_error
        return self.error + part / (1 - part) * np.maximum(values + self.error, 0)

    def _transform(self, phases):
        return NonuniformTransform(phases, self.plan.shape, self.plan.tolerance, np.float64)
