"""OpenMP: whether the core was compiled with it, and its threads."""

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef _OPENMP
    #include <omp.h>
    #include <pthread.h>
    #define SKHMAT_OPENMP 1

    static pthread_mutex_t skhmat_gate = PTHREAD_MUTEX_INITIALIZER;

    static void *skhmat_wait(void *unused)
    {
        pthread_mutex_lock(&skhmat_gate);
        pthread_mutex_unlock(&skhmat_gate);
        return unused;
    }

    /* Start threads that wait until all of them are there; they end before this returns. */
    static int skhmat_try_threads(int n)
    {
        int started = 0;
        pthread_t *threads = (pthread_t *)malloc(n * sizeof(pthread_t));
        if (!threads)
            return 0;
        pthread_mutex_lock(&skhmat_gate);
        while (started < n && !pthread_create(threads + started, NULL, skhmat_wait, NULL))
            started++;
        pthread_mutex_unlock(&skhmat_gate);
        for (int i = 0; i < started; i++)
            pthread_join(threads[i], NULL);
        free(threads);
        return started;
    }

    static void skhmat_start_threads(int n)
    {
        int count = 0;
        #pragma omp parallel num_threads(n) reduction(+ : count)
        count++;
    }
    #else
    #define SKHMAT_OPENMP 0
    static int omp_get_max_threads(void) { return 1; }
    static int skhmat_try_threads(int n) { return n; }
    static void skhmat_start_threads(int n) { }
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
    int skhmat_try_threads(int) nogil
    void skhmat_start_threads(int) nogil
    void skhmat_end_threads() nogil

HAS_OPENMP = bool(SKHMAT_OPENMP)


def max_threads():
    """Return how many threads a parallel region would use now (1 without OpenMP)."""
    return omp_get_max_threads()


def start_threads(int n):
    """Start the threads of parallel regions, at most `n` with this one; return how many there are.

    OpenMP ends the process if a thread cannot be started, so others are started first, to see.
    Where the system has no room for all, half of those that it has room for are taken: the work
    needs room, too.
    """
    cdef int started
    with nogil:
        started = skhmat_try_threads(n - 1)
        if started < n - 1:
            started //= 2
        skhmat_start_threads(started + 1)
    return started + 1


def end_threads():
    """End the idle threads that wait for the next parallel region; it starts new ones.

    A forked child has none of its parent's threads, but would wait for them forever.
    """
    with nogil:
        skhmat_end_threads()
