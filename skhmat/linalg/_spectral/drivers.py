"""Eigenpairs by each of the methods of `eigsh`, in ascending order."""

import inspect
import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, lobpcg
from scipy.sparse.linalg import eigsh as arpack_eigsh

from ..._utils.validation import check_random_state, parameter_error
from ..._utils.warnings import warn
from .._krylov.lanczos import run_lanczos
from .._operators.wrappers import (
    CountedOperator,
    Float64Operator,
    NegatedOperator,
    ShiftedOperator,
)
from .chebyshev import chebyshev_filtered
from .low_rank import PairsKnown, WatchedOperator
from .missed import with_missed
from .pairs import Eigenpairs, no_pairs, wanted_positions


@dataclass(frozen=True)
class DriverPolicy:
    """What `eigsh` decides if the caller does not.

    Attributes
    ----------
    dense_up_to : int
        Rows up to which the whole matrix is decomposed, which is as fast as the Lanczos method and
        avoids its special cases.
    max_dense : int
        Rows up to which the same is done where an iteration does not converge, and for the
        eigenvalues smallest in magnitude of an indefinite matrix, which a Krylov space finds last.
    max_doubt : float
        How far beyond the eigenvalues found, relative to the largest one in magnitude, a missed one
        may be: with more the matrix is decomposed as well, or there is a warning. Of 2,250 random
        spectra with less none was wrong, all with more were; later one was in float32, at 3e-4.
    small : int
        Rows up to which decomposing the matrix takes at most a tenth of a second,
    max_doubt_if_small : float
        so that it is done for less doubt.
    products_before_dense : float
        Products, relative to the number of rows, after which "lanczos" is given up for that,
    products_before_dense_of_array : float
        and where a product reads every entry of an array, or computes it: decomposing takes as long
        as 0.7 to 1.1 n products with an array of 1,000 to 4,000 rows. So what is spent in vain is
        never more than the decomposition costs.
    n_steps_definite : int
        Lanczos steps that show whether a matrix is indefinite, before its eigenvalues smallest in
        magnitude are looked for at one end of the spectrum.
    min_extra_vectors : int
        Smallest number of vectors of a block beyond those that are wanted.
    wanted_per_extra : int
        Wanted vectors for each of these.
    max_restarts_per_row : int
        Maximum number of restarts of "lanczos", for each row of the matrix.
    max_filters : int
        Maximum number of filters of "chebyshev".
    max_steps : int
        Maximum number of steps of "lobpcg".
    shifted_units : float
        Units in the last place, of the root mean square of the eigenvalues: the residual of
        "lanczos" that stands for tol=0 at an end of the spectrum that may be zero.
    rounding_units : float
        Units in the last place: the residual that stands for tol=0.
    lobpcg_tol : float
        The same for LOBPCG, which does not get as far.
    dependent : float
        Part of a vector outside the span of others, relative to the largest one, up to which it is
        taken to depend on them.
    min_solve_rtol : float
        Smallest relative residual of systems with A - sigma I.
    max_solve_iterations : int
        Most iterations for one of these.
    solve_slack : float
        Multiple of the residual wanted of these above which there is a warning.
    max_shift_ratio : float
        Largest sigma relative to the root mean square of the eigenvalues: beyond, A is lost in the
        rounding of A - sigma I.
    """

    dense_up_to: int = 64
    max_dense: int = 4096
    max_doubt: float = 0.01
    small: int = 512
    max_doubt_if_small: float = 1e-5
    products_before_dense: float = 3.0
    products_before_dense_of_array: float = 1.0
    n_steps_definite: int = 20
    max_restarts_per_row: int = 10
    min_extra_vectors: int = 5
    wanted_per_extra: int = 2
    max_filters: int = 100
    max_steps: int = 1000
    shifted_units: float = 100
    rounding_units: float = 1000
    lobpcg_tol: float = 1e-8
    dependent: float = 1e-8
    min_solve_rtol: float = 1e-12
    max_solve_iterations: int = 2000
    solve_slack: float = 10
    max_shift_ratio: float = 1e12

    def block_width(self, k):
        """Return the number of vectors in a block that finds k eigenpairs."""
        return k + max(self.min_extra_vectors, k // self.wanted_per_extra)

    def max_iterations(self, method, task):
        """Return the maximum number of iterations of a method."""
        if task.maxiter is not None:
            return task.maxiter
        if method != "lanczos":
            return {"chebyshev": self.max_filters, "lobpcg": self.max_steps}[method]
        n = len(task.start)
        if not self.may_be_dense(task):
            return self.max_restarts_per_row * n
        ncv = task.ncv or min(max(2 * task.k + 1, 20), n)
        of_array = self.products_before_dense_of_array
        n_products = n * (of_array if task.is_array else self.products_before_dense)
        return max(math.ceil(n_products / (ncv - task.k)), 1)

    def is_doubtful(self, doubt, task):
        """Return whether a doubt is too large to return what was found."""
        is_small = self.may_be_dense(task) and len(task.start) <= self.small
        limit = min(self.max_doubt, self.max_doubt_if_small) if is_small else self.max_doubt
        return doubt > limit

    def may_be_dense(self, task):
        """Return whether the whole matrix may be decomposed if an iteration fails."""
        return task.maxiter is None and len(task.start) <= self.max_dense


POLICY = DriverPolicy()


@dataclass(frozen=True)
class EigenTask:
    """The task of an iterative driver; see `eigsh`.

    Attributes
    ----------
    k : int
    which : {"LA", "SA", "LM", "SM", "BE"}
    tol : float
    start : ndarray of shape (n, b)
        Start vectors, in float64.
    maxiter, ncv : int or None
    random_state : int, RandomState, Generator or None
        Draws the vectors that a block lacks.
    is_array : bool
        Whether a product costs as much as with an array, or more.
    """

    k: int
    which: str
    tol: float
    start: np.ndarray
    maxiter: int | None = None
    ncv: int | None = None
    random_state: object = None
    is_array: bool = False

    def __post_init__(self):
        if self.which == "BE" and self.k == 1:
            # One pair "from both ends" is from the upper end; ARPACK refuses it.
            object.__setattr__(self, "which", "LA")


def dense_eigenpairs(A, k, which, sigma=None, *, policy=POLICY):
    """Decompose the whole matrix and return the k pairs that `which` names.

    Parameters
    ----------
    A : CountedOperator of shape (n, n)
    k : int
    which : {"LA", "SA", "LM", "SM", "BE"}
    sigma : float or None
        Those of ``1 / (lambda - sigma)`` if it is a number.
    policy : DriverPolicy

    Returns
    -------
    pairs : Eigenpairs
    """
    dense = A.toarray()
    if not np.isfinite(dense).all():
        raise parameter_error("A", "finite", got="NaN or infinity")
    values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    if sigma is None:
        chosen = wanted_positions(values, k, which)
    else:
        _check_distance(dense, np.eye(len(dense)), sigma, policy.max_shift_ratio)
        with np.errstate(divide="ignore"):
            order = np.argsort(1 / (values - sigma), kind="stable")
        chosen = np.sort(order[wanted_positions(1 / (values[order] - sigma), k, which)])
    return Eigenpairs(values[chosen], vectors[:, chosen])


def iterative_eigenpairs(A, task, method, sigma=None, inverse=None, *, policy=POLICY):
    """Return the pairs that a method finds, and those that it has missed.

    Parameters
    ----------
    A : CountedOperator of shape (n, n)
    task : EigenTask
    method : {"lanczos", "chebyshev", "lobpcg"}
    sigma : float or None
    inverse : CountedOperator or None
        The inverse of A - sigma I, or a preconditioner of "lobpcg".
    policy : DriverPolicy

    Returns
    -------
    pairs : Eigenpairs
        Those that have converged, in ascending order.
    method : str
        That of `EigenInfo`.
    """
    is_shifted = method == "lanczos" and sigma is not None
    if is_shifted:
        pairs = shift_invert_eigenpairs(A, task, sigma, inverse, policy=policy)
    elif method == "lanczos":
        pairs = _watched_eigenpairs(A, task, policy)
    else:
        if method == "chebyshev":
            pairs = chebyshev_eigenpairs(A, task, policy=policy)
        else:
            pairs = lobpcg_eigenpairs(A, task, inverse, policy=policy)
        pairs = _with_missed(A, pairs, task, policy)
    if len(pairs.values) < task.k and policy.may_be_dense(task):
        return dense_eigenpairs(A, task.k, task.which, sigma if is_shifted else None), "dense"
    if len(pairs.values) < task.k:
        warn(
            f"eigsh: {len(pairs.values)} of {task.k} eigenpairs converged in "
            f"{policy.max_iterations(method, task)} iterations; these are returned. Raise maxiter, "
            "ncv or tol."
        )
    return pairs, "shift-invert" if is_shifted else method


def _watched_eigenpairs(A, task, policy):
    """Return pairs by the Lanczos method, or by a shorter way where nearly all are equal."""
    watched = CountedOperator(WatchedOperator(A, task.k, task.which))
    try:
        if task.which == "SM":
            return smallest_eigenpairs(watched, task, policy=policy)
        return _with_missed(A, lanczos_eigenpairs(watched, task, policy=policy), task, policy)
    except PairsKnown as known:
        return known.pairs


def lanczos_eigenpairs(A, task, moments=None, *, policy=POLICY):
    """Return the pairs that the implicitly restarted Lanczos method finds.

    `moments` are the mean and the root mean square of the eigenvalues, if they are known.
    """
    v0 = task.start.sum(axis=1)
    shift = _shift_from_zero(A, v0, task, moments)
    if shift != 0:
        A = ShiftedOperator(A, shift)
        task = replace(task, tol=policy.shifted_units * np.finfo(A.dtype).eps)
    values, vectors = _arpack(A, v0.astype(A.dtype), task, policy)
    return Eigenpairs(values - A.dtype.type(shift), vectors)


def shift_invert_eigenpairs(A, task, sigma, inverse, *, policy=POLICY):
    """Return pairs of A from those of `inverse`, which is that of A - sigma I."""
    # In float64 whatever A is: the inverse may be larger than float32 resolves.
    v0 = task.start.sum(axis=1)
    Av0 = np.asarray(A.matvec(v0.astype(A.dtype)), dtype=np.float64)
    _check_distance(Av0, v0, sigma, policy.max_shift_ratio)
    try:
        options = {"sigma": sigma, "OPinv": inverse}
        values, vectors = _arpack(Float64Operator(A), v0, task, policy, **options)
    except ArpackError:
        raise _is_an_eigenvalue(sigma) from None
    size = np.linalg.norm(Av0 - sigma * v0) / np.linalg.norm(v0)
    _check_inverse(A, values, vectors, task, v0, sigma, inverse, size)
    distances = values - sigma
    if task.which == "SM":  # of the inverse: farthest from sigma
        shifted, task = CountedOperator(ShiftedOperator(A, -sigma)), replace(task, which="LM")
        found = _with_missed(shifted, Eigenpairs(distances, vectors), task, policy)
        values, vectors = sigma + found.values, found.vectors
    else:
        distances[distances == 0] = np.finfo(np.float64).tiny
        inverted = Eigenpairs(1 / distances, vectors)
        found = _with_missed(inverse, inverted, task, policy)
        if found is not inverted:
            values, vectors = sigma + 1 / found.values, found.vectors
    values, vectors = values.astype(A.dtype, copy=False), vectors.astype(A.dtype, copy=False)
    return Eigenpairs(values, vectors).take(np.argsort(values, kind="stable"))


def smallest_eigenpairs(A, task, *, policy=POLICY):
    """Return the pairs smallest in magnitude, at one end of the spectrum if A is semidefinite.

    Return none where A is indefinite and is to be decomposed instead.
    """
    values, vectors = run_lanczos(A, task.start.sum(axis=1), policy.n_steps_definite).ritz_pairs()
    # The mean and the root mean square of the eigenvalues, weighted by the start vector.
    mean, size = vectors[0] ** 2 @ values, np.sqrt(vectors[0] ** 2 @ values**2)
    sign = 1.0 if mean >= 0 else -1.0
    B = A if sign > 0 else CountedOperator(NegatedOperator(A))
    rounding = policy.rounding_units * np.finfo(A.dtype).eps * np.abs(values).max()
    if (sign * values).min() >= -rounding:
        task_at_end = replace(task, which="SA")
        pairs = lanczos_eigenpairs(B, task_at_end, (abs(mean), size), policy=policy)
        pairs = _with_missed(B, pairs, task_at_end, policy)
        if (pairs.values >= -rounding).all():
            pairs = Eigenpairs(sign * pairs.values, pairs.vectors)
            return pairs.take(np.argsort(pairs.values, kind="stable"))
    if policy.may_be_dense(task):
        return no_pairs(A)
    return _with_missed(A, lanczos_eigenpairs(A, task, policy=policy), task, policy)


def _arpack(A, v0, task, policy, **options):
    """Return the eigenvalues, ascending, and eigenvectors of those pairs that converge."""
    k, n = task.k, len(v0)
    maxiter = policy.max_iterations("lanczos", task)
    if "rng" in inspect.signature(arpack_eigsh).parameters:
        # Newer versions of SciPy draw restart vectors from it; older ones have a fixed generator.
        options["rng"] = np.random.default_rng(0)
    try:
        # The vectors cost little compared with the products, and make ARPACK sort ascending.
        values, vectors = arpack_eigsh(
            A, k, which=task.which, tol=task.tol, v0=v0, maxiter=maxiter, ncv=task.ncv, **options
        )
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    except ArpackError:
        # ARPACK refuses the zero matrix, although it has eigenpairs.
        if not _is_zero(A, v0):
            raise
        return np.zeros(k, dtype=A.dtype), np.eye(n, k, dtype=A.dtype)
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]


