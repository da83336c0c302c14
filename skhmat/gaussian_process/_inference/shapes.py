"""Functions of the scaled distance: stationary kernels, and what their derivatives are made of.

With z = x / l and r the distance of two z, a length scale l_j changes a kernel by

    d k / d log l_j = h(r) (z_j - z'_j)²,    h(r) = -k'(r) / r

(compare C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, section
5.4.1). But for the kernel exp(-r), h is a kernel of the same families times a factor, so that the
compiled loops of `KernelMatrix` evaluate it, too.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..._ext.simd import pairwise as _core
from ...linalg._kernels.table import KERNELS, SQEUCLIDEAN, core_parameters


@dataclass(frozen=True)
class Shape:
    """A kernel of `KernelMatrix` times a factor.

    Attributes
    ----------
    name : str
    bandwidth : float
    alpha : float
        Exponent of "rational_quadratic".
    factor : float
    """

    name: str
    bandwidth: float = 1.0
    alpha: float = 1.0
    factor: float = 1.0

    def block(self, A, B):
        """Return the entries between points A (m, d) and B (n, d), a new array."""
        parameters = core_parameters(self.name, {"bandwidth": self.bandwidth, "alpha": self.alpha})
        out = _block(A, B, KERNELS[self.name].id, parameters)
        if self.factor != 1.0:
            out *= self.factor
        return out

    def scale_derivative(self):
        """Return h of the kernel, a Shape, or None for exp(-r), whose h has a pole."""
        if self.name == "gaussian":
            return self
        if self.name == "matern32":
            return Shape("exponential", 1 / math.sqrt(3), factor=3.0)
        if self.name == "matern52":
            return Shape("matern32", math.sqrt(3 / 5), factor=5 / 3)
        if self.name == "rational_quadratic":
            alpha = self.alpha
            return Shape(self.name, math.sqrt(alpha / (alpha + 1)), alpha + 1)
        return None

    def scale_derivative_block(self, A, B):
        """Return h of the kernel between points A (m, d) and B (n, d), a new array."""
        derivative = self.scale_derivative()
        if derivative is not None:
            return derivative.block(A, B)
        distances = np.sqrt(square_distances(A, B))
        # Where points coincide, h is multiplied by a difference of 0.
        return np.divide(
            self.block(A, B), distances, out=np.zeros_like(distances), where=distances > 0
        )

    def exponent_derivative_block(self, A, B):
        """Return d k / d log alpha of "rational_quadratic", a new array."""
        s = square_distances(A, B)
        s /= 2 * self.alpha
        out = self.block(A, B)
        out *= self.alpha * (s / (1 + s) - np.log1p(s))
        return out


def square_distances(A, B):
    """Return squared distances between points A (m, d) and B (n, d), a new array."""
    return _block(A, B, SQEUCLIDEAN, np.empty(0))


def _block(A, B, kernel_id, parameters):
    out = np.empty((len(A), len(B)))
    rows, cols = np.arange(len(A), dtype=np.intp), np.arange(len(B), dtype=np.intp)
    _core.kernel_block(A, rows, B, cols, kernel_id, parameters, out, 1)
    return out


def scale_sums(weights, A, B):
    """Return the sums of weights times (a_j - b_j)² over all pairs, (d,), for each feature j.

    Parameters
    ----------
    weights : ndarray of shape (m, n)
    A, B : ndarray of shape (m, d) and (n, d)
    """
    # Differences do not change when points move; squares of coordinates then do not cancel.
    center = A.mean(axis=0)
    A, B = A - center, B - center
    mixed = np.einsum("ij,ij->j", A, weights @ B)
    return weights.sum(axis=1) @ A**2 + weights.sum(axis=0) @ B**2 - 2 * mixed
