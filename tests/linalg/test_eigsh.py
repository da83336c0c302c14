import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix, compress, eigsh
from skhmat.linalg._eigsh import find_eigenpairs
from skhmat.linalg._spectral.drivers import DriverPolicy

from . import matrices


def symmetric(n, seed=0, dtype=np.float64):
    """Return a symmetric matrix with the eigenvalues -n/2, ..., n/2, and these."""
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    values = np.arange(n) - n / 2 + 0.25
    return ((Q * values) @ Q.T).astype(dtype), values


def expected_values(values, k, which):
    """Select by hand the eigenvalues that `which` means."""
    by_size = sorted(values, key=abs)
    ascending = sorted(values)
    return sorted(
        {
            "LA": ascending[len(values) - k :],
            "SA": ascending[:k],
            "LM": by_size[len(values) - k :],
            "SM": by_size[:k],
            "BE": ascending[: k // 2] + ascending[len(values) - (k - k // 2) :],
        }[which]
    )


def assert_eigenpairs(A, values, vectors, tol=1e-8):
    scale = np.abs(values).max()
    assert np.abs(A @ vectors - vectors * values).max() <= tol * scale
    assert np.abs(vectors.T @ vectors - np.eye(len(values))).max() <= tol


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
@pytest.mark.parametrize("n", [30, 150])
@pytest.mark.parametrize("k", [1, 4, 5])
def test_pairs_are_those_of_the_matrix_in_ascending_order(which, n, k, global_random_seed):
    A, exact = symmetric(n, global_random_seed)
    values, vectors = eigsh(A, k, which, random_state=global_random_seed)
    np.testing.assert_allclose(values, expected_values(exact, k, which), atol=1e-9 * n)
    assert_eigenpairs(A, values, vectors)
    alone = eigsh(A, k, which, random_state=global_random_seed, return_eigenvectors=False)
    np.testing.assert_array_equal(alone, values)


def test_smallest_in_magnitude_of_a_small_matrix():
    A, exact = symmetric(40)
    np.testing.assert_allclose(eigsh(A, 3, "SM")[0], expected_values(exact, 3, "SM"), atol=1e-10)


@given(n=st.integers(1, 12), k=st.integers(1, 15), which=st.sampled_from(["LA", "SA", "LM", "BE"]))
@settings(max_examples=60, deadline=None)
def test_every_k_and_every_size_has_a_result(n, k, which):
    A, exact = symmetric(n)
    values, vectors = eigsh(A, k, which)
    assert values.shape == (min(k, n),)
    assert vectors.shape == (n, min(k, n))
    np.testing.assert_allclose(values, expected_values(exact, min(k, n), which), atol=1e-10)
    assert_eigenpairs(A, values, vectors)


def test_small_and_large_agree_where_they_meet():
    A, _ = symmetric(60)
    small = eigsh(A, 5)[0]
    policy = DriverPolicy(dense_up_to=0, products_before_dense_of_array=3.0)
    large = find_eigenpairs(A, 5, random_state=0, policy=policy)
    assert large.method == "lanczos"
    np.testing.assert_allclose(large.pairs.values, small, rtol=1e-12)


def test_all_pairs_of_a_larger_matrix():
    A, exact = symmetric(100)
    values, vectors = eigsh(aslinearoperator(A), 100)
    np.testing.assert_allclose(values, exact, atol=1e-10)
    assert_eigenpairs(A, values, vectors)


@pytest.mark.parametrize(
    "kind", ["ndarray", "list", "fortran", "read-only", "csr", "csc array", "operator", "integers"]
)
def test_what_a_may_be(kind):
    A = np.round(10 * symmetric(80)[0])
    exact = np.linalg.eigvalsh(A)[-3:]
    read_only = A.copy()
    read_only.flags.writeable = False
    given = {
        "ndarray": A,
        "list": A.tolist(),
        "fortran": np.asfortranarray(A),
        "read-only": read_only,
        "csr": sparse.csr_matrix(A),
        "csc array": sparse.csc_array(A),
        "operator": LinearOperator(A.shape, matvec=lambda x: A @ x, dtype=A.dtype),
        "integers": aslinearoperator(A.astype(np.int64)),
    }[kind]
    np.testing.assert_allclose(eigsh(given, 3, random_state=0)[0], exact, rtol=1e-12)


@pytest.mark.parametrize("n", [20, 200])
def test_single_precision_stays_single(n):
    A, exact = symmetric(n, dtype=np.float32)
    values, vectors = eigsh(A, 2, random_state=0)
    assert values.dtype == vectors.dtype == np.float32
    np.testing.assert_allclose(values, exact[-2:], rtol=1e-5)


def test_hierarchical_matrix_against_the_exact_one(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((1500, 3))
    K = KernelMatrix(X, bandwidth=3.0)
    H = compress(K, rtol=1e-5, leaf_size=128, random_state=global_random_seed)
    ours, vectors = eigsh(H, random_state=0)
    exact, _ = eigsh(K, random_state=0)
    dense = K.toarray()
    assert np.linalg.norm(ours - exact) <= 2e-5 * np.linalg.norm(dense)
    assert np.abs(dense @ vectors - vectors * ours).max() <= 1e-4 * exact[-1]


def test_same_random_state_same_result():
    A, _ = symmetric(120)
    first, second = (eigsh(A, 4, random_state=3)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_start_vector_is_used():
    A, _ = symmetric(100)
    seen = []

    def matvec(x):
        seen.append(x.copy())
        return A @ x

    v0 = np.arange(1.0, 101)
    eigsh(LinearOperator(A.shape, matvec=matvec, dtype=A.dtype), 2, v0=v0)
    # The first product tells how large the entries are.
    np.testing.assert_allclose(seen[1].ravel() / np.linalg.norm(seen[1]), v0 / np.linalg.norm(v0))


@pytest.mark.parametrize("make", [sparse.lil_matrix, sparse.dok_matrix, sparse.coo_array])
def test_sparse_formats_without_an_array_of_entries(make):
    A = np.diag(np.arange(90.0))
    np.testing.assert_allclose(eigsh(make(A), 2, return_eigenvectors=False), [88, 89])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_large_integers(make):
    A = make(np.diag(np.arange(1, 91) * 2**50))
    values = eigsh(A, 2, return_eigenvectors=False)
    np.testing.assert_allclose(values, [89 * 2.0**50, 90 * 2.0**50])


def test_booleans_are_numbers():
    assert eigsh(np.eye(90, dtype=bool), 2, return_eigenvectors=False).tolist() == [1, 1]


@pytest.mark.parametrize("power", [-1000, -600, -60, 600, 1000])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, aslinearoperator])
@pytest.mark.parametrize(
    "options",
    [
        {"which": "LA"},
        {"which": "LM"},
        {"which": "SA", "method": "lanczos"},
        {"which": "LA", "method": "chebyshev"},
        {"which": "SA", "method": "lobpcg"},
        {"which": "LM", "sigma": 4.2},
    ],
    ids=str,
)
def test_the_scale_of_a_matrix_does_not_matter(options, make, power):
    A, _ = symmetric(150)
    A = np.round(A, 6)  # so that nothing is lost below the smallest numbers
    expected, _, info = eigsh(A, 4, random_state=0, return_info=True, **options)
    if "sigma" in options:
        options = options | {"sigma": float(np.ldexp(options["sigma"], power))}
    given = make(np.ldexp(A, power))
    values, vectors, scaled = eigsh(given, 4, random_state=0, return_info=True, **options)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(np.ldexp(values, -power), expected, atol=1e-9 * largest)
    rest = A @ vectors - vectors * np.ldexp(values, -power)
    assert np.abs(rest).max() <= 1e-5 * largest
    np.testing.assert_allclose(scaled.residuals, 0, atol=10 * info.residuals.max() + 1e-9)


@pytest.mark.parametrize(
    ("A", "values"),
    [
        (np.zeros((90, 90)), [0, 0, 0]),
        (np.eye(90), [1, 1, 1]),
        (np.ones((90, 90)), [0, 0, 90]),
        (np.diag(np.r_[np.zeros(88), 5, 5]), [0, 5, 5]),
    ],
    ids=["zero", "identity", "constant", "double"],
)
def test_degenerate_matrices(A, values):
    found, vectors = eigsh(A, 3, random_state=0)
    np.testing.assert_allclose(found, values, atol=1e-10)
    np.testing.assert_allclose(A @ vectors, vectors * found, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-8)


def test_converged_pairs_are_returned_with_a_warning():
    A = np.diag(np.r_[np.linspace(0, 1, 399), 100.0])
    with pytest.warns(ConvergenceWarning, match=r"\d of 4 .* in 2 iterations") as record:
        values, vectors = eigsh(A, 4, maxiter=2, ncv=6, random_state=0)
    assert 0 < len(values) < 4
    assert f"{len(values)} of 4" in str(record[0].message)
    assert record[0].filename == __file__
    assert vectors.shape == (400, len(values))
    assert_eigenpairs(A, values, vectors)
    assert values[-1] == pytest.approx(100)


def test_nothing_converged():
    A = np.diag(np.linspace(0, 1, 500))
    with pytest.warns(ConvergenceWarning, match="0 of 3"):
        values, vectors = eigsh(A, 3, maxiter=1, ncv=4, random_state=0)
    assert values.shape == (0,)
    assert vectors.shape == (500, 0)


def grid_laplacian(m):
    """Return the Laplacian of an m x m grid, many of whose eigenvalues are double."""
    line = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(m, m))
    return sparse.csr_matrix(sparse.kronsum(line, line))


