"""Regularized systems with a kernel matrix, solved for the weights of its Fourier modes.

With K ~ Phi Phi* (`features`), the system (K + alpha W^-1) x = y has the solution

    x = W (y - Phi b) / alpha,    (alpha I + Phi* W Phi) b = Phi* W y

(Greengard, Rachh & Barnett, arXiv:2210.10210, 2022, section 2.2; for W = I). The matrix of the
modes is a Toeplitz matrix between two diagonal ones, whose product takes FFTs of a size that
depends on the modes alone: points are touched once to make it and twice for each right-hand side.

Conjugate gradients take many iterations where alpha is small, since the eigenvalues of Phi* W Phi
fall from the number of points to nothing. What preconditions them are points drawn by leverage
(`leverage`), where that pays; few modes are solved for directly.

What x loses of K x to rounding, and to modes that the system leaves out, comes back in further
passes with the residuals. Modes with rho D_j << alpha, where rho is the largest density of the
points, change little: the system of the others contracts errors by rho D_j / alpha in each pass.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._utils.errors import NotPositiveDefiniteError
from .._gofmm.cost_model import RATES, transform_time
from .._krylov.columns import column_scales, relative_norms
from .._krylov.conjugate_gradients import conjugate_gradients
from .few_modes import FewModes
from .leverage import SampledInverse, draw_points, estimate_leverages
from .toeplitz import ShiftedGram


@dataclass(frozen=True)
class WeightSpacePolicy:
    """How systems of modes are solved.

    Attributes
    ----------
    max_direct : int
        Modes up to which the system is factorized.
    contraction : float
        Modes are left out of the system whose part of its matrix is at most this, relative to
        alpha,
    min_saving : float
        where that leaves at most this part of them, or few enough to factorize.
    max_passes : int
        Most passes.
    stagnation : float
        A pass that leaves more than this part of each residual is the last one.
    safety : float
        A pass aims for this part of the residual that is asked for.
    max_bins : int
        Bins in each dimension in which points are counted, for their largest density.
    points_per_bin : int
        Points that there are on average for each bin, at least.
    ratios : tuple of floats
        Numbers of points drawn that are considered, relative to the number of modes that the data
        determine.
    max_drawn : int
        Most points drawn; their matrix takes 8 bytes for each pair.
    plain_iterations : float
        Iterations without these, for each digit of the residual and of the condition number, and
        the root of that.
    iterations : float
        Iterations with r points drawn for each mode, for each such digit: this times
        1 / r + 2.5 / r³. All three numbers are fitted to measured iterations.
    max_expected : float
        Expected iterations above which a way is not taken if another one has fewer.
    solve : float
        Nanoseconds for each pair of points drawn in an iteration.
    """

    max_direct: int = 700
    contraction: float = 1e-2
    min_saving: float = 0.25
    max_passes: int = 20
    stagnation: float = 0.5
    safety: float = 0.8
    max_bins: int = 32
    points_per_bin: int = 8
    ratios: tuple = (1.0, 2.0, 4.0, 8.0)
    max_drawn: int = 6000
    plain_iterations: float = 0.6
    iterations: float = 20.0
    max_expected: float = 600.0
    solve: float = 0.9


POLICY = WeightSpacePolicy()


class WeightSpace:
    """Systems with one kernel matrix on points, for any right-hand sides and penalties.

    Parameters
    ----------
    features : FourierFeatures
        Those with which the residual is computed, hence the accuracy.
    K : KernelMatrix
        Of the same points.
    weights : ndarray of shape (n,) or None
        Positive; the diagonal of W.
    policy : WeightSpacePolicy
    """

    def __init__(self, features, K, weights=None, *, policy=POLICY):
        self.features, self.policy, self._K = features, policy, K
        self.weights = np.ones(K.shape[0]) if weights is None else weights
        self._plan = self._planned = None
        self._toeplitz = {}  # its tolerance and itself, by the number of modes in each dimension

    @cached_property
    def peak(self):
        """Largest eigenvalue of the matrix of the modes, roughly: highest density times D_0."""
        n, period, policy = len(self.weights), self.features.modes.period, self.policy
        most = min(policy.max_bins, (n / policy.points_per_bin) ** (1 / len(period)))
        bins = [int(np.clip(np.ceil(length), 1, max(most, 1))) for length in period]
        limits = [(-np.pi, np.pi)] * len(bins)
        counts = np.histogramdd(self.features.phases, bins, limits, weights=self.weights)[0]
        return float(counts.max() * math.prod(bins) * self.features.modes.coefficients.max())

    def plan(self, alpha, rtol):
        """Return how a penalty is solved for, a `WeightSpacePlan`; the last one is kept."""
        if self._planned != (alpha, rtol):
            self._plan, self._planned = self._make_plan(alpha, rtol), (alpha, rtol)
        return self._plan

    def _make_plan(self, alpha, rtol):
        features = self._inner_features(alpha)
        if math.prod(features.spectrum.full_shape) <= self.policy.max_direct:
            size = math.prod(features.spectrum.full_shape)
            setup = size**3 / 6 * RATES.cholesky + size**2 * RATES.gather * 10
            return WeightSpacePlan(
                features, self._moments(features, alpha), None, 0, setup, size**2
            )
        toeplitz = self._moments(features, alpha)
        leverages = estimate_leverages(features, toeplitz, self.weights, alpha)
        n_drawn, setup, each = self._choose(features, leverages, alpha, rtol)
        return WeightSpacePlan(features, toeplitz, leverages, n_drawn, setup, each)

    def solve(self, Y, alpha, rtol, maxiter, start=None):
        """Solve (K + alpha W^-1) X = Y with K ~ Phi Phi*.

        Parameters
        ----------
        Y : ndarray of shape (n, k)
        alpha : float
            Above 0.
        rtol : float
        maxiter : int
            Most iterations.
        start : ndarray of shape (n, k) or None
            A solution that is known roughly.

        Returns
        -------
        X : ndarray of shape (n, k)
        residuals : ndarray of shape (k,)
            Relative residuals of X with Phi Phi* in place of K.
        n_iterations : int
            Of conjugate gradients, the columns together; 0 where all was direct.
        """
        policy, plan = self.policy, self.plan(alpha, rtol)
        solver = self._solver(plan, alpha)
        is_cut = plan.features is not self.features
        scales = column_scales(Y)  # squares must neither underflow nor overflow
        Y = Y / scales
        X = np.zeros_like(Y) if start is None else start / scales
        R = Y.copy() if start is None else self._rest(X, Y, alpha)
        residuals = relative_norms(R, Y)
        n_iterations = 0
        for _ in range(policy.max_passes):
            active = np.flatnonzero(residuals > rtol)
            if len(active) == 0 or (n_iterations >= maxiter and n_iterations > 0):
                break
            goal = policy.safety * rtol / residuals[active]
            if is_cut:
                goal = np.maximum(goal, 0.3 * policy.contraction)
            rest = R[:, active]
            weighted = self.weights[:, np.newaxis] * rest
            B = plan.features.to_modes(weighted)
            # The residual of x is Phi (that of b) / alpha.
            sizes = np.linalg.norm(rest, axis=0) / np.maximum(
                np.linalg.norm(B, axis=0), np.finfo(float).tiny
            )
            target = goal * sizes * alpha / math.sqrt(max(self.peak, alpha))
            b, taken = solver(B, target, maxiter - n_iterations)
            n_iterations += taken
            step = (weighted - self.weights[:, np.newaxis] * plan.features.to_points(b)) / alpha
            x = X[:, active] + step
            rest = self._rest(x, Y[:, active], alpha)
            before, now = residuals[active], relative_norms(rest, Y[:, active])
            better = now < before
            kept = active[better]
            X[:, kept], R[:, kept], residuals[kept] = x[:, better], rest[:, better], now[better]
            if (now > np.maximum(rtol, policy.stagnation * before)).all():
                break
        return X * scales, residuals, n_iterations

    @property
    def has_few_modes(self):
        """Whether there are so few modes that leverages are computed exactly."""
        return math.prod(self.features.spectrum.full_shape) <= self.policy.max_direct

    def leverages(self, alpha):
        """Return the leverages of all points, (n,), or None where modes are too many for that."""
        if not self.has_few_modes:
            return None
        toeplitz = self._moments(self.features, alpha)
        return FewModes(self.features, self.weights, toeplitz).leverages(alpha)

    def _rest(self, X, Y, alpha):
        """Return the residuals of solutions, (n, k)."""
        shift = (alpha / self.weights)[:, np.newaxis]
        return Y - shift * X - self.features.to_points(self.features.to_modes(X))

    def _inner_features(self, alpha):
        """Return the features of the modes that are solved for: all, or only the largest."""
        policy, modes = self.policy, self.features.modes
        if self.has_few_modes:
            return self.features
        limit = policy.contraction * alpha * modes.coefficients.max() / max(self.peak, 1e-300)
        n_half = []
        for axis, m in enumerate(modes.n_half):
            # The coefficients fall along each axis; elsewhere they are smaller still.
            line = np.moveaxis(modes.coefficients, axis, 0)
            middle = tuple(size // 2 for size in line.shape[1:])
            n_half.append(int(np.count_nonzero(line[(slice(m, None), *middle)] > limit)))
        n_half = np.minimum(np.maximum(n_half, 1), modes.n_half)
        size, full = math.prod((2 * n_half + 1).tolist()), math.prod(modes.shape)
        if size < full and (size <= policy.min_saving * full or size <= policy.max_direct):
            return self.features.lowest(n_half)
        return self.features

    def _moments(self, features, alpha):
        """Return F* W F, accurate enough for the matrix of the modes to be definite."""
        key, tolerance = features.spectrum.full_shape, self._tolerance(alpha)
        if key not in self._toeplitz or self._toeplitz[key][0] > tolerance:
            self._toeplitz[key] = tolerance, features.toeplitz(self.weights, tolerance)
        return self._toeplitz[key][1]

    def _tolerance(self, alpha):
        """Return the tolerance of transforms whose errors count relative to alpha."""
        return float(np.clip(1e-3 * alpha / max(self.peak, alpha), 1e-14, 1e-6))

    def _choose(self, features, leverages, alpha, rtol):
        """Return how many points are drawn, and what that costs; the cheapest of some numbers."""
        policy, n = self.policy, len(leverages)
        dimension = max(float(leverages.sum()), 1.0)
        condition = 1 + self.peak / alpha
        digits = math.log10(condition / rtol)
        plain = policy.plain_iterations * math.sqrt(condition) * digits
        product = self.product_cost(features)
        choices = [(plain, 0, 0.0, product * plain)]
        for ratio in policy.ratios:
            m = int(min(max(ratio * dimension, 100), policy.max_drawn, n))
            r = m / dimension
            expected = max(policy.iterations * digits * (1 / r + 2.5 / r**3), 8.0)
            if m == n:
                expected = 4.0
            factorization = m**3 / 6 * RATES.cholesky + m**2 * RATES.exponential
            transforms = transform_time(features.spectrum.full_shape, features.tolerance, m)
            each = product + transforms + m**2 * policy.solve
            choices.append((expected, m, factorization, expected * each))
        # Where all take too many iterations, as few as possible.
        few = [c for c in choices if c[0] <= policy.max_expected] or [min(choices)]
        return min(few, key=lambda choice: choice[2] + choice[3])[1:]

    @staticmethod
    def product_cost(features):
        """Return the nanoseconds of a product with the matrix of the modes."""
        grid = math.prod(4 * m + 1 for m in features.spectrum.n_half)
        return grid * math.log2(grid + 1) * RATES.fft / 2

    def _solver(self, plan, alpha):
        """Return the function that solves the system of the modes to a target."""
        if plan.is_direct:
            few = FewModes(plan.features, self.weights, plan.toeplitz)
            return lambda B, target, maxiter: (few.solve_modes(B, alpha), 0)
        n_threads = plan.features.n_threads
        A = ShiftedGram(plan.toeplitz, plan.features.roots, alpha, n_threads)
        M = self._preconditioner(plan, alpha)

        def iterate(B, target, maxiter):
            nonlocal M
            if M is not None:
                try:
                    return conjugate_gradients(A, M, B, target, maxiter)
                except NotPositiveDefiniteError:
                    M = None  # rounding
            return conjugate_gradients(A, None, B, target, maxiter)

        return iterate

    def _preconditioner(self, plan, alpha):
        if plan.n_drawn == 0:
            return None
        drawn, chances = draw_points(plan.leverages, plan.n_drawn, np.random.default_rng(0))
        # Cancellation in the formula of Woodbury must leave some digits.
        features = plan.features.at(drawn, self._tolerance(alpha))
        K = self._K.with_points(self._K.X[drawn]).toarray()
        try:
            return SampledInverse(features, K, self.weights[drawn] / chances, alpha)
        except NotPositiveDefiniteError:
            return None


@dataclass(frozen=True, eq=False)
class WeightSpacePlan:
    """How the system of the modes is solved.

    Attributes
    ----------
    features : FourierFeatures
        Those that are solved for.
    toeplitz : ToeplitzMatrix
    leverages : ndarray of shape (n,) or None
    n_drawn : int
        Points that precondition the system.
    setup, each : float
        Expected cost before the first right-hand side, and of each, in nanoseconds.
    """

    features: object
    toeplitz: object
    leverages: np.ndarray | None
    n_drawn: int
    setup: float
    each: float

    @property
    def is_direct(self):
        """Whether the system is factorized."""
        return self.leverages is None
