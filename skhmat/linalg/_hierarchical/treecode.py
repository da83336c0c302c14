"""Sums of a kernel over compressed points at new points, by a treecode.

Wanted is f(x) = sum over j of k(x, x_j) w_j at new points x. Each x descends the tree to a leaf and
is then treated like the points of that leaf: near points are summed directly, a far node b through
its skeletons b~ with the charges w_b~ = P_b~b w_b that the upward pass of the product computes,

    f(x) ~ sum over near j of k(x, x_j) w_j + sum over far b, s in b~ of k(x, x_s) w_s

(ASKIT: March, Xiao and Biros, SIAM J. Sci. Comput. 37, 2015). Of K_ab ~ P_a^T K_a~b~ P_b only the
right half is used: x is no row of K and has no P_a. P_b was fitted to rows k(x_i, .) of points x_i
far from b, so it is accurate for x if k(x, .) resembles these rows. That is doubtful for an x that
is farther from the mean of its leaf than every point of the leaf; its sum is over all points.
Each decision concerns one point, so its result does not depend on the others.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from scipy.spatial import KDTree

from ..._ext.gofmm import matvec as _core
from ..._utils.parallel import effective_n_threads, run_tasks, single_threaded_blas
from ..._utils.validation import check_boolean, check_columns
from ..._utils.warnings import warn
from .._gofmm.cluster_tree import Tree, node_number
from .._kernels.matrix import KernelMatrix

# New points that descend the tree together.
_POINTS_PER_BATCH = 1 << 14


@dataclass(frozen=True)
class TreecodePolicy:
    """What a leaf sums directly, and on how many points the error is measured.

    Attributes
    ----------
    max_sources : float
        Fraction of all points above which a leaf sums over all of them, which saves gathering them.
    n_closest : int
        Closest leaves that count as near in addition to the near leaves of the matrix.
    n_measured : int
        New points on which the error is measured.
    """

    max_sources: float = 0.5
    n_closest: int = 4
    n_measured: int = 256


POLICY = TreecodePolicy()


class KernelSum:
    """K(X_new, X) @ weights for fixed weights and any new points.

    Parameters
    ----------
    form : HierarchicalForm or None
        A compression of `kernel_matrix`; with None, every sum is taken over all points.
    kernel_matrix : KernelMatrix
        The points and the kernel.
    weights : ndarray of shape (n, k)
    n_jobs : int or None
    fourier : FourierForm or None
        A Fourier form of the matrix, in place of a compression.
    """

    def __init__(self, form, kernel_matrix, weights, n_jobs=None, *, fourier=None):
        self.kernel_matrix, self._isotropic = kernel_matrix, kernel_matrix.isotropic()
        self.weights = np.ascontiguousarray(weights, dtype=kernel_matrix.dtype)
        self.n_jobs = n_jobs
        self._tree = self._fourier = self._charges = None
        if form is not None and form.is_fourier:
            fourier = form.fourier
        if fourier is not None:
            self._fourier = fourier
        elif form is not None and not form.is_dense:
            self._tree = _target_tree_of(form, self._isotropic)
            self._permuted = self.weights[form.structure.permutation]
            self._charges = _collect_charges(form, self.weights)

    def __call__(self, X_new):
        """Return the sums, of shape (n_new, k), for checked points of the matrix' dtype."""
        if self._fourier is not None:
            return self._fourier_sums(X_new)
        points = self.kernel_matrix.scale_points(X_new)
        if self._tree is None:
            return self._exact(points)
        leaf_of, is_inside = self._tree.leaf_of(points)
        out = np.empty((len(points), self.weights.shape[1]), dtype=self.weights.dtype)
        out[~is_inside] = self._exact(points[~is_inside])
        inside = np.flatnonzero(is_inside)
        order = inside[np.argsort(leaf_of[inside], kind="stable")]
        leaves, first = np.unique(leaf_of[order], return_index=True)
        groups = np.split(order, first[1:])

        def add_up(index):
            rows = groups[index]
            out[rows] = self._sums_of_leaf(leaves[index], points[rows])

        thread_safe = self.kernel_matrix.thread_safe
        n_threads = effective_n_threads(self.n_jobs)
        run_tasks(add_up, range(len(leaves)), n_threads if thread_safe else 1)
        return out

    def _fourier_sums(self, X_new):
        """Return the sums from Fourier modes, which hold in the box around the points of X."""
        is_inside = self._fourier.is_inside(X_new)
        out = np.empty((len(X_new), self.weights.shape[1]), dtype=self.weights.dtype)
        out[~is_inside] = self.exact(X_new[~is_inside])
        if is_inside.any():
            n_threads = effective_n_threads(self.n_jobs)
            if self._charges is None:
                self._charges = self._fourier.charges(self.weights, n_threads)
            sums = self._fourier.evaluate(X_new[is_inside], self._charges, n_threads)
            out[is_inside] = sums[:, : out.shape[1]]
        return out

    def exact(self, X_new):
        """Return the exact sums, taken over all points."""
        return self._exact(self.kernel_matrix.scale_points(X_new))

    def _exact(self, points):
        K, n_threads = self._isotropic, effective_n_threads(self.n_jobs)
        return K._sums(points, K.X, self.weights, n_threads)

    def error(self, X_new, sums):
        """Return the relative error of `sums` in the Frobenius norm."""
        exact = self.exact(X_new).astype(np.float64)
        missed = np.linalg.norm(sums - exact)
        return float(missed / np.linalg.norm(exact)) if missed > 0 else 0.0

    def _sums_of_leaf(self, leaf, points):
        near, far = self._tree.near[leaf], self._tree.far[leaf]
        K = self._isotropic
        if len(near) + len(far) > POLICY.max_sources * len(K.X):
            return K._sums(points, K.X, self.weights, 1)
        sources = np.concatenate([near, self._tree.skeletons[far]])
        charges = np.concatenate([self._permuted[near], self._charges[far]])
        return K._sums(points, self._tree.points[sources], charges, 1)


