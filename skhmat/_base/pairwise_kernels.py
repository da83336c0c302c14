"""Kernel matrices of the kernels that scikit-learn names."""

import math
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels

from .._utils.validation import (
    check_numbers,
    check_per_feature,
    errors_name,
    is_sequence,
    parameter_error,
)
from ..linalg import KernelMatrix
from ..linalg._kernels.sparse_rows import SPARSE_KERNELS, SparseKernel, SparseRows

# Kernels that scikit-learn has as kernels of Gaussian processes alone.
MATERN_KERNELS = ("matern12", "matern32", "matern52")
KERNEL_NAMES = frozenset(PAIRWISE_KERNEL_FUNCTIONS) | set(MATERN_KERNELS)
# Kernels of `KernelMatrix` that are functions of gamma times the squared distance.
_RADIAL = {"rbf": "gaussian"} | {name: name for name in MATERN_KERNELS}
# Functions of a distance, in which each feature may have its own gamma.
FEATURE_KERNELS = ("rbf", *MATERN_KERNELS, "laplacian")


def check_gamma(gamma, kernel, n_features, name="gamma"):
    """Return a gamma as given if it is a number or None, and one for each feature as an array.

    Parameters
    ----------
    gamma : float, array-like of shape (n_features,) or None
    kernel : str or callable
    n_features : int
    name : str
        What errors call it.

    Returns
    -------
    gamma : float, ndarray of shape (n_features,), float64, read-only, or None
    """
    if gamma is None or isinstance(gamma, (Real, str)):
        return gamma
    if not is_sequence(gamma):
        # An array of shape (), or what only looks like an array to scikit-learn, such as a set.
        number = float(check_numbers(name, gamma))
        if not 0 <= number < math.inf:
            raise parameter_error(name, "a number of at least 0 or one for each feature", gamma)
        return number
    if kernel not in FEATURE_KERNELS:
        names = ", ".join(map(repr, FEATURE_KERNELS))
        allowed = f"a number or None where kernel is {kernel!r}, and not one of {names}"
        raise parameter_error(name, allowed, got="an array")
    return check_per_feature(name, gamma, n_features)


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
    """A kernel that scikit-learn evaluates, block by block; picklable.

    Features are multiplied by `factors`, of shape (d,), before, if there are any.
    """

    def __init__(self, metric, parameters, factors=None):
        self.metric, self.parameters, self.factors = metric, parameters, factors

    def __call__(self, A, B):
        """Return the block of points A (m, d) and B (n, d), of shape (m, n)."""
        # Kernels by name take different parameters; a callable receives those given.
        is_name = isinstance(self.metric, str)
        # What a callable raises or returns is the user's to mend.
        with np.errstate(all="ignore") if is_name else errors_name("kernel"):
            if self.factors is not None:
                A, B = self._scaled(A), self._scaled(B)
            block = pairwise_kernels(
                A, B, metric=self.metric, filter_params=is_name, **self.parameters
            )
        if is_name and not np.isfinite(block).all():
            raise self._not_finite(block)
        return block

    def _scaled(self, points):
        scaled = points * self.factors
        if not np.isfinite(scaled).all():
            allowed = "such that features times gamma do not overflow"
            raise parameter_error("X", allowed, got=f"gamma up to {self.factors.max():.3g}")
        return scaled

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
        gamma = 1 / (2 l²), like "rbf". Gamma may be one number for each feature for the kernels in
        `FEATURE_KERNELS`: "rbf" is exp(-sum of gamma_j (x_j - y_j)^2), and "laplacian"
        exp(-sum of gamma_j |x_j - y_j|).
    kernel_params : dict or None
        Parameters of a callable.
    n_jobs : int or None
    """
    if isinstance(kernel, type):
        raise parameter_error("kernel", "a name or a function of two points", kernel)
    gamma = check_gamma(gamma, kernel, X.shape[1])
    if isinstance(X, SparseRows) or sparse.issparse(X):
        points = X if isinstance(X, SparseRows) else SparseRows(X)
        return KernelMatrix(points, SparseKernel(kernel, gamma, degree, coef0), n_jobs=n_jobs)
    if callable(kernel):
        return KernelMatrix(X, _Pairwise(kernel, dict(kernel_params or {})), n_jobs=n_jobs)
    if np.ndim(gamma) == 1:
        if kernel in _RADIAL:
            bandwidth = math.sqrt(0.5) / np.sqrt(gamma)
            return KernelMatrix(X, _RADIAL[kernel], bandwidth=bandwidth, n_jobs=n_jobs)
        parameters = {"gamma": 1.0, "degree": degree, "coef0": coef0}
        return KernelMatrix(X, _Pairwise(kernel, parameters, factors=gamma), n_jobs=n_jobs)
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
