"""Landmarks, and the features of samples at them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from skhmat.kernel_approximation._features import POLICY
from skhmat.kernel_approximation._landmarks import SampleKernel, check_landmarks, find_features
from skhmat.linalg import KernelMatrix


def never(K, rtol, random_state):
    raise AssertionError("compressed")


def measure(X, center=False, precomputed=False):
    make_kernel = partial(KernelMatrix, bandwidth=2.0)
    K = make_kernel(X)
    if precomputed:
        return SampleKernel.measure(K.toarray(), X, None, center)
    return SampleKernel.measure(K, X, make_kernel, center)


def find(samples, landmarks, n_components, tol=None, policy=POLICY):
    rng = np.random.RandomState(0)
    options = {"compress": never, "rng": rng, "n_jobs": 1, "policy": policy}
    return find_features(samples, landmarks, n_components, tol, **options)


def test_names_and_numbers_stay_and_arrays_are_copied(rng):
    X = rng.random((20, 3))
    assert check_landmarks("all", X, False) == "all"
    assert check_landmarks(7, X, True) == 7
    indices = check_landmarks([3, 0], X, True)
    assert indices.dtype == np.intp
    np.testing.assert_array_equal(indices, [3, 0])
    points = rng.random((4, 3))
    checked = check_landmarks(points, X, False)
    points[:] = 0
    assert checked.all()


@pytest.mark.parametrize("center", [False, True])
def test_trace(center, rng):
    X = rng.standard_normal((40, 2))
    K = KernelMatrix(X, bandwidth=2.0).toarray()
    if center:
        K = K - K.mean(axis=0)
        K = K - K.mean(axis=1, keepdims=True)
    samples = measure(X, center)
    assert samples.trace == pytest.approx(np.trace(K))
    assert samples.whole_trace == pytest.approx(40)


@pytest.mark.parametrize("precomputed", [False, True])
def test_features_at_landmarks_are_those_of_nystroem(precomputed, rng):
    X, chosen = rng.standard_normal((60, 2)), np.array([1, 4, 30, 50])
    features = measure(X, precomputed=precomputed).features_at(chosen, POLICY)
    K = KernelMatrix(X, bandwidth=2.0).toarray()
    expected = K[:, chosen] @ np.linalg.solve(K[np.ix_(chosen, chosen)], K[chosen])
    np.testing.assert_allclose(features.Z @ features.Z.T, expected, atol=1e-10)
    np.testing.assert_array_equal(features.landmarks, chosen)
    assert features.points is None


def test_as_many_uniform_landmarks_as_a_tolerance_needs(rng):
    samples, tol = measure(rng.standard_normal((300, 2))), 1e-3
    for n_first in (8, 64):
        features = find(samples, "uniform", None, tol, replace(POLICY, n_first=n_first))
        m = len(features.landmarks)
        assert m in n_first * 2 ** np.arange(5)
        assert 1 - features.squares.sum() / samples.trace <= tol
        if m > n_first:
            half = samples.features_at(features.landmarks[: m // 2], POLICY)
            assert 1 - half.squares.sum() / samples.trace > tol


def test_a_matrix_of_rank_zero(rng):
    samples = SampleKernel.measure(np.zeros((10, 10)), np.zeros((10, 2)), None, False)
    for landmarks in ("all", "uniform"):
        features = find(samples, landmarks, 4)
        assert features.Z.shape == (10, 1)
        assert not features.Z.any()
