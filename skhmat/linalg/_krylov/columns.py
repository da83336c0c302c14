"""Helpers of iterations with several right-hand sides, which are arrays of shape (n, k)."""

import numpy as np

from ..._utils.errors import NotPositiveDefiniteError


def relative_norms(R, B):
    """Return the norms of the columns of R, (k,), relative to those of B unless these are 0."""
    scales = column_scales(B)  # squares must neither underflow nor overflow
    sizes = np.linalg.norm(B / scales, axis=0)
    return np.linalg.norm(R / scales, axis=0) / np.where(sizes > 0, sizes, 1.0)


def column_scales(B):
    """Return powers of two, (k,): divided by these, the columns have entries of about 1."""
    largest = np.abs(B).max(axis=0, initial=0.0)
    exponents = np.where(largest > 0, np.frexp(largest)[1], 0)
    return np.ldexp(1.0, np.clip(exponents, -1021, 1022))


def select_columns(A, which):
    """Return an operator for some of the columns: another one only if it depends on the column."""
    return A.columns(which) if hasattr(A, "columns") else A


def apply_preconditioner(M, R):
    """Return M R, or R itself without a preconditioner."""
    return R if M is None else M @ R


def inner_products(X, Y):
    """Return the inner product of each column of X with that of Y, (k,)."""
    return np.einsum("ij,ij->j", X, Y)


def check_positive_curvature(squares, X):
    """Raise if the quadratic form of a column of X is not positive; `squares` are these, (k,)."""
    bad = ~(squares > 0)
    if bad.any():
        lengths = inner_products(X[:, bad], X[:, bad])
        # A Rayleigh quotient: the smallest eigenvalue is not above it.
        curvature = float(np.min(squares[bad] / lengths))
        raise NotPositiveDefiniteError(
            curvature,
            f"The matrix is not positive definite: it has the curvature {curvature:.3g}. Raise "
            "shift, compress with a smaller rtol, solve with the exact matrix (operator=K), or "
            "with solver='minres'.",
        )
