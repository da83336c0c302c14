"""The compiled kernel loops against slow references, for every instruction set of this CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skhmat._ext.simd import dispatch
from skhmat._ext.simd import pairwise as core

from skhmat._utils.parallel import single_threaded_blas
from skhmat.linalg._kernels.table import KERNELS, SQEUCLIDEAN, core_parameters

from .parameters import PARAMETERS

DTYPES = [np.float32, np.float64]
LINEAR = KERNELS["linear"].id


def reference(kernel, X, Y, p=PARAMETERS):
    """The formulas, in float64, from differences."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    r = cdist(X, Y)
    inner = X @ Y.T
    b, d = p["bandwidth"], X.shape[1]
    if kernel == "gaussian":
        return np.exp(-(r**2) / (2 * b**2))
    if kernel in ("exponential", "matern12"):
        return np.exp(-r / b)
    if kernel == "matern32":
        return (1 + np.sqrt(3) * r / b) * np.exp(-np.sqrt(3) * r / b)
    if kernel == "matern52":
        return (1 + np.sqrt(5) * r / b + 5 * r**2 / (3 * b**2)) * np.exp(-np.sqrt(5) * r / b)
    if kernel == "inverse_multiquadric":
        return 1 / np.sqrt(1 + (r / b) ** 2)
    if kernel == "rational_quadratic":
        return (1 + r**2 / (2 * p["alpha"] * b**2)) ** -p["alpha"]
    if kernel == "laplace_green":
        return (r**2 + b**2) ** (-(d - 2) / 2)
    if kernel == "polynomial":
        return (p["gamma"] * inner + p["coef0"]) ** p["degree"]
    if kernel == "linear":
        return inner
    if kernel == "cosine":
        return inner / np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(Y, axis=1))
    raise AssertionError(f"no reference for {kernel}")


def block(kernel_id, X, Y, parameters=(), rows=None, cols=None, n_threads=1):
    rows = np.arange(len(X)) if rows is None else rows
    cols = np.arange(len(Y)) if cols is None else cols
    out = np.full((len(rows), len(cols)), np.nan, dtype=X.dtype)
    parameters = np.asarray(parameters, dtype=np.float64)
    core.kernel_block(X, rows, Y, cols, kernel_id, parameters, out, n_threads)
    return out


def matmat(kernel_id, X, Y, W, parameters=(), n_threads=1):
    out = np.full((len(X), W.shape[1]), np.nan, dtype=X.dtype)
    with single_threaded_blas():
        core.kernel_matmat(X, Y, W, kernel_id, np.asarray(parameters, float), out, n_threads)
    return out


# Kernels whose values cancel (inner products) are compared with the size of their terms.
def _scale(kernel, X, Y, expected):
    if kernel not in ("linear", "cosine", "polynomial"):
        return np.abs(expected)
    sizes = np.abs(X).astype(float) @ np.abs(Y).astype(float).T
    if kernel == "linear":
        return sizes
    if kernel == "cosine":
        return sizes / np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(Y, axis=1))
    return (PARAMETERS["gamma"] * sizes + PARAMETERS["coef0"]) ** PARAMETERS["degree"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 3, 6, 15, 16, 31, 32, 40, 147])
@pytest.mark.parametrize("kernel", KERNELS)
def test_block_against_formula(kernel, d, dtype, isa, rng):
    if d < KERNELS[kernel].min_dim:
        pytest.skip("the kernel needs more dimensions")
    X = (rng.standard_normal((131, d)) / np.sqrt(d)).astype(dtype)
    Y = (rng.standard_normal((277, d)) / np.sqrt(d)).astype(dtype)
    rows, cols = rng.permutation(131)[:67], rng.permutation(277)[:261]
    out = block(KERNELS[kernel].id, X, Y, core_parameters(kernel, PARAMETERS), rows, cols)
    expected = reference(kernel, X[rows], Y[cols])
    # A relative error of the distance grows by its power in the kernel.
    factor = 64 * (1 + d if kernel == "laplace_green" else 1)
    allowed = factor * np.finfo(dtype).eps * _scale(kernel, X[rows], Y[cols], expected)
    assert np.all(np.abs(out - expected) <= allowed + np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 5, 16, 31, 32, 33])
