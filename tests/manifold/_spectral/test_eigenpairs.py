"""Eigenpairs of normalised kernels, and their values at new points, against dense computations."""

import pickle
from functools import partial

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist

from skhmat.linalg import compress
from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.manifold._spectral import affinity as _affinity
from skhmat.manifold._spectral import eigenpairs as _diffusion
from skhmat.manifold._spectral import extension as _extension
from skhmat.manifold._spectral import multilevel_start as _multilevel
from skhmat.manifold._spectral.affinity import affinity_of
from skhmat.manifold._spectral.distance_histogram import DistanceProfile
from skhmat.manifold._spectral.eigenpairs import Eigenpairs, block_width, eigenpairs
from skhmat.manifold._spectral.extension import Extension, residuals_at_points
from skhmat.manifold._spectral.multilevel_start import Start, random_start
from skhmat.manifold._spectral.normalization import normalization
from skhmat.manifold._spectral.point_cloud import Cloud

from ...linalg.matrices import symmetric

EPSILON = 0.02
ALPHAS = [None, 0.0, 0.5, 1.0]


def draws(rng):
    return np.random.RandomState(rng.integers(2**31))


def arc(rng, n):
    """Points along a line, in order: the leading eigenvalues are far apart."""
    angle = np.sort(rng.random(n)) * 4
    X = np.column_stack([np.cos(angle), np.sin(angle), angle / 4])
    return np.ascontiguousarray(X + 0.02 * rng.standard_normal(X.shape))


class Problem:
    """A cloud, its kernel, and what a dense computation makes of it."""

    def __init__(self, X, alpha, rng, epsilon=EPSILON, radius=None):
        radii = None if radius is None else np.full(len(X), radius)
        self.cloud, self.alpha, self.epsilon = Cloud(X, radii=radii), alpha, epsilon
        self.radius = radius
        self.profile = DistanceProfile.of_cloud(self.cloud, draws(rng))
        self.affinity = affinity_of(
            *(self.cloud, epsilon, self.profile),
            rtol=1e-4,
            may_cut=False,
            n_threads=1,
            compress=partial(compress, rtol=1e-4, leaf_size=32, budget=0, n_jobs=1),
        )
        self.norm = normalization(self.affinity, alpha)
        self.operator = self.affinity.operator(self.norm.factors)
        K = np.exp(cdist(X, X, "sqeuclidean") / (-2 * epsilon))
        self.weights = np.ones(len(X)) if alpha is None else K.sum(axis=1) ** -alpha
        self.kernel = K * self.weights  # the rows, not normalised
        K = np.outer(self.weights, self.weights) * K
        self.degrees = np.ones(len(X)) if alpha is None else K.sum(axis=1)
        self.dense = K / np.sqrt(np.outer(self.degrees, self.degrees))
        values, vectors = np.linalg.eigh(self.dense)
        self.values, self.vectors = values[::-1], vectors[:, ::-1]

    def functions(self, k):
        return self.vectors[:, :k] / np.sqrt(self.degrees)[:, np.newaxis]

    def start(self, rng):
        start = Start(self.cloud, self.profile, self.alpha, draws(rng), 1)
        return start.of(self.epsilon, self.norm)

    def extension(self, k):
        functions = self.functions(k)
        parts = self.affinity, self.norm, functions, self.cloud, self.epsilon
        return Extension(*parts, 1), functions

    def points(self, Y):
        radii = None if self.radius is None else np.full(len(Y), self.radius)
        return Cloud(Y, radii=radii)

    def pairs(self, k):
        nothing = np.zeros(k)
        return Eigenpairs(self.values[:k], self.vectors[:, :k], nothing, 0, "dense", True)


def angles_between(V, W):
    """Sines of the angles between the columns of W and the span of V."""
    Q = np.linalg.qr(V)[0]
    return np.linalg.norm(W - Q @ (Q.T @ W), axis=0)


def assert_same_up_to_sign(actual, expected, tolerance):
    """Columns of norm 1."""
    signs = np.sign((actual * expected).sum(axis=0))
    assert np.linalg.norm(actual * signs - expected, axis=0).max() <= tolerance


# ---- normalization ----


