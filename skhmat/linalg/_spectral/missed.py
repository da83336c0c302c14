"""Eigenpairs that an iterative eigensolver has missed.

The Krylov space of a vector holds one vector of each eigenspace. Other copies of a multiple
eigenvalue enter it by rounding only, perhaps after a solver has stopped with eigenvalues farther
inside the spectrum in their place. In the complement of the eigenvectors that were found, what was
missed is extreme, so that a few Lanczos steps from another random vector show it: the largest Ritz
value never exceeds the largest eigenvalue.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from .._krylov.lanczos import LanczosProcess, multiply
from .._operators.wrappers import CountedOperator, SquaredOperator
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
    max_basis_of_square : int
        Lanczos steps with A^2, before a new start, where the smallest eigenvalues in magnitude are
        inside the spectrum of A: they crowd more at the end of that of A^2,
    min_budget_of_square : int
        and take more steps.
    is_crowded : bool
        Whether eigenvalues beyond the extreme Ritz value by less than would show count as doubt.
    dependent : float
        Part of a vector of length 1 outside the span of others below which it depends on them.
    """

    max_basis: int = 60
    n_combined: int = 3
    steps_per_check: int = 5
    min_budget: int = 200
    rounding_units: float = 1000
    smallest_part: float = 1e-3
    linear_margin: float = 3
    quadratic_margin: float = 10
    max_basis_of_square: int = 120
    min_budget_of_square: int = 500
    is_crowded: bool = False
    dependent: float = 1e-6


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
    which : {"LA", "SA", "LM", "SM", "BE"}
    tol : float
        As in `eigsh`: missed eigenvalues are found to this relative accuracy.

    Returns
    -------
    pairs : Eigenpairs
        In ascending order; fewer than k if others were seen to be missing, but did not converge.
    doubt : float
        How far beyond those returned a missed eigenvalue may be, relative to the largest one in
        magnitude, for "SM" to the largest one returned: 0 if none can be missing, infinity if the
        work did not suffice to tell.
    """
    if which == "SM":
        return _with_missed_inside(A, pairs, k, tol, policy)
    found, doubt, size = _search_until_none(A, pairs, k, which, tol, A.n_products, policy)
    return found, doubt / size if doubt > 0 else 0.0


def _with_missed_inside(A, pairs, k, tol, policy):
    """Return the pairs smallest in magnitude, and the doubt, wherever zero is in the spectrum.

    They are at the lower end of the spectrum of A^2, where eigenvalues crowd more.
    """
    square = CountedOperator(SquaredOperator(A))
    squared = Eigenpairs(pairs.values**2, pairs.vectors)
    policy = replace(
        policy,
        max_basis=policy.max_basis_of_square,
        min_budget=policy.min_budget_of_square,
        is_crowded=True,
    )
    found, doubt, size = _search_until_none(
        square, squared, k, "SA", tol, A.n_products // 2, policy
    )
    if found is not squared:
        pairs = _smallest_in_span(A, found.vectors, k, np.sqrt(size), policy)
    if len(pairs.values) < k:
        return pairs, np.inf
    largest, rounding = np.abs(pairs.values).max(), policy.rounding_units * np.finfo(A.dtype).eps
    if largest <= rounding * np.sqrt(size):  # all are zero but for rounding
        return pairs, 0.0
    smallest = np.sqrt(max(largest**2 - max(doubt, rounding * size), 0.0))
    return pairs, float(1 - smallest / largest)


def _smallest_in_span(A, V, k, size, policy):
    """Return the k pairs smallest in magnitude, or fewer, from eigenvectors V (n, m) of A^2.

    They may mix eigenvectors of A for x and -x, which a product with A tells apart. `size` is the
    largest eigenvalue of A in magnitude.
    """
    Q = np.linalg.qr(V)[0]
    for is_last in (False, True):
        AQ = multiply(A, Q)
        values, U = np.linalg.eigh(Q.T @ AQ)
        Q, AQ = Q @ U, AQ @ U
        residuals = AQ - Q * values
        norms = np.linalg.norm(residuals, axis=0)
        is_mixed = norms > np.sqrt(np.finfo(A.dtype).eps) * size
        if is_last or not is_mixed.any():
            break
        others = residuals[:, is_mixed] / norms[is_mixed]
        basis, R, _ = scipy.linalg.qr(others - Q @ (Q.T @ others), mode="economic", pivoting=True)
        is_new = np.abs(np.diagonal(R)) > policy.dependent
        Q = np.linalg.qr(np.hstack([Q, basis[:, is_new]]))[0]
    # Ritz values inside a spectrum need not be near an eigenvalue.
    values, Q = values[~is_mixed], Q[:, ~is_mixed]
    wanted = wanted_positions(values, min(k, len(values)), "SM")
    return Eigenpairs(values[wanted].astype(A.dtype), Q[:, wanted].astype(A.dtype))


def _search_until_none(A, pairs, k, which, tol, n_products, policy):
    """Return the wanted pairs, the doubt in units of A, and its largest eigenvalue as far as known.

    `n_products` were taken to find the pairs.
    """
    rng = np.random.default_rng(0)
    values = pairs.values.astype(np.float64)
    vectors = np.linalg.qr(pairs.vectors.astype(np.float64))[0]
    budget = max(policy.min_budget, n_products)
    doubt, size = 0.0, 1.0
    while len(values) < A.shape[0]:
        interval = _interval(values, k, which)
        ritz, doubt = _search(A, vectors, interval, values, tol, budget, rng, policy)
        missed, size = ritz.missed(), ritz.size
        if len(missed.values) == 0:
            is_wanted = ritz.are_beyond(values)
            values, vectors = values[is_wanted], vectors[:, is_wanted]
            break
        values = np.append(values, missed.values)
        vectors = np.hstack([vectors, missed.vectors])
    if np.array_equal(values, pairs.values):
        return pairs, doubt, size
    order = np.argsort(values, kind="stable")
    order = order[wanted_positions(values[order], min(k, len(values)), which)]
    dtype = pairs.vectors.dtype
    found = Eigenpairs(values[order].astype(dtype), vectors[:, order].astype(dtype))
    return found, doubt, size


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
    """Return the `_RitzPairs` that tell what was missed, and the doubt that is left, in units of A.

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
                n_before = n_steps - process.n_steps
                ritz = _RitzPairs(process, n_before, interval, size, tol, eps, policy)
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
    n_before : int
        Steps of those before, from whose Ritz vectors it started.
    interval : tuple of float
        Eigenvalues outside of (low, high) were missed.
    size : float
        Largest known eigenvalue in magnitude.
    tol : float
    eps : float
        Relative rounding error of products.
    policy : SearchPolicy

    Attributes
    ----------
    size : float
        Largest eigenvalue in magnitude as far as known by now.
    """

    def __init__(self, process, n_before, interval, size, tol, eps, policy):
        self._process, self._n_before, self._policy = process, n_before, policy
        self._values, self._coefficients = process.ritz_pairs()
        self._residuals = process.residual_norm * np.abs(self._coefficients[-1])
        self._low, self._high = interval
        self.size = max(size, np.abs(self._values).max(), np.finfo(np.float64).tiny)
        self._rounding = policy.rounding_units * eps * self.size
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
        hidden = self._hidden_within()
        # What is closer than that is not waited for.
        if hidden > max(distance, 0.0) and self._process.n_steps < self._policy.max_basis:
            return np.inf
        error = self._error_of(first, second)
        if self._policy.is_crowded:
            error = max(error, hidden)
        return max(error - distance - self._rounding, 0.0)

    def _hidden_within(self):
        """Return how far beyond the extreme Ritz value an eigenvalue may be that does not show.

        In m steps the component of one that is d beyond grows by exp(2 m sqrt(d / spread)) over all
        others. From about 1 / sqrt(n) it must become about 1. It is in the vector that a process
        starts from again, so that all steps count.
        """
        process = self._process
        growth = np.sqrt(process.length) / self._policy.smallest_part
        n_steps = process.n_steps + (self._n_before if self._policy.is_crowded else 0)
        return np.ptp(self._values) * (np.log(growth) / (2 * n_steps)) ** 2

    def _error_of(self, first, second):
        """Return a bound of the error of an extreme Ritz value; `second` is the one next to it."""
        residual, linear = self._residuals[first], self._policy.linear_margin
        if len(self._values) == 1:
            return linear * residual
        gap = abs(self._values[first] - self._values[second])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            quadratic = self._policy.quadratic_margin * residual**2 / gap
        return np.fmin(linear * residual, quadratic)
