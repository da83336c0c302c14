"""Checks of users' input: each `check_*` returns the checked value or raises.

Messages have one form, ``<parameter> must be <allowed>, got <value>.``; `parameter_error` makes it.
"""

import math
import operator
import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.utils import check_random_state as sklearn_random_state
from sklearn.utils.validation import _check_sample_weight
from sklearn_compat.utils import validation as sklearn_validation

# Python refuses to print integers of more than 4,300 digits.
_MOST_BITS = 10_000


def parameter_error(name, allowed, value=None, *, got=None, kind=ValueError):
    """Return the exception for a parameter: `got` is the text for a value too large to print."""
    if got is None:
        is_huge = isinstance(value, int) and value.bit_length() > _MOST_BITS
        got = f"an integer of {value.bit_length()} bits" if is_huge else repr(value)
    return kind(f"{name} must be {allowed}, got {got}.")


@dataclass(frozen=True)
class Constraint:
    """The allowed values of a parameter: a number in an interval, an option, or None.

    Attributes
    ----------
    kind : {Real, Integral} or None
        None allows no numbers.
    low, high : number or None
        Ends of the interval, or None where it has none. NaN is never allowed, infinity only where
        an end is infinite.
    closed : {"both", "left", "right", "neither"}
        Which ends belong to the interval, as in scikit-learn's `Interval`.
    options : tuple
        Other values that are allowed.
    none : bool
        Whether None is allowed.
    """

    kind: type | None = None
    low: float | None = None
    high: float | None = None
    closed: str = "both"
    options: tuple = ()
    none: bool = False

    def __str__(self):
        """Return the allowed values as text."""
        texts = [] if self.kind is None else [self._interval()]
        options = [*map(repr, self.options), *(["None"] if self.none else [])]
        if self.kind is None and len(options) > 1:
            return "one of " + ", ".join(options)
        return " or ".join(texts + options)

    def check(self, name, value):
        """Return the value, numbers as int or float; raise ValueError if it is not allowed."""
        if (self.none and value is None) or self._is_option(value):
            return value
        number = self._number(value)
        if number is None or not self._is_inside(number):
            raise parameter_error(name, self, value)
        return number

    def _interval(self):
        number = "an integer" if self.kind is Integral else "a number"
        has_low = self.low is not None
        has_high = self.high is not None and self.high != math.inf
        if not has_low and not has_high:
            return number if self.kind is Integral else "a finite number"
        if not has_high:
            return f"{number} {'above' if self._excludes_low else 'of at least'} {self.low}"
        if not has_low:
            return f"{number} {'below' if self._excludes_high else 'of at most'} {self.high}"
        if self.kind is Integral and self.closed == "both":
            return f"{number} from {self.low} to {self.high}"
        opening = "(" if self._excludes_low else "["
        closing = ")" if self._excludes_high else "]"
        return f"{number} in {opening}{self.low}, {self.high}{closing}"

    @property
    def _excludes_low(self):
        return self.closed in ("right", "neither")

    @property
    def _excludes_high(self):
        return self.closed in ("left", "neither")

    def _is_option(self, value):
        # An array compared with a string would give an array.
        return any(
            value is option or (np.isscalar(value) and value == option) for option in self.options
        )

    def _number(self, value):
        if self.kind is None or isinstance(value, (bool, np.bool_)):
            return None
        if self.kind is Integral:
            try:
                return operator.index(value)
            except TypeError:
                return None
        number = _as_float(value)
        return None if math.isnan(number) else number

    def _is_inside(self, number):
        if self.low is None:
            above = number > -math.inf
        else:
            above = number > self.low if self._excludes_low else number >= self.low
        if self.high is None:
            below = number < math.inf
        else:
            below = number < self.high if self._excludes_high else number <= self.high
        return above and below


