"""Start vectors of eigensolvers."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..._utils.validation import check_random_state, parameter_error
from .._hierarchical.product import HierarchicalOperator


@dataclass(frozen=True)
class StartPolicy:
    """The size of the subsample that the start "nystroem" decomposes.

    Attributes
    ----------
    rows_per_vector : int
        Rows for each vector of the block.
    min_rows : int
        Smallest number of rows.
    """

    rows_per_vector: int = 30
    min_rows: int = 500


POLICY = StartPolicy()


def start_block(v0, n, A, width, which, random_state, *, policy=POLICY):
    """Return the start vectors that `v0` of `eigsh` stands for.

    Parameters
    ----------
    v0 : array-like of shape (n,) or (n, b), "nystroem" or None
    n : int
    A : HierarchicalMatrix, LinearOperator, array-like or sparse matrix of shape (n, n)
    width : int
        Vectors of a block that is made from a subsample.
    which : str
        Eigenvalues that are wanted, as in `eigsh`.
    random_state : int, RandomState, Generator or None
    policy : StartPolicy

    Returns
    -------
    V : ndarray of shape (n, b), float64
    """
    if v0 is None:
        return check_random_state(random_state).standard_normal((n, 1))
    if isinstance(v0, str):
        if v0 != "nystroem":
            raise parameter_error("v0", "None, an array or 'nystroem'", v0)
        if which != "LA":
            raise parameter_error("which", "'LA' where v0 is 'nystroem'", which)
        return _nystroem_block(A, n, width, random_state, policy)
    v0 = np.asarray(v0)
    if v0.ndim not in (1, 2) or len(v0) != n or 0 in v0.shape:
        raise parameter_error("v0", f"of shape ({n},) or ({n}, b)", got=f"shape {v0.shape}")
    if v0.dtype.kind not in "fiub":
        raise parameter_error("v0", "real", got=f"dtype {v0.dtype}")
    if not np.isfinite(v0).all():
        raise parameter_error("v0", "finite", got="NaN or infinity")
    if not v0.any():
        raise parameter_error("v0", "other than zero", got="zeros")
    return v0.reshape(n, -1).astype(np.float64)


def _nystroem_block(A, n, width, random_state, policy):
    """Extend the largest eigenvectors of a subsample to all rows of a matrix that has entries.

    Let B be the columns of A at the subsample, and U the eigenvectors of its own block. Then the
    columns of B U approximate the directions of the eigenvectors of A (the Nystroem method).
    """
    block = _entries_of(A)
    size = min(n, max(policy.min_rows, policy.rows_per_vector * width))
    chosen = np.sort(check_random_state(random_state).permutation(n)[:size])
    vectors = np.linalg.eigh(block(chosen, chosen).astype(np.float64))[1]
    return block(np.arange(n), chosen) @ vectors[:, : -1 - min(width, size) : -1]


def _entries_of(A):
    """Return a function ``block(rows, cols)``, or raise TypeError."""
    if isinstance(A, (np.ndarray, list, tuple)):
        array = np.asarray(A)
        return lambda rows, cols: array[np.ix_(rows, cols)]
    if sparse.issparse(A):
        rows_of = sparse.csr_matrix(A)
        return lambda rows, cols: rows_of[rows][:, cols].toarray()
    if hasattr(A, "block"):
        return A.block
    if isinstance(A, HierarchicalOperator) and A.form.source is not None:
        return A.form.source.block
    allowed = "a matrix with entries where v0 is 'nystroem'"
    raise parameter_error("A", allowed, got=f"a {type(A).__name__} that has none", kind=TypeError)
