"""Kernels of `sklearn.gaussian_process`, block by block, with sums over their derivatives.

The likelihood of a Gaussian process and its gradient ask two things of a covariance matrix K, whose
hyperparameters are theta: blocks of its entries, and sums of W[i, j] dK[i, j] / dtheta over a block
for weights W. From these sums back to the parts of a sum or a product, the chain rule goes as in
reverse-mode differentiation; no array of all derivatives is ever held.

The usual kernels are recognised by their structure and evaluated by compiled loops. All others are
called as they are.
"""

import math

import numpy as np
from sklearn.gaussian_process import kernels as sk

from .shapes import Shape, scale_sums

_MATERN = {0.5: "matern12", 1.5: "matern32", 2.5: "matern52", math.inf: "gaussian"}
# Columns of a block for which a kernel that is called as it is returns derivatives of all pairs.
_CALLED_COLUMNS = 256


def covariance_of(kernel):
    """Return the `Covariance` of a kernel object of scikit-learn.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
    """
    kind = type(kernel)
    if kind in (sk.Sum, sk.Product):
        parts = covariance_of(kernel.k1), covariance_of(kernel.k2)
        return SumCovariance(*parts) if kind is sk.Sum else ProductCovariance(*parts)
    if kind is sk.Exponentiation:
        return PowerCovariance(covariance_of(kernel.kernel), kernel.exponent)
    if kind is sk.ConstantKernel:
        return ConstantCovariance(kernel)
    if kind is sk.WhiteKernel:
        return WhiteCovariance(kernel)
    if kind is sk.DotProduct:
        return LinearCovariance(kernel)
    name = _stationary_name(kernel)
    return CalledCovariance(kernel) if name is None else StationaryCovariance(kernel, name)


def _stationary_name(kernel):
    if type(kernel) is sk.RBF:
        return "gaussian"
    if type(kernel) is sk.RationalQuadratic:
        return "rational_quadratic"
    return _MATERN.get(kernel.nu) if type(kernel) is sk.Matern else None


class Covariance:
    """A covariance function with its hyperparameters.

    Methods take points A of shape (m, d) and B of shape (n, d), float64 and C-contiguous. Where the
    points of A are also those of B, `own` is the index in B of the first one, so that noise, which
    a point shares only with itself, finds its place; elsewhere it is None.

    Attributes
    ----------
    n_dims : int
        Number of hyperparameters that are not fixed, in the order of ``kernel.theta``.
    is_called : bool
        Whether Python functions are called that threads may not call at once.
    """

    n_dims = 0
    is_called = False

    def block(self, A, B, own=None):
        """Return the covariances, (m, n), a new array."""
        raise NotImplementedError

    def diagonal(self, A):
        """Return the variances, (m,), a new array."""
        raise NotImplementedError

    def derivative_sums(self, A, B, W, own=None):
        """Return the sums of W times the derivatives by theta over all pairs, (n_dims,)."""
        raise NotImplementedError

    def diagonal_sums(self, A, w):
        """Return the sums of w times the derivatives of the variances by theta, (n_dims,)."""
        raise NotImplementedError


class _Pair(Covariance):
    """Two covariances in an operation; theta has those of the first, then of the second."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.n_dims = first.n_dims + second.n_dims
        self.is_called = first.is_called or second.is_called


class SumCovariance(_Pair):
    """k1 + k2."""

    def block(self, A, B, own=None):
        out = self.first.block(A, B, own)
        out += self.second.block(A, B, own)
        return out

    def diagonal(self, A):
        return self.first.diagonal(A) + self.second.diagonal(A)

    def derivative_sums(self, A, B, W, own=None):
        parts = (part.derivative_sums(A, B, W, own) for part in (self.first, self.second))
        return np.concatenate(list(parts))

    def diagonal_sums(self, A, w):
        return np.concatenate([self.first.diagonal_sums(A, w), self.second.diagonal_sums(A, w)])


class ProductCovariance(_Pair):
    """k1 k2."""

    def block(self, A, B, own=None):
        out = self.first.block(A, B, own)
        out *= self.second.block(A, B, own)
        return out

    def diagonal(self, A):
        return self.first.diagonal(A) * self.second.diagonal(A)

    def derivative_sums(self, A, B, W, own=None):
        def sums(part, other):
            if part.n_dims == 0:
                return np.zeros(0)
            return part.derivative_sums(A, B, W * other.block(A, B, own), own)

        return np.concatenate([sums(self.first, self.second), sums(self.second, self.first)])

    def diagonal_sums(self, A, w):
        first = self.first.diagonal_sums(A, w * self.second.diagonal(A))
        return np.concatenate([first, self.second.diagonal_sums(A, w * self.first.diagonal(A))])


class PowerCovariance(Covariance):
    """k^p."""

    def __init__(self, base, exponent):
        self.base, self.exponent = base, exponent
        self.n_dims, self.is_called = base.n_dims, base.is_called

    def block(self, A, B, own=None):
        return self.base.block(A, B, own) ** self.exponent

    def diagonal(self, A):
        return self.base.diagonal(A) ** self.exponent

    def derivative_sums(self, A, B, W, own=None):
        factor = self.base.block(A, B, own) ** (self.exponent - 1)
        return self.base.derivative_sums(A, B, self.exponent * W * factor, own)

    def diagonal_sums(self, A, w):
        factor = self.base.diagonal(A) ** (self.exponent - 1)
        return self.base.diagonal_sums(A, self.exponent * w * factor)


class ConstantCovariance(Covariance):
    """The same covariance for all pairs."""

    def __init__(self, kernel):
        self.value = float(kernel.constant_value)
        self.n_dims = kernel.n_dims

    def block(self, A, B, own=None):
        return np.full((len(A), len(B)), self.value)

    def diagonal(self, A):
        return np.full(len(A), self.value)

    def derivative_sums(self, A, B, W, own=None):
        return np.full(self.n_dims, self.value * W.sum())

    def diagonal_sums(self, A, w):
        return np.full(self.n_dims, self.value * w.sum())


class WhiteCovariance(Covariance):
    """Noise: a variance that a sample shares with itself alone."""

    def __init__(self, kernel):
        self.level = float(kernel.noise_level)
        self.n_dims = kernel.n_dims

    def block(self, A, B, own=None):
        out = np.zeros((len(A), len(B)))
        if own is not None:
            out[np.arange(len(A)), np.arange(own, own + len(A))] = self.level
        return out

    def diagonal(self, A):
        return np.full(len(A), self.level)

    def derivative_sums(self, A, B, W, own=None):
        own_sum = 0.0 if own is None else np.trace(W, own)
        return np.full(self.n_dims, self.level * own_sum)

    def diagonal_sums(self, A, w):
        return np.full(self.n_dims, self.level * w.sum())


class LinearCovariance(Covariance):
    """sigma_0² + x.x'."""

    def __init__(self, kernel):
        self.square = float(kernel.sigma_0) ** 2
        self.n_dims = kernel.n_dims

    def block(self, A, B, own=None):
        out = A @ B.T
        out += self.square
        return out

    def diagonal(self, A):
        return np.einsum("ij,ij->i", A, A) + self.square

    def derivative_sums(self, A, B, W, own=None):
        return np.full(self.n_dims, 2 * self.square * W.sum())

    def diagonal_sums(self, A, w):
        return np.full(self.n_dims, 2 * self.square * w.sum())


