"""What the estimators share: scikit-learn's rules, parameters, training, errors."""

import copy
import inspect
import pickle
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.neural_network import KerasClassifier, KerasRegressor, NewtonCG
from skhmat.neural_network._estimators.base import TrainingPolicy, _are_equal

from ..networks import keras
from .data import Raises, blobs, diabetes, few, iris, quick, small_network


def expected_failures(estimator):
    float32 = "trained in float32, so equal to rounding of that only, amplified by training"
    names = ("sample_weight_equivalence_on_dense_data", "sample_weights_invariance")
    failures = {f"check_{name}": float32 for name in names}
    if "optimizer__learning_rate" in estimator.get_params():
        failures["check_no_attributes_set_in_init"] = "routed parameters are attributes, too"
    return failures


SETTINGS = [
    KerasClassifier(epochs=8),
    KerasRegressor(epochs=15),
    KerasClassifier(
        optimizer="adam", optimizer__learning_rate=0.05, hidden_layer_sizes=(20,), epochs=20
    ),
]


@parametrize_with_checks(SETTINGS, expected_failed_checks=expected_failures)
def test_scikit_learn_api(estimator, check):
    check(estimator)


def test_routed_parameters():
    model = KerasClassifier(
        small_network, model__units=3, optimizer__tau=0.5, fit__batch_size=16, epochs=2
    )
    assert model.get_params()["model__units"] == 3
    assert "optimizer__tau=0.5" in repr(model)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    X, y = iris()
    copied.set_params(optimizer__tau=0.25, model__units=5).fit(X, y)
    assert copied.model_.optimizer.tau == 0.25
    assert copied.model_.layers[0].units == 5
    assert len(copied.model_.optimizer.history["step"]) == 2 * 10
    assert model.get_params()["optimizer__tau"] == 0.5
    with pytest.raises(ValueError, match=r"has no parameters .'taw'"):
        clone(model).set_params(optimizer__taw=1).fit(X, y)
    wrapper = {"optimizer": "probabilistic-preconditioner", "optimizer__clipnorm": 1.0}
    with pytest.raises(ValueError, match=r"has no parameters .'clipnorm'.*'est_rank'"):
        KerasClassifier(**wrapper).fit(X, y)
    with pytest.raises(ValueError, match=r"model takes .* and not .'unit'"):
        clone(model).set_params(model__unit=1).fit(X, y)
    with pytest.raises(TypeError, match="no parameter 'optimiser__tau'"):
        KerasClassifier(optimiser__tau=1)


def test_grid_search_in_two_processes():
    X, y = iris()
    pipeline = make_pipeline(StandardScaler(), KerasClassifier(epochs=3, random_state=0))
    grid = {"kerasclassifier__optimizer__tau": [0.01, "auto"]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(X, y)
    assert search.best_score_ > 0.6
    assert search.best_params_["kerasclassifier__optimizer__tau"] in (0.01, "auto")


@pytest.mark.filterwarnings("ignore:ProbabilisticPreconditioner. . epochs ended")
@pytest.mark.parametrize("kind", [KerasClassifier, KerasRegressor])
@pytest.mark.parametrize("optimizer", ["newton-cg", "probabilistic-preconditioner", "adam"])
def test_same_seed_same_result(kind, optimizer, global_random_seed):
    X, y = iris((0, 1, 2))
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [
        kind(epochs=3, optimizer=optimizer, random_state=global_random_seed).fit(X, y)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].predict(X), runs[1].predict(X))
    assert runs[0].loss_curve_ == runs[1].loss_curve_
    other = kind(epochs=3, optimizer=optimizer, random_state=global_random_seed + 1).fit(X, y)
    assert other.loss_curve_ != runs[0].loss_curve_
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_a_generator_is_a_random_state(global_random_seed):
    X, y = iris((0, 1, 2))
    generator = np.random.default_rng(global_random_seed)
    fits = [
        KerasClassifier(epochs=2, random_state=state).fit(X, y).loss_curve_
        for state in (generator, np.random.default_rng(global_random_seed), generator)
    ]
    assert fits[0] == fits[1] != fits[2]


