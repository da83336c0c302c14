"""Bad input is refused before any work; the message names parameter, value and allowed values."""

import re

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._gofmm.distances import DISTANCES, POINT_DISTANCES
from skhmat.linalg._parameters import COMPRESSION

N = 80


@pytest.fixture
def dense(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((N, 2))
    return KernelMatrix(X).toarray()


def forms(dense, tmp_path):
    """The same matrix as array, callable and file."""
    yield dense, {}
    yield np.asfortranarray(dense), {}
    yield (lambda rows, cols: dense[np.ix_(rows, cols)]), {"shape": dense.shape}
    dense.tofile(tmp_path / "K.bin")
    yield np.memmap(tmp_path / "K.bin", dtype=dense.dtype, mode="r", shape=dense.shape), {}


# ---- parameters ----


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("rtol", [0, 1, -1e-3, 1.5, np.nan, np.inf, "1e-3", None, 1e-3j], "a number in (0, 1)"),
        ("leaf_size", [1, 0, -5, 2.0, "64", None, True], "an integer of at least 2 or 'auto'"),
        ("max_rank", [0, -1, 3.0, "10", False, np.nan], "an integer of at least 1 or None"),
        ("n_neighbors", [0, -1, 2.5, "32", None], "an integer of at least 1"),
        ("budget", [-0.1, 1.1, 2, np.nan, "all", "AUTO", None], "a number in [0, 1] or 'auto'"),
        (
            "distance",
            ["euclidean", "Kernel", "", None, 3],
            "one of " + ", ".join(map(repr, ("auto", *DISTANCES))),
        ),
        ("max_bytes", [-1, "1GB", np.nan], "a number of at least 0 or None"),
    ],
)
def test_parameters(name, values, allowed, dense):
    for value in values:
        expected = re.escape(f"{name} must be {allowed}, got {value!r}.")
        with pytest.raises(ValueError, match=expected):
            COMPRESSION[name].check(name, value)
        with pytest.raises(ValueError, match=expected):
            compress(dense, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rtol", np.float32(0.01)),
        ("leaf_size", np.int64(16)),
        ("max_rank", np.int32(60)),
        ("n_neighbors", np.uint8(5)),
        ("budget", np.float64(0.2)),
        ("budget", 0),
        ("budget", 1),
        ("max_bytes", np.int64(0)),
        ("n_jobs", np.int64(1)),
        ("n_jobs", -1),
    ],
)
def test_numpy_scalars_are_numbers(name, value, dense):
    compress(dense, **{"leaf_size": 16, "rtol": 1e-2, "random_state": 0, name: value})


@pytest.mark.parametrize("value", [0, 1.5, "2"])
def test_n_jobs(value, dense):
    message = rf"n_jobs must be None or an integer other than 0, got {value!r}\."
    with pytest.raises(ValueError, match=message):
        compress(dense, n_jobs=value)


@pytest.mark.parametrize("value", [-1, 1.5, "seed"])
def test_random_state(value, dense):
    with pytest.raises(ValueError, match=r"[sS]eed"):
        compress(dense, random_state=value)


def test_parameters_are_checked_before_entries_are_read():
    def never(rows, cols):
        raise AssertionError("entries were read")

    for bad in ({"rtol": 2}, {"leaf_size": 1}, {"distance": "geometric"}, {"points": np.ones(3)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            compress(never, shape=(N, N), **bad)


@pytest.mark.parametrize("distance", POINT_DISTANCES)
@pytest.mark.parametrize("form", ["array", "callable"])
def test_distances_of_points_need_points(form, distance, dense):
    K, options = (dense, {}) if form == "array" else (lambda r, c: dense, {"shape": dense.shape})
    message = rf"distance must be .*no points.*points=.*got '{distance}'"
    with pytest.raises(ValueError, match=message):
        compress(K, distance=distance, **options)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            np.ones((N - 1, 2)),
            rf"points must be of shape \({N}, n_features\) .*, got shape \({N - 1}, 2\)\.",
        ),
        (np.ones(N), rf"points must be of shape \({N}, n_features\) .*, got shape \({N},\)\."),
        (np.ones((N, 2, 1)), rf"points must be of shape \({N}, n_features\) .*, got shape"),
        (np.full((N, 2), np.nan), "points must be finite, got NaN or infinity"),
        (np.full((N, 2), np.inf), "points must be finite, got NaN or infinity"),
        (np.ones((N, 2)) * 1j, "points must be real, got dtype complex128"),
        (np.full((N, 2), "a"), "points must be real, got dtype <U1"),
        (np.ones((N, 0)), r"points must be of shape .* n_features >= 1, got shape \(80, 0\)"),
    ],
)
def test_points(points, message, dense):
    for distance in ("geometric", "auto"):
        with pytest.raises(ValueError, match=message):
            compress(dense, points=points, distance=distance)


