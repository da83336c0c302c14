"""Kernels through landmarks against dense computations."""

import numpy as np

from skhmat.manifold._landmark_kernel import LandmarkKernel

from .affinities import kernel


def test_eigenpairs_of_the_kernel_through_landmarks(rng):
    X, new = rng.standard_normal((200, 3)), rng.standard_normal((30, 3))
    found = LandmarkKernel.from_samples(X, 1.0, 40, 1e-12, 0, 1)
    L = found.landmarks
    assert L.shape == (40, 3)
    through = kernel(X, L, 1.0) @ np.linalg.solve(kernel(L, L, 1.0), kernel(L, X, 1.0))
    np.testing.assert_allclose(through @ found.vectors, found.vectors * found.values, atol=1e-8)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(40), atol=1e-10)
    assert np.isclose(found.error, 1 - np.trace(through) / 200)
    # At samples the extension has the values of the eigenvectors, and so it has at new points.
    np.testing.assert_allclose(kernel(X, L, 1.0) @ found.solutions, found.vectors, atol=1e-8)
    between = kernel(new, L, 1.0) @ np.linalg.solve(kernel(L, L, 1.0), kernel(L, X, 1.0))
    expected = between @ found.vectors / found.values
    np.testing.assert_allclose(kernel(new, L, 1.0) @ found.solutions, expected, atol=1e-6)


def test_a_wide_kernel_takes_few_landmarks(rng):
    X = rng.uniform(-1, 1, (500, 2))
    found = LandmarkKernel.from_samples(X, 100.0, 400, 1e-12, 0, 1)
    assert len(found.landmarks) < 100
    assert found.error <= 1e-12
    assert found.values[-1] > 1e-12 * found.values[0]


def test_duplicates_are_landmarks_once(rng):
    X = np.repeat(rng.standard_normal((10, 2)), 30, axis=0)
    found = LandmarkKernel.from_samples(X, 1.0, 100, 1e-12, 0, 1)
    assert len(found.landmarks) == 10
