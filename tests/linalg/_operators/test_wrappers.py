import pickle
from functools import partial

import numpy as np
import pytest

from skhmat.linalg._operators.wrappers import (
    CenteredOperator,
    CountedOperator,
    DenseOperator,
    Float64Operator,
    NegatedOperator,
    PermutedOperator,
    RecomputedOperator,
    ScaledOperator,
    ShiftedColumns,
    ShiftedOperator,
)

from ..matrices import symmetric

N = 12


@pytest.fixture
def array():
    return symmetric(np.arange(N) - 4.5, 0)


def wrapped(array, rng):
    """Yield operators and the arrays that they stand for."""
    A, permutation, factors = DenseOperator(array), rng.permutation(N), rng.random(N) + 1
    centre = np.eye(N) - 1 / N
    moved = np.empty_like(array)
    moved[np.ix_(permutation, permutation)] = array
    yield A, array
    yield ShiftedOperator(A, 2.0), array + 2 * np.eye(N)
    yield ShiftedOperator(A, factors), array + np.diag(factors)
    yield NegatedOperator(A), -array
    yield ScaledOperator(A, factors), factors[:, None] * array * factors
    yield PermutedOperator(A, np.argsort(permutation)), array[np.ix_(permutation, permutation)]
    yield PermutedOperator(A, permutation), moved
    yield RecomputedOperator(A, None), array
    yield CenteredOperator(A), centre @ array @ centre
    yield CountedOperator(A), array
    yield Float64Operator(A), array


def test_products_and_steps_are_those_of_the_arrays(array, rng):
    W, before = rng.standard_normal((2, N, 3))
    coefficients = {"scale": 0.5, "shift": 2.0, "factor": 0.3}
    for operator, dense in wrapped(array, rng):
        np.testing.assert_allclose(operator @ W, dense @ W, atol=1e-12)
        np.testing.assert_allclose(operator @ W[:, 0], dense @ W[:, 0], atol=1e-12)
        np.testing.assert_allclose(operator @ (W + 1j * before), dense @ (W + 1j * before))
        np.testing.assert_allclose(operator.T @ W, dense @ W, atol=1e-12)
        expected = 0.5 * (dense @ W - 2 * W)
        np.testing.assert_allclose(operator.step(W, None, **coefficients), expected, atol=1e-12)
        step = operator.step(W, before.copy(), **coefficients)
        np.testing.assert_allclose(step, expected - 0.3 * before, atol=1e-12)


def test_a_pickle_has_the_recipe_in_place_of_the_entries():
    A = RecomputedOperator(DenseOperator(np.eye(1000)), partial(_twice, 1000))
    data = pickle.dumps(A)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert (again.shape, again.dtype) == (A.shape, A.dtype)
    np.testing.assert_array_equal(again @ np.ones(1000), np.full(1000, 2.0))
    np.testing.assert_array_equal(A @ np.ones(1000), np.ones(1000))
    assert len(pickle.dumps(again)) == len(data)


def _twice(n):
    return DenseOperator(2 * np.eye(n))


def test_vectors_are_counted(array, rng):
    A = CountedOperator(DenseOperator(array))
    W = rng.standard_normal((N, 3))
    A @ W
    A @ W[:, 0]
    A.step(W, scale=1.0, shift=0.0)
    assert A.n_products == 7


def test_entries_are_computed_once(array):
    A = CountedOperator(DenseOperator(array))
    for _ in range(2):
        np.testing.assert_array_equal(A.toarray(), array)
    assert A.n_products == N


def test_a_shift_for_each_column(array, rng):
    W, shifts = rng.standard_normal((N, 3)), np.array([1.0, 2.0, 3.0])
    A = ShiftedColumns(DenseOperator(array), shifts)
    np.testing.assert_allclose(A @ W, array @ W + W * shifts)
    np.testing.assert_allclose(A.columns([2]) @ W[:, [2]], array @ W[:, [2]] + 3 * W[:, [2]])
