"""Threads: how many there are, and tasks that run on them while BLAS has one."""

import math
import os
import threading
from collections import deque
from functools import wraps
from numbers import Integral

import numpy as np
from joblib import cpu_count
from joblib.parallel import get_active_backend

from .._ext import openmp
from .blas import budget, limited_blas, openmp_threads, single_threaded_blas
from .validation import parameter_error

# More are a mistake, and the system would be asked for all of them.
_MAX_THREADS = 2**15

# Rows of a factor that are multiplied at once, and multiply-adds of a product, with at least 16 for
# each entry of the factor that is read, which take some milliseconds: less is done by one call.
_BLOCK_ROWS = 256
_MIN_OPERATIONS = 2**26
# Threads that this process has already had at once.
_n_startable = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=openmp.end_threads)


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
        n_threads = openmp_threads()
    elif n_jobs > 0:
        n_threads = int(n_jobs)
    else:
        n_threads = 1 if _is_in_worker() else max(1, cpu_count() + 1 + int(n_jobs))
    return _startable(n_threads)


def _is_in_worker():
    """Return whether this is a worker of `joblib.Parallel`, a process or a thread."""
    return (get_active_backend()[0].nesting_level or 0) > 0


def blas_budget(n_jobs=None):
    """Limit BLAS to one thread, and to those of `n_jobs` in products of the caller's.

    Every public function and method that computes takes one, around all that it does.
    """
    return limited_blas(effective_n_threads(n_jobs))


def budgeted(method):
    """Decorate a method of an estimator: BLAS obeys its `n_jobs`, if it has one, meanwhile."""

    @wraps(method)
    def wrapper(estimator, *args, **kwargs):
        if not hasattr(estimator, "n_jobs"):
            return method(estimator, *args, **kwargs)
        with blas_budget(estimator.n_jobs):
            return method(estimator, *args, **kwargs)

    return wrapper


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


def multiply(A, W, n_threads=None):
    """Return A @ W, where the product is large by blocks of rows, on several threads.

    The blocks are the same for any number of threads, and so is the result. Threads of BLAS would
    round in another way for each number of them, and spin on after the product.

    Parameters
    ----------
    A : ndarray of shape (m, n)
    W : ndarray of shape (n, k)
    n_threads : int or None
        None means those of the budget.
    """
    m = len(A)
    if A.size * max(W.shape[1], 16) < _MIN_OPERATIONS or m <= _BLOCK_ROWS:
        return A @ W
    if not W.flags.forc:
        W = np.ascontiguousarray(W)
    out = np.empty((m, W.shape[1]), dtype=np.result_type(A, W))

    def multiply_block(start):
        rows = slice(start, start + _BLOCK_ROWS)
        np.matmul(A[rows], W, out=out[rows])

    run_tasks(multiply_block, range(0, m, _BLOCK_ROWS), n_threads or budget())
    return out


def physical_memory():
    """Return the machine's memory in bytes, or infinity where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf
