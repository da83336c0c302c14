"""Legal but hard input: never NaN, never a silent failure, and the input is never changed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.spatial.distance import cdist

from skhmat.linalg import KernelMatrix, compress

from ..linalg.matrices import compress_recorded, make_matrix, relative_error

DTYPES = [np.float32, np.float64]


def check(K, dense, rtol=1e-3, **options):
    """Compress K: the result is finite and as accurate as it says, or there is a warning."""
    options = {"leaf_size": 32, "random_state": 0, **options}
    H, warning = compress_recorded(K, rtol=rtol, **options)
    error = relative_error(H, dense)
    rounding = 200 * np.finfo(H.dtype).eps
    assert np.isfinite(H.error_estimate_)
    assert np.isfinite(H.diagonal()).all()
    assert error <= max(2 * H.error_estimate_, rounding)
    if warning is None:
        assert H.error_estimate_ <= rtol
        assert error <= max(2 * rtol, rounding)
    return H


def gaussian(X, bandwidth=1.0):
    X = X.astype(float)
    return np.exp(-0.5 * cdist(X / bandwidth, X / bandwidth, "sqeuclidean"))


# ---- large rows ----


@pytest.mark.parametrize("distance", ["kernel", "angle"])
def test_few_rows_have_nearly_all_of_the_norm(distance, rng):
    """So large that not all rows are measured; the five must be found."""
    n = 5000
    scale = np.ones(n)
    scale[rng.permutation(n)[:5]] = 1e3
    dense = gaussian(rng.standard_normal((n, 3))) * scale[:, None] * scale
    H = check(dense, dense, distance=distance, leaf_size=64)
    error = relative_error(H, dense)
    assert 2 * error / 3 <= H.error_estimate_ <= 3 * error / 2


# ---- sizes ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance", ["auto", "kernel", "lexicographic"])
@pytest.mark.parametrize("n", [1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 1000])
def test_sizes(n, distance, dtype, rng):
    X = rng.standard_normal((n, 2)).astype(dtype)
    dense = gaussian(X, 2.0)
    check(KernelMatrix(X, bandwidth=2.0), dense, distance=distance)
    check(dense.astype(dtype), dense, distance=distance, budget=0.3)


@pytest.mark.parametrize("leaf_size", [2, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 50, 257])
def test_small_leaves(n, leaf_size, rng):
    X = rng.standard_normal((n, 1))
    check(KernelMatrix(X), gaussian(X), leaf_size=leaf_size)


@pytest.mark.parametrize("leaf_size", [1000, 2**40])
def test_one_leaf_is_exact(leaf_size, rng):
    X = rng.standard_normal((300, 2))
    H = check(KernelMatrix(X), gaussian(X), leaf_size=leaf_size)
    assert H.error_estimate_ < 1e-13


def test_five_thousand(rng):
    X = rng.standard_normal((5000, 2))
    H = check(KernelMatrix(X, bandwidth=2.0), gaussian(X, 2.0), leaf_size=256)
    assert not H.is_dense
    assert H.nbytes < 0.3 * 5000**2 * 8


@pytest.mark.parametrize("n_neighbors", [1, 2, 5000])
@pytest.mark.parametrize("n", [1, 2, 200])
def test_few_or_too_many_neighbors(n, n_neighbors, rng):
    X = rng.standard_normal((n, 2))
    check(KernelMatrix(X), gaussian(X), n_neighbors=n_neighbors, leaf_size=16, budget=0.2)


# ---- points that coincide ----


def duplicates(kind, rng, n=700):
    if kind == "all equal":
        return np.tile(rng.standard_normal(3), (n, 1))
    if kind == "two points":
        return rng.standard_normal((2, 3))[rng.integers(0, 2, n)]
    if kind == "one outlier":
        return np.vstack([np.zeros((n - 1, 3)), [[50.0, 0, 0]]])
    return rng.standard_normal((40, 3))[rng.integers(0, 40, n)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance", ["geometric", "kernel", "angle", "random"])
@pytest.mark.parametrize("kind", ["all equal", "two points", "one outlier", "forty points"])
def test_duplicates(kind, distance, dtype, rng):
    X = duplicates(kind, rng).astype(dtype)
    for bandwidth in (0.1, 1.0, 10.0):
        K = KernelMatrix(X, bandwidth=bandwidth)
        for budget in (0, "auto", 0.3):
            check(K, gaussian(X, bandwidth), distance=distance, budget=budget)


@pytest.mark.parametrize("rtol", [0.5, 1e-2, 1e-8, 1e-14])
@pytest.mark.parametrize("name", ["constant", "identity", "block_diagonal"])
def test_exact_ranks(name, rtol, global_random_seed):
    dense = make_matrix(name, 700, global_random_seed).dense
    for budget in (0, 0.3, 1):
        H = check(dense, dense, rtol=rtol, budget=budget)
        if name == "constant":
            assert H.ranks_.max() <= 1
        if name == "identity":
            assert H.ranks_.max() == 0
            assert H.error_estimate_ == 0


# ---- scale ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bandwidth", [1e-6, 1e-3, 1e3, 1e6])
def test_bandwidths(bandwidth, dtype, rng):
    X = rng.standard_normal((700, 3)).astype(dtype)
    dense = gaussian(X, bandwidth)
    for budget in (0, "auto"):
        check(KernelMatrix(X, bandwidth=bandwidth), dense, budget=budget)
        check(dense.astype(dtype), dense, budget=budget)


@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-38, 1e-37, 1e-30, 1e30, 1e37, 3e38])
@pytest.mark.parametrize("form", ["hierarchical", "dense"])
def test_ends_of_the_range_of_float32(scale, form, rng):
    """From numbers with a single digit left up to the last doubling before overflow."""
    n = 400
    dense = make_matrix("gaussian_2d_wide" if form == "hierarchical" else "incompressible", n, 0)
    dense = dense.dense / dense.dense.max()
    K = (dense * scale).astype(np.float32)
    K[np.diag_indices(n)] = np.maximum(K.diagonal(), np.float32(1e-45))
    if scale < 1e-37:
        try:
            check(K, K.astype(float), rtol=1e-2, budget=0)
        except ValueError as error:  # an error is not silent
            assert "K" in str(error)  # noqa: PT017
    else:
        H = compress(K, rtol=1e-2, leaf_size=32, budget=0, random_state=0)
        # One column at a time, since sums over rows leave the range.
        product = H @ np.eye(n, 40, dtype=np.float32)
        expected = K[:, :40].astype(float)
        assert np.isfinite(product).all()
        assert np.linalg.norm((product - expected) / scale) <= 3e-2 * np.linalg.norm(
            expected / scale
        )


@pytest.mark.parametrize("scale", [1e-320, 1e-307, 1e-300, 1e-100, 1e100, 1e300])
@pytest.mark.parametrize("form", ["hierarchical", "dense"])
def test_ends_of_the_range_of_float64(scale, form):
    dense = make_matrix("gaussian_2d_wide" if form == "hierarchical" else "incompressible", 400, 0)
    K = dense.dense * scale
    try:
        check(K, K, rtol=1e-2, budget=0)
    except ValueError as error:
        assert scale < 1e-300
        assert "K" in str(error)  # noqa: PT017


@pytest.mark.parametrize("spread", [1e3, 1e6, 1e12])
def test_rows_of_very_different_size(spread, rng):
    n = 600
    sizes = spread ** rng.random(n)
    dense = gaussian(rng.standard_normal((n, 2))) * np.outer(sizes, sizes)
    for distance in ("kernel", "angle"):
        check(dense, dense, distance=distance)


def test_promise_below_rounding_is_missed_in_public_or_kept_exactly(rng):
    X = rng.standard_normal((600, 2)).astype(np.float32)
    H, warning = compress_recorded(KernelMatrix(X), rtol=1e-12, leaf_size=32, random_state=0)
    assert H.is_dense or warning is not None
    assert relative_error(H, gaussian(X)) < 1e-4


# ---- indefinite: no promise, but never a silent failure ----


def test_slightly_indefinite(rng):
    dense = gaussian(rng.standard_normal((600, 2))) - 1e-9 * np.eye(600)
    check(dense, dense)


def test_indefinite(rng):
    A = rng.standard_normal((600, 600))
    dense = A + A.T + 3 * np.eye(600) * (1 + np.abs(A).max())
    dense[0, 1] = dense[1, 0] = 1e3
    check(dense, dense, distance="kernel")
    check(dense, dense, distance="angle")


# ---- the user's arrays ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only", "memmap", "integers"])
@pytest.mark.parametrize("name", ["gaussian_2d_wide", "incompressible"])
def test_arrays_are_not_changed(name, layout, dtype, tmp_path, global_random_seed):
    dense, points = make_matrix(name, 500, global_random_seed)
    K = dense.astype(dtype)
    if layout == "F":
        K = np.asfortranarray(K)
    elif layout == "strided":
        K = np.repeat(np.repeat(K, 2, axis=0), 2, axis=1)[::2, ::2]
    elif layout == "read-only":
        K.flags.writeable = False
    elif layout == "memmap":
        K.tofile(tmp_path / "K.bin")
        (tmp_path / "K.bin").chmod(0o444)
        K = np.memmap(tmp_path / "K.bin", dtype=dtype, mode="r", shape=dense.shape)
    elif layout == "integers":
        K = np.rint(1000 * K).astype(np.int64)
    before = np.array(K)
    points_before = None if points is None else points.copy()
    H = check(K, before, points=points, rtol=1e-2)
    H.diagonal()[:] = 0
    H @ np.ones(500)
    assert_array_equal(K, before)
    assert H.dtype == (np.float64 if layout == "integers" else dtype)
    if points is not None:
        assert_array_equal(points, points_before)


def test_points_of_a_kernel_are_not_changed(rng):
    X = rng.standard_normal((500, 2))
    before = X.copy()
    K = KernelMatrix(X)
    H = check(K, gaussian(X))
    H @ np.ones(500)
    assert_array_equal(X, before)
    assert np.shares_memory(K.X, X)


def test_later_changes_of_the_array_do_not_reach_the_compressed_matrix(rng):
    dense = gaussian(rng.standard_normal((500, 2)))
    H = compress(dense, rtol=1e-3, leaf_size=32, random_state=0)
    assert not H.is_dense
    product = H @ np.ones(500)
    dense[:] = 0
    assert_array_equal(H @ np.ones(500), product)


def test_rows_and_columns_given_to_a_callable_may_be_changed(rng):
    dense = gaussian(rng.standard_normal((500, 2)))

    def rude(rows, cols):
        block = dense[np.ix_(rows, cols)]
        rows[:] = 0
        cols[:] = 0
        return block

    before = dense.copy()
    check(rude, dense, shape=(500, 500))
    assert_array_equal(dense, before)


def test_callable_that_returns_its_own_memory(rng):
    """Blocks may be views of the user's array; they are scaled and weighted in copies only."""
    dense = 1e12 * gaussian(np.sort(rng.standard_normal((300, 1)), axis=0))
    before = dense.copy()

    def view(rows, cols):
        if np.all(np.diff(rows) == 1) and np.all(np.diff(cols) == 1):
            return dense[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return dense[np.ix_(rows, cols)]

    for leaf_size in (16, 300):
        check(view, before, shape=(300, 300), distance="lexicographic", leaf_size=leaf_size)
        assert_array_equal(dense, before)