def test_fit_parameters_are_left_alone():
    X, y = iris()
    callbacks = [keras.callbacks.LambdaCallback()]
    options = {"epochs": 2, "callbacks": callbacks}
    before = copy.copy(options)
    model = KerasClassifier(epochs=7, callbacks=callbacks, early_stopping=2)
    model.fit(X, y, **options)
    assert model.n_iter_ == 2
    assert options == before
    assert len(callbacks) == 1
    assert model.epochs == 7
    own = r"parameters .'class_weight', 'validation_split'."
    with pytest.raises(ValueError, match=rf"passes .'validation_split'. .*{own}"):
        model.fit(X, y, validation_split=0.2)
    with pytest.raises(
        ValueError, match=r"passes .'class_weight'. .* parameters .'validation_split'."
    ):
        KerasRegressor().fit(X, X[:, 0], class_weight={0: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "newton"}, "optimizer must be one of"),
        ({"optimizer": 3}, "optimizer"),
        ({"optimizer__curvature": "fisher"}, "curvature must be one of"),
        ({"optimizer__tau": -1}, "tau must be"),
        ({"validation_split": 0.001}, "sets aside none"),
        ({"validation_split": 1.0}, "validation_split"),
        ({"early_stopping": True, "validation_split": 0.0}, "validation_split is 0"),
        ({"loss": "mae"}, "no second derivative"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
    ],
    ids=str,
)
def test_bad_parameters(options, message):
    X, y = diabetes()
    with pytest.raises(ValueError, match=message):
        KerasRegressor(**options).fit(X[:50], y[:50])


def test_bad_data():
    X, y = iris()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        KerasClassifier().fit(np.where(X > 2, np.nan, X), y)
    with pytest.raises(ValueError, match="too large for dtype"):
        KerasClassifier().fit(1e39 * X, y)
    with pytest.raises(ValueError, match="one class"):
        KerasClassifier().fit(X, np.zeros(150))
    with pytest.raises(NotFittedError):
        KerasClassifier().predict(X)
    with pytest.raises(NotFittedError):
        KerasClassifier().plot_loss_curve()
    with pytest.raises(ValueError, match="sample_weight"):
        KerasClassifier().fit(X, y, sample_weight=-np.ones(150))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda X, y: (X.astype(str), y), "X must be numeric, got dtype <U"),
        (lambda X, y: (X.astype(str).tolist(), y), "X must be numeric, got dtype <U"),
        (lambda X, y: (X, y.astype(str)), "y must be numeric, got dtype <U"),
        (lambda X, y: ([[1.0, 2.0], [3.0]] * 45, y), "X must be an array"),
        (lambda X, y: (X[:, 0], y), r"\bX\b.*1D array"),
        (lambda X, y: (X[:, :0], y), r"\bX\b.*0 feature"),
    ],
)
def test_errors_of_data_name_it(bad, message, rng):
    X, y = blobs(rng)
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        KerasRegressor(**few()).fit(*bad(X, y))


def test_plot_loss_curve():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    X, y = diabetes()
    model = KerasRegressor(epochs=3, validation_split=0.2).fit(X, y)
    ax = model.plot_loss_curve()
    assert [line.get_label() for line in ax.lines] == ["training", "validation"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), model.history_["val_loss"])
    assert model.plot_loss_curve(ax) is ax
    plt.close("all")


def test_no_output(tmp_path):
    """Nothing is printed, and TensorFlow is not loaded before it is needed."""
    code = (
        "import sys; from skhmat.neural_network import KerasClassifier;"
        "assert 'tensorflow' not in sys.modules;"
        "import numpy as np; X = np.random.default_rng(0).standard_normal((60, 3));"
        "[KerasClassifier(epochs=2).fit(X, X[:, 0] > 0).predict(X) for _ in range(4)]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_a_fit_that_fails_changes_nothing(rng):
    X, y = blobs(rng)
    model = KerasClassifier(**few())
    with pytest.raises(TypeError, match=r"callbacks must be a list .* got \[1\]"):
        model.fit(X, y, callbacks=[1])
    assert not hasattr(model, "model_")
    p = model.fit(X, y).predict_proba(X)
    model.set_params(warm_start=True)
    with pytest.raises(ValueError, match="X has 2 features"):
        model.fit(X[:, :2], y)
    model.set_params(warm_start=False, loss="foo")
    with pytest.raises(ValueError, match="loss must be"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), p)


def test_a_refit_that_is_stopped_changes_nothing(rng):
    X, y = blobs(rng)
    model = KerasClassifier(**quick()).fit(X, y)
    before, probabilities = dict(vars(model)), model.predict_proba(X)
    with pytest.raises(OSError, match="mine"):
        model.fit(X[:, :3], y + 1, callbacks=[Raises(OSError("mine"))])
    assert vars(model).keys() == before.keys()
    assert all(value is before[name] for name, value in vars(model).items())
    np.testing.assert_array_equal(model.predict_proba(X), probabilities)


