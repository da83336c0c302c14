"""Evaluation phase: the four passes of a product with a hierarchical matrix.

up      charges of points -> charges of skeletons, leaves to root
across  charges of skeletons -> potentials of skeletons, every far pair of nodes
down    potentials of skeletons -> potentials of points, root to leaves
near    charges of points -> potentials of points, every near pair of leaves

Everything is in tree order, nodes in heap order (children of i are 2 i + 1 and 2 i + 2). A pair is
stored once and read by both of its nodes; each node adds up its own potentials in a fixed order, so
the result does not depend on the number of threads.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from _blas cimport add_product, add_product_transposed, real


# Up to so many right-hand sides the upper levels are done by one thread: waking others costs more.
cdef int _NARROW = 16


cdef class Plan:
    """The index arrays of a hierarchical matrix, checked once and read by every product.

    Parameters
    ----------
    depth : level of the leaves
    leaf_bounds : (n_leaves + 1,), first position of each leaf
    rank : (n_nodes,), skeletons of each node
    order, order_ptr : for each inner node the order of its children's skeletons, its own first
    interp_ptr : (n_nodes + 1,), offset of each node's interpolation block (columns left out, rank)
    far_ptr, far_node, far_offset, far_transposed : far pairs of each node, by rows
    near_ptr, near_leaf, near_offset, near_transposed : near pairs of each leaf, by rows
    """

    cdef readonly Py_ssize_t depth, n_skeletons
    cdef const Py_ssize_t[::1] leaf_bounds, rank, skel_ptr, order, order_ptr, interp_ptr
    cdef const Py_ssize_t[::1] far_ptr, far_node, far_offset
    cdef const unsigned char[::1] far_transposed
    cdef const Py_ssize_t[::1] near_ptr, near_leaf, near_offset
    cdef const unsigned char[::1] near_transposed

    def __init__(
        self, depth, leaf_bounds, rank, skel_ptr, order, order_ptr, interp_ptr,
        far_ptr, far_node, far_offset, far_transposed,
        near_ptr, near_leaf, near_offset, near_transposed,
    ):
        self.depth = depth
        self.leaf_bounds = leaf_bounds
        self.rank = rank
        self.skel_ptr = skel_ptr
        self.n_skeletons = skel_ptr[skel_ptr.shape[0] - 1]
        self.order = order
        self.order_ptr = order_ptr
        self.interp_ptr = interp_ptr
        self.far_ptr = far_ptr
        self.far_node = far_node
        self.far_offset = far_offset
        self.far_transposed = far_transposed
        self.near_ptr = near_ptr
        self.near_leaf = near_leaf
        self.near_offset = near_offset
        self.near_transposed = near_transposed


def multiply(
    Plan plan, const real[::1] interp, const real[::1] far, const real[::1] near,
    const Py_ssize_t[::1] permutation, const real[:, ::1] W, Py_ssize_t first, real[:, ::1] out,
    real[:, ::1] w, real[:, ::1] u, real[:, ::1] charges, real[:, ::1] potentials,
    real[:, ::1] scratch, int n_threads,
):
    """out[:, first:first + k] = K W[:, first:first + k], for the k columns that w has.

    Parameters
    ----------
    near : blocks of the near pairs, or None: then the near part is left out and u, in tree order,
    is
        the result, not out.
    w, u : (n, k), W and the product in tree order
    charges, potentials, scratch : (n_skeletons, k), work space
    """
    cdef Py_ssize_t level, j, cut = 0, base
    cdef bint has_near = near is not None
    cdef int k = <int> w.shape[1], few = n_threads if k > _NARROW else 1
    # A thread takes whole subtrees below the cut, so that it meets the others only twice on the way
    # up and down; the levels above are shared out one by one, or not at all where there is little
    # to do.
    while cut < plan.depth and (1 << cut) < 4 * n_threads:
        cut += 1
    if n_threads == 1:
        cut = 0
    base = (<Py_ssize_t> 1 << cut) - 1
    with nogil:
        for j in prange(base + 1, num_threads=n_threads, schedule="dynamic"):
            _subtree_up(plan, cut, j, interp, permutation, W, first, w, charges, scratch)
        for level in range(cut - 1, 0, -1):
            for j in prange(<Py_ssize_t> 1 << level, num_threads=few, schedule="dynamic"):
                _node_up(plan, (1 << level) - 1 + j, level, interp, w, charges, scratch, k)
        for j in prange(plan.rank.shape[0], num_threads=n_threads, schedule="dynamic"):
            _node_across(plan, j, far, charges, potentials, k)
        for level in range(1, cut):
            for j in prange(<Py_ssize_t> 1 << level, num_threads=few, schedule="dynamic"):
                _node_down(plan, (1 << level) - 1 + j, level, interp, potentials, u, scratch, k)
        for j in prange(base + 1, num_threads=n_threads, schedule="dynamic"):
            _subtree_down(
                plan, cut, j, interp, near, has_near, permutation, first, w, u, potentials, scratch,
                out)


def scatter_rows(
    const real[:, ::1] source, const Py_ssize_t[::1] rows, Py_ssize_t first, real[:, ::1] out
):
    """out[rows[i], first:first + source.shape[1]] = source[i, :]."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(source.shape[0]):
            memcpy(&out[rows[i], first], &source[i, 0], source.shape[1] * sizeof(real))