def test_pseudo_kernels(d, dtype, isa, rng):
    X = rng.standard_normal((31, d)).astype(dtype)
    Y = rng.standard_normal((50, d)).astype(dtype)
    tol = 64 * np.finfo(dtype).eps
    r2 = cdist(X.astype(float), Y.astype(float), "sqeuclidean")
    np.testing.assert_allclose(block(SQEUCLIDEAN, X, Y), r2, rtol=tol)
    inner = X.astype(float) @ Y.astype(float).T
    np.testing.assert_allclose(block(LINEAR, X, Y), inner, atol=tol * np.abs(X).max() * d * 5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5), (4, 64), (65, 257)])
@pytest.mark.parametrize("d", [2, 35])
def test_odd_block_sizes(d, shape, dtype, isa, rng):
    X = rng.standard_normal((shape[0], d)).astype(dtype)
    Y = rng.standard_normal((shape[1], d)).astype(dtype)
    out = block(KERNELS["gaussian"].id, X, Y, [1.7])
    np.testing.assert_allclose(
        out, reference("gaussian", X, Y), rtol=200 * np.finfo(dtype).eps * max(1, d / 4)
    )


def test_empty_blocks():
    X = np.zeros((3, 2))
    none = np.empty(0, dtype=np.intp)
    assert block(LINEAR, X, X, rows=none).shape == (0, 3)
    assert block(LINEAR, X, X, cols=none).shape == (3, 0)


# ---- exponential ----


def _ulps(got, exact, dtype):
    return np.abs(got.astype(exact.dtype) - exact) / np.spacing(np.abs(exact).astype(dtype))


def _exp(x):
    out = np.empty_like(x)
    dispatch.exp_array(x, out)
    return out


@pytest.mark.parametrize(("dtype", "allowed"), [(np.float32, 2), (np.float64, 4)])
def test_exponential_ulps(dtype, allowed, isa, rng):
    limits = np.finfo(dtype)
    lowest, highest = np.log(float(limits.tiny)), np.log(float(limits.max))
    x = np.concatenate(
        [
            rng.uniform(lowest, 0, 200_000),
            rng.uniform(0, highest, 100_000),
            -np.exp(rng.uniform(-40, 4, 100_000)),
            np.arange(-100, 100) * np.log(2) / 2,  # where the reduction rounds
        ]
    ).astype(dtype)
    x = x[(x > lowest) & (x < np.nextafter(dtype(highest), dtype(0)))]
    exact = np.exp(x.astype(np.longdouble if dtype == np.float64 else np.float64))
    normal = exact >= limits.tiny
    assert _ulps(_exp(x)[normal], exact[normal], dtype).max() < allowed


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_at_the_ends(dtype, isa):
    limits = np.finfo(dtype)
    log_max = dtype(np.log(float(limits.max)))
    x = [0, -0.0, -np.inf, np.inf, np.nan, -1e4, 1e4, limits.min, limits.max, limits.tiny]
    x = np.array(x * 9, dtype=dtype)
    with np.errstate(all="ignore"):
        expected = np.exp(x)
    np.testing.assert_array_equal(_exp(x), expected)
    # Subnormal results are 0, normal ones are not.
    edge = np.log(float(limits.tiny))
    below, above = np.array([edge * 1.0001, edge * 0.9999], dtype=dtype)
    assert _exp(np.full(40, below))[-1] == 0
    assert _exp(np.full(40, above))[-1] >= limits.tiny
    near_overflow = _exp(np.full(40, np.nextafter(log_max, dtype(0))))
    assert np.all(np.isfinite(near_overflow))
    assert np.all(near_overflow > limits.max / 2)


# ---- distances from inner products ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [6, 32, 40, 147])
@pytest.mark.parametrize("offset", [0, 1e3])
def test_relative_error_of_distances(d, offset, dtype, isa, rng):
    """Clusters far from the origin, near-duplicates and duplicates: differences would be exact."""
    centres = offset + 10 * rng.standard_normal((5, d))
    X = (centres[rng.integers(5, size=300)] + 1e-2 * rng.standard_normal((300, d))).astype(dtype)
    X[100:150] = X[:50]
    X[150:200] = X[:50] * dtype(1 + 4 * np.finfo(dtype).eps)
    exact = cdist(X.astype(np.longdouble), X.astype(np.longdouble), "sqeuclidean")
    r2 = block(SQEUCLIDEAN, X, X)
    assert np.all(r2[exact == 0] == 0)
    error = np.abs(r2 - exact)[exact > 0] / exact[exact > 0]
    assert error.max() < 128 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [3, 40])
