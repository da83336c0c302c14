"""Sums by Fourier modes against sums of all terms, and the bound of their error."""

import numpy as np
import pytest
from scipy.special import logsumexp

from skhmat.neighbors._density.fourier import POLICY, FourierSums, plan_fourier
from skhmat.neighbors._density.kernels import DensityKernel

from ..densities import RTOL, clusters, distances, weights_of

pytest.importorskip("finufft")


def exact(X, Y, bandwidth, weights):
    weights = np.ones(len(Y)) if weights is None else weights
    return np.exp(-0.5 * (distances(X, Y) / bandwidth) ** 2) @ weights


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_bound_of_the_error_holds(d, rng):
    """Not by much more than needed, and for one sample, too."""
    for bandwidth, rtol, n, kind in (
        (0.5, 1e-1, 2000, "none"),
        (0.5, 1e-4, 2000, "some are zero"),
        (3.0, 1e-8, 500, "none"),
        (0.7, 1e-4, 1, "none"),
        (20.0, 1e-11, 3, "none"),
        (1e3, 1e-4, 100, "of any size"),
    ):
        Y = rng.standard_normal((n, d)) + 1e3 * rng.standard_normal(d)
        X = Y[rng.integers(n, size=500)] + bandwidth * rng.uniform(-1.9, 1.9, (500, d))
        w = weights_of(rng, n, kind)
        total = n if w is None else w.sum()
        plan = plan_fourier(Y, DensityKernel("gaussian", bandwidth, rtol), w)
        sums = FourierSums(plan, Y, w, 1)
        values = sums(X, 1)
        assert np.all(np.abs(values - exact(X, Y, bandwidth, w)) <= sums.errors(values))
        assert sums.error <= 1.1 * (plan.aim + 1e-13) * total
        assert plan.aim <= 1.01 * max(rtol / n, POLICY.min_error)
        assert plan.relative_error <= 0.6 * rtol


@pytest.mark.parametrize("d", [1, 2, 3])
def test_errors_of_one_sample(d, rng):
    """What the policy takes for the error of FINUFFT, at all distances, with some to spare."""
    for rtol in 10.0 ** -np.arange(1, 11):
        n = int(10 ** rng.uniform(0, 6))
        Y = rng.uniform(-1, 1, (2, d)) * 10 ** rng.uniform(0, 2 - d / 2)
        # The mean weight decides about the modes, but for the second sample that is 0.
        w = np.array([1.0, 0.0])
        plan = plan_fourier(Y, DensityKernel("gaussian", 1.0, rtol, 1e-4 * rtol / n), w)
        sums = FourierSums(plan, Y, w, 1)
        steps = rng.standard_normal((1000, d))
        steps[:500] = np.eye(d)[rng.integers(d, size=500)] * rng.choice([-1, 1], (500, 1))
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        X = Y[0] + rng.uniform(0, 8, (1000, 1)) * steps
        values, expected = sums(X, 1), exact(X, Y[:1], 1.0, None)
        allowed = sums.error + 0.7 * plan.relative_error * expected
        assert np.nanmax(np.abs(values - expected) - allowed) <= 0


@pytest.mark.parametrize("d", [1, 2, 3])
def test_where_samples_are_far(d, rng):
    """No copy of the samples is seen from the margin, and nothing is said beyond it."""
    X, Y = clusters(rng, 200, d)
    plan = plan_fourier(Y[3:], DensityKernel("gaussian", 4.0, RTOL), None)
    sums = FourierSums(plan, Y[3:], None, 1)
    corners = plan.center + 4.0 * plan.half * rng.choice([-1, 1], (30, d))
    X = np.vstack([X, corners])
    values = sums(X, 1)
    outside = (np.abs(X - plan.center) > 4.0 * plan.half * (1 + 1e-9)).any(axis=1)
    np.testing.assert_array_equal(np.isnan(values), outside)
    errors = np.abs(values - exact(X, Y[3:], 4.0, None))[~outside]
    assert np.all(errors <= sums.errors(values[~outside]))
    assert np.isnan(sums(X[outside], 1)).all()


