"""Points that stand for all: chosen by their leverage, they precondition the system of the modes.

The leverage of a point is how much its own value moves the solution there. Where the density rho of
the points varies little over a wavelength, K has the symbol rho(x) D_j, and the leverage of a point
is the sum of D_j / (alpha + rho D_j) over all modes (Chen & Yang, AISTATS 2021); all leverages
together are the number of modes that the data determine. Points drawn in proportion, each with the
inverse of its chance as its weight, have nearly the same second moments as all points (Alaoui &
Mahoney, NeurIPS 2015, arXiv:1411.0306), so that their system preconditions that of all; it has as
many unknowns as there are points drawn, by the formula of Woodbury.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..._utils.errors import NotPositiveDefiniteError


@dataclass(frozen=True)
class LeveragePolicy:
    """How leverages are estimated.

    Attributes
    ----------
    window : float
        The density of the points is smoothed by a window with the kernel's coefficients to this
        power: wavelengths that the data determine are shorter than the kernel is wide.
    n_bins : int
        Bins of coefficients, each a factor of its own, in the sums over all modes.
    n_densities : int
        Densities for which these sums are taken; between them they are interpolated.
    """

    window: float = 0.25
    n_bins: int = 256
    n_densities: int = 48


POLICY = LeveragePolicy()


def estimate_leverages(features, toeplitz, weights, alpha, *, policy=POLICY):
    """Return an estimate of the leverage of each point, (n,), at most 1.

    Parameters
    ----------
    features : FourierFeatures
    toeplitz : ToeplitzMatrix
        That of the weights.
    weights : ndarray of shape (n,)
    alpha : float
    policy : LeveragePolicy
    """
    coefficients = features.modes.coefficients.ravel()
    largest = coefficients.max()
    # A point has at least the density that it has by itself, which the window may hide.
    density = features.smooth_density(toeplitz, policy.window)
    density = np.maximum(density, weights * (coefficients.sum() / largest))
    edges = np.geomspace(largest * 1e-16, largest * 1.001, policy.n_bins)
    counts = np.histogram(coefficients, edges)[0]
    values = np.sqrt(edges[:-1] * edges[1:])
    grid = np.geomspace(density.min(), density.max() * 1.001, policy.n_densities)
    sums = (counts * values / (alpha + grid[:, np.newaxis] * values)).sum(axis=1)
    found = np.exp(np.interp(np.log(density), np.log(grid), np.log(sums)))
    return np.minimum(weights * found, 1.0)


def draw_points(leverages, n_drawn, rng):
    """Draw points, and return their numbers, ascending, and the chance that each one had.

    Chances are proportional to leverages, but at most 1. All stretches of a random order of the
    points have their share of the draws (systematic sampling: Madow, Ann. Math. Stat. 20, 1949).
    """
    chances = _chances(leverages, n_drawn)
    order = rng.permutation(len(chances))
    total = np.cumsum(chances[order])
    at = np.arange(rng.random(), total[-1], 1.0)
    drawn = np.unique(order[np.minimum(np.searchsorted(total, at, side="right"), len(order) - 1)])
    return drawn, chances[drawn]


def _chances(leverages, n_drawn):
    """Return chances that are proportional to leverages up to 1, and have the sum n_drawn."""
    n = len(leverages)
    if n_drawn >= n:
        return np.ones(n)
    order = np.argsort(leverages)[::-1]
    rest = leverages[order][::-1].cumsum()[::-1]
    # With the k largest at 1, the others share n_drawn - k.
    factors = (n_drawn - np.arange(n_drawn)) / rest[:n_drawn]
    k = int(np.argmax(factors * leverages[order[:n_drawn]] <= 1))
    return np.minimum(leverages * factors[k], 1.0)


class SampledInverse:
    """The inverse of alpha I + Phi* W Phi with Phi at some points alone, on real vectors of modes.

    By the formula of Woodbury it is (I - Phi* (K + alpha W^-1)^-1 Phi) / alpha with the kernel
    matrix K of these points.

    Parameters
    ----------
    features : FourierFeatures
        Of the points drawn.
    K : ndarray of shape (m, m)
        Overwritten.
    weights : ndarray of shape (m,)
    alpha : float
    """

    def __init__(self, features, K, weights, alpha):
        self._features, self._alpha = features, alpha
        K[np.diag_indices(len(K))] += alpha / weights
        try:
            # Column-major, so that nothing is copied; K is symmetric.
            self._factor = scipy.linalg.cho_factor(K.T, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise NotPositiveDefiniteError(0.0, str(error)) from error

    def __matmul__(self, V):
        solved = scipy.linalg.cho_solve(
            self._factor, self._features.to_points(V), overwrite_b=True, check_finite=False
        )
        return (V - self._features.to_modes(solved)) / self._alpha
