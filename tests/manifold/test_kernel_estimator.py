"""What both estimators do alike: choice of the bandwidth, warnings, scikit-learn's conventions."""

import inspect
import pickle
import re

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from skhmat.manifold import DiffusionMaps, GeometricHarmonics, _kernel_estimator
from skhmat.manifold._spectral.affinity import choose_affinity
from skhmat.manifold._spectral.eigenpairs import EigenpairPolicy

from .affinities import (
    EPSILON,
    ERRORS,
    FEW,
    STRICT,
    Reference,
    arc,
    assert_eigenpairs,
    in_form,
    kernel,
    with_policy,
)

pytestmark = STRICT


# ---- bandwidth ----


def sum_slopes(X, epsilons):
    """d log S / d log epsilon by differences, S being the sum of the kernel matrix."""
    D2 = cdist(X, X, "sqeuclidean")
    up, down = ([np.exp(-D2 / (2 * s * e)).sum() for e in epsilons] for s in (1.001, 0.999))
    return (np.log(up) - np.log(down)) / np.log(1.001 / 0.999)


@pytest.mark.parametrize(
    "estimator", [DiffusionMaps(epsilon="sum"), GeometricHarmonics(5, epsilon="sum")]
)
@pytest.mark.parametrize("d", [2, 5])
def test_epsilon_is_where_the_sum_of_the_kernel_grows_fastest(d, estimator, rng):
    X = rng.random((150, d))
    model = clone(estimator).fit(X, X[:, 0])
    D2 = cdist(X, X, "sqeuclidean")
    tried = np.geomspace(D2[D2 > 0].min() / 10, D2.max(), 400)
    best = sum_slopes(X, tried).max()
    assert sum_slopes(X, [model.epsilon_])[0] >= 0.98 * best
    assert model.dimension_ == pytest.approx(2 * best, rel=0.02)


def test_epsilon_has_the_unit_of_squared_distances(rng):
    X = arc(rng, 150)
    one = DiffusionMaps().fit(X)
    for scale in (2.0**-20, 8.0):
        other = DiffusionMaps().fit(scale * X)
        assert other.epsilon_ == pytest.approx(scale**2 * one.epsilon_, rel=1e-9)
        np.testing.assert_allclose(other.eigenvalues_, one.eigenvalues_, atol=1e-12)


def test_plot_of_the_bandwidths(rng):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    X = arc(rng, 100)
    model = DiffusionMaps().fit(X)
    ax = model.plot_epsilon()
    assert isinstance(ax, matplotlib.axes.Axes)
    assert "link" in ax.get_xlabel()
    assert model.plot_epsilon(ax) is ax
    assert f"{model.epsilon_:.3g}" in ax.get_legend().get_texts()[0].get_text()
    summed = GeometricHarmonics(epsilon="sum").fit(X, X)
    assert "epsilon" in summed.plot_epsilon().get_xlabel()
    plt.close("all")


def test_nothing_is_left_of_a_bandwidth_that_was_chosen_before(rng):
    X = arc(rng, 100)
    model = DiffusionMaps().fit(X).set_params(epsilon=1.0).fit(X)
    assert model.epsilon_ == 1.0
    with pytest.raises(ValueError, match=r"epsilon must be 'auto' or 'sum' .* got 1\.0"):
        model.plot_epsilon()
    assert not hasattr(model, "dimension_")


# ---- input ----


@pytest.mark.parametrize("estimator", [DiffusionMaps(1), GeometricHarmonics(2)])
def test_constant_data(estimator):
    X = np.ones((20, 3))
    with pytest.raises(
        ValueError, match=r"epsilon must be a number where all distances.*are 0, got 'auto'"
    ):
        clone(estimator).fit(X, X[:, 0])
    for solver in ("dense", "lanczos", "chebyshev"):
        model = clone(estimator).set_params(epsilon=1.0, eigen_solver=solver).fit(X, X[:, 0])
        largest = 1 if isinstance(model, DiffusionMaps) else 20
        assert model.eigenvalues_[0] == pytest.approx(largest)
        np.testing.assert_allclose(np.abs(model.eigenvectors_[:, 0]), 20**-0.5)


