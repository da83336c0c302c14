"""KernelDensity against sums over all samples, SciPy and scikit-learn."""

import inspect
import pickle
import re
import sys

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import gaussian_kde
from sklearn import neighbors as scikit_learn
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skhmat.neighbors
from skhmat.linalg._fourier.nonuniform import is_installed
from skhmat.neighbors import KernelDensity, KernelDensityCV
from skhmat.neighbors._density.kernels import log_integral
from skhmat.neighbors._density.sheather_jones import improved_sheather_jones

from .densities import VALUES, assert_logs, distances, slow_logs

KERNELS = tuple(VALUES)
ALGORITHMS = "auto", "brute", "tree", "gofmm"
needs_finufft = pytest.mark.skipif(not is_installed(), reason="FINUFFT is not installed")
FOURIER = pytest.param("fourier", marks=needs_finufft)
LOG_TOL = 1e-4


@parametrize_with_checks(
    [
        KernelDensity(),
        KernelDensity(bandwidth="scott", algorithm="tree", leaf_size=2),
        KernelDensity(bandwidth="silverman", kernel="epanechnikov", log_tol=0),
        KernelDensity(metric="manhattan", kernel="exponential", rtol=1e-3),
        KernelDensity(algorithm="gofmm", bandwidth=3.0),
        KernelDensity(kernel="cosine", algorithm="ball_tree", n_jobs=2),
    ]
)
def test_scikit_learn_api(estimator, check):
    check(estimator)


@needs_finufft
@parametrize_with_checks([KernelDensity(algorithm="fourier", bandwidth=3.0, log_tol=1e-7)])
def test_scikit_learn_api_of_fourier(estimator, check):
    try:
        check(estimator)
    except Exception as error:
        if "more than 3 features" in f"{error} {error.__cause__} {error.__context__}":
            pytest.skip("the check takes more features than the algorithm")
        raise


def expected_logs(name, X, Y, bandwidth, weights=None):
    """By the definition, with a number for the bandwidth."""
    n, d = Y.shape
    total = n if weights is None else weights.sum()
    logs = slow_logs(name, distances(X, Y) / bandwidth, weights)
    return logs - np.log(total) - log_integral(name, d) - d * np.log(bandwidth)


def two_clusters(rng, n, c, d=2):
    Y = rng.standard_normal((n, d))
    Y[: n // 2, 0] -= c
    Y[n // 2 :, 0] += c
    X = np.linspace(-1.5 * c, 1.5 * c, 31)[:, np.newaxis] * np.eye(1, d)
    return np.vstack([X, Y[:20]]), Y


@pytest.fixture(scope="module")
def digits():
    """Samples and queries, and the logarithms of the density for each bandwidth."""
    X = load_digits().data
    Y, X = X[:1000], X[1000:1400]
    R, (n, d) = distances(X, Y), Y.shape
    log_norm = np.log(n) + log_integral("gaussian", d)
    logs = {h: slow_logs("gaussian", R / h) - log_norm - d * np.log(h) for h in (1, 2, 4, 8)}
    return X, Y, logs


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("bandwidth", [1, 2, 4, 8])
def test_digits(bandwidth, algorithm, digits):
    """Where scikit-learn's estimate is off by up to hundreds of nats (its issue 7492)."""
    X, Y, logs = digits
    model = KernelDensity(bandwidth=bandwidth, algorithm=algorithm, n_jobs=1).fit(Y)
    assert_logs(model.score_samples(X), logs[bandwidth], LOG_TOL)
    single = clone(model).fit(Y.astype(np.float32))
    assert_logs(single.score_samples(X.astype(np.float32)), logs[bandwidth], LOG_TOL)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, FOURIER])
@pytest.mark.parametrize("c", [6, 8, 20])
def test_between_two_clusters(c, algorithm, rng):
    X, Y = two_clusters(rng, 1000, c)
    model = KernelDensity(bandwidth=0.4, algorithm=algorithm, leaf_size=20).fit(Y)
    assert_logs(model.score_samples(X), expected_logs("gaussian", X, Y, 0.4), LOG_TOL)


