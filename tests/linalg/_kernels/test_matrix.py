import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse.linalg import aslinearoperator, cg, eigsh
from scipy.spatial.distance import cdist

from skhmat.linalg import KernelMatrix
from skhmat.linalg._kernels.table import KERNELS

from .test_table import reference

DTYPES = [np.float32, np.float64]
RADIAL = [name for name, kernel in KERNELS.items() if kernel.is_radial]


def laplacian(A, B):
    """A callable kernel."""
    return np.exp(-cdist(A, B, "cityblock"))


def gaussian(X, bandwidth=1.0):
    return np.exp(-cdist(X, X, "sqeuclidean") / (2 * bandwidth**2))


# ---- what it computes ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [*KERNELS, laplacian])
def test_views_of_the_same_matrix_agree(kernel, dtype, rng):
    X = rng.standard_normal((213, 5)).astype(dtype)
    K = KernelMatrix(X, kernel=kernel, bandwidth=1.3, alpha=0.7)
    dense = K.toarray()
    tol = dict(
        rtol=50 * np.finfo(dense.dtype).eps, atol=50 * np.finfo(dense.dtype).eps * dense.max()
    )
    assert K.shape == dense.shape == (213, 213)
    assert K.dtype == dense.dtype == (np.float64 if kernel is laplacian else dtype)
    np.testing.assert_allclose(dense, dense.T, **tol)
    np.testing.assert_allclose(K.diagonal(), np.diag(dense), **tol)
    assert K.diagonal().dtype == K.dtype
    rows, cols = rng.permutation(213)[:37], rng.permutation(213)[:100]
    np.testing.assert_allclose(K.block(rows, cols), dense[np.ix_(rows, cols)], **tol)
    perm = rng.permutation(213)
    np.testing.assert_allclose(K.permuted(perm).toarray(), dense[np.ix_(perm, perm)], **tol)
    for k in (1, 2, 3, 4, 5, 64):
        W = rng.standard_normal((213, k)).astype(dtype)
        expected = dense.astype(float) @ W
        error = np.linalg.norm(K @ W - expected) / np.linalg.norm(expected)
        assert error < 30 * np.finfo(dtype).eps


def test_points_are_not_copied(rng):
    X = rng.standard_normal((10, 20))
    K = KernelMatrix(X)
    assert np.shares_memory(K.X, X)
    assert X.flags.writeable
    assert np.shares_memory(K.points, X)


