"""Every estimator in another process, from a mapped file, and fitted to arrays of every kind."""

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.manifold import DiffusionMaps, GeometricHarmonics
from skhmat.neighbors import KernelDensity, KernelDensityCV

ESTIMATORS = {
    "KernelDensity": lambda: KernelDensity(bandwidth=2.0),
    "KernelDensityCV": lambda: KernelDensityCV(bandwidths=[1.5, 2.5]),
    "DiffusionMaps": lambda: DiffusionMaps(n_components=3, epsilon=16.0, random_state=0),
    "GeometricHarmonics": lambda: GeometricHarmonics(epsilon=16.0, random_state=0),
    "KernelRidge": lambda: KernelRidge(kernel="rbf", gamma=0.1),
    "KernelRidgeCV": lambda: KernelRidgeCV(alphas=[0.1, 1.0], kernel="rbf", gamma=0.1),
    "KernelRidgeClassifier": lambda: KernelRidgeClassifier(kernel="rbf", gamma=0.1),
    "HierarchicalNystroem": lambda: HierarchicalNystroem(
        kernel="rbf", gamma=0.1, n_components=10, random_state=0
    ),
}


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def _memory_map(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


ARRAYS = {
    "read-only": lambda X, _: _read_only(X),
    "fortran": lambda X, _: np.asfortranarray(X),
    "strided": lambda X, _: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X, _: np.ascontiguousarray(X[::-1])[::-1],
    "other byte order": lambda X, _: X.astype(X.dtype.newbyteorder()),
    "memory map": _memory_map,
    "float16": lambda X, _: X.astype(np.float16),
    "int": lambda X, _: X.astype(np.int32),
    "bool": lambda X, _: X > 0,
}


def points(seed=0, n=150):
    """Return points with small integers as coordinates, which every dtype can hold."""
    return np.random.default_rng(seed).integers(-3, 4, size=(n, 10)).astype(float)


def target(name, X):
    return X[:, 0] > 0 if name == "KernelRidgeClassifier" else X[:, 0] - X[:, 1]


def fitted(name, X):
    return ESTIMATORS[name]().set_params(n_jobs=2).fit(X, target(name, X))


def answer_of(model):
    """Return the method that answers for new points."""
    names = ("score_samples", "predict", "transform")
    return next(getattr(model, name) for name in names if hasattr(model, name))


def answers(model, X):
    return answer_of(model)(X)


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_arrays_of_every_kind(name, kind, tmp_path, global_random_seed):
    X = ARRAYS[kind](points(global_random_seed), tmp_path)
    plain = np.array(X, dtype=np.float64)
    expected = answers(fitted(name, plain), plain)
    for y in (target(name, plain), _read_only(target(name, plain))):
        model = ESTIMATORS[name]().fit(X, y)
        np.testing.assert_array_equal(answers(model, X), expected)
    np.testing.assert_array_equal(X, plain)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_mapped_by_joblib(name, tmp_path, global_random_seed):
    X = points(global_random_seed)
    model = fitted(name, X)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(answers(again, X[:9]), answers(model, X[:9]))


def test_workers_of_joblib(global_random_seed):
    """All arrays of more than a byte reach the workers as read-only maps."""
    X = points(global_random_seed)
    models = [fitted(name, X) for name in ESTIMATORS]
    calls = [joblib.delayed(answer_of(model))(X) for model in models]
    found = joblib.Parallel(n_jobs=2, max_nbytes=1)(calls)
    calls = [joblib.delayed(make().fit)(X, target(name, X)) for name, make in ESTIMATORS.items()]
    refitted = joblib.Parallel(n_jobs=2, max_nbytes=1)(calls)
    for model, values, other in zip(models, found, refitted, strict=True):
        expected = answers(model, X)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(answers(other, X), expected)


FORK = """
import multiprocessing
import sys
import numpy as np
sys.path.append({root!r})  # after what is installed
from tests.contract.test_workers import ESTIMATORS, answers, fitted, points

def work(name, model, queue):
    queue.put(answers(model, X))
    queue.put(answers(fitted(name, X), X))

context = multiprocessing.get_context("fork")
X = points(n=700)
for name in ESTIMATORS:
    model, queue = fitted(name, X), context.Queue()
    expected = answers(model, X)
    child = context.Process(target=work, args=(name, model, queue), daemon=True)
    child.start()
    for _ in range(2):
        np.testing.assert_array_equal(queue.get(timeout=60), expected, name)
    child.join()
    np.testing.assert_array_equal(answers(model, X), expected, name)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="cannot fork")
def test_child_forked_after_parallel_work(tmp_path):
    """As with gunicorn --preload, or multiprocessing where it forks."""
    program = FORK.replace("{root!r}", repr(str(Path(__file__).parents[2])))
    command = [sys.executable, "-W", "ignore", "-c", program]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=600)