def _shift_from_zero(A, v0, task, moments):
    """Return a shift with which no wanted eigenvalue is tiny beside the others.

    ARPACK compares residuals with eigenvalues one by one, so with tol=0 those that are zero but for
    rounding, at one end of the spectrum of a semidefinite matrix, would never converge.
    """
    if task.tol > 0 or task.which in ("LM", "SM"):
        return 0.0
    if moments is None:
        Av0 = np.asarray(A.matvec(v0.astype(A.dtype)), dtype=np.float64)
        moments = v0 @ Av0 / (v0 @ v0), np.linalg.norm(Av0) / np.linalg.norm(v0)
    mean, size = moments
    has_zero_end = task.which == "BE" or np.sign(mean) == (1 if task.which == "SA" else -1)
    return -np.sign(mean) * size if has_zero_end else 0.0


def _with_missed(A, pairs, task, policy):
    """Return pairs with those that were missed, or none if all are to be computed instead."""
    if len(pairs.values) < task.k and (task.maxiter is not None or policy.may_be_dense(task)):
        return pairs
    pairs, doubt = with_missed(A, pairs, task.k, task.which, task.tol)
    if not policy.is_doubtful(doubt, task) or len(pairs.values) < task.k:
        return pairs
    if policy.may_be_dense(task):
        return no_pairs(A)
    if task.which == "SM":
        beyond = f"up to {100 * min(doubt, 1):.2g} % smaller in magnitude than the last of"
    elif doubt < 1:
        beyond = f"up to {doubt:.1g} times the largest one in magnitude beyond"
    else:
        beyond = "anywhere beyond"
    warn(
        f"eigsh: {A.n_products:,} products do not exclude that an eigenvalue was missed, {beyond} "
        "those returned; ask for more eigenpairs (k), or raise ncv."
    )
    return pairs


