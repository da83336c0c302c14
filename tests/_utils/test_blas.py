import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import joblib
import pytest
from skhmat._ext import openmp
from threadpoolctl import threadpool_info, threadpool_limits

from skhmat._utils import blas
from skhmat._utils.blas import (
    budget,
    callers_blas,
    limited_blas,
    openmp_threads,
    single_threaded_blas,
)
from skhmat._utils.parallel import blas_budget


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _three_threads():
    with threadpool_limits(3, user_api="blas"):
        if blas_threads() != {3}:
            pytest.skip("this BLAS does not take three threads")
        yield
        assert blas_threads() == {3}


def test_only_products_of_the_caller_have_the_threads_of_the_budget():
    with limited_blas(2):
        assert blas_threads() == {1}
        with callers_blas():
            assert blas_threads() == {2}
            with single_threaded_blas():
                assert blas_threads() == {1}
            assert blas_threads() == {2}
        assert blas_threads() == {1}
    assert blas_threads() == {3}


def test_blas_never_has_more_threads_than_before():
    with limited_blas(50), callers_blas():
        assert blas_threads() == {3}


def test_an_inner_budget_is_no_larger_than_the_one_around():
    with limited_blas(2), limited_blas(3), callers_blas():
        assert blas_threads() == {2}
        assert budget() == 2
    with single_threaded_blas(), limited_blas(3), callers_blas():
        assert blas_threads() == {1}


def test_without_a_budget_there_are_the_threads_of_openmp():
    with callers_blas():
        assert blas_threads() == {min(3, openmp.max_threads())}


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, GeneratorExit])
def test_restored_after_an_exception(kind):
    with pytest.raises(kind), limited_blas(2), callers_blas():
        raise kind
    assert blas_threads() == {3}


def test_the_least_of_all_threads_holds():
    """Where tasks of one thread run in parallel, products of another do not disturb them."""
    entered, leave = threading.Event(), threading.Event()

    def first():
        with single_threaded_blas():
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=first)
    with limited_blas(2), callers_blas():
        thread.start()
        assert entered.wait(10)
        assert blas_threads() == {1}
        leave.set()
        thread.join()
        assert blas_threads() == {2}


def test_restored_by_whichever_thread_leaves_last():
    barrier = threading.Barrier(4, timeout=10)

    def work(i):
        with limited_blas(2):
            barrier.wait()
            with callers_blas() if i % 2 else single_threaded_blas():
                barrier.wait()
                seen = blas_threads()
                barrier.wait()
        return seen

    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(work, range(4))) == [{1}] * 4
            assert blas_threads() == {3}


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib(backend):
    def work():  # a local function travels to another process without its module
        def threads():
            found = threadpool_info()
            return {pool["num_threads"] for pool in found if pool["user_api"] == "blas"}

        before = threads()
        with blas_budget(-1), callers_blas():
            inside = threads()
        return inside, threads() == before

    with joblib.Parallel(n_jobs=2, backend=backend) as parallel:
        for inside, is_restored in parallel([joblib.delayed(work)()] * 4):
            assert inside == {1}
            # Another thread of this process may hold its own limit still.
            assert is_restored or backend == "threading"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_restores_what_its_parent_held():
    with limited_blas(2):
        child = os.fork()
        if child == 0:
            with callers_blas():
                is_right = blas_threads() == {2}
            os._exit(0 if is_right and blas_threads() == {1} and len(blas._holders) == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class _ThreadLocalBlas:
    """A BLAS that is built with OpenMP: a limit holds for one thread, and for OpenMP as well."""

    internal_api, threading_layer = "openblas", "openmp"

    def __init__(self, n):
        self._default, self._own = n, threading.local()

    @property
    def num_threads(self):
        return getattr(self._own, "n", self._default)

    def set_num_threads(self, n):
        self._own.n = n


def test_a_blas_that_shares_the_threads_of_openmp(monkeypatch):
    library, others = _ThreadLocalBlas(3), []
    monkeypatch.setattr(blas, "_libraries", lambda: [library])
    monkeypatch.setattr(blas, "openmp", SimpleNamespace(max_threads=lambda: library.num_threads))

    def other():
        with limited_blas(3):
            others.append(library.num_threads)
            with callers_blas():
                others.append(library.num_threads)
        others.append(library.num_threads)

    with limited_blas(2):
        assert library.num_threads == 1
        assert openmp_threads() == 3  # compiled loops still have all of them
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with callers_blas():
            assert library.num_threads == 2
    assert others == [1, 3, 3]
    assert library.num_threads == 3


def test_a_limit_that_another_thread_releases():
    before = [library.num_threads for library in blas._libraries()]

    def hold():
        with limited_blas(2):
            yield

    generator = hold()
    next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    assert [library.num_threads for library in blas._libraries()] == before
    with limited_blas(1):
        pass
    assert [library.num_threads for library in blas._libraries()] == before
