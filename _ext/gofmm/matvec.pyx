"""Products with a hierarchical matrix in four passes.

up      charges of points -> charges of skeletons, leaves to root
across  charges of skeletons -> potentials of skeletons, every far pair of nodes
down    potentials of skeletons -> potentials of points, root to leaves
near    charges of points -> potentials of points, every near pair of leaves

GOFMM (Yu, Levitt, Reiz and Biros, SC17) writes them as follows for nodes a and b, with skeletons
a~ and b~, weights w and potentials u; in HSS (Chandrasekaran, Gu and Pals, SIAM J. Matrix Anal.
Appl. 28, 2006), where the only far pairs are siblings, the matrices have other letters:

======  ====  =======================================  ====================  =======================
pass    task  GOFMM                                    HSS                   here
======  ====  =======================================  ====================  =======================
up      N2S   w_a~ = P_a w_a, of a leaf                U^T                   [I, X^T], X in `interp`
up      N2S   w_a~ = P_a [w_l~; w_r~]                  [R_l; R_r]^T          the same, by `order`
across  S2S   u_b~ = sum over Far(b) of K_b~a~ w_a~    B                     `far`
down    S2N   [u_l~; u_r~] += P_b^T u_b~, u_b the same [R_l; R_r] and U      as for up
near    L2L   u_b += sum over Near(b) of K_ba w_a      D                     `near`
======  ====  =======================================  ====================  =======================

P_a, of shape (rank, columns), interpolates: it is the identity on the columns of the skeletons. So
skeleton rows, which come first, are copied, and only the others are multiplied by X. For a far pair
of leaves K_ba ~ P_b^T K_b~a~ P_a, with P on both sides because K is symmetric. At an inner node P
acts on the skeletons of the children l and r.

Nodes are in heap order (the children of i are 2 i + 1 and 2 i + 2). A pair is stored once and read
by both of its nodes. Each node sums its own potentials in a fixed order, so that the result does
not depend on the number of threads.

The rows of a leaf are gathered from the right-hand sides each time they are needed, into a buffer
of the thread that stays in its cache. Reading them again costs less than a copy of all of them in
tree order.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from _blas cimport add_product, real
from _interrupt cimport skhmat_has_stopped, skhmat_pending, skhmat_stopped, skhmat_watch


# Up to this many right-hand sides one thread does the upper levels: waking the others costs more.
cdef int _NARROW = 16


cdef class Plan:
    """The index arrays of a hierarchical matrix, built once and read by every product.

    Parameters
    ----------
    depth : level of the leaves
    permutation : (n,), tree order -> user's order
    leaf_bounds : (n_leaves + 1,), first position of each leaf
    rank, skel_ptr : (n_nodes,), (n_nodes + 1,), number of skeletons of each node, and their offset
    order, order_ptr : for each inner node a permutation of its children's skeletons, its own first
    interp_ptr : (n_nodes + 1,), offset of each node's block X, (columns but the skeletons, rank)
    far_ptr, far_node, far_offset, far_transposed : far pairs of each node, in CSR form
    near_ptr, near_leaf, near_offset, near_transposed : near pairs of each leaf, in CSR form
    """

    cdef readonly Py_ssize_t depth, n_skeletons, buffer_rows
    cdef const Py_ssize_t[::1] permutation, leaf_bounds, rank, skel_ptr
    cdef const Py_ssize_t[::1] order, order_ptr, interp_ptr
    cdef const Py_ssize_t[::1] far_ptr, far_node, far_offset
    cdef const unsigned char[::1] far_transposed
    cdef const Py_ssize_t[::1] near_ptr, near_leaf, near_offset
    cdef const unsigned char[::1] near_transposed

    def __init__(
        self, depth, permutation, leaf_bounds, rank, skel_ptr, order, order_ptr, interp_ptr,
        far_ptr, far_node, far_offset, far_transposed,
        near_ptr, near_leaf, near_offset, near_transposed,
    ):
        self.depth = depth
        self.permutation = permutation
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
        # Rows of a leaf and of a near leaf, or the skeletons of an inner node's children.
        self.buffer_rows = max(2 * np.diff(leaf_bounds).max(), np.diff(order_ptr).max(), 1)


def collect_charges(
    Plan plan, const real[::1] interp, const real[:, ::1] W, Py_ssize_t first,
    real[:, ::1] charges, real[:, ::1] buffers, int n_threads,
):
    """Compute the charges of all skeletons for k columns of W: the pass up alone.

    The parameters are those of `multiply`.
    """
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    with nogil:
        _up(plan, interp, W, first, charges, buffers, n_threads, &watch)
    skhmat_pending(watch.stopped)


def multiply(
    Plan plan, const real[::1] interp, const real[::1] far, const real[::1] near,
    const real[:, ::1] W, Py_ssize_t first, real[:, ::1] out,
    real[:, ::1] charges, real[:, ::1] potentials, real[:, ::1] buffers, int n_threads,
):
    """Write K W[:, first:first + k] to out[:, first:first + k]; k is the width of `charges`.

    Parameters
    ----------
    near : blocks of the near pairs; None leaves out the near pass
    W, out : (n, at least first + k), in the user's order
    charges, potentials : (n_skeletons, k), work space
    buffers : (n_threads, plan.buffer_rows * k), work space of each thread
    """
    cdef Py_ssize_t level, j, cut = _cut(plan, n_threads), base = (<Py_ssize_t> 1 << cut) - 1
    cdef bint has_near = near is not None
    cdef int k = <int> charges.shape[1], few = n_threads if k > _NARROW else 1
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    with nogil:
        _up(plan, interp, W, first, charges, buffers, n_threads, watched)
        for j in prange(plan.rank.shape[0], num_threads=n_threads, schedule="dynamic"):
            _node_across(plan, j, far, charges, potentials, k, watched)
        for level in range(1, cut):
            for j in prange(<Py_ssize_t> 1 << level, num_threads=few, schedule="dynamic"):
                _node_down(
                    plan, (1 << level) - 1 + j, interp, potentials, &buffers[threadid(), 0],
                    watched)
        for j in prange(base + 1, num_threads=n_threads, schedule="dynamic"):
            _subtree_down(
                plan, cut, j, interp, near, has_near, W, first, potentials,
                &buffers[threadid(), 0], out, watched)
    skhmat_pending(watch.stopped)


cdef Py_ssize_t _cut(Plan plan, int n_threads) noexcept nogil:
    """Return the level below which each thread processes whole subtrees.

    Threads then wait for each other only twice. Above, they share the nodes of one level at a time,
    or leave them to one thread where there is little work.
    """
    cdef Py_ssize_t cut = 0
    if n_threads == 1:
        return 0
    while cut < plan.depth and (1 << cut) < 4 * n_threads:
        cut += 1
    return cut


cdef void _up(
    Plan plan, const real[::1] interp, const real[:, ::1] W, Py_ssize_t first,
    real[:, ::1] charges, real[:, ::1] buffers, int n_threads, skhmat_watch* watch,
) noexcept nogil:
    cdef Py_ssize_t level, j, cut = _cut(plan, n_threads)
    cdef int few = n_threads if charges.shape[1] > _NARROW else 1
    for j in prange(<Py_ssize_t> 1 << cut, num_threads=n_threads, schedule="dynamic"):
        _subtree_up(plan, cut, j, interp, W, first, charges, &buffers[threadid(), 0], watch)
    for level in range(cut - 1, 0, -1):
        for j in prange(<Py_ssize_t> 1 << level, num_threads=few, schedule="dynamic"):
            _node_up(
                plan, (1 << level) - 1 + j, interp, charges, &buffers[threadid(), 0], watch)


cdef void _subtree_up(
    Plan plan, Py_ssize_t cut, Py_ssize_t root, const real[::1] interp,
    const real[:, ::1] W, Py_ssize_t first, real[:, ::1] charges, real* buffer,
    skhmat_watch* watch,
) noexcept nogil:
    """Collect the charges below node `root` of level `cut`."""
    cdef Py_ssize_t level, j, below = plan.depth - cut
    for j in range(root << below, (root + 1) << below):
        _leaf_up(plan, j, interp, W, first, charges, buffer, watch)
    for level in range(plan.depth - 1, max(cut, 1) - 1, -1):
        below = level - cut
        for j in range(root << below, (root + 1) << below):
            _node_up(plan, (1 << level) - 1 + j, interp, charges, buffer, watch)


cdef void _subtree_down(
    Plan plan, Py_ssize_t cut, Py_ssize_t root, const real[::1] interp, const real[::1] near,
    bint has_near, const real[:, ::1] W, Py_ssize_t first, real[:, ::1] potentials, real* buffer,
    real[:, ::1] out, skhmat_watch* watch,
) noexcept nogil:
    """Pass the potentials down from node `root`, add the near pass, write the rows of `out`."""
    cdef Py_ssize_t level, j, below
    for level in range(max(cut, 1), plan.depth):
        below = level - cut
        for j in range(root << below, (root + 1) << below):
            _node_down(plan, (1 << level) - 1 + j, interp, potentials, buffer, watch)
    below = plan.depth - cut
    for j in range(root << below, (root + 1) << below):
        _leaf_down(
            plan, j, interp, near, has_near, W, first, potentials, buffer, out, watch)


cdef void _gather(
    Plan plan, Py_ssize_t leaf, const real[:, ::1] W, Py_ssize_t first, Py_ssize_t k, real* rows
) noexcept nogil:
    """Copy the rows of a leaf, columns first to first + k, into contiguous memory."""
    cdef Py_ssize_t i, start = plan.leaf_bounds[leaf]
    for i in range(plan.leaf_bounds[leaf + 1] - start):
        memcpy(rows + i * k, &W[plan.permutation[start + i], first], k * sizeof(real))


cdef inline bint _is_stopped(skhmat_watch* watch, Py_ssize_t node) noexcept nogil:
    """Return whether to stop; only some of the nodes look, since most take a microsecond."""
    return skhmat_stopped(watch) if node % 16 == 0 else skhmat_has_stopped(watch)


cdef void _leaf_up(
    Plan plan, Py_ssize_t leaf, const real[::1] interp,
    const real[:, ::1] W, Py_ssize_t first, real[:, ::1] charges, real* buffer,
    skhmat_watch* watch,
) noexcept nogil:
    """Collect the charges of a leaf, w_s + X^T w_rest; its first rows s are the skeletons."""
    cdef Py_ssize_t node = (1 << plan.depth) - 1 + leaf, rank = plan.rank[node]
    cdef int rest = <int> (plan.leaf_bounds[leaf + 1] - plan.leaf_bounds[leaf] - rank)
    cdef int k = <int> charges.shape[1]
    cdef real* own
    if rank == 0 or skhmat_stopped(watch):
        return
    own = &charges[plan.skel_ptr[node], 0]
    _gather(plan, leaf, W, first, k, buffer)
    memcpy(own, buffer, rank * k * sizeof(real))
    if rest > 0:
        add_product[real](
            &interp[plan.interp_ptr[node]], True, buffer + rank * k, own,
            <int> rank, rest, k, 1.0)


cdef void _leaf_down(
    Plan plan, Py_ssize_t leaf, const real[::1] interp, const real[::1] near, bint has_near,
    const real[:, ::1] W, Py_ssize_t first, real[:, ::1] potentials, real* buffer,
    real[:, ::1] out, skhmat_watch* watch,
) noexcept nogil:
    """Write the rows of a leaf: the near pass, plus P^T times its skeletons' potentials."""
    cdef Py_ssize_t node = (1 << plan.depth) - 1 + leaf, rank = plan.rank[node]
    cdef Py_ssize_t i, p, other, start = plan.leaf_bounds[leaf]
    cdef int n = <int> (plan.leaf_bounds[leaf + 1] - start), width, k = <int> potentials.shape[1]
    cdef real beta = 0.0
    cdef real* rows = buffer + n * k
    cdef const real* own
    if skhmat_stopped(watch):
        return
    if has_near:
        for p in range(plan.near_ptr[leaf], plan.near_ptr[leaf + 1]):
            other = plan.near_leaf[p]
            width = <int> (plan.leaf_bounds[other + 1] - plan.leaf_bounds[other])
            _gather(plan, other, W, first, k, rows)
            add_product[real](
                &near[plan.near_offset[p]], plan.near_transposed[p], rows, buffer,
                n, width, k, beta)
            beta = 1.0
    else:
        memset(buffer, 0, n * k * sizeof(real))
    if rank > 0:
        own = &potentials[plan.skel_ptr[node], 0]
        for i in range(rank * k):
            buffer[i] += own[i]
        if n > rank:
            add_product[real](
                &interp[plan.interp_ptr[node]], False, own, buffer + rank * k,
                <int> (n - rank), <int> rank, k, 1.0)
    for i in range(n):
        memcpy(&out[plan.permutation[start + i], first], buffer + i * k, k * sizeof(real))


