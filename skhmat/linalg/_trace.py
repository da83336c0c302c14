"""Trace, diagonal and log-determinant of symmetric operators that are known by products only."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.linalg
from sklearn.utils import check_random_state

from ._checks import as_real_operator, check_columns, check_integer, warn

# Products of the first round, if the caller does not say.
_FIRST = 32
# Up to this size the identity is multiplied, however few products are allowed: it costs little, and
# random signs of so short vectors may coincide.
_SMALL = 64
# Lanczos steps that find the middle of a spectrum, and its lower end.
_PILOT_STEPS, _EDGE_STEPS = 30, 100
# The Lanczos method is this much more accurate than the estimate that is made with it, ...
_LANCZOS_PART = 0.1
# ... within these bounds: rounding, and what tells convergence from chance.
_LEAST_RTOL, _LARGEST_RTOL = 1e-10, 1e-2
# Leverages are 1 up to this.
_LEVERAGE_ROUNDING = 1e-10
# Lanczos bases that are held at a time, about.
_BASIS_BYTES = 1 << 30


@dataclass(frozen=True)
class Estimate:
    """A randomized estimate and how far it may be off.

    Attributes
    ----------
    value : float or ndarray of shape (n,)
    standard_error : float or ndarray of shape (n,)
        Estimated standard deviation of `value`, without rounding; 0 where that is all there is.
    n_products : int
        Vectors that the operator was multiplied with.
    """

    value: float | np.ndarray
    standard_error: float | np.ndarray
    n_products: int


def xtrace(
    apply,
    n,
    *,
    rtol=1e-2,
    atol=0.0,
    offset=0.0,
    n_products=None,
    max_products=512,
    random_state=None,
):
    """Estimate the trace of a symmetric matrix from its products.

    XTrace with normalization [1]_: half of the products find the subspace in which the matrix is
    largest, whose part of the trace is computed; the rest of it is estimated with the same random
    vectors, each with the subspace that the others have found. Where the eigenvalues decay, it
    takes far fewer products than averaging does; a matrix of rank below ``n_products / 2`` is
    computed exactly.

    Parameters
    ----------
    apply : callable
        ``apply(B)`` is the product with B of shape (n, k), float64, and has its shape.
    n : int
        Rows of the matrix.
    rtol : float, default=1e-2
        Wanted standard error relative to the value.
    atol : float, default=0.0
        Wanted standard error; the larger of both is what counts.
    offset : float, default=0.0
        A part of the trace that is known, and that `apply` leaves out. It is added to the value.
    n_products : int, default=None
        Products of the first round, at least 4, from which each round doubles them. None means 32,
        or `max_products` if that is less.
    max_products : int, default=512
        Most products, at least 4. If they are at least n, or n is at most 64, the trace is computed
        with n products.
    random_state : int, RandomState instance or None, default=None
        Draws the random vectors.

    Returns
    -------
    estimate : Estimate
        `value` and `standard_error` are floats.

    Raises
    ------
    TypeError
        `apply` cannot be called.
    ValueError
        A parameter is outside its range, or `apply` returns something else than finite real numbers
        of the right shape.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The standard error is too large after `max_products` products.

    Notes
    -----
    The standard error is that of [1]_, as if the estimates that are averaged were independent. They
    are not quite: it is too small by a factor of 1.1 where the eigenvalues are much the same, to
    1.5 where they decay fast, and by more with less than 32 products.

    References
    ----------
    .. [1] E. N. Epperly, J. A. Tropp, R. J. Webber. XTrace: making the most of every sample in
       stochastic trace estimation. SIAM J. Matrix Anal. Appl. 45, 2024. arXiv:2301.07825.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg._trace import xtrace
    >>> eigenvalues = 0.9 ** np.arange(1000)
    >>> estimate = xtrace(lambda B: eigenvalues[:, None] * B, 1000, random_state=0)
    >>> bool(abs(estimate.value - eigenvalues.sum()) < 0.03 * eigenvalues.sum())
    True
    """
    rounds = _Rounds(apply, n, rtol, atol, offset, n_products, max_products)
    if rounds.is_exact:
        return Estimate(float(np.trace(rounds.matrix())) + rounds.offset, 0.0, rounds.n)
    rng = check_random_state(random_state)
    estimate, converged = rounds.run(rng.standard_normal, _trace_without_each)
    if not converged:
        warn(rounds.missed("trace", estimate))
    return estimate


def estimate_diagonal(
    apply,
    n,
    *,
    rtol=1e-2,
    atol=0.0,
    offset=0.0,
    n_products=None,
    max_products=512,
    random_state=None,
):
    """Estimate the diagonal of a symmetric matrix from its products.

    XDiag [1]_ for symmetric matrices: half of the products find the subspace in which the matrix is
    largest, whose part of the diagonal is computed; the rest of it is estimated with the same
    vectors of random signs, each with the subspace that the others have found. That rest is
    projected from both sides here, which makes it smaller at no cost.

    Parameters
    ----------
    apply : callable
        ``apply(B)`` is the product with B of shape (n, k), float64, and has its shape.
    n : int
        Rows of the matrix.
    rtol : float, default=1e-2
        Wanted norm of the standard errors relative to that of the diagonal.
    atol : float, default=0.0
        Wanted norm of the standard errors; the larger of both is what counts.
    offset : float, default=0.0
        A multiple of the identity that `apply` leaves out. It is added to the value. What is left
        should be small or of low rank.
    n_products : int, default=None
        Products of the first round, at least 4, from which each round doubles them. None means 32,
        or `max_products` if that is less.
    max_products : int, default=512
        Most products, at least 4. If they are at least n, or n is at most 64, the diagonal is
        computed with n products.
    random_state : int, RandomState instance or None, default=None
        Draws the random signs.

    Returns
    -------
    estimate : Estimate
        `value` and `standard_error` are arrays of shape (n,).

    Raises
    ------
    TypeError
        `apply` cannot be called.
    ValueError
        A parameter is outside its range, or `apply` returns something else than finite real numbers
        of the right shape.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The standard errors are too large after `max_products` products.

    Notes
    -----
    The norm of all standard errors is that of the error up to a factor of 1.5, mostly too small.

    References
    ----------
    .. [1] E. N. Epperly, J. A. Tropp, R. J. Webber. XTrace: making the most of every sample in
       stochastic trace estimation. SIAM J. Matrix Anal. Appl. 45, 2024. arXiv:2301.07825.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg._trace import estimate_diagonal
    >>> V = np.random.default_rng(0).standard_normal((1000, 5))
    >>> estimate = estimate_diagonal(lambda B: V @ (V.T @ B), 1000, random_state=0)
    >>> bool(np.allclose(estimate.value, (V**2).sum(axis=1)))
    True
    """
    rounds = _Rounds(apply, n, rtol, atol, offset, n_products, max_products)
    if rounds.is_exact:
        return Estimate(rounds.matrix().diagonal() + rounds.offset, np.zeros(rounds.n), rounds.n)
    rng = check_random_state(random_state)
    estimate, converged = rounds.run(lambda shape: rng.choice([-1.0, 1.0], shape), _diagonals)
    if not converged:
        warn(rounds.missed("diagonal", estimate))
    return estimate


def log_apply(A, B, *, rtol=1e-6, maxiter=300, scale=1.0):
    """Multiply the logarithm of a positive definite matrix by the columns of B.

    The Lanczos method [1]_ with full reorthogonalisation: each column has a Krylov space of its
    own, and all share the products with A. A column is done when the result has changed by less
    than `rtol` over the last fifth of its steps.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real, symmetric and positive definite; symmetry is not checked.
    B : array-like of shape (n,) or (n, k)
        Real numbers.
    rtol : float, default=1e-6
        Relative change of a column, in the 2-norm, that is small enough.
    maxiter : int, default=300
        Most Lanczos steps. Where the eigenvalues are spread evenly, about the square root of the
        condition number is needed for each factor of 7 in accuracy, but never more than n.
    scale : float, default=1.0
        A is divided by this number. What is "relative" for the logarithm depends on it.

    Returns
    -------
    log_B : ndarray of the shape of `B`, float64
        log(A / scale) B.

    Raises
    ------
    TypeError
        `A` is nothing that vectors can be multiplied with.
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
    >>> from skhmat.linalg._trace import log_apply
    >>> A = np.diag(np.linspace(1, 100, 500))
    >>> bool(np.allclose(log_apply(A, np.ones(500)), np.log(np.linspace(1, 100, 500)), atol=1e-4))
    True
    """
    A = as_real_operator("A", A)
    columns = check_columns("B", B, A.shape[0])
    if columns.dtype.kind == "c":
        raise ValueError(f"B has dtype {columns.dtype}; it must hold real numbers.")
    rtol, maxiter = _check_tolerance("rtol", rtol), check_integer("maxiter", maxiter, 1)
    if not isinstance(scale, Real) or not 0 < scale < math.inf:
        raise ValueError(f"scale is {scale!r}; it must be a finite number above 0.")
    out, changes = _log_columns(A, columns, rtol, maxiter, float(scale))
    if (changes > rtol).any():
        warn(_unconverged("log_apply", changes, rtol, maxiter))
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

    This is the trace of log(A), by `xtrace` with `log_apply`. A is divided first by the number in
    the middle of its spectrum, so that few products are needed where most eigenvalues are the same,
    as in a matrix of low rank with a shift.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real, symmetric and positive definite; symmetry is not checked.
    rtol : float, default=1e-2
        Wanted standard error relative to the value.
    atol : float, default=None
        Wanted standard error; the larger of both is what counts. None means ``rtol * n``: the
        geometric mean of the eigenvalues has the relative error `rtol` then. A value near 0 is a
        coincidence of the scale of A, and no reason for more products.
    n_products : int, default=None
        Products with log(A) of the first round, at least 4, from which each round doubles them.
        None means 32, or `max_products` if that is less.
    max_products : int, default=512
        Most products with log(A), at least 4. Each takes several products with A. If they are at
        least n, or n is at most 64, A is formed by n products and its eigenvalues are computed.
    maxiter : int, default=300
        Most Lanczos steps, see `log_apply`.
    random_state : int, RandomState instance or None, default=None
        Draws the random vectors.

    Returns
    -------
    estimate : Estimate
        `value` and `standard_error` are floats; what the Lanczos method may be off by is part of
        the latter. `n_products` counts products with log(A), or those with A if it was formed.

    Raises
    ------
    TypeError
        `A` is nothing that vectors can be multiplied with.
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
    >>> from skhmat.linalg._trace import estimate_logdet
    >>> estimate = estimate_logdet(np.diag(np.linspace(1, 100, 1000)), random_state=0)
    >>> exact = np.log(np.linspace(1, 100, 1000)).sum()
    >>> bool(abs(estimate.value - exact) <= 4 * estimate.standard_error < 0.04 * exact)
    True
    """
    A = as_real_operator("A", A)
    n = A.shape[0]
    rtol, maxiter = _check_tolerance("rtol", rtol), check_integer("maxiter", maxiter, 1)
    atol = rtol * n if atol is None else _check_tolerance("atol", atol)
    inner = _LANCZOS_PART * max(rtol, atol / n)
    inner = min(max(inner, _LEAST_RTOL), _LARGEST_RTOL)
    logarithm = _Logarithm(A, inner, maxiter)
    rounds = _Rounds(logarithm, n, rtol, atol, 0.0, n_products, max_products)
    if rounds.is_exact:
        return Estimate(_dense_logdet(A), 0.0, n)
    rng = check_random_state(random_state)
    logarithm.scale = _middle_of_spectrum(A, rng.standard_normal(n))
    rounds.offset = n * math.log(logarithm.scale)
    estimate, converged = rounds.run(rng.standard_normal, _trace_without_each)
    error = math.hypot(estimate.standard_error, n * logarithm.mean_error())
    estimate = Estimate(estimate.value, error, estimate.n_products)
    if not converged:
        warn(rounds.missed("logarithm of the determinant", estimate))
    if (logarithm.changes > inner).any():
        message = _unconverged("estimate_logdet", logarithm.changes, inner, maxiter)
        warn(f"{message} The estimate may be off by more than its standard error says.")
    return estimate


