"""The phases before the skeletons, for the tests of these."""

import numpy as np

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._gofmm.cluster_tree import build_tree
from skhmat.linalg._gofmm.distances import make_distance
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.neighbors import find_neighbors


def phases(n=3000, leaf_size=64, budget=0.0, seed=0, d=2, bandwidth=1.0, dtype=np.float64):
    """Everything that comes before the skeletons, for a Gaussian kernel matrix."""
    X = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    entries = Entries(KernelMatrix(X, bandwidth=bandwidth))
    tree = build_tree(make_distance("geometric", entries), n, leaf_size, seed)
    entries = entries.in_order(tree.permutation)
    neighbors = find_neighbors(make_distance("geometric", entries), n, 16, seed).indices
    return entries, tree, neighbors, find_interactions(tree, neighbors, budget)