@pytest.mark.parametrize("d", [3, 40])
def test_layouts_of_the_points(d, rng, tmp_path):
    X = rng.standard_normal((40, d))
    expected = gaussian(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    layouts = [read_only, mapped, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.tolist()]
    layouts.append(X.astype(X.dtype.newbyteorder()))
    for points in layouts:
        K = KernelMatrix(points)
        np.testing.assert_allclose(K.toarray(), expected, rtol=1e-12)
        np.testing.assert_allclose(K @ np.ones(40), expected.sum(axis=1), rtol=1e-12)


def test_integers_become_float64():
    K = KernelMatrix(np.arange(6).reshape(3, 2))
    assert K.dtype == np.float64
    assert K.X.dtype == np.float64


def test_default_gamma_is_one_over_the_features(rng):
    X = rng.standard_normal((20, 4))
    np.testing.assert_allclose(
        KernelMatrix(X, "polynomial").toarray(), (X @ X.T / 4 + 1) ** 3, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("w_dtype", [np.int64, np.float32, np.float64, np.complex64, np.complex128])
def test_dtype_of_products(dtype, w_dtype, rng):
    X = rng.standard_normal((60, 3)).astype(dtype)
    K = KernelMatrix(X)
    W = (5 * rng.standard_normal((60, 3))).astype(w_dtype)
    if np.issubdtype(w_dtype, np.complexfloating):
        W = W + w_dtype(1j) * W[::-1]
    product = K @ W
    assert product.dtype == np.result_type(dtype, w_dtype)
    tol = 1e-5 if dtype == np.float32 else 1e-6 if product.dtype == np.complex64 else 1e-12
    np.testing.assert_allclose(product, K.toarray().astype(float) @ W, rtol=tol, atol=10 * tol)


def test_linear_operator(rng):
    X = rng.standard_normal((50, 3))
    K = KernelMatrix(X)
    dense = K.toarray()
    w, W = rng.standard_normal(50), rng.standard_normal((50, 4))
    assert aslinearoperator(K) is K
    for product in (K @ w, K.matvec(w), K.rmatvec(w), K.H @ w, K.T @ w):
        assert product.shape == (50,)
        np.testing.assert_allclose(product, dense @ w, rtol=1e-12, atol=1e-13)
    assert K.matvec(w[:, None]).shape == (50, 1)
    for product in (K @ W, K.matmat(W), K.rmatmat(W), K.dot(np.asfortranarray(W))):
        np.testing.assert_allclose(product, dense @ W, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose((2 * K + K) @ w, 3 * dense @ w, rtol=1e-12, atol=1e-13)
    assert (K @ np.empty((50, 0))).shape == (50, 0)


def test_scipy_solvers(rng):
    X = rng.standard_normal((200, 2))
    K = KernelMatrix(X, "exponential")
    dense = K.toarray()
    values = eigsh(K, k=3, return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(dense)[-3:], rtol=1e-10)
    b = rng.standard_normal(200)
    x, info = cg(K, b, maxiter=2000)
    assert info == 0
    assert np.linalg.norm(dense @ x - b) < 1e-4 * np.linalg.norm(b)


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
@pytest.mark.parametrize("d", [1, 37])
def test_equal_points_give_ones(n, d, rng):
    X = np.tile(rng.standard_normal(d), (n, 1))
    K = KernelMatrix(X, bandwidth=1e-6)
    assert np.all(K.toarray() == 1)
    np.testing.assert_allclose(K @ np.ones(n), n)


# ---- block ----


def test_block_indices_and_output(rng):
    X = rng.standard_normal((30, 2))
    K = KernelMatrix(X)
    dense = K.toarray()
    np.testing.assert_array_equal(K.block(slice(3, 20, 2), slice(None)), dense[3:20:2])
    np.testing.assert_array_equal(K.block([-1, 0], np.uint8([5])), dense[[-1, 0]][:, [5]])
    assert K.block([], [1, 2]).shape == (0, 2)
    out = np.empty((2, 30))
    assert K.block([4, 4], slice(None), out=out) is out
    np.testing.assert_array_equal(out, dense[[4, 4]])


@pytest.mark.parametrize("kernel", ["gaussian", laplacian])
def test_blocks_from_many_threads(kernel, rng):
    X = rng.standard_normal((300, 3))
    K = KernelMatrix(X, kernel)
    dense = K.toarray()
    chosen = [rng.permutation(300)[:70] for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda rows: K.block(rows, rows[:30]), chosen))
    for rows, entries in zip(chosen, blocks, strict=True):
        np.testing.assert_array_equal(entries, dense[np.ix_(rows, rows[:30])])


@pytest.mark.parametrize("bad", [[30], [-31], [0.5], [[1, 2]], [True, False], "abc"])
def test_bad_indices(bad):
    K = KernelMatrix(np.zeros((30, 2)))
    with pytest.raises(IndexError, match="rows must be"):
        K.block(bad, [0])


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 2)),
        np.empty((2, 3), np.float32),
        np.empty((2, 3), order="F"),
        np.empty((2, 6))[:, ::2],
        [[0.0] * 3] * 2,
        np.broadcast_to(0.0, (2, 3)),
    ],
)
def test_bad_output(out):
    K = KernelMatrix(np.zeros((30, 2)))
    with pytest.raises(ValueError, match="out must be"):
        K.block([0, 1], [0, 1, 2], out=out)


@pytest.mark.parametrize("perm", [[0, 1], [0, 1, 1], [0, 1, 2, 2]])
def test_bad_permutation(perm):
    with pytest.raises(ValueError, match="perm must be a permutation of range"):
        KernelMatrix(np.zeros((3, 2))).permuted(perm)


# ---- evaluate ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [*KERNELS, laplacian])
def test_evaluate_agrees_with_blocks(kernel, dtype, rng):
    """A row for a new point is one of the matrix of old and new points."""
    X = rng.standard_normal((213, 5)).astype(dtype)
    options = {"kernel": kernel, "bandwidth": 1.3, "alpha": 0.7}
    K, X_new = KernelMatrix(X[:150], **options), X[150:]
    block = KernelMatrix(X, **options).block(range(150, 213), range(150)).astype(float)
    tol = 50 * np.finfo(dtype).eps * np.linalg.norm(block)
    for k in (0, 1, 4, 17):
        W = rng.standard_normal((150, k)).astype(dtype)
        sums = K.evaluate(X_new, W)
        assert sums.shape == (63, k)
        assert sums.dtype == K.dtype
        assert np.linalg.norm(sums - block @ W) <= tol * np.sqrt(max(k, 1))
        for new in (X_new[:1], np.repeat(X_new, 30, axis=0)):
            again = K.evaluate(new, W)
            assert again.shape == (len(new), k)
            np.testing.assert_allclose(again[0], sums[0], atol=tol)
            np.testing.assert_allclose(again[-1], sums[0 if len(new) == 1 else -1], atol=tol)


