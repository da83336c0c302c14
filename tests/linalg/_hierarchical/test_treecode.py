import pickle

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._hierarchical import treecode as module

from ..matrices import make_matrix

N = 3000

# With other weights and rows than those of the measurement, the error may be slightly larger.
pytestmark = pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")


def small(K, **options):
    return compress(K, **{"rtol": 1e-3, "leaf_size": 64, "random_state": 0, **options})


def relative(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


KERNELS = {
    "gaussian": {"bandwidth": 1.0},
    "exponential": {"bandwidth": 4.0},
    "matern32": {"bandwidth": 2.0},
    "inverse_multiquadric": {"bandwidth": 1.0},
    "laplace_green": {"bandwidth": 1.5},
    "polynomial": {"degree": 2},
    "cosine": {},
}


@pytest.mark.parametrize("budget", [0, 0.1])
@pytest.mark.parametrize("kernel", KERNELS)
def test_agrees_with_the_exact_sums(kernel, budget, rng):
    X, X_new = rng.standard_normal((N, 3)), rng.standard_normal((500, 3))
    K = KernelMatrix(X, kernel, **KERNELS[kernel])
    H = small(K, budget=budget)
    assert not H.is_dense
    # Not of mean zero: a wide kernel sums up the weights, and that sum must not be tiny.
    W = 0.5 + rng.standard_normal((N, 2))
    sums, error = H.evaluate(X_new, W, return_error=True)
    true = relative(sums, K.evaluate(X_new, W))
    assert sums.shape == (500, 2)
    assert true <= 1.5e-3
    # A point that is not among those measured may have much of the error: 2.4 times was seen.
    assert error / 2 <= true <= 3 * error


@pytest.mark.parametrize("kernel", ["gaussian", "matern32", "laplace_green"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_bandwidth_for_each_feature(dtype, kernel, rng):
    """New points are in the users' units; the tree is one of scaled points."""
    units, bandwidth = np.array([1e-3, 1.0, 50.0]), KERNELS[kernel]["bandwidth"]
    points = rng.standard_normal((N + 400, 3))
    X, X_new = np.split((points * units).astype(dtype), [N])
    K = KernelMatrix(X, kernel, bandwidth * units)
    H = small(K, budget=0.1)
    assert not H.is_dense
    W = (0.5 + rng.standard_normal((N, 2))).astype(dtype)
    assert relative(H @ W, K @ W) <= 1.5e-3
    sums = H.evaluate(X_new, W)
    assert sums.dtype == dtype
    assert relative(sums, K.evaluate(X_new, W)) <= 1.5e-3
    again = pickle.loads(pickle.dumps(H))
    np.testing.assert_array_equal(again.evaluate(X_new, W), sums)
    # With one bandwidth it is the same matrix, up to a factor and the rounding of points.
    one = small(KernelMatrix((X / units).astype(dtype), kernel, bandwidth), budget=0.1)
    assert H.nbytes == pytest.approx(one.nbytes, rel=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_sums(dtype, rng):
    X, X_new = rng.standard_normal((300, 4)), rng.standard_normal((70, 4))
    K = KernelMatrix(X.astype(dtype), bandwidth=1.5)
    w = rng.standard_normal(300)
    squares = ((X_new[:, None] - X) ** 2).sum(axis=2)
    expected = np.exp(-squares / (2 * 1.5**2)) @ w
    sums = K.evaluate(X_new, w)
    assert sums.dtype == dtype
    np.testing.assert_allclose(sums, expected, atol=1e-4 if dtype == np.float32 else 1e-12)
    in_python = KernelMatrix(
        X, lambda A, B: np.exp(-((A[:, None] - B) ** 2).sum(axis=2) / (2 * 1.5**2))
    )
    np.testing.assert_allclose(in_python.evaluate(X_new, w), expected, atol=1e-12)
    np.testing.assert_allclose(
        K.evaluate(K.X, w), K @ w, atol=1e-4 if dtype == np.float32 else 1e-12
    )


def test_own_points_agree_with_the_product(rng):
    """The rows of the matrix are sums at its own points."""
    K = KernelMatrix(rng.standard_normal((N, 3)), bandwidth=2.0)
    H = small(K)
    # Many vectors: a single one may lack the leading eigenvector, and then its sums are small.
    W = rng.standard_normal((N, 32))
    assert relative(H.evaluate(K.X, W), H @ W) <= 2e-3


@pytest.mark.parametrize("budget", [0, 0.1])
def test_a_row_depends_on_no_other(budget, rng):
    K = KernelMatrix(rng.standard_normal((N, 3)), bandwidth=2.0)
    H = small(K, budget=budget)
    X_new, w = rng.standard_normal((200, 3)), rng.random(N)
    together = H.evaluate(X_new, w)
    order = rng.permutation(200)
    np.testing.assert_allclose(H.evaluate(X_new[order], w), together[order], rtol=1e-12)
    for i in (0, 77):
        np.testing.assert_allclose(H.evaluate(X_new[i : i + 1], w), together[i : i + 1], 1e-12)


def test_every_point_is_counted_once(rng):
    """With a constant kernel each sum is that of the weights, near and far."""
    X = rng.standard_normal((1000, 2))
    K = KernelMatrix(X, "polynomial", gamma=1e-30, coef0=1.0, degree=1)
    for budget in (0, 0.2):
        H = small(K, budget=budget)
        w = rng.random(1000)
        np.testing.assert_allclose(H.evaluate(rng.standard_normal((50, 2)), w), w.sum())
        tree = module._TargetTree(H.form.structure, K)
        for near, far in zip(tree.near, tree.far, strict=True):
            assert len(np.unique(near)) == len(near)
            assert len(np.unique(far)) == len(far)


def test_skeletons_are_points_of_their_node(rng):
    K = KernelMatrix(rng.standard_normal((N, 2)))
    s = small(K, budget=0).form.structure
    positions = module._skeleton_positions(s)
    for node in range(1, len(s.rank)):
        own = positions[s.skel_ptr[node] : s.skel_ptr[node + 1]]
        level = (node + 1).bit_length() - 1
        width = 1 << (s.depth - level)
        first = (node + 1 - (1 << level)) * width
        assert np.all((own >= s.leaf_bounds[first]) & (own < s.leaf_bounds[first + width]))
        assert len(np.unique(own)) == len(own) == s.rank[node]


def test_points_far_from_all_others(rng):
    K = KernelMatrix(rng.standard_normal((N, 3)), "inverse_multiquadric")
    H = small(K)
    X_new, w = 1e3 * rng.standard_normal((20, 3)), rng.random(N)
    assert relative(H.evaluate(X_new, w), K.evaluate(X_new, w)) <= 1e-12
    gaussian = small(KernelMatrix(K.X))
    sums, error = gaussian.evaluate(X_new, w, return_error=True)
    assert not sums.any()
    assert error == 0


@pytest.mark.parametrize("leaf_size", [3, 30, 64, 1000])
def test_few_leaves(leaf_size, rng):
    """All of them may be near."""
    K = KernelMatrix(rng.standard_normal((100, 2)))
    H = small(K, leaf_size=leaf_size, rtol=1e-2)
    X_new, w = rng.standard_normal((20, 2)), rng.random(100)
    assert relative(H.evaluate(X_new, w), K.evaluate(X_new, w)) <= 2e-2


def test_equal_points(rng):
    K = KernelMatrix(np.ones((500, 2)))
    H = small(K)
    np.testing.assert_allclose(H.evaluate(np.ones((3, 2)), np.ones(500)), 500)


def test_matrices_that_are_held_as_they_are(rng):
    K = KernelMatrix(rng.standard_normal((500, 8)), bandwidth=0.5)
    H = small(K, rtol=1e-8)
    assert H.is_dense
    X_new, w = rng.standard_normal((30, 8)), rng.standard_normal(500)
    sums, error = H.evaluate(X_new, w, return_error=True)
    np.testing.assert_array_equal(sums, K.evaluate(X_new, w))
    assert error == 0


def test_a_miss_is_a_warning_with_the_error(rng):
    """Weights that solve a system: the terms of the sums cancel."""
    K = KernelMatrix(rng.standard_normal((N, 2)))
    H = small(K, rtol=1e-2)
    b = np.sin(K.X[:, 0])
    w = H.solve(b, 1e-3, operator=K)
    with pytest.warns(ConvergenceWarning, match="relative error .* of the sums") as caught:
        sums, error = H.evaluate(K.X, w, return_error=True)
    assert caught[0].filename == __file__
    assert error > 1e-2
    true = relative(sums, K.evaluate(K.X, w))
    assert error / 3 <= true <= 3 * error


def test_threads_change_no_bit(rng):
    K = KernelMatrix(rng.standard_normal((N, 3)))
    X_new, W = rng.standard_normal((100, 3)), rng.standard_normal((N, 3))
    one, four = (small(K, n_jobs=n).evaluate(X_new, W) for n in (1, 4))
    np.testing.assert_array_equal(one, four)


def test_pickle(rng):
    K = KernelMatrix(rng.standard_normal((N, 3)), bandwidth=2.0)
    H = small(K)
    X_new, w = rng.standard_normal((10, 3)), rng.random(N)
    again = pickle.loads(pickle.dumps(H))
    np.testing.assert_array_equal(again.evaluate(X_new, w), H.evaluate(X_new, w))


def test_matrices_without_a_kernel(tmp_path, rng):
    dense = make_matrix("gaussian_2d_wide", 300, 0).dense
    H = small(dense)
    with pytest.raises(TypeError, match="has no kernel"):
        H.evaluate(np.ones((1, 2)), np.ones(300))
    small(KernelMatrix(rng.standard_normal((500, 2)))).save(tmp_path / "H.npz")
    with pytest.raises(TypeError, match="without its points"):
        type(H).load(tmp_path / "H.npz").evaluate(np.ones((1, 2)), np.ones(500))


@pytest.mark.parametrize(
    ("X_new", "weights", "message"),
    [
        (np.ones(3), np.ones(500), "X_new must be 2-dimensional"),
        (np.ones((2, 4)), np.ones(500), r"X_new must be of shape \(n_new, 3\), got shape \(2, 4\)"),
        (np.full((2, 3), np.nan), np.ones(500), "X_new must be finite"),
        (np.ones((2, 3)), np.ones(4), r"weights must be .*, got shape \(4,\)"),
        (np.ones((2, 3)), np.full(500, np.inf), "weights must be finite, got NaN"),
        (
            np.ones((2, 3)),
            np.ones(500, dtype=complex),
            r"weights must be (real|numeric), got dtype complex",
        ),
    ],
)
def test_bad_input(X_new, weights, message, rng):
    K = KernelMatrix(rng.standard_normal((500, 3)))
    H = small(K, rtol=1e-2)
    for operator in (K, H):
        with pytest.raises(ValueError, match=message):
            operator.evaluate(X_new, weights)


def test_sums_that_overflow(rng):
    X = rng.standard_normal((500, 3)).astype(np.float32)
    K = KernelMatrix(X, "polynomial")
    for operator in (K, small(K, rtol=1e-2)):
        with pytest.raises(ValueError, match="the sums overflow float32"):
            operator.evaluate(np.full((2, 3), 1e25), np.ones(500))
        with pytest.raises(ValueError, match="beyond the range of float32"):
            operator.evaluate(np.full((2, 3), 1e39), np.ones(500))
