"""The Lanczos process of one vector, and what a few of its steps tell of a spectrum."""

import numpy as np
import scipy.linalg

# Lanczos steps that find the lower end of a spectrum.
_EDGE_STEPS = 100
# Lanczos steps for a bound of it, and the part of the spectrum's width that is taken off.
_BOUND_STEPS, _BOUND_PART = 20, 0.01


class LanczosProcess:
    """The Krylov space of one vector, with an orthonormal basis in which A is tridiagonal."""

    def __init__(self, b, eps, max_steps):
        self.eps, self._max_steps = eps, max_steps
        # Basis vectors in rows; one more than the steps that were made.
        self._basis = (b / np.linalg.norm(b))[None, :]
        self._diagonal, self._off_diagonal = [], []
        self._largest = 0.0
        # Whether the space contains its image, so that nothing can be added to it.
        self.is_invariant = False

    @property
    def n_steps(self):
        """Steps that were made: the dimension of the space."""
        return len(self._diagonal)

    @property
    def last(self):
        """The basis vector whose product is needed next."""
        return self._basis[self.n_steps]

    def combine(self, coefficients):
        """Return a combination of the first basis vectors, of shape (n,)."""
        return coefficients @ self._basis[: len(coefficients)]

    @property
    def last_length(self):
        """Length of the residual of the last step."""
        return self._off_diagonal[-1]

    def extend(self, product):
        """Take the product of A with the last basis vector."""
        V = self._basis[: self.n_steps + 1]
        diagonal = V[-1] @ product
        rest = product - diagonal * V[-1]
        if self.n_steps > 0:
            rest -= self._off_diagonal[-1] * V[-2]
        # Without rounding that would be all.
        rest -= (V @ rest) @ V
        length = np.linalg.norm(rest)
        self._diagonal.append(diagonal)
        self._off_diagonal.append(length)
        self._largest = max(self._largest, abs(diagonal), length)
        rounding = 10 * self.eps * self._largest
        self.is_invariant = self.n_steps == len(product) or length <= rounding
        if not self.is_invariant and self.n_steps < self._max_steps:
            self._reserve(self.n_steps + 1)
            np.divide(rest, length, out=self._basis[self.n_steps])

    def ritz(self):
        """Return the Ritz values, ascending, and the eigenvectors of the tridiagonal matrix."""
        return scipy.linalg.eigh_tridiagonal(self._diagonal, self._off_diagonal[:-1])

    def _reserve(self, row):
        """Make room for a row of the basis."""
        if row >= len(self._basis):
            rows = min(max(2 * len(self._basis), 8), self._max_steps)
            basis = np.empty((rows, self._basis.shape[1]))
            basis[: len(self._basis)] = self._basis
            self._basis = basis


def multiply(A, B):
    """Return A B in float64."""
    product = np.asarray(A.matmat(B.astype(A.dtype, copy=False)), dtype=np.float64)
    if not np.isfinite(product).all():
        raise ValueError("A times a finite vector is NaN or infinite; its entries must be finite.")
    return product


def smallest_ritz_value(A):
    """Return the smallest Ritz value of a symmetric operator after a few Lanczos steps.

    Above the smallest eigenvalue, and close to it if that is apart from the others.
    """
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    return float(few_steps(A, b, _EDGE_STEPS).ritz()[0][0])


def lower_bound(A):
    """Return a lower bound of the spectrum after a few Lanczos steps.

    The smallest Ritz value less the length of its residual (Zhou and Li, Journal of Computational
    and Applied Mathematics 235, 2011) and a hundredth of what the spectrum spans. Not much of it
    can be below, unless the start vector was orthogonal to its end.
    """
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    column = few_steps(A, b, _BOUND_STEPS)
    values, vectors = column.ritz()
    if column.is_invariant:
        return float(values[0])
    return float(
        values[0] - column.last_length * abs(vectors[-1, 0]) - _BOUND_PART * np.ptp(values)
    )


def few_steps(A, b, n_steps):
    """Return the Krylov space of a few steps."""
    column = LanczosProcess(b, np.finfo(A.dtype).eps, min(n_steps, len(b)))
    for _ in range(min(n_steps, len(b))):
        column.extend(multiply(A, column.last[:, None])[:, 0])
        if column.is_invariant:
            break
    return column
