"""The classes for datafold against datafold's own, on dense matrices."""

import importlib
import pickle
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_s_curve, make_swiss_roll
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat import manifold

ESTIMATORS = []
if find_spec("datafold") is not None:
    import pandas as pd
    from datafold.appfold import EDMD
    from datafold.dynfold import DiffusionMaps as Reference
    from datafold.dynfold import GeometricHarmonicsInterpolator as ReferenceInterpolator
    from datafold.dynfold import LocalRegressionSelection
    from datafold.pcfold import GaussianKernel, TSCDataFrame

    from skhmat.datafold import DiffusionMaps, GeometricHarmonicsInterpolator

    ESTIMATORS = [
        DiffusionMaps(n_eigenpairs=3),
        DiffusionMaps(epsilon=1.0, n_eigenpairs=3, time_exponent=1),
        GeometricHarmonicsInterpolator(n_eigenpairs=1),
        GeometricHarmonicsInterpolator(epsilon=1.0, n_eigenpairs=1),
    ]


@pytest.fixture(autouse=True)
def datafold_if_needed(request):
    if "without_datafold" not in request.node.name:
        pytest.importorskip("datafold")


def test_import_without_datafold(monkeypatch):
    for name in [*sys.modules, "datafold"]:
        if name.partition(".")[0] == "datafold":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "skhmat.datafold", raising=False)
    with pytest.raises(ImportError, match=r"pip install datafold.*numpy < 1\.27.*Python 3\.1"):
        importlib.import_module("skhmat.datafold")


