"""The ridge system in the space of Fourier modes, for samples with one to three features.

The modes are chosen for the tolerance, and the residual of the exact system is measured: on all
rows of the exact matrix where these are few, and otherwise on rows drawn at random, whose squares,
each divided by its chance, have the sum over all rows as their mean (Hansen and Hurwitz, Ann. Math.
Stat. 14, 1943). Half of the draws prefer large coefficients, whose own entries count most. What is
missed is solved for again with more modes.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .._utils.parallel import effective_n_threads
from .._utils.validation import parameter_error
from ..linalg._fourier.features import FourierFeatures
from ..linalg._fourier.fit import box_of, reason_against
from ..linalg._fourier.matrix import FourierForm
from ..linalg._fourier.modes import Demand, ModesPolicy, choose_modes
from ..linalg._fourier.nonuniform import is_installed, require
from ..linalg._fourier.transforms import transform_of
from ..linalg._fourier.weight_space import POLICY as WEIGHT_SPACE
from ..linalg._fourier.weight_space import WeightSpace, WeightSpacePolicy
from ..linalg._gofmm.cost_model import entry_time, transform_time
from ..linalg._gofmm.error_estimate import draw_half_by_size
from ..linalg._hierarchical.treecode import KernelSum, rows_to_measure
from ..linalg._krylov.columns import relative_norms


@dataclass(frozen=True)
class FourierRidgePolicy:
    """When the system is solved in the space of the modes, and how its residual is measured.

    Attributes
    ----------
    all_rows_up_to : int
        Samples up to which all rows are measured.
    n_rows : int
        Rows that are drawn where there are more.
    n_deviations : float
        Standard errors that are added to the mean of the squares.
    max_attempts : int
        Most choices of modes.
    aim : float
        Part of the tolerance that another choice aims for.
    least_change : float
        Another choice has at most this part of the error of entries that the one before had.
    solve_share : float
        Part of the tolerance that the iteration may leave, which modes that were left out and the
        rounding of transforms add to.
    more_modes : float
        Where the tolerance takes too many modes, by name only: the error is raised by this factor
        until there are few enough.
    max_modes : int
        More are too many: transforms would take more than a gigabyte.
    min_entry_error : float
        Smallest error of entries of K that is asked for: that of transforms.
    max_cost_ratio : float
        The modes are taken if their estimated cost is at most this part of the least cost of any
        other way.
    n_products : float
        Products with the exact matrix that any other way takes at least, for more than
        `RidgePolicy.max_factorized` samples.
    leave_one_out_tol : float
        Relative residual of solutions for leave-one-out errors.
    max_iter : int
        Most iterations of these.
    weight_space : WeightSpacePolicy
    """

    all_rows_up_to: int = 2048
    n_rows: int = 256
    n_deviations: float = 2.0
    max_attempts: int = 4
    aim: float = 0.5
    least_change: float = 0.3
    solve_share: float = 0.5
    more_modes: float = 3.0
    max_modes: int = 1 << 23
    min_entry_error: float = 1e-14
    max_cost_ratio: float = 1.0
    n_products: float = 6.0
    leave_one_out_tol: float = 1e-3
    max_iter: int = 1000
    weight_space: WeightSpacePolicy = field(default_factory=lambda: WEIGHT_SPACE)


POLICY = FourierRidgePolicy()


def reason_against_modes(K):
    """Return why a system is not solved in the space of the modes, as text, or an empty one."""
    reason = reason_against(K)
    if reason or hasattr(transform_of(K.kernel, 1), "density"):
        return reason
    return f"the kernel is {K.kernel}, whose coefficients may be negative"


def make_fourier_system(K, weights, n_jobs, solver, policy=POLICY):
    """Return the system of the modes, or None where there is none and none was asked for.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
    weights : ndarray of shape (n,) or None
    n_jobs : int or None
    solver : {"auto", "dual", "fourier"}
    policy : FourierRidgePolicy
    """
    if solver == "dual":
        return None
    reason = reason_against_modes(K)
    if solver == "fourier":
        if reason:
            raise parameter_error("solver", "'auto' or 'dual' here", got=f"'fourier': {reason}")
        require("solver='fourier'")
    elif reason or not is_installed():
        return None
    return FourierRidgeSystem(K, weights, n_jobs, policy)


class FourierRidgeSystem:
    """(K + alpha diag(1 / weights)) C = Y by the weights of the Fourier modes of K.

    Parameters
    ----------
    K : KernelMatrix
        Float64; `reason_against` has nothing against it.
    weights : ndarray of shape (n,) or None
        Positive.
    n_jobs : int or None
    policy : FourierRidgePolicy
    """

    def __init__(self, K, weights=None, n_jobs=None, policy=POLICY):
        self.K, self.weights, self.n_jobs, self.policy = K, weights, n_jobs, policy
        self._inverse_weights = np.ones(K.shape[0]) if weights is None else 1 / weights
        self._center, self._extent = box_of(K)
        self._space = None  # a WeightSpace

    @property
    def form(self):
        """The Fourier form of the modes of the last solution, a FourierForm."""
        features = self._space.features
        return FourierForm(features.modes, self.K.X, self.K.bandwidth, self._center)

    def estimated_cost(self, n_targets, alpha, tol, limit=math.inf):
        """Return the seconds of a solution, or infinity where modes are too many.

        Parameters
        ----------
        n_targets : int
        alpha : float
            Above 0.
        tol : float
        limit : float
            Seconds of interest: where transforms alone take more, nothing else is computed.
        """
        space = self._space_for(self._rtol(alpha, tol))
        if space is None:
            return math.inf
        n = self.K.shape[0]
        n_rows = n if n <= self.policy.all_rows_up_to else self.policy.n_rows
        features = space.features
        transforms = transform_time(features.spectrum.full_shape, features.tolerance, n)
        # The moments, the targets, and a pass or two with their residuals.
        seconds = 1e-9 * (n * n_rows * entry_time(self.K) + transforms * (1 + 4 * n_targets))
        if seconds > limit:
            return seconds
        plan = space.plan(alpha, self.policy.solve_share * tol)
        return seconds + 1e-9 * (plan.setup + n_targets * plan.each)

    def solve(self, Y, alpha, tol, max_iter):
        """Solve, and measure the residual.

        Returns
        -------
        C : ndarray of shape (n, k)
        residuals : ndarray of shape (k,)
            Relative; an upper estimate where rows are drawn.
        n_iterations : int
        """
        policy, rtol = self.policy, self._rtol(alpha, tol)
        # What is worse than no solution at all is none.
        best, best_residuals = np.zeros_like(Y), relative_norms(Y, Y)
        start, n_iterations = None, 0
        for _ in range(policy.max_attempts):
            space = self._space_for(rtol)
            if space is None and start is not None:
                break
            while space is None:
                if rtol >= 0.5:
                    raise parameter_error(
                        "X", "of an extent that a few million Fourier modes cover", got=self._extent
                    )
                rtol *= policy.more_modes
                space = self._space_for(rtol, self._rtol(alpha, tol))
            # The other half of the share is for what is not converged in these modes.
            try:
                C, solved, taken = space.solve(
                    Y, alpha, policy.solve_share * tol, max_iter - n_iterations, start
                )
            except np.linalg.LinAlgError:
                break  # alpha is below the rounding of K
            n_iterations += taken
            residuals = self.measure(C, Y, alpha)
            if len(Y) > policy.all_rows_up_to:
                residuals = np.maximum(residuals, solved)
            better = residuals < best_residuals
            best[:, better], best_residuals[better] = C[:, better], residuals[better]
            largest = residuals.max(initial=0.0)
            is_of_modes = largest > 2 * solved.max(initial=0.0)
            if largest <= tol or not is_of_modes or n_iterations >= max_iter:
                break
            rtol *= min(policy.aim * tol / largest, policy.least_change)
            start = C
        return best, best_residuals, n_iterations

    def has_few_modes(self, alpha):
        """Return whether leverages, and so leave-one-out errors, are computed exactly."""
        space = self._space_for(self._rtol(alpha, self.policy.leave_one_out_tol))
        return space is not None and space.has_few_modes

    def leave_one_out(self, Y, alphas):
        """Return mean squared leave-one-out errors where modes are few.

        What the model with all samples misses at one of them is 1 minus its leverage times its
        leave-one-out error.

        Parameters
        ----------
        Y : ndarray of shape (n, k)
        alphas : ndarray of shape (m,)

        Returns
        -------
        means : ndarray of shape (m, k)
            Weighted.
        errors : ndarray of shape (m,)
            0, or infinite where there is no result.
        """
        k, policy = Y.shape[1], self.policy
        means, errors = np.zeros((len(alphas), k)), np.full(len(alphas), math.inf)
        for i in np.argsort(alphas):  # modes for the smallest penalty serve all
            alpha, tol = alphas[i], policy.leave_one_out_tol
            space = self._space_for(self._rtol(alpha, tol)) if alpha > 0 else None
            if space is None:
                continue
            try:
                leverages = space.leverages(alpha)
                if leverages is None:
                    continue
                X, residuals, _ = space.solve(Y, alpha, tol, policy.max_iter)
            except np.linalg.LinAlgError:
                continue  # alpha is below the rounding of K
            if residuals.max(initial=0.0) > 10 * tol:
                continue
            shift = alpha * self._inverse_weights
            rest = np.clip(1 - leverages, shift / (1 + shift), 1.0)
            squares = np.square((shift / rest)[:, np.newaxis] * X)
            means[i] = np.average(squares, axis=0, weights=self.weights)
            errors[i] = 0.0
        return means, errors

    def measure(self, C, Y, alpha):
        """Return relative residuals of the exact system, (k,), or upper estimates of them."""
        n = len(Y)
        rows, chances = self._draw(C)
        sums = KernelSum(None, self.K, C, self.n_jobs).exact(self.K.X[rows])
        missed = Y[rows] - sums - alpha * self._inverse_weights[rows, np.newaxis] * C[rows]
        scales = np.abs(Y).max(axis=0, initial=0.0)
        scales[scales == 0] = 1.0
        squares = np.square(missed / scales) / chances[:, np.newaxis]
        total = squares.mean(axis=0)
        if len(rows) < n:
            deviation = squares.std(axis=0, ddof=1) / math.sqrt(len(rows))
            total = total + self.policy.n_deviations * deviation
        sizes = np.linalg.norm(Y / scales, axis=0)
        return np.sqrt(total) / np.where(sizes > 0, sizes, 1.0)

    def _draw(self, C):
        """Return the rows to measure and the chances that each draw had to be it."""
        policy, sizes = self.policy, np.abs(C).max(axis=0)
        parts = np.square(C / np.where(sizes > 0, sizes, 1.0)).mean(axis=1) + 1e-12
        rng = np.random.default_rng(0)
        return draw_half_by_size(parts, policy.n_rows, policy.all_rows_up_to, rng)

    def _rtol(self, alpha, tol):
        """Return the error of K, relative in the Frobenius norm, that a tolerance allows.

        Errors E of K leave the residual E C, and C is at most Y / alpha, times the weights. It has
        hardly to do with E, so that it is multiplied by the mean of the singular values of E.
        """
        root = math.sqrt(self.K.shape[0])
        weight = math.sqrt(np.mean(np.square(1 / self._inverse_weights)))
        return tol * alpha / (weight * self._mean_entry * root)

    @cached_property
    def _mean_entry(self):
        """Root mean square of the entries of K."""
        rows = rows_to_measure(self.K.shape[0])
        block = self.K.block(rows, rows)
        return float(min(math.sqrt(np.mean(np.square(block))), 1.0))

    def _space_for(self, rtol, rtol_of_transforms=None):
        """Return the systems of the modes for an error, or None where these are too many."""
        n, space = self.K.shape[0], self._space
        if space is not None and space.features.modes.demand.rtol <= rtol:
            return space
        rtol = float(min(rtol, 0.5))
        if not np.isfinite(self._extent).all() or rtol == 0:
            return None
        least = self.policy.min_entry_error / self._mean_entry
        demand = Demand(max(rtol, least), self._mean_entry, n)
        limits = ModesPolicy(max_modes=self.policy.max_modes)
        modes = choose_modes(self.K.kernel, 1.0, self._extent, demand, limits)
        if modes is None:
            return None
        n_threads = effective_n_threads(self.n_jobs)
        tolerance = 0.5 * self._mean_entry * min(rtol, rtol_of_transforms or rtol)
        features = FourierFeatures.of_points(
            modes, self.K.X, self.K.bandwidth, self._center, n_threads, tolerance
        )
        self._space = WeightSpace(features, self.K, self.weights, policy=self.policy.weight_space)
        return self._space
