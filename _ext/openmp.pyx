"""OpenMP: whether the core was compiled with it, and how many threads it would use."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define SKHMAT_OPENMP 1
    #else
    #define SKHMAT_OPENMP 0
    static int omp_get_max_threads(void) { return 1; }
    #endif
    """
    int SKHMAT_OPENMP
    int omp_get_max_threads() nogil

HAS_OPENMP = bool(SKHMAT_OPENMP)


def max_threads():
    """Return how many threads a parallel region would use now (1 without OpenMP)."""
    return omp_get_max_threads()