def chebyshev_eigenpairs(A, task, *, policy=POLICY):
    """Return the largest or smallest pairs that have converged, by Chebyshev filters."""
    k, is_largest = task.k, task.which == "LA"
    tol = max(task.tol, policy.rounding_units * np.finfo(A.dtype).eps)
    maxiter = policy.max_iterations("chebyshev", task)
    V = _fill_block(task, policy)
    pairs = chebyshev_filtered(A if is_largest else NegatedOperator(A), V, k, tol, maxiter)
    found = np.flatnonzero(pairs.residuals <= tol)
    # Largest first; the smallest are the largest of -A.
    pairs = pairs.take(found[::-1] if is_largest else found)
    values = pairs.values if is_largest else -pairs.values
    return Eigenpairs(values.astype(A.dtype, copy=False), pairs.vectors.astype(A.dtype, copy=False))


def lobpcg_eigenpairs(A, task, inverse, *, policy=POLICY):
    """Return the largest or smallest pairs that LOBPCG finds; `inverse` preconditions it."""
    k, is_largest = task.k, task.which == "LA"
    maxiter = policy.max_iterations("lobpcg", task)
    tol = max(task.tol or policy.lobpcg_tol, policy.rounding_units * np.finfo(A.dtype).eps)
    V = _independent_columns(_fill_block(task, policy), task.random_state, policy)
    # SciPy takes absolute residuals, and also warns about the vectors beyond the first k. A small
    # eigenvalue cannot be more accurate than the rounding of the matrix allows.
    size = np.abs(_ritz_values(A, V)).max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        options = {"tol": tol * size, "maxiter": maxiter, "largest": is_largest}
        values, vectors = lobpcg(A, V, M=inverse, **options)
    order = np.argsort(values, kind="stable")
    order = order[-k:] if is_largest else order[:k]
    values, vectors = values[order], vectors[:, order]
    found = np.linalg.norm(A @ vectors - vectors * values, axis=0) <= 2 * tol * size
    return Eigenpairs(values, vectors).take(found)


