"""Kernel matrices of the kernels that scikit-learn names."""

import math

import numpy as np
from scipy import sparse
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels

from .._utils.validation import errors_name, parameter_error
from ..linalg import KernelMatrix
from ..linalg._kernels.sparse_rows import SPARSE_KERNELS, SparseKernel, SparseRows

# Kernels that scikit-learn has as kernels of Gaussian processes alone.
MATERN_KERNELS = ("matern12", "matern32", "matern52")
KERNEL_NAMES = frozenset(PAIRWISE_KERNEL_FUNCTIONS) | set(MATERN_KERNELS)


def takes_sparse(kernel):
    """Return whether points may be rows of a sparse matrix for a kernel."""
    return isinstance(kernel, str) and kernel in SPARSE_KERNELS


def check_sparse(X, kernel):
    """Raise TypeError where X is sparse and the kernel does not take that."""
    if sparse.issparse(X) and not takes_sparse(kernel):
        names = ", ".join(map(repr, SPARSE_KERNELS))
        allowed = f"dense where kernel is {kernel!r}, and not one of {names}"
        raise parameter_error("X", allowed, got="a sparse matrix", kind=TypeError)


def points_like(X, fitted):
    """Return new points, dense or sparse, as `KernelMatrix.evaluate` takes them for fitted ones.

    Parameters
    ----------
    X : ndarray or csr_matrix of shape (n_new, n_features)
    fitted : ndarray or csr_matrix of shape (n_samples, n_features)

    Returns
    -------
    points : ndarray or SparseRows
    """
    if sparse.issparse(fitted):
        return SparseRows(X)
    return X.toarray() if sparse.issparse(X) else X


def as_matrix(points):
    """Return points, an ndarray or SparseRows, as an ndarray or csr_matrix."""
    return points.matrix if isinstance(points, SparseRows) else points


class _Pairwise:
    """A kernel that scikit-learn evaluates, block by block; picklable."""

    def __init__(self, metric, parameters):
        self.metric, self.parameters = metric, parameters

    def __call__(self, A, B):
        """Return the block of points A (m, d) and B (n, d), of shape (m, n)."""
        # Kernels by name take different parameters; a callable receives those given.
        is_name = isinstance(self.metric, str)
        # What a callable raises or returns is the user's to mend.
        with np.errstate(all="ignore") if is_name else errors_name("kernel"):
            block = pairwise_kernels(
                A, B, metric=self.metric, filter_params=is_name, **self.parameters
            )
        if is_name and not np.isfinite(block).all():
            raise self._not_finite(block)
        return block

    def _not_finite(self, block):
        """Return the error for a named kernel that is NaN or infinite for some points."""
        degree = self.parameters["degree"]
        if np.isnan(block).any() and not float(degree).is_integer():
            allowed = f"an integer where the base of kernel {self.metric!r} may be negative"
            return parameter_error("degree", allowed, degree)
        allowed = f"such that kernel {self.metric!r} is finite"
        return parameter_error("X", allowed, got="NaN or infinity for two samples")


def kernel_matrix(X, kernel, gamma=None, degree=3, coef0=1, kernel_params=None, n_jobs=None):
    """Return scikit-learn's ``pairwise_kernels(X, metric=kernel)`` as a `KernelMatrix`.

    The compiled core evaluates the kernels it knows, scikit-learn all others.

    Parameters
    ----------
    X : ndarray, csr_matrix or SparseRows of shape (n_samples, n_features)
    kernel : str or callable
        A name of `KERNEL_NAMES`, or a function of two points.
    gamma, degree, coef0 : float
        As in `sklearn.kernel_ridge.KernelRidge`. Matérn kernels of the length scale l have
        gamma = 1 / (2 l²), like "rbf".
    kernel_params : dict or None
        Parameters of a callable.
    n_jobs : int or None
    """
    if isinstance(kernel, type):
        raise parameter_error("kernel", "a name or a function of two points", kernel)
    if isinstance(X, SparseRows) or sparse.issparse(X):
        points = X if isinstance(X, SparseRows) else SparseRows(X)
        return KernelMatrix(points, SparseKernel(kernel, gamma, degree, coef0), n_jobs=n_jobs)
    if callable(kernel):
        return KernelMatrix(X, _Pairwise(kernel, dict(kernel_params or {})), n_jobs=n_jobs)
    factor = 1.0 / X.shape[1] if gamma is None else float(gamma)
    if kernel == "rbf" and 0 < factor < math.inf:
        return KernelMatrix(X, "gaussian", bandwidth=math.sqrt(0.5 / factor), n_jobs=n_jobs)
    if kernel in MATERN_KERNELS:
        if not 0 < factor < math.inf:
            raise parameter_error("gamma", f"above 0 and finite for kernel {kernel!r}", gamma)
        return KernelMatrix(X, kernel, bandwidth=math.sqrt(0.5 / factor), n_jobs=n_jobs)
    is_power = float(degree).is_integer() and degree >= 1
    if kernel in ("poly", "polynomial") and is_power and factor > 0 and coef0 >= 0:
        options = {"gamma": factor, "coef0": float(coef0), "degree": int(degree)}
        return KernelMatrix(X, "polynomial", **options, n_jobs=n_jobs)
    if kernel in ("linear", "cosine"):
        return KernelMatrix(X, kernel, n_jobs=n_jobs)
    parameters = {"degree": degree, "coef0": coef0}
    if gamma is not None:
        parameters["gamma"] = gamma
    return KernelMatrix(X, _Pairwise(kernel, parameters), n_jobs=n_jobs)
