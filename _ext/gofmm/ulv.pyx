"""Symmetric ULV factorization of K + shift I for a matrix in HSS form, and solves with it.

The method is that of Chandrasekaran, Gu and Pals (SIAM J. Matrix Anal. Appl. 28, 2006), in the
symmetric form of Xia, Chandrasekaran, Gu and Li (Numer. Linear Algebra Appl. 17, 2010). Their
letters, with V = U and W = R because K is symmetric:

====================  ==============================================================================
HSS generator         in this module
====================  ==============================================================================
D of a leaf           its block of `near`, plus the shift on the diagonal
U of a leaf           P^T = [I; X], skeleton rows first; X is the leaf's block of `interp`
[R_a; R_b]            P^T of a node with children a, b: also [I; X], its rows sorted by `order`
B of two siblings     their block of `far`, stored transposed where `far_transposed` says so
====================  ==============================================================================

P, of shape (rank, m), is the interpolation of the table in `matvec`. The paper's translations R
appear in this table only: below, R is the triangular factor of a basis.

A node with m rows and diagonal block M is coupled to the rest of K only through its basis U, of
shape (m, rank): its block row is [M, U (...)]. For a leaf M = D and U = P^T. From the leaves to the
root, for each node:

1. The QR factorization U = Q [R; 0] gives Q^T [M, U (...)] = [Q^T M, [R; 0] (...)]: after the
   rotation only the first `rank` rows are coupled to the rest of the matrix.
2. The others are eliminated by Cholesky: L L^T = (Q^T M Q)_22 and W = L^-1 (Q^T M Q)_21.
3. The Schur complement S = (Q^T M Q)_11 - W^T W and R stand for the node in its parent, where
   M = [[S_a, R_a B R_b^T], [., S_b]] and U = diag(R_a, R_b) P^T.

Everything is computed in float64. Matrices are column-major, as in LAPACK; right-hand sides are
row-major, which is column-major and transposed.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, dsymm, dsyr2k, dsyrk, dtrmm, dtrsm
from scipy.linalg.cython_lapack cimport dgeqrf, dlarft, dpotrf, dpotri

from _blas cimport real
from _interrupt cimport skhmat_pending, skhmat_stopped, skhmat_watch


cdef class Factor:
    """The factors of all nodes, stored one after the other in heap order.

    Parameters
    ----------
    depth : level of the leaves
    permutation : (n,), tree order -> user's order
    leaf_bounds : (n_leaves + 1,)
    rank, size : (n_nodes,), rank and number of rows of each node
    row_ptr : (n_nodes + 1,), first row of each node in the work space of `solve`
    v_ptr, t_ptr, l_ptr, w_ptr : (n_nodes + 1,), offsets of the factors of each node
    V, T, L, W : the factors; in Q = I - V T V^T, V is unit lower trapezoidal and T upper
        triangular; L is lower triangular. `factorize` writes them; to the others they may be
        read-only, as arrays that joblib has mapped are
    """

    cdef readonly Py_ssize_t depth, n_nodes, n_rows, largest
    cdef const Py_ssize_t[::1] permutation, leaf_bounds, rank, size
    cdef const Py_ssize_t[::1] row_ptr, v_ptr, t_ptr, l_ptr, w_ptr
    cdef const double[::1] V, T, L, W

    def __init__(
        self, depth, permutation, leaf_bounds, rank, size, row_ptr,
        v_ptr, t_ptr, l_ptr, w_ptr, V, T, L, W,
    ):
        self.depth, self.n_nodes = depth, rank.shape[0]
        self.permutation, self.leaf_bounds = permutation, leaf_bounds
        self.rank, self.size, self.row_ptr = rank, size, row_ptr
        self.n_rows, self.largest = row_ptr[row_ptr.shape[0] - 1], max(size.max(), 1)
        self.v_ptr, self.t_ptr, self.l_ptr, self.w_ptr = v_ptr, t_ptr, l_ptr, w_ptr
        self.V, self.T, self.L, self.W = V, T, L, W


def factorize(
    Factor f, const double[::1] shift, const real[::1] near, const Py_ssize_t[::1] near_offset,
    const real[::1] far, const Py_ssize_t[::1] far_offset, const unsigned char[::1] far_transposed,
    const real[::1] interp, const Py_ssize_t[::1] interp_ptr,
    const Py_ssize_t[::1] order, const Py_ssize_t[::1] order_ptr, int n_threads,
):
    """Factorize K + diag(shift).

    Parameters
    ----------
    shift : (n,), in the user's order
    near, near_offset : diagonal blocks D of the leaves, and the offset of each
    far, far_offset, far_transposed : block B of the children of each inner node
    interp, interp_ptr, order, order_ptr : as in `matvec.Plan`

    Returns
    -------
    is_definite : bool
        False if some node was not positive definite; the factors must not be used then.
    """
    cdef Py_ssize_t level, j
    # S and R of each node, until its parent has read them.
    S_ = np.empty(f.t_ptr[f.n_nodes])
    R_ = np.empty(f.t_ptr[f.n_nodes])
    work_ = np.empty((n_threads, 3 * f.largest * f.largest + f.largest))
    bad_ = np.zeros(f.n_nodes, dtype=np.uint8)
    cdef double[::1] S = S_, R = R_
    cdef double[:, ::1] work = work_
    cdef unsigned char[::1] bad = bad_
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    for level in range(f.depth, -1, -1):
        with nogil:
            for j in prange(<Py_ssize_t> 1 << level, num_threads=n_threads, schedule="dynamic"):
                bad[(1 << level) - 1 + j] = _node[real](
                    f, (1 << level) - 1 + j, level == f.depth, j, shift, near, near_offset, far,
                    far_offset, far_transposed, interp, interp_ptr, order, order_ptr, S, R,
                    &work[threadid(), 0], watched)
        skhmat_pending(watch.stopped)
        if bad_.any():
            return False
    return True


cdef unsigned char _node(
    Factor f, Py_ssize_t node, bint is_leaf, Py_ssize_t leaf, const double[::1] shift,
    const real[::1] near, const Py_ssize_t[::1] near_offset,
    const real[::1] far, const Py_ssize_t[::1] far_offset, const unsigned char[::1] far_transposed,
    const real[::1] interp, const Py_ssize_t[::1] interp_ptr,
    const Py_ssize_t[::1] order, const Py_ssize_t[::1] order_ptr,
    double[::1] S, double[::1] R, double* work, skhmat_watch* watch,
) noexcept nogil:
    cdef int m = <int> f.size[node], r = <int> f.rank[node], q = m - r, info = 0, i, j
    cdef double* M = work
    cdef double* Y = work + m * m
    cdef double* tau = work + 3 * f.largest * f.largest
    cdef double* V
    cdef double* T
    cdef double* L
    cdef double* W
    cdef double one = 1.0, minus = -1.0
    cdef int lwork
    if m == 0 or skhmat_stopped(watch):
        return 0
    V, T = <double*> &f.V[0] + f.v_ptr[node], <double*> &f.T[0] + f.t_ptr[node]
    L, W = <double*> &f.L[0] + f.l_ptr[node], <double*> &f.W[0] + f.w_ptr[node]
    if is_leaf:  # M = D + shift
        for i in range(m * m):
            M[i] = near[near_offset[leaf] + i]
        for i in range(m):
            M[i * m + i] += shift[f.permutation[f.leaf_bounds[leaf] + i]]
    else:
        _assemble[real](f, node, far, far_offset, far_transposed, S, R, M, Y)
    if r > 0:
        # Step 1: U = Q [R; 0], and M becomes Q^T M Q.
        _basis[real](f, node, is_leaf, interp, interp_ptr, order, order_ptr, R, V)
        lwork = m * m
        dgeqrf(&m, &r, V, &m, tau, Y, &lwork, &info)
        for j in range(r):
            for i in range(r):
                R[f.t_ptr[node] + j * r + i] = V[j * m + i] if i <= j else 0.0
        for j in range(r):  # explicit unit lower trapezoid
            for i in range(j):
                V[j * m + i] = 0.0
            V[j * m + j] = 1.0
        memset(T, 0, r * r * sizeof(double))
        dlarft(b"F", b"C", &m, &r, V, &m, tau, T, &r)
        _rotation(m, r, True, M, V, T, Y)
        dsyr2k(b"L", b"N", &m, &r, &minus, Y, &m, V, &m, &one, M, &m)
    if q > 0:  # step 2
        for j in range(q):
            memcpy(L + j * q, M + (r + j) * m + r, q * sizeof(double))
        dpotrf(b"L", &q, L, &q, &info)
        if info != 0:
            return 1
    if r > 0:
        for j in range(r):
            memcpy(W + j * q, M + j * m + r, q * sizeof(double))
        if q > 0:
            dtrsm(b"L", b"L", b"N", b"N", &q, &r, &one, L, &q, W, &q)
        for j in range(r):  # step 3
            memcpy(&S[f.t_ptr[node] + j * r], M + j * m, r * sizeof(double))
        if q > 0:
            dsyrk(b"L", b"T", &r, &q, &minus, W, &q, &one, &S[f.t_ptr[node]], &r)
    return 0


cdef void _rotation(
    int m, int r, bint transposed, const double* M, const double* V, const double* T, double* Z,
) noexcept nogil:
    """Compute Z, (m, r), with Q^T M Q = M - Z V^T - V Z^T (or Q M Q^T if not transposed).

    With Q = I - V T V^T and Y = M V,

        Q^T M Q = M - Y T V^T - V (Y T)^T + V (T^T V^T Y T) V^T,

    and half of the last, symmetric term goes to each of the two others, which gives
    Z = Y T - V T^T V^T Y T / 2. For Q M Q^T, T^T takes the place of T. The lower triangle of M is
    read; Z has room for r^2 more numbers.
    """
    cdef double one = 1.0, zero = 0.0, minus_half = -0.5
    cdef char* right = b"N" if transposed else b"T"
    cdef char* left = b"T" if transposed else b"N"
    cdef double* C = Z + m * m
    dsymm(b"L", b"L", &m, &r, &one, <double*> M, &m, <double*> V, &m, &zero, Z, &m)
    dtrmm(b"R", b"U", right, b"N", &m, &r, &one, <double*> T, &r, Z, &m)
    dgemm(b"T", b"N", &r, &r, &m, &one, <double*> V, &m, Z, &m, &zero, C, &r)
    dtrmm(b"L", b"U", left, b"N", &r, &r, &one, <double*> T, &r, C, &r)
    dgemm(b"N", b"N", &m, &r, &r, &minus_half, <double*> V, &m, C, &r, &one, Z, &m)


cdef void _assemble(
    Factor f, Py_ssize_t node, const real[::1] far, const Py_ssize_t[::1] far_offset,
    const unsigned char[::1] far_transposed, double[::1] S, double[::1] R, double* M, double* C,
) noexcept nogil:
    """Write the lower triangle of M = [[S_a, .], [R_b B^T R_a^T, S_b]] from the children a, b."""
    cdef Py_ssize_t a = 2 * node + 1, b = a + 1
    cdef int ra = <int> f.rank[a], rb = <int> f.rank[b], m = ra + rb, i, j
    cdef double one = 1.0
    for j in range(ra):
        memcpy(M + j * m, &S[f.t_ptr[a] + j * ra], ra * sizeof(double))
    for j in range(rb):
        memcpy(M + (ra + j) * m + ra, &S[f.t_ptr[b] + j * rb], rb * sizeof(double))
    if ra == 0 or rb == 0:
        return
    # C = B^T, (rb, ra); far holds B row by row, or B^T row by row where it is transposed.
    for j in range(ra):
        for i in range(rb):
            if far_transposed[node]:
                C[j * rb + i] = far[far_offset[node] + i * ra + j]
            else:
                C[j * rb + i] = far[far_offset[node] + j * rb + i]
    dtrmm(b"L", b"U", b"N", b"N", &rb, &ra, &one, &R[f.t_ptr[b]], &rb, C, &rb)
    dtrmm(b"R", b"U", b"T", b"N", &rb, &ra, &one, &R[f.t_ptr[a]], &ra, C, &rb)
    for j in range(ra):
        memcpy(M + j * m + ra, C + j * rb, rb * sizeof(double))


cdef void _basis(
    Factor f, Py_ssize_t node, bint is_leaf, const real[::1] interp,
    const Py_ssize_t[::1] interp_ptr, const Py_ssize_t[::1] order, const Py_ssize_t[::1] order_ptr,
    double[::1] R, double* U,
) noexcept nogil:
    """Write the basis U, (m, r): P^T of a leaf, diag(R_a, R_b) P^T of an inner node."""
    cdef int m = <int> f.size[node], r = <int> f.rank[node], ra, rb, i, j, row
    cdef Py_ssize_t a = 2 * node + 1, b = a + 1
    cdef double one = 1.0
    memset(U, 0, m * r * sizeof(double))
    for i in range(m):
        row = i if is_leaf else <int> order[order_ptr[node] + i]
        if i < r:
            U[i * m + row] = 1.0
        else:
            for j in range(r):
                U[j * m + row] = interp[interp_ptr[node] + (i - r) * r + j]
    if not is_leaf:
        ra, rb = <int> f.rank[a], <int> f.rank[b]
        if ra > 0:
            dtrmm(b"L", b"U", b"N", b"N", &ra, &r, &one, &R[f.t_ptr[a]], &ra, U, &m)
        if rb > 0:
            dtrmm(b"L", b"U", b"N", b"N", &rb, &r, &one, &R[f.t_ptr[b]], &rb, U + ra, &m)


def inverse_diagonal(Factor f, double[::1] out, int n_threads):
    """Write the diagonal of (K + shift I)^-1 to `out`, (n,), in the user's order.

    This is a selected inversion (Lin et al., ACM Trans. Math. Softw. 37, 2011), from the root to
    the leaves. Let G be the block of the inverse for the rows that a node passes to its parent. For
    all rows of the node, rotated by Q, block elimination gives
    [[G, .], [-X G, (L L^T)^-1 + X G X^T]] with X = L^-T W.
    """
    cdef Py_ssize_t level, j
    G_ = np.empty(max(f.t_ptr[f.n_nodes], 1))
    work_ = np.empty((n_threads, 3 * f.largest * f.largest))
    cdef double[::1] G = G_
    cdef double[:, ::1] work = work_
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    with nogil:
        for level in range(f.depth + 1):
            for j in prange(<Py_ssize_t> 1 << level, num_threads=n_threads, schedule="dynamic"):
                _inverse_node(
                    f, (1 << level) - 1 + j, level == f.depth, j, &G[0], out, &work[threadid(), 0],
                    watched)
    skhmat_pending(watch.stopped)


cdef void _inverse_node(
    Factor f, Py_ssize_t node, bint is_leaf, Py_ssize_t leaf, double* G, double[::1] out,
    double* work, skhmat_watch* watch,
) noexcept nogil:
    cdef int m = <int> f.size[node], r = <int> f.rank[node], q = m - r, info = 0, i, j, ra, rb
    cdef double* M = work
    cdef double* Z = work + m * m
    cdef double* M22 = M + r * m + r
    cdef double* V = <double*> &f.V[0] + f.v_ptr[node]
    cdef double* L = <double*> &f.L[0] + f.l_ptr[node]
    cdef double one = 1.0, minus = -1.0, zero = 0.0, minus_half = -0.5, rotated
    if m == 0 or skhmat_stopped(watch):
        return
    for j in range(r):
        memcpy(M + j * m, G + f.t_ptr[node] + j * r, r * sizeof(double))
    for j in range(q):
        memcpy(M22 + j * m, L + j * q, q * sizeof(double))
    if q > 0:
        dpotri(b"L", &q, M22, &m, &info)
    if q > 0 and r > 0:
        memcpy(Z, &f.W[f.w_ptr[node]], q * r * sizeof(double))
        dtrsm(b"L", b"L", b"T", b"N", &q, &r, &one, L, &q, Z, &q)
        dsymm(b"R", b"L", &q, &r, &minus, M, &m, Z, &q, &zero, M + r, &m)
        dsyr2k(b"L", b"N", &q, &r, &minus_half, M + r, &m, Z, &q, &one, M22, &m)
    if r > 0:
        _rotation(m, r, False, M, V, &f.T[f.t_ptr[node]], Z)
    if is_leaf:
        for i in range(m):
            rotated = M[i * m + i]
            for j in range(r):
                rotated = rotated - 2.0 * Z[j * m + i] * V[j * m + i]
            out[f.permutation[f.leaf_bounds[leaf] + i]] = rotated
        return
    if r > 0:
        dsyr2k(b"L", b"N", &m, &r, &minus, Z, &m, V, &m, &one, M, &m)
    ra, rb = <int> f.rank[2 * node + 1], <int> f.rank[2 * node + 2]
    for j in range(ra):
        memcpy(G + f.t_ptr[2 * node + 1] + j * ra, M + j * m, ra * sizeof(double))
    for j in range(rb):
        memcpy(G + f.t_ptr[2 * node + 2] + j * rb, M + (ra + j) * m + ra, rb * sizeof(double))


def solve(Factor f, const double[:, ::1] B, double[:, ::1] out, double[:, ::1] rows, int n_threads):
    """Write (K + shift I)^-1 B to `out`.

    Parameters
    ----------
    B, out : (n, k), in the user's order
    rows : (n_rows, k), work space for the rows of each node
    """
    cdef Py_ssize_t level, j
    cdef int k = <int> B.shape[1]
    work_ = np.empty((n_threads, f.largest * k))
    cdef double[:, ::1] work = work_
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    with nogil:
        for level in range(f.depth, -1, -1):
            for j in prange(<Py_ssize_t> 1 << level, num_threads=n_threads, schedule="dynamic"):
                _forward(
                    f, (1 << level) - 1 + j, level == f.depth, j, B, rows, &work[threadid(), 0],
                    watched)
        for level in range(f.depth + 1):
            for j in prange(<Py_ssize_t> 1 << level, num_threads=n_threads, schedule="dynamic"):
                _backward(
                    f, (1 << level) - 1 + j, level == f.depth, j, out, rows, &work[threadid(), 0],
                    watched)
    skhmat_pending(watch.stopped)


cdef void _rotate(
    Factor f, Py_ssize_t node, bint transposed, double* x, int k, double* work
) noexcept nogil:
    """Replace the row-major rows x of a node, (m, k), by Q^T x or Q x."""
    cdef int m = <int> f.size[node], r = <int> f.rank[node]
    cdef double one = 1.0, minus = -1.0, zero = 0.0
    cdef double* V = <double*> &f.V[0] + f.v_ptr[node]
    cdef double* T = <double*> &f.T[0] + f.t_ptr[node]
    # Transposed: x^T, (k, m), column-major. work = x^T V, then times T (for Q^T) or T^T (for Q).
    dgemm(b"N", b"N", &k, &r, &m, &one, x, &k, V, &m, &zero, work, &k)
    dtrmm(b"R", b"U", b"N" if transposed else b"T", b"N", &k, &r, &one, T, &r, work, &k)
    dgemm(b"N", b"T", &k, &m, &r, &minus, work, &k, V, &m, &one, x, &k)


cdef inline Py_ssize_t _row_in_parent(Factor f, Py_ssize_t node) noexcept nogil:
    """Return the first row of a node in its parent: those of the left child come first."""
    return f.row_ptr[(node - 1) >> 1] + (f.rank[node - 1] if node % 2 == 0 else 0)


cdef void _forward(
    Factor f, Py_ssize_t node, bint is_leaf, Py_ssize_t leaf, const double[:, ::1] B,
    double[:, ::1] rows, double* work, skhmat_watch* watch,
) noexcept nogil:
    cdef int m = <int> f.size[node], r = <int> f.rank[node], q = m - r, k = <int> rows.shape[1]
    cdef Py_ssize_t i
    cdef double one = 1.0, minus = -1.0
    cdef double* x
    if m == 0 or k == 0 or skhmat_stopped(watch):
        return
    x = &rows[f.row_ptr[node], 0]
    if is_leaf:
        for i in range(m):
            memcpy(x + i * k, &B[f.permutation[f.leaf_bounds[leaf] + i], 0], k * sizeof(double))
    if r > 0:
        _rotate(f, node, True, x, k, work)
    if q > 0:  # y = L^-1 x_2, that is y^T L^T = x_2^T
        dtrsm(
            b"R", b"L", b"T", b"N", &k, &q, &one, <double*> &f.L[f.l_ptr[node]], &q, x + r * k, &k)
    if r == 0:
        return
    if q > 0:  # x_1 -= W^T y
        dgemm(
            b"N", b"N", &k, &r, &q, &minus, x + r * k, &k, <double*> &f.W[f.w_ptr[node]], &q,
            &one, x, &k)
    memcpy(&rows[_row_in_parent(f, node), 0], x, r * k * sizeof(double))


cdef void _backward(
    Factor f, Py_ssize_t node, bint is_leaf, Py_ssize_t leaf, double[:, ::1] out,
    double[:, ::1] rows, double* work, skhmat_watch* watch,
) noexcept nogil:
    cdef int m = <int> f.size[node], r = <int> f.rank[node], q = m - r, k = <int> rows.shape[1]
    cdef Py_ssize_t i
    cdef double one = 1.0, minus = -1.0
    cdef double* x
    if m == 0 or k == 0 or skhmat_stopped(watch):
        return
    x = &rows[f.row_ptr[node], 0]
    if r > 0:
        memcpy(x, &rows[_row_in_parent(f, node), 0], r * k * sizeof(double))
        if q > 0:  # y -= W x_1
            dgemm(
                b"N", b"T", &k, &q, &r, &minus, x, &k, <double*> &f.W[f.w_ptr[node]], &q, &one,
                x + r * k, &k)
    if q > 0:
        dtrsm(
            b"R", b"L", b"N", b"N", &k, &q, &one, <double*> &f.L[f.l_ptr[node]], &q, x + r * k, &k)
    if r > 0:
        _rotate(f, node, False, x, k, work)
    if is_leaf:
        for i in range(m):
            memcpy(&out[f.permutation[f.leaf_bounds[leaf] + i], 0], x + i * k, k * sizeof(double))
