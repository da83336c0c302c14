"""Preconditioners: approximate inverses of a hierarchical matrix, or of the one it compresses."""

import warnings
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse.linalg import LinearOperator
from sklearn.exceptions import ConvergenceWarning

from ..._utils.errors import NotPositiveDefiniteError
from ..._utils.validation import check_preconditioner, parameter_error
from .._cholesky.randomly_pivoted import pivoted_cholesky
from .._cholesky.woodbury import CholeskyPreconditioner
from .._hierarchical.ulv import factorize

NAMES = ("auto", "hierarchical", "cholesky")


@dataclass(frozen=True)
class PreconditionerPolicy:
    """Which preconditioner "auto" chooses, and how accurate it is.

    Attributes
    ----------
    max_dense : int
        Rows up to which a matrix that does not compress is factorized densely: 0.8 GB in float32.
    hss_rtol : float
        Tolerance of the HSS compression that preconditions a matrix in another format.
    min_rank : int
        Smallest number of columns of a pivoted Cholesky factor.
    rows_per_column : int
        Rows of the matrix for each column of that factor, if this gives more columns.
    max_entries : int
        Largest number of entries of that factor, 0.8 GB; overrides the two above.
    shift_growth : float
        The shift is raised until the matrix is definite, each time by this multiple of the
        magnitude of the negative eigenvalue found.
    """

    max_dense: int = 20_000
    hss_rtol: float = 1e-2
    min_rank: int = 500
    rows_per_column: int = 10
    max_entries: int = 100_000_000
    shift_growth: float = 1.5

    def cholesky_rank(self, n):
        """Return the number of columns of a pivoted Cholesky factor of a matrix with n rows."""
        return min(n, max(self.min_rank, n // self.rows_per_column), max(self.max_entries // n, 1))


POLICY = PreconditionerPolicy()

# The rough HSS compression of each form in another format, for as long as that form is in use:
# solves with other right-hand sides and shifts share it. Not an attribute of the form, which never
# changes, is pickled, and knows nothing of solvers.
_ROUGH = WeakKeyDictionary()


def check_preconditioner_of_solve(preconditioner, n, shift):
    """Return a preconditioner's name, or a LinearOperator of the right shape, or None."""
    if isinstance(preconditioner, LinearOperator):
        return check_preconditioner(preconditioner, n)
    is_name = isinstance(preconditioner, str) and preconditioner in NAMES
    if preconditioner is not None and not is_name:
        allowed = "'auto', 'hierarchical', 'cholesky', None or a LinearOperator"
        raise parameter_error("preconditioner", allowed, preconditioner)
    if preconditioner == "cholesky" and np.min(np.abs(shift)) == 0:
        raise ValueError("preconditioner is 'cholesky', which needs a shift other than 0.")
    return preconditioner


def make_preconditioner(H, operator, shift, preconditioner, random_state=None, policy=POLICY):
    """Make a positive definite approximate inverse of the operator plus shift I.

    Parameters
    ----------
    H : HierarchicalOperator
    operator : LinearOperator
        The matrix of the system: H itself, or the matrix that it compresses.
    shift : float or ndarray of shape (n,)
    preconditioner : {"auto", "hierarchical", "cholesky", None} or LinearOperator
    random_state : int, RandomState, Generator or None
    policy : PreconditionerPolicy

    Returns
    -------
    M : LinearOperator or None
    raised : float
        What was added to the shift to make the factorized matrix definite.
    """
    if preconditioner is None or isinstance(preconditioner, LinearOperator):
        return preconditioner, 0.0
    size = np.abs(shift)
    if preconditioner in ("auto", "hierarchical"):
        factorizable = find_factorizable(H, policy)
        if factorizable is not None:
            return definite_factorization(factorizable, size, policy)
        if preconditioner == "hierarchical":
            raise _not_factorizable(H, policy)
    source = _source(H, operator)
    if np.min(size) == 0 or source is None:
        return None, 0.0
    rank, n_jobs = policy.cholesky_rank(H.shape[0]), H.form.n_jobs
    try:
        low_rank = pivoted_cholesky(source, rank, random_state=random_state, n_jobs=n_jobs)
    except np.linalg.LinAlgError:  # not semidefinite
        if preconditioner == "cholesky":
            raise
        return None, 0.0
    return _cholesky_preconditioner(low_rank, size, n_jobs), 0.0


def definite_factorization(H, shift, policy=POLICY):
    """Factorize H + (shift + s) I with an s >= 0 that makes it definite; for preconditioners only.

    K~ has eigenvalues down to -||K~ - K||_2, so the shift alone need not make it definite. An exact
    matrix is factorized in float32, and in float64 if rounding to float32 made it indefinite.

    Returns
    -------
    F : Factorization
    raised : float
        s.
    """
    if H.is_dense:
        try:
            return factorize(H, shift, np.float32), 0.0
        except NotPositiveDefiniteError:
            pass
    raised = 0.0
    while True:
        try:
            return factorize(H, shift + raised), raised
        except NotPositiveDefiniteError as error:
            raised = max(raised - policy.shift_growth * error.eigenvalue_bound, 4 * raised)


def find_factorizable(H, policy=POLICY):
    """Return H if it can be factorized, otherwise a rough compression of it that can.

    Returns
    -------
    factorizable : HierarchicalOperator or None
        In the HSS format, or dense and small; None if H has no such compression.
    """
    if can_factorize(H, policy):
        return H
    if not H.is_dense and H.form.recompress is not None:
        rough = _rough_hss(H.form, policy)
        if can_factorize(rough, policy):
            return rough
    return None


def _not_factorizable(H, policy):
    """Return the exception to raise where "hierarchical" was asked for in vain."""
    why = (
        "has near pairs off the diagonal and was loaded without its entries"
        if H.form.entries is None
        else f"does not compress to the HSS format, and has more than {policy.max_dense} rows"
    )
    return ValueError(
        f"preconditioner is 'hierarchical', but this matrix {why}. Use preconditioner=None or "
        "'cholesky', or compress with budget=0."
    )


def can_factorize(H, policy=POLICY):
    """Return whether a matrix can be factorized in reasonable memory."""
    return H.form.is_hss or (H.is_dense and H.shape[0] <= policy.max_dense)


def _rough_hss(form, policy):
    """Compress the same entries to the HSS format, once."""
    if form not in _ROUGH:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a preconditioner may be rough
            rtol = max(policy.hss_rtol, form.report.rtol)
            _ROUGH[form] = form.recompress(rtol=rtol, budget=0, n_jobs=form.n_jobs, random_state=0)
    return _ROUGH[form]


def _source(H, operator):
    """Return an object that gives the entries of the matrix, or None."""
    if hasattr(operator, "block"):
        return operator
    return None if H.form.entries is None else H.form.entries.as_given()


def _cholesky_preconditioner(low_rank, shift, n_jobs):
    """Return (F F^T + D)^-1 for D = diag(shift).

    With G = D^(-1/2) F this is D^(-1/2) (G G^T + I)^-1 D^(-1/2), a case with the single shift 1.
    """
    if np.ndim(shift) == 0:
        return CholeskyPreconditioner(low_rank, shift, n_jobs)
    root = np.sqrt(shift)[:, np.newaxis]
    scaled = replace(low_rank, factor=low_rank.factor / root)
    scaled = CholeskyPreconditioner(scaled, 1.0, n_jobs)
    return LinearOperator(
        scaled.shape,
        matvec=lambda v: (scaled @ (v.reshape(-1, 1) / root) / root).ravel(),
        matmat=lambda V: scaled @ (V / root) / root,
        dtype=scaled.dtype,
    )