def test_evaluate_takes_what_is_an_array(rng):
    X = rng.integers(-3, 4, (40, 3)).astype(np.float32)
    K = KernelMatrix(X, bandwidth=3.0)
    X_new, w = rng.integers(-3, 4, (7, 3)), rng.integers(-5, 6, 40)
    expected = K.evaluate(X_new.astype(np.float32), w.astype(np.float32))
    layouts = [X_new, X_new.tolist(), np.asfortranarray(X_new), np.repeat(X_new, 2, axis=0)[::2]]
    for points in (*layouts, X_new.astype(">f8"), X_new.astype(np.float64)):
        for weights in (w, w.tolist(), w.astype(np.float64), np.repeat(w, 2)[::2]):
            sums = K.evaluate(points, weights)
            assert sums.dtype == np.float32
            np.testing.assert_array_equal(sums, expected)
    assert K.evaluate(X_new, w[:, None]).shape == (7, 1)


def test_evaluate_in_several_tiles(rng):
    """More new points than points, and the other way round."""
    few, many = rng.standard_normal((70, 2)), rng.standard_normal((1300, 2))
    for X, X_new in ((few, many), (many, few)):
        W = rng.standard_normal((len(X), 2))
        expected = np.exp(-cdist(X_new, X, "cityblock")) @ W
        np.testing.assert_allclose(KernelMatrix(X, laplacian).evaluate(X_new, W), expected)
        by_name = KernelMatrix(X).evaluate(X_new, W)
        expected = np.exp(-cdist(X_new, X, "sqeuclidean") / 2) @ W
        np.testing.assert_allclose(by_name, expected, atol=1e-11)


@pytest.mark.parametrize("n_jobs", [2, 4, None])
def test_n_jobs_changes_no_bit_of_evaluate(n_jobs, rng):
    X, X_new = rng.standard_normal((700, 4)), rng.standard_normal((300, 4))
    W = rng.standard_normal((700, 3))
    one = KernelMatrix(X, n_jobs=1).evaluate(X_new, W)
    np.testing.assert_array_equal(KernelMatrix(X, n_jobs=n_jobs).evaluate(X_new, W), one)


@pytest.mark.parametrize("X_new", [np.zeros((0, 3)), np.zeros((2, 0)), np.zeros((2, 3), complex)])
def test_bad_new_points(X_new):
    with pytest.raises(ValueError, match="X_new must"):
        KernelMatrix(np.zeros((5, 3))).evaluate(X_new, np.ones(5))


# ---- the object ----


@pytest.mark.parametrize("kernel", ["gaussian", "polynomial", laplacian])
def test_pickle(kernel, rng):
    K = KernelMatrix(rng.standard_normal((20, 3)), kernel, bandwidth=2, degree=2, n_jobs=1)
    again = pickle.loads(pickle.dumps(K))
    assert repr(again) == repr(K)
    assert again.n_jobs == 1
    np.testing.assert_array_equal(again.toarray(), K.toarray())


def test_repr():
    X = np.zeros((3, 2), dtype=np.float32)
    text = "<3x3 KernelMatrix of float32: rational_quadratic, bandwidth=2.0, alpha=1.0>"
    assert repr(KernelMatrix(X, "rational_quadratic", 2.0)) == text
    assert repr(KernelMatrix(X, laplacian)) == "<3x3 KernelMatrix of float64: laplacian>"


@pytest.mark.parametrize("n_jobs", [1, 2, 4, -1, None])
def test_n_jobs_changes_no_bit(n_jobs, rng):
    X = rng.standard_normal((700, 4)).astype(np.float32)
    W = rng.standard_normal((700, 9))
    one = KernelMatrix(X, n_jobs=1)
    other = KernelMatrix(X, n_jobs=n_jobs)
    np.testing.assert_array_equal(other @ W, one @ W)
    np.testing.assert_array_equal(other @ W[:, 0], one @ W[:, 0])
    np.testing.assert_array_equal(other.toarray(), one.toarray())


