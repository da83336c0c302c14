"""Trace and diagonal of symmetric operators that are known by products only."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.linalg
from sklearn.utils import check_random_state

from ..._utils.validation import check_integer
from ..._utils.warnings import warn

# Products of the first round, if the caller does not say.
_FIRST = 32
# Up to this size the identity is multiplied, however few products are allowed: it costs little, and
# random signs of so short vectors may coincide.
_SMALL = 64
# Leverages are 1 up to this.
_LEVERAGE_ROUNDING = 1e-10


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
    >>> from skhmat.linalg._stochastic.trace import xtrace
    >>> eigenvalues = 0.9 ** np.arange(1000)
    >>> estimate = xtrace(lambda B: eigenvalues[:, None] * B, 1000, random_state=0)
    >>> bool(abs(estimate.value - eigenvalues.sum()) < 0.03 * eigenvalues.sum())
    True
    """
    rounds = Rounds(apply, n, rtol, atol, offset, n_products, max_products)
    if rounds.is_exact:
        return Estimate(float(np.trace(rounds.matrix())) + rounds.offset, 0.0, rounds.n)
    rng = check_random_state(random_state)
    estimate, converged = rounds.run(rng.standard_normal, trace_without_each)
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
    >>> from skhmat.linalg._stochastic.trace import estimate_diagonal
    >>> V = np.random.default_rng(0).standard_normal((1000, 5))
    >>> estimate = estimate_diagonal(lambda B: V @ (V.T @ B), 1000, random_state=0)
    >>> bool(np.allclose(estimate.value, (V**2).sum(axis=1)))
    True
    """
    rounds = Rounds(apply, n, rtol, atol, offset, n_products, max_products)
    if rounds.is_exact:
        return Estimate(rounds.matrix().diagonal() + rounds.offset, np.zeros(rounds.n), rounds.n)
    rng = check_random_state(random_state)
    estimate, converged = rounds.run(lambda shape: rng.choice([-1.0, 1.0], shape), _diagonals)
    if not converged:
        warn(rounds.missed("diagonal", estimate))
    return estimate


class Rounds:
    """Rounds of products, each as many as all before, until the standard error is small enough."""

    def __init__(self, apply, n, rtol, atol, offset, n_products, max_products):
        if not callable(apply):
            raise TypeError(f"apply is a {type(apply).__name__}; it must be a function.")
        self.apply = apply
        self.n = check_integer("n", n, 1)
        self.rtol, self.atol = check_tolerance("rtol", rtol), check_tolerance("atol", atol)
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


def trace_without_each(sketch):
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


def check_tolerance(name, value):
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be a finite number of at least 0.")
    return float(value)