@pytest.mark.parametrize("algorithm", ["auto", "brute", "tree"])
@pytest.mark.parametrize("name", KERNELS)
def test_all_kernels(name, algorithm, rng):
    X, Y = two_clusters(rng, 800, 5, 3)
    w = rng.random(800)
    for bandwidth in (1e-3, 0.5, 100.0):
        model = KernelDensity(
            kernel=name, bandwidth=bandwidth, algorithm=algorithm, leaf_size=10
        ).fit(Y, sample_weight=w)
        expected = expected_logs(name, X, Y, bandwidth, w)
        assert_logs(model.score_samples(X), expected, LOG_TOL)
        assert_logs(model.score_samples(X[:1]), expected[:1], LOG_TOL)
        assert model.score(X) == np.sum(model.score_samples(X))


@pytest.mark.parametrize("name", KERNELS)
def test_as_scikit_learn_where_that_is_right(name, rng):
    X, Y = rng.standard_normal((50, 3)), rng.standard_normal((60, 3))
    w = rng.random(60)
    for options in (
        {},
        {"metric": "manhattan"},
        {"metric": "minkowski", "metric_params": {"p": 3}},
    ):
        models = (
            library.KernelDensity(kernel=name, bandwidth=1.3, **options).fit(Y, sample_weight=w)
            for library in (scikit_learn, skhmat.neighbors)
        )
        theirs, ours = (model.score_samples(X) for model in models)
        assert_logs(ours, theirs, 1e-8)


@pytest.mark.parametrize("exponent", [-200, -30, 0, 30, 200])
def test_any_unit(exponent, rng):
    X, Y = two_clusters(rng, 300, 8)
    scale = 10.0**exponent
    for algorithm in ("brute", "tree", "fourier") if is_installed() else ("brute", "tree"):
        for name in KERNELS if algorithm != "fourier" else ["gaussian"]:
            model = KernelDensity(kernel=name, bandwidth=0.4 * scale, algorithm=algorithm)
            logs = model.fit(Y * scale).score_samples(X * scale)
            assert_logs(logs + 2 * np.log(scale), expected_logs(name, X, Y, 0.4), LOG_TOL)


def test_any_unit_in_float32(rng):
    X, Y = two_clusters(rng, 300, 8)
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    expected = expected_logs("gaussian", X, Y, 0.4)
    for exponent in (-100, 90):
        scale = 2.0**exponent
        model = KernelDensity(bandwidth=0.4 * scale).fit(Y * np.float32(scale))
        logs = model.score_samples(X * np.float32(scale))
        assert_logs(logs + 2 * np.log(scale), expected, LOG_TOL)


def test_far_from_everything(rng):
    """Logarithms as large as float64 allows, and beyond."""
    Y = rng.standard_normal((100, 2))
    X = 10.0 ** np.arange(0, 300, 10)[:, np.newaxis] * np.ones((1, 2))
    for algorithm in ("brute", "tree", "fourier") if is_installed() else ("brute", "tree"):
        model = KernelDensity(bandwidth=0.5, algorithm=algorithm).fit(Y)
        logs = model.score_samples(X)
        finite = X[:, 0] < 1e150
        with np.errstate(over="ignore"):
            expected = expected_logs("gaussian", X[finite], Y, 0.5)
        assert_logs(logs[finite], expected, LOG_TOL)
        assert not np.isnan(logs).any()
        assert np.all(np.isneginf(logs[X[:, 0] > 1e155]))


@pytest.mark.parametrize("algorithm", ["brute", "tree", FOURIER])
def test_some_points_far_away_among_others(algorithm, rng):
    Y, X = rng.standard_normal((400, 2)), rng.standard_normal((300, 2))
    X[7] = 1e307
    for dtype in (np.float64, np.float32):
        model = KernelDensity(bandwidth=0.01, algorithm=algorithm, leaf_size=20).fit(
            Y.astype(dtype)
        )
        logs = model.score_samples(X)
        assert np.isneginf(logs[7])
        others = np.delete(np.arange(300), 7)
        expected = expected_logs("gaussian", X[others], Y.astype(dtype), 0.01)
        assert_logs(logs[others], expected, LOG_TOL)
    far = np.float32([[1e36, 0]])
    model = KernelDensity(bandwidth=1e-3, algorithm=algorithm).fit(Y.astype(np.float32))
    assert model.score_samples(far) == pytest.approx(-5e77, rel=1e-6)
    tiny = KernelDensity(bandwidth=1e-50, algorithm=algorithm).fit(np.zeros((1, 1)))
    expected = -np.log(1e-50 * np.sqrt(2 * np.pi))
    for dtype in (np.float64, np.float32):
        assert tiny.score_samples(np.zeros((1, 1), dtype=dtype)) == pytest.approx(expected)


