"""The declarations of simd.h, where they are explained, for the modules of this folder."""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, intptr_t

cdef extern from "simd.h" nogil:
    ctypedef void skhmat_sgemm(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*,
                               float*, float*, int*)
    ctypedef void skhmat_dgemm(char*, char*, int*, int*, int*, double*, double*, int*, double*,
                               int*, double*, double*, int*)

    struct skhmat_rows:
        intptr_t n
        const intptr_t* start
        const int32_t* cols
        const double* entries

    struct skhmat_step:
        const double* W
        intptr_t k
        double scale, shift, factor
        const double* before
        double* out

    struct skhmat_density:
        int kernel
        double c
        double support
        double rtol
        double atol

    struct skhmat_log_sums_f32:
        skhmat_density density
        intptr_t n_rows, n_cols, d
        const float* X
        const float* Y
        const float* weights
        const intptr_t* exclude
        double* out
        double* largest

    struct skhmat_log_sums_f64:
        skhmat_density density
        intptr_t n_rows, n_cols, d
        const double* X
        const double* Y
        const double* weights
        const intptr_t* exclude
        double* out
        double* largest

    struct skhmat_tree:
        intptr_t n_nodes, d
        const intptr_t* first
        const intptr_t* last
        const double* low
        const double* high
        const double* mean
        const double* spread
        const double* weight
        const double* log_weight
        const double* Y
        intptr_t stride
        const double* weights

    struct skhmat_nearest:
        int (*search_points_f32)(const float*, intptr_t, const intptr_t*, intptr_t, const intptr_t*,
                                 intptr_t, const intptr_t*, float*, int32_t*,
                                 intptr_t) noexcept nogil
        int (*search_points_f64)(const double*, intptr_t, const intptr_t*, intptr_t,
                                 const intptr_t*, intptr_t, const intptr_t*, double*, int32_t*,
                                 intptr_t) noexcept nogil
        int (*search_gram_f32)(const float*, const float*, const float*, const intptr_t*, intptr_t,
                               const intptr_t*, intptr_t, const intptr_t*, float*, int32_t*,
                               intptr_t) noexcept nogil
        int (*search_gram_f64)(const double*, const double*, const double*, const intptr_t*,
                               intptr_t, const intptr_t*, intptr_t, const intptr_t*, double*,
                               int32_t*, intptr_t) noexcept nogil
        void (*project_points_f32)(const float*, intptr_t, const intptr_t*, intptr_t, const float*,
                                   const float*, float*) noexcept nogil
        void (*project_points_f64)(const double*, intptr_t, const intptr_t*, intptr_t,
                                   const double*, const double*, float*) noexcept nogil

    struct skhmat_simd:
        const char* isa
        int (*block_f32)(const float*, const intptr_t*, intptr_t, const float*, const intptr_t*,
                         intptr_t, intptr_t, int, const double*, float*, int) noexcept nogil
        int (*block_f64)(const double*, const intptr_t*, intptr_t, const double*, const intptr_t*,
                         intptr_t, intptr_t, int, const double*, double*, int) noexcept nogil
        int (*matmat_f32)(const float*, intptr_t, const float*, intptr_t, intptr_t, const float*,
                          intptr_t, int, const double*, float*, skhmat_sgemm*, int) noexcept nogil
        int (*matmat_f64)(const double*, intptr_t, const double*, intptr_t, intptr_t, const double*,
                          intptr_t, int, const double*, double*, skhmat_dgemm*, int) noexcept nogil
        void (*values_f64)(int, const double*, intptr_t, double*, intptr_t) noexcept nogil
        void (*exp_f32)(const float*, float*, intptr_t) noexcept nogil
        void (*exp_f64)(const double*, double*, intptr_t) noexcept nogil
        int (*sparse_f64)(const skhmat_rows*, const skhmat_step*, int) noexcept nogil
        int (*log_sums_f32)(const skhmat_log_sums_f32*, int) noexcept nogil
        int (*log_sums_f64)(const skhmat_log_sums_f64*, int) noexcept nogil
        int (*tree_log_sums_f64)(const skhmat_tree*, const skhmat_density*, const double*,
                                 intptr_t, const intptr_t*, double*, double*, int) noexcept nogil
        int lanes_f32
        void (*tile_f32)(const float*, intptr_t, intptr_t, intptr_t, const float*, const float*,
                         float*, float*, int) noexcept nogil
        const skhmat_nearest* nearest

    const skhmat_simd* skhmat_simd_named(const char*)
    const skhmat_simd* skhmat_simd_best()

    const char* SKHMAT_CHOSEN


cdef inline const skhmat_simd** chosen_in(capsule) except NULL:
    """Return where `dispatch` keeps the chosen instruction set, to be read again at every call."""
    return <const skhmat_simd**> PyCapsule_GetPointer(capsule, SKHMAT_CHOSEN)
