"""Row-major products on raw pointers, float32 and float64, through SciPy's BLAS.

A row-major matrix is the transpose of a column-major one, so each product is handed to BLAS with
its factors exchanged. One right-hand side is bound by memory, and read row by row, in one stream:
OpenBLAS reads four rows at a time, at less than half of the bandwidth in blocks of our size.
"""

from scipy.linalg.cython_blas cimport dgemm, sgemm

ctypedef fused real:
    float
    double


cdef inline void _add_rows(
    const real* A, const real* x, real* y, int m, int c, real beta
) noexcept nogil:
    """y = beta y + A x with A (m, c); 16 sums at a time, for the processor to overlap."""
    cdef Py_ssize_t i, j, t, whole = c - c % 16
    cdef real sums[16]
    cdef real total
    cdef const real* row
    for i in range(m):
        row = A + i * c
        for t in range(16):
            sums[t] = 0.0
        for j in range(0, whole, 16):
            for t in range(16):
                sums[t] += row[j + t] * x[j + t]
        total = 0.0
        for j in range(whole, c):
            total += row[j] * x[j]
        for t in range(8):
            sums[t] += sums[t + 8]
        for t in range(4):
            sums[t] += sums[t + 4]
        total += (sums[0] + sums[2]) + (sums[1] + sums[3])
        y[i] = total if beta == 0.0 else beta * y[i] + total


cdef inline void _add_columns(
    const real* A, const real* x, real* y, int m, int c, real beta
) noexcept nogil:
    """y = beta y + A^T x with A (c, m)."""
    cdef Py_ssize_t i, j
    cdef const real* row
    for i in range(m):
        y[i] = 0.0 if beta == 0.0 else beta * y[i]
    for j in range(c):
        row = A + j * m
        for i in range(m):
            y[i] += x[j] * row[i]


cdef inline void add_product(
    const real* A, bint transposed, const real* B, real* C, int m, int c, int k, real beta
) noexcept nogil:
    """C = beta C + A B with A (m, c), or stored transposed (c, m), B (c, k), C (m, k)."""
    cdef real alpha = 1.0
    cdef char* op = b"T" if transposed else b"N"
    cdef int lda = m if transposed else c
    if m == 0 or k == 0:
        return
    if k == 1 and transposed:
        _add_columns(A, B, C, m, c, beta)
    elif k == 1:
        _add_rows(A, B, C, m, c, beta)
    elif real is float:
        sgemm(b"N", op, &k, &m, &c, &alpha, <float*> B, &k, <float*> A, &lda, &beta, C, &k)
    else:
        dgemm(b"N", op, &k, &m, &c, &alpha, <double*> B, &k, <double*> A, &lda, &beta, C, &k)
