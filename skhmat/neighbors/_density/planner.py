"""Which way sums of kernels of densities are taken, by what each will cost."""

import time

import numpy as np

# Nanoseconds of one core for each pair of points, and more for each of their coordinates.
_PAIR = 1.2, 0.04
# In the tree: for each pair, for each box that is visited, and to make it for each point.
_TREE_PAIR, _BOX, _MAKING = (1.3, 0.08), (50.0, 8.0), (60.0, 70.0)
# The tree is made only where all pairs take so many times as long.
_WORTH_MAKING = 8.0
# New points that are summed up by the tree to see what it costs.
_N_TRIED = 64
# Seconds from which on a far field is tried, with so many of all points, old and new.
_LONG, _N_SAMPLED = 60.0, 16_384
# Part of the sums that may be left over: then a far field saves little.
_MOST_ROUGH = 0.25


def log_sums(sums, X, kernel, algorithm, weights=None, own=None, far_field=None):
    """Return logarithms of sums, and the algorithm that was taken.

    Parameters
    ----------
    sums : DensitySums
    X : ndarray of shape (m, d)
    kernel : DensityKernel
    algorithm : {"auto", "brute", "tree", "gofmm"}
    weights : ndarray of shape (n,), default=None
    own : ndarray of shape (m,), default=None
        A point that does not count for each row; not with "gofmm".
    far_field : callable, default=None
        ``far_field(Y, X, kernel, weights)`` does what `far_log_sums` does. "auto" takes none where
        it is None.

    Returns
    -------
    logs : ndarray of shape (m,)
    algorithm : str
    """
    if algorithm == "auto":
        algorithm = _cheapest(sums, X, kernel, weights, own, far_field)
    if algorithm == "tree":
        return sums.by_tree(X, kernel, weights, own)[0], algorithm
    if algorithm == "brute":
        return sums.brute(X, kernel, weights, own), algorithm
    logs, rough = far_field(sums.Y, X, kernel, weights)
    logs[rough] = log_sums(sums, X[rough], kernel, "auto", weights)[0]
    return logs, algorithm


def _cheapest(sums, X, kernel, weights, own, far_field):
    """Return the algorithm that takes least time.

    All pairs take as long as they are many. The tree is tried at a few of the new points, unless
    making it takes too long to pay. Where both would take more than a minute, a far field is made
    of some of the points, and timed.
    """
    (m, d), n = X.shape, len(sums)
    seconds, chosen = _seconds(_PAIR, d, m * n, sums.n_threads), "brute"
    making = 0.0 if sums.has_tree else _seconds(_MAKING, d, n)
    if seconds > _WORTH_MAKING * making and m > _N_TRIED:
        some = np.linspace(0, m - 1, _N_TRIED).astype(np.intp)
        _, work = sums.by_tree(X[some], kernel, weights, None if own is None else own[some])
        pairs, boxes = work.mean(axis=0) * m
        by_tree = sum(
            _seconds(cost, d, count, sums.n_threads)
            for cost, count in ((_TREE_PAIR, pairs), (_BOX, boxes))
        )
        seconds, chosen = min((seconds, chosen), (by_tree, "tree"))
    if seconds > _LONG and far_field is not None and n + m > _N_SAMPLED:
        by_far_field = _time_far_field(sums.Y, X, kernel, weights, far_field)
        seconds, chosen = min((seconds, chosen), (by_far_field, "gofmm"))
    return chosen


def _seconds(cost, d, count, n_threads=1):
    return 1e-9 * (cost[0] + cost[1] * d) * count / n_threads


def _time_far_field(Y, X, kernel, weights, far_field):
    """Predict what a far field of all points takes from that of some of them."""
    total = len(Y) + len(X)
    old, new = (
        np.linspace(0, len(points) - 1, max(2, len(points) * _N_SAMPLED // total)).astype(np.intp)
        for points in (Y, X)
    )
    start = time.perf_counter()
    _, rough = far_field(Y[old], X[new], kernel, None if weights is None else weights[old])
    if len(rough) > _MOST_ROUGH * len(new):
        return np.inf
    levels = np.log(total) / np.log(_N_SAMPLED)
    return levels * (time.perf_counter() - start) * total / (len(old) + len(new))
