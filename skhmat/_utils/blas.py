"""How many threads BLAS and LAPACK use, which is one number for the whole process.

The threads of OpenBLAS wait for work by spinning, for about 25 ms after each call, and so do those
of OpenMP. Where both pools spin on the same cores each waits for the other, and beside one busy
process a decomposition of 2,000 rows takes three times as long with two threads as with one. So a
public call limits BLAS once, to one thread; what is large and can be cut into blocks runs as tasks
(`multiply`), which round alike for any number of threads. Only products that the caller's own code
computes have as many threads of BLAS as `n_jobs` allows.
"""

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace

from threadpoolctl import ThreadpoolController

from .._ext import openmp


@dataclass(eq=False)
class _Limit:
    """Threads that BLAS has now, and the most that it may have in limits inside this one."""

    now: int
    most: int


@dataclass(eq=False)
class _Holder:
    """A thread of Python that holds limits.

    Attributes
    ----------
    number : int
        Of the thread. Another one may release a limit, where it ends a generator.
    before : list of int
        Threads of each library before this thread's first limit.
    openmp : int
        Threads that OpenMP would have used then: a BLAS that is built with OpenMP takes its limit
        by changing this number.
    limits : list of _Limit
        The innermost is last.
    """

    number: int
    before: list
    openmp: int
    limits: list = field(default_factory=list)


_lock = threading.Lock()
_holders = {}  # by the number of the thread
# What `_state.applied` is beside a number of threads: no limit holds, or a fork has hidden which.
_NO_LIMIT, _UNKNOWN = "no limit", "unknown"
_state = SimpleNamespace(applied=_NO_LIMIT)


@cache
def _libraries():
    # Scanning the loaded libraries takes milliseconds, so it is done once. The BLAS that the
    # compiled core calls is SciPy's, which importing the core has loaded.
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _is_per_thread(library):
    """Return whether a limit holds for the calling thread alone."""
    return library.internal_api == "openblas" and library.threading_layer == "openmp"


def _release(library):
    """Let any thread change the limits; with threadpoolctl >= 3.8 only the first one may."""
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)


def _apply(holder):
    """Set what the limits come to: the innermost of each thread, the least of all threads."""
    own = holder.limits[-1].now if holder.limits else _NO_LIMIT
    common = min((other.limits[-1].now for other in _holders.values()), default=_NO_LIMIT)
    if common == _state.applied and not any(map(_is_per_thread, _libraries())):
        return
    for library, before in zip(_libraries(), holder.before, strict=True):
        limit = own if _is_per_thread(library) else common
        wanted = before if limit is _NO_LIMIT else min(limit, before)
        if library.num_threads != wanted:
            _release(library)
            library.set_num_threads(wanted)
            _release(library)
    _state.applied = common


def _holder():
    """Return this thread's holder, a new one where it holds no limit yet."""
    number = threading.get_ident()
    if number not in _holders:
        before = [library.num_threads for library in _libraries()]
        for other in _holders.values():  # what holds for the whole process may be its limit
            pairs = zip(_libraries(), before, other.before, strict=True)
            before = [now if _is_per_thread(library) else then for library, now, then in pairs]
        _holders[number] = _Holder(number, before, openmp.max_threads())
    return _holders[number]


@contextmanager
def _limited(now, most):
    limit, holder = _Limit(now, most), None
    try:
        with _lock:
            holder = _holder()
            holder.limits.append(limit)
            _apply(holder)
        yield
    finally:
        with _lock:
            if holder is not None:
                if limit in holder.limits:
                    holder.limits.remove(limit)
                if not holder.limits:
                    _holders.pop(holder.number, None)
                _apply(holder)


def _innermost():
    """Return the innermost limit that this thread holds, or None."""
    holder = _holders.get(threading.get_ident())
    return holder.limits[-1] if holder else None


def single_threaded_blas():
    """Limit BLAS to one thread; the last of nested or concurrent uses restores the old number."""
    return limited_blas(1)


def limited_blas(n_threads):
    """Limit BLAS to one thread, and to `n_threads` while `callers_blas` says so.

    Of nested limits the innermost holds, but none allows more than those around it; of limits in
    several threads of Python the least. BLAS never has more threads than it had before.
    """
    around = _innermost()
    return _limited(1, n_threads if around is None else min(n_threads, around.most))


def budget():
    """Return how many threads work may take here: those of OpenMP where nothing limits it."""
    around = _innermost()
    return openmp.max_threads() if around is None else around.most


def callers_blas():
    """Give BLAS the threads of the budget for a product that the caller's own code computes."""
    most = budget()
    return _limited(most, most)


def openmp_threads():
    """Return how many threads OpenMP would use if BLAS were not limited (1 without OpenMP)."""
    holder = _holders.get(threading.get_ident())
    return openmp.max_threads() if holder is None else holder.openmp


def _after_fork_in_child():
    """Keep what the forking thread holds: other threads are not there to release anything.

    A lock that one of them held would never be released.
    """
    global _lock
    _lock = threading.Lock()
    number = threading.get_ident()
    for other in set(_holders) - {number}:
        del _holders[other]
    _state.applied = _UNKNOWN


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