def test_nothing_depends_on_threads_or_other_queries(rng):
    Y, X = rng.standard_normal((150_000, 2)), rng.standard_normal((70_000, 2))
    plan = plan_fourier(Y, DensityKernel("gaussian", 0.3, RTOL), None)
    one, three = (FourierSums(plan, Y, None, n) for n in (1, 3))
    values = one(X, 1)
    np.testing.assert_array_equal(values, three(X, 3))
    some = rng.integers(len(X), size=50)
    np.testing.assert_array_equal(one(X[some], 1), values[some])


def test_what_a_plan_depends_on(rng):
    Y = rng.standard_normal((1000, 2))

    def plan(**changes):
        return plan_fourier(Y, DensityKernel("gaussian", **{"bandwidth": 0.5, **changes}), None)

    few, many = plan(rtol=1e-2), plan(rtol=1e-6)
    assert np.all(few.n_half < many.n_half)
    assert few.tolerance > many.tolerance
    assert few.seconds(1000) < many.seconds(1000) < many.seconds(2000)
    assert plan(rtol=1e-6, atol=1.0).aim > few.aim
    assert plan(rtol=1e-6, atol=1.0).tolerance > many.tolerance
    assert np.all(plan(rtol=1e-6, bandwidth=0.05).n_half > 5 * many.n_half)
    assert few.error < 1.1 * few.aim
    assert plan(atol=1e9).relative_error < 1


def test_where_there_is_no_use_in_modes(rng):
    Y = rng.standard_normal((1000, 3))
    far = np.where(rng.random((1000, 1)) < 0.5, Y, 1e6 * Y)
    for points, bandwidth, rtol in (
        (Y, 0.5, 0.0),
        (Y, 1e-3, RTOL),
        (far, 0.5, RTOL),
        (1e300 * Y, 1e-300, RTOL),
    ):
        assert plan_fourier(points, DensityKernel("gaussian", bandwidth, rtol), None) is None


@pytest.mark.parametrize("d", [1, 2, 3])
def test_outliers_do_not_multiply_the_modes(d, rng):
    """Some of them far, some of them seen from the box, and some with large weights."""
    Y = rng.standard_normal((5000, d))
    kernel = DensityKernel("gaussian", 0.5, RTOL)
    alone = plan_fourier(Y, kernel, None)
    Y[:4] = rng.uniform(-1, 1, (4, d)) * np.array([[1e4], [1e6], [1e9], [1e100]])
    Y[3, 0] = 1e100
    Y[4:6] = 6.0
    w = rng.random(5000)
    w[:6] = 1000.0
    X = np.vstack([Y[:50], Y[:50] + 0.3, 2 * rng.standard_normal((100, d))])
    plan = plan_fourier(Y, kernel, w)
    assert plan.n_modes < 4 * alone.n_modes
    sums = FourierSums(plan, Y, w, 1)
    values = sums(X, 1)
    assert np.isfinite(values).mean() > 0.7
    errors = np.abs(values - exact(X, Y, 0.5, w))
    assert np.nanmax(errors - sums.errors(values)) <= 0
    assert sums.error <= 1.1 * (plan.aim + 1e-13) * w.sum()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_samples_at_one_place_or_on_a_lattice(d, rng):
    """Where the errors of transforms add up, or all samples have one phase."""
    lattice = rng.integers(-3, 4, (5000, d)).astype(float)
    for Y in (np.ones((5000, d)), lattice):
        X = Y[:50] + rng.uniform(-2, 2, (50, d))
        plan = plan_fourier(Y, DensityKernel("gaussian", 0.9, 1e-6), None)
        sums = FourierSums(plan, Y, None, 1)
        values = sums(X, 1)
        assert np.nanmax(np.abs(values - exact(X, Y, 0.9, None)) - sums.errors(values)) <= 0
        logs = logsumexp(-0.5 * (distances(X, Y) / 0.9) ** 2, axis=1)
        safe = values > 1e7 * sums.error
        assert safe.any()
        assert np.abs(np.log(values[safe]) - logs[safe]).max() <= 1e-6
