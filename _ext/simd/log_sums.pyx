"""Logarithms of sums of density kernels; the loops are C, in log_sums.h and log_sums_tree.h."""

from cython cimport floating
from libc.stdint cimport intptr_t

from _interrupt cimport skhmat_pending
from simd.loops cimport (
    chosen_in, skhmat_density, skhmat_log_sums_f32, skhmat_log_sums_f64, skhmat_simd, skhmat_tree,
)

from .dispatch import chosen_table

cdef extern from "density_table.h" nogil:
    int SKHMAT_N_DENSITIES
    const char** skhmat_density_names
    bint skhmat_is_compact(int)

# The number of each kernel, and those that are 0 beyond the bandwidth; see density_table.h.
DENSITIES = {skhmat_density_names[i].decode(): i for i in range(SKHMAT_N_DENSITIES)}
COMPACT = frozenset(name for name, i in DENSITIES.items() if skhmat_is_compact(i))

cdef const skhmat_simd** chosen = chosen_in(chosen_table)


cdef skhmat_density _density(int kernel_id, const double[::1] params) noexcept:
    return skhmat_density(kernel_id, params[0], params[1], params[2], params[3])


def log_sums(
    const floating[:, ::1] X,
    const floating[:, ::1] Y,
    const floating[::1] weights,
    const intptr_t[::1] exclude,
    int kernel_id,
    const double[::1] params,
    double[::1] out,
    double[::1] largest,
    int n_threads=1,
):
    """Write ``log sum_j w[j] k(X[i], Y[j])`` to ``out[i]``, and the largest term to `largest`.

    Parameters
    ----------
    weights : the logarithms of `w` for the gaussian and the exponential kernel, otherwise `w`; None
        means 1
    exclude : the column that is left out of each row; None means none
    params : c, support, rtol and atol of skhmat_density in simd.h; the last two are not used
    """
    cdef skhmat_log_sums_f32 in_f32
    cdef skhmat_log_sums_f64 in_f64
    cdef intptr_t m = X.shape[0], n = Y.shape[0], d = X.shape[1]
    cdef const floating* w = NULL
    cdef const intptr_t* left_out = NULL
    cdef int status
    if m == 0:
        return
    if weights is not None:
        w = &weights[0]
    if exclude is not None:
        left_out = &exclude[0]
    if floating is float:
        in_f32 = skhmat_log_sums_f32(
            _density(kernel_id, params), m, n, d, &X[0, 0], &Y[0, 0], w, left_out, &out[0],
            &largest[0])
        with nogil:
            status = chosen[0].log_sums_f32(&in_f32, n_threads)
    else:
        in_f64 = skhmat_log_sums_f64(
            _density(kernel_id, params), m, n, d, &X[0, 0], &Y[0, 0], w, left_out, &out[0],
            &largest[0])
        with nogil:
            status = chosen[0].log_sums_f64(&in_f64, n_threads)
    skhmat_pending(status)
    if status:
        raise MemoryError(f"no memory to pack {m} + {n} points in {d} dimensions")


def tree_log_sums(
    const intptr_t[::1] first,
    const intptr_t[::1] last,
    const double[:, ::1] low,
    const double[:, ::1] high,
    const double[:, ::1] mean,
    const double[::1] spread,
    const double[::1] weight,
    const double[::1] log_weight,
    const double[:, ::1] Y,
    const double[::1] weights,
    const double[:, ::1] X,
    const intptr_t[::1] exclude,
    int kernel_id,
    const double[::1] params,
    double[::1] out,
    double[:, ::1] work,
    int n_threads=1,
):
    """Write ``log sum_j w[j] k(X[i], Y[j])`` to ``out[i]``, within the tolerances in `params`.

    The arguments up to `weights` are those of skhmat_tree in simd.h; `Y` has a row for each
    coordinate. `work` receives the numbers of points summed directly and of nodes visited.
    """
    cdef skhmat_density density = _density(kernel_id, params)
    cdef const double* w = NULL
    cdef const intptr_t* left_out = NULL
    cdef skhmat_tree tree
    cdef int status
    if X.shape[0] == 0:
        return
    if weights is not None:
        w = &weights[0]
    if exclude is not None:
        left_out = &exclude[0]
    tree = skhmat_tree(
        first.shape[0], X.shape[1], &first[0], &last[0], &low[0, 0], &high[0, 0], &mean[0, 0],
        &spread[0], &weight[0], &log_weight[0], &Y[0, 0], Y.shape[1], w)
    with nogil:
        status = chosen[0].tree_log_sums_f64(
            &tree, &density, &X[0, 0], X.shape[0], left_out, &out[0], &work[0, 0], n_threads)
    skhmat_pending(status)
