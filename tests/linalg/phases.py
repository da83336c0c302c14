"""The phases of compression, one after the other."""

import numpy as np

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._gofmm.cluster_tree import build_tree
from skhmat.linalg._gofmm.distances import make_distance
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.neighbors import find_neighbors
from skhmat.linalg._gofmm.skeletonization import Skeletonizer


def run_phases(n, leaf_size, budget, seed, *, tolerance=1e-2, max_rank=None, d=2, dtype=float):
    """Run all phases up to the skeletons on a Gaussian kernel matrix."""
    X = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    entries = Entries(KernelMatrix(X))
    distance = make_distance("geometric", entries)
    tree = build_tree(distance, n, leaf_size, seed)
    entries = entries.in_order(tree.permutation)
    neighbors = find_neighbors(make_distance("geometric", entries), n, 8, seed).indices
    interactions = find_interactions(tree, neighbors, budget)
    worker = Skeletonizer(entries, tree, neighbors, interactions, tolerance, max_rank=max_rank)
    for level in range(tree.depth, 0, -1):
        worker.skeletonize_level(level)
    return entries, tree, interactions, worker.nested_bases()