def test_epochs_without_validation(rng):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X, y = blobs(rng)
    model = KerasClassifier(validation_split=0.2, **{**few(), "epochs": 4})
    model.set_params(fit__validation_freq=2).fit(X, y)
    assert np.isnan(model.history_["val_loss"]).tolist() == [True, False, True, False]
    model.set_params(warm_start=True, validation_split=None).fit(X, y)
    assert len(model.history_["val_loss"]) == 8
    ax = model.plot_loss_curve(pyplot.figure().add_subplot())
    assert len(ax.lines[1].get_xdata()) == 2
    pyplot.close("all")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be an integer of at least 1, got 0"),
        ({"initial_epoch": 2}, ValueError, "epochs must be an integer of at least 3, got 2"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": None}, ValueError, "batch_size must be an integer of at least 1, got None"),
        ({"foo": 1}, TypeError, r"no parameters \['foo'\]; model.fit takes"),
        ({"callbacks": 3}, TypeError, "callbacks must be a list"),
    ],
)
def test_bad_options_of_fit(options, error, message, rng):
    with pytest.raises(error, match=message):
        KerasClassifier(**few()).fit(*blobs(rng), **options)
    KerasClassifier(**few()).fit(*blobs(rng), callbacks=None)


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c"), None])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_validation_data(labels, is_weighted, rng):
    X, y = blobs(rng, 2 if labels is None else len(labels))
    weights = rng.uniform(0.5, 2, 30)
    held_out = (X[60:], y[60:] if labels is None else np.array(labels)[y[60:]])
    held_out += (3 * weights,) if is_weighted else ()
    kind = KerasRegressor if labels is None else KerasClassifier
    model = kind(**quick(), fit__validation_batch_size=7)
    y_train = y[:60] if labels is None else np.array(labels)[y[:60]]
    if labels is not None:
        model.set_params(class_weight="balanced")  # which the validation does not know
    model.fit(X[:60], y_train, validation_data=held_out)
    expected = model.model_.evaluate(
        X[60:].astype(np.float32),
        y[60:, None],
        sample_weight=weights / weights.mean() if is_weighted else None,
        verbose=0,
    )
    np.testing.assert_allclose(model.history_["val_loss"][-1], expected, rtol=1e-4)
    # The samples of `fit` are those of a fit without them, and early stopping takes none away.
    other = clone(model).set_params(early_stopping=True).fit(X[:60], y_train)
    assert other.loss_curve_ != model.loss_curve_
    other = clone(model).set_params(early_stopping=True, fit__validation_data=list(held_out))
    other = clone(other).fit(X[:60], y_train)
    assert other.history_ == model.history_


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda X, y: X, r"validation_data must be a tuple \(X, y\) or .* got a ndarray"),
        (lambda X, y: (X,), "validation_data must be a tuple"),
        (lambda X, y: (X[:, :2], y), "validation_data.*2 features"),
        (lambda X, y: (X, y[1:]), "validation_data.*inconsistent"),
        (lambda X, y: (X, y + 7), "validation_data.*labels that were not there"),
        (lambda X, y: (np.full_like(X, np.inf), y), "validation_data.*infinity"),
        (lambda X, y: (1e39 * X, y), "validation_data.*too large"),
        (lambda X, y: (X, y, -np.ones(len(y))), "validation_data.*sample_weight"),
    ],
)
def test_bad_validation_data(given, message, rng):
    X, y = blobs(rng)
    with pytest.raises((TypeError, ValueError), match=message):
        KerasClassifier(**quick()).fit(X, y, validation_data=given(X, y))


def test_true_of_numpy_is_true():
    (found,) = KerasClassifier(early_stopping=np.True_)._callbacks()
    assert found.patience == 10


def documented(cls):
    """Return what a class says of its parameters and attributes: name and type, description."""
    sections = re.split(r"\n(\w[\w ]*)\n-+\n", inspect.getdoc(cls))
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    text = "\n" + found["Parameters"].strip("\n") + "\n" + found["Attributes"].strip("\n")
    entries = [entry.partition("\n") for entry in re.split(r"\n(?=\S)", text) if entry]
    return {head: body for head, _, body in entries}


def test_both_classes_document_the_same_parameters():
    """Written out in each, so that editors show them, and equal but for what classes add."""
    classifier, regressor = map(documented, (KerasClassifier, KerasRegressor))
    only = {head.partition(" :")[0] for head in classifier.keys() - regressor.keys()}
    assert only == {"class_weight", "classes_"}
    assert classifier | regressor == classifier


@pytest.mark.parametrize("cls", [KerasClassifier, KerasRegressor])
def test_every_parameter_is_documented(cls):
    names = {head.partition(" :")[0] for head in documented(cls)}
    parameters = inspect.signature(cls).parameters
    assert "routed" not in parameters
    assert set(parameters) | {"**routed"} <= names
    assert set(cls().get_params()) == set(parameters)


@pytest.mark.parametrize(("patience", "expected"), [(10, 10), (4, 4)])
def test_patience_is_a_policy(patience, expected):
    class Patient(KerasClassifier):
        _policy = TrainingPolicy(patience=patience)

    (found,) = Patient(early_stopping=True)._callbacks()
    assert found.patience == expected