def rows_to_measure(n):
    """Return evenly spaced row numbers below n, on which the error is measured."""
    return np.unique(np.linspace(0, n - 1, min(n, POLICY.n_measured)).astype(np.intp))


# The target tree of each form that sums were taken with, for as long as the form is in use: making
# one takes longer than a few sums, and sums with other weights share it. Not an attribute of the
# form, which never changes, is pickled, and knows nothing of the treecode.
_TARGET_TREES = WeakKeyDictionary()


def _target_tree_of(form, kernel_matrix):
    """Return the target tree of a matrix, made once."""
    if form not in _TARGET_TREES:
        _TARGET_TREES[form] = _TargetTree(form.structure, kernel_matrix)
    return _TARGET_TREES[form]


class _TargetTree:
    """The tree that new points, the targets, descend, and what is near and far for each leaf.

    Attributes
    ----------
    points : ndarray of shape (n, d)
        In tree order.
    means, radii : ndarray of shape (n_leaves, d), (n_leaves,)
        Mean of the points of each leaf, and the largest distance from it.
    skeletons : ndarray of shape (n_skeletons,)
        Positions of the skeletons of all nodes.
    near : list of ndarray
        For each leaf, the positions of the points that are summed directly.
    far : list of ndarray
        For each leaf, the indices of the skeletons that represent all other points.
    """

    def __init__(self, structure, kernel_matrix):
        self.points = kernel_matrix.X[structure.permutation]
        self.depth = structure.depth
        self.skeletons = _skeleton_positions(structure)
        self.means, self.radii = _balls(self.points, structure.leaf_bounds)
        self.near, self.far = _partners(structure, self.means)
        self._axes, self._cuts = _splits(self.points, structure)

    def leaf_of(self, X_new):
        """Return the leaf of each new point, and whether it lies within the leaf's radius."""
        leaf_of = np.empty(len(X_new), dtype=np.intp)
        is_inside = np.empty(len(X_new), dtype=bool)
        for start in range(0, len(X_new), _POINTS_PER_BATCH):
            points = X_new[start : start + _POINTS_PER_BATCH]
            node = np.zeros(len(points), dtype=np.intp)
            for _ in range(self.depth):
                right = np.einsum("ij,ij->i", points, self._axes[node]) > self._cuts[node]
                node = 2 * node + 1 + right
            leaf = node - node_number(self.depth)
            leaf_of[start : start + _POINTS_PER_BATCH] = leaf
            distance = _lengths(points - self.means[leaf])
            is_inside[start : start + _POINTS_PER_BATCH] = distance <= self.radii[leaf]
        return leaf_of, is_inside


def _collect_charges(form, weights):
    """Return the charges of all skeletons, of shape (n_skeletons, k)."""
    plan, n_threads = form.plan, form.n_threads
    charges = np.empty((max(plan.n_skeletons, 1), weights.shape[1]), dtype=form.dtype)
    buffers = np.empty((n_threads, plan.buffer_rows * weights.shape[1]), dtype=form.dtype)
    with single_threaded_blas():
        interp = form.structure.interp
        _core.collect_charges(plan, interp, weights, 0, charges, buffers, n_threads)
    return charges


