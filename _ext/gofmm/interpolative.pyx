"""Interpolative decompositions of sampled blocks, truncated at a tolerance.

`pivoted_cholesky` works on the Gram matrix of the columns in float64. BLAS forms it at full speed,
from rows that may come in batches, and its factor is that of a column-pivoted QR. Squaring loses
half of the digits, so it is used down to remainders of about 1e-7 of the block; below that,
`pivoted_qr` works on the block itself. LAPACK's ``geqp3`` factorizes to the end; its panel routine
``laqps`` (Quintana-Orti, Sun and Bischof, SIAM J. Sci. Comput. 19, 1998) is blocked and updates the
norms of the remaining columns, so we call it panel by panel and stop as soon as the remainder is
small enough.

A basis of rank k fits the m rows it was computed from better than other rows, by a factor of about
(m - k) / m in the norm. Both routines take `n_sampled`, the number of rows that are a random sample
(0 if all rows are there), and apply the tolerance to the estimated remainder outside the sample. Pi
is the permutation that puts the pivots first.
"""

from libc.math cimport INFINITY, fmax, sqrt
from scipy.linalg.cython_blas cimport dnrm2, dsyrk, dtrsm
from scipy.linalg.cython_lapack cimport dlaqps, dpstrf

from _blas cimport real


def add_gram(
    const real[:, ::1] At, const double[::1] weights, double[:, ::1] work, double[:, ::1] gram
):
    """Add At W At^T to gram, in the triangle gram[j, i] with i <= j that `pivoted_cholesky` reads.

    Parameters
    ----------
    At : (n, m), the transpose of the block
    weights : (n,), factor on each column of the block
    work : (n, m)
    gram : (n, n)
    """
    cdef int n = <int> At.shape[0], m = <int> At.shape[1]
    cdef Py_ssize_t i, j
    cdef double one = 1.0, weight
    if n == 0 or m == 0:
        return
    with nogil:
        for j in range(n):
            weight = weights[j]
            for i in range(m):
                work[j, i] = weight * At[j, i]
        dsyrk(b"U", b"T", &n, &m, &one, &work[0, 0], &m, &one, &gram[0, 0], &n)


def pivoted_cholesky(
    double[:, ::1] gram, double tolerance, Py_ssize_t max_rank, Py_ssize_t n_sampled,
    int[::1] pivots, double[::1] work,
):
    """Factorize gram = (A Pi)^T (A Pi) = R^T R in place until ||remainder of A||_F <= tolerance.

    Parameters
    ----------
    gram : (n, n), the triangle gram[j, i] with i <= j is read and overwritten by R
    tolerance : absolute, in the Frobenius norm
    max_rank : largest rank to return
    n_sampled : see above
    pivots : (n,), on return the columns of A in pivot order, counted from 0
    work : at least 2 n

    Returns
    -------
    rank : smallest rank whose remainder meets the tolerance, at most max_rank
    remainder : Frobenius norm of the remainder at that rank
    """
    cdef int n = <int> gram.shape[0], rank = 0, info = 0
    cdef Py_ssize_t j, i
    cdef double trace = 0.0, rest, largest, safety = 1.0, remainder = 0.0
    with nogil:
        for j in range(n):
            trace += gram[j, j]
        # pstrf stops at its largest pivot; the sum of the remaining ones is at most n times that.
        if n_sampled > 0:
            safety = fmax(1.0 - <double> n / n_sampled, 0.2)
        largest = fmax((safety * tolerance) ** 2 / n, 1e-16 * trace)
        dpstrf(b"U", &n, &gram[0, 0], &n, &pivots[0], &rank, &largest, &work[0], &info)
        rest = trace
        for j in range(n):
            pivots[j] -= 1
            for i in range(min(j + 1, rank)):
                rest -= gram[j, i] * gram[j, i]
        rank = <int> _truncated_rank(
            &gram[0, 0], n, n, rank, fmax(rest, 0.0), tolerance, max_rank, n_sampled, &remainder)
    return rank, remainder


