"""Few points whose kernel is held in one of the forms that are for many."""

import numpy as np
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral import affinity as _affinity

RTOL = 1e-4
EPSILON = 0.02
# Sizes up to which a kernel is held in some form; and what makes one between few points take it.
SIZES = "_ALWAYS_DENSE_UP_TO", "_DENSE_UP_TO", "_SINGLE_UP_TO", "_MOST_ENTRIES"
FORMS = {
    "dense": {},
    "single": {"_ALWAYS_DENSE_UP_TO": 0, "_DENSE_UP_TO": 0, "_SPARSE_PART": 0},
    "sparse": {"_ALWAYS_DENSE_UP_TO": 0, "_SPARSE_PART": 2},
    "compressed": {name: 0 for name in SIZES},
}
# So that few points are enough for a hierarchical matrix, and sums of its rows are its own.
FEW = {"leaf_size": 32, "budget": 0, "random_state": 0, "n_jobs": 1}
FEW_EXACT = {"_FEWEST_EXACT": 20, "_EXACT_ENTRIES": 0}
# Relative error of the kernel.
ERRORS = {"dense": 1e-14, "single": 1e-6, "sparse": RTOL, "compressed": RTOL}


def use_form(monkeypatch, name):
    for constant, value in {**FORMS[name], **FEW_EXACT}.items():
        monkeypatch.setattr(_affinity, constant, value)


def arc(rng, n, d=3):
    """Points along a line: the leading eigenvalues are far apart.

    One in each nth of it, as nearest neighbours among wider gaps can fall into parts.
    """
    angle = 4 / n * rng.permutation(np.arange(n) + rng.random(n))
    X = 0.02 * rng.standard_normal((n, d))
    X[:, 0] += np.cos(angle)
    X[:, 1] += np.sin(angle)
    X[:, 2] += angle / 4
    return X


def kernel(A, B, epsilon=EPSILON):
    return np.exp(cdist(A, B, "sqeuclidean") / (-2 * epsilon))
