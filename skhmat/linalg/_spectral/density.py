"""The distribution of the eigenvalues of a symmetric operator, from its products."""

from dataclasses import dataclass

import numpy as np

from ..._utils.validation import (
    as_array,
    check_integer,
    check_random_state,
    check_real,
    parameter_error,
)
from .._krylov.lanczos import LanczosProcess
from .._operators.given import as_operator, budgeted_function
from .._operators.magnitude import divide, unit_exponent


@dataclass(frozen=True)
class SpectralDensity:
    """The distribution of the eigenvalues of a symmetric matrix.

    Attributes
    ----------
    nodes, weights : ndarray of shape (n_nodes,)
        A quadrature: the fraction of eigenvalues below t is about the sum of the weights of the
        nodes below t. The weights sum to 1, the nodes ascend.
    n_products : int
        Vectors that the operator was multiplied with.
    """

    __module__ = "skhmat.linalg"

    nodes: np.ndarray
    weights: np.ndarray
    n_products: int

    def __call__(self, values, width=None):
        """Return the density, smoothed by a Gaussian.

        Parameters
        ----------
        values : array-like of shape (n_values,)
        width : float, default=None
            Standard deviation of the Gaussian; None means 1 % of the range of the nodes.

        Returns
        -------
        density : ndarray of shape (n_values,)
            Its integral is 1.
        """
        values = as_array("values", values)
        if values.ndim != 1 or values.dtype.kind not in "fiub":
            got = f"shape {values.shape} and dtype {values.dtype}"
            raise parameter_error("values", "real numbers of shape (n_values,)", got=got)
        if not np.isfinite(values).all():
            raise parameter_error("values", "finite", got="NaN or infinity")
        values = values.astype(np.float64)
        if width is None:
            width = 0.01 * np.ptp(self.nodes) or 0.01 * max(abs(self.nodes[0]), 1e-300)
        width = check_real("width", width, 0, closed="neither")
        distances = (values[:, None] - self.nodes) / width
        return np.exp(-(distances**2) / 2) @ self.weights / (width * np.sqrt(2 * np.pi))


@budgeted_function
def spectral_density(A, *, n_vectors=10, n_steps=80, random_state=None):
    """Estimate the distribution of the eigenvalues of a symmetric operator.

    Stochastic Lanczos quadrature [1]_: the Ritz values of a random vector, and the squares of the
    first components of their eigenvectors, are a Gauss quadrature of the spectral measure. The
    largest and smallest eigenvalues are as accurate as those of the Lanczos method; between them
    the result is a random estimate, whose error falls like ``1 / sqrt(n_vectors)``.

    Parameters
    ----------
    A : LinearOperator, array or sparse matrix of shape (n, n)
        Real and symmetric.
    n_vectors : int, default=10
        Random vectors.
    n_steps : int, default=80
        Lanczos steps with each of them.
    random_state : int, RandomState, Generator or None, default=None
        Draws the vectors.

    Returns
    -------
    SpectralDensity

    References
    ----------
    .. [1] S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos
       quadrature", SIAM J. Matrix Anal. Appl. 38 (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import spectral_density
    >>> density = spectral_density(np.diag([1.0, 1.0, 1.0, 5.0]), random_state=0)
    >>> bool(abs(density.weights @ density.nodes - 2) < 1)
    True
    """
    A = as_operator("A", A)
    n_vectors = check_integer("n_vectors", n_vectors, 1)
    n_steps = check_integer("n_steps", n_steps, 1)
    rng = check_random_state(random_state)
    exponent = unit_exponent(A, A)
    if exponent != 0:
        A = divide(A, exponent)
    n = A.shape[0]
    eps = np.finfo(A.dtype if A.dtype in (np.float32, np.float64) else np.float64).eps
    nodes, weights, n_products = [], [], 0
    for _ in range(n_vectors):
        process = LanczosProcess(rng.choice([-1.0, 1.0], n), eps, min(n_steps, n))
        while process.n_steps < min(n_steps, n) and not process.is_invariant:
            process.extend(np.asarray(A.matvec(process.last_vector), dtype=np.float64))
        values, vectors = process.ritz_pairs()
        nodes.append(values)
        weights.append(vectors[0] ** 2 / n_vectors)
        n_products += process.n_steps
    nodes, weights = np.concatenate(nodes), np.concatenate(weights)
    order = np.argsort(nodes)
    return SpectralDensity(np.ldexp(nodes[order], exponent), weights[order], n_products)


spectral_density.__module__ = "skhmat.linalg"
