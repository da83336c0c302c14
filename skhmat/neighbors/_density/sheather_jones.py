"""The bandwidth of Botev, Grotowski and Kroese, the improved Sheather-Jones rule, in one dimension.

With the samples in the unit interval, and squared bandwidths t, the best bandwidth of a Gaussian
kernel depends on the norm of the second derivative of the density. The best bandwidth to estimate
the norm of a derivative depends on that of the next one. After a few of these steps the seventh is
estimated with the bandwidth that is sought: a fixed point. Norms come from the cosine transform of
the samples.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import dct
from scipy.optimize import brentq


@dataclass(frozen=True)
class SheatherJonesPolicy:
    """The grid and the steps of the improved Sheather-Jones rule; most numbers are its authors'.

    Attributes
    ----------
    first_bins, last_bins : int
        Bins of the first histogram that is transformed, and largest number of them.
    bins_per_bandwidth : float
        With fewer bins in a bandwidth there are four times as many bins in the next histogram.
    margin : float
        Empty bins on each side, in ranges of the samples, so that the ends of the interval, where
        the cosine transform reflects the density, are far away.
    last_derivative : int
        The derivative whose norm is estimated with the bandwidth that is sought.
    largest : float
        Largest squared bandwidth that is searched, relative to the square of the interval.
    rtol : float
        Relative error of the squared bandwidth.
    """

    first_bins: int = 1 << 14
    last_bins: int = 1 << 22
    bins_per_bandwidth: float = 4.0
    margin: float = 0.5
    last_derivative: int = 7
    largest: float = 0.1
    rtol: float = 1e-10


POLICY = SheatherJonesPolicy()


def improved_sheather_jones(x, weights=None, policy=POLICY):
    """Return the bandwidth, or None where the samples do not determine one.

    Parameters
    ----------
    x : ndarray of shape (n,)
    weights : ndarray of shape (n,) or None
        Positive.
    policy : SheatherJonesPolicy

    Returns
    -------
    bandwidth : float or None
    """
    x = np.asarray(x, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else weights / weights.max()
    distinct = np.unique(x)
    with np.errstate(over="ignore"):
        spread = distinct[-1] - distinct[0]
    if not 0 < spread < math.inf:
        return None
    ends = distinct[0] - policy.margin * spread, distinct[-1] + policy.margin * spread
    length = ends[1] - ends[0]
    # Copies of a sample tell no more than one of them.
    n_effective = len(distinct) / len(x) * w.sum() ** 2 / np.sum(w**2)
    least = np.median(np.diff(distinct)) / length
    n_bins = policy.first_bins
    while n_bins <= policy.last_bins:
        counts = np.histogram(x, n_bins, ends, weights=w)[0]
        squares = np.square(dct(counts / counts.sum())[1:] / 2)
        t = _fixed_point(squares, n_effective, least**2, policy)
        if t is not None and math.sqrt(t) * n_bins >= policy.bins_per_bandwidth:
            return float(math.sqrt(t) * length)
        n_bins *= 4
    return None


def _fixed_point(squares, n, least, policy):
    """Return the first squared bandwidth t with t = next_bandwidth(t), or None.

    Parameters
    ----------
    squares : ndarray of shape (n_bins - 1,)
        Squared coefficients of the cosines with 1, 2, ... half periods in the interval.
    n : float
        Number of samples.
    least : float
        Where the search begins. Rounded samples have another fixed point below, with a peak of
        its own for each value.
    policy : SheatherJonesPolicy
    """
    frequencies = np.square(np.arange(1, len(squares) + 1, dtype=np.float64))

    def norm(s, t):
        """Return the squared norm of the derivative s of the density smoothed by t."""
        terms = frequencies**s * squares * np.exp(-frequencies * math.pi**2 * t)
        return 2 * math.pi ** (2 * s) * terms.sum()

    def excess(t):
        found = norm(policy.last_derivative, t)
        for s in range(policy.last_derivative - 1, 1, -1):
            odd_product = math.prod(range(1, 2 * s, 2)) / math.sqrt(2 * math.pi)
            constant = (1 + 0.5 ** (s + 0.5)) / 3
            if found <= 0:
                return -1.0
            found = norm(s, (2 * constant * odd_product / (n * found)) ** (2 / (3 + 2 * s)))
        return -1.0 if found <= 0 else t - (2 * n * math.sqrt(math.pi) * found) ** (-2 / 5)

    lower = max(least, 1 / len(squares) ** 2)
    if excess(lower) >= 0:
        return None
    while lower < policy.largest:
        upper = 2 * lower
        if excess(upper) >= 0:
            return brentq(excess, lower, upper, rtol=policy.rtol)
        lower = upper
    return None