# Some checks have samples far apart.
@pytest.mark.filterwarnings("ignore:DiffusionMaps. .* eigenvalues are 1:UserWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_has_the_parameters_of_the_estimators_inside():
    own = {"n_components", "t", "kernel", "metric", "delta"}
    assert set(manifold.DiffusionMaps().get_params()) - own <= set(DiffusionMaps().get_params())
    own = set(GeometricHarmonicsInterpolator().get_params())
    assert set(manifold.GeometricHarmonics().get_params()) == own


DATA = {
    "s_curve": (make_s_curve, {"epsilon": 0.2, "n_eigenpairs": 5}),
    "swiss_roll": (make_swiss_roll, {"epsilon": 2.0, "n_eigenpairs": 4}),
}


def pair(epsilon=0.2, **parameters):
    """Return our model and datafold's."""
    return (
        DiffusionMaps(epsilon=epsilon, random_state=0, **parameters),
        Reference(GaussianKernel(epsilon=epsilon), **parameters),
    )


def points(name, seed, n=1100):
    return DATA[name][0](n, random_state=seed)[0]


def relative(actual, expected):
    difference = np.linalg.norm(np.asarray(actual) - np.asarray(expected))
    return difference / np.linalg.norm(np.asarray(expected))


def with_signs_of(vectors, reference):
    return vectors * np.sign(np.sum(np.asarray(vectors) * np.asarray(reference), axis=0))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", DATA)
def test_agrees_with_datafold(name, alpha, global_random_seed):
    X, new = points(name, global_random_seed), points(name, global_random_seed + 1, 300)
    ours, reference = pair(alpha=alpha, **DATA[name][1])
    ours.fit(X)
    reference.fit(X)
    vectors = with_signs_of(ours.eigenvectors_, reference.eigenvectors_)
    np.testing.assert_allclose(ours.eigenvalues_, reference.eigenvalues_, atol=1e-5)
    np.testing.assert_allclose(vectors, reference.eigenvectors_, atol=1e-5)
    expected = reference.transform(new)
    np.testing.assert_allclose(with_signs_of(ours.transform(new), expected), expected, atol=1e-5)
    back = ours.inverse_transform(ours.eigenvectors_)
    assert relative(back, reference.inverse_transform(reference.eigenvectors_)) < 1e-5


def test_cut_off_is_the_radius_of_datafold(rng):
    X = rng.uniform(size=(1000, 2))
    ours = DiffusionMaps(0.01, n_eigenpairs=5, cut_off=0.2, random_state=0).fit(X)
    kernel = GaussianKernel(epsilon=0.01, distance={"cut_off": 0.2})
    reference = Reference(kernel, n_eigenpairs=5).fit(X)
    np.testing.assert_allclose(ours.eigenvalues_, reference.eigenvalues_, atol=1e-8)


def limit_cycle(rng, n_series=8, n_times=40, dt=0.05):
    """Return time series of the Hopf normal form, by its solution in polar coordinates."""
    time = dt * np.arange(n_times)
    frames = []
    for radius, angle in rng.uniform([0.4, 0.0], [1.6, 2 * np.pi], size=(n_series, 2)):
        r = 1 / np.sqrt(1 + (radius**-2 - 1) * np.exp(-2 * time))
        values = np.column_stack([r * np.cos(angle + 3 * time), r * np.sin(angle + 3 * time)])
        frames.append(pd.DataFrame(values, index=time, columns=["x1", "x2"]))
    return TSCDataFrame.from_frame_list(frames)


def test_time_series_in_and_out(rng):
    X = limit_cycle(rng)
    ours, reference = pair(n_eigenpairs=6)
    embedding, expected = ours.fit_transform(X), reference.fit_transform(X)
    assert type(embedding) is type(ours.eigenvectors_) is TSCDataFrame
    pd.testing.assert_index_equal(embedding.index, X.index)
    pd.testing.assert_index_equal(embedding.columns, expected.columns, exact=False)
    pd.testing.assert_index_equal(
        ours.eigenvectors_.columns, reference.eigenvectors_.columns, exact=False
    )
    assert ours.get_feature_names_out().tolist() == [f"dmap{i}" for i in range(6)]
    assert ours.n_features_out_ == reference.n_features_out_ == 6
    assert relative(with_signs_of(embedding, expected), expected) < 1e-5
    back = ours.inverse_transform(embedding)
    assert type(back) is TSCDataFrame
    pd.testing.assert_frame_equal(back, reference.inverse_transform(expected), atol=1e-5)
    initial = X.initial_states()
    pd.testing.assert_index_equal(ours.transform(initial).index, initial.index)
    with pytest.raises(ValueError, match="names"):
        ours.inverse_transform(ours.eigenvectors_)


@pytest.mark.parametrize("columns", [["a", "b", "c"], None])
def test_data_frame_and_array_in_and_out(columns):
    X = points("s_curve", 0, 200)
    frame = X if columns is None else pd.DataFrame(X, columns=columns, index=np.arange(200) + 7)
    model = DiffusionMaps(n_eigenpairs=4)
    embedding = model.fit_transform(frame)
    assert type(embedding) is type(model.transform(frame)) is type(frame)
    assert type(model.eigenvectors_) is np.ndarray
    back = model.inverse_transform(embedding)
    assert type(back) is type(frame)
    if columns:
        assert embedding.index.equals(frame.index)
        assert back.columns.tolist() == columns
        with pytest.raises(ValueError, match="feature names"):
            model.transform(frame.rename(columns={"a": "d"}))
    names = model.get_feature_names_out().tolist()
    series = TSCDataFrame.from_array(np.asarray(embedding), feature_names=names)
    expected = columns or ["x0", "x1", "x2"]
    assert model.inverse_transform(series).columns.tolist() == expected


@pytest.mark.parametrize("time_exponent", [1, 2.5])
def test_time_exponent(time_exponent, rng):
    X = limit_cycle(rng)
    ours, reference = pair(n_eigenpairs=6)
    plain = ours.fit_transform(X)
    back = ours.inverse_transform(plain)
    reference.fit(X)
    for model in (ours, reference):
        model.set_params(time_exponent=time_exponent)
    expected = reference.transform(X)
    embedding = ours.transform(X)
    assert relative(with_signs_of(embedding, expected), expected) < 1e-5
    assert relative(ours.inverse_transform(embedding), back) < 1e-4
    assert relative(clone(ours).fit_transform(X), embedding) < 1e-5
    with pytest.raises(ValueError, match=r"'time_exponent'.*Got -1"):
        ours.set_params(time_exponent=-1).transform(X)


def test_target_coordinates(rng):
    X = limit_cycle(rng)
    ours, reference = pair(n_eigenpairs=6)
    full = ours.fit_transform(X)
    reference.fit(X)
    for model in (ours, reference):
        assert model.set_target_coords([5, 1]) is model
    expected = reference.transform(X)
    embedding = ours.transform(X)
    assert embedding.columns.tolist() == ["dmap1", "dmap5"] == expected.columns.tolist()
    assert relative(with_signs_of(embedding, expected), expected) < 1e-5
    assert ours.n_features_out_ == 2
    assert ours.eigenvectors_.shape[1] == 6
    back = ours.inverse_transform(embedding)
    assert relative(back, reference.inverse_transform(expected)) < 1e-4
    with pytest.raises(ValueError, match="Required: 2"):
        ours.inverse_transform(full)
    before = DiffusionMaps(0.2, n_eigenpairs=6).set_target_coords([1, 5])
    assert relative(before.fit_transform(X), embedding) < 1e-5


def test_target_coordinates_that_are_none():
    model = DiffusionMaps(n_eigenpairs=3)
    for indices in ([0.0, 1.5], [True], 1, "12"):
        with pytest.raises(TypeError, match="indices must be a list of integers, got"):
            model.set_target_coords(indices)
    for indices in ([-1, 2], [0, 3], [1, 1]):
        with pytest.raises(
            ValueError, match="must be different integers from 0 to 2, at least one, got"
        ):
            model.set_target_coords(indices)
    model.set_target_coords([2]).set_params(n_eigenpairs=2)
    with pytest.raises(ValueError, match=r"from 0 to 1, at least one, got \[2\]"):
        model.fit(points("s_curve", 0, 50))


def test_second_fit_is_like_a_first(rng):
    model = DiffusionMaps(n_eigenpairs=3, random_state=0)
    model.inverse_transform(model.fit_transform(limit_cycle(rng)))
    X = points("s_curve", 0, 100)
    embedding = model.set_params(n_eigenpairs=4).fit_transform(X)
    assert model.n_features_in_ == 3
    assert model.n_features_out_ == 4
    assert not hasattr(model, "feature_names_in_")
    assert model.inverse_transform(embedding).shape == X.shape


def test_as_many_eigenpairs_as_samples_and_only_one():
    X = points("s_curve", 0, 20)
    every = DiffusionMaps(0.2, n_eigenpairs=20).fit(X)
    assert every.eigenvectors_.shape == (20, 20)
    one = DiffusionMaps(0.2, n_eigenpairs=1).fit(X)
    np.testing.assert_allclose(one.eigenvalues_, [1.0], atol=1e-6)
    assert one.transform(X).shape == (20, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_eigenpairs": 0}, "'n_eigenpairs'.*Got 0"),
        ({"n_eigenpairs": 51}, "n_eigenpairs must be at most 50 for 50 samples, got 51"),
        ({"time_exponent": -1}, "'time_exponent'.*Got -1"),
        ({"epsilon": -1.0}, "'epsilon'.*Got -1.0"),
        ({"alpha": 1.5}, "'alpha'.*Got 1.5"),
        ({"rtol": 2.0}, "'rtol'.*Got 2.0"),
    ],
)
def test_parameters_that_are_not_allowed(parameters, message):
    with pytest.raises(ValueError, match=message):
        DiffusionMaps(**parameters).fit(points("s_curve", 0, 50))


