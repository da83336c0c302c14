"""Signals while a loop runs without the GIL; interrupt.h explains."""

cdef extern from "interrupt.h" nogil:
    struct skhmat_watch:
        double looked
        int stopped

    bint skhmat_has_stopped(const skhmat_watch*)
    bint skhmat_stopped(skhmat_watch*)

cdef extern from "interrupt.h":
    # Raises the exception of the signal handler that stopped a loop of this status.
    int skhmat_pending(int status) except -1
