"""The choice among the algorithms for kernel sums, by the time that each is predicted to take."""

import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlannerPolicy:
    """Costs of the algorithms, in nanoseconds of one core, and limits on the cost of choosing.

    Attributes
    ----------
    pair, pair_per_feature : float
        Time of a term of a direct sum, and the part of it for each feature.
    tree_pair, tree_pair_per_feature : float
        The same for a term in a leaf of the tree.
    box, box_per_feature : float
        The same for a box that is visited.
    build, build_per_feature : float
        The same for a point when the tree is built; building uses one core.
    worth_building : float
        The tree is built only if direct sums take more than this many times as long as building it.
    n_probes : int
        Queries whose sums are taken by the tree to predict its cost. It is not tried for fewer.
    far_field_after : float
        Seconds: a far field is tried only where both other algorithms would take longer.
    far_field_points : int
        Samples and queries, together, of the far field that is timed.
    max_rough : float
        Fraction of the sums that a far field may leave to the other algorithms; with more of them
        it saves little.
    """

    pair: float = 1.2
    pair_per_feature: float = 0.04
    tree_pair: float = 1.3
    tree_pair_per_feature: float = 0.08
    box: float = 50.0
    box_per_feature: float = 8.0
    build: float = 60.0
    build_per_feature: float = 70.0
    worth_building: float = 8.0
    n_probes: int = 64
    far_field_after: float = 60.0
    far_field_points: int = 16_384
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
    logs, rough = far_field(sums.Y, X, kernel, weights)
    logs[rough], _ = log_sums(sums, X[rough], kernel, "auto", weights, policy=policy)
    return logs, algorithm


def _choose(sums, X, kernel, weights, exclude, far_field, policy):
    """Return the algorithm that is predicted to take the least time.

    The time of direct sums follows from the number of terms. That of the tree is extrapolated from
    a few queries, unless direct sums are done before the tree would be built; that of a far field
    from one with part of the points, if both others take long.
    """
    (m, d), n = X.shape, len(sums)
    pair = policy.pair + policy.pair_per_feature * d
    seconds, chosen = 1e-9 * pair * (m * n) / sums.n_threads, "brute"
    build = policy.build + policy.build_per_feature * d
    seconds_to_build = 0.0 if sums.has_tree else 1e-9 * build * n
    if seconds > policy.worth_building * seconds_to_build and m > policy.n_probes:
        by_tree = _predict_tree(sums, X, kernel, weights, exclude, policy)
        seconds, chosen = min((seconds, chosen), (by_tree, "tree"))
    is_long = seconds > policy.far_field_after and n + m > policy.far_field_points
    if is_long and far_field is not None:
        by_far_field = _predict_far_field(sums.Y, X, kernel, weights, far_field, policy)
        seconds, chosen = min((seconds, chosen), (by_far_field, "gofmm"))
    return chosen


def _predict_tree(sums, X, kernel, weights, exclude, policy):
    """Return the seconds that the tree would take, from the work for a few of the queries."""
    m, d = X.shape
    probes = np.linspace(0, m - 1, policy.n_probes).astype(np.intp)
    exclude = None if exclude is None else exclude[probes]
    _, work = sums.by_tree(X[probes], kernel, weights, exclude)
    n_pairs, n_boxes = work.mean(axis=0) * m
    pair = policy.tree_pair + policy.tree_pair_per_feature * d
    box = policy.box + policy.box_per_feature * d
    return 1e-9 * pair * n_pairs / sums.n_threads + 1e-9 * box * n_boxes / sums.n_threads


def _predict_far_field(Y, X, kernel, weights, far_field, policy):
    """Return the seconds that a far field would take, from one with part of the points.

    They grow like N log N. Infinite where too many sums would be left to other algorithms.
    """
    total = len(Y) + len(X)
    samples, queries = (
        np.linspace(
            0, len(points) - 1, max(2, len(points) * policy.far_field_points // total)
        ).astype(np.intp)
        for points in (Y, X)
    )
    weights = None if weights is None else weights[samples]
    start = time.perf_counter()
    _, rough = far_field(Y[samples], X[queries], kernel, weights)
    seconds = time.perf_counter() - start
    if len(rough) > policy.max_rough * len(queries):
        return np.inf
    levels = np.log(total) / np.log(policy.far_field_points)
    return levels * seconds * total / (len(samples) + len(queries))
