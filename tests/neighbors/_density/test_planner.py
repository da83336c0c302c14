"""The choice among algorithms, for given costs."""

from dataclasses import replace

import numpy as np

from skhmat.linalg._gofmm.cost_model import RATES
from skhmat.neighbors._density.kernels import DensityKernel
from skhmat.neighbors._density.planner import (
    POLICY,
    _least_of_trial,
    _predict_far_field,
    log_sums,
)
from skhmat.neighbors._density.sums import DensitySums

from ..densities import RTOL, assert_logs, distances, far_field, slow_logs

SLOW_TO_BUILD = replace(POLICY, rates=replace(RATES, build=1e9))


def test_choice(rng):
    """All points for few, the tree where it leaves out most, a far field where both are slow."""
    X2, Y2 = rng.standard_normal((2, 20_000, 2))
    narrow = DensityKernel("gaussian", 0.02, RTOL)
    for X, Y, kernel, expected in (
        (X2[:5], Y2, narrow, "brute"),
        (X2, Y2, narrow, "tree"),
        (X2, Y2[:50], narrow, "brute"),
        (rng.standard_normal((2000, 12)), rng.standard_normal((5000, 12)), narrow, "brute"),
    ):
        sums = DensitySums(Y, 128, 1)
        logs, algorithm = log_sums(sums, X, kernel, "auto")
        assert algorithm == expected
        assert_logs(logs, sums.direct(X, DensityKernel("gaussian", 0.02)), 1.001 * RTOL)
    wide = DensityKernel("gaussian", 5.0, RTOL)
    X, Y = X2[:200], Y2[:2000]
    sums = DensitySums(Y, 128, 1)
    # What other algorithms take counts, and the bound for a far field does not.
    rates = replace(RATES, log_term=1e12, tree_pair=1e12, box=1e12)
    slow = replace(POLICY, rates=rates, far_field_points=1000, max_rough=1)
    logs, algorithm = log_sums(sums, X, wide, "auto", far_field=far_field, policy=slow)
    assert algorithm == "gofmm"
    assert_logs(logs, slow_logs("gaussian", distances(X, Y) / 5), RTOL)
    assert log_sums(sums, X, wide, "auto", policy=slow)[1] != "gofmm"


def test_prediction_of_a_far_field(rng):
    policy = replace(POLICY, far_field_points=1000)
    Y, X = rng.standard_normal((4000, 2)), rng.standard_normal((500, 2))
    wide, narrow = (DensityKernel("gaussian", h, RTOL) for h in (10.0, 1e-3))
    for weights in (None, rng.random(4000)):
        assert 0 < _predict_far_field(Y, X, wide, weights, far_field, policy) < np.inf
        assert _predict_far_field(Y, X, narrow, weights, far_field, policy) == np.inf


def test_no_tree_for_few_queries_or_one_that_takes_long_to_build(rng):
    X, Y = rng.standard_normal((2, 3000, 2))
    kernel = DensityKernel("gaussian", 0.02, RTOL)
    for policy in (replace(POLICY, n_probes=3000), SLOW_TO_BUILD):
        sums = DensitySums(Y, 64, 1)
        assert log_sums(sums, X, kernel, "auto", policy=policy)[1] == "brute"
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
            _, algorithm = log_sums(sums, X, kernel, "auto", far_field=spy, policy=tried)
            assert (len(seen), algorithm) == (expected, "brute")
