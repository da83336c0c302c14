"""The line search, on functions of one variable."""

import numpy as np
import pytest

from skhmat.neural_network._newton.line_search import backtrack

from ..networks import tf


def search(f, slope, *, curvature=0.0, length=1.0, gamma=1e-4):
    def tensor(x):
        return tf.constant(x, tf.float64)

    found = backtrack(f, f(tensor(0)), tensor(slope), tensor(curvature), tensor(length), gamma)
    return tuple(map(float, found))


def test_the_first_length_is_kept_where_it_will_do():
    assert search(lambda t: (t - 1) ** 2, -2.0) == (1.0, 0.0)


@pytest.mark.parametrize("gamma", [1e-4, 0.1, 0.9])
def test_sufficient_decrease(gamma, rng):
    curvature = float(rng.uniform(3, 1e4))
    f = lambda t: 5 - t + curvature * t**2 / 2  # noqa: E731
    length, value = search(f, -1.0, gamma=gamma)
    assert 0 < length < 1
    assert value == pytest.approx(float(f(length)))
    assert value <= 5 - gamma * length


def test_nan_and_infinity_are_left():
    f = lambda t: tf.where(t > 0.2, np.float64(np.nan), (t - 0.1) ** 2)  # noqa: E731
    length, _ = search(f, -0.2)
    assert 0 < length <= 0.2
    f = lambda t: tf.where(t > 0.2, np.float64(np.inf), (t - 0.1) ** 2)  # noqa: E731
    length, _ = search(f, -0.2)
    assert 0 < length <= 0.2


def test_no_length_will_do():
    assert search(lambda t: 1 + tf.abs(t), -1.0) == (0.0, 1.0)


def test_rounding_does_not_stop_the_last_step():
    f = lambda t: 1e8 + (t - 1e-6) ** 2  # noqa: E731
    assert search(f, -2e-6, length=2e-6)[0] == 2e-6


def test_negative_curvature_asks_for_more():
    f = lambda t: -(t**2) * 1e-3  # noqa: E731
    assert search(f, 0.0, curvature=-2.0, gamma=0.5)[0] == 0.0
    assert search(f, 0.0, curvature=-2e-3, gamma=0.5)[0] == 1.0
