"""Checks of what the user gives, and warnings, the same for all functions."""

import math
import operator
from numbers import Real

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator


def check_integer(name, value, low, high=None):
    """Return an integer from low to high; anything else raises ValueError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, (bool, np.bool_)) or number < low or (high is not None and number > high):
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {value!r}; it must be an integer {allowed}.")
    return number


def check_shift(shift, n):
    """Return the shift as a float, or as an array if it has an entry for each row."""
    allowed = f"allowed is a finite number or an array of shape ({n},)"
    if isinstance(shift, (list, tuple)) or hasattr(shift, "__array__"):
        shift = np.asarray(shift)
    if not isinstance(shift, np.ndarray) or shift.ndim == 0:
        number = _as_float(shift)
        if not math.isfinite(number):
            raise ValueError(f"shift is {shift!r}; {allowed}.")
        return number
    if shift.shape != (n,):
        raise ValueError(f"shift is an array of shape {shift.shape}; {allowed}.")
    if shift.dtype.kind not in "fiub":
        raise ValueError(f"shift has dtype {shift.dtype}; it must hold real numbers.")
    with np.errstate(over="ignore"):
        array = shift.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("shift contains NaN or infinity; all entries must be finite.")
    return array


def _as_float(value):
    """Return a real number as a float, NaN if it is none that a float can hold."""
    if isinstance(value, np.ndarray):
        value = value[()]
    try:
        return float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return math.nan


def describe_shift(shift):
    """Return the shift as text."""
    if isinstance(shift, np.ndarray):
        return f"{shift.min():.3g} to {shift.max():.3g}"
    return f"{shift:.3g}"


def check_columns(name, B, n, real=False):
    """Return (n,) or (n, k) finite numbers as an array of shape (n, k)."""
    B = np.asarray(B)
    if B.ndim not in (1, 2) or len(B) != n:
        raise ValueError(f"{name} has shape {B.shape}; allowed are ({n},) and ({n}, k).")
    if B.dtype.kind not in ("fiub" if real else "fiubc"):
        kind = "real numbers" if real else "numbers"
        raise ValueError(f"{name} has dtype {B.dtype}; it must hold {kind}.")
    if not np.isfinite(B).all():
        raise ValueError(f"{name} contains NaN or infinity; all entries must be finite.")
    return B.reshape(n, -1)


def as_real_operator(name, A):
    """Return what vectors can be multiplied with as a real LinearOperator in floating point."""
    if not isinstance(A, LinearOperator):
        if not sparse.issparse(A) and not isinstance(A, np.ndarray) and hasattr(A, "__array__"):
            A = np.asarray(A)
        if not sparse.issparse(A) and not isinstance(A, (np.ndarray, list, tuple)):
            kind = type(A).__name__
            raise TypeError(
                f"{name} is a {kind}; it must be an array, sparse matrix or LinearOperator."
            )
        A = A if sparse.issparse(A) else np.asarray(A)
    if len(A.shape) != 2 or A.shape[0] != A.shape[1] or A.shape[0] < 1:
        given = f"{name} has shape {A.shape}"
        raise ValueError(f"{given}; it must be square, shape (n, n), with n >= 1.")
    dtype = np.dtype(A.dtype)
    if dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {dtype}; it must hold real numbers.")
    wanted = np.dtype(np.float32 if dtype in (np.float16, np.float32) else np.float64)
    if isinstance(A, LinearOperator):
        return A if dtype == wanted else _converted(A, wanted)
    if not np.isfinite(A.data if sparse.issparse(A) else A).all():
        raise ValueError(f"{name} contains NaN or infinity; all entries must be finite.")
    return aslinearoperator(A.astype(wanted, copy=False))


def _converted(A, dtype):
    """Return an operator whose products have a dtype that LAPACK and ARPACK know."""
    return LinearOperator(
        A.shape,
        matvec=lambda x: A.matvec(x).astype(dtype, copy=False),
        matmat=lambda X: A.matmat(X).astype(dtype, copy=False),
        dtype=dtype,
    )


def check_count(name, value):
    """Return `value` as a positive int, or raise ValueError."""
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least 1.")
    return count


def check_dtype(dtype):
    """Return a native float32 or float64, or raise ValueError."""
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = None
    if dtype is None or checked not in (np.float32, np.float64) or not checked.isnative:
        raise ValueError(f"dtype is {dtype!r}; allowed are native float32 and float64.")
    return checked
