"""`eigsh` near a number, with preconditioners, and from the eigenvectors of a subsample."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator
from scipy.sparse.linalg import eigsh as scipy_eigsh
from sklearn.exceptions import ConvergenceWarning

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg import KernelMatrix, compress, eigsh
from skhmat.linalg._eigsh import find_eigenpairs
from skhmat.linalg._hierarchical.ulv import factorize_negative
from skhmat.linalg._spectral.drivers import DriverPolicy
from skhmat.linalg._spectral.shift_invert import shifted_inverse

from ..matrices import symmetric

N = 300
EIGENVALUES = np.linspace(-3, 5, N) ** 3


@pytest.fixture
def points(rng):
    return rng.standard_normal((1200, 2))


def compressed(X, **options):
    K = KernelMatrix(X, bandwidth=2.0)
    H = compress(K, 1e-4, leaf_size=64, random_state=0, **options)
    assert not H.is_dense
    return H, np.linalg.eigvalsh(H @ np.eye(len(X)))


def as_kind(A, kind):
    return {"array": A, "sparse": sparse.csr_matrix(A), "operator": aslinearoperator(A)}[kind]


@pytest.mark.parametrize("kind", ["array", "sparse", "operator"])
@pytest.mark.parametrize("sigma", [-30.0, 40.3, 126.0])
def test_nearest_eigenvalues(kind, sigma, global_random_seed):
    A = symmetric(EIGENVALUES, global_random_seed)
    values, vectors, info = eigsh(as_kind(A, kind), 4, sigma=sigma, return_info=True)
    nearest = np.sort(EIGENVALUES[np.argsort(np.abs(EIGENVALUES - sigma))[:4]])
    np.testing.assert_allclose(values, nearest, atol=1e-8 * 125)
    assert np.abs(A @ vectors - vectors * values).max() <= 1e-8 * 125
    assert info.method == "shift-invert"
    assert info.n_solves > 0


@pytest.mark.parametrize("form", ["array", "operator", "kernel"])
def test_eigenvalues_much_closer_to_each_other_than_to_sigma(form, rng):
    K = KernelMatrix(rng.standard_normal((260, 3)))
    dense = K.toarray()
    A = {"array": dense, "operator": aslinearoperator(dense), "kernel": K}[form]
    values, vectors, info = eigsh(A, 3, sigma=-1.0, return_info=True)
    exact = np.linalg.eigvalsh(dense)
    np.testing.assert_allclose(values, exact[:3], atol=1e-13 * exact[-1])
    assert np.abs(dense @ vectors - vectors * values).max() <= 1e-13 * exact[-1]
    assert info.n_solves <= 3000
    # Whoever gives a number of restarts gets as many.
    with pytest.warns(ConvergenceWarning, match="0 of 3 eigenpairs converged in 2 iterations"):
        assert len(eigsh(A, 3, sigma=-1.0, maxiter=2, return_eigenvectors=False)) == 0


@pytest.mark.parametrize("n", [40, 200])
def test_a_sigma_beside_which_the_matrix_vanishes(n, global_random_seed):
    A = symmetric(np.linspace(-1, 2, n), global_random_seed)
    for form in ("array", "operator"):
        with pytest.raises(ValueError, match="sigma must be near the spectrum of A"):
            eigsh(as_kind(A, form), 3, sigma=1e300)


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
@pytest.mark.parametrize("n", [40, 200])
def test_which_is_that_of_scipy(which, n, global_random_seed):
    A = symmetric(np.linspace(-1, 2, n), global_random_seed)
    theirs = np.sort(scipy_eigsh(A, 3, sigma=0.311, which=which, return_eigenvectors=False))
    ours = eigsh(A, 3, which, sigma=0.311, return_eigenvectors=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("place", ["above", "inside", "below"])
@pytest.mark.parametrize("budget", [0, 0.3])
def test_hierarchical_matrix(points, place, budget):
    H, exact = compressed(points, budget=budget)
    sigma = {"above": exact[-1] * 1.01, "inside": exact[-4:-2].mean(), "below": -0.5 * exact[-1]}
    which = "SA" if place == "below" else "LM"  # nearest are hundreds that are nearly 0
    values = eigsh(H, 2, which, sigma=sigma[place], tol=1e-8, return_eigenvectors=False)
    wanted = {"above": exact[-2:], "inside": exact[-4:-2], "below": exact[-2:]}[place]
    np.testing.assert_allclose(values, wanted, rtol=1e-7)


def test_factor_of_the_negative_matrix(points, rng):
    H, exact = compressed(points, budget=0)
    F = factorize_negative(H, 1.5 * exact[-1])
    b = rng.standard_normal(len(points))
    x = F.solve(b)
    assert np.linalg.norm(1.5 * exact[-1] * x - H @ x - b) <= 1e-10 * np.linalg.norm(b)
    with pytest.raises(NotPositiveDefiniteError, match="-K"):
        factorize_negative(H, 0.5 * exact[-1])


@pytest.mark.parametrize("sigma", [-1.0, 3.0])
def test_product_with_the_inverse(points, rng, sigma):
    H, exact = compressed(points, budget=0)
    sigma *= exact[-1]
    inverse, solver = shifted_inverse(H, sigma, 1e-10)
    assert solver is None  # the matrix itself is factorized
    B = rng.standard_normal((len(points), 3))
    X = inverse @ B
    assert np.linalg.norm(H @ X - sigma * X - B) <= 1e-9 * np.linalg.norm(B)


def test_an_operator_is_formed_once(global_random_seed):
    """To be factorized; and where that leaves doubt, to be decomposed."""
    exact = np.repeat(np.linspace(-1, 1, 5), 60)
    A = symmetric(exact, global_random_seed)
    policy = DriverPolicy(max_doubt=-1, max_doubt_if_small=-1)  # none is small enough
    found = find_eigenpairs(aslinearoperator(A), 70, sigma=0.1, random_state=0, policy=policy)
    assert found.method == "dense"
    np.testing.assert_allclose(found.values, np.r_[np.zeros(60), np.full(10, 0.5)], atol=1e-12)
    # Two products are for the size of A, and some check what shift and invert has found.
    assert found.operator.n_products <= len(A) + 2 + 70


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_lobpcg(which, global_random_seed):
    A = symmetric(EIGENVALUES, global_random_seed)
    options = {"tol": 1e-7, "random_state": global_random_seed, "return_info": True}
    values, vectors, info = eigsh(A, 4, which, method="lobpcg", **options)
    expected = EIGENVALUES[-4:] if which == "LA" else EIGENVALUES[:4]
    np.testing.assert_allclose(values, expected, atol=1e-6 * 125)
    assert info.method == "lobpcg"
    assert (info.residuals <= 4e-7).all()
    assert np.abs(vectors.T @ vectors - np.eye(4)).max() <= 1e-8


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_a_preconditioner_saves_products(which, global_random_seed):
    eigenvalues = np.r_[np.linspace(0, 0.01, 6), np.linspace(0.1, 1000, 294)]
    sigma = -1e-3
    if which == "LA":
        eigenvalues, sigma = -eigenvalues[::-1], -sigma
    A = symmetric(eigenvalues, global_random_seed)
    options = {"method": "lobpcg", "tol": 1e-9, "maxiter": 30, "random_state": 0}
    with pytest.warns(ConvergenceWarning, match="eigenpairs converged in 30 iterations"):
        eigsh(A, 3, which, **options)
    inverse, _ = shifted_inverse(A, sigma, 1e-10)
    given = np.sign(-sigma) * inverse
    for how in ({"sigma": sigma}, {"preconditioner": given}):
        values, _, info = eigsh(A, 3, which, **how, **options, return_info=True)
        expected = eigenvalues[-3:] if which == "LA" else eigenvalues[:3]
        np.testing.assert_allclose(values, expected, atol=1e-5)
        assert info.n_solves > 0


@pytest.mark.parametrize("which", ["LA", "SA"])
@pytest.mark.parametrize("n", [40, 200])
def test_sigma_of_lobpcg_does_not_change_what_is_wanted(which, n, global_random_seed):
    exact = np.linspace(1, 2, n) ** 3
    A = symmetric(exact, global_random_seed)
    sigma, expected = (9.0, exact[-2:]) if which == "LA" else (0.5, exact[:2])
    options = {"method": "lobpcg", "return_eigenvectors": False, "random_state": 0}
    np.testing.assert_allclose(eigsh(A, 2, which, sigma=sigma, **options), expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["kernel", "hierarchical", "array", "sparse"])
def test_start_from_a_subsample(points, kind):
    K = KernelMatrix(points, bandwidth=0.7)
    dense = K.toarray()
    A = {
        "kernel": K,
        "hierarchical": compress(K, 1e-8, random_state=0),
        "array": dense,
        "sparse": sparse.csr_matrix(dense),
    }[kind]
    options = {"tol": 1e-9, "random_state": 0, "return_info": True}
    values, _, info = eigsh(A, 4, v0="nystroem", **options)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(dense)[-4:], rtol=1e-6)
    assert info.method == "chebyshev"
    assert info.n_products < eigsh(A, 4, method="chebyshev", **options)[2].n_products


def test_lobpcg_that_does_not_converge(global_random_seed):
    A = symmetric(EIGENVALUES, global_random_seed)
    with pytest.warns(ConvergenceWarning, match="of 4 eigenpairs converged in 2 iterations"):
        values = eigsh(A, 4, method="lobpcg", maxiter=2, return_eigenvectors=False)
    assert len(values) < 4


# Whether pairs also converge in so few iterations depends on the matrix.
@pytest.mark.filterwarnings("ignore:eigsh. . of 2 eigenpairs")
def test_systems_that_are_not_solved_are_warned_of(global_random_seed):
    policy = DriverPolicy(max_solve_iterations=5)
    A = symmetric(EIGENVALUES, global_random_seed)
    with pytest.warns(ConvergenceWarning, match="solved to a residual of"):
        find_eigenpairs(aslinearoperator(A), 2, sigma=1.0, maxiter=3, tol=1e-3, policy=policy)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sigma": np.nan}, "sigma must be a finite number or None, got nan"),
        ({"sigma": "0"}, "sigma must be .*, got '0'"),
        ({"sigma": 1j}, "sigma must be .*, got 1j"),
        (
            {"sigma": 0.0, "method": "chebyshev"},
            r"sigma must be None .* multiplies with A only, got 0\.0",
        ),
        (
            {"sigma": 0.0, "method": "lobpcg"},
            "which must be 'LA' or 'SA' where method is 'lobpcg', got 'LM'",
        ),
        (
            {"method": "lobpcg", "which": "LM"},
            "which must be 'LA' or 'SA' where method is 'lobpcg', got 'LM'",
        ),
        (
            {"preconditioner": np.eye(3)},
            r"preconditioner must be None or a LinearOperator of shape \(\d+, \d+\), got a ndarray",
        ),
        ({"v0": "random"}, "v0 must be None, an array or 'nystroem', got 'random'"),
        ({"v0": "nystroem", "which": "SA"}, "which must be 'LA' where v0 is 'nystroem', got 'SA'"),
    ],
)
def test_bad_parameters(changed, message):
    with pytest.raises(ValueError, match=message):
        eigsh(np.eye(N), **changed)


def test_an_operator_has_no_subsample():
    with pytest.raises(
        TypeError, match=r"A must be a matrix with entries .*, got a MatrixLinearOperator"
    ):
        eigsh(aslinearoperator(np.eye(N)), v0="nystroem")


@pytest.mark.parametrize("kind", ["array", "sparse"])
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_sigma_that_is_an_eigenvalue(kind):
    A = np.diag(np.arange(100.0))
    with pytest.raises(np.linalg.LinAlgError, match=r"sigma is 5\.0, an eigenvalue"):
        eigsh(as_kind(A, kind), 2, sigma=5.0)


def graph_in_parts(rng):
    """Return the Laplacian of a graph in three parts, without isolated nodes."""
    blocks = []
    for _ in range(3):
        adjacent = np.triu(rng.random((50, 50)) < 0.15, 1)
        adjacent[np.arange(49), np.arange(1, 50)] = True
        adjacent = adjacent + adjacent.T
        blocks.append(np.diag(adjacent.sum(axis=1)) - adjacent.astype(float))
    return sparse.block_diag(blocks, format="csr")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "sparse", "operator"])
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_sigma_near_an_eigenvalue_is_refused_or_harmless(kind, dtype, rng):
    L = graph_in_parts(rng).astype(dtype).toarray()
    exact = np.linalg.eigvalsh(L.astype(np.float64))
    for sigma in (0.0, float(exact[5]), float(exact[5]) * (1 + 1e-12)):
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                values, vectors = eigsh(as_kind(L, kind), 9, sigma=sigma, random_state=0)
        except np.linalg.LinAlgError:
            continue
        assert values.dtype == vectors.dtype == dtype
        if caught:
            assert kind == "operator"  # whose systems take an iteration
            continue
        np.testing.assert_allclose(
            np.sort(np.abs(values - sigma)),
            np.sort(np.abs(exact - sigma))[:9],
            atol=1e-4 if dtype == np.float32 else 1e-6,
        )


def test_sigma_out_of_reach():
    A = aslinearoperator(symmetric(EIGENVALUES, 0))
    for sigma in (1e308, -1e20):
        with pytest.raises(ValueError, match=r"sigma must be near the spectrum of A, .*, got"):
            eigsh(A, 3, sigma=sigma)
