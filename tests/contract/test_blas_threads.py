"""Threads of BLAS in every estimator and every function of `linalg`, and after them."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator
from threadpoolctl import ThreadpoolController

from skhmat import linalg
from skhmat._utils import parallel
from skhmat._utils.parallel import effective_n_threads
from skhmat.linalg import KernelMatrix, compress, eigsh

from .test_workers import ESTIMATORS, answer_of, points, target

N = 150
LIBRARIES = ThreadpoolController().select(user_api="blas").lib_controllers
# What runs before the limit is taken, and what takes it.
_AROUND = ("_utils/blas.py", "_utils/parallel.py", "_base/fit_context.py", "_operators/given.py")


def blas_threads():
    return {library.num_threads for library in LIBRARIES}


@pytest.fixture(autouse=True)
def _three_threads():
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        if blas_threads() != {3}:
            pytest.skip("this BLAS does not take three threads")
        yield
        assert blas_threads() == {3}


@contextmanager
def threads_of_calls_from(name):
    """Yield the numbers of threads at each call of our functions from that of one name on."""
    seen, depth = [], 0

    def note(frame, event, _):
        nonlocal depth
        file = frame.f_code.co_filename.replace("\\", "/")
        if "/skhmat/" not in file or "/tests/" in file or file.endswith(_AROUND):
            return
        if frame.f_code.co_name == name:
            depth += {"call": 1, "return": -1}.get(event, 0)
        if event == "call" and depth > 0:
            seen.append(blas_threads())

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


def counted(seen):
    return len(seen), {number for numbers in seen for number in numbers}


@pytest.mark.parametrize("n_jobs", [1, 2, None])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_small_work_of_estimators_has_one_thread(name, n_jobs, global_random_seed):
    X = points(global_random_seed, N)
    model = ESTIMATORS[name]().set_params(n_jobs=n_jobs)
    with threads_of_calls_from("fit") as seen:
        model.fit(X, target(name, X))
    n_calls, numbers = counted(seen)
    assert n_calls > 5
    assert numbers == {1}
    assert blas_threads() == {3}
    answer = answer_of(model)
    with threads_of_calls_from(answer.__name__) as seen:
        answer(X)
    assert counted(seen)[0] > 1
    assert counted(seen)[1] == {1}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_restored_after_a_fit_that_fails(name, global_random_seed):
    X = points(global_random_seed, N)
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ESTIMATORS[name]().fit(X, target(name, X))
    assert blas_threads() == {3}


class Interrupted(Exception):
    pass


class Watched(LinearOperator):
    """A positive definite operator that notes the threads of BLAS, or raises in a product."""

    def __init__(self, fails=False):
        super().__init__(np.dtype(np.float64), (N, N))
        self.diagonal, self.fails, self.seen = np.linspace(1.0, 20.0, N), fails, []

    def _matmat(self, W):
        self.seen.append(blas_threads())
        if self.fails:
            raise Interrupted
        return self.diagonal[:, np.newaxis] * W

    def _matvec(self, x):
        return self._matmat(np.reshape(x, (-1, 1))).reshape(np.shape(x))

    def _adjoint(self):
        return self


def hierarchical(n_jobs=None):
    X = np.random.default_rng(0).standard_normal((N, 2))
    return compress(KernelMatrix(X), n_jobs=n_jobs, random_state=0)


FUNCTIONS = {
    "lanczos": lambda A: eigsh(A, k=3, random_state=0),
    "chebyshev": lambda A: eigsh(A, k=3, tol=1e-3, method="chebyshev", random_state=0),
    "lobpcg": lambda A: eigsh(A, k=3, tol=1e-3, method="lobpcg", random_state=0),
    "lobpcg, preconditioned": lambda A: eigsh(
        np.diag(np.linspace(1.0, 20.0, N)), k=3, tol=1e-3, preconditioner=A, random_state=0
    ),
    "shift-invert": lambda A: eigsh(A, k=3, sigma=0.5, random_state=0),
    "spectral_density": lambda A: linalg.spectral_density(A, random_state=0),
    "logdet": lambda A: linalg.logdet(A, random_state=0),
    "inverse_trace": lambda A: linalg.inverse_trace(A, random_state=0),
    "inverse_diagonal": lambda A: linalg.inverse_diagonal(A, random_state=0),
    "solve": lambda A: hierarchical().solve(np.ones(N), 0.1, operator=A),
    "solve, preconditioned": lambda A: hierarchical().solve(
        np.ones(N), 0.1, solver="cg", preconditioner=A
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_products_of_the_caller_have_the_threads_that_openmp_has(name):
    A = Watched()
    FUNCTIONS[name](A)
    assert len(A.seen) > 0
    assert set.union(*A.seen) == {min(3, effective_n_threads(None))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_restored_after_a_product_that_fails(name):
    A = Watched(fails=True)
    with pytest.raises(Interrupted):
        FUNCTIONS[name](A)
    assert len(A.seen) == 1
    assert blas_threads() == {3}


OWN = {
    "eigsh": lambda H: eigsh(H, k=3, random_state=0),
    "logdet": lambda H: linalg.logdet(H, 0.1, random_state=0),
    "inverse_trace": lambda H: linalg.inverse_trace(H, 0.1, random_state=0),
    "inverse_diagonal": lambda H: linalg.inverse_diagonal(H, 0.1, random_state=0),
    "spectral_density": lambda H: linalg.spectral_density(H, random_state=0),
    "solve": lambda H: H.solve(np.ones(N), 0.1),
}


# The function in which the limit holds already.
START = {name: "_checked" for name in OWN} | {
    "eigsh": "find_eigenpairs",
    "spectral_density": "check_operator",
    "solve": "check_shift",
}


@pytest.mark.parametrize("name", OWN)
def test_functions_of_our_matrices(name):
    H = hierarchical(n_jobs=2)
    with threads_of_calls_from(START[name]) as seen:
        OWN[name](H)
    assert counted(seen)[0] > 0
    assert counted(seen)[1] == {1}


@pytest.mark.parametrize("n_jobs", [1, 2, 7])
def test_decompositions_have_one_thread(n_jobs, monkeypatch):
    """Their rounding would depend on the number of threads."""
    seen, eigh = [], np.linalg.eigh

    def noted(*args, **kwargs):
        seen.append(blas_threads())
        return eigh(*args, **kwargs)

    monkeypatch.setattr(np.linalg, "eigh", noted)
    eigsh(hierarchical(n_jobs), k=N)
    assert seen == [{1}]


@pytest.mark.parametrize("n_jobs", [1, 2, 7])
def test_products_with_large_arrays_are_tasks_of_as_many_threads(n_jobs, monkeypatch):
    seen, run_tasks = [], parallel.run_tasks

    def noted(function, tasks, n_threads):
        seen.append(n_threads)
        return run_tasks(function, tasks, n_threads)

    monkeypatch.setattr(parallel, "run_tasks", noted)
    A = np.broadcast_to(np.float32(0.5), (2050, 2050))
    with parallel.blas_budget(n_jobs):
        eigsh(np.ascontiguousarray(A), k=1, tol=0.1, random_state=0)
    assert set(seen) == {min(n_jobs, effective_n_threads(None))}
