"""Public arrays are read-only views, what a method returns is the caller's to change."""

import copy
import inspect
import pickle

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from skhmat import linalg
from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_ridge import KernelRidge

from .test_workers import ESTIMATORS, answers, points, target

MORE = {
    "KernelRidge, precomputed": lambda: KernelRidge(kernel="precomputed"),
    "HierarchicalNystroem, invertible": lambda: HierarchicalNystroem(
        fit_inverse_transform=True, n_components=10, random_state=0
    ),
    "HierarchicalNystroem, landmarks": lambda: HierarchicalNystroem(
        landmarks=np.arange(10), n_components=10
    ),
}


def fitted(name, X):
    model = (ESTIMATORS | MORE)[name]()
    return model.fit(X, target(name, X))


def samples(name, seed):
    X = points(seed)
    return X @ X.T if "precomputed" in name else X + 0.5


def linear(A, B):
    return A @ B.T


def linalg_objects(rng):
    """Return an object of each public class that later calls read arrays of."""
    X = rng.standard_normal((600, 2))
    K = linalg.KernelMatrix(X, bandwidth=0.3)
    compressed = linalg.compress(K, rtol=1e-3, budget=0, leaf_size=32, random_state=0)
    exact = linalg.compress(K.toarray(), random_state=0)
    found = [K, compressed, exact, linalg.KernelMatrix(X, linear)]
    shift = np.ones(600)
    found += [compressed.factorize(shift), exact.factorize(0.1)]
    low_rank = linalg.pivoted_cholesky(K, 10, random_state=0)
    return [*found, low_rank, linalg.CholeskyPreconditioner(low_rank, 0.1)]


# What functions return with their results: no later call reads it, and it is the caller's.
RECORDS = {"EigenInfo", "Estimate", "SolveInfo", "SpectralDensity"}


def public_arrays(thing):
    """Yield names and arrays of public attributes, those of a sparse matrix one by one."""
    for name in dir(thing):
        if name.startswith("_"):
            continue
        value = getattr(thing, name, None)
        if isinstance(value, np.ndarray):
            yield name, value
        elif sparse.issparse(value):
            yield from [(name, value.data), (name, value.indices), (name, value.indptr)]


def assert_read_only(thing):
    parameters = thing.get_params(deep=False) if hasattr(thing, "get_params") else {}
    for name, array in public_arrays(thing):
        if name not in parameters:
            assert not array.flags.writeable, name


def copies(thing, folder):
    joblib.dump(thing, folder / "thing.joblib")
    yield pickle.loads(pickle.dumps(thing))
    yield copy.deepcopy(thing)
    yield copy.copy(thing)
    yield joblib.load(folder / "thing.joblib")
    yield joblib.load(folder / "thing.joblib", mmap_mode="r")


@pytest.mark.parametrize("name", ESTIMATORS | MORE)
def test_results_of_estimators(name, tmp_path, global_random_seed):
    X = samples(name, global_random_seed)
    model = fitted(name, X)
    expected = answers(model, X)
    assert_read_only(model)
    for other in copies(model, tmp_path):
        assert_read_only(other)
        np.testing.assert_array_equal(answers(other, X), expected)
    again = clone(model).fit(X, target(name, X))
    assert_read_only(again)
    np.testing.assert_array_equal(answers(again, X), expected)


@pytest.mark.parametrize("name", ESTIMATORS | MORE)
def test_what_is_given_and_returned_is_the_callers(name, global_random_seed):
    X = samples(name, global_random_seed)
    queries, y = X[:20].copy(), target(name, X).copy()
    model = (ESTIMATORS | MORE)[name]()
    if hasattr(model, "fit_transform"):
        returned = model.fit_transform(X)
    else:
        returned = answers(model.fit(X, y), X)
    expected = answers(model, queries).copy()
    is_invertible = "invertible" in name
    back = model.inverse_transform(expected) if is_invertible else None
    for array in (X, y, returned, answers(model, queries)):
        array[...] = 0
    np.testing.assert_array_equal(answers(model, queries), expected)
    if is_invertible:
        np.testing.assert_array_equal(model.inverse_transform(expected), back)


def test_sparse_samples(tmp_path, rng):
    X = sparse.csr_matrix(rng.integers(0, 2, size=(60, 10)) * rng.standard_normal((60, 10)))
    for model in (KernelRidge(kernel="rbf"), HierarchicalNystroem(n_components=5)):
        model.fit(X, rng.standard_normal(60))
        expected = answers(model, X)
        for other in copies(model, tmp_path):
            assert_read_only(other)
            np.testing.assert_array_equal(answers(other, X), expected)
        assert X.data.flags.writeable  # the caller's own


def test_objects_of_linalg(tmp_path, rng):
    found = linalg_objects(rng)
    classes = {name for name in linalg.__all__ if inspect.isclass(getattr(linalg, name))} - RECORDS
    assert {type(thing).__name__ for thing in found} == classes
    b = rng.standard_normal(600)
    for thing in found:
        assert_read_only(thing)
        if isinstance(thing, linalg.PivotedCholesky):
            continue  # a preconditioner made from it shares its arrays; a copy of it does not
        expected = thing @ b
        for other in copies(thing, tmp_path):
            assert_read_only(other)
            np.testing.assert_array_equal(other @ b, expected)
        for method in ("diagonal", "toarray", "inverse_diagonal"):
            if hasattr(thing, method):
                getattr(thing, method)()[...] = 0
        np.testing.assert_array_equal(thing @ b, expected)


@pytest.mark.parametrize("order", "CF")
def test_preconditioner_has_its_own_factor(order, rng):
    F = np.array(rng.standard_normal((50, 10)), order=order)
    preconditioner = linalg.CholeskyPreconditioner(F, 0.1)
    expected = preconditioner @ np.eye(50)
    F[...] = 0
    np.testing.assert_array_equal(preconditioner @ np.eye(50), expected)