# ---- bandwidths ----


def test_plain_rules(rng):
    Y = 7 * rng.standard_normal((200, 3))
    for rule in ("scott", "silverman"):
        theirs = scikit_learn.KernelDensity(bandwidth=rule).fit(Y)
        assert KernelDensity(bandwidth=rule).fit(Y).bandwidth_ == pytest.approx(theirs.bandwidth_)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_scaled_rules_are_those_of_scipy(rule, d, rng):
    mixing = rng.standard_normal((d, d))
    Y, X = rng.standard_normal((300, d)) @ mixing + 100, rng.standard_normal((40, d)) @ mixing + 100
    for w in (None, rng.random(300)):
        model = KernelDensity(bandwidth=f"scaled_{rule}").fit(Y, sample_weight=w)
        theirs = gaussian_kde(Y.T, bw_method=rule, weights=w)
        np.testing.assert_allclose(model.bandwidth_, theirs.covariance, rtol=1e-10)
        assert_logs(model.score_samples(X), theirs.logpdf(X.T), LOG_TOL)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, FOURIER])
def test_bandwidths_of_features(algorithm, rng):
    X, Y = two_clusters(rng, 500, 5, 3)
    sides = np.array([0.5, 2.0, 0.1])
    expected = expected_logs("gaussian", X / sides, Y / sides, 1.0) - np.log(sides).sum()
    for bandwidth in (sides, list(sides), np.diag(sides**2)):
        model = KernelDensity(bandwidth=bandwidth, algorithm=algorithm, leaf_size=20).fit(Y)
        assert_logs(model.score_samples(X), expected, LOG_TOL)


@pytest.mark.parametrize("algorithm", ["brute", "tree"])
def test_a_bandwidth_may_be_an_array_of_one_number(algorithm, rng):
    Y, X = rng.standard_normal((2, 200, 2))
    model = KernelDensity(bandwidth=0.7, algorithm=algorithm).fit(Y)
    again = KernelDensity(bandwidth=np.array(0.7), algorithm=algorithm).fit(Y)
    assert type(again.bandwidth_) is float
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    for bad in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="bandwidth must be positive and finite, got"):
            KernelDensity(bandwidth=np.array(bad)).fit(Y)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, FOURIER])
def test_bandwidths_of_features_in_float32(algorithm, rng):
    """Coordinates that are not powers of two times those given are not rounded again."""
    Y = (1e4 * rng.standard_normal((500, 2))).astype(np.float32)
    X = Y[:50] + np.float32(0.3)
    expected = expected_logs("gaussian", X.astype(float), Y.astype(float), 0.1)
    for bandwidth in ([0.1, 0.1], 0.01 * np.eye(2)):
        for dtype in (np.float32, np.float64):
            model = KernelDensity(bandwidth=bandwidth, algorithm=algorithm).fit(Y.astype(dtype))
            assert_logs(model.score_samples(X), expected, LOG_TOL + 1e-6)


def test_the_rule_of_sheather_and_jones(rng):
    Y = np.append(rng.normal(0, 0.1, 500), rng.normal(5, 0.1, 500))[:, np.newaxis]
    for X in (Y, Y.astype(np.float32)):
        model = KernelDensity(bandwidth="isj").fit(X)
        assert type(model.bandwidth_) is float
        assert model.bandwidth_ == pytest.approx(improved_sheather_jones(X[:, 0]))
    weights = rng.uniform(0, 2, 1000)
    weights[:20] = 0
    found = KernelDensity(bandwidth="isj").fit(Y, sample_weight=weights).bandwidth_
    assert found == pytest.approx(improved_sheather_jones(Y[20:, 0], weights[20:]))
    with pytest.raises(ValueError, match=r"bandwidth must be .* than one feature, got 2 feat"):
        KernelDensity(bandwidth="isj").fit(np.hstack([Y, Y]))
    with pytest.raises(ValueError, match="bandwidth must be a number where the samples are too"):
        KernelDensity(bandwidth="isj").fit(np.zeros((30, 1)))


