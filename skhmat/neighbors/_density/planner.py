"""The choice among the algorithms for kernel sums, by the time that each is predicted to take."""

from dataclasses import dataclass

import numpy as np

from ...linalg._gofmm.cost_model import RATES, CostModel, Rates
from ...linalg._kernels.matrix import KernelMatrix


@dataclass(frozen=True)
class PlannerPolicy:
    """Limits on the cost of choosing among the algorithms, and what their operations cost.

    Attributes
    ----------
    rates : Rates
    worth_building : float
        The tree is built only if direct sums take more than this many times as long as building it.
    n_probes : int
        Queries whose sums are taken by the tree to predict its cost. It is not tried for fewer.
    far_field_points : int
        Samples and queries, together, of the far field whose cost is extrapolated.
    leaf_size : int
        Points in a leaf of its tree, to tell what it takes at least.
    worth_trying : float
        That far field is made only if both other algorithms take more than this many times as long
        as it takes at least.
    max_rough : float
        Fraction of the sums that a far field may leave to the other algorithms; with more of them
        it saves little.
    """

    rates: Rates = RATES
    worth_building: float = 8.0
    n_probes: int = 64
    far_field_points: int = 16_384
    leaf_size: int = 256
    worth_trying: float = 128.0
    max_rough: float = 0.25


POLICY = PlannerPolicy()


def log_sums(sums, X, kernel, algorithm, weights=None, exclude=None, far_field=None, policy=POLICY):
    """Return logarithms of sums, and the algorithm that took them.

    Parameters
    ----------
    sums : DensitySums
    X : ndarray of shape (m, d)
    kernel : DensityKernel
    algorithm : {"auto", "brute", "tree", "gofmm"}
    weights : ndarray of shape (n,), default=None
    exclude : ndarray of shape (m,), default=None
        The index of a point that each row leaves out; not for "gofmm".
    far_field : callable, default=None
        ``far_field(Y, X, kernel, weights)`` returns what `compressed_log_sums` returns. Without it
        "auto" does not choose "gofmm".
    policy : PlannerPolicy

    Returns
    -------
    logs : ndarray of shape (m,)
    algorithm : str
    """
    if algorithm == "auto":
        algorithm = _choose(sums, X, kernel, weights, exclude, far_field, policy)
    if algorithm == "tree":
        return sums.by_tree(X, kernel, weights, exclude)[0], algorithm
    if algorithm == "brute":
        return sums.direct(X, kernel, weights, exclude), algorithm
    logs, rough, _ = far_field(sums.Y, X, kernel, weights)
    logs[rough], _ = log_sums(sums, X[rough], kernel, "auto", weights, policy=policy)
    return logs, algorithm


def _choose(sums, X, kernel, weights, exclude, far_field, policy):
    """Return the algorithm that is predicted to take the least time of one core.

    The time of direct sums follows from the number of terms. That of the tree is extrapolated from
    the terms and boxes of a few queries, unless direct sums are done before the tree would be
    built; that of a far field from one with part of the points, if both others take long. Seconds
    are those of the cost model, never measured, so that the choice is the same on any machine.
    """
    (m, d), n, rates = X.shape, len(sums), policy.rates
    term = rates.exponential + rates.dimension * d + rates.log_term
    seconds, chosen = 1e-9 * term * (m * n), "brute"
    build = rates.build + rates.build_per_feature * d
    seconds_to_build = 0.0 if sums.has_tree else 1e-9 * build * n
    if seconds > policy.worth_building * seconds_to_build and m > policy.n_probes:
        by_tree = _predict_tree(sums, X, kernel, weights, exclude, policy)
        seconds, chosen = min((seconds, chosen), (by_tree, "tree"))
    is_large = far_field is not None and n + m > policy.far_field_points
    if is_large and seconds > policy.worth_trying * _least_of_trial(sums.Y, kernel, policy):
        by_far_field = _predict_far_field(sums.Y, X, kernel, weights, far_field, policy)
        seconds, chosen = min((seconds, chosen), (by_far_field, "gofmm"))
    return chosen


def _predict_tree(sums, X, kernel, weights, exclude, policy):
    """Return the seconds that the tree would take, from the work for a few of the queries."""
    (m, d), rates = X.shape, policy.rates
    probes = np.linspace(0, m - 1, policy.n_probes).astype(np.intp)
    exclude = None if exclude is None else exclude[probes]
    _, work = sums.by_tree(X[probes], kernel, weights, exclude)
    n_pairs, n_boxes = work.mean(axis=0) * m
    pair = rates.tree_pair + rates.tree_pair_per_feature * d
    box = rates.box + rates.box_per_feature * d
    return 1e-9 * (pair * n_pairs + box * n_boxes)


def _least_of_trial(Y, kernel, policy):
    """Return the seconds that a far field with part of the points takes at least."""
    points = np.zeros((policy.far_field_points, Y.shape[1]))
    K = KernelMatrix(points, kernel.name, bandwidth=kernel.bandwidth)
    # The kernel matrix is compressed twice, each time for one product.
    return 2 * CostModel(K, 1, rates=policy.rates).least(policy.leaf_size).total


def _predict_far_field(Y, X, kernel, weights, far_field, policy):
    """Return the seconds that a far field would take, from one with part of the points.

    That takes the seconds of the cost model, and they grow like N log N. Infinite where too many
    sums would be left to other algorithms.
    """
    total = len(Y) + len(X)
    samples, queries = (
        np.linspace(
            0, len(points) - 1, max(2, len(points) * policy.far_field_points // total)
        ).astype(np.intp)
        for points in (Y, X)
    )
    weights = None if weights is None else weights[samples]
    _, rough, seconds = far_field(Y[samples], X[queries], kernel, weights)
    if len(rough) > policy.max_rough * len(queries):
        return np.inf
    levels = np.log(total) / np.log(policy.far_field_points)
    return levels * seconds * total / (len(samples) + len(queries))
