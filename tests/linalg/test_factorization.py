import pickle

import numpy as np
import pytest
from matrices import make_matrix

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg import _factorization as factorization

NAMES = (
    "gaussian_2d_wide",
    "gaussian_2d_narrow",
    "exponential_3d",
    "inverse_laplacian_squared",
    "inverse_poisson_1d",
    "inverse_graph_laplacian",
    "covariance",
    "identity",
    "constant",
)


def hss(K, seed, **options):
    settings = {"budget": 0, "leaf_size": 32, "rtol": 1e-3, "n_jobs": 1, "random_state": seed}
    return compress(K, **{**settings, **options})


def own_dense(H, shift):
    """What H stands for, in float64, and the shift."""
    n = H.shape[0]
    dense = (H @ np.eye(n, dtype=H.dtype)).astype(np.float64)
    return (dense + dense.T) / 2 + shift * np.eye(n)


def definite_shift(H, part=1e-3):
    """A shift that leaves a smallest eigenvalue of this part of the largest."""
    eigenvalues = np.linalg.eigvalsh(own_dense(H, 0.0))
    return max(part * eigenvalues[-1] - eigenvalues[0], 0.0)


def assert_same(actual, expected, rtol):
    """Compare in the norm: rounding in a solution is relative to its size, not to each entry."""
    assert np.linalg.norm(actual - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_solve_and_determinant(name, dtype, global_random_seed):
    dense = make_matrix(name, 600, global_random_seed).dense.astype(dtype)
    H = hss(dense, global_random_seed)
    shift = definite_shift(H)
    F = H.factorize(shift)
    A = own_dense(H, shift)
    B = np.random.default_rng(global_random_seed).standard_normal((600, 7))
    X = F.solve(B)
    residual = np.linalg.norm(A @ X - B) / np.linalg.norm(B)
    # The products that A is made of are rounded in the matrix' dtype.
    assert residual <= (1e-10 if dtype == np.float64 else 1e-2)
    expected = np.linalg.slogdet(A)[1]
    assert F.logdet() == pytest.approx(expected, rel=1e-9 if dtype == np.float64 else 1e-3, abs=0.1)
    np.testing.assert_allclose(F.solve(B[:, 2]), X[:, 2], rtol=1e-9, atol=1e-9 * np.abs(X).max())


@pytest.mark.parametrize("n", [1, 2, 32, 33, 500, 1000])
@pytest.mark.parametrize("leaf_size", [2, 32, 2000])
def test_sizes(n, leaf_size, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((n, 2))
    H = hss(KernelMatrix(X), global_random_seed, leaf_size=leaf_size)
    A = own_dense(H, 1.0)
    x = H.factorize(1.0).solve(np.ones(n))
    assert np.linalg.norm(A @ x - 1) <= 1e-11 * np.sqrt(n)


def test_many_right_hand_sides(global_random_seed):
    H = hss(make_matrix("gaussian_2d_wide", 300, global_random_seed).dense, global_random_seed)
    F = H.factorize(0.5)
    B = np.random.default_rng(global_random_seed).standard_normal((300, 300))
    X = F.solve(B)
    np.testing.assert_allclose(own_dense(H, 0.5) @ X, B, atol=1e-11)
    assert F.solve(B[:, :0]).shape == (300, 0)
    complex_one = B[:, 0] + 2j * B[:, 1]
    np.testing.assert_allclose(F.solve(complex_one), X[:, 0] + 2j * X[:, 1], atol=1e-12)
    np.testing.assert_allclose(F @ B, X)
    assert F.inverse is F


def test_another_shift_needs_no_compression(monkeypatch, global_random_seed):
    H = hss(make_matrix("exponential_3d", 400, global_random_seed).dense, global_random_seed)
    n_read = H.report_.n_read
    for shift in (0.1, 1, 10.0):
        x = H.factorize(shift).solve(np.ones(400))
        np.testing.assert_allclose(own_dense(H, shift) @ x, 1, atol=1e-11)
    assert H.report_.n_read == n_read


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("leaf_size", [32, 1000])
def test_scale(scale, leaf_size, global_random_seed):
    """Held at another scale inside; a small n with large leaves is held as it is."""
    dense = make_matrix("exponential_3d", 300, global_random_seed).dense
    one = hss(dense, global_random_seed, leaf_size=leaf_size).factorize(0.1)
    scaled = hss(scale * dense, global_random_seed, leaf_size=leaf_size).factorize(0.1 * scale)
    b = np.ones(300)
    assert_same(scaled.solve(b) * scale, one.solve(b), 1e-8)
    assert scaled.logdet() == pytest.approx(one.logdet() + 300 * np.log(scale), rel=1e-10)


def test_near_blocks_that_are_not_held(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((500, 2))
    held = hss(KernelMatrix(X), global_random_seed)
    computed = hss(KernelMatrix(X), global_random_seed, max_bytes=0)
    assert computed._structure.near is None
    b = np.ones(500)
    assert_same(computed.factorize(0.1).solve(b), held.factorize(0.1).solve(b), 1e-10)


def test_threads_change_no_bit(global_random_seed):
    H = hss(make_matrix("gaussian_2d_narrow", 800, global_random_seed).dense, global_random_seed)
    B = np.random.default_rng(global_random_seed).standard_normal((800, 5))
    results = []
    for n_jobs in (1, 2, 4):
        H._n_jobs = n_jobs
        F = H.factorize(0.5)
        results.append((F.solve(B), F.logdet()))
    for solution, logdet in results[1:]:
        np.testing.assert_array_equal(solution, results[0][0])
        assert logdet == results[0][1]


def test_condition_estimate(global_random_seed):
    H = hss(make_matrix("inverse_poisson_1d", 500, global_random_seed).dense, global_random_seed)
    for shift in (1e-1, 10.0):
        true = np.linalg.cond(own_dense(H, shift), 1)
        assert true / 5 <= H.factorize(shift).condition_estimate() <= true * (1 + 1e-8)


@pytest.mark.parametrize("n", [50, 300])
@pytest.mark.parametrize("form", ["array", "kernel"])
def test_exact_form(n, form, monkeypatch, global_random_seed):
    monkeypatch.setattr(factorization, "_PANEL", 70)
    X = np.random.default_rng(global_random_seed).standard_normal((n, 30))
    K = KernelMatrix(X, bandwidth=2.0)
    dense = K.toarray()
    H = hss(K if form == "kernel" else dense, global_random_seed, rtol=1e-8, leaf_size=16)
    assert H.is_dense
    F = H.factorize(0.1)
    A = dense + 0.1 * np.eye(n)
    np.testing.assert_allclose(A @ F.solve(np.ones(n)), 1, atol=1e-12)
    assert F.logdet() == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-12)
    np.testing.assert_array_equal(K.toarray(), dense)  # what the user holds is not changed
    with pytest.raises(np.linalg.LinAlgError, match=r"shift=-1 .* eigenvalue -"):
        H.factorize(-1)


def test_pickle(global_random_seed):
    H = hss(make_matrix("covariance", 300, global_random_seed).dense, global_random_seed)
    F = H.factorize(0.5)
    copy = pickle.loads(pickle.dumps(F))
    np.testing.assert_array_equal(copy.solve(np.ones(300)), F.solve(np.ones(300)))
    assert repr(copy) == repr(F)
    assert "shift 0.5" in repr(F)


# ---- what must be refused


@pytest.mark.parametrize("leaf_size", [32, 64])
def test_loss_of_definiteness_is_reported(leaf_size, global_random_seed):
    dense = make_matrix("gaussian_2d_wide", 400, global_random_seed).dense
    H = hss(dense, global_random_seed, leaf_size=leaf_size)
    eigenvalues = np.linalg.eigvalsh(own_dense(H, 0.0))
    for below in (-eigenvalues[0] - 1e-3, -eigenvalues[-1] / 2):
        with pytest.raises(np.linalg.LinAlgError) as caught:
            H.factorize(below)
        message = str(caught.value)
        assert "not positive definite" in message
        assert "eigenvalue -" in message
        assert "Raise shift" in message
        assert "rtol (now 1e-03)" in message
    # Just definite: the same decision as that of the eigenvalues.
    H.factorize(-eigenvalues[0] + 1e-6)


def test_all_points_equal(global_random_seed):
    H = hss(KernelMatrix(np.ones((200, 3))), global_random_seed)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        H.factorize()
    x = H.factorize(1.0).solve(np.ones(200))
    np.testing.assert_allclose(x, 1 / 201, rtol=1e-9)


def test_fmm_format_is_refused(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((600, 2))
    H = hss(KernelMatrix(X, bandwidth=0.2), global_random_seed, budget=0.2)
    with pytest.raises(ValueError, match=r"budget was not 0.*compress\(\.\.\., budget=0\)"):
        H.factorize(1.0)


@pytest.mark.parametrize("shift", [np.nan, np.inf, "a", None, 1j])
def test_bad_shift(shift, global_random_seed):
    H = hss(np.eye(50), global_random_seed)
    with pytest.raises(ValueError, match=r"shift is .*; allowed is a finite number"):
        H.factorize(shift)


@pytest.mark.parametrize(
    ("B", "message"),
    [
        (np.ones(49), r"B has shape \(49,\); allowed are \(50,\) and \(50, k\)"),
        (np.ones((50, 1, 1)), "B has shape"),
        (np.float64(1), "B has shape"),
        (np.full(50, np.nan), "B contains NaN or infinity"),
        (np.array(["a"] * 50), "B has dtype"),
    ],
)
def test_bad_right_hand_side(B, message, global_random_seed):
    F = hss(np.eye(50), global_random_seed).factorize()
    with pytest.raises(ValueError, match=message):
        F.solve(B)