def test_scaled_rules_do_not_mind_the_units(rng):
    Y = rng.standard_normal((300, 2))
    units = np.array([1.0, 1e-9])
    expected = KernelDensity(bandwidth="scaled_scott").fit(Y).score_samples(Y)
    logs = KernelDensity(bandwidth="scaled_scott").fit(Y * units).score_samples(Y * units)
    assert_logs(logs + np.log(units).sum(), expected, LOG_TOL)


@pytest.mark.parametrize("name", KERNELS)
def test_a_matrix_for_the_bandwidth(name, rng):
    A = rng.standard_normal((2, 2))
    matrix = A @ A.T + 0.1 * np.eye(2)
    X, Y = two_clusters(rng, 500, 2)
    root = np.linalg.inv(np.linalg.cholesky(matrix)).T
    expected = expected_logs(name, X @ root, Y @ root, 1.0) - np.linalg.slogdet(matrix)[1] / 2
    model = KernelDensity(bandwidth=matrix, kernel=name).fit(Y)
    assert_logs(model.score_samples(X), expected, LOG_TOL)


@pytest.mark.parametrize("name", KERNELS)
def test_the_integral_is_one(name, rng):
    Y = rng.standard_normal((5, 2))
    X = np.stack(np.meshgrid(*[np.linspace(-12, 12, 600)] * 2), axis=-1).reshape(-1, 2)
    area = (24 / 599) ** 2
    for bandwidth in (0.7, [0.5, 1.0], [[0.5, 0.3], [0.3, 0.6]]):
        model = KernelDensity(kernel=name, bandwidth=bandwidth).fit(Y)
        total = np.exp(model.score_samples(X)).sum() * area
        assert total == pytest.approx(1, abs=1e-2 if name == "tophat" else 1e-3)


# ---- tolerances ----


def test_tolerances(rng):
    Y, X = rng.standard_normal((5000, 2)), rng.standard_normal((300, 2))
    exact = KernelDensity(bandwidth=0.3, algorithm="brute").fit(Y).score_samples(X)
    for tolerance in (1e-1, 1e-3, 1e-8):
        for options in ({"log_tol": tolerance}, {"rtol": tolerance}):
            model = KernelDensity(bandwidth=0.3, algorithm="tree", leaf_size=20, **options)
            error = np.abs(model.fit(Y).score_samples(X) - exact).max()
            assert error <= -np.log1p(-tolerance)
            assert error >= tolerance / 100
    nothing = KernelDensity(bandwidth=0.3, algorithm="tree", leaf_size=20, log_tol=0).fit(Y)
    assert_logs(nothing.score_samples(X), exact, 1e-12)


@pytest.mark.parametrize("kernel", ["gaussian", "tophat"])
def test_weights_of_a_score_are_repetitions(kernel, rng):
    Y, X = rng.standard_normal((2, 200, 2))
    weights = rng.integers(0, 4, 200)
    X[:5], weights[:5] = 1e3, 0  # no density, where nothing counts
    options = {"kernel": kernel, "log_tol": 0}
    for model in (KernelDensity(bandwidth=3.0, **options), KernelDensityCV([3.0, 4.0], **options)):
        model.fit(Y)
        repeated = model.score(X.repeat(weights, axis=0))
        assert model.score(X, sample_weight=weights) == pytest.approx(repeated)
        assert model.score(X, sample_weight=0.5 * weights) == pytest.approx(0.5 * repeated)
        assert model.score(Y, sample_weight=np.ones(200)) == pytest.approx(model.score(Y))
        for bad in (-weights - 1, weights[:7], 0 * weights):
            with pytest.raises(ValueError, match=r"[sS]ample[ _]weight"):
                model.score(X, sample_weight=bad)