# ---- what K is ----


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (5,), (2, 2, 2), ()])
def test_not_square(shape):
    with pytest.raises(ValueError, match=r"K must be square, of shape \(n, n\) .*, got shape \("):
        compress(np.ones(shape))
    if len(shape) != 0:
        with pytest.raises(
            ValueError, match=r"K must be square, of shape \(n, n\) .*, got shape \("
        ):
            compress(lambda r, c: np.ones((len(r), len(c))), shape=shape)


def test_empty():
    with pytest.raises(ValueError, match=r"K must be .* with n >= 1, got shape \(0, 0\)"):
        compress(np.empty((0, 0)))
    with pytest.raises(ValueError, match=r"K must be .* with n >= 1, got shape \(0, 0\)"):
        compress(lambda r, c: np.ones((len(r), len(c))), shape=(0, 0))
    with pytest.raises(ValueError, match="X must be of at least one sample"):
        compress(KernelMatrix(np.empty((0, 2))))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex(dtype, dense):
    with pytest.raises(ValueError, match="K must be real, got dtype complex"):
        compress(dense.astype(dtype))
    with pytest.raises(
        ValueError, match="K must be a callable that returns real numbers, got dtype complex"
    ):
        compress(lambda r, c: dense[np.ix_(r, c)].astype(dtype), shape=dense.shape)
    with pytest.raises(ValueError, match=r"dtype must be float32 or float64, got complex"):
        compress(lambda r, c: dense[np.ix_(r, c)], shape=dense.shape, dtype=dtype)


@pytest.mark.parametrize("K", [np.full((3, 3), "a"), np.full((3, 3), None), [["1", "2"]] * 2])
def test_no_numbers(K):
    with pytest.raises(ValueError, match=r"K must be real, got dtype"):
        compress(K)


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint16, bool, np.float16])
def test_integers_are_converted(dtype, dense):
    K = np.rint(100 * dense).astype(dtype) if dtype is not bool else np.eye(N, dtype=bool)
    H = compress(K, leaf_size=16, rtol=1e-2, random_state=0)
    assert H.dtype == (np.float32 if dtype is np.float16 else np.float64)
    exact = K.astype(float)
    W = np.random.default_rng(0).standard_normal((N, 20))
    assert np.linalg.norm(H @ W - exact @ W) <= 2e-2 * np.linalg.norm(exact @ W)


@pytest.mark.parametrize("K", [None, "K.bin", 3.0j, {1: 2}, [[1, 2], [3]]])
def test_nothing_that_entries_can_be_read_from(K):
    with pytest.raises((TypeError, ValueError), match="K "):
        compress(K)


def test_sparse(dense):
    for kind in (sparse.csr_matrix, sparse.coo_array, sparse.csc_array):
        with pytest.raises(
            TypeError, match=r"K must be a dense array, .* got a sparse matrix .*K\.toarray\(\)"
        ):
            compress(kind(dense))


def test_linear_operator(dense):
    with pytest.raises(
        TypeError, match=r"K must be .*linear operator gives products but no entries"
    ):
        compress(aslinearoperator(dense))