@pytest.mark.parametrize("estimator", [DiffusionMaps(1), GeometricHarmonics(2)])
@pytest.mark.parametrize("scale", [1e160, 1e308])
def test_distances_that_overflow(estimator, scale, rng):
    X = scale * arc(rng, 20)
    # scikit-learn's search for NaN adds the samples up, which overflows with some seeds.
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(
            ValueError, match=r"X must be scaled .*overflow float64, got .* differ by up to"
        ),
    ):
        clone(estimator).fit(X, np.arange(20.0))


def test_a_miss_is_a_warning(rng):
    policy = EigenpairPolicy(max_filters=0)
    X = arc(rng, 200)
    for model in (DiffusionMaps(), GeometricHarmonics(10)):
        model.set_params(epsilon=EPSILON, eigen_solver="chebyshev", eigen_tol=1e-12)
        with_policy(model, eigenpairs=policy)
        message = f"{type(model).__name__}: the eigensolver stopped.*raise eigen_tol"
        with pytest.warns(ConvergenceWarning, match=message) as caught:
            model.fit(X, X[:, 0])
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"knn": 8},
        {"variable_bandwidth": 5},
        {"kernel": "precomputed"},
        {"metric": "precomputed"},
    ],
)
def test_input_is_left_alone(parameters, rng):
    X, Y = arc(rng, 150), arc(rng, 20)
    if "kernel" in parameters:
        X, Y = kernel(X, X), kernel(Y, X)
    elif "metric" in parameters:
        X, Y = cdist(X, X), cdist(Y, X)
    forms = [np.ascontiguousarray, np.asfortranarray]
    for form in forms + [sparse.csr_matrix] * ("precomputed" in parameters.values()):
        given, new = form(X), form(Y)
        for array in (given, new):
            (array if isinstance(array, np.ndarray) else array.data).flags.writeable = False
        model = DiffusionMaps(2, epsilon=0.1, cut_off=0.5, **parameters).fit(given)
        model.transform(new)
        for array, before in ((given, X), (new, Y)):
            dense = array if isinstance(array, np.ndarray) else array.toarray()
            np.testing.assert_array_equal(dense, before)


def test_single_precision_stays(form, rng):
    X, Y = arc(rng, 200), arc(rng, 30)
    double = in_form(DiffusionMaps(3, epsilon=EPSILON, **FEW), form).fit(X)
    single = in_form(DiffusionMaps(3, epsilon=EPSILON, **FEW), form)
    embedding = single.fit_transform(X.astype(np.float32))
    assert embedding.dtype == single.transform(Y.astype(np.float32)).dtype == np.float32
    assert single.transform(Y).dtype == double.transform(Y).dtype == np.float64
    np.testing.assert_allclose(embedding, double.embedding_, atol=1e-3)
    harmonics = in_form(GeometricHarmonics(5), form)
    harmonics.fit(X.astype(np.float32), X[:, 0].astype(np.float32))
    assert np.all(np.isfinite(harmonics.predict(Y.astype(np.float32))))


# ---- scikit-learn ----


def test_pickled_and_cloned_models_do_the_same(form, rng):
    X, Y = arc(rng, 200), arc(rng, 30)
    for model in (DiffusionMaps(2, epsilon=EPSILON, **FEW), GeometricHarmonics(5, **FEW)):
        in_form(model, form).fit(X, X[:, 0])
        apply = "transform" if hasattr(model, "transform") else "predict"
        expected = getattr(model, apply)(Y)
        again = in_form(clone(model), form).fit(X, X[:, 0])
        for other in (pickle.loads(pickle.dumps(model)), again):
            np.testing.assert_array_equal(getattr(other, apply)(Y), expected)
            assert other.summary() == model.summary()


def test_a_pickle_is_no_larger_than_what_new_points_need(form, rng):
    X = arc(rng, 800)
    maps = in_form(DiffusionMaps(2, epsilon=EPSILON, **FEW), form).fit(X)
    harmonics = in_form(GeometricHarmonics(5, epsilon=EPSILON, **FEW), form).fit(X, X[:, 0])
    for model in (maps, harmonics):
        # A few numbers for each sample; a hierarchical matrix takes too long to compute again.
        assert form == "compressed" or len(pickle.dumps(model)) <= 50 * 8 * len(X)
    W = rng.standard_normal((800, 3))
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(maps))))
    np.testing.assert_array_equal(again.operator_ @ W, maps.operator_ @ W)


