"""The Lanczos process of one vector, and the ends of a spectrum from a few of its steps."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..._utils.validation import parameter_error


@dataclass(frozen=True)
class SpectrumPolicy:
    """How much work the ends of a spectrum are worth.

    Attributes
    ----------
    n_steps_smallest : int
        Lanczos steps after which the smallest Ritz value is taken for the smallest eigenvalue.
    n_steps_bound : int
        Lanczos steps for a lower bound of a spectrum.
    bound_margin : float
        Fraction of the range of Ritz values by which that bound is lowered.
    """

    n_steps_smallest: int = 100
    n_steps_bound: int = 20
    bound_margin: float = 0.01


POLICY = SpectrumPolicy()


class LanczosProcess:
    """The Krylov space of one vector, with an orthonormal basis in which A is tridiagonal.

    With basis vectors v_j, diagonal entries a_j and off-diagonal entries b_j, each step takes
    A v_j = b_j-1 v_j-1 + a_j v_j + b_j v_j+1. The caller multiplies: A is to be applied to
    `last_vector`, and `extend` takes the product.

    Parameters
    ----------
    b : ndarray of shape (n,)
    eps : float
        Relative rounding error of the products.
    max_steps : int
        Maximum number of steps.
    locked : ndarray of shape (n, m), default=None
        Orthonormal eigenvectors: the process stays in their complement.
    size : float, default=0
        Largest eigenvalue in magnitude, as far as known: products are rounded relative to it.

    Attributes
    ----------
    is_invariant : bool
        Whether A maps the space to itself, so that nothing can be added to it.
    size : float
        Largest eigenvalue in magnitude as far as known by now.
    """

    def __init__(self, b, eps, max_steps, locked=None, size=0.0):
        self.eps, self._max_steps, self._locked = eps, max_steps, locked
        # Twice is enough, even for a vector that is almost in the space of those locked.
        b = self._project(self._project(b))
        # Basis vectors in rows; one more than the steps that were taken, and room for others.
        self._basis = (b / np.linalg.norm(b))[None, :]
        self._diagonal, self._off_diagonal = [], []
        self.size = size
        self.is_invariant = False

    @property
    def n_steps(self):
        """Number of steps that were taken: the dimension of the space."""
        return len(self._diagonal)

    @property
    def length(self):
        """Number of entries of a vector."""
        return self._basis.shape[1]

    @property
    def last_vector(self):
        """The basis vector whose product with A is needed next, of shape (n,)."""
        return self._basis[self.n_steps]

    def combine(self, coefficients):
        """Return combinations (..., n) of the first m basis vectors with (..., m) coefficients."""
        return coefficients @ self._basis[: coefficients.shape[-1]]

    @property
    def residual_norm(self):
        """Norm of the component of the last product outside the space."""
        return self._off_diagonal[-1]

    def extend(self, product):
        """Take a step with the product of A and `last_vector`, of shape (n,)."""
        V = self._basis[: self.n_steps + 1]
        diagonal = V[-1] @ product
        rest = product - diagonal * V[-1]
        if self.n_steps > 0:
            rest -= self._off_diagonal[-1] * V[-2]
        # Without rounding, the vector would be orthogonal to all others by now.
        rest = self._project(rest - (V @ rest) @ V)
        if self._locked is not None:
            # Little may be left of a product in their complement.
            rest = self._project(rest - (V @ rest) @ V)
        length = np.linalg.norm(rest)
        self._diagonal.append(diagonal)
        self._off_diagonal.append(length)
        self.size = max(self.size, abs(diagonal), length)
        rounding = 10 * self.eps * self.size
        n_left = len(product) - (0 if self._locked is None else self._locked.shape[1])
        self.is_invariant = self.n_steps == n_left or length <= rounding
        if not self.is_invariant and self.n_steps < self._max_steps:
            self._reserve(self.n_steps + 1)
            np.divide(rest, length, out=self._basis[self.n_steps])

    def _project(self, x):
        """Return the part of x (n,) in the complement of the locked vectors."""
        return x if self._locked is None else x - self._locked @ (self._locked.T @ x)

    def ritz_pairs(self):
        """Return the m Ritz values, ascending, and the eigenvectors (m, m) of the tridiagonal."""
        tridiagonal = self._diagonal, self._off_diagonal[:-1]
        try:
            return scipy.linalg.eigh_tridiagonal(*tridiagonal)
        except np.linalg.LinAlgError:
            # The fastest algorithm of LAPACK fails for some matrices that nearly fall into blocks.
            return scipy.linalg.eigh_tridiagonal(*tridiagonal, lapack_driver="stev")

    def _reserve(self, row):
        """Make room for a row of the basis."""
        if row >= len(self._basis):
            rows = min(max(2 * len(self._basis), 8), self._max_steps)
            basis = np.empty((rows, self._basis.shape[1]))
            basis[: len(self._basis)] = self._basis
            self._basis = basis


def multiply(A, B):
    """Return A B in float64 for a LinearOperator and B of shape (n, k)."""
    product = np.asarray(A.matmat(B.astype(A.dtype, copy=False)), dtype=np.float64)
    if not np.isfinite(product).all():
        raise parameter_error("A", "finite", got="a product that is NaN or infinite")
    return product


def smallest_ritz_value(A, *, policy=POLICY):
    """Return the smallest Ritz value of a symmetric operator after some Lanczos steps.

    It is above the smallest eigenvalue, and close to it if that is separated from the others.
    """
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    return float(run_lanczos(A, b, policy.n_steps_smallest).ritz_pairs()[0][0])


def lower_spectrum_bound(A, *, policy=POLICY):
    """Return a lower bound of the spectrum of a symmetric operator after a few Lanczos steps.

    It is the smallest Ritz value minus the norm of its residual (Zhou and Li, Journal of
    Computational and Applied Mathematics 235, 2011) and minus a hundredth of the range of Ritz
    values. An eigenvalue below it is unlikely, unless the start vector is orthogonal to its
    eigenvector.
    """
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    process = run_lanczos(A, b, policy.n_steps_bound)
    values, vectors = process.ritz_pairs()
    if process.is_invariant:
        return float(values[0])
    margin = policy.bound_margin * np.ptp(values)
    return float(values[0] - process.residual_norm * abs(vectors[-1, 0]) - margin)


def run_lanczos(A, b, n_steps):
    """Return the `LanczosProcess` of a LinearOperator and b, (n,), after at most `n_steps`."""
    n_steps = min(n_steps, len(b))
    process = LanczosProcess(b, np.finfo(A.dtype).eps, n_steps)
    for _ in range(n_steps):
        process.extend(multiply(A, process.last_vector[:, None])[:, 0])
        if process.is_invariant:
            break
    return process