def test_absolute_tolerance(rng):
    Y, X = rng.standard_normal((5000, 2)), 2 * rng.standard_normal((300, 2))
    w = rng.random(5000)
    options = {"bandwidth": 0.3, "leaf_size": 20}
    exact = KernelDensity(**options, algorithm="brute").fit(Y, sample_weight=w).score_samples(X)
    rough = KernelDensity(**options, algorithm="tree", atol=0.02).fit(Y, sample_weight=w)
    errors = np.abs(np.exp(rough.score_samples(X)) - np.exp(exact))
    assert 1e-4 < errors.max() <= 0.02 + 1e-4 * np.exp(exact).max()


# ---- weights ----


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, FOURIER])
def test_weights_are_repetitions(algorithm, rng):
    X, Y = two_clusters(rng, 200, 3)
    times = rng.integers(0, 4, 200)
    options = {"bandwidth": 0.7, "algorithm": algorithm, "leaf_size": 20, "log_tol": 1e-6}
    weighted = KernelDensity(**options).fit(Y, sample_weight=times)
    repeated = KernelDensity(**options).fit(np.repeat(Y, times, axis=0))
    assert_logs(weighted.score_samples(X), repeated.score_samples(X), 2e-6)
    scaled = KernelDensity(**options).fit(Y, sample_weight=times * 1e-200)
    assert_logs(scaled.score_samples(X), repeated.score_samples(X), 2e-6)


@pytest.mark.parametrize("algorithm", ["brute", "tree", FOURIER])
def test_weights_of_any_size(algorithm):
    Y = np.array([[0.0], [100.0]])
    for w in ([1e200, 1e-150], [1e-150, 1e-300], [1e308, 1e308], [5e-324, 5e-324]):
        log_w = np.log(w)
        expected = log_w[1] - np.logaddexp(*log_w)
        for name in KERNELS if algorithm != "fourier" else ["gaussian"]:
            model = KernelDensity(kernel=name, algorithm=algorithm).fit(Y, sample_weight=w)
            found = model.score_samples([[100.0]]) + log_integral(name, 1)
            if name in ("gaussian", "exponential"):
                tail = log_w[0] - np.logaddexp(*log_w) - (100 if name == "exponential" else 5000)
                assert found == pytest.approx(np.logaddexp(expected, tail), abs=LOG_TOL)
            else:
                assert found == pytest.approx(expected, abs=LOG_TOL)


# ---- samples ----


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("bandwidth", [1.3, "scott", np.array(2.0)])
def test_sparse_samples(bandwidth, name, rng):
    Y, X = (np.where(rng.random((200, 8)) < 0.3, rng.standard_normal((200, 8)), 0.0) for _ in "YX")
    options = {"bandwidth": bandwidth, "kernel": name, "log_tol": 0}
    for weights in (None, rng.integers(0, 3, 200)):
        dense = KernelDensity(**options).fit(Y, sample_weight=weights)
        expected = dense.score_samples(X)
        for algorithm in ("auto", "brute", "kd_tree"):
            model = KernelDensity(**options, algorithm=algorithm)
            model.fit(sparse.csc_matrix(Y), sample_weight=weights)
            assert model.bandwidth_ == dense.bandwidth_
            found = model.score_samples(sparse.csr_matrix(X))
            # At the edge of a kernel its logarithm magnifies the rounding of distances.
            densities, scale = np.exp(expected), np.exp(expected.max())
            np.testing.assert_allclose(np.exp(found), densities, rtol=1e-6, atol=1e-8 * scale)
            np.testing.assert_array_equal(found, model.score_samples(X))
            again = pickle.loads(pickle.dumps(model))
            np.testing.assert_array_equal(again.score_samples(X), found)
        drawn = model.sample(7, random_state=0)
        np.testing.assert_allclose(drawn, dense.sample(7, random_state=0))
        np.testing.assert_array_equal(dense.score_samples(sparse.csr_matrix(X)), expected)


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        ({"metric": "manhattan"}, TypeError, "X must be dense where metric is 'manhattan'"),
        ({"algorithm": "tree"}, TypeError, "X must be dense where algorithm is 'tree'"),
        ({"algorithm": "gofmm"}, TypeError, "X must be dense where algorithm is 'gofmm'"),
        pytest.param(
            {"algorithm": "fourier"},
            TypeError,
            "X must be dense where algorithm is 'fourier'",
            marks=needs_finufft,
        ),
        ({"bandwidth": [1.0, 2.0]}, ValueError, "bandwidth must be a number or 'scott' or 'silver"),
        ({"bandwidth": "scaled_scott"}, ValueError, "bandwidth must be a number or 'scott'"),
        ({"bandwidth": -1.0}, ValueError, "'bandwidth' parameter"),
    ],
)
def test_what_sparse_samples_are_not_for(parameters, kind, message, rng):
    with pytest.raises(kind, match=message):
        KernelDensity(**parameters).fit(sparse.csr_matrix(rng.random((30, 2))))


