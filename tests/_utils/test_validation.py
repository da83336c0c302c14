import math
import re
from fractions import Fraction
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from skhmat._utils.validation import (
    CheckedParameters,
    Constraint,
    as_array,
    check_boolean,
    check_columns,
    check_dtype,
    check_factor,
    check_integer,
    check_numbers,
    check_operator,
    check_option,
    check_path,
    check_per_feature,
    check_preconditioner,
    check_random_state,
    check_real,
    check_sample_weight,
    check_shift,
    check_square,
    check_verbose,
    errors_name,
    is_sequence,
    parameter_error,
    validate_data,
)
from skhmat.linalg._hierarchical.ulv import describe_shift


def test_messages_have_one_form():
    error = parameter_error("k", "a number", "three")
    assert type(error) is ValueError
    assert str(error) == "k must be a number, got 'three'."
    error = parameter_error("A", "square", got="shape (2, 3)", kind=TypeError)
    assert type(error) is TypeError
    assert str(error) == "A must be square, got shape (2, 3)."


def test_an_integer_that_python_does_not_print():
    error = parameter_error("k", "small", 10**5000)
    assert str(error) == "k must be small, got an integer of 16610 bits."


# ---- constraints ----


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (Constraint(Integral), "an integer"),
        (Constraint(Integral, 2), "an integer of at least 2"),
        (Constraint(Integral, 1, none=True), "an integer of at least 1 or None"),
        (Constraint(Integral, high=-1), "an integer of at most -1"),
        (Constraint(Integral, 1, 7), "an integer from 1 to 7"),
        (Constraint(Integral, 1, 7, "left"), "an integer in [1, 7)"),
        (Constraint(Real), "a finite number"),
        (Constraint(Real, 0, math.inf), "a number of at least 0"),
        (Constraint(Real, 0, closed="neither"), "a number above 0"),
        (Constraint(Real, high=1, closed="left"), "a number below 1"),
        (Constraint(Real, high=1), "a number of at most 1"),
        (Constraint(Real, 0, 1), "a number in [0, 1]"),
        (Constraint(Real, 0, 1, "neither"), "a number in (0, 1)"),
        (Constraint(Real, 0, 1, "left"), "a number in [0, 1)"),
        (Constraint(Real, 0, 1, "right"), "a number in (0, 1]"),
        (Constraint(Real, 0, 1, options=("auto",)), "a number in [0, 1] or 'auto'"),
        (Constraint(options=("a", "b")), "one of 'a', 'b'"),
        (Constraint(options=("a",), none=True), "one of 'a', None"),
        (Constraint(options=("a",)), "'a'"),
    ],
)
def test_constraints_say_what_is_allowed(constraint, text):
    assert str(constraint) == text
    with pytest.raises(ValueError, match=re.escape(f"p must be {text}, got [].")):
        constraint.check("p", [])


@pytest.mark.parametrize(
    ("closed", "inside", "outside"),
    [
        ("both", [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
        ("left", [0, 0.5], [-1e-9, 1]),
        ("right", [0.5, 1], [0, 1 + 1e-9]),
        ("neither", [1e-300, 0.5], [0, 1]),
    ],
)
def test_ends_of_an_interval(closed, inside, outside):
    for value in inside:
        assert check_real("p", value, 0, 1, closed=closed) == value
    for value in outside:
        with pytest.raises(ValueError, match=rf"p must be .*, got {re.escape(repr(value))}\."):
            check_real("p", value, 0, 1, closed=closed)


@pytest.mark.parametrize("value", [math.inf, -math.inf, np.float32(np.inf)])
def test_infinity_is_allowed_only_as_an_end(value):
    with pytest.raises(ValueError, match=r"p must be a finite number, got .*inf"):
        check_real("p", value)
    with pytest.raises(ValueError, match=r"p must be a number of at least 0, got .*inf"):
        check_real("p", value, 0)
    assert check_real("p", value, -math.inf, math.inf) == value


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), Fraction(4, 2), np.array(2)])
def test_numbers(value):
    number = check_real("p", value, 1, 3)
    assert number == 2
    assert type(number) is float


@pytest.mark.parametrize("value", ["2", None, True, np.True_, 2j, np.nan, 10**400, [2], np.ones(2)])
def test_what_is_no_number(value):
    expected = re.escape(f"p must be a number of at least 1, got {value!r}.")
    with pytest.raises(ValueError, match=expected):
        check_real("p", value, 1, math.inf)


@pytest.mark.parametrize("value", ["auto", None, 0, 0.5])
def test_options_and_none_beside_numbers(value):
    assert check_real("p", value, 0, 1, options=("auto",), none=True) == value
    assert check_integer("p", 3, 1, options=("auto",)) == 3
    assert check_integer("p", "auto", 1, options=("auto",)) == "auto"
    assert check_integer("p", None, 1, none=True) is None