# ---- one bandwidth for each feature ----


def anisotropic(kernel, X, Y, bandwidth, alpha=1.0):
    """The formulas in float64, of points in units of the bandwidths."""
    mean = np.exp(np.mean(np.log(bandwidth)))
    A, B = (points.astype(float) / bandwidth * mean for points in (X, Y))
    return reference(kernel, A, B, {"bandwidth": mean, "alpha": alpha})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [3, 8, 40])
@pytest.mark.parametrize("kernel", RADIAL)
def test_bandwidth_of_each_feature(kernel, d, dtype, rng):
    bandwidth = 10 ** rng.uniform(-2, 2, d)
    X = (bandwidth / np.sqrt(d) * (2 * rng.standard_normal((130, d)) + 3)).astype(dtype)
    X, X_new = X[:100], X[100:]
    K = KernelMatrix(X, kernel, bandwidth.tolist(), alpha=0.7)
    expected = anisotropic(kernel, X, X, bandwidth, alpha=0.7)
    size = expected.max()
    tol = {"rtol": 0, "atol": 300 * np.finfo(dtype).eps * size}
    assert K.dtype == dtype
    dense = K.toarray()
    np.testing.assert_allclose(dense, expected, **tol)
    np.testing.assert_allclose(K.diagonal(), np.diag(expected), rtol=10 * np.finfo(dtype).eps)
    rows, cols = rng.permutation(100)[:7], rng.permutation(100)
    np.testing.assert_allclose(K.block(rows, cols), expected[np.ix_(rows, cols)], **tol)
    np.testing.assert_allclose(K.permuted(cols).toarray(), expected[np.ix_(cols, cols)], **tol)
    np.testing.assert_allclose(K.with_points(X[rows]).toarray(), expected[rows][:, rows], **tol)
    np.testing.assert_array_equal(K.isotropic().toarray(), dense)
    W = rng.standard_normal((100, 3)).astype(dtype)
    W /= np.linalg.norm(W, axis=0)
    tol["atol"] *= 10
    np.testing.assert_allclose(K @ W, expected @ W, **tol)
    sums = anisotropic(kernel, X_new, X, bandwidth, alpha=0.7) @ W
    np.testing.assert_allclose(K.evaluate(X_new, W), sums, **tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", RADIAL)
def test_equal_bandwidths_are_one(kernel, dtype, rng):
    d, bandwidth = int(rng.integers(3, 50)), 10 ** rng.uniform(-0.5, 0.5)
    X = (bandwidth * rng.standard_normal((80, d))).astype(dtype)
    one, same = (KernelMatrix(X, kernel, b) for b in (bandwidth, [bandwidth] * d))
    expected, eps = one.toarray(), np.finfo(dtype).eps
    np.testing.assert_allclose(same.toarray(), expected, rtol=0, atol=100 * eps * expected.max())


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    kernel=st.sampled_from(RADIAL),
    X=arrays(np.float64, (12, 3), elements=st.floats(-4, 4)),
    bandwidth=arrays(np.float64, 3, elements=st.floats(0.5, 2)),
)
def test_units_of_features_do_not_matter(data, kernel, X, bandwidth):
    """A column and its bandwidth, in another unit, and from another origin."""
    unit = 10.0 ** np.array(data.draw(st.lists(st.integers(-9, 9), min_size=3, max_size=3)))
    K = KernelMatrix(X, kernel, bandwidth).toarray()
    moved = (X + data.draw(st.integers(-9, 9))) * unit
    other = KernelMatrix(moved, kernel, bandwidth * unit).toarray()
    # The Green's function is a power of a length.
    np.testing.assert_allclose(other / other[0, 0], K / K[0, 0], rtol=0, atol=1e-12)


def test_what_users_see_is_in_their_units(rng):
    X, bandwidth = rng.standard_normal((10, 2)), np.array([0.5, 2])
    K = KernelMatrix(X, bandwidth=bandwidth)
    assert np.shares_memory(K.X, X)
    assert np.shares_memory(K.points, X)
    dense = K.toarray()
    bandwidth[:] = 7  # the caller's
    np.testing.assert_array_equal(K.bandwidth, [0.5, 2])
    np.testing.assert_array_equal(K.with_points(X).toarray(), dense)
    for array in (K.bandwidth, K.scaled_points):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert repr(K) == "<10x10 KernelMatrix of float64: gaussian, bandwidth=[0.5, 2.0]>"
    K = KernelMatrix(rng.standard_normal((2, 8)), bandwidth=range(1, 9))
    assert "bandwidth=[1.0, 2.0, 3.0, ..., 6.0, 7.0, 8.0]>" in repr(K)
    assert KernelMatrix(X).nbytes == X.nbytes
    assert KernelMatrix(X, bandwidth=[1, 2]).nbytes == 2 * X.nbytes