def test_kernel_object_in_the_place_of_epsilon():
    with pytest.raises(ValueError, match=r"'epsilon' parameter .*Got GaussianKernel"):
        DiffusionMaps(GaussianKernel(epsilon=1.0)).fit(points("s_curve", 0, 50))


def test_constructors():
    for name in ("laplace_beltrami", "fokker_planck", "graph_laplacian"):
        ours = getattr(DiffusionMaps, name)(0.5, 4, rtol=1e-3)
        reference = getattr(Reference, name)(n_eigenpairs=4)
        assert ours.get_params()["alpha"] == reference.alpha
        assert (ours.epsilon, ours.n_eigenpairs, ours.rtol) == (0.5, 4, 1e-3)


@pytest.mark.parametrize(
    "options",
    [{"include_id_state": False}, {}, {"include_id_state": False, "use_transform_inverse": True}],
    ids=["least_squares", "id_state", "transform_inverse"],
)
def test_edmd(options, rng):
    X = limit_cycle(rng, n_series=16)
    X_new = limit_cycle(rng, n_series=2)
    ours, reference = (EDMD([("dmap", model)], **options) for model in pair(n_eigenpairs=15))
    for model in (ours.fit(X), reference.fit(X)):
        assert relative(model.reconstruct(X), X) < 0.1
    assert ours.transform(X).columns.equals(reference.transform(X).columns)
    predicted, expected = (
        model.predict(X_new.initial_states(), time_values=X_new.time_values())
        for model in (ours, reference)
    )
    pd.testing.assert_index_equal(predicted.index, expected.index)
    assert relative(predicted, expected) < 1e-5
    assert relative(ours.reconstruct(X), reference.reconstruct(X)) < 1e-5


