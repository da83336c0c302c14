"""The laws every symmetric operator of the package obeys, each checked against a dense oracle.

A law is a function of one `Case`; `LAWS` has them all. `Case.error` is what the operator may miss
of the oracle. What must hold whatever that error is (linearity, symmetry, one vector as many) is
compared with the operator's own columns, to rounding.
"""

import copy
import os
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg, eigsh

LAWS = []


def law(function):
    LAWS.append(function)
    return function


@dataclass
class Case:
    """An operator, the float64 matrix it stands for, and the error it is allowed.

    `has_entries` says whether it knows its diagonal, `is_clustered` whether its leading eigenvalues
    are too close to each other for plain Arnoldi iterations.
    """

    operator: LinearOperator
    dense: np.ndarray
    error: float
    seed: int = 0
    has_entries: bool = True
    is_clustered: bool = False

    @property
    def n(self):
        return len(self.dense)

    @property
    def dtype(self):
        return self.operator.dtype

    @property
    def rounding(self):
        """Largest difference allowed between two ways to the same product, relative to its norm."""
        return 200 * np.finfo(self.dtype).eps

    @cached_property
    def columns(self):
        """The operator's own dense form, in float64."""
        return (self.operator @ np.eye(self.n, dtype=self.dtype)).astype(np.float64)

    def draw(self, *shape):
        rng = np.random.default_rng(self.seed)
        return rng.standard_normal((self.n, *shape)).astype(self.dtype)

    def assert_product(self, product, W, dtype=None):
        """Compare with the operator's own columns times W."""
        dtype = np.result_type(self.dtype, W.dtype) if dtype is None else dtype
        if product.dtype != dtype:
            raise AssertionError(f"product has dtype {product.dtype}, must have {dtype}")
        assert_close(product, self.columns @ _wide(W), self.rounding, self.size_of(W))

    def size_of(self, W):
        """Scale of a product with W that rounding is relative to."""
        return np.linalg.norm(self.columns) * np.linalg.norm(_wide(W)) / np.sqrt(self.n)


def _wide(array):
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def assert_close(actual, expected, tolerance, size=None):
    """Compare in the Frobenius norm; NaN and a wrong shape fail."""
    if actual.shape != expected.shape:
        raise AssertionError(f"shape {actual.shape}, must be {expected.shape}")
    size = np.linalg.norm(_wide(expected)) if size is None else size
    error = np.linalg.norm(_wide(actual) - expected)
    if not (error <= tolerance * size and np.isfinite(size)):
        raise AssertionError(f"error {error:.2e} exceeds {tolerance:.2e} of {size:.2e}")


# ---- what it is ----


@law
def shape_and_dtype(case):
    op = case.operator
    assert isinstance(op, LinearOperator)
    assert op.shape == (case.n, case.n)
    assert isinstance(op.dtype, np.dtype)
    assert op.dtype in (np.float32, np.float64)
    assert aslinearoperator(op) is op
    assert str(case.n) in repr(op)
    assert op.dtype.name in repr(op)


@law
def equals_the_oracle(case):
    assert_close(case.columns, case.dense, case.error)
    W = case.draw(7)
    assert_close(case.operator @ W, case.dense @ W, 3 * case.error + case.rounding)


@law
def diagonal(case):
    if not case.has_entries:
        return
    found = case.operator.diagonal()
    assert found.shape == (case.n,)
    assert found.dtype == case.dtype
    expected = np.diagonal(case.dense)
    np.testing.assert_allclose(found, expected, rtol=20 * np.finfo(case.dtype).eps)
    found[:] = 0  # the caller owns it: writing to it changes nothing
    np.testing.assert_allclose(
        case.operator.diagonal(), expected, rtol=20 * np.finfo(case.dtype).eps
    )


# ---- shapes and layouts of W ----


@law
def one_vector(case):
    op, w = case.operator, case.draw()
    for product in (op @ w, op * w, op.dot(w), op.matvec(w)):
        case.assert_product(product, w)
    column = w[:, None]
    assert op.matvec(column).shape == (case.n, 1)
    for product in (op @ column, op.matmat(column), op.matvec(column)):
        case.assert_product(product, column)


