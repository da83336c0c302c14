"""Whether compression pays: the expected cost of a hierarchical matrix relative to the dense one.

Costs are multiply-adds: of a product with one vector (which is also the number of stored entries)
and of finding the bases. They follow from the ranks, which are extrapolated from a few leaves.
"""

from dataclasses import dataclass

import numpy as np

from .row_sample import SAMPLING, SamplingPolicy


@dataclass(frozen=True)
class CostPolicy:
    """What the cost model assumes, and when compression pays.

    Attributes
    ----------
    growth_decay : float
        Factor per level by which the growth of ranks towards the root, less 1, shrinks.
    max_growth : float
        Largest growth of ranks from one level to the next.
    cholesky_penalty : float
        Cost of a multiply-add of pivoted Cholesky relative to one of GEMM in float64.
    n_vectors : int
        Number of vectors over whose products the cost of the set-up is spread.
    max_product : float
        Largest cost of a product, relative to the dense product, at which compression pays.
    max_total : float
        The same for a product and its share of the set-up together.
    sampling : SamplingPolicy
        From how many rows a basis is found, at first.
    """

    growth_decay: float = 0.85
    max_growth: float = 2.0
    cholesky_penalty: float = 5.0
    n_vectors: int = 512
    max_product: float = 0.6
    max_total: float = 1.0
    sampling: SamplingPolicy = SAMPLING


POLICY = CostPolicy()


def extrapolate_ranks(tree, ranks, level, growth, max_rank=None, *, policy=POLICY):
    """Fill in the expected ranks above a level.

    Parameters
    ----------
    tree : Tree
    ranks : ndarray of shape (depth + 1,)
        Mean rank for each level, root first, known from `level` on; changed in place.
    level : int
    growth : float
        Mean rank of the level above over that of `level`.
    max_rank : int or None
    policy : CostPolicy

    Returns
    -------
    ranks : ndarray of shape (depth + 1,)
    """
    for above in range(level - 1, 0, -1):
        rank = min(growth, policy.max_growth) * ranks[above + 1]
        largest = tree.leaf_bounds[-1] / (1 << above) if max_rank is None else max_rank
        ranks[above] = min(rank, largest)
        growth = 1 + (growth - 1) * policy.growth_decay
    return ranks


def product_cost(tree, interactions, ranks):
    """Return the multiply-adds of a product with one vector, near part and far part.

    `ranks`, of shape (depth + 1,), are the mean ranks of each level, root first.
    """
    sizes = np.diff(tree.leaf_bounds)
    ptr, partner = interactions.near[-1]
    near = float((np.repeat(sizes, np.diff(ptr)) * sizes[partner]).sum())
    far = 0.0
    for level in range(1, tree.depth + 1):
        columns = _columns(tree, ranks, level)
        far += 2 * (1 << level) * max(columns - ranks[level], 0) * ranks[level]
        far += len(interactions.far[level][1]) * ranks[level] ** 2
    return near, far


def setup_cost(tree, ranks, itemsize, *, policy=POLICY):
    """Return the multiply-adds of finding all bases, at the speed of the matrix' dtype.

    They run in float64: where entries have half its size, one of these costs two of a product.
    """
    total, sampling = 0.0, policy.sampling
    rows_per_column = sampling.near_per_column + sampling.uniform_per_column
    for level in range(1, tree.depth + 1):
        columns = _columns(tree, ranks, level)
        gram = (rows_per_column * columns + sampling.min_rows) * columns**2 / 2
        cholesky = columns**2 * ranks[level] / 2
        total += (1 << level) * (gram + policy.cholesky_penalty * cholesky)
    return total * (8 / itemsize)


def pays(tree, interactions, ranks, itemsize, *, policy=POLICY):
    """Return whether compression is worth its cost."""
    dense = float(tree.leaf_bounds[-1]) ** 2
    product = sum(product_cost(tree, interactions, ranks))
    total = setup_cost(tree, ranks, itemsize, policy=policy) / policy.n_vectors + product
    return product <= policy.max_product * dense and total <= policy.max_total * dense


def _columns(tree, ranks, level):
    """Return the mean number of columns of a node: points of a leaf, else its children's ranks."""
    if level == tree.depth:
        return tree.leaf_bounds[-1] / (1 << tree.depth)
    return 2 * ranks[level + 1]