def test_scaled_points_are_not_pickled(rng):
    X = rng.standard_normal((1000, 3))
    K = KernelMatrix(X, "matern52", [1.0, 2.0, 3.0], n_jobs=1)
    text = pickle.dumps(K)
    assert len(text) < 1.2 * X.nbytes
    again = pickle.loads(text)
    assert repr(again) == repr(K)
    np.testing.assert_array_equal(again @ X, K @ X)


@pytest.mark.parametrize("kernel", ["gaussian", "inverse_multiquadric"])
@pytest.mark.parametrize("d", [3, 40])
def test_new_points_beyond_all_numbers_of_bandwidths(kernel, d, rng):
    K = KernelMatrix(rng.standard_normal((20, d)), kernel, np.geomspace(1e-6, 1, d))
    far = np.full((1, d), np.finfo(float).max)
    np.testing.assert_array_equal(K.evaluate(far, np.ones(20)), 0)


@pytest.mark.parametrize(
    ("bandwidth", "message"),
    [
        ([1.0], r"bandwidth must be a number, or of shape \(4,\) with one for .* got shape \(1,\)"),
        (np.ones((4, 1)), r"bandwidth must be .*got shape \(4, 1\)"),
        (np.ones((4, 4)), r"bandwidth must be .*got shape \(4, 4\)"),
        ([], r"bandwidth must be .*got shape \(0,\)"),
        ([1, 2, 0, 1], r"bandwidth\[2\] must be a finite number above 0, got 0"),
        ([1, -1, 1, 1], r"bandwidth\[1\] must be .*, got -1"),
        ([np.nan, 1, 1, 1], r"bandwidth\[0\] must be .*, got nan"),
        ([1, 1, 1, np.inf], r"bandwidth\[3\] must be .*, got inf"),
        ([1, 1, None, 1], r"bandwidth\[2\] must be .*, got nan"),
        ([1, True, 1, 1.0], r"bandwidth\[1\] must be .*, got True"),
        ([True] * 4, "bandwidth must be numeric"),
        (["1"] * 4, "bandwidth must be numeric"),
        ([1j] * 4, "bandwidth must be numeric"),
        ([[1], [1, 2]], "bandwidth must be an array, got a list"),
    ],
)
def test_bad_bandwidths_of_features(bandwidth, message):
    with pytest.raises(ValueError, match=message):
        KernelMatrix(np.zeros((3, 4)), bandwidth=bandwidth)


@pytest.mark.parametrize("kernel", ["linear", "polynomial", "cosine", laplacian])
def test_kernels_without_a_bandwidth(kernel):
    with pytest.raises(ValueError, match=r"bandwidth must be a number where .*, got an array"):
        KernelMatrix(np.ones((3, 2)), kernel, bandwidth=[1.0, 2.0])


def test_bandwidths_of_which_points_are_too_many():
    X = np.float32([[0, 1], [1e30, 0]])
    message = "X must be such that coordinates in units of the bandwidths do not overflow float32"
    with pytest.raises(ValueError, match=message):
        KernelMatrix(X, bandwidth=[1e-20, 1.0])


# ---- bad input ----


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), "X must be 2-dimensional.*got 1"),
        (np.zeros((2, 2, 2)), "X must be 2-dimensional.*got 3"),
        (np.zeros((0, 2)), r"X must be of at least one sample.*\(0, 2\)"),
        (np.zeros((2, 0)), r"X must be of at least one sample.*\(2, 0\)"),
        ([[0.0, np.nan]], "X must be finite"),
        ([[0.0, -np.inf]], "X must be finite"),
        (np.zeros((2, 2), complex), "X must be real, got dtype complex"),
        ([["a", "b"]], "X must be real, got dtype <U1"),
    ],
)
def test_bad_points(X, message):
    with pytest.raises(ValueError, match=message):
        KernelMatrix(X)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "kernel",
            "gausian",
            "kernel must be a callable or one of 'gaussian', .*'cosine'.*got 'gausian'",
        ),
        ("kernel", None, "kernel must be a callable or one of"),
        *[
            ("bandwidth", v, "bandwidth must be a number above 0, got")
            for v in (0, -1, np.inf, np.nan, "1", None)
        ],
        *[("alpha", v, "alpha must be a number above 0, got") for v in (0, -1, np.nan)],
        *[("gamma", v, "gamma must be a number above 0 or None, got") for v in (0, -1, "auto")],
        *[("coef0", v, "coef0 must be a number of at least 0, got") for v in (-1, np.inf)],
        *[
            ("degree", v, "degree must be an integer from 1 to 2147483647, got")
            for v in (0, -2, 1.5, True, 2**31)
        ],
        *[
            ("n_jobs", v, "n_jobs must be None or an integer other than 0, got")
            for v in (0, 1.5, True)
        ],
    ],
)
def test_bad_parameters(name, value, message):
    with pytest.raises(ValueError, match=message):
        KernelMatrix(np.zeros((3, 4)), **{name: value})


