"""Operators that callers give, and how many threads BLAS has while they are used."""

from functools import wraps

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from ..._utils.blas import callers_blas
from ..._utils.parallel import blas_budget, multiply
from ..._utils.validation import check_operator
from .base import SymmetricOperator


def as_operator(name, A):
    """Check a real symmetric operator, array or sparse matrix, and return it as an operator."""
    A = check_operator(name, A)
    matrix = getattr(A, "A", None)
    if isinstance(A, SymmetricOperator) or sparse.issparse(matrix):
        return A
    return GivenOperator(A, matrix if isinstance(matrix, np.ndarray) else None)


def with_callers_threads(A):
    """Return an operator of the caller's, or None, so that its products have those threads."""
    return A if A is None or isinstance(A, SymmetricOperator) else GivenOperator(A)


class GivenOperator(LinearOperator):
    """An operator of the caller's, whose products may use as many threads as `n_jobs` allows.

    Parameters
    ----------
    A : LinearOperator of shape (n, n)
    array : ndarray of shape (n, n) or None
        The entries, where A is made of an array: then products are ours.
    """

    def __init__(self, A, array=None):
        super().__init__(A.dtype, A.shape)
        self._A, self._array = A, array

    def _matvec(self, x):
        if self._array is not None:
            return self._matmat(x.reshape(-1, 1)).reshape(x.shape)
        with callers_blas():
            return self._A.matvec(x)

    def _matmat(self, W):
        if self._array is not None:
            return multiply(self._array, W)
        with callers_blas():
            return self._A.matmat(W)

    def _adjoint(self):
        return self._A.adjoint()

    def _transpose(self):
        return self._A.transpose()


def _n_jobs_of(A):
    """Return the `n_jobs` of a kernel matrix or a hierarchical one, and None for all others."""
    is_ours = isinstance(A, SymmetricOperator)
    return getattr(getattr(A, "form", A), "n_jobs", None) if is_ours else None


def budgeted_function(function):
    """Decorate a function of an operator: BLAS obeys the operator's `n_jobs` meanwhile."""

    @wraps(function)
    def wrapper(A, *args, **kwargs):
        with blas_budget(_n_jobs_of(A)):
            return function(A, *args, **kwargs)

    return wrapper