cdef void _subtree_up(
    Plan plan, Py_ssize_t cut, Py_ssize_t root, const real[::1] interp,
    const Py_ssize_t[::1] permutation, const real[:, ::1] W, Py_ssize_t first, real[:, ::1] w,
    real[:, ::1] charges, real[:, ::1] scratch,
) noexcept nogil:
    """Gather the rows of W below node `root` of level `cut` and collect its charges."""
    cdef Py_ssize_t level, j, i, below = plan.depth - cut
    for i in range(plan.leaf_bounds[root << below], plan.leaf_bounds[(root + 1) << below]):
        memcpy(&w[i, 0], &W[permutation[i], first], w.shape[1] * sizeof(real))
    for level in range(plan.depth, max(cut, 1) - 1, -1):
        below = level - cut
        for j in range(root << below, (root + 1) << below):
            _node_up(
                plan, (1 << level) - 1 + j, level, interp, w, charges, scratch, <int> w.shape[1])


cdef void _subtree_down(
    Plan plan, Py_ssize_t cut, Py_ssize_t root, const real[::1] interp, const real[::1] near,
    bint has_near, const Py_ssize_t[::1] permutation, Py_ssize_t first, const real[:, ::1] w,
    real[:, ::1] u, real[:, ::1] potentials, real[:, ::1] scratch, real[:, ::1] out,
) noexcept nogil:
    """Hand the potentials down below node `root`, add the near part, and put the rows out."""
    cdef Py_ssize_t level, j, i, below = plan.depth - cut
    cdef Py_ssize_t start = plan.leaf_bounds[root << below]
    cdef Py_ssize_t stop = plan.leaf_bounds[(root + 1) << below]
    cdef size_t row_bytes = u.shape[1] * sizeof(real)
    memset(&u[start, 0], 0, (stop - start) * row_bytes)
    for level in range(max(cut, 1), plan.depth + 1):
        below = level - cut
        for j in range(root << below, (root + 1) << below):
            _node_down(
                plan, (1 << level) - 1 + j, level, interp, potentials, u, scratch, <int> u.shape[1])
    if has_near:
        below = plan.depth - cut
        for j in range(root << below, (root + 1) << below):
            _leaf_near(plan, j, near, w, u, <int> u.shape[1])
        for i in range(start, stop):
            memcpy(&out[permutation[i], first], &u[i, 0], row_bytes)


