"""The phases of compression, one after the other."""

import numpy as np

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._gofmm.cluster_tree import build_tree
from skhmat.linalg._gofmm.distances import DISTANCES, make_distance
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.neighbors import find_neighbors
from skhmat.linalg._gofmm.skeletonization import Skeletonizer

# Distances by which trees and neighbours are found; the other two are orders.
SEARCHED = [name for name in DISTANCES if name not in ("lexicographic", "random")]


def run_to_interactions(
    n=3000, leaf_size=64, budget=0.0, seed=0, *, d=2, n_neighbors=16, dtype=np.float64
):
    """Run the phases before the skeletons on a Gaussian kernel matrix."""
    X = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    entries = Entries(KernelMatrix(X))
    tree = build_tree(make_distance("geometric", entries), n, leaf_size, seed)
    entries = entries.in_order(tree.permutation)
    neighbors = find_neighbors(make_distance("geometric", entries), n, n_neighbors, seed).indices
    return entries, tree, neighbors, find_interactions(tree, neighbors, budget)


def run_to_skeletons(n, leaf_size, budget, seed, *, max_rank=None, dtype=np.float64):
    """Run all phases up to the skeletons."""
    entries, tree, neighbors, interactions = run_to_interactions(
        n, leaf_size, budget, seed, n_neighbors=8, dtype=dtype
    )
    worker = Skeletonizer(entries, tree, neighbors, interactions, 1e-2, max_rank=max_rank)
    for level in range(tree.depth, 0, -1):
        worker.skeletonize_level(level)
    return entries, tree, interactions, worker.nested_bases()