@pytest.mark.parametrize("size", [1e-36, 1e-20, 1.0, 1e20, 1e37])
@pytest.mark.parametrize("bandwidth", [1e-6, 1.0, 1e6])
def test_extremes_give_no_nan(bandwidth, size, d, dtype, isa, rng):
    X = (size * rng.uniform(-1, 1, (40, d))).astype(dtype)
    X[0] = 0
    X[1] = X[2]
    W = rng.standard_normal((40, 1)).astype(dtype)
    for name, kernel in KERNELS.items():
        if "bandwidth" not in kernel.parameters or name == "laplace_green":
            continue
        parameters = core_parameters(name, PARAMETERS | {"bandwidth": bandwidth})
        K = block(kernel.id, X, X, parameters)
        assert np.all((K >= 0) & (K <= 1)), name
        assert np.all(np.diag(K) == 1), name
        assert K[1, 2] == 1, name
        assert np.all(np.isfinite(matmat(kernel.id, X, X, W, parameters))), name


def test_cosine_of_zero_and_huge_vectors(isa):
    X = np.array([[0.0, 0.0], [1e300, 1e300], [1e-300, 0.0]])
    expected = [[0, 0, 0], [0, 1, np.sqrt(0.5)], [0, np.sqrt(0.5), 1]]
    np.testing.assert_allclose(block(KERNELS["cosine"].id, X, X), expected, rtol=1e-15)


# ---- products ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [2, 6, 40])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8, 64])
def test_matmat_against_dense(k, d, dtype, isa, rng):
    X = rng.standard_normal((603, d)).astype(dtype)
    Y = rng.standard_normal((1301, d)).astype(dtype)
    W = rng.standard_normal((1301, k)).astype(dtype)
    out = matmat(KERNELS["exponential"].id, X, Y, W, [2.0], n_threads=2)
    K = reference("exponential", X, Y, PARAMETERS | {"bandwidth": 2.0})
    error = np.linalg.norm(out - K @ W.astype(float))
    assert error < 2 * np.finfo(dtype).eps * np.linalg.norm(K @ np.abs(W))


@pytest.mark.parametrize("k", [1, 64])
def test_long_float32_sums(k, isa, rng):
    """A running float32 sum of 200,000 positive terms would be off by 1e-4 or so."""
    Y = rng.standard_normal((200_000, 2)).astype(np.float32)
    W = rng.uniform(size=(len(Y), k)).astype(np.float32)
    out = matmat(KERNELS["gaussian"].id, Y[:9], Y, W, [1.0], n_threads=2)
    expected = reference("gaussian", Y[:9], Y, {"bandwidth": 1.0}) @ W.astype(float)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 3, 33])
@pytest.mark.parametrize("d", [2, 40])
def test_same_bits_for_any_number_of_threads(d, k, dtype, rng):
    X = rng.standard_normal((1111, d)).astype(dtype)
    W = rng.standard_normal((1111, k)).astype(dtype)
    products = [matmat(KERNELS["gaussian"].id, X, X, W, [1.0], n_threads=t) for t in (1, 2, 4)]
    blocks = [block(KERNELS["gaussian"].id, X, X, [1.0], n_threads=t) for t in (1, 2, 4)]
    for product, dense in zip(products[1:], blocks[1:], strict=True):
        np.testing.assert_array_equal(product, products[0])
        np.testing.assert_array_equal(dense, blocks[0])


def test_instruction_set_from_the_environment(tmp_path):
    code = "from skhmat._ext.simd import dispatch; assert dispatch.isa() == 'plain'"
    command = [sys.executable, "-c"]
    environment = os.environ | {"SKHMAT_ISA": "plain"}
    subprocess.run([*command, code], env=environment, cwd=tmp_path, check=True, timeout=120)
    best = dispatch.isa()
    code = f"from skhmat._ext.simd import dispatch; assert dispatch.isa() == {best!r}"
    environment["SKHMAT_ISA"] = "unheard-of"
    if "SKHMAT_ISA" not in os.environ:
        subprocess.run([*command, code], env=environment, cwd=tmp_path, check=True, timeout=120)


def test_unknown_instruction_set_changes_nothing():
    before = dispatch.isa()
    assert not dispatch.select_isa("unheard-of")
    assert dispatch.isa() == before
