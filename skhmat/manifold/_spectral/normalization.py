"""Normalizations of a kernel."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Normalization:
    """What rows and columns of a kernel are multiplied with.

    Attributes
    ----------
    weights : ndarray of shape (n,)
        Row sums of the kernel to the power of -alpha.
    degrees : ndarray of shape (n,)
        Row sums of the kernel once rows and columns are multiplied by the weights.
    sums : ndarray of shape (n,)
        Row sums of the kernel.
    mean_sum : float
        Mean of them, without the diagonal.
    """

    weights: np.ndarray
    degrees: np.ndarray
    sums: np.ndarray
    mean_sum: float

    @property
    def is_alone(self):
        """Whether all entries of a row are 0, of shape (n,)."""
        return self.sums <= 0

    @property
    def factors(self):
        """What makes the Markov matrix symmetric, of shape (n,)."""
        return self.weights / np.sqrt(self.degrees)


def normalization(affinity, alpha):
    """Return the weights of diffusion maps.

    Sums are at least what is on the diagonal, whatever the error of an approximation is.

    Parameters
    ----------
    affinity : object with ``sums(W)`` and `diagonal`
    alpha : float or None
        0 keeps the density of the points, 1 takes it out; None leaves the kernel as it is.
    """
    diagonal = affinity.diagonal
    ones = np.ones(len(diagonal))
    sums = np.maximum(affinity.sums(ones[:, np.newaxis])[:, 0], diagonal)
    mean_sum = float(np.mean(sums - diagonal))
    if alpha is None:
        return Normalization(ones, ones, sums, mean_sum)
    is_alone = sums <= 0
    weights = np.where(is_alone, 1.0, sums) ** -alpha
    degrees = weights * affinity.sums(weights[:, np.newaxis])[:, 0]
    degrees = np.where(is_alone, 1.0, np.maximum(degrees, weights**2 * diagonal))
    return Normalization(weights, degrees, sums, mean_sum)
