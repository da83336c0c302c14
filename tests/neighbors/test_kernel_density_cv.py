"""KernelDensityCV against scikit-learn's search, and the definition."""

import inspect
import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat.neighbors import KernelDensity, KernelDensityCV
from skhmat.neighbors._density.kernels import log_integral

from .densities import VALUES, distances, slow_logs

BANDWIDTHS = 0.2, 0.5, 1.0, 4.0


@parametrize_with_checks(
    [
        KernelDensityCV(),
        KernelDensityCV([0.5, 1.0], cv=3, kernel="exponential"),
        KernelDensityCV([1.0, 10.0], algorithm="tree", leaf_size=3),
        KernelDensityCV([2.0], metric="chebyshev", kernel="gaussian", n_jobs=1),
    ]
)
@pytest.mark.filterwarnings("ignore:KernelDensityCV. for all bandwidths:UserWarning")
def test_scikit_learn_api(estimator, check):
    check(estimator)


def left_out(name, Y, bandwidth, w=None):
    """Leave-one-out by the definition."""
    n, d = Y.shape
    w = np.ones(n) if w is None else w
    R = distances(Y, Y) / bandwidth
    np.fill_diagonal(R, np.inf)
    logs = slow_logs(name, R, w) - np.log(w.sum() - w) - log_integral(name, d)
    return np.average(logs - d * np.log(bandwidth), weights=w)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("algorithm", ["auto", "brute", "tree"])
@pytest.mark.parametrize("name", VALUES)
def test_leave_one_out(name, algorithm, weighted, rng):
    # No sample lies alone, also for kernels that vanish.
    Y = rng.random((400, 2))
    w = rng.random(400) if weighted else None
    model = KernelDensityCV(BANDWIDTHS, kernel=name, algorithm=algorithm, leaf_size=10)
    model.fit(Y, sample_weight=w)
    expected = [left_out(name, Y, bandwidth, w) for bandwidth in BANDWIDTHS]
    np.testing.assert_allclose(model.scores_, expected, atol=1e-4)
    best = int(np.argmax(model.scores_))
    assert model.bandwidth_ == BANDWIDTHS[best]
    assert model.best_score_ == model.scores_[best]


@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_by_modes(weighted, rng):
    """Also where little is left without the sample itself."""
    pytest.importorskip("finufft")
    bandwidths = (0.02, *BANDWIDTHS)
    Y = rng.standard_normal((400, 2))
    w = rng.random(400) if weighted else None
    model = KernelDensityCV(bandwidths, algorithm="fourier").fit(Y, sample_weight=w)
    expected = [left_out("gaussian", Y, bandwidth, w) for bandwidth in bandwidths]
    np.testing.assert_allclose(model.scores_, expected, atol=1e-4)
    assert model.estimator_.algorithm == "fourier"
    model = KernelDensityCV(bandwidths, algorithm="fourier", cv=3).fit(Y, sample_weight=w)
    other = KernelDensityCV(bandwidths, algorithm="brute", cv=3).fit(Y, sample_weight=w)
    np.testing.assert_allclose(model.scores_, other.scores_, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("algorithm", ["brute", "tree"])
def test_folds(algorithm, weighted, rng):
    Y = rng.random((300, 2))
    w = rng.random(300) if weighted else np.ones(300)
    folds = KFold(4, shuffle=True, random_state=0)
    model = KernelDensityCV(BANDWIDTHS, cv=folds, algorithm=algorithm, leaf_size=10)
    model.fit(Y, sample_weight=w)
    for bandwidth, score in zip(BANDWIDTHS, model.scores_, strict=True):
        total = 0.0
        for train, test in folds.split(Y):
            one = KernelDensity(bandwidth=bandwidth).fit(Y[train], sample_weight=w[train])
            total += w[test] @ one.score_samples(Y[test])
        assert score == pytest.approx(total / w.sum(), abs=2e-4)


def test_a_weight_that_outweighs_all_others(rng):
    """The remaining total weight is not just the rounding of the large one."""
    Y = rng.random((50, 2))
    w = np.ones(50)
    w[7] = 1e20
    model = KernelDensityCV([0.5], log_tol=0).fit(Y, sample_weight=w)
    others = np.delete(Y, 7, axis=0)
    expected = KernelDensity(bandwidth=0.5, log_tol=0).fit(others).score_samples(Y[7:8])
    assert model.scores_[0] == pytest.approx(expected[0], abs=1e-9)


def test_the_estimator_is_that_of_all_samples(rng):
    Y, X = rng.random((100, 2)), rng.random((20, 2))
    model = KernelDensityCV(BANDWIDTHS, kernel="exponential").fit(Y)
    one = KernelDensity(bandwidth=model.bandwidth_, kernel="exponential").fit(Y)
    np.testing.assert_array_equal(model.score_samples(X), one.score_samples(X))
    assert model.score(X) == one.score(X)
    np.testing.assert_array_equal(model.sample(5, random_state=0), one.sample(5, random_state=0))
    assert isinstance(model.estimator_, KernelDensity)


def test_bandwidths_that_are_not_given(rng):
    """They go with the unit of the data, and the best one lies between them."""
    Y = rng.standard_normal((500, 2))
    chosen = [KernelDensityCV().fit(scale * Y) for scale in (1.0, 1e5)]
    assert chosen[1].bandwidth_ == pytest.approx(1e5 * chosen[0].bandwidth_)
    assert chosen[0].bandwidths_[0] < chosen[0].bandwidth_ < chosen[0].bandwidths_[-1]


def test_a_density_of_zero_is_a_warning(rng):
    model = KernelDensityCV([0.1, 0.2], kernel="tophat")
    with pytest.warns(UserWarning, match="for all bandwidths the density is 0"):
        model.fit([[0.0], [0.01], [10.0]])
    assert np.all(np.isneginf(model.scores_))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bandwidths": []}, r"bandwidths must be of shape \(n_bandwidths,\).* got shape \(0,\)"),
        (
            {"bandwidths": [[1.0]]},
            r"bandwidths must be of shape \(n_bandwidths,\).* got shape \(1, 1\)",
        ),
        ({"bandwidths": [1.0, 0.0]}, r"bandwidths\[1\] must be positive and finite, got 0.0"),
        ({"bandwidths": [np.nan]}, r"bandwidths\[0\] must be positive and finite, got nan"),
        ({"bandwidths": 1.0}, "'bandwidths' parameter"),
        ({"bandwidths": ["a"]}, r"bandwidths must be numeric, got \['a'\]"),
        ({"algorithm": "gofmm"}, "algorithm must be 'auto', .* which can leave out .*'gofmm'"),
        ({"kernel": "biweight"}, "'kernel' parameter"),
        ({"cv": "all"}, "'cv' parameter"),
    ],
)
def test_bad_parameters(parameters, message, rng):
    with pytest.raises(ValueError, match=message):
        KernelDensityCV(**parameters).fit(rng.random((20, 3)))