def test_callable_needs_a_shape(dense):
    with pytest.raises(TypeError, match=r"shape must be \(n, n\) for a callable K .*, got None"):
        compress(lambda r, c: dense[np.ix_(r, c)])
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got int64"):
        compress(lambda r, c: dense[np.ix_(r, c)], shape=dense.shape, dtype=np.int64)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda block: block.T, r"K must be a callable that returns shape .*, got shape"),
        (lambda block: block[:-1], r"K must be a callable that returns shape .*, got shape"),
        (lambda block: block[:, None], r"K must be a callable that returns shape .*, got shape"),
        (lambda block: block.ravel(), r"K must be a callable that returns shape .*, got shape"),
        (lambda block: block * 1j, "that returns real numbers, got dtype complex128"),
        (lambda block: block.astype(str), "that returns real numbers, got dtype <U"),
        (lambda block: None, r"K must be a callable that returns shape .*, got shape \(\)"),
    ],
)
def test_callable_returns(spoil, message, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((150, 2))
    K = KernelMatrix(X)
    with pytest.raises(ValueError, match=message):
        compress(lambda r, c: spoil(K.block(r, c)), shape=K.shape, leaf_size=16)


def test_exceptions_of_a_callable_come_out_as_they_are(dense):
    def fails(rows, cols):
        raise KeyError("no such entry")

    with pytest.raises(KeyError, match="no such entry"):
        compress(fails, shape=dense.shape)


# ---- what its entries are ----


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (N - 1, N - 1), (0, 1), (3, N - 2)])
def test_not_finite(where, bad, dense, tmp_path):
    dense[where] = dense[where[::-1]] = bad
    for K, options in forms(dense, tmp_path):
        with pytest.raises(ValueError, match="K must be finite, got NaN or infinity"):
            compress(K, leaf_size=16, **options)


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_one_entry_that_is_not_finite(n_jobs):
    K = np.eye(2500)
    K[3, 1700] = np.nan
    with pytest.raises(
        ValueError, match=r"K must be finite, got NaN or infinity \(first in row 3\)"
    ):
        compress(K, n_jobs=n_jobs)


@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_not_symmetric(size, dense, tmp_path):
    dense[5, 9] += size
    for K, options in forms(dense, tmp_path):
        with pytest.raises(ValueError, match=r"K must be symmetric, got K") as caught:
            compress(K, leaf_size=16, **options)
        message = str(caught.value)
        assert "K[5, 9] and K[9, 5]" in message or "K[9, 5] and K[5, 9]" in message
        assert f"differ by {size:.3g} (allowed is" in message


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_difference_is_in_the_users_scale(scale, dense):
    K = (dense * scale).astype(np.float32)
    K[5, 9] += np.float32(0.25 * scale)
    with pytest.raises(ValueError, match=re.escape(f"differ by {0.25 * scale:.3g} (allowed")):
        compress(K)


def test_far_from_symmetric_is_found_in_a_large_matrix(global_random_seed):
    K = np.random.default_rng(global_random_seed).standard_normal((3000, 3000))
    K[np.diag_indices(3000)] = 100
    with pytest.raises(ValueError, match="K must be symmetric"):
        compress(K, random_state=global_random_seed)


def test_rounding_is_no_asymmetry(dense):
    K = dense.astype(np.float32)
    K *= 1 + np.finfo(np.float32).eps * np.triu(np.ones_like(K))
    compress(K, rtol=1e-2, leaf_size=16, random_state=0)


@pytest.mark.parametrize("kernel", ["cosine", "linear"])
def test_kernel_of_a_zero_vector(kernel, rng):
    X = rng.standard_normal((N, 2))
    X[5] = 0
    got = f"got the diagonal entry 0 in row 5: kernel '{kernel}' of that zero vector with itself"
    with pytest.raises(ValueError, match=got):
        compress(KernelMatrix(X, kernel))


@pytest.mark.parametrize("value", [0.0, -1.0, -1e-300])
def test_diagonal(value, dense, tmp_path):
    dense[7, 7] = value
    for K, options in forms(dense, tmp_path):
        with pytest.raises(
            ValueError, match=rf"K must be .* positive diagonal, got .* {value:.3g} in row 7\."
        ):
            compress(K, **options)


def test_zero_matrix():
    with pytest.raises(
        ValueError, match=r"K must be positive definite, .* got the diagonal entry 0 in row 0"
    ):
        compress(np.zeros((N, N)))


def test_arrays_are_not_changed_by_a_refusal(dense):
    dense[5, 9] += 1
    before = dense.copy()
    with pytest.raises(ValueError, match="K must be symmetric"):
        compress(dense)
    np.testing.assert_array_equal(dense, before)


@pytest.mark.parametrize("kind", [StopIteration, ValueError, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("n_reads", [0, 1, 3, 10])
def test_what_a_function_raises_reaches_the_caller(kind, n_reads, dense):
    class Mine(kind):
        pass

    left = n_reads

    def entries(rows, cols):
        nonlocal left
        left -= 1
        if left < 0:
            raise Mine
        return dense[np.ix_(rows, cols)]

    with pytest.raises(Mine):
        compress(entries, shape=dense.shape, leaf_size=8, n_jobs=2)