def test_rounding_of_sparse_distances_is_told(rng):
    X = sparse.csr_matrix(rng.random((30, 2)) + 1e7)
    with pytest.warns(ConvergenceWarning, match="rounding of distances between sparse samples"):
        KernelDensity(bandwidth=0.1).fit(X)


def test_samples_have_the_bandwidth(rng):
    Y = np.zeros((1, 2))
    for bandwidth, covariance in (
        ([1.0, 3.0], np.diag([1.0, 9.0])),
        ([[2.0, 1.0], [1.0, 3.0]], [[2.0, 1.0], [1.0, 3.0]]),
    ):
        X = KernelDensity(bandwidth=bandwidth).fit(Y).sample(20_000, random_state=0)
        np.testing.assert_allclose(np.cov(X.T), covariance, atol=0.3)


def test_samples_are_drawn_by_weight():
    Y = np.array([[0.0], [10.0], [20.0]])
    model = KernelDensity(bandwidth=0.01).fit(Y, sample_weight=[1, 0, 3])
    X = model.sample(4000, random_state=0)
    assert np.mean(X > 15) == pytest.approx(0.75, abs=0.05)
    assert not np.any((X > 5) & (X < 15))
    assert model.sample().shape == (1, 1)
    again = model.sample(5, random_state=3)
    np.testing.assert_array_equal(model.sample(5, random_state=3), again)
    generators = [np.random.default_rng(3) for _ in range(2)]
    drawn = [model.sample(5, random_state=generator) for generator in generators]
    np.testing.assert_array_equal(*drawn)
    assert np.any(model.sample(5, random_state=generators[0]) != drawn[0])
    assert KernelDensity().fit(Y.astype(np.float32)).sample(3).dtype == np.float32


