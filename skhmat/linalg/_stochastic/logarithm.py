"""The logarithm of a positive definite matrix, and of its determinant, by the Lanczos method."""

import math
from dataclasses import dataclass

import numpy as np

from ..._utils.errors import NotPositiveDefiniteError
from ..._utils.validation import (
    check_columns,
    check_integer,
    check_random_state,
    check_real,
)
from ..._utils.warnings import warn
from .._krylov.lanczos import LanczosProcess, multiply, run_lanczos
from .._operators.given import as_operator
from .trace import AdaptiveRounds, Estimate, leave_one_out_traces


@dataclass(frozen=True)
class LogdetPolicy:
    """How products with log(A) are computed, and how accurately for an estimate.

    Attributes
    ----------
    lanczos_part : float
        Relative error of these products, as a fraction of the error wanted of the estimate.
    min_rtol : float
        Smallest such error: below is rounding.
    max_rtol : float
        Largest such error: above, a small change between two steps may be a coincidence.
    n_pilot_steps : int
        Lanczos steps that find the middle of the spectrum.
    basis_bytes : int
        Approximate size in bytes of the Krylov bases that are held at once.
    """

    lanczos_part: float = 0.1
    min_rtol: float = 1e-10
    max_rtol: float = 1e-2
    n_pilot_steps: int = 30
    basis_bytes: int = 1 << 30


POLICY = LogdetPolicy()


def log_apply(A, B, *, rtol=1e-6, maxiter=300, scale=1.0, policy=POLICY):
    """Multiply the logarithm of a positive definite matrix by the columns of B.

    The Lanczos method [1]_ with full reorthogonalisation: each column has a Krylov space of its
    own, and all share the products with A. A column has converged when the result has changed by
    less than `rtol` over the last fifth of its steps.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real, symmetric and positive definite; symmetry is not checked.
    B : array-like of shape (n,) or (n, k)
        Real numbers.
    rtol : float, default=1e-6
        Relative change of a column, in the 2-norm, that is small enough.
    maxiter : int, default=300
        Maximum number of Lanczos steps. If the eigenvalues are spread evenly, each factor of 7 in
        accuracy takes about as many steps as the square root of the condition number; more than n
        are never needed.
    scale : float, default=1.0
        A is divided by this number. Relative errors of the logarithm depend on it.
    policy : LogdetPolicy

    Returns
    -------
    log_B : ndarray of the shape of `B`, float64
        log(A / scale) B.

    Raises
    ------
    TypeError
        `A` cannot be multiplied by vectors.
    ValueError
        A parameter is outside its range, or `A` or `B` is not real or not finite.
    numpy.linalg.LinAlgError
        A is not positive definite to the precision of its products. This is seen by a Ritz value
        that is not positive; an A for which none shows up is not recognised.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Some columns still changed by more than `rtol` after `maxiter` steps.

    Notes
    -----
    The error is at least the rounding of A's products times the condition number of A. About 1 GB
    of Krylov bases is held at a time; for a large n the columns are done in groups.

    References
    ----------
    .. [1] N. J. Higham. Functions of Matrices: Theory and Computation. SIAM, 2008, section 13.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg._stochastic.logarithm import log_apply
    >>> A = np.diag(np.linspace(1, 100, 500))
    >>> bool(np.allclose(log_apply(A, np.ones(500)), np.log(np.linspace(1, 100, 500)), atol=1e-4))
    True
    """
    A = as_operator("A", A)
    columns = check_columns("B", B, A.shape[0], real=True)
    rtol, maxiter = check_real("rtol", rtol, 0), check_integer("maxiter", maxiter, 1)
    scale = check_real("scale", scale, 0, closed="neither")
    out, changes = _log_columns(A, columns, rtol, maxiter, scale, policy)
    if (changes > rtol).any():
        warn(_unconverged_message("log_apply", changes, rtol, maxiter))
    return out.reshape(np.shape(B))


