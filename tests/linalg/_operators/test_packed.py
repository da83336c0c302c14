import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from skhmat.linalg import KernelMatrix
from skhmat.linalg._kernels.matrix import round_to_float32
from skhmat.linalg._kernels.table import KERNELS
from skhmat.linalg._operators import packed as module
from skhmat.linalg._operators.packed import PackedSymmetricMatrix

from ...contract.operator_contract import LAWS, Case


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 150])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_packed_matrix_is_an_operator_like_any_other(law, n, monkeypatch, global_random_seed, rng):
    monkeypatch.setattr(module, "_TILE", 32)
    K = KernelMatrix(rng.standard_normal((n, 3)))
    packed = PackedSymmetricMatrix(K, 2)
    error = 1e2 * np.finfo(np.float32).eps
    law(Case(packed, K.toarray(), error, global_random_seed, has_entries=False))


def test_threads_change_nothing(rng, monkeypatch):
    monkeypatch.setattr(module, "_TILE", 32)
    K, W = KernelMatrix(rng.standard_normal((500, 3))), rng.standard_normal((500, 3))
    np.testing.assert_array_equal(PackedSymmetricMatrix(K, 1) @ W, PackedSymmetricMatrix(K, 3) @ W)


@pytest.mark.parametrize("k", [1, 2, 7, 16, 19, 64, 70])
@pytest.mark.parametrize("n", [1, 5, 32, 37, 90])
def test_products_of_every_width(isa, n, k, rng, monkeypatch):
    monkeypatch.setattr(module, "_TILE", 32)
    K, W = KernelMatrix(rng.standard_normal((n, 3))), rng.standard_normal((n, k))
    exact = K @ W
    scale = np.abs(K.toarray()) @ np.abs(W)
    assert np.all(np.abs(PackedSymmetricMatrix(K, 1) @ W - exact) <= 1e-6 * scale)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 150])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_products_in_float64_are_those_of_an_operator(law, n, monkeypatch, global_random_seed, rng):
    monkeypatch.setattr(module, "_TILE", 32)
    K = KernelMatrix(rng.standard_normal((n, 3)))
    held = K.toarray().astype(np.float32).astype(np.float64)
    A = PackedSymmetricMatrix(K, 2).in_float64()
    law(Case(A, held, 1e-12, global_random_seed, has_entries=False))


def test_products_in_float64_of_every_width_and_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(module, "_TILE", 32)
    K, factors = KernelMatrix(rng.standard_normal((90, 3))), rng.uniform(0.1, 3, 90)
    one, three = PackedSymmetricMatrix(K, 1), PackedSymmetricMatrix(K, 3)
    for packed in (one, three):
        packed.scale(factors)
    exact = K.toarray() * np.outer(factors, factors)
    for k in (0, 1, 64, 70):
        W = rng.standard_normal((90, k))
        product = one.in_float64() @ W
        assert product.dtype == np.float64
        np.testing.assert_array_equal(product, three.in_float64() @ W)
        np.testing.assert_allclose(product, exact @ W, atol=1e-6 * np.abs(exact).sum())
    rounded = one.in_float64() @ np.eye(90)
    np.testing.assert_array_equal(rounded, rounded.astype(np.float32))


def test_scaled_rows_and_columns(rng, monkeypatch):
    monkeypatch.setattr(module, "_TILE", 32)
    K, factors = KernelMatrix(rng.standard_normal((90, 3))), rng.uniform(0.1, 3, 90)
    packed = PackedSymmetricMatrix(K, 2)
    packed.scale(factors)
    np.testing.assert_allclose(
        packed @ np.eye(90), K.toarray() * np.outer(factors, factors), rtol=1e-6
    )


@pytest.mark.parametrize("units", [1.0, np.array([1e-3, 1.0, 1e3])])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_in_single(kernel, units, rng):
    """Also far from the origin, where only distances count."""
    is_radial = KERNELS[kernel].is_radial
    X = rng.standard_normal((100, 3)) + (1e6 if is_radial else 0)
    K = KernelMatrix(X * units, kernel, bandwidth=2.0 * units if is_radial else 1.0)
    single = round_to_float32(K)
    assert single.dtype == np.float32
    expected = K.toarray()
    assert np.abs(single.toarray() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_kernels_that_stay_as_they_are(rng):
    X = rng.standard_normal((20, 3))
    far = KernelMatrix(1e8 * X, bandwidth=10.0)
    large, tiny = (KernelMatrix(scale * X, "linear") for scale in (1e30, 1e-30))
    for K in (KernelMatrix(X, rbf_kernel), far, large, tiny):
        assert round_to_float32(K) is K
    far = KernelMatrix(1e8 * X, bandwidth=[10.0, 1e8, 1e8])
    assert round_to_float32(far).dtype == np.float64