def _skeleton_positions(s):
    """Return the position in tree order of each skeleton of each node."""
    out = np.empty(s.skel_ptr[-1], dtype=np.intp)
    inner = len(s.rank) >> 1
    for node in range(len(s.rank) - 1, -1, -1):
        own = slice(s.skel_ptr[node], s.skel_ptr[node] + s.rank[node])
        if node >= inner:  # the skeletons of a leaf are its first points
            out[own] = s.leaf_bounds[node - inner] + np.arange(s.rank[node])
        else:
            both = slice(s.skel_ptr[2 * node + 1], s.skel_ptr[2 * node + 3])
            chosen = s.order[s.order_ptr[node] : s.order_ptr[node] + s.rank[node]]
            out[own] = out[both][chosen]
    return out


def _partners(s, means):
    """Return the near positions and the far skeletons of each leaf.

    Near are the leaves that are near in the matrix, and those with the closest means: a new point
    between two leaves is closer to the second than any point that its skeletons were chosen for.
    """
    closest = _closest(means)
    near, far = [], []
    for leaf in range(len(s.leaf_bounds) - 1):
        given = s.near_leaf[s.near_ptr[leaf] : s.near_ptr[leaf + 1]]
        leaves = np.union1d(given, closest[leaf])
        nodes, node = [], (1 << s.depth) - 1 + leaf
        while node > 0:
            for partner in s.far_node[s.far_ptr[node] : s.far_ptr[node + 1]].tolist():
                nodes += _without(partner, leaves, s.depth)
            node = (node - 1) >> 1
        near.append(_ranges(s.leaf_bounds[leaves], s.leaf_bounds[leaves + 1]))
        nodes = np.array(nodes, dtype=np.intp)
        far.append(_ranges(s.skel_ptr[nodes], s.skel_ptr[nodes + 1]))
    return near, far


def _closest(means):
    """Return for each leaf the leaves with the closest means, itself included, (n_leaves, few)."""
    k = min(POLICY.n_closest + 1, len(means))
    return KDTree(means).query(means, k=range(1, k + 1))[1].astype(np.intp)


def _without(node, leaves, depth):
    """Return the largest nodes of a node's subtree that contain none of the given leaves."""
    level = (node + 1).bit_length() - 1
    first = node + 1 - (1 << level) << (depth - level)
    inside = np.searchsorted(leaves, [first, first + (1 << (depth - level))])
    if inside[0] == inside[1]:
        return [node]
    if level == depth:
        return []
    return _without(2 * node + 1, leaves, depth) + _without(2 * node + 2, leaves, depth)


def _ranges(starts, stops):
    ranges = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    return np.concatenate([np.empty(0, dtype=np.intp), *ranges])


def _balls(points, bounds):
    """Return the mean of the points of each leaf, and the largest distance from it."""
    parts = np.split(points, bounds[1:-1])
    means = np.array([part.mean(axis=0) for part in parts])
    radii = [_lengths(part - mean).max() for part, mean in zip(parts, means, strict=True)]
    return means, np.array(radii)


def _lengths(vectors):
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def _splits(points, s):
    """Return a separating plane for each inner node: its axis, and the cut along the axis.

    The axis joins the means of the children, and the cut is the median. The tree itself was split
    by distances between points of the matrix; a plane approximates that split without any entries
    of the new points.
    """
    n_inner = (1 << s.depth) - 1
    axes = np.zeros((n_inner, points.shape[1]), dtype=points.dtype)
    cuts = np.zeros(n_inner, dtype=points.dtype)
    tree = Tree(s.permutation, s.leaf_bounds, s.depth)
    for node in range(n_inner):
        (start, middle), (_, stop) = map(tree.node_bounds, (2 * node + 1, 2 * node + 2))
        left, right = points[start:middle], points[middle:stop]
        axes[node] = right.mean(axis=0) - left.mean(axis=0)
        cuts[node] = np.median(points[start:stop] @ axes[node])
    return axes, cuts


def evaluate(form, X_new, weights, return_error=False):
    """Sum up at new points; see `HierarchicalMatrix.evaluate`."""
    K = form.source
    if not isinstance(K, KernelMatrix):
        what = "was loaded without its points" if K is None else "has no kernel"
        raise TypeError(
            f"this matrix {what}: only a compressed KernelMatrix can be evaluated at new points."
        )
    return_error = check_boolean("return_error", return_error)
    X_new = K._check_new(X_new)
    W = check_columns("weights", weights, form.shape[0], real=True)
    kernel_sum = KernelSum(form, K, W, form.n_jobs)
    sums = K._checked_sums(kernel_sum(X_new))
    rows = rows_to_measure(len(X_new))
    error = 0.0 if form.is_dense else kernel_sum.error(X_new[rows], sums[rows])
    if not error <= form.report.rtol:
        warn(
            f"evaluate: relative error {error:.2e} of the sums, but the matrix was promised with "
            f"rtol={form.report.rtol:.0e}. Compress with a smaller rtol, or use "
            "KernelMatrix.evaluate."
        )
    sums = sums.reshape(len(X_new), *np.shape(weights)[1:])
    return (sums, error) if return_error else sums