class StationaryCovariance(Covariance):
    """A function of the scaled distance, with one length scale or one for each feature.

    Attributes
    ----------
    length_scale : ndarray of shape () or (d,)
    shape : Shape
        With a bandwidth of 1.
    """

    def __init__(self, kernel, name):
        self.length_scale = np.squeeze(np.asarray(kernel.length_scale, dtype=float))
        self.shape = Shape(name, alpha=float(getattr(kernel, "alpha", 1.0)))
        self.has_free_scales = not kernel.hyperparameter_length_scale.fixed
        hyperparameter = getattr(kernel, "hyperparameter_alpha", None)
        self.has_free_exponent = hyperparameter is not None and not hyperparameter.fixed
        self.n_dims = kernel.n_dims

    def block(self, A, B, own=None):
        return self.shape.block(*self._scaled(A, B))

    def diagonal(self, A):
        return np.ones(len(A))

    def derivative_sums(self, A, B, W, own=None):
        A, B = self._scaled(A, B)
        found = []
        if self.has_free_exponent:
            found.append([np.vdot(W, self.shape.exponent_derivative_block(A, B))])
        if self.has_free_scales:
            weights = self.shape.scale_derivative_block(A, B)
            weights *= W
            sums = scale_sums(weights, A, B)
            found.append([sums.sum()] if self.length_scale.ndim == 0 else sums)
        return np.concatenate(found) if found else np.zeros(0)

    def diagonal_sums(self, A, w):
        return np.zeros(self.n_dims)

    def _scaled(self, A, B):
        if self.length_scale.ndim and len(self.length_scale) != A.shape[1]:
            raise ValueError(
                "kernel must have one length_scale or one for each feature of X, "
                f"got {len(self.length_scale)} for {A.shape[1]} features."
            )
        scaled = A / self.length_scale
        return scaled, scaled if B is A else B / self.length_scale


class CalledCovariance(Covariance):
    """A kernel object that is called as it is."""

    is_called = True

    def __init__(self, kernel):
        self.kernel, self.n_dims = kernel, kernel.n_dims

    def block(self, A, B, own=None):
        if own is not None and len(A) == len(B):
            return self.kernel(A)
        out = np.array(self.kernel(A, B), dtype=float)
        if own is not None:
            # Without a second argument it knows that these are the same samples.
            out[:, own : own + len(A)] = self.kernel(A)
        return out

    def diagonal(self, A):
        return np.array(self.kernel.diag(A), dtype=float)

    def derivative_sums(self, A, B, W, own=None):
        if self.n_dims == 0:
            return np.zeros(0)
        total, m = np.zeros(self.n_dims), len(A)
        for start in range(0, len(B), _CALLED_COLUMNS):
            cols = slice(start, min(start + _CALLED_COLUMNS, len(B)))
            # Derivatives are returned between the points of one array alone.
            both = self.kernel(np.concatenate([A, B[cols]]), eval_gradient=True)[1]
            weights = W[:, cols]
            if own is not None:
                weights = weights.copy()
                weights[:, max(own - start, 0) : max(own + m - start, 0)] = 0.0
            total += np.einsum("ij,ijk->k", weights, both[:m, m:])
        if own is not None:
            own_weights = W[:, own : own + m]
            total += np.einsum("ij,ijk->k", own_weights, self.kernel(A, eval_gradient=True)[1])
        return total

    def diagonal_sums(self, A, w):
        total = np.zeros(self.n_dims)
        if self.n_dims:
            for a, weight in zip(A[:, np.newaxis], w, strict=True):
                total += weight * self.kernel(a, eval_gradient=True)[1][0, 0]
        return total