def _fill_block(task, policy):
    """Return the start vectors as a block of the right width: random ones join, or some leave."""
    V, k, width = task.start, task.k, task.ncv
    n = len(V)
    if width is None:
        width = max(policy.block_width(k), V.shape[1])
    width = min(max(width, k + 1), n)
    if V.shape[1] < width:
        drawn = check_random_state(task.random_state).standard_normal((n, width - V.shape[1]))
        V = np.hstack([V, drawn * np.linalg.norm(V, axis=0).max() / np.sqrt(n)])
    return V[:, :width]


def _independent_columns(V, random_state, policy):
    """Return an orthonormal basis of V (n, b), with random vectors for columns that depend."""
    V = V / np.maximum(np.linalg.norm(V, axis=0), np.finfo(np.float64).tiny)
    Q, R, _ = scipy.linalg.qr(V, mode="economic", pivoting=True)
    is_dependent = np.abs(np.diagonal(R)) <= policy.dependent * abs(R[0, 0])
    if not is_dependent.any():
        return V
    drawn = check_random_state(random_state).standard_normal((len(V), is_dependent.sum()))
    return np.linalg.qr(np.hstack([Q[:, ~is_dependent], drawn]))[0]


def _ritz_values(A, V):
    """Return the Ritz values of A in the span of V (n, b), ascending."""
    Q = np.linalg.qr(V)[0]
    return np.linalg.eigvalsh(Q.T @ (A @ Q))


