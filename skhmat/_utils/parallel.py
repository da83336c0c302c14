"""Threads: how many there are, and BLAS limited to one while tasks run in parallel."""

import math
import os
import threading
from collections import deque
from contextlib import contextmanager
from functools import cache
from numbers import Integral

from joblib import cpu_count
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

from .._ext import openmp
from .validation import parameter_error

# More are a mistake, and the system would be asked for all of them.
_MAX_THREADS = 2**15

_limit_lock = threading.Lock()
_limit_depth = 0
_limit = None
# Threads that this process has already had at once.
_n_startable = 1


@cache
def _blas_controller():
    # Scanning the loaded libraries takes milliseconds, so it is done once. The BLAS that the
    # compiled core calls is SciPy's, which importing the core has loaded.
    return ThreadpoolController()


def _release_blas():
    """Let any thread change the limits; with threadpoolctl >= 3.8 only the first one may."""
    for library in _blas_controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@contextmanager
def single_threaded_blas():
    """Limit BLAS to one thread; the last of nested or concurrent uses restores the old number."""
    global _limit_depth, _limit
    with _limit_lock:
        if _limit_depth == 0:
            _release_blas()
            _limit = _blas_controller().limit(limits=1, user_api="blas")
        _limit_depth += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_depth -= 1
            if _limit_depth == 0:
                _release_blas()  # the thread that comes last need not be the one that came first
                _limit.restore_original_limits()
                _release_blas()
                _limit = None


def _after_fork_in_child():
    """Replace the lock: one that another thread of the parent held would never be released."""
    global _limit_lock
    _limit_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=openmp.end_threads, after_in_child=_after_fork_in_child)


def effective_n_threads(n_jobs=None):
    """Return the number of threads `n_jobs` stands for.

    Parameters
    ----------
    n_jobs : int or None
        None means what OpenMP would use (``OMP_NUM_THREADS``, or all cores); -1 all cores that the
        process may use, -2 all but one, as in joblib. In a worker of joblib, which shares them with
        others, negative numbers mean one thread.

    Returns
    -------
    int
        At least 1; fewer than asked for where the system does not start so many.
    """
    is_integer = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (is_integer and n_jobs != 0):
        raise parameter_error("n_jobs", "None or an integer other than 0", n_jobs)
    if n_jobs is not None and abs(int(n_jobs)) > _MAX_THREADS:
        raise parameter_error("n_jobs", f"of a magnitude of at most {_MAX_THREADS}", n_jobs)
    if n_jobs is None:
        n_threads = openmp.max_threads() if openmp.HAS_OPENMP else 1
    elif n_jobs > 0:
        n_threads = int(n_jobs)
    else:
        n_threads = 1 if _is_in_worker() else max(1, cpu_count() + 1 + int(n_jobs))
    return _startable(n_threads)


def _is_in_worker():
    """Return whether this is a worker of `joblib.Parallel`, a process or a thread."""
    return (get_active_backend()[0].nesting_level or 0) > 0


def _start_threads(target, n, threads):
    """Start `n` threads, or as many as the system has room for, and append them to a list."""
    for _ in range(n):
        thread = threading.Thread(target=target)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            break
        threads.append(thread)


def _startable(n):
    """Return how many of `n` threads the system has room for."""
    global _n_startable
    if n > _n_startable:
        n = openmp.start_threads(n)
        _n_startable = max(n, _n_startable)
    return n


def run_tasks(function, tasks, n_threads):
    """Call ``function(task)`` for each task on `n_threads` threads; the results come in order.

    The calling thread is one of them. Where the system starts no more threads, those that it has
    started do the work. The functions release the GIL in their compiled parts; BLAS runs on one
    thread meanwhile. After an exception, or an interrupt, no further task begins.
    """
    waiting = deque(enumerate(tasks))
    results, errors = [None] * len(waiting), {}

    def work():
        while waiting:
            try:
                number, task = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                results[number] = function(task)
            except BaseException as error:
                errors[number] = error
                waiting.clear()

    with single_threaded_blas():
        threads = []
        try:
            _start_threads(work, min(n_threads, len(waiting)) - 1, threads)
            work()
        finally:
            waiting.clear()
            for thread in threads:
                thread.join()
    if errors:
        # Tasks begin in order: this is the first one that fails, however many threads there are.
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # its traceback leads here: a cycle that would keep arrays alive
    return results


def physical_memory():
    """Return the machine's memory in bytes, or infinity where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf
