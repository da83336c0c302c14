import numpy as np
import pytest

from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.linalg._spectral.missed import SearchPolicy, with_missed
from skhmat.linalg._spectral.pairs import Eigenpairs, wanted_positions

from ..matrices import symmetric

EXACT = np.r_[-3.0, -3.0, np.linspace(-1, 1, 90), 2.0, 2.0, 2.0, 4.0]


def problem():
    """Return a matrix with multiple eigenvalues at both ends, and all its eigenpairs."""
    A = symmetric(EXACT, 0)
    return CountedOperator(DenseOperator(A)), Eigenpairs(*np.linalg.eigh(A))


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
@pytest.mark.parametrize("k", [2, 4, 5])
def test_what_was_left_out_comes_back(which, k):
    A, whole = problem()
    right = wanted_positions(whole.values, k, which)
    for left_out in right:
        # The pairs that a solver returns that has missed one of those wanted.
        others = np.delete(np.arange(len(EXACT)), left_out)
        found = others[wanted_positions(whole.values[others], k, which)]
        pairs, doubt = with_missed(A, whole.take(found), k, which, 0.0)
        assert doubt == 0
        # Of equal ones any may be the last.
        expected = np.sort(np.abs(whole.values[right]))
        np.testing.assert_allclose(np.sort(np.abs(pairs.values)), expected, atol=1e-10)
        np.testing.assert_allclose(A @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-10)


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
def test_pairs_that_are_right_stay_as_they_are(which):
    A, whole = problem()
    pairs = whole.take(wanted_positions(whole.values, 4, which))
    found, doubt = with_missed(A, pairs, 4, which, 0.0)
    assert found is pairs
    assert doubt == 0
    assert A.n_products <= 60


def test_too_few_pairs_become_enough():
    A, whole = problem()
    pairs, _ = with_missed(A, whole.take(np.arange(92, 94)), 4, "LA", 0.0)
    np.testing.assert_allclose(pairs.values, [2, 2, 2, 4], atol=1e-10)


def test_what_is_seen_but_does_not_converge_leaves_only_what_is_certain():
    A, whole = problem()
    found = whole.take(np.r_[91:93, 94:96])  # one of three copies of 2 is missing
    policy = SearchPolicy(min_budget=12)
    pairs, doubt = with_missed(A, found, 4, "LA", 0.0, policy=policy)
    assert doubt == np.inf
    assert set(np.round(pairs.values, 10)) <= {2.0, 4.0}
    assert 4.0 in np.round(pairs.values, 10)


def test_single_precision_stays_single():
    A = symmetric(EXACT, 0).astype(np.float32)
    whole = Eigenpairs(*np.linalg.eigh(A))
    operator = CountedOperator(DenseOperator(A))
    pairs, _ = with_missed(operator, whole.take(np.arange(91, 95)), 4, "LA", 0.0)
    assert pairs.values.dtype == pairs.vectors.dtype == np.float32
    np.testing.assert_allclose(pairs.values, [2, 2, 2, 4], atol=1e-5)


def test_the_doubt_that_is_left():
    A, whole = problem()
    found, doubts = whole.take(np.arange(92, 96)), []
    for budget in (3, 200):
        operator = CountedOperator(A)
        policy = SearchPolicy(min_budget=budget)
        doubts.append(with_missed(operator, found, 4, "LA", 0.0, policy=policy)[1])
    assert doubts[0] == np.inf
    assert doubts[1] == 0


INSIDE = np.r_[np.linspace(-1, -0.5, 40), -0.3, -0.2, -0.2, 0.1, 0.2, 0.2, np.linspace(0.5, 1, 40)]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_what_was_left_out_around_zero_comes_back(k):
    A = symmetric(INSIDE, 0)
    whole = Eigenpairs(*np.linalg.eigh(A))
    right = wanted_positions(whole.values, k, "SM")
    expected = np.sort(np.abs(whole.values[right]))
    for left_out in right:
        others = np.delete(np.arange(len(INSIDE)), left_out)
        found = others[wanted_positions(whole.values[others], k, "SM")]
        operator = CountedOperator(DenseOperator(A))
        pairs, doubt = with_missed(operator, whole.take(found), k, "SM", 0.0)
        assert doubt < 1e-6
        np.testing.assert_allclose(np.sort(np.abs(pairs.values)), expected, atol=1e-10)
        # Eigenvectors of A^2 may mix those of -0.2 and 0.2; these are of A.
        np.testing.assert_allclose(A @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-7)


def test_pairs_around_zero_that_are_right_stay_as_they_are():
    A = symmetric(INSIDE, 0)
    whole = Eigenpairs(*np.linalg.eigh(A))
    pairs = whole.take(wanted_positions(whole.values, 5, "SM"))
    found, doubt = with_missed(CountedOperator(DenseOperator(A)), pairs, 5, "SM", 0.0)
    assert found is pairs
    assert doubt < 1e-6


def test_where_eigenvalues_crowd_around_zero_there_is_doubt():
    A = symmetric(np.r_[np.linspace(-1, 1, 300), np.linspace(-1e-3, 1e-3, 20)], 0)
    whole = Eigenpairs(*np.linalg.eigh(A))
    pairs = whole.take(wanted_positions(whole.values, 4, "SM"))
    policy = SearchPolicy(min_budget_of_square=130)
    doubt = with_missed(CountedOperator(DenseOperator(A)), pairs, 4, "SM", 0.0, policy=policy)[1]
    assert doubt > 0.1


def test_what_is_zero_leaves_no_doubt():
    A = symmetric(np.r_[np.zeros(9), np.linspace(-1, -0.1, 60), np.linspace(0.1, 1, 60)], 0)
    whole = Eigenpairs(*np.linalg.eigh(A))
    pairs = whole.take(wanted_positions(whole.values, 4, "SM"))
    found, doubt = with_missed(CountedOperator(DenseOperator(A)), pairs, 4, "SM", 0.0)
    assert found is pairs
    assert doubt == 0
