"""The kernels in Python.

The table of the core, ``_ext/simd/kernel_table.h``, has their names, parameters and formulas.
"""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from ..._ext.simd import pairwise as _core
from ..._utils.validation import Constraint, check_per_feature, is_sequence, parameter_error


@dataclass(frozen=True)
class Kernel:
    """One kernel k(x, y): a row of the core's table.

    Parameters
    ----------
    id : int
        Its number in the compiled core.
    name : str
    argument : {"square", "scaled square", "inner product", "cosine"}
        The argument of its function; "scaled" means in units of the bandwidth.
    parameters : tuple of str
        The parameters it reads, in the order the compiled core expects.
    min_dim : int
        Smallest dimension of the points.
    formula : str
        With ``r`` the Euclidean distance of x and y, and ``d`` the dimension.
    """

    id: int
    name: str
    argument: str
    parameters: tuple
    min_dim: int
    formula: str

    @property
    def is_radial(self):
        """Whether it is a function of the distance."""
        return self.argument in ("square", "scaled square")

    def diagonal(self, X, values):
        """Return k(x, x) for the rows of X, in float64; what overflows is infinite, silently."""
        if self.name == "polynomial":
            return _polynomial_diagonal(X, values)
        # The kernel's own function, of what it is given for a point and itself.
        if self.argument == "inner product":
            out = _squared_norms(X)
        elif self.argument == "cosine":
            out = np.any(X != 0, axis=1).astype(np.float64)
        else:
            out = np.zeros(len(X))
        _core.kernel_values(self.id, core_parameters(self.name, values), X.shape[1], out)
        return out


def _squared_norms(X):
    """Return x.x for the rows of X; products that overflow become infinite, silently."""
    with np.errstate(over="ignore"):
        return np.einsum("ij,ij->i", X, X, dtype=np.float64)


def _polynomial_diagonal(X, values):
    """Return (gamma x.x + coef0)^degree, rounded once as the core's repeated products are not."""
    with np.errstate(over="ignore"):
        base = values["gamma"] * _squared_norms(X) + values["coef0"]
        return base ** float(values["degree"])


# Evaluated by the neighbour search; not positive definite, so no kernel of a KernelMatrix.
SQEUCLIDEAN = _core.SQEUCLIDEAN
KERNELS = {row["name"]: Kernel(**row) for row in _core.kernel_table() if row["id"] != SQEUCLIDEAN}

# Allowed values of the parameters of kernels; `check_bandwidth` has those of the bandwidth.
CONSTRAINTS = {
    "alpha": Constraint(Real, 0, closed="neither"),
    "gamma": Constraint(Real, 0, closed="neither", none=True),
    "coef0": Constraint(Real, 0),
    "degree": Constraint(Integral, 1, 2**31 - 1),
}
_BANDWIDTH = Constraint(Real, 0, closed="neither")


def check_kernel(kernel):
    """Raise ValueError unless `kernel` is a callable and no class, or a name in `KERNELS`."""
    is_function = callable(kernel) and not isinstance(kernel, type)
    if not (is_function or (isinstance(kernel, str) and kernel in KERNELS)):
        names = Constraint(options=tuple(KERNELS))
        raise parameter_error("kernel", f"a callable or {names}", kernel)


def check_bandwidth(kernel, bandwidth, n_features):
    """Return a bandwidth as given if it is a number, and one for each feature as an array.

    Parameters
    ----------
    kernel : str or callable
    bandwidth : float or array-like of shape (n_features,)
    n_features : int

    Returns
    -------
    bandwidth : float or ndarray of shape (n_features,), float64, read-only
    """
    if not is_sequence(bandwidth):
        _BANDWIDTH.check("bandwidth", bandwidth)
        return bandwidth
    if callable(kernel) or not KERNELS[kernel].is_radial:
        name = "a callable" if callable(kernel) else repr(kernel)
        radial = ", ".join(repr(name) for name, row in KERNELS.items() if row.is_radial)
        allowed = f"a number where kernel is {name}, and not one of {radial}"
        raise parameter_error("bandwidth", allowed, got="an array")
    return check_per_feature("bandwidth", bandwidth, n_features)


def core_parameters(kernel, values):
    """Return the parameters of the named kernel as the compiled core takes them."""
    return np.array([values[name] for name in KERNELS[kernel].parameters], dtype=np.float64)
