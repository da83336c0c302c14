"""Kernel matrices with accurate Fourier features."""

import numpy as np

from skhmat.linalg import KernelMatrix
from skhmat.linalg._fourier.features import FourierFeatures
from skhmat.linalg._fourier.fit import box_of
from skhmat.linalg._fourier.modes import Demand, choose_modes


def matrix_and_features(rng, n=300, d=2, *, kernel="gaussian", bandwidth=1.5, entry_error=1e-11):
    """A kernel matrix on normal points and its features, accurate to an error of the entries."""
    K = KernelMatrix(rng.standard_normal((n, d)), kernel, bandwidth=bandwidth)
    center, extent = box_of(K)
    modes = choose_modes(kernel, 1.0, extent, Demand(entry_error / 0.3, 0.3, n))
    return K, FourierFeatures.of_points(modes, K.X, K.bandwidth, center, 2)


def regularized(K, alpha, weights):
    """K + alpha diag(1 / weights) as an array."""
    return K.toarray() + np.diag(alpha / weights)
