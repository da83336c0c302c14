"""Trace and diagonal of a symmetric matrix A that is known only by its products.

XTrace and XDiag of Epperly, Tropp and Webber (SIAM J. Matrix Anal. Appl. 45, 2024), whose letters
are used here; O stands for their Omega.

======  ==========================================================  ===========
O       random vectors o_1, ..., o_k                                (n, k)
Y       A O                                                         (n, k)
Q       orthonormal basis of the span of Y                          (n, r)
Z       A Q                                                         (n, r)
R       Q^T Y                                                       (r, k)
H       Q^T Z = Q^T A Q                                             (r, r)
S       s_1, ..., s_k: what the basis loses without each vector     (r, k)
======  ==========================================================  ===========

An estimate of A from Q alone is exact on the span of Q. The rest is estimated with a random vector
o that must be independent of Q. To use every vector for both, let Q_i be a basis of the span of all
columns of Y except the i-th. Estimate i is that of Q_i and o_i, and the k estimates are averaged.
None of the bases Q_i is computed, because of one identity,

    P_i = Q_i Q_i^T = Q (I - s_i s_i^T) Q^T,

where s_i is the unit vector in the column space of R that is orthogonal to all columns of R but the
i-th. If R has full column rank, R^+ R = I says that this is row i of the pseudoinverse R^+, scaled;
in the paper it is column i of R^-T. If column i is in the span of the others, nothing is lost
without it, and s_i = 0.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..._utils.validation import check_integer, check_random_state, check_real, parameter_error
from ..._utils.warnings import warn


@dataclass(frozen=True)
class TracePolicy:
    """What an estimate decides if the caller does not.

    Attributes
    ----------
    first_products : int
        Products of the first round.
    max_formed : int
        Rows up to which A is formed from n products, however few are allowed: it costs little, and
        random signs of so short vectors may coincide.
    leverage_rounding : float
        Rounding of leverages: above 1 minus this, a column of R is not in the span of the others.
    """

    first_products: int = 32
    max_formed: int = 64
    leverage_rounding: float = 1e-10


POLICY = TracePolicy()


@dataclass(frozen=True)
class Estimate:
    """A randomized estimate and its standard error.

    Attributes
    ----------
    value : float or ndarray of shape (n,)
    standard_error : float or ndarray of shape (n,)
        Estimated standard deviation of `value`, without rounding; 0 if it is exact but for that.
    n_products : int
        Vectors that the operator was multiplied with.
    """

    __module__ = "skhmat.linalg"

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
        Standard error to reach, relative to the value.
    atol : float, default=0.0
        Absolute standard error to reach; the larger of the two limits applies.
    offset : float, default=0.0
        A part of the trace that is known, and that `apply` leaves out. It is added to the value.
    n_products : int, default=None
        Products of the first round, at least 4, from which each round doubles them. None means 32,
        or `max_products` if that is less.
    max_products : int, default=512
        Maximum number of products, at least 4. If it is at least n, or n is at most 64, the trace
        is computed with n products.
    random_state : int, RandomState, Generator or None, default=None
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
        A parameter is outside its range, or `apply` does not return finite real numbers of the
        right shape.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The standard error is too large after `max_products` products.

    Notes
    -----
    The standard error is that of [1]_, as if the estimates that are averaged were independent. They
    are not quite: it is too small by a factor between 1.1, if the eigenvalues are nearly equal, and
    1.5, if they decay fast, and by more with fewer than 32 products.

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
    _check_apply(apply)
    rounds = AdaptiveRounds(n, rtol, atol, n_products, max_products)
    offset = check_real("offset", offset)
    if rounds.is_exact:
        return Estimate(float(np.trace(form_matrix(apply, rounds.n))) + offset, 0.0, rounds.n)
    rng = check_random_state(random_state)
    estimate, converged = rounds.run(apply, rng.standard_normal, leave_one_out_traces, offset)
    if not converged:
        warn(rounds.missed_message("trace", estimate))
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
        Norm of the standard errors to reach, relative to that of the diagonal.
    atol : float, default=0.0
        Absolute norm of the standard errors to reach; the larger of the two limits applies.
    offset : float, default=0.0
        A multiple of the identity that `apply` leaves out. It is added to the value. What is left
        should be small or of low rank.
    n_products : int, default=None
        Products of the first round, at least 4, from which each round doubles them. None means 32,
        or `max_products` if that is less.
    max_products : int, default=512
        Maximum number of products, at least 4. If it is at least n, or n is at most 64, the
        diagonal is computed with n products.
    random_state : int, RandomState, Generator or None, default=None
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
        A parameter is outside its range, or `apply` does not return finite real numbers of the
        right shape.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The standard errors are too large after `max_products` products.

    Notes
    -----
    The norm of all standard errors is that of the error up to a factor of 1.5; usually too small.

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
    _check_apply(apply)
    rounds = AdaptiveRounds(n, rtol, atol, n_products, max_products)
    offset = check_real("offset", offset)
    if rounds.is_exact:
        diagonal = form_matrix(apply, rounds.n).diagonal()
        return Estimate(diagonal + offset, np.zeros(rounds.n), rounds.n)
    rng = check_random_state(random_state)

    def draw_signs(shape):
        return rng.choice([-1.0, 1.0], shape)

    estimate, converged = rounds.run(apply, draw_signs, leave_one_out_diagonals, offset)
    if not converged:
        warn(rounds.missed_message("diagonal", estimate))
    return estimate


class AdaptiveRounds:
    """Rounds of products, each as many as all before, until the standard error is small enough.

    Parameters
    ----------
    n, rtol, atol, n_products, max_products
        As in `xtrace`.

    Attributes
    ----------
    is_exact : bool
        Whether the matrix is formed from n products, with nothing to estimate.
    """

    def __init__(self, n, rtol, atol, n_products, max_products):
        self.n = check_integer("n", n, 1)
        self.rtol, self.atol = check_real("rtol", rtol, 0), check_real("atol", atol, 0)
        self.limit = check_integer("max_products", max_products, 4)
        if n_products is None:
            n_products = min(POLICY.first_products, self.limit)
        self.first = check_integer("n_products", n_products, 4, self.limit)
        self.is_exact = self.n <= max(self.limit, POLICY.max_formed)

    def run(self, apply, draw, leave_one_out, offset=0.0):
        """Estimate round by round.

        Parameters
        ----------
        apply : callable
            As in `xtrace`.
        draw : callable
            ``draw((n, k))`` returns random vectors.
        leave_one_out : callable
            ``leave_one_out(sketch)`` returns an estimate for each random vector, of shape
            (n_vectors,) or (n, n_vectors).
        offset : float
            Added to the mean of these.

        Returns
        -------
        estimate : Estimate
        converged : bool
        """
        sketch, n_vectors = _Sketch(apply, self.n), self.first // 2
        while n_vectors > 0:
            sketch.add(draw((self.n, n_vectors)))
            values = leave_one_out(sketch)
            value = np.mean(values, axis=-1) + offset
            error = np.std(values, axis=-1, ddof=1) / math.sqrt(sketch.n_vectors)
            if np.linalg.norm(error) <= max(self.rtol * np.linalg.norm(value), self.atol):
                return Estimate(_plain(value), _plain(error), sketch.n_products), True
            n_vectors = min(sketch.n_vectors, (self.limit - sketch.n_products) // 2)
        return Estimate(_plain(value), _plain(error), sketch.n_products), False

    def missed_message(self, what, estimate):
        """Return the text of the warning that an estimate is not accurate enough."""
        error, size = np.linalg.norm(estimate.standard_error), np.linalg.norm(estimate.value)
        relative = f"{error / size:.2e} relative to the value" if size > 0 else f"{error:.2e}"
        wanted = f"rtol={self.rtol:.3g}" + (f" or atol={self.atol:.2g}" if self.atol > 0 else "")
        return (
            f"The standard error of the {what} is {relative} after {estimate.n_products} products, "
            f"but {wanted} was asked for. Raise max_products (now {self.limit}) or rtol."
        )


class _Sketch:
    """O, Y, Q and Z of the table above, to which random vectors are added."""

    def __init__(self, apply, n):
        self._apply = apply
        self._eps = np.finfo(np.float64).eps  # of the products: float32 is possible
        self.O = self.Y = self.Q = self.Z = np.empty((n, 0))

    @property
    def n_vectors(self):
        """Number of random vectors, k."""
        return self.O.shape[1]

    @property
    def n_products(self):
        """Vectors that A was multiplied with."""
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
        """Return S, of shape (r, k): unit vectors, or zeros where nothing is lost.

        With R = U D V^T, the rows of R^+ = V D^-1 U^T are the columns of U D^-1 V^T.
        """
        R = self.Q.T @ self.Y
        if len(R) == 0:
            return R
        U, sizes, Vt = np.linalg.svd(R, full_matrices=False)
        S = (U / np.maximum(sizes / sizes[0], np.finfo(np.float64).eps)) @ Vt
        S /= np.maximum(np.linalg.norm(S, axis=0), np.finfo(np.float64).tiny)
        # The leverage of column i, the squared norm of row i of V, is 1 if and only if the column
        # is not in the span of the others.
        return S * (np.einsum("ij,ij->j", Vt, Vt) > 1 - POLICY.leverage_rounding)

    def project_out(self, S):
        """Return (I - P_i) o_i and A (I - P_i) o_i by columns, both of shape (n, k).

        P_i o_i = Q x_i with x_i = (I - s_i s_i^T) Q^T o_i, and A Q = Z.
        """
        X = self.Q.T @ self.O
        X -= S * np.einsum("ij,ij->j", S, X)
        return self.O - self.Q @ X, self.Y - self.Z @ X

    def _multiply(self, vectors):
        product = _checked_product(self._apply, np.ascontiguousarray(vectors))
        self._eps = max(self._eps, np.finfo(product.dtype).eps)
        return product.astype(np.float64, copy=False)


def _new_directions(Y, Q, tolerance):
    """Return an orthonormal basis of what the columns of Y (n, k) add to the span of Q (n, r)."""
    new, R, _ = scipy.linalg.qr(Y - Q @ (Q.T @ Y), mode="economic", pivoting=True)
    new = new[:, np.abs(R.diagonal()) > tolerance]
    if new.shape[1] == 0:
        return new
    # If little was left of a column, much of that is rounding, which may lie in the span of Q.
    return np.linalg.qr(new - Q @ (Q.T @ new))[0]


def leave_one_out_traces(sketch):
    """Return the trace estimated with each vector and the basis of the others, (n_vectors,).

    Since I = P_i + (I - P_i), and by the cyclic property of the trace,

        tr A = tr(Q_i^T A Q_i) + tr((I - P_i) A (I - P_i)).

    The first term is computed: tr(Q^T A Q) - s_i^T (Q^T A Q) s_i = tr H - s_i^T H s_i.

    The second is m times the mean of v^T A v over unit vectors v in the range of I - P_i, of
    dimension m = n - rank(Q_i) = n - r + 1, or n - r if s_i = 0. The direction of
    w_i = (I - P_i) o_i is uniform there, since o_i is normal and P_i independent of it: m w_i^T A
    w_i / w_i^T w_i. Dividing by the squared norm, rather than by its mean m, takes out most of the
    variance where the spectrum is flat (the normalization of the paper).
    """
    S = sketch.directions_lost()
    H = sketch.Q.T @ sketch.Z
    inside = np.trace(H) - np.einsum("ij,ij->j", S, H @ S)
    W, AW = sketch.project_out(S)
    m = len(sketch.Q) - sketch.Q.shape[1] + S.any(axis=0)
    squares = np.einsum("ij,ij->j", W, W)
    return inside + m * np.einsum("ij,ij->j", W, AW) / squares


def leave_one_out_diagonals(sketch):
    """Return the diagonal estimated with each vector and the basis of the others, (n, n_vectors).

    For every projection P = P_i,

        A = P A + A P - P A P + (I - P) A (I - P).

    The first three terms are computed. With u = Q s_i, so that P = Q Q^T - u u^T, and with A Q = Z:

        P A    = Q Z^T - u (A u)^T,          A u = Z s_i,
        P A P  = Q H Q^T - (Q H s_i) u^T - u (Q H s_i)^T + (s_i^T H s_i) u u^T.

    By symmetry A P has the diagonal of P A, so that of the sum is that of 2 Q Z^T - Q H Q^T, less
    2 u (A u), plus 2 u (Q H s_i), less (s_i^T H s_i) u^2, all products entry by entry.

    The diagonal of the last term is estimated by o_i times (I - P) A (I - P) o_i, entry by entry:
    for random signs the mean of o o^T is the identity. The paper projects from the left only.
    """
    Q, Z, S = sketch.Q, sketch.Z, sketch.directions_lost()
    H = Q.T @ Z
    U, AU, HS = Q @ S, Z @ S, H @ S
    inside = np.einsum("ij,ij->i", Q, 2 * Z - Q @ H)[:, None] - 2 * U * AU
    inside += 2 * U * (Q @ HS) - U**2 * np.einsum("ij,ij->j", S, HS)
    _, outside = sketch.project_out(S)  # A (I - P_i) o_i
    X = Q.T @ outside
    outside -= Q @ (X - S * np.einsum("ij,ij->j", S, X))
    return inside + sketch.O * outside


def form_matrix(apply, n):
    """Return the matrix itself, (n, n) in float64, from n products."""
    return _checked_product(apply, np.eye(n)).astype(np.float64, copy=False)


def _check_apply(apply):
    if not callable(apply):
        got = f"a {type(apply).__name__}"
        raise parameter_error("apply", "a function", got=got, kind=TypeError)


def _plain(number):
    """Return a NumPy scalar as a float, and an array as it is."""
    return float(number) if np.ndim(number) == 0 else number


def _checked_product(apply, B):
    """Return apply(B) in floating point, of the shape of B; raise ValueError if it is not that."""
    product = np.asarray(apply(B))
    if product.shape != B.shape:
        allowed = f"a function that returns shape {B.shape} for vectors of that shape"
        raise parameter_error("apply", allowed, got=f"shape {product.shape}")
    if product.dtype.kind not in "fiub":
        allowed = "a function that returns real numbers"
        raise parameter_error("apply", allowed, got=f"dtype {product.dtype}")
    if not np.isfinite(product).all():
        allowed = "a function that returns finite numbers"
        raise parameter_error("apply", allowed, got="NaN or infinity")
    return product if product.dtype.kind == "f" else product.astype(np.float64)
