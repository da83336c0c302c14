"""OpenMP: whether the core was compiled with it, and its threads."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define SKHMAT_OPENMP 1
    #else
    #define SKHMAT_OPENMP 0
    static int omp_get_max_threads(void) { return 1; }
    #endif
    /* Other OpenMP libraries than GNU's take care of forks themselves. */
    #if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
    static void skhmat_end_threads(void) { omp_pause_resource_all(omp_pause_hard); }
    #else
    static void skhmat_end_threads(void) { }
    #endif
    """
    int SKHMAT_OPENMP
    int omp_get_max_threads() nogil
    void skhmat_end_threads() nogil

HAS_OPENMP = bool(SKHMAT_OPENMP)


def max_threads():
    """Return how many threads a parallel region would use now (1 without OpenMP)."""
    return omp_get_max_threads()


def end_threads():
    """End the idle threads that wait for the next parallel region; it starts new ones.

    A forked child has none of its parent's threads, but would wait for them forever.
    """
    with nogil:
        skhmat_end_threads()
