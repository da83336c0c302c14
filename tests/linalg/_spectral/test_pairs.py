import numpy as np

from skhmat.linalg._spectral.pairs import (
    Eigenpairs,
    choose_signs,
    no_pairs,
    relative_residuals,
    with_signs,
)


def test_some_of_the_pairs(rng):
    pairs = Eigenpairs(np.arange(4.0), rng.standard_normal((7, 4)), np.zeros(2))
    for which in (np.array([3, 0]), np.array([True, False, False, True])):
        some = pairs.take(which)
        np.testing.assert_array_equal(some.values, pairs.values[which])
        np.testing.assert_array_equal(some.vectors, pairs.vectors[:, which])
        assert some.residuals is None


def test_no_pairs():
    A = np.zeros((5, 5), dtype=np.float32)
    pairs = no_pairs(A)
    assert pairs.values.shape == (0,)
    assert pairs.vectors.shape == (5, 0)
    assert pairs.values.dtype == pairs.vectors.dtype == np.float32


def test_signs():
    vectors = np.array([[0.1, -3.0], [-2.0, 1.0]], dtype=np.float32)
    found = with_signs(vectors)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, -vectors)
    np.testing.assert_array_equal(choose_signs(np.c_[vectors, np.zeros(2)]), [-1, -1, 1])


def test_residuals():
    A = np.diag([2.0, -4.0, 1.0])
    vectors = np.eye(3)[:, :2]
    np.testing.assert_array_equal(relative_residuals(A, np.array([2.0, -3.0]), vectors), [0, 1 / 3])
    np.testing.assert_array_equal(relative_residuals(A, np.zeros(2), vectors), [2, 4])
    assert relative_residuals(A, np.empty(0), np.empty((3, 0))).shape == (0,)
