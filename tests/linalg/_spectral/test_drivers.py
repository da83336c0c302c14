import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.linalg._spectral.drivers import (
    DriverPolicy,
    EigenTask,
    chebyshev_eigenpairs,
    dense_eigenpairs,
    lanczos_eigenpairs,
    lobpcg_eigenpairs,
    smallest_eigenpairs,
)

from ..matrices import symmetric


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_all_methods_find_the_same(which, rng):
    # The ends are apart: between close eigenvalues LOBPCG may stall, and says so.
    exact = np.arange(150) - 150 / 2 + 0.25
    exact = np.sign(exact) * 1.05 ** np.abs(exact)
    A = DenseOperator(symmetric(exact, 0))
    expected = exact[-4:] if which == "LA" else exact[:4]
    task = EigenTask(4, which, 1e-8, rng.standard_normal((150, 2)), random_state=0)
    for pairs in (
        dense_eigenpairs(CountedOperator(A), 4, which),
        lanczos_eigenpairs(A, task),
        chebyshev_eigenpairs(A, task),
        lobpcg_eigenpairs(A, task, None),
    ):
        np.testing.assert_allclose(pairs.values, expected, atol=1e-6)
        np.testing.assert_allclose(A @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-5)


def test_what_is_near_sigma_comes_from_a_dense_matrix():
    exact = np.arange(30) - 30 / 2 + 0.25
    A = symmetric(exact, 0)
    sigma = exact[10] + 1e-3
    pairs = dense_eigenpairs(CountedOperator(aslinearoperator(A)), 3, "LM", sigma)
    nearest = np.sort(exact[np.argsort(np.abs(exact - sigma))[:3]])
    np.testing.assert_allclose(pairs.values, nearest, atol=1e-10)


def test_the_zero_matrix_has_eigenpairs():
    A = DenseOperator(np.zeros((100, 100)))
    pairs = lanczos_eigenpairs(A, EigenTask(3, "LA", 0.0, np.ones((100, 1))))
    np.testing.assert_array_equal(pairs.values, 0)
    # Newer versions of ARPACK refuse the matrix, older ones find vectors that rounding changed.
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(3), atol=1e-14)


def test_one_pair_from_both_ends_is_from_the_upper_one():
    assert EigenTask(1, "BE", 0.0, np.ones((9, 1))).which == "LA"
    assert EigenTask(2, "BE", 0.0, np.ones((9, 1))).which == "BE"


@pytest.mark.parametrize("sign", [1, -1])
def test_the_start_vector_is_multiplied_twice(sign, rng):
    """Once for what the spectrum looks like, and once by ARPACK."""
    A = sign * symmetric(np.linspace(0.1, 1, 150) ** 2, 0)
    start, seen = rng.standard_normal(150), []

    def product(x):
        seen.append(np.ravel(x / np.linalg.norm(x)))
        return A @ x

    operator = LinearOperator(A.shape, matvec=product, dtype=np.float64)
    task = EigenTask(3, "SM", 0.0, start[:, np.newaxis])
    pairs = smallest_eigenpairs(CountedOperator(operator), task)
    np.testing.assert_allclose(np.abs(pairs.values[[0, -1]]).min(), 0.01, atol=1e-10)
    start /= np.linalg.norm(start)
    assert sum(abs(x @ start) > 1 - 1e-10 for x in seen) == 2


def test_products_before_the_matrix_is_decomposed():
    """As many as cost as much as decomposing, where it is known what they cost."""
    start, policy = np.ones((1000, 1)), DriverPolicy()
    unknown, of_array = (
        policy.max_iterations("lanczos", EigenTask(5, "SA", 0.0, start, is_array=is_array))
        for is_array in (False, True)
    )
    assert (unknown, of_array) == (200, 67)  # restarts of 15 products
    task = EigenTask(5, "SA", 0.0, start, maxiter=7, is_array=True)
    assert policy.max_iterations("lanczos", task) == 7


def test_width_of_a_block():
    assert DriverPolicy().block_width(4) == 9
    assert DriverPolicy().block_width(20) == 30
    assert DriverPolicy(min_extra_vectors=1, wanted_per_extra=10).block_width(20) == 22


@pytest.mark.parametrize("column", ["zero", "the same", "nearly the same"])
def test_lobpcg_from_columns_that_depend(column, rng):
    exact = np.arange(150) - 150 / 2 + 0.25
    A = DenseOperator(symmetric(exact, 0))
    start = rng.standard_normal((150, 12))
    noise = 1e-14 * rng.standard_normal(150)
    start[:, 3] = {"zero": 0.0, "the same": start[:, 1], "nearly the same": start[:, 1] + noise}[
        column
    ]
    before = start.copy()
    pairs = lobpcg_eigenpairs(A, EigenTask(4, "LA", 1e-8, start, random_state=0), None)
    np.testing.assert_allclose(pairs.values, exact[-4:], atol=1e-6)
    np.testing.assert_array_equal(start, before)
