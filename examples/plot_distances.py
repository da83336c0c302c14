"""
A good distance beats the given order
=====================================

How well a hierarchical matrix compresses depends on the order of its rows. Four matrices of the
collection have their rows shuffled, as real data often are. Then each is compressed in five orders:
as given (*lexicographic*), at random, by distances computed from its entries (*kernel* and
*angle*), and by the distance of its points if it has any (*geometric*), which the other two try to
recover.

The left column shows the ranks that the promise of 1e-3 needs; where they are too high for
compression to pay, the exact matrix is held. The right column shows the error that is left when
ranks are limited to 32.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skhmat.datasets import load_matrix
from skhmat.linalg import compress

N, RTOL, MAX_RANK = 4096, 1e-3, 32
DISTANCES = ("geometric", "kernel", "angle", "lexicographic", "random")
MATRICES = {
    "K02": "inverse squared Laplacian",
    "K11": "inverse squared 1-D Poisson",
    "K12": "inverse advection-diffusion",
    "G03": "random geometric graph",
}


def shuffled(name):
    """Return a matrix and its points with the rows in random order."""
    matrix = load_matrix(name, N)
    order = np.random.default_rng(0).permutation(N)
    points = None if matrix.points is None else matrix.points[order]
    return matrix.K[np.ix_(order, order)], points


def compress_both(K, points, distance):
    """Return the ranks that the promise needs, and the error with limited ranks."""
    options = {"rtol": RTOL, "leaf_size": 128, "distance": distance, "points": points}
    ranks = compress(K, **options, budget=0, random_state=0).ranks_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        limited = compress(K, **options, budget=0, max_rank=MAX_RANK, random_state=0)
    return ranks[ranks > 0], error(limited, K)


def error(H, K):
    """Return the relative error of the product with normal vectors."""
    W = np.random.default_rng(1).standard_normal((N, 64))
    return np.linalg.norm(H @ W - K @ W) / np.linalg.norm(K @ W)


figure, axes = plt.subplots(len(MATRICES), 2, figsize=(6.4, 9), sharey="col", layout="constrained")
for (name, title), (left, right) in zip(MATRICES.items(), axes, strict=True):
    K, points = shuffled(name)
    distances = [d for d in DISTANCES if d != "geometric" or points is not None]
    for place, distance in enumerate(distances):
        ranks, limited_error = compress_both(K, points, distance)
        rank = ranks.max() if len(ranks) else "dense"
        print(f"{name} {distance:14} rank {rank}, error {limited_error:.1e}")
        if len(ranks):
            left.bar(place, ranks.max(), color="C0", alpha=0.4, label="largest")
            left.bar(place, ranks.mean(), color="C0", label="mean")
        else:
            left.text(place, 10, "dense", rotation=90, ha="center", va="bottom")
        right.plot(place, max(limited_error, 1e-16), "o", color="C3")
    for ax in (left, right):
        ax.set_title(f"{name}, {title}", fontsize="medium")
    right.set_yscale("log")
    right.axhline(RTOL, color="grey", linewidth=0.8, linestyle="--")
    for ax in (left, right):
        ax.set_xticks(range(len(distances)), distances, rotation=40, ha="right")
        ax.set_xlim(-0.6, len(distances) - 0.4)
    left.set_ylabel(f"rank at rtol {RTOL:.0e}")
    right.set_ylabel(f"error at rank {MAX_RANK}")
handles, labels = axes[0, 0].get_legend_handles_labels()
axes[0, 0].legend(handles[:2], labels[:2], frameon=False)
plt.show()