OTHERS = {
    "optimizer": "newton-cg",
    "optimizer__learning_rate": 1e-4,
    "loss": "huber",
    "metrics": ["mae"],
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("partial", [False, True])
def test_a_warm_start_follows_changes(name, partial, rng):
    X, y = blobs(rng)
    options = {**few(), "warm_start": True, "metrics": ["mse"], "loss": "mse"}
    options |= {"optimizer": "adam", "optimizer__learning_rate": 0.01}
    model = pickle.loads(pickle.dumps(KerasRegressor(**options).fit(X, y)))
    network, optimizer = model.model_, model.model_.optimizer
    model.set_params(**{name: OTHERS[name]})
    train = model.partial_fit if partial else model.fit
    train(X, y)
    steps = int(optimizer.iterations)
    assert model.model_ is network
    assert model.n_iter_ == 2 + (1 if partial else 2) == len(model.history_["loss"])
    compiled = network.optimizer
    assert isinstance(compiled, NewtonCG) == (name == "optimizer")
    rate = OTHERS[name] if name == "optimizer__learning_rate" else 0.01
    assert float(compiled.learning_rate) == pytest.approx(rate)
    assert network.loss == ("huber" if name == "loss" else "mse")
    assert ("mae" in model.history_) == (name == "metrics")
    assert (compiled is optimizer) == (name in ("loss", "metrics"))
    assert steps == (model.n_iter_ if compiled is optimizer else 2)
    train(X, y)
    assert network.optimizer is compiled


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({}, {"hidden_layer_sizes": (4, 4)}),
        ({}, {"activation": "tanh"}),
        ({}, {"model": small_network}),
        ({"model": small_network}, {"model__units": 3}),
    ],
)
def test_a_warm_start_has_one_network(options, change, rng):
    X, y = blobs(rng)
    model = KerasRegressor(**few(), optimizer="sgd", warm_start=True, **options).fit(X, y)
    model.set_params(**change)
    (name,) = change
    for train in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"{name} must be .* while training goes on"):
            train(X, y)
    model.set_params(warm_start=False).fit(X, y)


def test_settings_of_optimizers_are_compared(rng):
    X, y = blobs(rng)
    given = keras.optimizers.SGD(0.1)
    model = KerasRegressor(optimizer=given, warm_start=True, **few()).fit(X, y)
    first = model.model_.optimizer
    model.set_params(optimizer=keras.optimizers.SGD(0.1)).fit(X, y)
    assert model.model_.optimizer is first
    model.optimizer.learning_rate = 0.2
    model.fit(X, y)
    assert float(model.model_.optimizer.learning_rate) == pytest.approx(0.2)


def test_a_change_that_fails_is_tried_again(rng):
    X, y = blobs(rng)
    model = KerasRegressor(warm_start=True, **few()).fit(X, y)
    with pytest.raises(ValueError, match="no second derivative"):
        model.set_params(loss="mae").fit(X, y)
    model.set_params(loss="auto").fit(X, y)
    assert isinstance(model.model_.loss, keras.losses.MeanSquaredError)
    assert model.n_iter_ == 4


def test_metrics_of_each_class(rng):
    X, y = blobs(rng, 3)
    metrics = [keras.metrics.F1Score(), keras.metrics.F1Score(average="macro", name="macro")]
    options = {**few(), "loss": "categorical_crossentropy", "optimizer": "adam"}
    model = KerasClassifier(metrics=metrics, validation_split=0.2, **options)
    model.set_params(fit__validation_freq=2, warm_start=True).fit(X, y).fit(X, y)
    for name in ("f1_score", "val_f1_score"):
        assert np.shape(model.history_[name]) == (4, 3)
    means = np.mean(model.history_["f1_score"], axis=1)
    np.testing.assert_allclose(means, model.history_["macro"], rtol=1e-5, atol=1e-7)
    missing = np.isnan(model.history_["val_f1_score"])
    np.testing.assert_array_equal(missing.all(axis=1), [True, False, True, False])
    model.set_params(metrics=["accuracy"], fit__verbose=1).fit(X, y)
    assert np.shape(model.history_["f1_score"]) == (6, 3)
    assert np.isnan(model.history_["f1_score"][4]).all()
    targets = KerasRegressor(metrics=[keras.metrics.R2Score(class_aggregation=None)], **few())
    assert np.shape(targets.fit(X, X[:, :2]).history_["r2_score"]) == (2, 2)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (2, 2.0),
        ((1, [2]), (1, [3])),
        ({"a": 1}, {"a": 1, "b": 2}),
        (np.arange(3), np.arange(4)),
        (np.arange(3), None),
        (print, len),
    ],
)
def test_changed_values_of_parameters(a, b):
    assert _are_equal(copy.deepcopy(a), a)
    assert not _are_equal(a, b)
