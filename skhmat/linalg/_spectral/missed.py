"""Eigenpairs that an iterative eigensolver has missed.

The Krylov space of a vector holds one vector of each eigenspace. Other copies of a multiple
eigenvalue enter it by rounding only, perhaps after a solver has stopped with eigenvalues farther
inside the spectrum in their place. In the complement of the eigenvectors that were found, what was
missed is extreme, so that a few Lanczos steps from another random vector show it: the largest Ritz
value never exceeds the largest eigenvalue.
"""

from dataclasses import dataclass

import numpy as np

from .._krylov.lanczos import LanczosProcess, multiply
from .pairs import Eigenpairs, wanted_positions


@dataclass(frozen=True)
class SearchPolicy:
    """What the search for missed eigenvalues costs, and when it ends.

    Attributes
    ----------
    max_basis : int
        Lanczos steps after which the process starts again from a combination of Ritz vectors.
    n_combined : int
        Ritz vectors from each end of the spectrum in that combination.
    steps_per_check : int
        Lanczos steps between two looks at the Ritz values.
    min_budget : int
        Steps that a search may always take; otherwise as many as there were products before.
    rounding_units : float
        Units in the last place, relative to the largest eigenvalue in magnitude: by less, two
        eigenvalues do not differ, and a residual is zero.
    smallest_part : float
        Smallest component along an eigenvector, relative to the usual one, that the random start
        vector is assumed to have. With probability 1e-3 it is smaller.
    linear_margin, quadratic_margin : float
        An extreme eigenvalue is at most this many residuals r, or r^2 / gap, away from its Ritz
        value, where the gap is the distance to the next Ritz value. In theory it is one, if no
        eigenvalue beyond it is still hidden.
    """

    max_basis: int = 60
    n_combined: int = 3
    steps_per_check: int = 5
    min_budget: int = 200
    rounding_units: float = 1000
    smallest_part: float = 1e-3
    linear_margin: float = 3
    quadratic_margin: float = 10


POLICY = SearchPolicy()


def with_missed(A, pairs, k, which, tol, *, policy=POLICY):
    """Return the k wanted eigenpairs among those found and those that were missed.

    Parameters
    ----------
    A : CountedOperator of shape (n, n)
        Its products so far are a measure of the work that the search may take.
    pairs : Eigenpairs
        Those found, perhaps fewer than k.
    k : int
    which : {"LA", "SA", "LM", "BE"}
    tol : float
        As in `eigsh`: missed eigenvalues are found to this relative accuracy.

    Returns
    -------
    pairs : Eigenpairs
        In ascending order; fewer than k if others were seen to be missing, but did not converge.
    doubt : float
        How far beyond those returned a missed eigenvalue may be, relative to the largest one in
        magnitude: 0 if none can be missing, infinity if the work did not suffice to tell.
    """
    rng = np.random.default_rng(0)
    values = pairs.values.astype(np.float64)
    vectors = np.linalg.qr(pairs.vectors.astype(np.float64))[0]
    budget = max(policy.min_budget, A.n_products)
    doubt = 0.0
    while len(values) < A.shape[0]:
        interval = _interval(values, k, which)
        ritz, doubt = _search(A, vectors, interval, values, tol, budget, rng, policy)
        missed = ritz.missed()
        if len(missed.values) == 0:
            is_wanted = ritz.are_beyond(values)
            values, vectors = values[is_wanted], vectors[:, is_wanted]
            break
        values = np.append(values, missed.values)
        vectors = np.hstack([vectors, missed.vectors])
    if np.array_equal(values, pairs.values):
        return pairs, doubt
    order = np.argsort(values, kind="stable")
    order = order[wanted_positions(values[order], min(k, len(values)), which)]
    dtype = pairs.vectors.dtype
    found = Eigenpairs(values[order].astype(dtype), vectors[:, order].astype(dtype))
    return found, doubt


