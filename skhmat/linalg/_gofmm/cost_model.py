"""What a hierarchical matrix will cost, from the ranks of a few leaves, against the dense matrix.

Costs are multiply-adds: of a product with one vector (which is also the number of stored entries)
and of finding the bases.
"""

import numpy as np

# Ranks grow towards the root, less and less: the excess over 1 of the growth shrinks by this per
# level.
_GROWTH_DECAY = 0.85
# Pivoted Cholesky runs at about a fifth of the speed of GEMM, and in float64.
_CHOLESKY_PENALTY = 5.0
# Vectors of the product that set-up is weighed against.
_N_VECTORS = 512
# Worth compressing: at most this part of the dense product, and of set-up and one product together.
_MAX_PRODUCT = 0.6
_MAX_TOTAL = 1.0


def extrapolate_ranks(tree, ranks, level, growth, max_rank=None):
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

    Returns
    -------
    ranks : ndarray of shape (depth + 1,)
    """
    for above in range(level - 1, 0, -1):
        rank = min(growth, 2.0) * ranks[above + 1]
        largest = tree.leaf_bounds[-1] / (1 << above) if max_rank is None else max_rank
        ranks[above] = min(rank, largest)
        growth = 1 + (growth - 1) * _GROWTH_DECAY
    return ranks


def product_cost(tree, interactions, ranks):
    """Return the multiply-adds of a product with one vector, near part and far part."""
    sizes = np.diff(tree.leaf_bounds)
    ptr, partner = interactions.near[-1]
    near = float((np.repeat(sizes, np.diff(ptr)) * sizes[partner]).sum())
    far = 0.0
    for level in range(1, tree.depth + 1):
        columns = _columns(tree, ranks, level)
        far += 2 * (1 << level) * max(columns - ranks[level], 0) * ranks[level]
        far += len(interactions.far[level][1]) * ranks[level] ** 2
    return near, far


def setup_cost(tree, ranks, itemsize):
    """Return the multiply-adds of finding all bases, in the speed of the matrix' dtype."""
    total = 0.0
    for level in range(1, tree.depth + 1):
        columns = _columns(tree, ranks, level)
        gram = (2.5 * columns + 256) * columns**2 / 2
        cholesky = columns**2 * ranks[level] / 2
        total += (1 << level) * (gram + _CHOLESKY_PENALTY * cholesky)
    return total * (8 / itemsize)


def pays(tree, interactions, ranks, itemsize):
    """Whether compression is worth its cost."""
    dense = float(tree.leaf_bounds[-1]) ** 2
    product = sum(product_cost(tree, interactions, ranks))
    total = setup_cost(tree, ranks, itemsize) / _N_VECTORS + product
    return product <= _MAX_PRODUCT * dense and total <= _MAX_TOTAL * dense


def _columns(tree, ranks, level):
    if level == tree.depth:
        return tree.leaf_bounds[-1] / (1 << tree.depth)
    return 2 * ranks[level + 1]