# ---- random vectors, and the estimates that leave out one of them


class _Rounds:
    """Rounds of products, each as many as all before, until the standard error is small enough."""

    def __init__(self, apply, n, rtol, atol, offset, n_products, max_products):
        if not callable(apply):
            raise TypeError(f"apply is a {type(apply).__name__}; it must be a function.")
        self.apply = apply
        self.n = check_integer("n", n, 1)
        self.rtol, self.atol = _check_tolerance("rtol", rtol), _check_tolerance("atol", atol)
        if not isinstance(offset, Real) or not math.isfinite(offset):
            raise ValueError(f"offset is {offset!r}; it must be a finite number.")
        self.offset = float(offset)
        self.limit = check_integer("max_products", max_products, 4)
        if n_products is None:
            n_products = min(_FIRST, self.limit)
        self.first = check_integer("n_products", n_products, 4, self.limit)

    @property
    def is_exact(self):
        """Whether the identity is multiplied instead of random vectors."""
        return self.n <= max(self.limit, _SMALL)

    def matrix(self):
        """Return the matrix itself."""
        return _product(self.apply, np.eye(self.n)).astype(np.float64, copy=False)

    def run(self, draw, estimates):
        """Return the estimate, and whether it is as accurate as is wanted."""
        sketch, n_vectors = _Sketch(self.apply, self.n), self.first // 2
        while n_vectors > 0:
            sketch.add(draw((self.n, n_vectors)))
            values = estimates(sketch)
            value = np.mean(values, axis=-1) + self.offset
            error = np.std(values, axis=-1, ddof=1) / math.sqrt(sketch.n_vectors)
            if np.linalg.norm(error) <= max(self.rtol * np.linalg.norm(value), self.atol):
                return Estimate(_plain(value), _plain(error), sketch.n_products), True
            n_vectors = min(sketch.n_vectors, (self.limit - sketch.n_products) // 2)
        return Estimate(_plain(value), _plain(error), sketch.n_products), False

    def missed(self, what, estimate):
        """Return the text of the warning."""
        error, size = np.linalg.norm(estimate.standard_error), np.linalg.norm(estimate.value)
        relative = f"{error / size:.2e} relative to the value" if size > 0 else f"{error:.2e}"
        wanted = f"rtol={self.rtol:.3g}" + (f" or atol={self.atol:.2g}" if self.atol > 0 else "")
        return (
            f"The standard error of the {what} is {relative} after {estimate.n_products} products, "
            f"but {wanted} was asked for. Raise max_products (now {self.limit}) or rtol."
        )


class _Sketch:
    """Random vectors, their products, a basis of these, and its products; grows and keeps all."""

    def __init__(self, apply, n):
        self._apply = apply
        self._eps = np.finfo(np.float64).eps
        # Random vectors O, Y = A O, orthonormal Q with the span of Y, Z = A Q.
        self.O = self.Y = self.Q = self.Z = np.empty((n, 0))

    @property
    def n_vectors(self):
        """Random vectors."""
        return self.O.shape[1]

    @property
    def n_products(self):
        """All products that were made."""
        return self.O.shape[1] + self.Q.shape[1]

    def add(self, vectors):
        """Add random vectors of shape (n, k)."""
        self.O = np.hstack([self.O, vectors])
        self.Y = np.hstack([self.Y, self._multiply(vectors)])
        largest = math.sqrt(np.max(np.einsum("ij,ij->j", self.Y, self.Y)))
        tolerance = self._eps * math.sqrt(len(vectors)) * largest
        new = _new_directions(self.Y[:, -vectors.shape[1] :], self.Q, tolerance)
        self.Q = np.hstack([self.Q, new])
        if new.shape[1] > 0:
            self.Z = np.hstack([self.Z, self._multiply(new)])

    def directions_lost(self):
        """Return by columns, in the basis Q, the direction that is lost without each vector.

        It is orthogonal to all columns of R = Q^T Y but one, so it is a row of the pseudoinverse. A
        column of zeros where nothing is lost, because the others have found all directions, too.
        """
        R = self.Q.T @ self.Y
        if len(R) == 0:
            return R
        U, sizes, Vt = np.linalg.svd(R, full_matrices=False)
        S = (U / np.maximum(sizes / sizes[0], np.finfo(np.float64).eps)) @ Vt
        S /= np.maximum(np.linalg.norm(S, axis=0), np.finfo(np.float64).tiny)
        # The leverage of a column is 1 if it has something that no other has.
        return S * (np.einsum("ij,ij->j", Vt, Vt) > 1 - _LEVERAGE_ROUNDING)

    def rests(self, S):
        """Return, by columns, each random vector without its part in the subspace of the others."""
        X = self.Q.T @ self.O
        X -= S * np.einsum("ij,ij->j", S, X)
        return self.O - self.Q @ X, self.Y - self.Z @ X

    def _multiply(self, vectors):
        product = _product(self._apply, np.ascontiguousarray(vectors))
        self._eps = max(self._eps, np.finfo(product.dtype).eps)
        return product.astype(np.float64, copy=False)


def _new_directions(Y, Q, tolerance):
    """Return an orthonormal basis of what the columns of Y add to the span of Q."""
    new, R, _ = scipy.linalg.qr(Y - Q @ (Q.T @ Y), mode="economic", pivoting=True)
    new = new[:, np.abs(R.diagonal()) > tolerance]
    if new.shape[1] == 0:
        return new
    # Where little was left of a column, much of it is rounding, which may lie in the span of Q.
    return np.linalg.qr(new - Q @ (Q.T @ new))[0]


def _trace_without_each(sketch):
    """Return the traces estimated with each vector and the subspace of the others, (n_vectors,).

    What is left of a vector has a random direction outside of the subspace, and another length than
    one that was drawn there. Its right length takes out most of the variance of a flat spectrum.
    """
    S = sketch.directions_lost()
    H = sketch.Q.T @ sketch.Z
    inside = np.trace(H) - np.einsum("ij,ij->j", S, H @ S)
    rest, product = sketch.rests(S)
    n_outside = len(sketch.Q) - sketch.Q.shape[1] + S.any(axis=0)
    squares = np.einsum("ij,ij->j", rest, rest)
    return inside + n_outside * np.einsum("ij,ij->j", rest, product) / squares


def _diagonals(sketch):
    """Return the diagonals estimated with each vector and the subspace of the others.

    With the projection P on the subspace, A = P A + A P - P A P + (I - P) A (I - P); only the last
    term is estimated. One column for each vector, shape (n, n_vectors).
    """
    Q, Z, S = sketch.Q, sketch.Z, sketch.directions_lost()
    H = Q.T @ Z
    # P is Q Q^T without u u^T, u = Q s.
    U, AU, HS = Q @ S, Z @ S, H @ S
    inside = np.einsum("ij,ij->i", Q, 2 * Z - Q @ H)[:, None] - 2 * U * AU
    inside += 2 * U * (Q @ HS) - U**2 * np.einsum("ij,ij->j", S, HS)
    _, outside = sketch.rests(S)
    X = Q.T @ outside
    outside -= Q @ (X - S * np.einsum("ij,ij->j", S, X))
    return inside + sketch.O * outside


def _plain(number):
    """Return a scalar of NumPy as a float, an array as it is."""
    return float(number) if np.ndim(number) == 0 else number


def _product(apply, B):
    """Return apply(B), checked."""
    product = np.asarray(apply(B))
    if product.shape != B.shape:
        raise ValueError(
            f"apply returned shape {product.shape} for vectors of shape {B.shape}; it must return "
            "the same shape."
        )
    if product.dtype.kind not in "fiub":
        raise ValueError(f"apply returned dtype {product.dtype}; it must return real numbers.")
    if not np.isfinite(product).all():
        raise ValueError("apply returned NaN or infinity; it must return finite numbers.")
    return product if product.dtype.kind == "f" else product.astype(np.float64)


# ---- the logarithm by the Lanczos method


class _Krylov:
    """The Krylov space of one vector, with an orthonormal basis in which A is tridiagonal."""

    def __init__(self, b, eps, max_steps):
        self._size, self.eps, self._max_steps = np.linalg.norm(b), eps, max_steps
        # Basis vectors in rows; one more than the steps that were made.
        self._basis = (b / self._size)[None, :]
        self._diagonal, self._off_diagonal = [], []
        self._largest = 0.0
        self._coefficients = np.empty(0)
        self.change = math.inf
        # Whether the space contains its image, so that nothing can be added to it.
        self.is_invariant = False

    @property
    def n_steps(self):
        """Steps that were made: the dimension of the space."""
        return len(self._diagonal)

    @property
    def last(self):
        """The basis vector whose product is needed next."""
        return self._basis[self.n_steps]

    def extend(self, product):
        """Take the product of A with the last basis vector."""
        V = self._basis[: self.n_steps + 1]
        diagonal = V[-1] @ product
        rest = product - diagonal * V[-1]
        if self.n_steps > 0:
            rest -= self._off_diagonal[-1] * V[-2]
        # Without rounding that would be all.
        rest -= (V @ rest) @ V
        length = np.linalg.norm(rest)
        self._diagonal.append(diagonal)
        self._off_diagonal.append(length)
        self._largest = max(self._largest, abs(diagonal), length)
        rounding = 10 * self.eps * self._largest
        self.is_invariant = self.n_steps == len(product) or length <= rounding
        if not self.is_invariant and self.n_steps < self._max_steps:
            self._reserve(self.n_steps + 1)
            np.divide(rest, length, out=self._basis[self.n_steps])

    def ritz(self):
        """Return the Ritz values, ascending, and the eigenvectors of the tridiagonal matrix."""
        return scipy.linalg.eigh_tridiagonal(self._diagonal, self._off_diagonal[:-1])

    def update(self, scale):
        """Compute log(A / scale) b in the basis, and the relative change since the last time."""
        values, vectors = _positive_ritz(self)
        before = self._coefficients
        self._coefficients = self._size * vectors @ (np.log(values / scale) * vectors[0])
        difference = self._coefficients.copy()
        difference[: len(before)] -= before
        rounding = 8 * np.finfo(np.float64).eps * self._size
        if self.is_invariant or np.linalg.norm(difference) <= rounding:
            self.change = 0.0
        else:
            size = max(np.linalg.norm(self._coefficients), rounding)
            self.change = np.linalg.norm(difference) / size

    def result(self):
        """Return what `update` computed as a vector of shape (n,)."""
        return self._coefficients @ self._basis[: self.n_steps]

    def _reserve(self, row):
        """Make room for a row of the basis."""
        if row >= len(self._basis):
            rows = min(max(2 * len(self._basis), 8), self._max_steps)
            basis = np.empty((rows, self._basis.shape[1]))
            basis[: len(self._basis)] = self._basis
            self._basis = basis


def _positive_ritz(column):
    """Return what `ritz` does; raise where A is not positive definite."""
    values, vectors = column.ritz()
    _check_positive("Ritz value", values, column.eps)
    return values, vectors


def _log_columns(A, B, rtol, maxiter, scale):
    """Return log(A / scale) B and the last relative change of each column, shape (k,)."""
    n, k = B.shape
    out, changes = np.zeros((n, k)), np.zeros(k)
    todo = np.flatnonzero(B.any(axis=0))
    expected = max_steps = min(maxiter, n)
    while len(todo) > 0:
        width = max(1, _BASIS_BYTES // (8 * n * expected))
        group, todo = todo[:width], todo[width:]
        columns = _log_group(A, B[:, group], rtol, max_steps, scale)
        out[:, group] = np.transpose([column.result() for column in columns])
        changes[group] = [column.change for column in columns]
        # Other columns will need about as many steps.
        expected = min(max_steps, 2 * max(column.n_steps for column in columns))
    return out, changes


def _log_group(A, B, rtol, max_steps, scale):
    """Return the Krylov spaces of the columns of B, large enough for log(A / scale) B."""
    eps = np.finfo(A.dtype).eps
    columns = [_Krylov(b, eps, max_steps) for b in B.T.astype(np.float64)]
    active, checks = columns, _check_steps(max_steps)
    for step in range(1, max_steps + 1):
        products = _multiply(A, np.stack([column.last for column in active], axis=1))
        for column, product in zip(active, np.ascontiguousarray(products.T), strict=True):
            column.extend(product)
        for column in active:
            if step in checks or column.is_invariant:
                column.update(scale)
        active = [c for c in active if not (c.is_invariant or c.change <= rtol)]
        if not active:
            break
    return columns


def _check_steps(max_steps):
    """Return steps that are a fifth apart: the change over one may be far less than the error."""
    steps = [max_steps]
    while steps[-1] > 3:
        steps.append(steps[-1] - max(2, steps[-1] // 5))
    return frozenset(steps)


def _multiply(A, B):
    """Return A B in float64."""
    product = np.asarray(A.matmat(B.astype(A.dtype, copy=False)), dtype=np.float64)
    if not np.isfinite(product).all():
        raise ValueError("A times a finite vector is NaN or infinite; its entries must be finite.")
    return product


class _Logarithm:
    """log(A / scale) as a function, which remembers how far the Lanczos method has come."""

    def __init__(self, A, rtol, maxiter):
        self._A, self._rtol, self._maxiter = A, rtol, maxiter
        self.scale = 1.0
        self.changes = self._errors = np.empty(0)

    def __call__(self, B):
        out, changes = _log_columns(self._A, B, self._rtol, self._maxiter, self.scale)
        sizes = np.linalg.norm(out, axis=0) / np.linalg.norm(B, axis=0)
        self.changes = np.append(self.changes, changes)
        self._errors = np.append(self._errors, changes * sizes)
        return out

    def mean_error(self):
        """Return what a product with a unit vector is off by, on average."""
        return float(np.mean(self._errors))


def smallest_ritz_value(A):
    """Return the smallest Ritz value of a symmetric operator after a few Lanczos steps.

    Above the smallest eigenvalue, and close to it if that is apart from the others.
    """
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    return float(_pilot(A, b, _EDGE_STEPS).ritz()[0][0])


def _pilot(A, b, n_steps):
    """Return the Krylov space of a few steps."""
    column = _Krylov(b, np.finfo(A.dtype).eps, min(n_steps, len(b)))
    for _ in range(min(n_steps, len(b))):
        column.extend(_multiply(A, column.last[:, None])[:, 0])
        if column.is_invariant:
            break
    return column


def _middle_of_spectrum(A, b):
    """Return a number that half of the eigenvalues are below, about."""
    values, vectors = _positive_ritz(_pilot(A, b, _PILOT_STEPS))
    # Squares of the first entries are the weights of the quadrature that approximates the spectrum.
    return float(values[np.searchsorted(np.cumsum(vectors[0] ** 2), 0.5)])


def _dense_logdet(A):
    """Return the sum of the logarithms of all eigenvalues."""
    dense = _multiply(A, np.eye(A.shape[0]))
    values = np.linalg.eigvalsh((dense + dense.T) / 2)
    _check_positive("eigenvalue", values, np.finfo(A.dtype).eps)
    return math.fsum(np.log(values))


def _check_positive(kind, values, eps):
    """Raise LinAlgError if the first of ascending values is not positive, but for rounding."""
    low, high = float(values[0]), float(values[-1])
    if low <= eps * abs(high):
        missing = eps * abs(high) - low
        raise np.linalg.LinAlgError(
            f"A is not positive definite to the precision of its products: it has the {kind} "
            f"{low:.3g}, and the largest is {high:.3g}. Raise shift, the multiple of the identity "
            f"that is added to it, by more than {missing:.2g}."
        )


# ---- parameters and warnings


def _check_tolerance(name, value):
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be a finite number of at least 0.")
    return float(value)


def _unconverged(name, changes, rtol, maxiter):
    count = np.count_nonzero(changes > rtol)
    return (
        f"{name}: the Lanczos method still changed {count} of {len(changes)} columns by up to "
        f"{changes.max():.2e} after {maxiter} steps, relative to their norm, but {rtol:.1e} is "
        f"wanted. Raise maxiter (now {maxiter}), rtol or the shift."
    )
