"""The choice among algorithms, for given costs."""

from dataclasses import replace

import numpy as np
import pytest

from skhmat.linalg._gofmm.cost_model import RATES
from skhmat.neighbors._density.kernels import DensityKernel
from skhmat.neighbors._density.planner import (
    POLICY,
    SumTask,
    _guess_tree,
    _least_of_trial,
    _predict_far_field,
    _predict_fourier,
    _seconds_by_tree,
    log_sums,
)
from skhmat.neighbors._density.sums import DensitySums

from ..densities import RTOL, assert_logs, distances, far_field, slow_logs

SLOW_TO_BUILD = replace(POLICY, rates=replace(RATES, build=1e9))


def test_choice(rng):
    """All points for few, the tree where it leaves out most, a far field where both are slow."""
    X2, Y2 = rng.standard_normal((2, 20_000, 2))
    narrow = DensityKernel("gaussian", 1e-3, RTOL)
    for X, Y, kernel, expected in (
        (X2[:5], Y2, narrow, "brute"),
        (X2, Y2, narrow, "tree"),
        (X2, Y2[:50], narrow, "brute"),
        (rng.standard_normal((2000, 12)), rng.standard_normal((5000, 12)), narrow, "brute"),
    ):
        sums = DensitySums(Y, 128, 1)
        logs, algorithm = log_sums(sums, SumTask(X, kernel))
        assert algorithm == expected
        assert_logs(logs, sums.direct(X, DensityKernel("gaussian", 1e-3)), 1.001 * RTOL)
    wide = DensityKernel("gaussian", 5.0, RTOL)
    X, Y = X2[:200], Y2[:2000]
    sums = DensitySums(Y, 128, 1)
    # What other algorithms take counts, and the bound for a far field does not.
    rates = replace(RATES, log_term=1e12, tree_pair=1e12, box=1e12, spread_point=(1e12,) * 3)
    slow = replace(POLICY, rates=rates, far_field_points=1000, max_rough=1)
    logs, algorithm = log_sums(sums, SumTask(X, wide), far_field=far_field, policy=slow)
    assert algorithm == "gofmm"
    assert_logs(logs, slow_logs("gaussian", distances(X, Y) / 5), RTOL)
    assert log_sums(sums, SumTask(X, wide), policy=slow)[1] != "gofmm"


def test_choice_of_modes(rng):
    """Where they are few, whether the samples are clustered or not, and for no more dimensions."""
    pytest.importorskip("finufft")
    X, Y = rng.standard_normal((2, 10_000, 2))
    far = np.where(rng.random((10_000, 1)) < 0.5, Y, 1e5 + Y)
    X4, Y4 = rng.standard_normal((2, 3000, 4))
    for X_new, points, name, bandwidth, is_best in (
        (X, Y, "gaussian", 0.3, True),
        (X[:, :1], Y[:, :1], "gaussian", 0.3, True),
        (X, Y, "gaussian", 1e-3, False),
        (X, far, "gaussian", 0.3, False),
        (X, Y, "exponential", 0.3, False),
        (X4, Y4, "gaussian", 0.3, False),
        (X[:70], Y, "gaussian", 1e-2, False),
        (1e3 + X, Y, "gaussian", 0.3, False),
    ):
        kernel = DensityKernel(name, bandwidth, RTOL)
        sums = DensitySums(points, 128, 1)
        logs, algorithm = log_sums(sums, SumTask(X_new, kernel))
        assert (algorithm == "fourier") == is_best
        some = rng.integers(len(X_new), size=50)
        expected = slow_logs(name, distances(X_new[some], points) / bandwidth)
        assert_logs(logs[some], expected, 1.001 * RTOL)
        assert not (is_best and sums.has_tree)
        assert log_sums(sums, SumTask(X_new, kernel), has_fourier=False)[1] != "fourier"


