"""A compressed kernel matrix of few points in the plane."""

import dataclasses

import numpy as np

from skhmat.linalg import HierarchicalMatrix, KernelMatrix, compress
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source


def make_kernel(dtype=np.float64, n=600):
    """Return a Gaussian kernel matrix."""
    X = np.random.default_rng(0).standard_normal((n, 2)).astype(dtype)
    return KernelMatrix(X, bandwidth=1.5)


def make_compressed(budget=0.0, dtype=np.float64, n=600):
    """Return that matrix compressed to many leaves."""
    H = compress(make_kernel(dtype, n), rtol=1e-3, leaf_size=50, budget=budget, random_state=0)
    assert not H.is_dense
    return H


def without_near_blocks(H, K):
    """Return H as it is when near blocks do not fit the memory limit."""
    entries = Entries(as_source(K), H.form.structure.permutation)
    structure = dataclasses.replace(H.form.structure, near=None)
    return HierarchicalMatrix(dataclasses.replace(H.form, structure=structure, entries=entries))
