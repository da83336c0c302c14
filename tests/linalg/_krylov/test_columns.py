import warnings

import numpy as np
import pytest

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg._krylov.columns import (
    apply_preconditioner,
    check_positive_curvature,
    column_scales,
    inner_products,
    relative_norms,
    select_columns,
)
from skhmat.linalg._operators.wrappers import ShiftedColumns


def test_norms_and_inner_products(rng):
    R, B = rng.standard_normal((2, 9, 3))
    B[:, 1] = 0
    sizes = np.array([np.linalg.norm(B[:, 0]), 1, np.linalg.norm(B[:, 2])])
    np.testing.assert_allclose(relative_norms(R, B), np.linalg.norm(R, axis=0) / sizes)
    np.testing.assert_allclose(inner_products(R, B), np.sum(R * B, axis=0))


def test_scales_are_powers_of_two_that_bring_columns_to_one():
    B = np.array([[0.0, 1e300, 3.0, 5e-324], [0.0, 1.0, -7.0, 0.0]])
    scales = column_scales(B)
    assert np.all(np.frexp(scales)[0] == 0.5)
    scaled = np.abs(B / scales).max(axis=0)
    assert scaled[0] == 0
    assert np.all((scaled[1:3] >= 0.5) & (scaled[1:3] < 1))
    np.testing.assert_array_equal(B / scales * scales, B)


def test_operators_of_some_columns(rng):
    A, W = rng.standard_normal((4, 4)), rng.standard_normal((4, 3))
    shifts = np.array([1.0, 2.0, 3.0])
    which = np.array([True, False, True])
    some = select_columns(ShiftedColumns(A, shifts), which)
    np.testing.assert_allclose(some @ W[:, which], A @ W[:, which] + shifts[which] * W[:, which])
    assert select_columns(A, which) is A
    assert apply_preconditioner(None, W) is W


def test_curvature_that_is_not_positive():
    X = np.array([[1.0, 2.0], [0.0, 0.0]])
    check_positive_curvature(np.array([1.0, 3.0]), X)
    with pytest.raises(NotPositiveDefiniteError, match=r"curvature -0\.5") as caught:
        check_positive_curvature(np.array([1.0, -2.0]), X)
    assert caught.value.eigenvalue_bound == -0.5


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_relative_norms_of_any_size(dtype, rng):
    B, R = rng.standard_normal((2, 9, 1)).astype(dtype)
    expected = np.linalg.norm(R) / np.linalg.norm(B)
    for scale in (1e-300, 1e-200, 1e154, 1e200, 1e306):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(relative_norms(scale * R, scale * B), expected)
