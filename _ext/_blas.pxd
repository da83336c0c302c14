"""Row-major products on raw pointers, float32 and float64, through SciPy's BLAS.

A row-major matrix is the transpose of a column-major one, so each product is handed to BLAS with
its factors exchanged; one right-hand side goes to the matrix-vector routine, which reads the matrix
once.
"""

from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

ctypedef fused real:
    float
    double


cdef inline void add_product(
    const real* A, const real* B, real* C, int m, int c, int k, int ldb, int ldc, real beta
) noexcept nogil:
    """C = beta C + A B with A (m, c) contiguous, B (c, k), C (m, k) of row strides ldb, ldc."""
    cdef int one = 1
    cdef real alpha = 1.0
    if m == 0 or k == 0:
        return
    if k == 1 and ldb == 1 and ldc == 1:
        if real is float:
            sgemv(b"T", &c, &m, &alpha, <float*> A, &c, <float*> B, &one, &beta, C, &one)
        else:
            dgemv(b"T", &c, &m, &alpha, <double*> A, &c, <double*> B, &one, &beta, C, &one)
    elif real is float:
        sgemm(b"N", b"N", &k, &m, &c, &alpha, <float*> B, &ldb, <float*> A, &c, &beta, C, &ldc)
    else:
        dgemm(b"N", b"N", &k, &m, &c, &alpha, <double*> B, &ldb, <double*> A, &c, &beta, C, &ldc)


cdef inline void add_product_transposed(
    const real* A, const real* B, real* C, int m, int c, int k, int ldb, int ldc, real beta
) noexcept nogil:
    """C = beta C + A^T B with A (c, m) contiguous, B (c, k), C (m, k) of row strides ldb, ldc."""
    cdef int one = 1
    cdef real alpha = 1.0
    if m == 0 or k == 0:
        return
    if k == 1 and ldb == 1 and ldc == 1:
        if real is float:
            sgemv(b"N", &m, &c, &alpha, <float*> A, &m, <float*> B, &one, &beta, C, &one)
        else:
            dgemv(b"N", &m, &c, &alpha, <double*> A, &m, <double*> B, &one, &beta, C, &one)
    elif real is float:
        sgemm(b"N", b"T", &k, &m, &c, &alpha, <float*> B, &ldb, <float*> A, &m, &beta, C, &ldc)
    else:
        dgemm(b"N", b"T", &k, &m, &c, &alpha, <double*> B, &ldb, <double*> A, &m, &beta, C, &ldc)