def _check_distance(Av0, v0, sigma, max_ratio):
    """Raise if A vanishes beside sigma I, so that A - sigma I tells nothing of A."""
    size = np.linalg.norm(Av0) / np.linalg.norm(v0)
    if 0 < size < abs(sigma) / max_ratio:
        allowed = f"near the spectrum of A, at most {max_ratio * size:.1e} in magnitude"
        raise parameter_error("sigma", allowed, sigma)


def _check_inverse(A, values, vectors, task, v0, sigma, inverse, size):
    """Raise if residuals are large because sigma is an eigenvalue but for rounding.

    `size` is that of A - sigma I: the root mean square of its eigenvalues, estimated with v0.

    The inverse then has one direction so large that its rounding hides all other eigenvectors. Two
    products with the inverse tell how large it is.
    """
    rounding = np.sqrt(np.finfo(np.float64).eps)
    residuals = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    if (residuals <= max(task.tol, rounding) * size).all():
        return
    x = v0
    for _ in range(2):
        x = inverse.matvec(x / np.linalg.norm(x))
        if not x.any():
            raise _is_an_eigenvalue(sigma)
    if not np.linalg.norm(x) * size * rounding <= 1:
        raise _is_an_eigenvalue(sigma)


def _is_an_eigenvalue(sigma):
    return np.linalg.LinAlgError(
        f"sigma is {sigma!r}, an eigenvalue but for rounding: move it a little."
    )


def _is_zero(A, v0):
    """Return whether a vector in general position is mapped to zero."""
    product = A.matvec(v0)
    if not np.isfinite(product).all():
        raise parameter_error("A", "finite", got="a product that is NaN or infinite")
    return not product.any()