def test_bandwidths_of_any_size(rng):
    Y = rng.standard_normal((50, 2))
    for dtype, bandwidths in (
        (np.float32, [0.3, 1.0, 1e25]),
        (np.float64, [0.3, 1.0, 1e160]),
        (np.float64, [1e-170, 1.0, 1.0]),
    ):
        model = KernelDensityCV(bandwidths).fit(Y.astype(dtype))
        assert not np.isnan(model.scores_).any()
        assert model.bandwidth_ in (0.3, 1.0)


def test_weights_of_any_size_and_form(rng):
    Y = rng.standard_normal((50, 2))
    w = rng.random(50)
    model = KernelDensityCV([0.3, 1.0])
    scores = [model.fit(Y, sample_weight=w * unit).scores_ for unit in (1.0, 1e-307, 1e307)]
    np.testing.assert_allclose(scores[1:], [scores[0]] * 2, rtol=1e-9)
    one = model.fit(Y, sample_weight=2.0).scores_
    np.testing.assert_allclose(model.fit(Y).scores_, one)


def test_folds_without_weight(rng):
    with pytest.raises(
        ValueError, match=r"cv must be .*positive weight in each fold, got a fold without any"
    ):
        KernelDensityCV([1.0], cv=2).fit(rng.random((4, 2)), sample_weight=[1, 1, 0, 0])


@pytest.mark.parametrize("cv", [None, 3, KFold(4)])
@pytest.mark.parametrize("bandwidths", [None, [0.7, 1.1, 2.0]])
def test_sparse_samples(bandwidths, cv, rng):
    Y, X = (np.where(rng.random((80, 6)) < 0.3, rng.standard_normal((80, 6)), 0.0) for _ in "YX")
    options = {"bandwidths": bandwidths, "cv": cv, "log_tol": 0}
    for weights in (None, rng.integers(1, 3, 80)):
        dense = KernelDensityCV(**options).fit(Y, sample_weight=weights)
        model = KernelDensityCV(**options).fit(sparse.csc_matrix(Y), sample_weight=weights)
        np.testing.assert_allclose(model.bandwidths_, dense.bandwidths_)
        np.testing.assert_allclose(model.scores_, dense.scores_, rtol=1e-6)
        for queries in (X, sparse.csr_matrix(X)):
            found = model.score_samples(queries)
            np.testing.assert_allclose(found, dense.score_samples(queries), rtol=1e-6)
        assert model.score(X) == pytest.approx(dense.score(X), rel=1e-6)
        assert model.sample(5, random_state=0).shape == (5, 6)


def test_what_sparse_samples_are_not_for(rng):
    X = sparse.csr_matrix(rng.random((30, 2)))
    for parameters in ({"metric": "manhattan"}, {"algorithm": "tree"}):
        name, value = next(iter(parameters.items()))
        with pytest.raises(TypeError, match=f"X must be dense where {name} is '{value}'"):
            KernelDensityCV([1.0], **parameters).fit(X)
    far = sparse.csr_matrix(X.toarray() + 1e7)
    with pytest.warns(ConvergenceWarning, match="rounding of distances") as caught:
        KernelDensityCV([0.1, 1e7]).fit(far)
    assert "KernelDensityCV: rounding" in str(caught[0].message)
    assert "with bandwidth 0.1," in str(caught[0].message)


def test_bad_input(rng):
    model, Y = KernelDensityCV([1.0]), rng.random((20, 2))
    for method in (model.score_samples, model.score):
        with pytest.raises(NotFittedError):
            method(Y)
    with pytest.raises(NotFittedError):
        model.sample()
    with pytest.raises(ValueError, match="minimum of 2"):
        model.fit(Y[:1])
    with pytest.raises(
        ValueError, match="sample_weight must be positive for at least 2 samples, got 1"
    ):
        model.fit(Y, sample_weight=np.eye(20)[0])
    with pytest.raises(
        ValueError,
        match=r"bandwidths must be given where .*deviation of the samples is 0, got None",
    ):
        KernelDensityCV().fit(np.ones((20, 2)))
    with pytest.raises(ValueError, match="2 features"):
        model.fit(rng.random((20, 3))).score_samples(Y)


def test_parameters_are_documented():
    for name in KernelDensityCV().get_params():
        assert re.search(rf"^{name} : ", inspect.getdoc(KernelDensityCV), re.MULTILINE), name
    assert clone(KernelDensityCV([1.0])).bandwidths == [1.0]
