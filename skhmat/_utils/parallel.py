"""Threads: how many there are, and BLAS limited to one while tasks run in parallel."""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from numbers import Integral

from joblib import cpu_count
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

from .._ext import openmp
from .validation import parameter_error

_limit_lock = threading.Lock()
_limit_depth = 0
_limit = None


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
        At least 1.
    """
    is_integer = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (is_integer and n_jobs != 0):
        raise parameter_error("n_jobs", "None or an integer other than 0", n_jobs)
    if n_jobs is None:
        return openmp.max_threads() if openmp.HAS_OPENMP else 1
    if n_jobs > 0:
        return int(n_jobs)
    return 1 if _is_in_worker() else max(1, cpu_count() + 1 + int(n_jobs))


def _is_in_worker():
    """Return whether this is a worker of `joblib.Parallel`, a process or a thread."""
    return (get_active_backend()[0].nesting_level or 0) > 0


def run_tasks(function, tasks, n_threads):
    """Call ``function(task)`` for each task on `n_threads` threads; the results come in order.

    The functions release the GIL in their compiled parts; BLAS runs on one thread meanwhile.
    """
    with single_threaded_blas():
        if n_threads == 1 or len(tasks) < 2:
            return [function(task) for task in tasks]
        with ThreadPoolExecutor(max_workers=n_threads) as pool:
            futures = [pool.submit(function, task) for task in tasks]
            try:
                return [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()


def physical_memory():
    """Return the machine's memory in bytes, or infinity where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf
