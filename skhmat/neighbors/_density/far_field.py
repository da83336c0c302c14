"""Sums of kernels of densities by the far field of compressed kernel matrices."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ...linalg._kernels.matrix import KernelMatrix

# Errors are larger by no more than this factor than those that are seen.
_SAFETY = 2.0
# Sums that are also taken one by one.
_N_MEASURED = 512
# Their tolerance, as a part of that of the sums, and the largest one.
_RTOL, _LARGEST_RTOL = 0.3, 0.1
# Sums of which nothing has underflowed.
_LEAST = 1e-200


def far_log_sums(Y, X, kernel, weights, compress, leaf_size, rng, n_jobs=None):
    """Return logarithms of sums by a far field, and where they are to be had in another way.

    The kernel matrix of all points, old and new, is compressed twice, with different samples and
    leaves. The largest difference of the two products, and the largest error of some sums, is what
    any sum may be off by; sums that are not far enough above it are left to the caller.

    Parameters
    ----------
    Y : ndarray of shape (n, d)
    X : ndarray of shape (m, d)
    kernel : DensityKernel
        Gaussian or exponential.
    weights : ndarray of shape (n,) or None
    compress : callable
        ``compress(K, rtol=..., leaf_size=..., random_state=...)`` returns a HierarchicalMatrix.
    leaf_size : int
    rng : numpy.random.RandomState
    n_jobs : int or None

    Returns
    -------
    logs : ndarray of shape (m,)
    rough : ndarray of int
        Rows whose sum is too small beside the error; all of them where compression does not pay.
    """
    n, nothing = len(Y), (np.empty(len(X)), np.arange(len(X)))
    if kernel.rtol <= 0:
        return nothing
    rtol = min(_RTOL * kernel.rtol, _LARGEST_RTOL)
    points = np.vstack([Y, X]).astype(np.float64)
    K = KernelMatrix(points, kernel.name, bandwidth=kernel.bandwidth, n_jobs=n_jobs)
    W = np.zeros(len(K.X))
    W[:n] = 1.0 if weights is None else weights
    products = []
    for size in (leaf_size, leaf_size + leaf_size // 2):
        with warnings.catch_warnings():
            # A promise that is missed shows in the difference of the two.
            warnings.simplefilter("ignore", ConvergenceWarning)
            seed = rng.randint(2**31 - 1)
            H = compress(K, rtol=rtol, leaf_size=size, random_state=seed)
        if H.is_dense:
            return nothing
        products.append(H @ W)
    sums = products[0][n:]
    some = rng.permutation(len(X))[:_N_MEASURED]
    errors = np.abs(sums[some] - K.evaluate(K.X[n + some], W))
    floor = _SAFETY * max(np.abs(products[0] - products[1]).max(), errors.max(initial=0.0))
    is_right = (kernel.rtol * sums + kernel.atol >= floor) & (sums > _LEAST)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(sums), np.flatnonzero(~is_right)