# ---- input ----


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bandwidth": 0.0}, "'bandwidth' parameter"),
        ({"bandwidth": -1.0}, "'bandwidth' parameter"),
        ({"bandwidth": np.nan}, "'bandwidth' parameter"),
        ({"bandwidth": "wide"}, "'bandwidth' parameter"),
        (
            {"bandwidth": [1.0, 2.0]},
            r"bandwidth must be a number, of shape \(3,\).* or .*\(3, 3\), got shape \(2,\)",
        ),
        ({"bandwidth": [1.0, 0.0, 2.0]}, r"bandwidth\[1\] must be positive, got 0\."),
        ({"bandwidth": [1.0, np.nan, 2.0]}, "bandwidth must be finite, got NaN or infinity"),
        (
            {"bandwidth": -np.eye(3)},
            "bandwidth must be symmetric and positive definite.* got one that is not positive",
        ),
        (
            {"bandwidth": np.triu(np.ones((3, 3)))},
            "bandwidth must be symmetric and positive definite.* differs from its transpose by 1",
        ),
        (
            {"bandwidth": [1.0, 1.0, 2.0], "metric": "manhattan"},
            r"bandwidth must be a number where metric is 'manhattan', .*got shape \(3,\)",
        ),
        ({"bandwidth": ["a"]}, r"bandwidth must be numeric, got \['a'\]"),
        ({"kernel": "biweight"}, "'kernel' parameter"),
        ({"algorithm": "fast"}, "'algorithm' parameter"),
        (
            {"algorithm": "gofmm", "kernel": "tophat"},
            "kernel must be 'gaussian' or 'exponential' where algorithm is 'gofmm', got 'tophat'",
        ),
        (
            {"algorithm": "tree", "metric": "manhattan"},
            "algorithm must be 'auto' or 'brute' where metric is 'manhattan', .* got 'tree'",
        ),
        (
            {"algorithm": "fourier", "metric": "manhattan"},
            "algorithm must be 'auto' or 'brute' where metric is 'manhattan', .* got 'fourier'",
        ),
        (
            {"algorithm": "fourier", "kernel": "exponential"},
            "kernel must be 'gaussian' where algorithm is 'fourier', got 'exponential'",
        ),
        (
            {"algorithm": "kd_tree", "metric": "haversine"},
            "metric must be a metric of KDTree .* 'kd_tree', got the invalid metric 'haversine'",
        ),
        ({"metric": "cosine"}, "'metric' parameter"),
        ({"atol": -1}, "'atol' parameter"),
        ({"rtol": -1}, "'rtol' parameter"),
        ({"log_tol": -1}, "'log_tol' parameter"),
        ({"leaf_size": 0}, "'leaf_size' parameter"),
    ],
)
def test_bad_parameters(parameters, message, rng):
    with pytest.raises(ValueError, match=message):
        KernelDensity(**parameters).fit(rng.random((20, 3)))


@pytest.mark.parametrize("rule", ["scaled_scott", "scaled_silverman"])
def test_scaled_rules_need_a_covariance(rule, rng):
    Y = rng.random((20, 3))
    Y[:, 1] = 1.0
    model = KernelDensity(bandwidth=rule)
    with pytest.raises(ValueError, match=r"covariance of the samples is singular.* got 'scaled"):
        model.fit(Y)
    with pytest.raises(
        ValueError, match=r"bandwidth must be a number.* only one sample has a weight, got"
    ):
        model.fit(rng.random((20, 3)), sample_weight=np.eye(20)[0])