def check_integer(name, value, low, high=None, *, options=(), none=False):
    """Return an integer from low to high that the machine has, or one of the options."""
    checked = Constraint(Integral, low, high, options=options, none=none).check(name, value)
    if isinstance(checked, int) and abs(checked) > sys.maxsize:
        raise parameter_error(name, f"an integer of at most {sys.maxsize}", value)
    return checked


def check_real(name, value, low=None, high=None, *, closed="both", options=(), none=False):
    """Return a finite number in an interval as a float, or one of the options."""
    return Constraint(Real, low, high, closed, options, none).check(name, value)


def check_option(name, value, options):
    """Return the value if it is one of the options."""
    none = any(option is None for option in options)
    others = tuple(option for option in options if option is not None)
    return Constraint(options=others, none=none).check(name, value)


def check_boolean(name, value):
    """Return True or False; numbers and whatever else Python takes for true are refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise parameter_error(name, "True or False", value)
    return bool(value)


def check_verbose(verbose):
    """Return how much is logged as an integer; True means 1."""
    is_boolean = isinstance(verbose, (bool, np.bool_))
    return int(verbose) if is_boolean else check_integer("verbose", verbose, 0)


def check_random_state(random_state):
    """Return a RandomState for None, a seed, a RandomState, or a Generator, which it draws from."""
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(random_state.bit_generator)
    with errors_name("random_state"):
        if isinstance(random_state, (bool, np.bool_)):
            raise ValueError(f"{random_state!r} cannot be used to seed")
        return sklearn_random_state(random_state)


def check_path(path):
    """Return a path as text; a number would be taken for an open file, and that file be closed."""
    if not isinstance(path, (str, bytes, os.PathLike)) or not os.fspath(path):
        raise parameter_error("path", "a str or path-like, not empty", path, kind=TypeError)
    return os.fsdecode(path)


def check_dtype(dtype, name="dtype"):
    """Return a native float32 or float64."""
    try:
        checked = np.dtype(dtype)
    except (TypeError, ValueError):
        checked = None
    if dtype is None or checked not in (np.float32, np.float64) or not checked.isnative:
        raise parameter_error(name, "native float32 or float64", dtype)
    return checked


def check_shift(shift, n):
    """Return the shift as a float, or as an array if it has an entry for each row."""
    allowed = f"a finite number or an array of shape ({n},)"
    if isinstance(shift, (list, tuple)) or np.ndim(shift) > 0:
        shift = as_array("shift", shift)
    else:
        number = _as_float(shift)
        if not math.isfinite(number):
            raise parameter_error("shift", allowed, shift)
        return number
    if shift.shape != (n,):
        raise parameter_error("shift", allowed, got=f"shape {shift.shape}")
    if shift.dtype.kind not in "fiub":
        raise parameter_error("shift", "real", got=f"dtype {shift.dtype}")
    with np.errstate(over="ignore"):
        array = shift.astype(np.float64)
    if not np.isfinite(array).all():
        raise parameter_error("shift", "finite", got="NaN or infinity")
    return array


def as_array(name, values):
    """Return values as an array; those that no array holds are refused by name."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        got = f"a {type(values).__name__} ({error})"
        raise parameter_error(name, "an array", got=got) from None


def check_numbers(name, values):
    """Return real numbers as a new array of float64; entries that no float holds become NaN."""
    array = as_array(name, values)
    if array.dtype.kind == "O":
        array = np.array([_as_float(value) for value in array.flat]).reshape(array.shape)
    if array.dtype.kind not in "fiu":
        raise parameter_error(name, "numeric", values)
    return array.astype(np.float64)


def is_sequence(values):
    """Return whether a parameter was given as numbers in an array or a list, and not as one."""
    return isinstance(values, (list, tuple)) or np.ndim(values) > 0