def test_options():
    assert check_option("p", "a", ("a", "b", None)) == "a"
    assert check_option("p", None, ("a", "b", None)) is None
    for value in ("c", "A", "", 1, np.array(["a"]), ["a"]):
        expected = re.escape(f"p must be one of 'a', 'b', None, got {value!r}.")
        with pytest.raises(ValueError, match=expected):
            check_option("p", value, ("a", "b", None))
    with pytest.raises(ValueError, match=r"p must be one of 'a', 'b', got None\."):
        check_option("p", None, ("a", "b"))


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers(value):
    number = check_integer("k", value, 3, 3)
    assert number == 3
    assert type(number) is int
    assert check_integer("k", value, 1) == 3


@pytest.mark.parametrize("value", [0, 8, -1, 2.0, "3", None, True, np.True_, np.array([1, 2])])
def test_bad_integers(value):
    got = re.escape(repr(value))
    with pytest.raises(ValueError, match=rf"k must be an integer from 1 to 7, got {got}\."):
        check_integer("k", value, 1, 7)
    if np.ndim(value) or value != 8:
        with pytest.raises(ValueError, match=rf"k must be an integer of at least 1, got {got}\."):
            check_integer("k", value, 1)


def test_integers_that_the_machine_has_not():
    for value in (2**63, 10**400):
        with pytest.raises(ValueError, match=r"k must be an integer of at most \d{19}, got "):
            check_integer("k", value, 1)


def test_booleans():
    assert check_boolean("p", True) is True
    assert check_boolean("p", np.False_) is False
    for value in (1, 0.0, None, "True", [True], np.array(True)):
        with pytest.raises(ValueError, match="p must be True or False, got "):
            check_boolean("p", value)


def test_verbose():
    for value in (True, np.True_, 1, np.int8(1)):
        assert check_verbose(value) == 1
    for value in (-1, 1.5, None, "1", np.complex64(1)):
        with pytest.raises(ValueError, match="verbose must be an integer of at least 0, got "):
            check_verbose(value)


def test_random_states():
    state = np.random.RandomState(0)
    assert check_random_state(state) is state
    assert check_random_state(np.uint8(7)).randint(99) == check_random_state(7).randint(99)
    for value in (True, -1, 2**32, 10**400, 1.5, "0", {}, [1.5]):
        with pytest.raises((ValueError, TypeError), match=r"^random_state: .*[sS]eed"):
            check_random_state(value)


def test_paths(tmp_path):
    for path in ("a", b"a", tmp_path):
        assert check_path(path) in ("a", str(tmp_path))
    for value in (0, 1, True, None, "", object()):
        with pytest.raises(TypeError, match="path must be a str or path-like, not empty, got "):
            check_path(value)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_a_generator_is_drawn_from(kind, global_random_seed):
    generators = [np.random.Generator(kind(global_random_seed)) for _ in range(3)]
    one, other = (check_random_state(generator) for generator in generators[:2])
    assert isinstance(one, np.random.RandomState)
    drawn = one.randint(2**31 - 1, size=3)
    np.testing.assert_array_equal(other.randint(2**31 - 1, size=3), drawn)
    assert generators[0].random() != generators[2].random()
    assert np.any(check_random_state(generators[0]).randint(2**31 - 1, size=3) != drawn)
    assert check_random_state(one) is one


@pytest.mark.parametrize("dtype", [np.float32, "float64", float, "=f4"])
def test_dtypes(dtype):
    checked = check_dtype(dtype)
    assert checked == np.dtype(dtype)
    assert checked.isnative


@pytest.mark.parametrize("dtype", [None, int, "f2", complex, ">f8", "no such dtype", {}, [1], 3])
def test_bad_dtypes(dtype):
    expected = re.escape(f"dtype must be native float32 or float64, got {dtype!r}.")
    with pytest.raises(ValueError, match=expected):
        check_dtype(dtype)


# ---- shifts and columns ----


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


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (None, r"shift must be a finite number or an array of shape \(3,\), got None\."),
        ("1", r"shift must be a finite number or an array of shape \(3,\), got '1'\."),
        (True, r"shift must be a finite number or an array of shape \(3,\), got True\."),
        ([1, [2]], r"shift must be an array, got a list"),
        (np.inf, r"shift must be a finite number or an array of shape \(3,\), got inf\."),
        (np.ones(2), r"shift must be .* an array of shape \(3,\), got shape \(2,\)\."),
        (np.ones(3) * 1j, r"shift must be real, got dtype complex128\."),
        ([0, 0, np.nan], r"shift must be finite, got NaN or infinity\."),
    ],
)
def test_bad_shifts(shift, message):
    with pytest.raises(ValueError, match=message):
        check_shift(shift, 3)


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
        with pytest.raises(ValueError, match=r"B must be real, got dtype complex128\."):
            check_columns("B", vector, 3, real=True)
    else:
        assert check_columns("B", vector, 3, real=True).shape == (3, 1)