@pytest.mark.parametrize("parameters", [{"knn": 20}, {"variable_bandwidth": 10}])
def test_operators_of_neighbourhoods_are_computed_again(parameters, rng):
    X, W = arc(rng, 500), rng.standard_normal((500, 3))
    maps = DiffusionMaps(2, epsilon=0.5, random_state=0, **parameters).fit(X)
    again = pickle.loads(pickle.dumps(maps))
    np.testing.assert_array_equal(again.operator_ @ W, maps.operator_ @ W)


def test_in_pipelines_and_searches(rng):
    X = arc(rng, 90)
    y = np.arctan2(X[:, 1], X[:, 0])
    pipeline = make_pipeline(StandardScaler(), DiffusionMaps(epsilon=0.5), LinearRegression())
    parameters = {"diffusionmaps__n_components": [1, 3], "diffusionmaps__t": [0.5, 2]}
    search = GridSearchCV(pipeline, parameters, cv=3).fit(X, y)
    assert search.best_score_ > 0.3
    assert search.predict(X).shape == y.shape
    union = make_union(DiffusionMaps(2), DiffusionMaps(3, epsilon=1.0))
    assert union.fit_transform(X).shape == (90, 5)
    np.testing.assert_allclose(union.transform(X), union.fit_transform(X), atol=1e-8)
    scores = cross_val_score(GeometricHarmonics(20, epsilon=0.1), X, y, cv=3)
    assert scores.shape == (3,)
    by_kernel = make_pipeline(DiffusionMaps(kernel="precomputed"), LinearRegression())
    assert np.all(np.isfinite(cross_val_score(by_kernel, kernel(X, X, 0.5), y, cv=3)))


def test_random_state_decides(form, rng):
    X = arc(rng, 300)
    model = in_form(DiffusionMaps(3, eigen_solver="chebyshev", **FEW), form)
    first = model.fit_transform(X)
    np.testing.assert_array_equal(in_form(clone(model), form).fit_transform(X), first)
    np.testing.assert_array_equal(model.fit_transform(X), first)
    drawn = clone(model).set_params(random_state=np.random.RandomState(5), epsilon=EPSILON)
    in_form(drawn, form)
    assert_eigenpairs(drawn.fit(X), Reference(kernel(X, X), 1.0), ERRORS[form])


def test_summary_tells_the_form(form, rng):
    X = arc(rng, 1000)  # with 600, ranks are now and then too high for compression to pay
    words = {
        "dense": "all 1,000 x 1,000 entries in float64",
        "float32": "half of the 1,000 x 1,000 entries in float32",
        "sparse": "sparse, .* entries per row",
        "compressed": "hierarchical, .*% of the memory",
    }[form]
    for model in (DiffusionMaps(epsilon=EPSILON, **FEW), GeometricHarmonics(epsilon=0.5, **FEW)):
        text = in_form(model, form).fit(X, X[:, 0]).summary()
        head = f"{type(model).__name__} of 1,000 samples"
        assert text.startswith(head)
        assert re.search(f"kernel +{words}", text)
        assert f"{model.error_estimate_:.1e} relative" in text
        assert re.search(r"epsilon +0\.\d+, given", text)
    assert "eigenvalues" in text


def test_summary_tells_who_chose_epsilon(rng):
    assert "chosen" in DiffusionMaps(**FEW).fit(arc(rng, 300)).summary()


def test_parameters_are_documented():
    for cls in (DiffusionMaps, GeometricHarmonics):
        for name in cls().get_params():
            assert re.search(rf"^{name} : ", inspect.getdoc(cls), re.MULTILINE), name
        assert "{" + "compression}" not in cls.__doc__


# ---- what the eigensolver is expected to do ----


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (DiffusionMaps(2, epsilon=0.1), 25 * 8),
        (DiffusionMaps("auto", epsilon=0.1), 25 * 16),
        (DiffusionMaps(2, epsilon=0.1, eigen_solver="dense"), 600),
        (DiffusionMaps(200, epsilon=0.1), 600),  # decomposed whole
        (GeometricHarmonics(12, epsilon=0.1), 25 * 24),
    ],
)
def test_expected_products_are_those_of_the_block(model, expected, monkeypatch, rng):
    seen = []

    def spy(*arguments, n_products, **options):
        seen.append(n_products)
        return choose_affinity(*arguments, n_products=n_products, **options)

    monkeypatch.setattr(_kernel_estimator, "choose_affinity", spy)
    X = rng.random((600, 2))
    model.fit(X, X[:, 0])
    assert seen == [expected]