def pivoted_qr(
    double[:, ::1] At, double tolerance, Py_ssize_t max_rank, Py_ssize_t n_sampled, int panel,
    int[::1] pivots, double[::1] work,
):
    """Factorize A = At^T by columns in place until ||remainder||_F <= tolerance.

    Parameters
    ----------
    At : (n, m) row-major, so A is (m, n) column-major; overwritten by the factors of A Pi = Q R
    tolerance : absolute, in the Frobenius norm
    max_rank : largest rank to return
    n_sampled : see above
    panel : columns factorized between two looks at the tolerance
    pivots : (n,), on return the columns of A in pivot order, counted from 0
    work : at least 4 n + panel (n + 1)

    Returns
    -------
    rank : smallest rank whose remainder meets the tolerance, at most max_rank
    remainder : Frobenius norm of the remainder at that rank
    """
    cdef int n = <int> At.shape[0], m = <int> At.shape[1]
    cdef Py_ssize_t rank
    cdef double remainder = 0.0
    with nogil:
        rank = _factorize(
            &At[0, 0], m, n, tolerance, max_rank, n_sampled, panel,
            &pivots[0], &work[0], &remainder)
    return rank, remainder


cdef Py_ssize_t _factorize(
    double* A, int m, int n, double tolerance, Py_ssize_t max_rank, Py_ssize_t n_sampled, int panel,
    int* pivots, double* work, double* remainder,
) noexcept nogil:
    cdef double* tau = work
    cdef double* norms = work + n
    cdef double* norms_reference = work + 2 * n
    cdef double* aux = work + 3 * n
    cdef double* F = work + 3 * n + panel
    cdef int one = 1, j, width, done, offset = 0, left, limit
    cdef double rest = 0.0
    limit = min(m, n)
    for j in range(n):
        pivots[j] = j
        norms[j] = dnrm2(&m, A + <Py_ssize_t> j * m, &one)
        norms_reference[j] = norms[j]
        rest += norms[j] * norms[j]
    while offset < limit and offset < max_rank and _outside(rest, offset, n_sampled) > tolerance:
        width = min(panel, limit - offset)
        left = n - offset
        done = 0
        dlaqps(&m, &left, &offset, &width, &done, A + <Py_ssize_t> offset * m, &m,
               pivots + offset, tau + offset, norms + offset, norms_reference + offset, aux,
               F, &left)
        offset += done
        rest = 0.0
        if offset < m:
            for j in range(offset, n):
                rest += norms[j] * norms[j]
    return _truncated_rank(A, m, n, offset, rest, tolerance, max_rank, n_sampled, remainder)


cdef Py_ssize_t _truncated_rank(
    const double* R, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t rank, double rest,
    double tolerance,
    Py_ssize_t max_rank, Py_ssize_t n_sampled, double* remainder,
) noexcept nogil:
    """Lower the rank while the remainder stays small enough: both factorizations overshoot."""
    cdef double row
    cdef Py_ssize_t j
    while rank > 0:
        row = 0.0
        for j in range(rank - 1, n):
            row += R[j * stride + rank - 1] * R[j * stride + rank - 1]
        if rank <= max_rank and _outside(rest + row, rank - 1, n_sampled) > tolerance:
            break
        rest += row
        rank -= 1
    remainder[0] = _outside(rest, rank, n_sampled)
    return rank


cdef inline double _outside(double square, Py_ssize_t rank, Py_ssize_t n_sampled) noexcept nogil:
    """Estimate the norm of the remainder on rows outside the sample."""
    if n_sampled == 0:
        return sqrt(square)
    if rank >= n_sampled:
        return INFINITY if square > 0 else 0.0
    return sqrt(square) * n_sampled / (n_sampled - rank)


def interpolation(const double[:, ::1] R, Py_ssize_t rank, double[:, ::1] out):
    """Write (R11^-1 R12)^T, (n - rank, rank), to `out`; the factor is R[j, i], i <= j."""
    cdef int n = <int> R.shape[0], m = <int> R.shape[1], r = <int> rank, rest = n - r
    cdef Py_ssize_t i, j
    cdef double one = 1.0
    with nogil:
        for j in range(rest):
            for i in range(r):
                out[j, i] = R[r + j, i]
        if rest > 0 and r > 0:
            # Row-major (rest, r) is column-major (r, rest): solve R11 X = R12 in place.
            dtrsm(
                b"L", b"U", b"N", b"N", &r, &rest, &one, <double*> &R[0, 0], &m, &out[0, 0], &r)