class FalseSums:
    """A kernel whose sums came out wrong."""

    def __init__(self, sums, diagonal):
        self._sums, self.diagonal = sums, diagonal

    def sums(self, W):
        return self._sums[:, np.newaxis] * W


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_no_sum_is_below_the_diagonal(alpha):
    norm = normalization(FalseSums(np.array([-3.0, 0.0, 0.5, 2.0]), np.ones(4)), alpha)
    sums = np.array([1.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(norm.weights, sums**-alpha)
    assert np.all(norm.degrees >= norm.weights**2)
    assert np.all(np.isfinite(norm.factors))
    assert not norm.is_alone.any()
    assert norm.mean_sum == 0.25


def test_rows_that_are_zero():
    norm = normalization(FalseSums(np.array([0.0, 2.0]), np.array([0.0, 1.0])), 1.0)
    np.testing.assert_array_equal(norm.is_alone, [True, False])
    np.testing.assert_array_equal(norm.weights, [1.0, 0.5])
    assert np.all(np.isfinite(norm.factors))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_normalization_is_that_of_the_definition(alpha, rng):
    problem = Problem(arc(rng, 200), alpha, rng)
    np.testing.assert_allclose(problem.norm.weights, problem.weights, rtol=1e-12)
    np.testing.assert_allclose(problem.norm.degrees, problem.degrees, rtol=1e-12)
    A = problem.operator @ np.eye(200)
    np.testing.assert_allclose(A, problem.dense, atol=1e-12)


# ---- starts ----


@pytest.mark.parametrize("alpha", ALPHAS)
def test_starts_are_close_to_the_eigenvectors(alpha, rng):
    problem = Problem(arc(rng, 600), alpha, rng)
    V, distances = problem.start(rng)(16)
    assert V.shape == (600, 16)
    assert distances.shape == (16,)
    assert np.all(np.isfinite(V))
    assert np.linalg.matrix_rank(V) == 16
    assert angles_between(V, problem.vectors[:, :4]).max() <= 0.1
    assert angles_between(rng.standard_normal(V.shape), problem.vectors[:, :4]).min() > 0.8


def test_starts_over_several_levels(rng, monkeypatch):
    monkeypatch.setattr(_multilevel, "_COARSEST", 100)
    monkeypatch.setattr(_multilevel, "_THINNING", 3)
    problem = Problem(arc(rng, 1200), 1.0, rng, 0.002)
    V = problem.start(rng)(16)[0]
    assert angles_between(V, problem.vectors[:, :4]).max() <= 0.2


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_starts_from_few_points(n, alpha, rng):
    problem = Problem(arc(rng, n), alpha, rng)
    V, distances = problem.start(rng)(n)
    assert V.shape == (n, n)
    assert np.all(np.isfinite(V))
    assert np.all(np.isfinite(distances))


def test_starts_from_points_that_are_the_same(rng):
    """There is no distance that a bandwidth could be found by."""
    problem = Problem(np.ones((20, 2)), 1.0, rng)
    assert np.all(np.isfinite(problem.start(rng)(8)[0]))


def test_a_start_saves_products(rng):
    problem = Problem(arc(rng, 600), 1.0, rng, 0.005)
    pairs = [
        eigenpairs(problem.operator, 5, None, "chebyshev", start, draws(rng))
        for start in (problem.start(rng), random_start(600, draws(rng)))
    ]
    assert pairs[0].n_products < 0.9 * pairs[1].n_products


# ---- eigenpairs ----


@pytest.mark.parametrize("solver", ["auto", "chebyshev", "lanczos", "dense"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_solvers_agree_with_the_dense_one(alpha, solver, rng):
    """Vectors to the documented error of 1e-5, values to its square."""
    problem = Problem(arc(rng, 600), alpha, rng)
    pairs = eigenpairs(problem.operator, 4, None, solver, problem.start(rng), draws(rng))
    assert pairs.is_converged
    assert pairs.method == ("chebyshev" if solver == "auto" else solver)
    np.testing.assert_allclose(pairs.values, problem.values[:4], rtol=1e-9)
    assert_same_up_to_sign(pairs.vectors, problem.vectors[:, :4], 1e-5)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(4), atol=1e-11)
    missed = problem.dense @ pairs.vectors - pairs.vectors * pairs.values
    true = np.linalg.norm(missed, axis=0) / pairs.values[0]
    np.testing.assert_allclose(pairs.residuals, true, atol=1e-12)


@pytest.mark.parametrize("solver", ["chebyshev", "lanczos", "dense"])
@pytest.mark.parametrize("k", [1, 2, 29, 30])
def test_any_number_of_pairs(k, solver, rng, global_random_seed):
    values = np.linspace(1, -0.5, 30)
    A = DenseOperator(symmetric(values, global_random_seed))
    pairs = eigenpairs(A, k, 1e-8, solver, random_start(30, draws(rng)), draws(rng))
    np.testing.assert_allclose(pairs.values, values[:k], atol=1e-7)
    assert pairs.vectors.shape == (30, k)
    assert pairs.residuals.shape == (k,)


@pytest.mark.parametrize("solver", ["chebyshev", "dense"])
@pytest.mark.parametrize("copies", [2, 4])
def test_eigenvalues_that_come_more_than_once(copies, solver, rng, global_random_seed):
    """With their multiplicity, and in orthogonal vectors; also where it goes beyond k."""
    values = np.r_[np.ones(copies), np.full(3, 0.8), np.linspace(0.5, 0, 593 - copies + 4)]
    A = symmetric(values, global_random_seed)
    for k in (3, 6):
        start = random_start(600, draws(rng))
        pairs = eigenpairs(DenseOperator(A), k, 1e-9, solver, start, draws(rng))
        np.testing.assert_allclose(pairs.values, values[:k], atol=1e-8)
        np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(k), atol=1e-10)
        np.testing.assert_allclose(A @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-8)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_without_a_connection_are_all_found(parts, rng):
    """Single points far away, too, which a subsample leaves out: an eigenvalue 1 for each."""
    X = arc(rng, 900)
    X[[10, 301, 600][: parts - 1]] = 100 * np.eye(3)[: parts - 1]
    problem = Problem(X, 1.0, rng, 0.05)
    for k in (2, 3, 5):
        pairs = eigenpairs(problem.operator, k, None, "auto", problem.start(rng), draws(rng))
        np.testing.assert_allclose(pairs.values, problem.values[:k], atol=1e-6)


def test_a_tolerance_that_is_given_is_reached(rng):
    problem = Problem(arc(rng, 600), 1.0, rng)
    for tol in (1e-3, 1e-9):
        pairs = eigenpairs(problem.operator, 5, tol, "chebyshev", problem.start(rng), draws(rng))
        assert pairs.residuals.max() <= tol
        assert pairs.is_converged


def test_time_that_runs_out(rng, monkeypatch):
    monkeypatch.setattr(_diffusion, "_MAX_FILTERS", 0)
    problem = Problem(arc(rng, 600), 1.0, rng)
    pairs = eigenpairs(problem.operator, 5, 1e-12, "chebyshev", problem.start(rng), draws(rng))
    assert not pairs.is_converged
    assert pairs.residuals.max() > 1e-12


@pytest.mark.parametrize(("n", "k", "solver"), [(512, 3, "dense"), (513, 3, "chebyshev")])
def test_small_matrices_are_decomposed(n, k, solver, rng, global_random_seed):
    A = DenseOperator(symmetric(0.9 ** np.arange(n), global_random_seed))
    pairs = eigenpairs(A, k, None, "auto", random_start(n, draws(rng)), draws(rng))
    assert pairs.method == solver
    many = eigenpairs(A, n // 2, None, "auto", random_start(n, draws(rng)), draws(rng))
    assert many.method == "dense"


def test_products_are_counted(rng):
    problem = Problem(arc(rng, 600), 1.0, rng)
    for solver in ("chebyshev", "lanczos", "dense"):
        counted = CountedOperator(problem.operator)
        pairs = eigenpairs(counted, 4, None, solver, problem.start(rng), draws(rng))
        residuals = 4 if solver != "chebyshev" else 0
        assert pairs.n_products + residuals == counted.n_products > 0


def test_first_pairs(rng):
    problem = Problem(arc(rng, 100), 1.0, rng)
    some = problem.pairs(5).first(2)
    np.testing.assert_array_equal(some.values, problem.values[:2])
    np.testing.assert_array_equal(some.vectors, problem.vectors[:, :2])
    assert some.residuals.shape == (2,)


@pytest.mark.parametrize("k", range(1, 60))
def test_width_of_a_block(k):
    width = block_width(1000, k)
    assert width % 8 == 0
    assert k + 5 <= width <= 1.5 * k + 16
    assert block_width(k, k) == k


# ---- new points ----


@pytest.mark.parametrize("radius", [None, 2.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_extension_is_that_of_nystroem(alpha, radius, rng):
    problem = Problem(arc(rng, 300), alpha, rng, radius=radius)
    extension, functions = problem.extension(4)
    Y = arc(rng, 100) + 0.1 * rng.standard_normal((100, 3))
    K = np.exp(cdist(Y, problem.cloud.X, "sqeuclidean") / (-2 * EPSILON)) * problem.weights
    expected = (K @ functions) / K.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        extension(problem.points(Y)), expected, atol=1e-9 * np.abs(functions).max()
    )


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_extension_at_the_samples(alpha, rng):
    problem = Problem(arc(rng, 300), alpha, rng)
    extension, functions = problem.extension(4)
    expected = functions * problem.values[:4]
    found = extension(problem.cloud)
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(functions).max())


@pytest.mark.parametrize("radius", [None, 0.5])
@pytest.mark.parametrize("scale", [3.0, 1e2, 1e4, 1e8, 1e150])
def test_extension_far_away_is_the_value_of_the_nearest_sample(scale, radius, rng):
    problem = Problem(arc(rng, 200), 1.0, rng, radius=radius)
    extension, functions = problem.extension(3)
    X = problem.cloud.X
    directions = rng.standard_normal((20, 3))
    Y = X[:20] + scale * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    found = extension(problem.points(Y))
    assert np.all(np.isfinite(found))
    largest = np.abs(functions).max(axis=0)
    assert np.all(np.abs(found) <= largest * (1 + 1e-9))
    if scale == 1e4:  # nearer there is more than one, farther out distances are rounded
        D2 = cdist(Y, X, "sqeuclidean")
        nearest = np.sort(D2, axis=1)
        clear = (nearest[:, 1] - nearest[:, 0]) / (2 * EPSILON) > 40
        assert clear.any()
        expected = functions[D2.argmin(axis=1)]
        np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-6)


def test_a_point_depends_on_no_other(rng):
    problem = Problem(arc(rng, 300), 1.0, rng)
    extension, _ = problem.extension(6)
    Y = arc(rng, 100)
    Y[:50] += rng.standard_normal((50, 3))
    Y[50] = 1e6
    every, order = extension(Cloud(Y)), rng.permutation(100)
    np.testing.assert_array_equal(extension(Cloud(Y[order])), every[order])
    for i in (0, 50, 99):
        np.testing.assert_array_equal(extension(Cloud(Y[i : i + 1])), every[i : i + 1])


def test_batches_of_far_points_change_nothing(rng, monkeypatch):
    extension, _ = Problem(arc(rng, 300), 1.0, rng).extension(6)
    Y = arc(rng, 50) + rng.standard_normal((50, 3))
    every = extension(Cloud(Y))
    monkeypatch.setattr(_extension, "_BATCH_ENTRIES", 1000)
    np.testing.assert_array_equal(extension(Cloud(Y)), every)


def test_extension_through_a_hierarchical_matrix(rng, monkeypatch):
    """Far away as exact as near: sums relative to their size."""
    for name in ("_ALWAYS_DENSE_UP_TO", "_DENSE_UP_TO", "_SINGLE_UP_TO", "_MOST_ENTRIES"):
        monkeypatch.setattr(_affinity, name, 0)
    problem = Problem(arc(rng, 600), 1.0, rng)
    assert problem.affinity.form == "compressed"
    extension, functions = problem.extension(4)
    Y = arc(rng, 100)
    Y[:70] += rng.choice([0.1, 0.3, 1.0], (70, 1)) * rng.standard_normal((70, 3))
    exponents = cdist(Y, problem.cloud.X, "sqeuclidean") / (-2 * EPSILON)
    K = np.exp(exponents - exponents.max(axis=1, keepdims=True)) * problem.weights
    expected = (K @ functions) / K.sum(axis=1, keepdims=True)
    assert np.abs(extension(Cloud(Y)) - expected).max() <= 1e-9 * np.abs(functions).max()
    again = pickle.loads(pickle.dumps(extension))
    np.testing.assert_array_equal(again(Cloud(Y)), extension(Cloud(Y)))


# ---- residuals ----


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_residuals_at_points_are_true(alpha, rng):
    """Of pairs with an error: to the standard error of the rows drawn, or exact where all are."""
    for n, tolerance in ((200, 1e-6), (800, 0.3)):
        problem = Problem(arc(rng, n), alpha, rng)
        V = problem.vectors[:, :4] + 1e-3 / np.sqrt(n) * rng.standard_normal((n, 4))
        V /= np.linalg.norm(V, axis=0)
        values = problem.values[:4]
        true = np.linalg.norm(problem.dense @ V - V * values, axis=0)
        functions = 3 * V / np.sqrt(problem.degrees)[:, np.newaxis]
        parts = problem.cloud, EPSILON, problem.norm, functions, problem.pairs(4)
        found = residuals_at_points(*parts, draws(rng), 1)
        np.testing.assert_allclose(found, true, rtol=tolerance)


def test_the_definition_is_the_generalised_problem(rng):
    """The dense computation of these tests, by another way."""
    problem = Problem(arc(rng, 100), 0.5, rng)
    K = problem.kernel * problem.weights[:, np.newaxis]
    values = scipy.linalg.eigh(K, np.diag(K.sum(axis=1)), eigvals_only=True)[::-1]
    np.testing.assert_allclose(problem.values, values, atol=1e-12)
    assert values[0] == pytest.approx(1, abs=1e-12)
