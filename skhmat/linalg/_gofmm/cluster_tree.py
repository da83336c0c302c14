"""The cluster tree: a balanced binary partition that keeps indices near each other together."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._ext.gofmm import neighbors as _core
from ..._utils.parallel import run_tasks
from ..._utils.validation import check_integer
from .distances import OrderDistance, as_generator

# Indices drawn from a node, whose mean stands for its centre.
_N_CENTRE = 32
# Size of a node from which several threads split the nodes of a level: for smaller ones, passing
# the GIL around takes longer.
_THREADED_SIZE = 1 << 15


def node_number(level, j=0):
    """Return the number in heap order of node j of a level, by default of its first one."""
    return (1 << level) - 1 + j


def level_slice(level):
    """Return the slice of all nodes in heap order that are on a level."""
    return slice(node_number(level), node_number(level + 1))


@dataclass(frozen=True, eq=False)
class Tree:
    """A perfectly balanced binary tree over n indices.

    Nodes are numbered in heap order: the root is 0, the children of node i are 2 i + 1 and 2 i + 2,
    and node j of level l is 2^l - 1 + j. A node owns a contiguous range of positions in tree order.

    Parameters
    ----------
    permutation : ndarray of shape (n,), intp
        The index, in the user's order, at each position of tree order.
    leaf_bounds : ndarray of shape (2**depth + 1,), intp
        Leaf j owns the positions ``leaf_bounds[j]`` to ``leaf_bounds[j + 1]``.
    depth : int
        Level of the leaves; the root is level 0.
    """

    permutation: np.ndarray
    leaf_bounds: np.ndarray
    depth: int

    @property
    def n_leaves(self):
        """Number of leaves."""
        return 2**self.depth

    @property
    def n_nodes(self):
        """Number of nodes on all levels."""
        return 2 ** (self.depth + 1) - 1

    def bounds_at(self, level, j):
        """Return the bounds, as `node_bounds` does, of node j of a level."""
        return self.node_bounds(node_number(level, j))

    def cut_at(self, level):
        """Return the same tree with the nodes of a level as its leaves."""
        bounds = self.leaf_bounds[:: 1 << (self.depth - level)].copy()
        return Tree(self.permutation, bounds, level)

    def node_bounds(self, node):
        """Return the first position of a node and the one after its last."""
        level = (node + 1).bit_length() - 1
        span = 2 ** (self.depth - level)
        first = (node + 1 - 2**level) * span
        return int(self.leaf_bounds[first]), int(self.leaf_bounds[first + span])

    @cached_property
    def leaf_of_position(self):
        """Number (0 to n_leaves - 1) of the leaf that owns each position."""
        return np.repeat(np.arange(self.n_leaves, dtype=np.int32), np.diff(self.leaf_bounds))


def build_tree(distance, n, leaf_size, random_state=None, n_threads=1):
    """Order n indices by repeated splits at the median.

    Each node is projected on the axis between the index farthest from its approximate centre (the
    mean of a random sample) and the index farthest from that one, and split into equal halves; ties
    keep their order. About 34 columns of a node are read to split it.

    Parameters
    ----------
    distance : GramDistance, GeometricDistance or OrderDistance
        See `make_distance`.
    n : int
        Number of indices, at least 1.
    leaf_size : int
        Largest number of indices in a leaf, at least 2. The depth is the smallest that allows it.
    random_state : None, int, SeedSequence, RandomState or Generator, default=None
        Draws the samples.
    n_threads : int, default=1
        Does not change the result.

    Returns
    -------
    Tree
    """
    leaf_size = check_integer("leaf_size", leaf_size, 2)
    depth = depth_for(n, leaf_size)
    if isinstance(distance, OrderDistance):
        return Tree(distance.order.copy(), level_bounds(n, depth), depth)

    def choose_axis(ids, draws):
        sample = ids[(draws * len(ids)).astype(np.intp)]
        first = ids[np.argmax(distance.from_mean(ids, sample))]
        return first, ids[np.argmax(distance.from_point(ids, first))]

    return grow_tree(
        distance, n, depth, choose_axis, _N_CENTRE, as_generator(random_state), n_threads
    )


def grow_tree(distance, n, depth, choose_axis, n_draws, generator, n_threads=1):
    """Split n indices at the median of their projections, down to `depth`.

    Parameters
    ----------
    distance : GramDistance or GeometricDistance
    n, depth : int
    choose_axis : callable
        ``choose_axis(ids, draws)`` returns the two indices that span the axis of a node, from its
        indices, of shape (m,), and `n_draws` uniform random numbers. These are drawn level by
        level, so that the tree does not depend on the number of threads.
    n_draws : int
    generator : numpy.random.Generator
    n_threads : int, default=1

    Returns
    -------
    Tree
    """
    order = np.arange(n, dtype=np.intp)

    def split(task):
        start, stop, draws = task
        ids = order[start:stop]
        values = distance.project(ids, *choose_axis(ids, draws))
        _core.split(values, ids, (stop - start + 1) // 2)

    for level in range(depth):
        bounds = level_bounds(n, level)
        draws = generator.random((2**level, n_draws))
        tasks = list(zip(bounds[:-1], bounds[1:], draws, strict=True))
        threads = n_threads if distance.thread_safe and n >> level >= _THREADED_SIZE else 1
        run_tasks(split, tasks, threads)
    return Tree(order, level_bounds(n, depth), depth)


def depth_for(n, leaf_size):
    """Return the smallest depth whose leaves hold at most `leaf_size` of n indices."""
    return int(max(0, -(-n // leaf_size) - 1)).bit_length()


def level_bounds(n, level):
    """Return the bounds of the nodes of one level, of shape (2**level + 1,).

    A left child takes the larger half.
    """
    bounds = np.array([0, n], dtype=np.intp)
    for _ in range(level):
        halved = np.empty(2 * len(bounds) - 1, dtype=np.intp)
        halved[::2] = bounds
        halved[1::2] = (bounds[:-1] + bounds[1:] + 1) // 2
        bounds = halved
    return bounds
