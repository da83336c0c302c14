import numpy as np
import pytest

from skhmat.linalg import KernelMatrix, eigsh
from skhmat.linalg._eigsh import find_eigenpairs
from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.linalg._spectral.low_rank import (
    LowRankPolicy,
    PairsKnown,
    WatchedOperator,
    low_rank_eigenpairs,
)
from skhmat.linalg._spectral.pairs import wanted_positions

from ..matrices import symmetric

N = 400
# Copies, and values of both signs that are close to the one that most have.
FEW = np.r_[-3.0, -2.0, -2.0, -1e-3, 1e-3, 1e-3, 1e-3, 0.5, 2.0, 5.0]


def spectrum(most, few=FEW):
    return np.r_[np.full(N - len(few), most), few]


@pytest.mark.parametrize("most", [0.0, 1.0, -7.0])
@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM", "BE"])
def test_all_eigenvalues_but_a_few_are_one(most, which, global_random_seed):
    exact = np.sort(spectrum(most))
    A = CountedOperator(DenseOperator(symmetric(exact, global_random_seed)))
    pairs = low_rank_eigenpairs(A, 12, which)
    assert A.n_products <= 40
    right = exact[wanted_positions(exact, 12, which)]
    # Of two eigenvalues of one magnitude either may be the last.
    sort = (lambda values: np.sort(np.abs(values))) if which in ("LM", "SM") else np.sort
    np.testing.assert_allclose(sort(pairs.values), sort(right), atol=1e-12)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(A @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numerical_rank(dtype, global_random_seed):
    exact = spectrum(0.0, 0.5 ** np.arange(70))
    A = symmetric(exact, global_random_seed).astype(dtype)
    pairs = low_rank_eigenpairs(CountedOperator(DenseOperator(A)), 5, "SA")
    assert pairs.values.dtype == pairs.vectors.dtype == dtype
    np.testing.assert_allclose(pairs.values, 0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "exact",
    [
        np.linspace(0, 1, N),
        1 / np.arange(1.0, N + 1) ** 2,
        0.9 ** np.arange(N),  # 330 are above rounding
        np.repeat(np.linspace(-1, 1, N // 2), 2),
    ],
    ids=["even", "power", "slow", "pairs"],
)
def test_other_spectra_are_given_up(exact, global_random_seed):
    A = CountedOperator(DenseOperator(symmetric(exact, global_random_seed)))
    assert low_rank_eigenpairs(A, 5, "SA") is None
    assert A.n_products <= LowRankPolicy().n_steps(N) == N // 4


def test_what_does_not_fall_is_given_up_at_once(global_random_seed):
    A = CountedOperator(DenseOperator(symmetric(np.linspace(0, 1, N), global_random_seed)))
    low_rank_eigenpairs(A, 5, "SA")
    assert A.n_products <= N / 4 / 8


def test_a_residual_that_is_not_small_enough(global_random_seed):
    A = DenseOperator(symmetric(spectrum(0.0), global_random_seed))
    assert low_rank_eigenpairs(A, 5, "SA", policy=LowRankPolicy(rounding_units=1e-3)) is None


def test_a_multiple_of_the_identity():
    pairs = low_rank_eigenpairs(DenseOperator(3 * np.eye(N)), 4, "SM")
    np.testing.assert_allclose(pairs.values, 3, rtol=1e-14)
    assert pairs.vectors.shape == (N, 4)


def test_the_search_is_made_once_and_late(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    for exact, is_low in ((spectrum(1.0), True), (np.linspace(0, 1, N), False)):
        counted = CountedOperator(DenseOperator(symmetric(exact, 0)))
        watched, x = WatchedOperator(counted, 3, "SA"), rng.standard_normal((N, 1))
        for _ in range(N // 4 - 1):
            watched @ x
        assert counted.n_products == N // 4 - 1
        if is_low:
            with pytest.raises(PairsKnown) as known:
                watched @ x
            np.testing.assert_allclose(known.value.pairs.values, [-3, -2, -2], atol=1e-12)
        else:
            for _ in range(N):
                watched @ x
            assert counted.n_products <= N // 4 - 1 + N + N / 4


@pytest.mark.parametrize("which", ["SA", "SM", "BE"])
@pytest.mark.parametrize("make", ["array", "kernel", "operator"])
def test_smallest_of_a_smooth_kernel(make, which, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    K = KernelMatrix(rng.standard_normal((600, 2)), bandwidth=3.0)
    array = K @ np.eye(600)
    A = {"array": array, "kernel": K, "operator": DenseOperator(array)}[make]
    found = find_eigenpairs(A, 5, which, random_state=global_random_seed)
    assert found.operator.n_products < 600
    exact = np.linalg.eigvalsh(array)
    rounding = 50 * np.finfo(np.float64).eps * exact[-1]
    right = exact[wanted_positions(exact, 5, which)]
    np.testing.assert_allclose(found.values, right, rtol=1e-12, atol=rounding)
    missed = array @ found.pairs.vectors - found.pairs.vectors * found.values
    assert np.linalg.norm(missed, axis=0).max() <= 2 * rounding


def test_more_than_the_numerical_rank_are_wanted(global_random_seed):
    exact = np.sort(spectrum(0.0, np.arange(1.0, 11)))
    values, vectors = eigsh(symmetric(exact, 0), 15, random_state=global_random_seed)
    np.testing.assert_allclose(values, exact[-15:], atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(15), atol=1e-12)


def test_small_matrices_are_left_to_the_dense_solver():
    A = CountedOperator(DenseOperator(np.eye(199)))
    assert low_rank_eigenpairs(A, 3, "LA") is None
    watched = WatchedOperator(A, 3, "LA")
    for _ in range(300):
        watched @ np.ones((199, 1))
    assert A.n_products == 300
