"""Functions of the samples at new points, by the Nystroem extension."""

from dataclasses import dataclass

import numpy as np

from .gaussian import TruncatedGaussian, compute_sums
from .new_point_sums import NewPointSums

# Entries of the kernel at far points that are held at once.
_MAX_ENTRIES = 1 << 22


@dataclass(frozen=True)
class ExtensionPolicy:
    """The rows that residuals are measured on, and when an eigenvalue may be divided by."""

    # Rows with the smallest sums that residuals are measured on, and as many random ones.
    measured_rows: int = 256
    # Ratio of an eigenvalue and its residual: with less, it is not divided by.
    min_value_per_residual: float = 10


POLICY = ExtensionPolicy()


@dataclass(frozen=True, eq=False)
class NystroemExtension:
    """Right eigenvectors of a Markov matrix at new points, each point independently.

    Attributes
    ----------
    sums : NewPointSums
    weighted : ndarray of shape (n_samples, k + 2)
        The eigenvectors times the weights of the samples; the weights; ones.
    """

    sums: NewPointSums
    weighted: np.ndarray

    @classmethod
    def from_eigenvectors(cls, sums, functions, weights):
        """Take right eigenvectors, (n_samples, k), and weights, (n_samples,)."""
        weights = weights[:, np.newaxis]
        return cls(sums, np.hstack([weights * functions, weights, np.ones_like(weights)]))

    def __call__(self, points, max_entries=_MAX_ENTRIES):
        """Return means of the eigenvectors, weighted by the kernel: eigenvalues times eigenvectors.

        Where all of the kernel is too small to be accurate, its values relative to the largest are
        the weights.

        Parameters
        ----------
        points : PointCloud of n_new points
        max_entries : int
            Entries at such points that are held at once.

        Returns
        -------
        means : ndarray of shape (n_new, k)
        """
        sums = self.sums(points, self.weighted)
        far = np.flatnonzero(~(sums[:, -1] >= self.sums.least_sum))
        batch = max(1, max_entries // len(self.weighted))
        for first in range(0, len(far), batch):
            part = far[first : first + batch]
            sums[part] = self.sums.relative(points[part], self.weighted)
        return sums[:, :-2] / sums[:, -2:-1]


@dataclass(frozen=True, eq=False)
class HarmonicExtension:
    """A function projected on eigenvectors of the kernel matrix, at new points.

    Attributes
    ----------
    sums : NewPointSums
    coefficients : ndarray of shape (n_samples, n_targets)
        V diag(1 / lambda) V^T Y for the values Y of the function.
    """

    sums: NewPointSums
    coefficients: np.ndarray

    def __call__(self, points):
        """Return the values of the function, of shape (n_new, n_targets)."""
        return self.sums(points, self.coefficients)


def project(pairs, Y):
    """Project functions on eigenvectors V with the eigenvalues lambda.

    Parameters
    ----------
    pairs : LeadingEigenpairs
    Y : ndarray of shape (n_samples, n_targets)

    Returns
    -------
    coefficients : ndarray of shape (n_samples, n_targets)
        V diag(1 / lambda) V^T Y.
    residual : ndarray of shape (n_targets,)
        ||Y - V V^T Y|| of each function relative to ||Y||, or 0 where that is 0.
    """
    products = pairs.vectors.T @ Y
    left_out = np.linalg.norm(Y - pairs.vectors @ products, axis=0)
    sizes = np.linalg.norm(Y, axis=0)
    residual = np.divide(left_out, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return pairs.vectors @ (products / pairs.values[:, np.newaxis]), residual


def embed(functions, values, t):
    """Return the coordinates at a time t of the diffusion: eigenvectors times ``values**t``.

    Eigenvalues that are not positive count as 0.

    Parameters
    ----------
    functions : ndarray of shape (n, k + 1)
        Eigenvectors, the constant one first.
    values : ndarray of shape (k + 1,)
    t : float

    Returns
    -------
    coordinates : ndarray of shape (n, k)
    """
    return functions[:, 1:] * (np.maximum(values, 0) ** t)[1:]


def mean_powers(values, residuals, t, policy=POLICY):
    """Return ``values**(t - 1)``, which means of eigenvectors are multiplied with.

    A mean is an eigenvalue times an eigenvector.

    Parameters
    ----------
    values, residuals : ndarray of shape (k,)
    t : float

    Returns
    -------
    powers : ndarray of shape (k,)
        0 for eigenvalues that are not usable.
    is_usable : ndarray of shape (k,)
        Whether an eigenvalue is positive and, if it is divided by, much larger than its residual.
    """
    is_usable = values > 0
    if t < 1:
        rounding = np.finfo(np.float64).eps
        is_usable = values > policy.min_value_per_residual * np.maximum(residuals, rounding)
    powers = np.where(is_usable, np.where(is_usable, values, 1.0) ** (t - 1), 0.0)
    return powers, is_usable


def residuals_at_points(
    cloud, epsilon, normalization, functions, values, rng, n_threads, policy=POLICY
):
    """Estimate the residuals of the exact operator from some of its rows.

    Parameters
    ----------
    cloud : PointCloud
    epsilon : float
    normalization : Normalization
    functions : ndarray of shape (n, k)
        Right eigenvectors of the Markov matrix, in any scaling.
    values : ndarray of shape (k,)
        Their eigenvalues.
    rng : numpy.random.RandomState
    n_threads : int
    policy : ExtensionPolicy

    Returns
    -------
    residuals : ndarray of shape (k,)
    """
    n = len(cloud)
    # The rows with the smallest sums stand for themselves, as an eigenvector may live on a few of
    # them; those that are drawn stand for all others.
    order = np.argsort(normalization.sums, kind="stable")
    lowest, others = np.split(order, [min(policy.measured_rows, n)])
    drawn = rng.permutation(others)[: policy.measured_rows]
    rows = np.concatenate([lowest, drawn])
    counts = np.repeat([1.0, len(others) / max(len(drawn), 1)], [len(lowest), len(drawn)])
    weights = normalization.weights[:, np.newaxis]
    W = np.hstack([weights * functions, weights])
    sums = compute_sums(cloud[rows], cloud, TruncatedGaussian(epsilon), W, n_threads)
    missed = sums[:, :-1] / sums[:, -1:] - values * functions[rows]
    missed *= np.sqrt(normalization.degrees[rows] * counts)[:, np.newaxis]
    size = np.linalg.norm(functions * np.sqrt(normalization.degrees)[:, np.newaxis], axis=0)
    return np.linalg.norm(missed, axis=0) / size
