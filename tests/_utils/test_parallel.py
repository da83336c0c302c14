import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from skhmat._ext import openmp
from threadpoolctl import threadpool_info, threadpool_limits

from skhmat._utils.parallel import (
    effective_n_threads,
    multiply,
    physical_memory,
    run_tasks,
    single_threaded_blas,
)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def _two_threads():
    with threadpool_limits(2, user_api="blas"):
        if not blas_threads() or set(blas_threads()) != {2}:
            pytest.skip("this BLAS does not take two threads")
        yield


@pytest.mark.usefixtures("_two_threads")
class TestSingleThreadedBlas:
    def test_one_inside_and_restored(self):
        with single_threaded_blas():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}

    def test_nested(self):
        with single_threaded_blas():
            with single_threaded_blas():
                assert set(blas_threads()) == {1}
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}

    def test_restored_after_an_exception(self):
        with pytest.raises(KeyError), single_threaded_blas():
            raise KeyError
        assert set(blas_threads()) == {2}

    def test_overlapping_threads(self):
        """The first user leaves first; the limit holds until the last one has left."""
        entered, leave, left = threading.Event(), threading.Event(), threading.Event()

        def first():
            with single_threaded_blas():
                entered.set()
                leave.wait(10)
            left.set()

        thread = threading.Thread(target=first)
        thread.start()
        assert entered.wait(10)
        with single_threaded_blas():
            leave.set()
            assert left.wait(10)
            assert set(blas_threads()) == {1}
        thread.join()
        assert set(blas_threads()) == {2}

    def test_many_threads(self):
        def work(i):
            with single_threaded_blas():
                return set(blas_threads()) == {1}

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(40)))
        assert set(blas_threads()) == {2}

    @pytest.mark.parametrize("n_threads", [1, 3])
    def test_inside_tasks(self, n_threads):
        inside = run_tasks(lambda task: set(blas_threads()), range(6), n_threads)
        assert inside == [{1}] * 6
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n_tasks", [0, 1, 2, 50])
def test_results_come_in_order(n_threads, n_tasks):
    assert run_tasks(lambda i: i * i, range(n_tasks), n_threads) == [i * i for i in range(n_tasks)]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("kind", [ValueError, StopIteration, KeyboardInterrupt])
def test_exceptions_come_out_of_tasks(kind, n_threads):
    def fail(i):
        if i == 7:
            raise kind("task seven")

    with pytest.raises(kind, match="task seven"):
        run_tasks(fail, range(20), n_threads)


def test_tasks_after_one_that_fails_are_not_begun():
    begun = []

    def fail(i):
        begun.append(i)
        time.sleep(0.01)
        raise ValueError("all of them")

    with pytest.raises(ValueError, match="all of them"):
        run_tasks(fail, range(1000), 2)
    assert len(begun) < 1000


def test_tasks_overlap():
    barrier = threading.Barrier(3, timeout=10)
    run_tasks(lambda i: barrier.wait(), range(3), 3)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_first_of_several_exceptions_comes_out(n_threads):
    def fail(i):
        raise (StopIteration, KeyError, ValueError)[i]

    with pytest.raises(StopIteration):
        run_tasks(fail, range(3), n_threads)


def test_no_task_begins_after_an_exception():
    begun = []

    def fail(i):
        begun.append(i)
        raise KeyError

    with pytest.raises(KeyError):
        run_tasks(fail, range(1000), 3)
    assert len(begun) <= 3


def test_threads_that_cannot_be_started(monkeypatch):
    start, n_started = threading.Thread.start, []

    def start_one(thread):
        if n_started:
            raise RuntimeError("can't start new thread")
        n_started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    assert run_tasks(lambda i: i * i, range(50), 5) == [i * i for i in range(50)]


LIMITED = """
import resource, sys
import numpy as np
from skhmat._utils.parallel import effective_n_threads, run_tasks
from skhmat.linalg import KernelMatrix

K = KernelMatrix(np.random.default_rng(0).normal(size=(2000, 3)), n_jobs=1)
expected = K @ np.ones(2000)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
limit = used + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
K.n_jobs = 40
assert 1 <= effective_n_threads(40) < 40
assert np.array_equal(K @ np.ones(2000), expected)
assert run_tasks(lambda i: i * i, range(50), 40) == [i * i for i in range(50)]
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
@pytest.mark.parametrize("megabytes", [4, 40])
def test_threads_for_which_there_is_no_memory(megabytes, tmp_path):
    """OpenMP would end the process."""
    # In another folder, lest the sources be imported in place of what is installed.
    command = [sys.executable, "-c", LIMITED, str(megabytes)]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_number_of_threads():
    assert effective_n_threads(1) == 1
    assert effective_n_threads(3) == 3
    assert effective_n_threads(-1) == joblib.cpu_count()
    assert effective_n_threads(-1000) == 1
    assert effective_n_threads(None) == (openmp.max_threads() if openmp.HAS_OPENMP else 1)


def test_cores_are_those_that_joblib_counts(monkeypatch):
    assert effective_n_threads(-2) == max(1, joblib.cpu_count() - 1)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert effective_n_threads(-1) == 1
    assert effective_n_threads(6) == 6  # a number is taken as it is


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity")
def test_cores_that_the_process_may_not_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert effective_n_threads(-1) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib_have_one_thread_unless_told_otherwise(backend):
    with joblib.Parallel(n_jobs=2, backend=backend) as parallel:
        for n_jobs, expected in [(-1, 1), (-2, 1), (3, 3)]:
            calls = [joblib.delayed(effective_n_threads)(n_jobs)] * 2
            assert parallel(calls) == [expected] * 2


def test_one_job_of_joblib_is_no_worker():
    calls = [joblib.delayed(effective_n_threads)(-1)]
    assert joblib.Parallel(n_jobs=1)(calls) == [joblib.cpu_count()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "n", "k"), [(0, 3, 2), (5, 7, 0), (40, 30, 3), (2111, 2500, 1), (1030, 1100, 70)]
)
def test_multiply(m, n, k, dtype, rng):
    A, W = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal((n, k)).astype(dtype)
    expected = A.astype(np.float64) @ W
    tolerance = 4 * n * np.finfo(dtype).eps
    product = multiply(A, W, 1)
    assert product.dtype == dtype
    np.testing.assert_allclose(product, expected, rtol=tolerance, atol=tolerance * n**0.5)
    for n_threads in (2, 3, None):
        assert np.array_equal(multiply(A, W, n_threads), product)
    wide = np.repeat(W, 2, axis=1)[:, ::2]  # not contiguous
    for other in (multiply(A, wide), multiply(np.asfortranarray(A), W, 2)):
        np.testing.assert_allclose(other, expected, rtol=tolerance, atol=tolerance * n**0.5)


def test_physical_memory():
    assert physical_memory() > 2**28
