"""The kernels: name, formula, parameters and diagonal of each.

To add one: a constant in ``_ext/simd/simd.h``, a case in ``_ext/simd/pairwise.h`` (and its name in
``_ext/simd/pairwise.pyx``), an entry in `KERNELS` here, and a reference in
``tests/linalg/test_kernels.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from .._ext.simd import pairwise as _core


@dataclass(frozen=True)
class Kernel:
    """One kernel k(x, y).

    Parameters
    ----------
    id : int
        What the compiled core calls it.
    formula : str
        With ``r`` the Euclidean distance of x and y.
    parameters : tuple of str
        The parameters it reads, in the order the compiled core expects.
    diagonal : callable
        ``diagonal(X, values)``: k(x, x) for the rows of X, in float64.
    min_dim : int
        Smallest dimension of the points.
    is_radial : bool
        Whether it is a function of the distance.
    """

    id: int
    formula: str
    parameters: tuple
    diagonal: Callable
    min_dim: int = 1
    is_radial: bool = True


def _ones(X, values):
    """Return the diagonal of a kernel with k(x, x) = 1."""
    return np.ones(len(X))


def _squared_norms(X, values=None):
    """Return x.x for the rows of X; products that overflow become infinite, silently."""
    with np.errstate(over="ignore"):
        return np.einsum("ij,ij->i", X, X, dtype=np.float64)


def _laplace_green_diagonal(X, values):
    """Return bandwidth^-(d-2), infinite where it overflows."""
    with np.errstate(over="ignore", under="ignore"):
        return np.full(len(X), np.float64(values["bandwidth"]) ** -(X.shape[1] - 2.0))


def _polynomial_diagonal(X, values):
    """Return (gamma x.x + coef0)^degree."""
    with np.errstate(over="ignore"):
        base = values["gamma"] * _squared_norms(X) + values["coef0"]
        return base ** float(values["degree"])


def _cosine_diagonal(X, values):
    """Return 1, or 0 for a zero vector."""
    return np.any(X != 0, axis=1).astype(np.float64)


_b = ("bandwidth",)
KERNELS = {
    "gaussian": Kernel(_core.GAUSSIAN, "exp(-r^2 / (2 bandwidth^2))", _b, _ones),
    "exponential": Kernel(_core.EXPONENTIAL, "exp(-r / bandwidth)", _b, _ones),
    "matern12": Kernel(_core.EXPONENTIAL, "exp(-r / bandwidth)", _b, _ones),
    "matern32": Kernel(_core.MATERN32, "(1 + a) exp(-a), a = sqrt(3) r / bandwidth", _b, _ones),
    "matern52": Kernel(
        _core.MATERN52, "(1 + a + a^2 / 3) exp(-a), a = sqrt(5) r / bandwidth", _b, _ones
    ),
    "inverse_multiquadric": Kernel(
        _core.INVERSE_MULTIQUADRIC, "1 / sqrt(1 + (r / bandwidth)^2)", _b, _ones
    ),
    "rational_quadratic": Kernel(
        _core.RATIONAL_QUADRATIC,
        "(1 + r^2 / (2 alpha bandwidth^2))^(-alpha)",
        ("bandwidth", "alpha"),
        _ones,
    ),
    "laplace_green": Kernel(
        _core.LAPLACE_GREEN,
        "(r^2 + bandwidth^2)^(-(d - 2) / 2)",
        _b,
        _laplace_green_diagonal,
        min_dim=3,
    ),
    "polynomial": Kernel(
        _core.POLYNOMIAL,
        "(gamma x.y + coef0)^degree",
        ("gamma", "coef0", "degree"),
        _polynomial_diagonal,
        is_radial=False,
    ),
    "linear": Kernel(_core.INNER, "x.y", (), _squared_norms, is_radial=False),
    "cosine": Kernel(
        _core.COSINE,
        "x.y / (|x| |y|), 0 for a zero vector",
        (),
        _cosine_diagonal,
        is_radial=False,
    ),
}
# What the neighbour search evaluates; not positive definite, so no kernel of a KernelMatrix.
SQEUCLIDEAN = _core.SQEUCLIDEAN
INNER = _core.INNER

_RANGES = {
    "bandwidth": (Real, lambda v: v > 0, "a positive finite number"),
    "alpha": (Real, lambda v: v > 0, "a positive finite number"),
    "gamma": (Real, lambda v: v > 0, "a positive finite number or None (1 / n_features)"),
    "coef0": (Real, lambda v: v >= 0, "a finite number >= 0"),
    "degree": (Integral, lambda v: 1 <= v <= 2**31 - 1, "an integer >= 1"),
}


def check_kernel(kernel):
    """Raise ValueError unless `kernel` is a name in `KERNELS` or callable."""
    if callable(kernel) or (isinstance(kernel, str) and kernel in KERNELS):
        return
    names = ", ".join(KERNELS)
    raise ValueError(f"kernel must be one of {names}, or a callable, got {kernel!r}")


def check_parameter(name, value):
    """Raise ValueError unless `value` is in the range of parameter `name`."""
    kind, allowed, text = _RANGES[name]
    is_number = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
    if not (is_number and np.isfinite(float(value)) and allowed(value)):
        raise ValueError(f"{name} must be {text}, got {value!r}")


def core_parameters(kernel, values):
    """Return the parameters of the named kernel as the compiled core takes them."""
    return np.array([values[name] for name in KERNELS[kernel].parameters], dtype=np.float64)