def test_bad_input(rng):
    Y, model = rng.random((20, 3)), KernelDensity()
    missing = Y.copy()
    missing[0, 0] = np.nan
    for method in (model.score_samples, model.score):
        with pytest.raises(NotFittedError):
            method(Y)
    with pytest.raises(NotFittedError):
        model.sample()
    for samples, weights, message in (
        (missing, None, "NaN"),
        (np.where(Y[3, 1] == Y, np.inf, Y), None, "infinity"),
        (Y, np.zeros(20), "zero for all samples|at least one non-zero"),
        (Y, -np.ones(20), "Negative values in sample_weight: -1 at 0"),
        (Y, np.ones(19), r"sample_weight.shape == \(19,\)"),
        (Y, np.ones((20, 2)), "must be 1D"),
        (Y, np.full(20, np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(samples, sample_weight=weights)
    model.fit(Y)
    with pytest.raises(ValueError, match="2 features, but KernelDensity is expecting 3"):
        model.score_samples(Y[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        model.score_samples(missing)
    with pytest.raises(ValueError, match=r"n_samples must be .*got 0"):
        model.sample(0)


def test_one_sample(rng):
    for algorithm in ALGORITHMS:
        model = KernelDensity(algorithm=algorithm).fit([[1.0, 2.0]])
        assert model.score_samples([[1.0, 2.0]]) == pytest.approx([-np.log(2 * np.pi)])


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, FOURIER])
def test_samples_that_are_all_the_same(algorithm):
    Y, X = np.ones((500, 2)), np.array([[1.0, 1.0], [1.0, 4.0]])
    model = KernelDensity(algorithm=algorithm, leaf_size=10).fit(Y)
    assert_logs(model.score_samples(X), expected_logs("gaussian", X, Y, 1.0), LOG_TOL)


@needs_finufft
@pytest.mark.parametrize("estimator", [KernelDensity, KernelDensityCV])
def test_modes_are_for_three_features(estimator, rng):
    allowed = "algorithm must be 'auto', 'brute' or 'tree' where X has more than 3 features, got"
    with pytest.raises(ValueError, match=f"{allowed} 'fourier' and 4 features"):
        estimator(algorithm="fourier").fit(rng.random((20, 4)))


@pytest.mark.parametrize("estimator", [KernelDensity, KernelDensityCV])
def test_modes_need_a_library(estimator, rng, monkeypatch):
    """Without it "auto" takes other algorithms."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "finufft", None)
        with pytest.raises(ImportError, match=r"algorithm='fourier' .*skhmat\[fourier\]"):
            estimator(algorithm="fourier").fit(rng.random((20, 2)))
        X, Y = rng.standard_normal((2, 5000, 2))
        found = KernelDensity(bandwidth=0.5).fit(Y).score_samples(X)
    some = rng.integers(5000, size=100)
    assert_logs(found[some], expected_logs("gaussian", X[some], Y, 0.5), LOG_TOL)


@pytest.mark.parametrize("algorithm", ["auto", "tree", FOURIER])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_in_the_tails(d, algorithm, rng):
    """20 bandwidths from all samples, where modes alone say nothing."""
    Y = rng.standard_normal((5000, d))
    steps = rng.standard_normal((300, d))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    X = np.vstack([rng.standard_normal((3000, d)), rng.uniform(3, 10, (300, 1)) * steps])
    model = KernelDensity(bandwidth=0.25, algorithm=algorithm).fit(Y)
    some = np.append(rng.integers(3000, size=100), np.arange(3000, 3300))
    logs = model.score_samples(X)[some]
    assert_logs(logs, expected_logs("gaussian", X[some], Y, 0.25), LOG_TOL)


def test_input_is_left_alone(rng):
    Y, w, bandwidth = rng.random((30, 2)), rng.random(30), np.array([0.5, 0.7])
    copies = Y.copy(), w.copy(), bandwidth.copy()
    model = KernelDensity(bandwidth=bandwidth).fit(Y, sample_weight=w)
    before = model.score_samples(Y)
    for given, copy in zip((Y, w, bandwidth), copies, strict=True):
        np.testing.assert_array_equal(given, copy)
    bandwidth[:] = -1
    w[:] = -1
    np.testing.assert_array_equal(model.score_samples(Y), before)


# ---- scikit-learn ----


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, FOURIER])
def test_pickled_and_cloned_models_do_the_same(algorithm, rng):
    X, Y = two_clusters(rng, 300, 3)
    model = KernelDensity(algorithm=algorithm, bandwidth=3.0, random_state=0, leaf_size=32).fit(Y)
    expected = model.score_samples(X)
    np.testing.assert_array_equal(model.score_samples(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).score_samples(X), expected)
    np.testing.assert_array_equal(clone(model).fit(Y).score_samples(X), expected)


def test_in_searches(rng):
    Y = rng.standard_normal((100, 2)) * [1, 1000]
    grid = {"kerneldensity__bandwidth": [0.01, 0.3, 30.0]}
    models = (
        GridSearchCV(make_pipeline(StandardScaler(), kind()), grid, cv=KFold(4)).fit(Y)
        for kind in (KernelDensity, scikit_learn.KernelDensity)
    )
    ours, theirs = (model.cv_results_["mean_test_score"] for model in models)
    np.testing.assert_allclose(ours[1:], theirs[1:], rtol=1e-4)
    assert np.argmax(ours) == 1


def test_parameters_of_scikit_learn_mean_the_same():
    ours = inspect.signature(KernelDensity.__init__).parameters
    theirs = inspect.signature(scikit_learn.KernelDensity.__init__).parameters
    for name, parameter in theirs.items():
        # Larger leaves are faster here.
        assert name == "leaf_size" or ours[name].default == parameter.default
    for name in ours:
        if name != "self":
            assert re.search(rf"^{name} : ", inspect.getdoc(KernelDensity), re.MULTILINE), name


def test_log_says_how(rng, caplog):
    with caplog.at_level("INFO", logger="skhmat"):
        KernelDensity(verbose=1).fit(rng.random((10, 2))).score_samples(rng.random((3, 2)))
    assert "3 sums over 10 samples by 'brute'" in caplog.text
