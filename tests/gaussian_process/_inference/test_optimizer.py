"""Maximization of functions with known maxima."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skhmat.gaussian_process._inference.optimizer import maximize, starts

BOUNDS = np.array([[-5.0, 5.0], [-5.0, 1.0]])


def parabola(theta, eval_gradient):
    value = -np.sum((theta - [1.0, 2.0]) ** 2)
    return (value, -2 * (theta - [1.0, 2.0])) if eval_gradient else value


def test_lbfgs_keeps_to_the_bounds():
    theta, value = maximize(parabola, np.zeros(2), BOUNDS, "fmin_l_bfgs_b")
    assert_allclose(theta, [1.0, 1.0], atol=1e-5)
    assert_allclose(value, -1.0, atol=1e-8)


def test_the_first_step_is_short_if_it_must_be():
    steps = []

    def steep(theta, eval_gradient):
        steps.append(np.linalg.norm(theta))
        value, gradient = parabola(theta, True)
        return 1e6 * value, 1e6 * gradient

    theta, value = maximize(steep, np.zeros(2), BOUNDS, "fmin_l_bfgs_b", max_first_step=0.1)
    assert_allclose(theta, [1.0, 1.0], atol=1e-5)
    assert_allclose(value, -1e6, rtol=1e-6)
    first = next(step for step in steps if step > 0)
    assert first <= 0.1 * (1 + 1e-9)


def test_a_callable_minimizes():
    def optimizer(objective, theta, bounds):
        assert bounds is BOUNDS
        assert objective(theta, eval_gradient=False) == objective(theta)[0]
        return theta + 1, objective(theta + 1)[0]

    theta, value = maximize(parabola, np.zeros(2), BOUNDS, optimizer)
    assert_allclose(theta, [1.0, 1.0])
    assert value == -1.0


def test_a_search_that_fails_is_told():
    def noise(theta, eval_gradient):
        return float(np.sin(1e9 * theta).sum()), np.array([1e3, -1e3])

    with pytest.warns(ConvergenceWarning, match="was not maximized"):
        maximize(noise, np.zeros(2), BOUNDS, "fmin_l_bfgs_b")


def test_starts_are_within_bounds(rng):
    found = starts(np.zeros(2), BOUNDS, 5, rng)
    assert len(found) == 6
    assert all(((BOUNDS[:, 0] <= s) & (s <= BOUNDS[:, 1])).all() for s in found)