def estimate_logdet(
    A,
    *,
    rtol=1e-2,
    atol=None,
    n_products=None,
    max_products=512,
    maxiter=300,
    random_state=None,
):
    """Estimate the logarithm of the determinant of a positive definite matrix from its products.

    This is the trace of log(A), by `xtrace` with `log_apply`. A is first divided by a number in the
    middle of its spectrum, so that few products are needed if most eigenvalues are the same, as in
    a matrix of low rank with a shift.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real, symmetric and positive definite; symmetry is not checked.
    rtol : float, default=1e-2
        Standard error to reach, relative to the value.
    atol : float, default=None
        Absolute standard error to reach; the larger of the two limits applies. None means
        ``rtol * n``, so that the geometric mean of the eigenvalues has the relative error `rtol`: a
        value near 0 is an accident of the scale of A, and no reason for more products.
    n_products : int, default=None
        Products with log(A) of the first round, at least 4, from which each round doubles them.
        None means 32, or `max_products` if that is less.
    max_products : int, default=512
        Maximum number of products with log(A), at least 4. Each takes several products with A. If
        it is at least n, or n is at most 64, A is formed by n products and its eigenvalues are
        computed.
    maxiter : int, default=300
        Maximum number of Lanczos steps, see `log_apply`.
    random_state : int, RandomState, Generator or None, default=None
        Draws the random vectors.

    Returns
    -------
    estimate : Estimate
        `value` and `standard_error` are floats; the latter includes the estimated error of the
        Lanczos method. `n_products` counts products with log(A), or with A if it was formed.

    Raises
    ------
    TypeError
        `A` cannot be multiplied by vectors.
    ValueError
        A parameter is outside its range, or `A` is not square, not real or not finite.
    numpy.linalg.LinAlgError
        A is not positive definite to the precision of its products, see `log_apply`.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The standard error is too large after `max_products` products; or the Lanczos method has not
        converged within `maxiter` steps, and the value is off by more than its standard error says.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg._stochastic.logarithm import estimate_logdet
    >>> estimate = estimate_logdet(np.diag(np.linspace(1, 100, 1000)), random_state=0)
    >>> exact = np.log(np.linspace(1, 100, 1000)).sum()
    >>> bool(abs(estimate.value - exact) <= 4 * estimate.standard_error < 0.04 * exact)
    True
    """
    A = as_operator("A", A)
    n = A.shape[0]
    rtol, maxiter = check_real("rtol", rtol, 0), check_integer("maxiter", maxiter, 1)
    atol = rtol * n if atol is None else check_real("atol", atol, 0)
    rounds = AdaptiveRounds(n, rtol, atol, n_products, max_products)
    if rounds.is_exact:
        return Estimate(_dense_logdet(A), 0.0, n)
    inner = POLICY.lanczos_part * max(rtol, atol / n)
    inner = min(max(inner, POLICY.min_rtol), POLICY.max_rtol)
    rng = check_random_state(random_state)
    # log det A = tr log(A / scale) + n log(scale)
    scale = _middle_of_spectrum(A, rng.standard_normal(n))
    logarithm = _Logarithm(A, scale, inner, maxiter)
    offset = n * math.log(scale)
    estimate, converged = rounds.run(logarithm, rng.standard_normal, leave_one_out_traces, offset)
    error = math.hypot(estimate.standard_error, n * logarithm.mean_error())
    estimate = Estimate(estimate.value, error, estimate.n_products)
    if not converged:
        warn(rounds.missed_message("logarithm of the determinant", estimate))
    if (logarithm.changes > inner).any():
        message = _unconverged_message("estimate_logdet", logarithm.changes, inner, maxiter)
        warn(f"{message} The estimate may be off by more than its standard error says.")
    return estimate


class _LogOfColumn:
    """log(A / scale) b in the Krylov space of b.

    Parameters
    ----------
    b : ndarray of shape (n,)
    eps, max_steps
        As in `LanczosProcess`.

    Attributes
    ----------
    process : LanczosProcess
    change : float
        Relative change of the result between the last two calls of `update`.
    """

    def __init__(self, b, eps, max_steps):
        self.process = LanczosProcess(b, eps, max_steps)
        self._length = np.linalg.norm(b)
        self._coefficients = np.empty(0)
        self.change = math.inf

    def update(self, scale):
        """Compute log(A / scale) b in the basis, and the relative change since the last time."""
        values, vectors = _positive_ritz(self.process)
        before = self._coefficients
        self._coefficients = self._length * vectors @ (np.log(values / scale) * vectors[0])
        difference = self._coefficients.copy()
        difference[: len(before)] -= before
        rounding = 8 * np.finfo(np.float64).eps * self._length
        if self.process.is_invariant or np.linalg.norm(difference) <= rounding:
            self.change = 0.0
        else:
            size = max(np.linalg.norm(self._coefficients), rounding)
            self.change = np.linalg.norm(difference) / size

    def result(self):
        """Return what `update` computed as a vector of shape (n,)."""
        return self.process.combine(self._coefficients)


def _positive_ritz(process):
    """Return the Ritz pairs; raise if A is not positive definite."""
    values, vectors = process.ritz_pairs()
    _check_positive("Ritz value", values, process.eps)
    return values, vectors