cdef void _node_up(
    Plan plan, Py_ssize_t node, Py_ssize_t level, const real[::1] interp,
    const real[:, ::1] W, real[:, ::1] charges, real[:, ::1] scratch, int k,
) noexcept nogil:
    cdef Py_ssize_t rank = plan.rank[node], start, n, i, o, first
    cdef const real* rest
    if rank == 0:
        return
    first = plan.skel_ptr[node]
    if level == plan.depth:
        # The skeletons of a leaf come first in the leaf, so no row moves.
        start = plan.leaf_bounds[node - (plan.rank.shape[0] // 2)]
        n = plan.leaf_bounds[node - (plan.rank.shape[0] // 2) + 1] - start
        memcpy(&charges[first, 0], &W[start, 0], rank * k * sizeof(real))
        if n > rank:
            rest = &W[start + rank, 0]
    else:
        start = plan.skel_ptr[2 * node + 1]
        o = plan.order_ptr[node]
        n = plan.order_ptr[node + 1] - o
        for i in range(rank):
            memcpy(&charges[first + i, 0], &charges[start + plan.order[o + i], 0], k * sizeof(real))
        for i in range(rank, n):
            memcpy(&scratch[start + i, 0], &charges[start + plan.order[o + i], 0], k * sizeof(real))
        if n > rank:
            rest = &scratch[start + rank, 0]
    if n > rank:
        add_product_transposed[real](
            &interp[plan.interp_ptr[node]], rest, &charges[first, 0],
            <int> rank, <int> (n - rank), k, k, k, 1.0)


cdef void _node_across(
    Plan plan, Py_ssize_t node, const real[::1] far, const real[:, ::1] charges,
    real[:, ::1] potentials, int k,
) noexcept nogil:
    cdef Py_ssize_t rank = plan.rank[node], other, p
    cdef real* out
    if rank == 0:
        return
    out = &potentials[plan.skel_ptr[node], 0]
    memset(out, 0, rank * k * sizeof(real))
    for p in range(plan.far_ptr[node], plan.far_ptr[node + 1]):
        other = plan.far_node[p]
        if plan.rank[other] == 0:
            continue
        if plan.far_transposed[p]:
            add_product_transposed[real](
                &far[plan.far_offset[p]], &charges[plan.skel_ptr[other], 0], out,
                <int> rank, <int> plan.rank[other], k, k, k, 1.0)
        else:
            add_product[real](
                &far[plan.far_offset[p]], &charges[plan.skel_ptr[other], 0], out,
                <int> rank, <int> plan.rank[other], k, k, k, 1.0)


cdef void _node_down(
    Plan plan, Py_ssize_t node, Py_ssize_t level, const real[::1] interp,
    real[:, ::1] potentials, real[:, ::1] U, real[:, ::1] scratch, int k,
) noexcept nogil:
    cdef Py_ssize_t rank = plan.rank[node], start, n, i, j, o, first
    cdef const real* own
    cdef real* target
    if rank == 0:
        return
    first = plan.skel_ptr[node]
    own = &potentials[first, 0]
    if level == plan.depth:
        start = plan.leaf_bounds[node - (plan.rank.shape[0] // 2)]
        n = plan.leaf_bounds[node - (plan.rank.shape[0] // 2) + 1] - start
        memcpy(&U[start, 0], own, rank * k * sizeof(real))
        if n > rank:
            add_product[real](
                &interp[plan.interp_ptr[node]], own, &U[start + rank, 0],
                <int> (n - rank), <int> rank, k, k, k, 0.0)
        return
    start = plan.skel_ptr[2 * node + 1]
    o = plan.order_ptr[node]
    n = plan.order_ptr[node + 1] - o
    if n > rank:
        add_product[real](
            &interp[plan.interp_ptr[node]], own, &scratch[start + rank, 0],
            <int> (n - rank), <int> rank, k, k, k, 0.0)
    for i in range(n):
        target = &potentials[start + plan.order[o + i], 0]
        if i < rank:
            for j in range(k):
                target[j] += own[i * k + j]
        else:
            for j in range(k):
                target[j] += scratch[start + i, j]


cdef void _leaf_near(
    Plan plan, Py_ssize_t leaf, const real[::1] near, const real[:, ::1] W, real[:, ::1] U, int k,
) noexcept nogil:
    cdef Py_ssize_t other, p, start = plan.leaf_bounds[leaf], width
    cdef int n = <int> (plan.leaf_bounds[leaf + 1] - start)
    for p in range(plan.near_ptr[leaf], plan.near_ptr[leaf + 1]):
        other = plan.near_leaf[p]
        width = plan.leaf_bounds[other + 1] - plan.leaf_bounds[other]
        if plan.near_transposed[p]:
            add_product_transposed[real](
                &near[plan.near_offset[p]], &W[plan.leaf_bounds[other], 0], &U[start, 0],
                n, <int> width, k, k, k, 1.0)
        else:
            add_product[real](
                &near[plan.near_offset[p]], &W[plan.leaf_bounds[other], 0], &U[start, 0],
                n, <int> width, k, k, k, 1.0)