@law
def many_vectors(case):
    op = case.operator
    for k in (1, 2, 5, 31):
        W = case.draw(k)
        for product in (op @ W, op.dot(W), op.matmat(W)):
            case.assert_product(product, W)
    assert (op @ np.empty((case.n, 0), dtype=case.dtype)).shape == (case.n, 0)


@law
def more_vectors_than_a_chunk(case):
    W = case.draw(300)
    case.assert_product(case.operator @ W, W)


@law
def layouts(case):
    op, W = case.operator, case.draw(6)
    read_only = W.copy()
    read_only.flags.writeable = False
    strided = np.repeat(np.repeat(W, 2, axis=0), 3, axis=1)[::2, ::3]
    reversed_rows = np.ascontiguousarray(W[::-1])[::-1]
    swapped = W.astype(W.dtype.newbyteorder())
    for other in (np.asfortranarray(W), read_only, strided, reversed_rows, swapped):
        case.assert_product(op @ other, W)
        case.assert_product(op @ other[:, 2], W[:, 2])


@law
def wrong_sizes(case):
    op = case.operator
    for shape in ((case.n + 1,), (case.n + 1, 2), (case.n + 2, case.n)):
        for product in (op.matvec if len(shape) == 1 else op.matmat, op.__matmul__):
            with pytest.raises(ValueError, match="mismatch"):
                product(np.ones(shape, dtype=case.dtype))


# ---- dtypes ----


@law
def dtype_of_the_result(case):
    op = case.operator
    W = 5 * case.draw(3)
    for dtype in (np.int64, np.int8, np.bool_, np.float16, np.float32, np.float64):
        other = np.abs(W).astype(dtype)
        case.assert_product(op @ other, other)
        case.assert_product(op @ other[:, 0], other[:, 0])
    for dtype in (np.complex64, np.complex128):
        other = W.astype(dtype) + dtype(1j) * W[::-1].astype(dtype)
        case.assert_product(op @ other, other)
        case.assert_product(op.matvec(other[:, 1]), other[:, 1])


@law
def only_numbers_are_multiplied(case):
    op, w = case.operator, case.draw()
    for other in (w.astype(str), w.astype(bytes), w.astype(object), w.astype("m8[s]")):
        products = [op.__matmul__, op.__mul__, op.dot, op.matvec, op.rmatvec, op.__rmatmul__]
        for product in products:
            with pytest.raises(ValueError, match=r"must be numeric, got dtype"):
                product(other)
        for product in (op.matmat, op.rmatmat, op.__matmul__):
            with pytest.raises(ValueError, match=r"must be numeric, got dtype"):
                product(other[:, None])
    with pytest.raises(ValueError, match=r"must be numeric, got dtype object"):
        op @ ([None] * case.n)
    with pytest.raises(ValueError, match=r"must be numeric, got '2'"):
        op * "2"


@law
def argument_is_not_changed(case):
    W = case.draw(4)
    before = W.copy()
    product = case.operator @ W
    assert_array_equal(W, before)
    assert not np.shares_memory(product, W)


@law
def result_is_the_callers(case):
    W = case.draw(2)
    product = case.operator @ W
    expected = product.copy()
    product[:] = np.nan
    assert_array_equal(case.operator @ W, expected)


# ---- algebra ----


@law
def adjoint_and_transpose(case):
    op, w, W = case.operator, case.draw(), case.draw(3)
    for product in (op.rmatvec(w), op.H @ w, op.T @ w, op.adjoint().matvec(w), w @ op):
        case.assert_product(product, w)
    for product in (op.rmatmat(W), op.H @ W, op.T @ W, op.transpose().matmat(W)):
        case.assert_product(product, W)
    assert op.H.shape == op.T.shape == op.shape
    assert op.H.dtype == op.T.dtype == op.dtype


@law
def symmetric(case):
    assert_close(case.columns, case.columns.T, case.rounding)
    U = case.draw(2).astype(np.float64)
    u, v = U[:, 0], U[:, 1]
    left, right = u @ (case.operator @ v), v @ (case.operator @ u)
    size = np.linalg.norm(case.columns) * np.linalg.norm(u) * np.linalg.norm(v)
    assert abs(left - right) <= case.rounding * size