@pytest.mark.parametrize(
    ("B", "message"),
    [
        (1.0, r"B must be of shape \(3,\) or \(3, k\), got shape \(\)\."),
        (np.ones(4), r"B must be of shape .*, got shape \(4,\)\."),
        (np.ones((1, 3)), r"B must be of shape .*, got shape \(1, 3\)\."),
        (np.ones((3, 1, 1)), r"B must be of shape .*, got shape \(3, 1, 1\)\."),
        ([1, [2], 3], r"B must be an array, got a list \(.*inhomogeneous"),
        (["a"] * 3, r"B must be numeric, got dtype <U1\."),
        ([None] * 3, r"B must be numeric, got dtype object\."),
        ([0, 0, np.nan], r"B must be finite, got NaN or infinity\."),
        ([0, 0, complex(0, np.inf)], r"B must be finite, got NaN or infinity\."),
    ],
)
def test_bad_columns(B, message):
    with pytest.raises(ValueError, match=message):
        check_columns("B", B, 3)


def test_numbers_in_arrays():
    for given in ([1, 2.5], (np.int8(1), Fraction(5, 2)), np.array([1, 2.5], dtype=object)):
        numbers = check_numbers("p", given)
        assert numbers.dtype == np.float64
        np.testing.assert_array_equal(numbers, [1, 2.5])
    for given in ((1, "1"), ["a"], [True, False], [1j], [1, [2]], b"1"):
        with pytest.raises(ValueError, match=r"p must be (numeric|an array), got "):
            check_numbers("p", given)
    np.testing.assert_array_equal(check_numbers("p", [1, None, 10**400]), [1, np.nan, np.nan])
    assert as_array("p", (1, 2)).shape == (2,)


def test_numbers_for_each_feature():
    given = np.array([1, 2.5])
    found = check_per_feature("gamma", given, 2)
    assert found.dtype == np.float64
    assert not np.shares_memory(found, given)
    assert not found.flags.writeable
    assert given.flags.writeable
    np.testing.assert_array_equal(check_per_feature("gamma", (Fraction(1, 2), 3), 2), [0.5, 3])
    for values in ([1, 2, 3], 1.0, [[1, 2]]):
        with pytest.raises(ValueError, match=r"gamma must be a number, or of shape \(2,\)"):
            check_per_feature("gamma", values, 2)
    for bad in (0, -1, np.nan, np.inf, 10**400, True, None, "1"):
        with pytest.raises(ValueError, match=r"gamma(\[1\])? must be (a finite number|numeric)"):
            check_per_feature("gamma", [1, bad], 2)
    for values in ([1], (), np.ones(2), [[1, 2], [3]]):
        assert is_sequence(values)
    for values in (1, "12", None, np.float32(1), np.array(1), {1, 2}, {}, len):
        assert not is_sequence(values)


def test_what_a_matrix_is_multiplied_with():
    for dtype in (bool, np.int8, np.float16, complex):
        assert check_factor(np.ones(3, dtype)).dtype == dtype
    for dtype in (str, bytes, object, "m8[s]"):
        with pytest.raises(ValueError, match="other factor of a product must be numeric, got dty"):
            check_factor(np.ones(3).astype(dtype))


# ---- operators ----


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "form", [np.asarray, sparse.csr_array, aslinearoperator, np.ndarray.tolist]
)
def test_operators(form, dtype):
    if form is sparse.csr_array and dtype is np.float16:
        pytest.skip("SciPy has no sparse matrices of this dtype")
    array = np.array([[1, 0], [1, 1]], dtype=dtype)
    A = check_operator("A", form(array))
    assert isinstance(A, LinearOperator)
    narrow = dtype in (np.float16, np.float32) and form is not np.ndarray.tolist
    assert A.dtype == (np.float32 if narrow else np.float64)
    product = A.matmat(np.eye(2, dtype=A.dtype))
    assert product.dtype == A.dtype
    np.testing.assert_array_equal(product, array)


@pytest.mark.parametrize(
    ("A", "kind", "message"),
    [
        (None, TypeError, r"A must be an array, sparse matrix or LinearOperator, got a NoneType\."),
        (np.ones(3), ValueError, r"A must be square, .* got shape \(3,\)\."),
        (np.ones((2, 3)), ValueError, r"A must be square, .* got shape \(2, 3\)\."),
        (np.empty((0, 0)), ValueError, r"A must be square, .* n >= 1, got shape \(0, 0\)\."),
        (np.eye(2) * 1j, ValueError, r"A must be real, got dtype complex128\."),
        (np.full((2, 2), "a"), ValueError, r"A must be real, got dtype <U1\."),
        (np.full((2, 2), np.nan), ValueError, r"A must be finite, got NaN or infinity\."),
    ],
)
def test_bad_operators(A, kind, message):
    with pytest.raises(kind, match=message):
        check_operator("A", A)