def test_edmd_sets_parameters_of_its_step(rng):
    X = limit_cycle(rng)

    def fitted(epsilon, n_eigenpairs):
        step = DiffusionMaps(epsilon, n_eigenpairs=n_eigenpairs, random_state=0)
        return EDMD([("dmap", step)], include_id_state=False).fit(X)

    before, expected = fitted(0.2, 4), fitted(0.3, 9)
    edmd = clone(before).set_params(dmap__n_eigenpairs=9, dmap__epsilon=0.3).fit(X)
    assert edmd.named_steps["dmap"].epsilon_ == 0.3
    assert edmd.n_features_out_ == 9
    pd.testing.assert_frame_equal(edmd.reconstruct(X), expected.reconstruct(X))
    assert relative(edmd.reconstruct(X), before.reconstruct(X)) > 1e-3


def test_pickle_and_clone(rng):
    X = limit_cycle(rng)
    model = DiffusionMaps(0.2, n_eigenpairs=4, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.transform(X), model.transform(X))
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "eigenvalues_")
    pd.testing.assert_frame_equal(copy.fit_transform(X), model.fit_transform(X))


def test_eigenvectors_go_into_local_regression_selection():
    X = points("s_curve", 0, 300)
    vectors = DiffusionMaps(0.2, n_eigenpairs=6).fit(X).eigenvectors_
    selection = LocalRegressionSelection(intrinsic_dim=2, n_subsample=200).fit(vectors)
    assert 1 in selection.evec_indices_


def functions(X):
    return np.column_stack([np.sin(X[:, 0]), X[:, 0] * X[:, 1]])


def interpolators(epsilon=0.1):
    """Return our model and datafold's."""
    return (
        GeometricHarmonicsInterpolator(epsilon, n_eigenpairs=40, random_state=0),
        ReferenceInterpolator(GaussianKernel(epsilon=epsilon), n_eigenpairs=40),
    )


@pytest.mark.parametrize("target", [slice(None), 0])
def test_interpolator_agrees_with_datafold(target, rng):
    X, new = rng.uniform(-1, 1, (800, 2)), rng.uniform(-1, 1, (100, 2))
    y, y_new = functions(X)[:, target], functions(new)[:, target]
    ours, reference = (model.fit(X, y) for model in interpolators())
    np.testing.assert_allclose(ours.eigenvalues_, reference.eigenvalues_, rtol=1e-5)
    assert ours.y_.shape == reference.y_.shape
    expected = reference.predict(new)
    assert ours.predict(new).shape == expected.shape
    assert relative(ours.predict(new), expected) < 1e-4
    np.testing.assert_allclose(ours.score(new, y_new), reference.score(new, y_new), rtol=1e-3)
    mean = {"multioutput": "uniform_average"}
    score = ours.score(new, y_new, **mean)
    assert isinstance(score, float)
    np.testing.assert_allclose(score, reference.score(new, y_new, **mean), rtol=1e-3)


def test_interpolator_of_time_series(rng):
    X = limit_cycle(rng)
    embedding = DiffusionMaps(0.2, n_eigenpairs=6).fit_transform(X)
    ours, reference = (model.fit(X, embedding) for model in interpolators(0.05))
    predicted = ours.predict(X)
    assert type(predicted) is np.ndarray
    assert relative(predicted, reference.predict(X)) < 1e-4
    assert ours.feature_names_in_.tolist() == ["x1", "x2"]


def test_interpolator_in_a_model_selection(rng):
    X = rng.uniform(-1, 1, (300, 2))
    model = GeometricHarmonicsInterpolator(random_state=0)
    grid = {"epsilon": [0.1, 0.5], "n_eigenpairs": [2, 30]}
    search = GridSearchCV(model, grid, cv=3).fit(X, functions(X)[:, 0])
    assert search.best_params_["n_eigenpairs"] == 30
    assert -0.1 < search.best_score_ <= 0
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_interpolator_weights_samples(rng):
    X = rng.uniform(-1, 1, (100, 2))
    model = GeometricHarmonicsInterpolator(0.5, n_eigenpairs=3).fit(X, X[:, 0] ** 2)
    halves = [model.score(part, part[:, 0] ** 2) for part in (X[:50], X[50:])]
    weights = np.repeat([1.0, 0.0], 50)
    np.testing.assert_allclose(model.score(X, X[:, 0] ** 2, weights), halves[0])
    assert halves[0] != halves[1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_eigenpairs": 0}, "'n_eigenpairs'.*Got 0"),
        ({"n_eigenpairs": 51}, "n_eigenpairs must be at most 50 for 50 samples, got 51"),
        ({"epsilon": "own"}, "'epsilon'.*Got 'own'"),
    ],
)
def test_interpolator_parameters_that_are_not_allowed(parameters, message, rng):
    X = rng.uniform(size=(50, 2))
    with pytest.raises(ValueError, match=message):
        GeometricHarmonicsInterpolator(**parameters).fit(X, X[:, 0])
