/* Ctrl-C, and other signals, while a loop runs without the GIL.
 *
 * Python's handlers run in the main thread, between two instructions of Python: without this,
 * after the loop. Here the thread that entered it looks for signals a few times a second. If a handler
 * raises, its exception stays set, and all threads of the loop stop; what they have written is worthless.
 */
#ifndef SKHMAT_INTERRUPT_H
#define SKHMAT_INTERRUPT_H

#include <Python.h>

#include <math.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define SKHMAT_LOOK_AGAIN 0.1 /* seconds */
#define SKHMAT_INTERRUPTED 1  /* status of a loop that stopped */

/* Of one run of a loop; all threads see it. Begins as zeros. */
struct skhmat_watch {
    double looked; /* when signals were last looked for, in seconds; 0 before the first call */
    int stopped;
};

/* Whether to stop, without looking for signals. */
static inline int skhmat_has_stopped(const struct skhmat_watch *watch)
{
    return __atomic_load_n(&watch->stopped, __ATOMIC_RELAXED);
}

/* Whether to stop; to be asked about every millisecond. */
static inline int skhmat_stopped(struct skhmat_watch *watch)
{
    if (skhmat_has_stopped(watch))
        return 1;
#ifdef _OPENMP
    if (omp_get_thread_num() != 0)
        return 0;
#endif
    struct timespec now;
#ifdef CLOCK_MONOTONIC_COARSE
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* several times cheaper, and exact to milliseconds */
#else
    timespec_get(&now, TIME_UTC);
#endif
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (fabs(seconds - watch->looked) < SKHMAT_LOOK_AGAIN)
        return 0;
    const int is_first = watch->looked == 0;
    watch->looked = seconds;
    if (is_first)
        return 0;
    const PyGILState_STATE state = PyGILState_Ensure();
    const int stopped = PyErr_CheckSignals() != 0;
    PyGILState_Release(state);
    if (stopped)
        __atomic_store_n(&watch->stopped, 1, __ATOMIC_RELAXED);
    return stopped;
}

/* To be called with the GIL after the loop: -1 if an exception is set. */
static inline int skhmat_pending(int status)
{
    return status == SKHMAT_INTERRUPTED ? -1 : 0;
}

#endif