def _log_columns(A, B, rtol, maxiter, scale, policy=POLICY):
    """Return log(A / scale) B, (n, k), and the last relative change of each column, (k,)."""
    n, k = B.shape
    out, changes = np.zeros((n, k)), np.zeros(k)
    todo = np.flatnonzero(B.any(axis=0))
    expected = max_steps = min(maxiter, n)
    while len(todo) > 0:
        width = max(1, policy.basis_bytes // (8 * n * expected))
        group, todo = todo[:width], todo[width:]
        columns = _log_group(A, B[:, group], rtol, max_steps, scale)
        out[:, group] = np.transpose([column.result() for column in columns])
        changes[group] = [column.change for column in columns]
        # Other columns are expected to take about as many steps.
        expected = min(max_steps, 2 * max(column.process.n_steps for column in columns))
    return out, changes


def _log_group(A, B, rtol, max_steps, scale):
    """Return a `_LogOfColumn` for each column of B, after as many steps as it takes."""
    eps = np.finfo(A.dtype).eps
    columns = [_LogOfColumn(b, eps, max_steps) for b in B.T.astype(np.float64)]
    active, checks = columns, _check_steps(max_steps)
    for step in range(1, max_steps + 1):
        products = multiply(A, np.stack([column.process.last_vector for column in active], axis=1))
        for column, product in zip(active, np.ascontiguousarray(products.T), strict=True):
            column.process.extend(product)
        for column in active:
            if step in checks or column.process.is_invariant:
                column.update(scale)
        active = [c for c in active if not (c.process.is_invariant or c.change <= rtol)]
        if not active:
            break
    return columns


def _check_steps(max_steps):
    """Return the steps after which convergence is checked, about a fifth of them apart.

    The change over a single step may be far smaller than the error.
    """
    steps = [max_steps]
    while steps[-1] > 3:
        steps.append(steps[-1] - max(2, steps[-1] // 5))
    return frozenset(steps)


class _Logarithm:
    """Products with log(A / scale), whose convergence is recorded.

    Attributes
    ----------
    changes : ndarray of shape (n_columns,)
        Last relative change of each column that was multiplied.
    """

    def __init__(self, A, scale, rtol, maxiter):
        self._A, self._scale, self._rtol, self._maxiter = A, scale, rtol, maxiter
        self.changes = self._errors = np.empty(0)

    def __call__(self, B):
        out, changes = _log_columns(self._A, B, self._rtol, self._maxiter, self._scale)
        sizes = np.linalg.norm(out, axis=0) / np.linalg.norm(B, axis=0)
        self.changes = np.append(self.changes, changes)
        self._errors = np.append(self._errors, changes * sizes)
        return out

    def mean_error(self):
        """Return the estimated error of a product with a unit vector, on average."""
        return float(np.mean(self._errors))


def _middle_of_spectrum(A, b):
    """Return about the median of the eigenvalues, from the Krylov space of b, of shape (n,)."""
    values, vectors = _positive_ritz(run_lanczos(A, b, POLICY.n_pilot_steps))
    # The squared first entries are the weights of a quadrature of the spectral density.
    return float(values[np.searchsorted(np.cumsum(vectors[0] ** 2), 0.5)])


def _dense_logdet(A):
    """Return the sum of the logarithms of all eigenvalues."""
    dense = multiply(A, np.eye(A.shape[0]))
    values = np.linalg.eigvalsh((dense + dense.T) / 2)
    _check_positive("eigenvalue", values, np.finfo(A.dtype).eps)
    return math.fsum(np.log(values))


def _check_positive(kind, values, eps):
    """Raise if the first of ascending `values` of A is not positive beyond rounding."""
    low, high = float(values[0]), float(values[-1])
    if low <= eps * abs(high):
        missing = eps * abs(high) - low
        raise NotPositiveDefiniteError(
            low,
            f"A is not positive definite to the precision of its products: it has the {kind} "
            f"{low:.3g}, and the largest is {high:.3g}. Raise shift, the multiple of the identity "
            f"that is added to it, by more than {missing:.2g}.",
        )


def _unconverged_message(name, changes, rtol, maxiter):
    count = np.count_nonzero(changes > rtol)
    return (
        f"{name}: the Lanczos method still changed {count} of {len(changes)} columns by up to "
        f"{changes.max():.2e} after {maxiter} steps, relative to their norm, but {rtol:.1e} is "
        f"wanted. Raise maxiter (now {maxiter}), rtol or the shift."
    )