def test_eigenvalues_that_may_have_been_missed(global_random_seed):
    A, seed = grid_laplacian(40), global_random_seed
    # The next eigenvalue is another copy, so that there is some doubt, but little of it.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = find_eigenpairs(A, 12, random_state=seed, policy=DriverPolicy(max_doubt=0))
        found = find_eigenpairs(A, 12, random_state=seed)
    assert (whole.method, found.method) == ("dense", "lanczos")
    np.testing.assert_allclose(found.pairs.values, whole.pairs.values, atol=1e-12)
    message = r"do not exclude that an eigenvalue was missed, up to \d.* beyond those returned"
    policy = DriverPolicy(max_doubt=0, max_dense=1000)
    with pytest.warns(ConvergenceWarning, match=message):
        find_eigenpairs(A, 12, random_state=seed, policy=policy)


def test_null_modes_are_complete(rng):
    exact = np.sort(np.r_[np.zeros(5), rng.random(1200)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = eigsh(sparse.diags(exact), 6, "SA", return_eigenvectors=False, random_state=0)
    np.testing.assert_allclose(values, exact[:6], atol=1e-12)


def test_no_warning_when_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eigsh(symmetric(100)[0], 3, random_state=0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1, got 0"),
        ({"k": 2.5}, r"k must be .*, got 2\.5"),
        ({"k": True}, "k must be .*, got True"),
        ({"which": "XX"}, "which must be one of 'LA', 'SA', 'LM', 'SM', 'BE', got 'XX'"),
        ({"tol": -1}, "tol must be a number of at least 0, got -1"),
        ({"tol": np.nan}, "tol must be .*, got nan"),
        ({"tol": "small"}, "tol must be .*, got 'small'"),
        ({"maxiter": 0}, "maxiter must be an integer from 1 to 2147483647 or None, got 0"),
        (
            {"maxiter": 2**31},
            "maxiter must be .* or None, got 2147483648",
        ),
        ({"which": ""}, "which must be one of .*, got ''"),
        ({"which": {}}, "which must be one of .*, got {}"),
        ({"tol": True}, "tol must be a number of at least 0, got True"),
        ({"tol": 1j}, "tol must be a number of at least 0, got 1j"),
        ({"ncv": 3}, "ncv must be an integer from 4 to 100 or None, got 3"),
        ({"ncv": 101}, "ncv must be .*, got 101"),
        ({"v0": np.ones(99)}, r"v0 must be of shape \(100,\) or \(100, b\), got shape \(99,\)"),
        ({"v0": np.zeros(100)}, "v0 must be other than zero, got zeros"),
        ({"v0": np.full(100, np.nan)}, "v0 must be finite, got NaN or infinity"),
        ({"A": np.ones((3, 4))}, r"A must be square, .* got shape \(3, 4\)"),
        ({"A": np.ones(3)}, r"A must be square, .* got shape \(3,\)"),
        ({"A": np.empty((0, 0))}, "n >= 1"),
        ({"A": np.eye(3) * 1j}, "A must be real, got dtype complex128"),
        ({"A": np.full((100, 100), np.inf)}, "A must be finite, got NaN or infinity"),
        ({"A": aslinearoperator(np.full((3, 3), np.nan))}, "A must be finite, got NaN or infinity"),
    ],
)
def test_bad_parameters_are_named(changed, message):
    parameters = {"A": symmetric(100)[0], "k": 3} | changed
    with pytest.raises(ValueError, match=message):
        eigsh(**parameters)


@pytest.mark.parametrize("A", [None, 3.0, "matrix", object()])
def test_what_is_no_matrix(A):
    with pytest.raises((TypeError, ValueError), match=r"A must be"):
        eigsh(A)


@pytest.mark.parametrize("which", ["LA", "SA"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chebyshev_agrees_with_lanczos(which, dtype, global_random_seed):
    A, _ = symmetric(200, global_random_seed, dtype)
    options = {"k": 5, "which": which, "random_state": global_random_seed}
    values, vectors = eigsh(A, method="chebyshev", **options)
    expected, expected_vectors = eigsh(A, method="lanczos", **options)
    assert values.dtype == expected.dtype
    assert vectors.dtype == dtype
    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(values, expected, rtol=tolerance)
    # Two entries may be as large as each other but for rounding, and differ in sign.
    vectors = vectors * np.sign(np.sum(vectors * expected_vectors, axis=0))
    np.testing.assert_allclose(vectors, expected_vectors, atol=10 * tolerance)


@pytest.mark.parametrize("n_start", [1, 3, 5, 30])
def test_a_block_to_start_with(n_start, global_random_seed):
    A, values = symmetric(200, global_random_seed)
    V = np.linalg.eigh(A)[1][:, ::-1][:, :n_start]
    found, _, info = eigsh(A, k=5, v0=V, return_info=True, random_state=0)
    assert info.method == "chebyshev"
    np.testing.assert_allclose(found, values[-5:])
    assert (info.residuals <= 1e-11).all()
    without = eigsh(A, k=5, method="chebyshev", return_info=True, random_state=0)[2]
    assert info.n_products < without.n_products or n_start < 5
    # The Lanczos method takes one start vector: the sum of the block.
    lanczos = eigsh(A, k=5, v0=V, method="lanczos", return_info=True)
    np.testing.assert_allclose(lanczos[0], values[-5:])


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
@pytest.mark.parametrize("n", [20, 150])
def test_info(n, method):
    A, _ = symmetric(n)
    calls = []

    def product(W):
        calls.append(W.shape[1])
        return A @ W

    operator = LinearOperator(
        (n, n), matvec=lambda v: product(v.reshape(n, 1)), matmat=product, dtype=np.float64
    )
    values, vectors, info = eigsh(operator, k=3, method=method, return_info=True, random_state=0)
    assert info.method == ("dense" if n == 20 else method)
    assert info.n_products == sum(calls)
    missed = np.linalg.norm(A @ vectors - vectors * values, axis=0) / np.abs(values).max()
    np.testing.assert_allclose(info.residuals, missed, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_info_of_an_indefinite_matrix_that_was_decomposed(dtype, global_random_seed):
    A, exact = symmetric(150, global_random_seed, dtype)
    values, _, info = eigsh(A, 3, "SM", return_info=True, random_state=global_random_seed)
    assert info.method == "dense"
    assert values.dtype == dtype
    np.testing.assert_allclose(values, expected_values(exact, 3, "SM"), atol=75 * 1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_copies_of_an_eigenvalue_inside_the_spectrum(sign, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    others = rng.uniform(0.5, 1, 200) * rng.choice([-1, 1], 200)
    # With maxiter the matrix is not decomposed instead.
    exact = np.sort(np.r_[0.1 * sign, 0.2, 0.2, 0.2, -0.3, -0.3, others])
    values = eigsh(
        matrices.symmetric(exact, global_random_seed), 5, "SM", maxiter=2000, random_state=0
    )[0]
    expected = np.array([0.1, 0.2, 0.2, 0.2, 0.3])
    np.testing.assert_allclose(np.sort(np.abs(values)), expected, atol=1e-8)


def test_eigenvalues_inside_the_spectrum_that_crowd_leave_doubt(global_random_seed):
    A, _ = symmetric(300, global_random_seed)
    with pytest.warns(
        ConvergenceWarning, match=r"eigenvalue was missed, up to .* smaller|of 2 eig"
    ):
        eigsh(A, 2, "SM", maxiter=1000, random_state=0)


@pytest.mark.parametrize("which", ["LM", "SM"])
def test_farthest_from_sigma(which, global_random_seed):
    A, exact = symmetric(150, global_random_seed)
    sigma = float(exact[0] - 0.1 * np.ptp(exact))
    values = eigsh(A, 3, which, sigma=sigma, random_state=0, return_eigenvectors=False)
    expected = np.add(sigma, expected_values(exact - sigma, 3, {"LM": "SM", "SM": "LM"}[which]))
    np.testing.assert_allclose(values, expected, atol=1e-7 * np.ptp(exact))


def test_signs():
    A, _ = symmetric(150)
    for method in ("lanczos", "chebyshev"):
        for seed in range(3):
            vectors = eigsh(A, k=4, method=method, random_state=seed)[1]
            assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(4)] > 0).all()


def test_chebyshev_that_does_not_converge():
    A, _ = symmetric(400)
    with pytest.warns(ConvergenceWarning, match="of 6 eigenpairs converged in 1 iterations"):
        values, vectors = eigsh(A, k=6, method="chebyshev", maxiter=1, random_state=0)
    assert len(values) == vectors.shape[1] < 6
    with pytest.raises(ValueError, match=r"method must be one of 'auto', .*, got 'arnoldi'"):
        eigsh(A, method="arnoldi")
    with pytest.raises(
        ValueError, match=r"which must be 'LA' or 'SA' where method is 'chebyshev', got 'BE'"
    ):
        eigsh(A, method="chebyshev", which="BE")
    with pytest.raises(ValueError, match=r"v0 must be of shape .*, got shape \(3, 2\)"):
        eigsh(A, v0=np.ones((3, 2)))
