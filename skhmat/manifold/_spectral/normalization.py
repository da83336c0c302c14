"""Normalizations of a kernel matrix: by the density of the samples, and to a Markov matrix."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Normalization:
    """The factors of the rows and columns of a kernel matrix K.

    With q = K 1 and the weights q^-alpha on the diagonal of Q, the weighted kernel is Q K Q, whose
    row sums d are the degrees; its Markov matrix is D^-1 Q K Q, with d on the diagonal of D.

    Attributes
    ----------
    weights : ndarray of shape (n,)
        q^-alpha.
    degrees : ndarray of shape (n,)
        d.
    sums : ndarray of shape (n,)
        q.
    mean_sum : float
        Mean of q without the diagonal of K.
    """

    weights: np.ndarray
    degrees: np.ndarray
    sums: np.ndarray
    mean_sum: float

    @property
    def is_isolated(self):
        """Whether all entries of a row are 0, of shape (n,)."""
        return self.sums <= 0

    @property
    def factors(self):
        """What makes the Markov matrix symmetric, D^-1/2 Q, of shape (n,)."""
        return self.weights / np.sqrt(self.degrees)


def compute_normalization(compute_sums, diagonal, alpha):
    """Return the normalization of diffusion maps.

    No sum is below its diagonal entry, however large the error of an approximation is.

    Parameters
    ----------
    compute_sums : callable
        ``compute_sums(W)`` returns K W for W of shape (n, 1), each row accurate relative to itself.
    diagonal : ndarray of shape (n,)
        Of K.
    alpha : float or None
        From 0, which keeps the density of the points, to 1, which divides it out. None leaves the
        kernel as it is.

    Returns
    -------
    normalization : Normalization
    """
    ones = np.ones(len(diagonal))
    sums = np.maximum(compute_sums(ones[:, np.newaxis])[:, 0], diagonal)
    mean_sum = float(np.mean(sums - diagonal))
    if alpha is None:
        return Normalization(ones, ones, sums, mean_sum)
    is_isolated = sums <= 0
    weights = np.where(is_isolated, 1.0, sums) ** -alpha
    degrees = weights * compute_sums(weights[:, np.newaxis])[:, 0]
    degrees = np.where(is_isolated, 1.0, np.maximum(degrees, weights * (weights * diagonal)))
    return Normalization(weights, degrees, sums, mean_sum)
