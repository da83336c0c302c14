"""Systems of Fourier modes, solved in every way, against dense ones."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skhmat.linalg._fourier import weight_space
from skhmat.linalg._fourier.weight_space import POLICY, WeightSpace
from skhmat.linalg._krylov.columns import relative_norms

from .fourier_problems import matrix_and_features

pytest.importorskip("finufft")
DRAWN = replace(POLICY, max_direct=0, plain_iterations=1e6)
WAYS = {
    "direct": replace(POLICY, max_direct=10**6),
    "plain": replace(POLICY, max_direct=0, ratios=()),
    "drawn": DRAWN,
    "few drawn": replace(DRAWN, max_drawn=60),
    "cut": replace(DRAWN, min_saving=1.0, contraction=0.1),
}


class DenseKernel:
    """The matrix that features stand for, with what `WeightSpace` asks of a `KernelMatrix`."""

    def __init__(self, features):
        n = len(features.phases)
        self.entries = features.to_points(features.to_modes(np.eye(n)))
        self.shape, self.X = (n, n), np.arange(n)

    def with_points(self, rows):
        return DenseRows(self.entries[np.ix_(rows, rows)])


class DenseRows:
    def __init__(self, entries):
        self.toarray = entries.copy


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 30.0])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("d", "bandwidth", "entry_error"), [(1, 0.2, 1e-11), (2, 2.0, 1e-11), (3, 9.0, 1e-4)]
)
def test_solutions(d, bandwidth, entry_error, way, alpha, rng):
    options = {"bandwidth": bandwidth, "entry_error": entry_error}
    _, features = matrix_and_features(rng, 300, d, **options)
    features.tolerance = 1e-13
    K = DenseKernel(features)
    weights, Y = rng.uniform(0.2, 3, 300), rng.standard_normal((300, 3))
    Y[:, 2] *= 1e-200
    system = WeightSpace(features, K, weights, policy=WAYS[way])
    X, residuals, n_iterations = system.solve(Y, alpha, 1e-7, 2000)
    assert residuals.max() <= 1e-7
    rest = Y - K.entries @ X - (alpha / weights)[:, np.newaxis] * X
    assert_allclose(relative_norms(rest, Y), residuals, atol=1e-8)
    plan = system.plan(alpha, 1e-7)
    assert plan.is_direct == (way == "direct")
    assert (n_iterations == 0) == plan.is_direct
    assert (plan.n_drawn > 0) == (way not in ("direct", "plain"))


def test_points_drawn_save_iterations(rng):
    K, features = matrix_and_features(rng, 3000, 2, bandwidth=0.5)
    y = rng.standard_normal((3000, 1))
    plain, drawn = (
        WeightSpace(features, K, policy=WAYS[way]).solve(y, 1e-2, 1e-7, 5000)[2]
        for way in ("plain", "drawn")
    )
    assert 5 * drawn < plain


def test_iterations_and_start(rng):
    K, features = matrix_and_features(rng, 400, 2, bandwidth=0.5)
    system = WeightSpace(features, K, policy=WAYS["plain"])
    y = rng.standard_normal((400, 1))
    X, residuals, n_iterations = system.solve(y, 1e-2, 1e-8, 7)
    assert n_iterations == 7
    assert residuals[0] > 1e-8
    solved, residuals, _ = system.solve(y, 1e-2, 1e-8, 2000, start=X)
    assert residuals[0] <= 1e-8
    again, _, n_iterations = system.solve(y, 1e-2, 1e-8, 2000, start=solved)
    assert n_iterations == 0
    assert_array_equal(again, solved)


def test_a_preconditioner_that_fails_is_left_out(rng, monkeypatch):
    K, features = matrix_and_features(rng, 200, 2)

    def fails(*args):
        raise weight_space.NotPositiveDefiniteError(-1.0)

    monkeypatch.setattr(weight_space, "SampledInverse", fails)
    system = WeightSpace(features, K, policy=DRAWN)
    assert system.solve(rng.standard_normal((200, 1)), 0.1, 1e-6, 2000)[1][0] <= 1e-6


def test_threads_change_nothing(rng):
    K, features = matrix_and_features(rng, 500, 2, bandwidth=0.4)
    Y = rng.standard_normal((500, 2))
    found = []
    for n_threads in (1, 2):
        features.n_threads = n_threads
        found.append(WeightSpace(features, K, policy=DRAWN).solve(Y, 0.1, 1e-7, 2000)[0])
    assert_array_equal(*found)


def test_no_targets_and_zeros(rng):
    K, features = matrix_and_features(rng, 100)
    X, residuals, n_iterations = WeightSpace(features, K).solve(np.zeros((100, 2)), 0.1, 1e-6, 9)
    assert not X.any()
    assert not residuals.any()
    assert n_iterations == 0
