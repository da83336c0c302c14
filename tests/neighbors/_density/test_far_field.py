"""Sums by far fields against sums of all terms."""

from dataclasses import replace

import numpy as np
import pytest

from skhmat.neighbors._density.far_field import POLICY
from skhmat.neighbors._density.kernels import DensityKernel

from ..densities import RTOL, assert_logs, distances, far_field, slow_logs


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
@pytest.mark.parametrize("bandwidth", [0.2, 2.0, 20.0])
def test_far_field_tells_where_it_is_right(name, bandwidth, rng):
    Y = np.vstack([rng.standard_normal((800, 2)), rng.standard_normal((800, 2)) + 15])
    X = np.vstack([rng.standard_normal((200, 2)), 15 * rng.random((100, 2)), [[1e4, 0], [7, 7]]])
    w = rng.random(1600)
    logs, rough, _ = far_field(Y, X, DensityKernel(name, bandwidth, RTOL), w)
    right = np.setdiff1d(np.arange(len(X)), rough)
    expected = slow_logs(name, distances(X, Y) / bandwidth, w)
    assert_logs(logs[right], expected[right], RTOL)
    # Nowhere that a sum underflows.
    assert 300 in rough or expected[300] > -400


def test_far_field_of_a_wide_kernel_is_right_at_most_points(rng):
    n_right = []
    for _ in range(3):
        Y, X = rng.standard_normal((3000, 2)), rng.standard_normal((200, 2))
        _, rough, _ = far_field(Y, X, DensityKernel("gaussian", 10.0, RTOL), None)
        n_right.append(200 - len(rough))
    assert np.median(n_right) > 150


def test_far_field_of_what_cannot_be_compressed(rng):
    Y, X = rng.standard_normal((1000, 8)), rng.standard_normal((10, 8))
    _, rough, _ = far_field(Y, X, DensityKernel("gaussian", 0.5, RTOL), None)
    np.testing.assert_array_equal(rough, np.arange(10))


@pytest.mark.parametrize("rtol", [0.0, 5.0])
def test_far_field_for_any_tolerance(rtol, rng):
    X, Y = rng.standard_normal((20, 2)), rng.standard_normal((1000, 2))
    kernel = DensityKernel("gaussian", 10.0, rtol)
    logs, rough, _ = far_field(Y, X, kernel, None)
    assert len(rough) == (20 if rtol == 0 else 0)
    if rtol > 0:
        assert_logs(logs, slow_logs("gaussian", distances(X, Y) / 10), 0.2)


def test_a_larger_safety_leaves_more_sums_to_others(rng):
    Y, X = rng.standard_normal((1000, 2)), rng.standard_normal((100, 2))
    kernel = DensityKernel("gaussian", 10.0, RTOL)
    _, rough, _ = far_field(Y, X, kernel, None, policy=replace(POLICY, safety=1e30))
    assert len(rough) == 100


def test_seconds_are_those_of_the_cost_model(rng):
    """The same each time, more for more points, and none where nothing is compressed."""
    Y, X = rng.standard_normal((3000, 2)), rng.standard_normal((100, 2))
    kernel = DensityKernel("gaussian", 10.0, RTOL)
    _, _, seconds = far_field(Y, X, kernel, None)
    assert far_field(Y, X, kernel, None)[2] == seconds
    assert 0 < far_field(Y[:500], X, kernel, None)[2] < seconds
    assert far_field(Y, X, DensityKernel("gaussian", 10.0, 0.0), None)[2] == 0
