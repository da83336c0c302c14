"""Logarithms of kernel sums by products with compressed kernel matrices."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._utils.validation import check_random_state
from ...linalg._gofmm.cost_model import entry_time
from ...linalg._kernels.matrix import KernelMatrix

# Kernels that are smooth away from 0, so that their matrices compress.
FAR_FIELD_KERNELS = ("gaussian", "exponential")


@dataclass(frozen=True)
class FarFieldPolicy:
    """How a sum by a far field is checked.

    Attributes
    ----------
    safety : float
        The error of any sum is taken to be at most this many times the largest error seen.
    n_measured : int
        Number of sums that are also added up term by term.
    rtol_share : float
        Tolerance of the compression, as a fraction of the tolerance of the sums.
    max_rtol : float
        Largest tolerance of the compression.
    min_sum : float
        Smallest sum that is kept: below it, terms that matter may have underflowed.
    min_leaf_size : int
        Smallest number of points in a leaf of the compressed matrix.
    """

    safety: float = 2.0
    n_measured: int = 512
    rtol_share: float = 0.3
    max_rtol: float = 0.1
    min_sum: float = 1e-200
    min_leaf_size: int = 16


POLICY = FarFieldPolicy()


def compressed_log_sums(
    Y, X, kernel, weights, *, compress, leaf_size, random_state, n_jobs=None, policy=POLICY
):
    """Return logarithms of sums by a far field, and the rows that need another algorithm.

    The kernel matrix of all points, samples and queries, is compressed twice, with different random
    samples and leaves. The largest difference of the two products, and the largest error of the
    sums that are also added up term by term, estimate the error of every sum. A sum that is too
    small compared with this error is left to the caller.

    Parameters
    ----------
    Y : ndarray of shape (n, d)
    X : ndarray of shape (m, d)
    kernel : DensityKernel
        One of `FAR_FIELD_KERNELS`.
    weights : ndarray of shape (n,) or None
    compress : callable
        ``compress(K, rtol=..., leaf_size=..., random_state=..., n_products=1)`` returns a
        HierarchicalMatrix.
    leaf_size : int
    random_state : int, RandomState, Generator or None
    n_jobs : int or None
    policy : FarFieldPolicy

    Returns
    -------
    logs : ndarray of shape (m,)
    rough : ndarray of int
        Rows whose sum is too small compared with the error; all rows if nothing compresses.
    seconds : float
        What the compressions and products take by the cost model, on one core.
    """
    n, rng = len(Y), check_random_state(random_state)
    nothing = np.empty(len(X)), np.arange(len(X))
    seconds = 0.0
    if kernel.rtol <= 0:
        return *nothing, seconds
    leaf_size = max(leaf_size, policy.min_leaf_size)
    rtol = min(policy.rtol_share * kernel.rtol, policy.max_rtol)
    points = np.vstack([Y, X]).astype(np.float64)
    K = KernelMatrix(points, kernel.name, bandwidth=kernel.bandwidth, n_jobs=n_jobs)
    W = np.zeros(len(K.X))
    W[:n] = 1.0 if weights is None else weights
    products = []
    for size in (leaf_size, leaf_size + leaf_size // 2):
        with warnings.catch_warnings():
            # Where compression misses its tolerance, the two products differ by more.
            warnings.simplefilter("ignore", ConvergenceWarning)
            seed = rng.randint(2**31 - 1)
            H = compress(K, rtol=rtol, leaf_size=size, random_state=seed, n_products=1)
        seconds += _modelled_seconds(K, H.report_)
        if H.is_dense:
            return *nothing, seconds
        products.append(H @ W)
    sums = products[0][n:]
    measured = rng.permutation(len(X))[: policy.n_measured]
    errors = np.abs(sums[measured] - K.evaluate(K.X[n + measured], W))
    differences = np.abs(products[0] - products[1])
    floor = policy.safety * max(differences.max(), errors.max(initial=0.0))
    is_right = (kernel.rtol * sums + kernel.atol >= floor) & (sums > policy.min_sum)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(sums), np.flatnonzero(~is_right), seconds


def _modelled_seconds(K, report):
    """Return what a compression and a product take by the cost model.

    At least the entries that were read: the plan knows of one attempt, and there may be several.
    """
    plans = [plan for plan in report.considered if "leaf_size" in plan]
    planned = min((plan["setup"] + plan["products"] for plan in plans), default=0.0)
    return max(planned, 1e-9 * report.n_read * entry_time(K))
