"""Preconditioners of iterations with a hierarchical matrix."""

import warnings

import numpy as np
from scipy.sparse.linalg import LinearOperator
from sklearn.exceptions import ConvergenceWarning

from .._cholesky.randomly_pivoted import pivoted_cholesky
from .._cholesky.woodbury import CholeskyPreconditioner
from .._compress import compress
from .._hierarchical.ulv import NotDefiniteError, factorize, is_hss

# A matrix of up to this size that does not compress is factorized densely: 0.8 GB in float32.
MAX_DENSE = 20_000
# Promise of the HSS form that preconditions a matrix in another format.
_HSS_RTOL = 1e-2
# Columns of a pivoted Cholesky preconditioner: at least so many, and one for so many rows, as long
# as they have no more entries than that: 0.8 GB.
_MIN_RANK, _ROWS_PER_COLUMN, _MAX_ENTRIES = 500, 10, 100_000_000
# A preconditioner's shift is raised until it is definite, by this multiple of what is missing.
_RAISE = 1.5


def definite_factorization(H, shift):
    """Factorize H + (shift + s) I with an s >= 0 that makes it definite; for preconditioners only.

    What a compressed matrix is off by may be more than the shift. An exact one is factorized in
    float32, and only where its rounding is more than the shift in float64.

    Returns
    -------
    F : Factorization
    raised : float
        s.
    """
    if H.is_dense:
        try:
            return factorize(H, shift, np.float32), 0.0
        except NotDefiniteError:
            pass
    raised = 0.0
    while True:
        try:
            return factorize(H, shift + raised), raised
        except NotDefiniteError as error:
            raised = max(raised - _RAISE * error.eigenvalue, 4 * raised)


def make_preconditioner(H, operator, shift, preconditioner, random_state=None):
    """Make an approximate inverse of the operator plus shift I that is positive definite.

    Returns
    -------
    M : LinearOperator or None
    raised : float
        What was added to the shift for that.
    """
    if preconditioner is None or isinstance(preconditioner, LinearOperator):
        return preconditioner, 0.0
    size = np.abs(shift)
    if preconditioner in ("auto", "hierarchical"):
        hss = hss_form(H, must=preconditioner == "hierarchical")
        if hss is not None:
            return definite_factorization(hss, size)
    source = _source(H, operator)
    if np.min(size) == 0 or source is None:
        return None, 0.0
    options = {"random_state": random_state, "n_jobs": H._n_jobs}
    try:
        low_rank = pivoted_cholesky(source, _cholesky_rank(H.shape[0]), **options)
    except np.linalg.LinAlgError:  # not semidefinite
        if preconditioner == "cholesky":
            raise
        return None, 0.0
    return _cholesky_preconditioner(low_rank, size, H._n_jobs), 0.0


def _cholesky_rank(n):
    return min(n, max(_MIN_RANK, n // _ROWS_PER_COLUMN), max(_MAX_ENTRIES // n, 1))


def _cholesky_preconditioner(low_rank, shift, n_jobs):
    if np.ndim(shift) == 0:
        return CholeskyPreconditioner(low_rank, shift, n_jobs)
    root = np.sqrt(shift)[:, np.newaxis]
    scaled = CholeskyPreconditioner(low_rank.factor / root, 1.0, n_jobs)
    return LinearOperator(
        scaled.shape,
        matvec=lambda v: (scaled @ (v.reshape(-1, 1) / root) / root).ravel(),
        matmat=lambda V: scaled @ (V / root) / root,
        dtype=scaled.dtype,
    )


def _source(H, operator):
    """Return what has the entries of the matrix, or None."""
    if hasattr(operator, "block"):
        return operator
    return None if H._entries is None else H._entries.as_given()


def hss_form(H, must=False):
    """Return H, or where it cannot be factorized a rough compression that can.

    Returns
    -------
    hss : HierarchicalMatrix or None
        None where that would be a large dense matrix.
    """
    if can_factorize(H):
        return H
    if not H.is_dense and H._entries is not None:
        rough = _rough_hss(H)
        if can_factorize(rough):
            return rough
    if must:
        why = (
            "has near pairs off the diagonal and was loaded without its entries"
            if H._entries is None
            else f"does not compress to the HSS format, and has more than {MAX_DENSE} rows"
        )
        raise ValueError(
            f"preconditioner is 'hierarchical', but this matrix {why}. Use preconditioner=None or "
            "'cholesky', or compress with budget=0."
        )
    return None


def can_factorize(H):
    """Tell whether a matrix can be factorized with reasonable memory."""
    return is_hss(H) or (H.is_dense and H.shape[0] <= MAX_DENSE)


def _rough_hss(H):
    """Compress the same entries to the HSS format, once."""
    if H._hss is None:
        given = H.report_.parameters
        options = {name: given[name] for name in ("leaf_size", "n_neighbors", "distance")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the iteration makes up for it
            H._hss = compress(
                *(H._entries.source, max(_HSS_RTOL, H.report_.rtol)),
                **{**options, "budget": 0, "n_jobs": H._n_jobs, "random_state": 0},
            )
    return H._hss
