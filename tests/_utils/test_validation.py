from fractions import Fraction

import numpy as np
import pytest

from skhmat._utils.validation import check_columns, check_integer, check_shift
from skhmat.linalg._hierarchical.ulv import describe_shift


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers(value):
    number = check_integer("k", value, 3, 3)
    assert number == 3
    assert type(number) is int
    assert check_integer("k", value, 1) == 3


@pytest.mark.parametrize("value", [0, 8, -1, 2.0, "3", None, True, np.True_, np.array([1, 2])])
def test_bad_integers(value):
    with pytest.raises(ValueError, match=r"k is .*; it must be an integer from 1 to 7\."):
        check_integer("k", value, 1, 7)
    if np.ndim(value) or value != 8:
        with pytest.raises(ValueError, match=r"k is .*; it must be an integer of at least 1\."):
            check_integer("k", value, 1)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), Fraction(4, 2)])
def test_shifts_that_are_numbers(value):
    shift = check_shift(value, 3)
    assert type(shift) is float
    assert shift == 2


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.float32, ">f8"])
def test_shifts_that_are_arrays(dtype):
    given = np.array([0, 1, 1], dtype=dtype)
    shift = check_shift(given, 3)
    assert shift.dtype == np.float64
    assert shift.dtype.isnative
    np.testing.assert_array_equal(shift, [0, 1, 1])
    assert not np.shares_memory(shift, given)


def test_an_array_of_floats_is_copied():
    given = np.ones(3)
    assert not np.shares_memory(check_shift(given, 3), given)
    np.testing.assert_array_equal(check_shift(np.array([5.0]), 1), [5])


def test_shift_as_text():
    assert describe_shift(-0.123456) == "-0.123"
    assert describe_shift(np.array([3.0, -1e-10, 12345.0])) == "-1e-10 to 1.23e+04"


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32, np.float64, complex])
def test_columns(dtype):
    vector = np.array([0, 1, 1], dtype=dtype)
    for B in (vector, vector.tolist()):
        columns = check_columns("B", B, 3)
        assert columns.shape == (3, 1)
        np.testing.assert_array_equal(columns[:, 0], vector)
    assert check_columns("B", vector, 3).dtype == dtype
    for k in (0, 1, 2):
        matrix = np.ones((3, k), dtype=dtype)
        assert check_columns("B", matrix, 3).shape == (3, k)
    if dtype is complex:
        with pytest.raises(ValueError, match="B has dtype complex128; it must hold real numbers"):
            check_columns("B", vector, 3, real=True)
    else:
        assert check_columns("B", vector, 3, real=True).shape == (3, 1)


@pytest.mark.parametrize(
    ("B", "message"),
    [
        (1.0, r"B has shape \(\); allowed are \(3,\) and \(3, k\)"),
        (np.ones(4), r"B has shape \(4,\)"),
        (np.ones((1, 3)), r"B has shape \(1, 3\)"),
        (np.ones((3, 1, 1)), r"B has shape \(3, 1, 1\)"),
        (["a"] * 3, "B has dtype <U1; it must hold numbers"),
        ([None] * 3, "B has dtype object"),
        ([0, 0, np.nan], "B contains NaN or infinity"),
        ([0, 0, complex(0, np.inf)], "B contains NaN or infinity"),
    ],
)
def test_bad_columns(B, message):
    with pytest.raises(ValueError, match=message):
        check_columns("B", B, 3)
