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