def test_preconditioners():
    M = aslinearoperator(np.eye(3))
    assert check_preconditioner(M, 3) is M
    assert check_preconditioner(None, 3) is None
    allowed = re.escape("preconditioner must be None or a LinearOperator of shape (4, 4), got ")
    with pytest.raises(ValueError, match=allowed + re.escape("shape (3, 3).")):
        check_preconditioner(M, 4)
    with pytest.raises(ValueError, match=allowed + "'jacobi'"):
        check_preconditioner("jacobi", 4)
    with pytest.raises(ValueError, match=allowed + "a ndarray"):
        check_preconditioner(np.eye(4), 4)


# ---- samples ----


def test_sample_weights():
    X = np.zeros((3, 1))
    assert check_sample_weight(None, X).tolist() == [1, 1, 1]
    for number in (2, 2.0, np.int8(2), np.array(2.0)):
        assert check_sample_weight(number, X).tolist() == [2, 2, 2]
    weights = check_sample_weight(np.array([0, 1, 2]), X)
    assert weights.dtype == np.float64
    with pytest.raises(
        ValueError, match=r"Negative values in sample_weight: -0\.5 at 1; .* least 0"
    ):
        check_sample_weight([0, -0.5, 1], X)
    # Newer versions of scikit-learn refuse these weights themselves.
    message = "sample_weight must be positive .*, got zero for all|at least one non-zero"
    with pytest.raises(ValueError, match=message):
        check_sample_weight(np.zeros(3), X)


@pytest.mark.parametrize(
    "weights", ["a", ["1", "2", "3"], True, [1, [2], 3], 1j, np.inf, [1, np.nan, 1], 10**400, {}]
)
def test_bad_sample_weights(weights):
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        check_sample_weight(weights, np.zeros((3, 1)))


# ---- estimators ----


class Estimator(CheckedParameters, BaseEstimator):
    _parameter_constraints: ClassVar = {
        "number": [Interval(Real, 0, None, closed="left")],
        "flag": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(self, number=1, flag=False, verbose=0, other=True):
        self.number, self.flag, self.verbose, self.other = number, flag, verbose, other


def test_parameters_that_scikit_learn_accepts():
    Estimator(flag=np.True_, verbose=True)._validate_params()
    estimator = Estimator(np.int8(3))
    estimator._validate_params()
    assert type(estimator._number("number")) is int
    assert estimator._number("flag") is False
    for value in (True, np.True_, 10**400):
        with pytest.raises(ValueError, match=r"'?number'? .*must be"):
            Estimator(value)._validate_params()
    for value in (0, 1, "True", None):
        with pytest.raises(ValueError, match="flag must be True or False, got "):
            Estimator(flag=value)._validate_params()


def test_errors_of_scikit_learn_name_the_samples():
    X, y = validate_data(Estimator(), [[1.0], [2.0]], [1, 2])
    assert X.shape == (2, 1)
    assert y.shape == (2,)
    for bad in (1.0, [1.0, 2.0], {}, object(), "a", [[10**400]], [[1j]], [[1], [2, 3]]):
        with pytest.raises((ValueError, TypeError), match=r"\bX\b"):
            validate_data(Estimator(), bad, dtype=np.float64)
    with pytest.raises(ValueError, match=r"\by\b"):
        validate_data(Estimator(), [[1.0], [2.0]], [1j, 1j])
    dates = np.array([1, 2], dtype="datetime64[D]")
    for text in (["1", "2"], np.array([b"1", b"2"]), dates, list(dates), dates - dates[0]):
        with pytest.raises(ValueError, match="X must be numeric, got dtype"):
            validate_data(Estimator(), np.reshape(text, (2, 1)))
        with pytest.raises(ValueError, match="y must be numeric, got dtype"):
            validate_data(Estimator(), [[1.0], [2.0]], text, y_numeric=True)
        assert list(validate_data(Estimator(), [[1.0], [2.0]], text)[1]) == list(text)
    with pytest.raises(TypeError, match=r"^a or b: wrong$"), errors_name("a", "b"):
        raise TypeError("wrong")
    with pytest.raises(TypeError, match=r"^a is wrong$"), errors_name("a", "b"):
        raise TypeError("a is wrong")


def test_squares():
    X = np.ones((2, 2))
    assert check_square(X, "metric") is X
    expected = r"X must be square where metric is 'precomputed', got shape \(2, 3\)\."
    with pytest.raises(ValueError, match=expected):
        check_square(np.ones((2, 3)), "metric")