def check_per_feature(name, values, n_features):
    """Return positive numbers, one for each feature, as a new, read-only array of float64."""
    array = check_numbers(name, values)
    if array.shape != (n_features,):
        allowed = f"a number, or of shape ({n_features},) with one for each feature"
        raise parameter_error(name, allowed, got=f"shape {array.shape}")
    # NumPy converts True among numbers to 1.
    is_boolean = [isinstance(value, (bool, np.bool_)) for value in values]
    is_bad = is_boolean | ~(np.isfinite(array) & (array > 0))
    if is_bad.any():
        i = int(np.argmax(is_bad))
        got = f"{bool(array[i])}" if is_boolean[i] else f"{array[i]:.3g}"
        raise parameter_error(f"{name}[{i}]", "a finite number above 0", got=got)
    array.flags.writeable = False
    return array


def check_columns(name, B, n, real=False):
    """Return (n,) or (n, k) finite numbers as an array of shape (n, k)."""
    B = as_array(name, B)
    if B.ndim not in (1, 2) or len(B) != n:
        raise parameter_error(name, f"of shape ({n},) or ({n}, k)", got=f"shape {B.shape}")
    if B.dtype.kind not in ("fiub" if real else "fiubc"):
        raise parameter_error(name, "real" if real else "numeric", got=f"dtype {B.dtype}")
    if not np.isfinite(B).all():
        raise parameter_error(name, "finite", got="NaN or infinity")
    return B.reshape(n, -1)


def check_factor(W):
    """Return what a matrix is multiplied with as an array of numbers, real or complex."""
    W = np.asarray(W)
    if W.dtype.kind not in "fiubc":
        got = f"dtype {W.dtype}"
        raise parameter_error("the other factor of a product", "numeric", got=got)
    return W


def check_operator(name, A):
    """Return an operator, array or sparse matrix as a real LinearOperator in floating point."""
    if not isinstance(A, LinearOperator):
        if not sparse.issparse(A) and not isinstance(A, np.ndarray) and hasattr(A, "__array__"):
            A = as_array(name, A)
        if not sparse.issparse(A) and not isinstance(A, (np.ndarray, list, tuple)):
            allowed, given = "an array, sparse matrix or LinearOperator", type(A).__name__
            raise parameter_error(name, allowed, got=f"a {given}", kind=TypeError)
        # Some sparse formats have no array of entries.
        A = A.tocsr() if sparse.issparse(A) else as_array(name, A)
    if len(A.shape) != 2 or A.shape[0] != A.shape[1] or A.shape[0] < 1:
        allowed = "square, of shape (n, n) with n >= 1"
        raise parameter_error(name, allowed, got=f"shape {A.shape}")
    dtype = np.dtype(A.dtype)
    if dtype.kind not in "fiub":
        raise parameter_error(name, "real", got=f"dtype {dtype}")
    wanted = np.dtype(np.float32 if dtype in (np.float16, np.float32) else np.float64)
    if isinstance(A, LinearOperator):
        return A if dtype == wanted else _converted(A, wanted)
    if not np.isfinite(A.data if sparse.issparse(A) else A).all():
        raise parameter_error(name, "finite", got="NaN or infinity")
    return aslinearoperator(A.astype(wanted, copy=False))


def check_preconditioner(preconditioner, n):
    """Return an approximate inverse of an (n, n) matrix, a LinearOperator of its shape, or None."""
    allowed = f"None or a LinearOperator of shape ({n}, {n})"
    if preconditioner is None:
        return None
    if not isinstance(preconditioner, LinearOperator):
        is_short = isinstance(preconditioner, (str, int, float))
        got = repr(preconditioner) if is_short else f"a {type(preconditioner).__name__}"
        raise parameter_error("preconditioner", allowed, got=got)
    if preconditioner.shape != (n, n):
        raise parameter_error("preconditioner", allowed, got=f"shape {preconditioner.shape}")
    return preconditioner