def test_entries_out_of_range():
    with pytest.raises(ValueError, match=r"at least 3 features .*'laplace_green', got 2"):
        KernelMatrix(np.zeros((3, 2)), "laplace_green")
    with pytest.raises(
        ValueError, match="entries of kernel 'laplace_green' do not overflow float32"
    ):
        KernelMatrix(np.zeros((3, 9), np.float32), "laplace_green", bandwidth=1e-6)
    with pytest.raises(ValueError, match=r"bandwidth must be so small .*, got 1000000\.0\."):
        KernelMatrix(np.zeros((3, 9), np.float32), "laplace_green", bandwidth=1e6)
    with pytest.raises(ValueError, match="entries of kernel 'linear' do not overflow float32, got"):
        KernelMatrix(np.full((3, 2), 1e20, np.float32), "linear")
    with pytest.raises(ValueError, match="entries of kernel 'polynomial' do not overflow float64"):
        KernelMatrix(np.full((3, 2), 1e60), "polynomial")


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda A, B: np.zeros(3), "kernel must be a callable that returns shape"),
        (
            lambda A, B: laplacian(B, A),
            r"callable that returns shape \(5, 1\) for 5 and 1 points, got",
        ),
        (lambda A, B: laplacian(A, B) + 0j, "that returns float32 or float64, got complex128"),
        (lambda A, B: np.ones((len(A), len(B)), int), "that returns float32 or float64, got int"),
        (lambda A, B: laplacian(A, B) * np.nan, "that returns finite numbers, got NaN"),
        (lambda A, B: A[:, :1] - B[:, 0], "kernel must be symmetric"),
    ],
)
def test_bad_callable(kernel, message, rng):
    with pytest.raises(ValueError, match=message):
        KernelMatrix(rng.standard_normal((20, 3)), kernel)


def test_callable_is_checked_on_every_call(rng):
    def picky(A, B):
        return laplacian(A, B)[: 5 if len(A) <= 5 else len(A) - 1]

    K = KernelMatrix(rng.standard_normal((20, 3)), picky)
    for use in (K.toarray, K.diagonal, lambda: K @ np.ones(20), lambda: K.block(range(9), [0])):
        with pytest.raises(ValueError, match="kernel must be a callable that returns shape"):
            use()


def test_callable_in_several_tiles(rng):
    X = rng.standard_normal((1300, 2)).astype(np.float32)
    K = KernelMatrix(X, laplacian)
    W = rng.standard_normal((1300, 3))
    np.testing.assert_allclose(K @ W, laplacian(X, X) @ W, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(K.toarray(), laplacian(X, X))


def test_wrong_length_of_vectors():
    K = KernelMatrix(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"[Dd]imension mismatch"):
        K @ np.ones(4)


# ---- properties ----


@settings(deadline=None, max_examples=60)
@given(
    X=st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays(
            dtype,
            st.tuples(st.integers(1, 30), st.integers(1, 40)),
            elements=st.floats(-100, 100, width=32),
        )
    ),
    bandwidth=st.floats(1e-3, 1e3),
)
def test_gaussian_is_symmetric_positive_semidefinite(X, bandwidth):
    K = KernelMatrix(X, bandwidth=bandwidth).toarray()
    eps = np.finfo(X.dtype).eps
    # From inner products a squared distance is good to a relative error, so K to an absolute one.
    np.testing.assert_allclose(K, K.T, rtol=0, atol=64 * eps)
    np.testing.assert_array_equal(np.diag(K), 1)
    assert np.linalg.eigvalsh(K.astype(float))[0] > -64 * eps * len(X)
