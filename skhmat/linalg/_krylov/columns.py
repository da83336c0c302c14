"""What iterations with several right-hand sides share."""

import numpy as np


class IndefiniteError(np.linalg.LinAlgError):
    """A matrix that must be positive definite has a direction of negative curvature."""

    def __init__(self, curvature):
        super().__init__(
            f"the matrix is not positive definite: it has the curvature {curvature:.3g}. Raise "
            "shift, compress with a smaller rtol, solve with the exact matrix (operator=K), or "
            "with solver='minres'."
        )
        self.curvature = curvature

    def __reduce__(self):
        return type(self), (self.curvature,)


def relative_norms(R, B):
    """Return the norms of the columns of R relative to those of B, where these are not zero."""
    sizes = np.linalg.norm(B, axis=0)
    return np.linalg.norm(R, axis=0) / np.where(sizes > 0, sizes, 1.0)


def column_scales(B):
    """Return powers of two that the columns can be divided by to have entries of about 1."""
    largest = np.abs(B).max(axis=0, initial=0.0)
    exponents = np.where(largest > 0, np.frexp(largest)[1], 0)
    return np.ldexp(1.0, np.clip(exponents, -1021, 1022))


def _columns(A, which):
    """Return what multiplies some of the columns."""
    return A.columns(which) if hasattr(A, "columns") else A


def _preconditioned(M, R):
    return R if M is None else M @ R


def _inner(X, Y):
    return np.einsum("ij,ij->j", X, Y)


def _check_positive(squares, X):
    """Raise where the quadratic form of a column that is not zero is not positive."""
    bad = ~(squares > 0)
    if bad.any():
        lengths = _inner(X[:, bad], X[:, bad])
        raise IndefiniteError(float(np.min(squares[bad] / lengths)))