def check_sample_weight(sample_weight, X):
    """Return weights as an array of float64, none of them negative and at least one positive."""
    given = sample_weight
    if given is not None:
        given = as_array("sample_weight", given)
        if given.dtype.kind not in "fiubO" or isinstance(sample_weight, bool):
            raise parameter_error("sample_weight", "real numbers", sample_weight)
    if np.ndim(given) == 0 and given is not None:
        given = given[()]  # scikit-learn takes a number for all samples, but no array of it
    with errors_name("sample_weight"):
        sample_weight = _check_sample_weight(given, X, dtype=np.float64)
    if not np.isfinite(sample_weight).all():
        raise parameter_error("sample_weight", "finite", got="NaN or infinity")
    if sample_weight.min() < 0:
        i = int(np.argmin(sample_weight))
        # scikit-learn's own estimators, and checks of them, have the first four words.
        raise ValueError(
            f"Negative values in sample_weight: {sample_weight[i]:.3g} at {i}; sample_weight must "
            "be at least 0."
        )
    if not sample_weight.any():
        raise parameter_error(
            "sample_weight", "positive for one sample", got="zero for all samples"
        )
    return sample_weight


@contextmanager
def errors_name(*names):
    """Let errors of other packages' checks name a parameter; what overflows is a ValueError."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        is_named = re.search(rf"\b({'|'.join(names)})\b", str(error))
        if is_named and not isinstance(error, OverflowError):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{' or '.join(names)}: {error}") from error


def validate_data(estimator, X, *y, **options):
    """Return X, or X and y, as scikit-learn's `validate_data`; errors name X or y."""
    _refuse_text_and_dates("X", X)
    if options.get("y_numeric", False):
        _refuse_text_and_dates("y", *y)
    with errors_name("X", "y") if y else errors_name("X"):
        return sklearn_validation.validate_data(estimator, X, *y, **options)


def _refuse_text_and_dates(name, values):
    """Raise ValueError for strings, dates and durations, which NumPy converts to numbers."""
    if isinstance(values, (list, tuple)):
        values = as_array(name, values)
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "") in {"U", "S", "M", "m"}:
        raise parameter_error(name, "numeric", got=f"dtype {dtype}")


class CheckedParameters:
    """Refuses what scikit-learn takes for a number: booleans, and integers beyond all floats."""

    def _validate_params(self):
        parameters = self.get_params(deep=False)
        for name, value in parameters.items():
            if "boolean" in map(str, self._parameter_constraints.get(name, [])):
                check_boolean(name, value)
            if isinstance(value, Integral) and abs(int(value)) > sys.float_info.max:
                raise parameter_error(name, "in the range of floating-point numbers", value)
        super()._validate_params()
        for name, value in parameters.items():
            constraints = set(map(str, self._parameter_constraints.get(name, ["boolean"])))
            if isinstance(value, (bool, np.bool_)) and not constraints & {"boolean", "verbose"}:
                raise parameter_error(name, "a number, not a boolean", value)

    def _number(self, name):
        """Return a parameter; NumPy's scalars, whose ranges are narrow, as Python's numbers."""
        value = getattr(self, name)
        return value.item() if isinstance(value, np.generic) else value


def check_square(X, name):
    """Raise ValueError unless a matrix is square; parameter `name` says that it is precomputed."""
    if X.shape[0] != X.shape[1]:
        raise parameter_error("X", f"square where {name} is 'precomputed'", got=f"shape {X.shape}")
    return X


def _as_float(value):
    """Return a real number as a float, NaN if it is none that a float can hold."""
    if isinstance(value, np.ndarray):
        value = value[()]
    if isinstance(value, (bool, np.bool_)):
        return math.nan
    try:
        return float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return math.nan


def _converted(A, dtype):
    """Return an operator whose products have a dtype that LAPACK and ARPACK know."""
    return LinearOperator(
        A.shape,
        matvec=lambda x: A.matvec(x).astype(dtype, copy=False),
        matmat=lambda X: A.matmat(X).astype(dtype, copy=False),
        dtype=dtype,
    )