@law
def linear(case):
    op, W = case.operator, case.draw(2)
    combined = case.dtype.type(2.5) * W[:, 0] - case.dtype.type(0.75) * W[:, 1]
    separate = 2.5 * (op @ W[:, 0]) - 0.75 * (op @ W[:, 1])
    assert_close(op @ combined, separate, 5 * case.rounding, case.size_of(W))
    assert not np.any(op @ np.zeros((case.n, 2), dtype=case.dtype))


@law
def sums_and_multiples(case):
    op, w = case.operator, case.draw()
    ramp = np.arange(1, case.n + 1, dtype=case.dtype)
    other = LinearOperator(
        op.shape, dtype=op.dtype, matvec=lambda x: ramp * x.ravel(), rmatvec=lambda x: ramp * x
    )
    size = case.size_of(w) + np.linalg.norm(ramp) * np.linalg.norm(w)
    expected = case.columns @ w
    assert_close((op + other) @ w, expected + ramp * w, case.rounding, size)
    assert_close((2 * op - other) @ w, 2 * expected - ramp * w, case.rounding, 2 * size)
    assert_close((op @ other) @ w, case.columns @ (ramp * w), case.rounding, case.n * size)
    assert_close((-op) @ w, -expected, case.rounding, size)
    norm = np.linalg.norm(case.columns)
    small = (w / norm).astype(case.dtype)
    twice = case.columns @ (case.columns @ small)
    assert_close((op**2) @ small, twice, case.rounding, norm * np.linalg.norm(w))


# ---- the same again ----


@law
def same_product_twice(case):
    for W in (case.draw(), case.draw(1), case.draw(9)):
        assert_array_equal(case.operator @ W, case.operator @ W)


@law
def pickle_round_trip(case):
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        again = pickle.loads(pickle.dumps(case.operator, protocol=protocol))
        _assert_same(again, case)


@law
def mapped_by_joblib(case):
    """joblib hands large arrays to its workers as read-only maps."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "operator.joblib")
        joblib.dump(case.operator, path)
        _assert_same(joblib.load(path, mmap_mode="r"), case)


@law
def deep_copy(case):
    _assert_same(copy.deepcopy(case.operator), case)
    _assert_same(copy.copy(case.operator), case)


def _assert_same(again, case):
    op = case.operator
    assert type(again) is type(op)
    assert again.shape == op.shape
    assert again.dtype == op.dtype
    assert repr(again) == repr(op)
    for W in (case.draw(), case.draw(5)):
        assert_array_equal(again @ W, op @ W)
    if case.has_entries:
        assert_array_equal(again.diagonal(), op.diagonal())


@law
def concurrent_products(case):
    op = case.operator
    arguments = [case.draw(8) + i for i in range(6)]
    expected = [op @ W for W in arguments]
    with ThreadPoolExecutor(4) as pool:
        products = list(pool.map(lambda i: op @ arguments[i % 6], range(24)))
    for i, product in enumerate(products):
        assert_array_equal(product, expected[i % 6])


# ---- SciPy's solvers ----


@law
def leading_eigenvalues(case):
    if case.n < 10 or case.is_clustered:
        return
    values = eigsh(case.operator, k=3, v0=case.draw(), return_eigenvectors=False)
    exact = np.linalg.eigvalsh(case.columns)
    np.testing.assert_allclose(np.sort(values), exact[-3:], rtol=0, atol=case.rounding * exact[-1])


@law
def conjugate_gradients(case):
    op, b = case.operator, case.draw()
    shift = float(np.abs(case.dense).sum(axis=1).max())
    shifted = op + LinearOperator(op.shape, lambda x: case.dtype.type(shift) * x, dtype=op.dtype)
    x, info = cg(shifted, b, maxiter=50)
    assert info == 0
    residual = case.columns @ x + shift * x - b
    assert np.linalg.norm(residual) <= 1e-4 * np.linalg.norm(b)
