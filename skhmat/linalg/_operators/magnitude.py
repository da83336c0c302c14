"""Matrices whose entries are so large or so small that squares of them overflow or vanish."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .base import SymmetricOperator
from .wrappers import ScaledOperator

# Powers of two that are not large: squares have the range of float32, and limits of eigensolvers
# that are absolute, as ARPACK's eps^(2/3) for eigenvalues, are small.
_MAX_EXPONENT = 32


def unit_exponent(A, operator):
    """Return an even e such that A / 2**e has entries of about 1.

    It is 0 where these are not far from 1 anyway.

    Parameters
    ----------
    A : ndarray, sparse matrix or LinearOperator of shape (n, n)
    operator : LinearOperator
        The same. It makes one product where A is an operator that does not tell its diagonal.

    Returns
    -------
    exponent : int
    """
    return large_exponent(_largest(A, operator))


def large_exponent(size):
    """Return an even e such that size / 2**e is about 1, or 0 if that is a small number."""
    exponent = 2 * (int(np.frexp(size)[1]) // 2)  # 0 for infinity and NaN
    return exponent if abs(exponent) > _MAX_EXPONENT else 0


def divide(A, exponent):
    """Return A / 2**exponent, without rounding unless entries vanish.

    Parameters
    ----------
    A : ndarray, sparse matrix or LinearOperator of shape (n, n)
    exponent : int
        Even.
    """
    factor = 2.0 ** (-exponent // 2)  # its square may be out of range
    if isinstance(A, LinearOperator):
        return ScaledOperator(A, np.full(A.shape[0], factor))
    # In the dtype that operators have.
    A = A.astype(np.float32 if A.dtype in (np.float16, np.float32) else np.float64)
    return A * A.dtype.type(factor) * A.dtype.type(factor)


def _largest(A, operator):
    """Return about the largest magnitude of an entry."""
    if sparse.issparse(A):
        return _largest_of_array(A.tocsr().data)
    if not isinstance(A, LinearOperator):
        return _largest_of_array(A)
    largest = 0.0
    if isinstance(A, SymmetricOperator) and hasattr(A, "diagonal"):
        largest = _largest_of_array(A.diagonal())
    if largest == 0:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], A.shape[0])
        largest = _largest_of_array(np.asarray(operator @ signs))
    return largest


def _largest_of_array(array):
    return max(float(array.max(initial=0)), -float(array.min(initial=0)))