cdef void _node_up(
    Plan plan, Py_ssize_t node, const real[::1] interp, real[:, ::1] charges, real* buffer,
    skhmat_watch* watch,
) noexcept nogil:
    """Collect the charges of an inner node from those of its children."""
    cdef Py_ssize_t rank = plan.rank[node], start, n, i, o
    cdef int k = <int> charges.shape[1]
    cdef real* own
    if rank == 0 or _is_stopped(watch, node):
        return
    own = &charges[plan.skel_ptr[node], 0]
    start = plan.skel_ptr[2 * node + 1]
    o = plan.order_ptr[node]
    n = plan.order_ptr[node + 1] - o
    for i in range(rank):
        memcpy(own + i * k, &charges[start + plan.order[o + i], 0], k * sizeof(real))
    if n == rank:
        return
    for i in range(n - rank):
        memcpy(buffer + i * k, &charges[start + plan.order[o + rank + i], 0], k * sizeof(real))
    add_product[real](
        &interp[plan.interp_ptr[node]], True, buffer, own, <int> rank, <int> (n - rank), k, 1.0)


cdef void _node_across(
    Plan plan, Py_ssize_t node, const real[::1] far, const real[:, ::1] charges,
    real[:, ::1] potentials, int k, skhmat_watch* watch,
) noexcept nogil:
    cdef Py_ssize_t rank = plan.rank[node], other, p
    cdef real* out
    if rank == 0 or _is_stopped(watch, node):
        return
    out = &potentials[plan.skel_ptr[node], 0]
    memset(out, 0, rank * k * sizeof(real))
    for p in range(plan.far_ptr[node], plan.far_ptr[node + 1]):
        other = plan.far_node[p]
        if plan.rank[other] == 0:
            continue
        add_product[real](
            &far[plan.far_offset[p]], plan.far_transposed[p], &charges[plan.skel_ptr[other], 0],
            out, <int> rank, <int> plan.rank[other], k, 1.0)


cdef void _node_down(
    Plan plan, Py_ssize_t node, const real[::1] interp, real[:, ::1] potentials, real* buffer,
    skhmat_watch* watch,
) noexcept nogil:
    """Add the potentials of an inner node to those of its children."""
    cdef Py_ssize_t rank = plan.rank[node], start, n, i, j, o
    cdef int k = <int> potentials.shape[1]
    cdef const real* source
    cdef real* target
    if rank == 0 or _is_stopped(watch, node):
        return
    start = plan.skel_ptr[2 * node + 1]
    o = plan.order_ptr[node]
    n = plan.order_ptr[node + 1] - o
    if n > rank:
        add_product[real](
            &interp[plan.interp_ptr[node]], False, &potentials[plan.skel_ptr[node], 0], buffer,
            <int> (n - rank), <int> rank, k, 0.0)
    for i in range(n):
        target = &potentials[start + plan.order[o + i], 0]
        if i < rank:
            source = &potentials[plan.skel_ptr[node] + i, 0]
        else:
            source = buffer + (i - rank) * k
        for j in range(k):
            target[j] += source[j]
