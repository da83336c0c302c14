"""Start vectors of eigensolvers."""

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from .._hierarchical.product import HierarchicalOperator
from .drivers import _block_width

# Rows of a subsample, for each vector of the block that starts from it, and at least.
_SAMPLED_PER_VECTOR, _LEAST_SAMPLE = 30, 500


def _start_block(v0, n, random_state, A, k, which):
    """Return start vectors in float64, of shape (n, b)."""
    if v0 is None:
        return check_random_state(random_state).standard_normal((n, 1))
    if isinstance(v0, str):
        return _nystroem_block(v0, n, random_state, A, _block_width(k), which)
    v0 = np.asarray(v0)
    if v0.ndim not in (1, 2) or len(v0) != n or 0 in v0.shape:
        raise ValueError(f"v0 has shape {v0.shape}; it must have shape ({n},) or ({n}, b).")
    if v0.dtype.kind not in "fiub" or not np.isfinite(v0).all() or not v0.any():
        raise ValueError("v0 is zero, complex or not finite; it must be real vectors, not zero.")
    return v0.reshape(n, -1).astype(np.float64)


def _nystroem_block(v0, n, random_state, A, width, which):
    """Extend the largest eigenvectors of a subsample of a matrix that has entries."""
    if v0 != "nystroem":
        raise ValueError(f"v0 is {v0!r}; allowed are None, an array and 'nystroem'.")
    if which != "LA":
        raise ValueError(f"v0 is 'nystroem', which starts 'LA', but which={which!r}.")
    block = _entries_of(A)
    size = min(n, max(_LEAST_SAMPLE, _SAMPLED_PER_VECTOR * width))
    chosen = np.sort(check_random_state(random_state).permutation(n)[:size])
    vectors = np.linalg.eigh(block(chosen, chosen).astype(np.float64))[1]
    return block(np.arange(n), chosen) @ vectors[:, : -1 - min(width, size) : -1]


def _entries_of(A):
    """Return a function that gives blocks of entries, or raise TypeError."""
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
    raise TypeError(
        f"v0 is 'nystroem', which needs entries, but A is a {type(A).__name__} that has none."
    )
