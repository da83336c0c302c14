"""Samples of processes."""

import numpy as np

from skhmat.gaussian_process._inference.sample import Sample


def draw_sample(rng, n=150, d=2, n_targets=2, noise=0.05):
    """Return a `Sample` of smooth functions, and new points around it."""
    X = rng.uniform(0, 5, (n, d))
    Y = np.stack([np.sin(X[:, 0] + i) for i in range(n_targets)], axis=1)
    Y += 0.2 * rng.standard_normal(Y.shape)
    X_new = np.concatenate([rng.uniform(0, 5, (20, d)), rng.uniform(-30, 30, (5, d))])
    return Sample(X, Y, noise * rng.uniform(0.5, 2.0, n), 1), X_new


def dense_covariance(kernel, sample):
    """Return the covariance matrix of a sample with its noise, by scikit-learn."""
    return kernel(sample.X) + np.diag(sample.noise)