def test_sums_too_small_for_modes(rng):
    """Others take them, also where all are, and the share of them counts."""
    pytest.importorskip("finufft")
    Y = rng.standard_normal((3000, 2))
    X = np.vstack([rng.standard_normal((500, 2)), rng.uniform(-60, 60, (500, 2))])
    sums, kernel = DensitySums(Y, 32, 1), DensityKernel("gaussian", 0.3, RTOL)
    for queries in (X, X[500:], X[:0]):
        logs, algorithm = log_sums(sums, SumTask(queries, kernel), "fourier")
        assert algorithm == "fourier"
        assert_logs(logs, slow_logs("gaussian", distances(queries, Y) / 0.3), 1.001 * RTOL)
    exclude = rng.integers(3000, size=100)
    logs, _ = log_sums(sums, SumTask(Y[exclude], kernel, exclude=exclude), "fourier")
    R = distances(Y[exclude], Y)
    R[np.arange(100), exclude] = np.inf
    assert_logs(logs, slow_logs("gaussian", R / 0.3), 1.001 * RTOL)
    _, left = _predict_fourier(sums, SumTask(X, kernel), POLICY)
    assert 0.3 < left.mean() < 0.7
    _, left = _predict_fourier(sums, SumTask(X, kernel, 1e-200 * rng.random(3000)), POLICY)
    assert 0.3 < left.mean() < 0.7
    unseen = replace(POLICY, n_summed=10)
    assert _predict_fourier(sums, SumTask(X, kernel, np.eye(3000)[1]), unseen)[1].all()


def test_the_time_of_a_tree_is_guessed(rng):
    """From two small ones, within some times."""
    X, Y = rng.standard_normal((200, 2)), rng.standard_normal((30_000, 2))
    for bandwidth in (0.05, 0.5):
        kernel = DensityKernel("gaussian", bandwidth, RTOL)
        policy = replace(POLICY, n_summed=1000)
        sums = DensitySums(Y, 128, 1)
        guess = _guess_tree(sums, SumTask(X, kernel), policy)
        seconds = 200 * _seconds_by_tree(sums, SumTask(X, kernel), RATES).mean()
        assert seconds / 5 < guess < 5 * seconds
        few = DensitySums(Y[:500], 128, 1)
        assert 0 < _guess_tree(few, SumTask(X, kernel, rng.random(500)), policy) < guess


def test_prediction_of_a_far_field(rng):
    policy = replace(POLICY, far_field_points=1000)
    Y, X = rng.standard_normal((4000, 2)), rng.standard_normal((500, 2))
    wide, narrow = (DensityKernel("gaussian", h, RTOL) for h in (10.0, 1e-3))
    for weights in (None, rng.random(4000)):
        tasks = (SumTask(X, kernel, weights) for kernel in (wide, narrow))
        of_wide, of_narrow = (_predict_far_field(Y, task, far_field, policy) for task in tasks)
        assert 0 < of_wide < of_narrow == np.inf


def test_no_tree_for_few_queries_or_one_that_takes_long_to_build(rng):
    X, Y = rng.standard_normal((2, 3000, 2))
    kernel = DensityKernel("gaussian", 0.02, RTOL)
    for policy in (replace(POLICY, n_probes=3000), SLOW_TO_BUILD):
        sums = DensitySums(Y, 64, 1)
        assert log_sums(sums, SumTask(X, kernel), policy=policy)[1] == "brute"
        assert not sums.has_tree


def test_a_far_field_is_tried_where_it_may_pay(rng):
    """By counted terms: the same choice for any number of threads."""
    X, Y = rng.standard_normal((200, 2)), rng.standard_normal((2000, 2))
    kernel = DensityKernel("gaussian", 5.0, RTOL)
    policy = replace(POLICY, far_field_points=1000, worth_building=np.inf)
    least = 1e-9 * (RATES.exponential + 2 * RATES.dimension + RATES.log_term) * 200 * 2000
    ratio = least / _least_of_trial(Y, kernel, policy)
    for n_threads in (1, 4):
        for worth_trying, expected in ((1.01 * ratio, 0), (0.99 * ratio, 1)):
            seen = []

            def spy(Y, X, *arguments, seen=seen):
                seen.append(len(Y) + len(X))
                return np.zeros(len(X)), np.arange(len(X)), 1.0

            sums = DensitySums(Y, 128, n_threads)
            tried = replace(policy, worth_trying=worth_trying)
            _, algorithm = log_sums(sums, SumTask(X, kernel), far_field=spy, policy=tried)
            assert (len(seen), algorithm) == (expected, "brute")