def _interval(values, k, which):
    """Return (low, high): eigenvalues outside of it should be among the k that are wanted."""
    values, missing = np.sort(values), k - len(values)
    n_low = {"LA": 0, "SA": k, "LM": 0, "BE": k // 2}[which]
    if which == "LM":
        size = np.sort(np.abs(values))[-k] if missing <= 0 else 0.0
        return -size, size
    # While some are missing it is not known from which end.
    low = -np.inf if n_low == 0 else np.inf if missing > 0 else values[n_low - 1]
    high = np.inf if n_low == k else -np.inf if missing > 0 else values[len(values) - (k - n_low)]
    return low, high


def _search(A, known, interval, values, tol, budget, rng, policy):
    """Return the `_RitzPairs` that tell what was missed, and the doubt that is left.

    The process stays in the complement of the `known` vectors, (n, m).
    """
    eps = np.finfo(A.dtype).eps
    size = np.abs(values).max(initial=0.0)
    start, n_steps, doubt = rng.standard_normal(len(known)), 0, np.inf
    while True:
        process = LanczosProcess(start, eps, policy.max_basis, known, size)
        for _ in range(min(policy.max_basis, budget - n_steps)):
            process.extend(multiply(A, process.last_vector[:, np.newaxis])[:, 0])
            n_steps += 1
            is_last = process.n_steps == policy.max_basis or n_steps == budget
            is_due = process.n_steps % policy.steps_per_check == 0
            if is_due or is_last or process.is_invariant:
                ritz = _RitzPairs(process, interval, size, tol, eps, policy)
                doubt = min(doubt, ritz.doubt())
                if n_steps == budget or doubt == 0:
                    return ritz, doubt
        # Ritz vectors are orthogonal to what is still hidden, so that a random vector joins them.
        start = ritz.restart_vector() + rng.standard_normal(len(known)) / np.sqrt(len(known))


class _RitzPairs:
    """Ritz pairs in the complement of known eigenvectors, and which of them were missed.

    Parameters
    ----------
    process : LanczosProcess
    interval : tuple of float
        Eigenvalues outside of (low, high) were missed.
    size : float
        Largest known eigenvalue in magnitude.
    tol : float
    eps : float
        Relative rounding error of products.
    policy : SearchPolicy
    """

    def __init__(self, process, interval, size, tol, eps, policy):
        self._process, self._policy = process, policy
        self._values, self._coefficients = process.ritz_pairs()
        self._residuals = process.residual_norm * np.abs(self._coefficients[-1])
        self._low, self._high = interval
        self._size = max(size, np.abs(self._values).max())
        self._rounding = policy.rounding_units * eps * self._size
        allowed = np.maximum(tol * np.abs(self._values), self._rounding)
        self._is_low = self._values < self._low - allowed
        self._is_high = self._values > self._high + allowed
        self._has_converged = (self._residuals <= allowed) | process.is_invariant

    def doubt(self):
        """Return how far beyond the interval others may be, as `with_missed` does."""
        return 0.0 if self._process.is_invariant else max(self._doubt_low(), self._doubt_high())

    def missed(self):
        """Return the eigenpairs that were missed, as far as they have converged."""
        chosen = np.flatnonzero((self._is_low | self._is_high) & self._has_converged)
        vectors = self._process.combine(self._coefficients[:, chosen].T).T
        return Eigenpairs(self._values[chosen], vectors)

    def are_beyond(self, values):
        """Return which eigenvalues are farther out than any that was seen to be missed."""
        low, high = self._low, self._high
        if self._is_low[0]:
            low = min(low, self._values[0])
        if self._is_high[-1]:
            high = max(high, self._values[-1])
        return (values <= low) | (values >= high)

    def restart_vector(self):
        """Return a vector for a new process, from the ends that are not decided yet."""
        weights, m = np.zeros(len(self._values)), self._policy.n_combined
        if self._doubt_low() > 0:
            weights[:m] = 1
        if self._doubt_high() > 0:
            weights[-m:] = 1
        return self._process.combine(self._coefficients @ weights)

    def _doubt_low(self):
        return self._doubt_at(0, 1, self._is_low, self._values[0] - self._low)

    def _doubt_high(self):
        return self._doubt_at(-1, -2, self._is_high, self._high - self._values[-1])

    def _doubt_at(self, first, second, is_missed, distance):
        """Return the doubt at one end, 0 if an extreme value was missed and has converged."""
        if is_missed[first]:
            return 0.0 if self._has_converged[first] else np.inf
        if not self._would_show(distance):
            return np.inf
        error = self._error_of(first, second) - distance - self._rounding
        return error / self._size if error > 0 else 0.0

    def _would_show(self, distance):
        """Return whether an eigenvalue at a distance beyond the extreme Ritz value would show.

        In m steps its component grows by exp(2 m sqrt(distance / spread)) over all others. From
        about 1 / sqrt(n) it must become about 1. What is too close is not waited for.
        """
        spread = max(np.ptp(self._values), np.finfo(np.float64).tiny)
        with np.errstate(over="ignore"):  # all Ritz values may be one but for rounding
            rate = 2 * np.sqrt(max(distance, 0.0) / spread)
        growth = np.sqrt(self._process.length) / self._policy.smallest_part
        n_steps = self._process.n_steps
        return n_steps == self._policy.max_basis or n_steps * rate >= np.log(growth)

    def _error_of(self, first, second):
        """Return a bound of the error of an extreme Ritz value; `second` is the one next to it."""
        residual, linear = self._residuals[first], self._policy.linear_margin
        if len(self._values) == 1:
            return linear * residual
        gap = abs(self._values[first] - self._values[second])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            quadratic = self._policy.quadratic_margin * residual**2 / gap
        return np.fmin(linear * residual, quadratic)
