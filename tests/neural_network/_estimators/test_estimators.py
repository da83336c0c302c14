"""KerasClassifier and KerasRegressor as scikit-learn sees them, and as users do."""

import copy
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.neural_network import KerasClassifier, KerasRegressor, NewtonCG

from ..networks import keras, label


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
    KerasClassifier(optimizer="adam", optimizer__learning_rate=0.05, hidden_layer_sizes=(20,)),
]


@parametrize_with_checks(SETTINGS, expected_failed_checks=expected_failures)
def test_scikit_learn_api(estimator, check):
    check(estimator)


def small_network(n_features_in, n_outputs, units=6):
    layers = [keras.layers.Input((n_features_in,)), keras.layers.Dense(units, "tanh")]
    return keras.Sequential([*layers, keras.layers.Dense(n_outputs)])


def iris(labels=("setosa", "versicolor", "virginica")):
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(labels)[y]


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


def test_two_lines():
    X, y = iris()
    model = KerasClassifier(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert model.n_features_in_ == 4
    assert model.n_iter_ == 50 == len(model.loss_curve_) == len(model.history_["loss"])
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), atol=1e-12)
    assert model.decision_function(X).shape == (150, 3)
    np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], model.predict(X))
    assert log_loss(y, p) < 0.1


def test_two_classes():
    X, y = iris()
    X, y = X[50:], y[50:]
    model = KerasClassifier(random_state=0, epochs=10).fit(X, y)
    scores = model.decision_function(X)
    assert scores.shape == (100,)
    p = model.predict_proba(X)
    np.testing.assert_allclose(scores, np.log(p[:, 1] / p[:, 0]), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(scores > 0, model.predict(X) == "virginica")


def test_several_labels():
    X, Y = make_multilabel_classification(120, 6, n_classes=3, random_state=0)
    model = KerasClassifier(random_state=0, epochs=30).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert (model.predict(X) == Y).mean() > 0.75
    assert model.predict_proba(X).shape == (120, 3)


def test_several_targets():
    X, y = diabetes()
    Y = np.c_[y, X[:, 0] * X[:, 1]]
    model = KerasRegressor(random_state=0, epochs=40).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.score(X, Y) > 0.5
    assert KerasRegressor(epochs=1).fit(X, y).predict(X).shape == y.shape


def test_newton_beats_its_start_and_uses_second_order():
    X, y = diabetes()
    model = KerasRegressor(random_state=0, epochs=5).fit(X, y)
    assert isinstance(model.model_.optimizer, NewtonCG)
    history = model.model_.optimizer.history
    assert np.isfinite(history["loss"]).all()  # which gradients alone would not tell
    assert model.loss_curve_[-1] < 0.7 * model.loss_curve_[0]


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


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", "Adam", keras.optimizers.Adam, NewtonCG, "object", "newton object"],
    ids=str,
)
def test_optimizers(optimizer):
    given = {
        "object": lambda: keras.optimizers.RMSprop(0.01),
        "newton object": lambda: NewtonCG(tau=0.5),
    }.get(optimizer, lambda: optimizer)()
    X, y = iris()
    model = clone(KerasClassifier(optimizer=given, epochs=2)).fit(X, y)
    cross_val_score(model, X, y, cv=2)
    if isinstance(given, keras.optimizers.Optimizer):
        assert type(model.model_.optimizer) is type(given)
        assert not given.built


def test_grid_search_over_the_preconditioner():
    X, y = iris()
    model = KerasClassifier(optimizer="probabilistic-preconditioner", batch_size=4, epochs=3)
    search = GridSearchCV(model, {"optimizer__est_rank": [0, 2]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.6
    rank = search.best_params_["optimizer__est_rank"]
    optimizer = search.best_estimator_.model_.optimizer
    assert optimizer.est_rank == rank
    assert optimizer.get_log()["estimates"] > 0


def test_models_that_are_given():
    X, y = iris()
    network = small_network(4, 3)
    weights = network.get_weights()
    model = KerasClassifier(network, epochs=3, random_state=0).fit(X, y)
    for a, b in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(model.model_.loss, keras.losses.SparseCategoricalCrossentropy)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    compiled = small_network(4, 3)
    compiled.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model = KerasClassifier(compiled, optimizer=None, epochs=3).fit(X, y)
    assert isinstance(model.model_.optimizer, keras.optimizers.SGD)
    assert isinstance(model.model_.loss, keras.losses.CategoricalCrossentropy)
    compiled.fit(X, np.eye(3)[np.zeros(150, int)], verbose=0)
    with pytest.raises(ValueError, match="trained already"):
        KerasClassifier(compiled).fit(X, y)
    with pytest.raises(ValueError, match="was not compiled"):
        KerasClassifier(small_network(4, 3), optimizer=None).fit(X, y)
    with pytest.raises(ValueError, match=r"model has 2 outputs, and y has 3 classes"):
        KerasClassifier(small_network(4, 2)).fit(X, y)
    with pytest.raises(ValueError, match=r"model has 3 outputs, and y has 1 targets"):
        KerasRegressor(small_network(4, 3)).fit(X, X[:, 0])
    with pytest.raises(TypeError, match=r"must return a keras.Model"):
        KerasClassifier(lambda: 3).fit(X, y)


def test_images():
    def build():
        L = keras.layers
        layers = [L.Input((6, 6, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten()]
        return keras.Sequential([*layers, L.Dense(1, "sigmoid")])

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.standard_normal((60, 6, 6, 1)) + y[:, None, None, None]
    assert KerasClassifier(build, epochs=5, random_state=0).fit(X, y).score(X, y) > 0.9


def normalized(n_features_in, n_outputs):
    L = keras.layers
    hidden = [L.Dense(33, "tanh"), L.BatchNormalization(), L.LayerNormalization()]
    head = L.Dense(n_outputs, "sigmoid" if n_outputs == 1 else "softmax")
    return keras.Sequential([L.Input((n_features_in,)), *hidden, head])


def convolutional(X):
    L = keras.layers
    hidden = [L.Conv2D(7, 3, activation="tanh"), L.BatchNormalization(), L.Flatten()]
    return keras.Sequential([L.Input(X.shape[1:]), *hidden, L.Dense(3)])


def recurrent(X):
    L = keras.layers
    return keras.Sequential([L.Input(X.shape[1:]), L.LSTM(9), L.Dense(3, "softmax")])


def double(n_features_in, n_outputs):
    L = keras.layers
    layers = [L.Dense(20, "tanh", dtype="float64"), L.Dense(n_outputs, dtype="float64")]
    return keras.Sequential([L.Input((n_features_in,), dtype="float64"), *layers])


@pytest.mark.parametrize("n", [150, 1000])
@pytest.mark.parametrize(
    ("estimator", "shape", "n_classes"),
    [
        (KerasClassifier(), (10,), 2),
        (KerasClassifier(hidden_layer_sizes=(257, 3), activation="tanh"), (64,), 10),
        (KerasRegressor(), (3,), None),
        (KerasRegressor(hidden_layer_sizes=(1, 300)), (300,), None),
        (KerasClassifier(normalized), (7,), 2),
        (KerasClassifier(normalized), (7,), 5),
        (KerasClassifier(convolutional), (6, 6, 1), 3),
        (KerasClassifier(recurrent), (5, 4), 3),
        (KerasRegressor(double), (100,), None),
    ],
    ids=label,
)
def test_a_prediction_does_not_depend_on_the_other_rows(estimator, shape, n_classes, n, rng):
    X = rng.standard_normal((n, *shape))
    y = X.reshape(n, -1)[:, 0] if n_classes is None else np.arange(n) % n_classes
    model = clone(estimator).set_params(epochs=1, optimizer="adam", random_state=0).fit(X, y)
    methods = ["predict", "predict_proba", "predict_log_proba", "decision_function"]
    if n_classes is None:
        methods = ["predict"]
    orders = [rng.permutation(n) for _ in range(2)]
    # Batches of all lengths, with the end of a long one at any place.
    orders += [np.arange(a, a + k) for k in (1, 5, 31, 97, n - 3) for a in (0, n - k)]
    orders += [[i] for i in rng.integers(0, n, 5)]
    for method in methods:
        predict = getattr(model, method)
        p = predict(X)
        for rows in orders:
            np.testing.assert_array_equal(predict(X[rows]), p[rows], err_msg=method)


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


def with_dropout(n_features_in, n_outputs):
    L = keras.layers
    layers = [L.Input((n_features_in,)), L.Dense(6, "tanh"), L.Dropout(0.3), L.Dense(n_outputs)]
    return keras.Sequential(layers)


@pytest.mark.filterwarnings("ignore:ProbabilisticPreconditioner. . epochs ended")
@pytest.mark.parametrize("optimizer", ["newton-cg", "probabilistic-preconditioner", "adam"])
def test_a_pickled_estimator_goes_on_bit_by_bit(optimizer):
    X, y = iris()
    model = KerasClassifier(with_dropout, epochs=2, optimizer=optimizer, random_state=0).fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    for estimator in (model, twin):
        estimator.partial_fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert twin.n_iter_ == 3


def test_partial_fit():
    X, y = iris()
    model = KerasClassifier(random_state=0)
    model.partial_fit(X[:50], y[:50], classes=np.unique(y))
    steps = int(model.model_.optimizer.iterations)
    for _ in range(15):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.8
    assert int(model.model_.optimizer.iterations) == steps + 15
    assert model.n_iter_ == 16
    with pytest.raises(ValueError, match=r"labels that were not there at first: .'dahlia'."):
        model.partial_fit(X[:2], ["dahlia", "setosa"])
    with pytest.raises(ValueError, match="in the first call"):
        model.partial_fit(X, y, classes=["setosa", "dahlia"])
    with pytest.raises(ValueError, match="one class"):
        KerasClassifier().partial_fit(X[:50], y[:50])


def test_warm_start():
    X, y = diabetes()
    model = KerasRegressor(epochs=3, warm_start=True, random_state=0).fit(X, y)
    first = model.loss_curve_[-1]
    model.fit(X, y)
    assert model.n_iter_ == 6
    assert model.loss_curve_[-1] < first
    assert KerasRegressor(epochs=3).fit(X, y).fit(X, y).n_iter_ == 3


def test_early_stopping():
    X, y = diabetes()
    model = KerasRegressor(small_network, epochs=200, early_stopping=3, random_state=0).fit(X, y)
    assert model.n_iter_ < 200
    losses = model.history_["val_loss"]
    assert int(np.argmin(losses)) == model.n_iter_ - 4


def test_weights():
    X, y = iris()
    weights = np.where(y == "setosa", 1e-6, 1.0)
    model = KerasClassifier(epochs=5, random_state=0).fit(X, y, sample_weight=weights)
    classes = KerasClassifier(
        epochs=5, random_state=0, class_weight={"setosa": 1e-6, "versicolor": 1, "virginica": 1}
    ).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), classes.predict_proba(X), rtol=1e-5)
    scaled = KerasClassifier(epochs=5, random_state=0).fit(X, y, sample_weight=1000 * weights)
    np.testing.assert_allclose(model.predict_proba(X), scaled.predict_proba(X), rtol=1e-4)
    KerasClassifier(epochs=1, class_weight="balanced").fit(X, y)


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
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(X, y, validation_data=(X, y))


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


def test_model_that_cannot_be_pickled():
    X, y = iris()
    lock = __import__("threading").Lock()

    def build(n_features_in, n_outputs):
        with lock:
            return small_network(n_features_in, n_outputs)

    model = KerasClassifier(build, epochs=1).fit(X, y)
    with pytest.raises(pickle.PicklingError, match="cannot be pickled"):
        pickle.dumps(model)


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


def few():
    return {"epochs": 2, "hidden_layer_sizes": 5, "random_state": 0}


def blobs(rng, n_classes=2):
    X = rng.standard_normal((90, 4))
    return X, np.digitize(X[:, 0], np.linspace(-0.5, 0.5, n_classes - 1))


def own_loss(y, p):
    return keras.ops.mean((y - p) ** 2, axis=-1)


def own_cross_entropy(y, p):
    return keras.losses.categorical_crossentropy(y, p, from_logits=True)


def own_activation(x):
    return keras.ops.tanh(x)


def from_everything(X, y, n_features_in, n_outputs, units=3):
    assert len(X) == len(y)
    return small_network(n_features_in, n_outputs, units)


def from_keywords(**given):
    return small_network(given["n_features_in"], given["n_outputs"])


@pytest.mark.parametrize(
    "ends",
    [
        lambda: [keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])],
        lambda: [keras.layers.Dense(3), keras.layers.Dropout(0.1)],
        lambda: [keras.layers.Dense(3), keras.layers.Rescaling(2.0)],
    ],
)
def test_logits_are_told_from_probabilities(ends, rng):
    X, y = blobs(rng, 3)
    model = keras.Sequential([keras.layers.Input((4,)), *ends()])
    fitted = KerasClassifier(model, epochs=15, random_state=0).fit(X, y)
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)
    assert fitted.score(X, y) > 0.8


def test_losses_that_do_not_fit_the_outputs(rng):
    X, y = blobs(rng, 3)
    with pytest.raises(ValueError, match="loss='categorical_crossentropy' takes"):
        KerasClassifier(small_network(4, 3), loss="categorical_crossentropy").fit(X, y)
    fitted = KerasClassifier(small_network(4, 3), loss=own_cross_entropy, epochs=20).fit(X, y)
    with pytest.raises(ValueError, match="Outputs of model are no probabilities"):
        fitted.predict(X)


def test_weights_of_partial_fit_are_not_scaled(rng):
    X, y = blobs(rng)
    found = []
    for weight in (1, 3):
        model = KerasRegressor(optimizer="sgd", **few()).partial_fit(X, y)
        found.append(model.partial_fit(X, y, sample_weight=np.full(90, weight)).predict(X))
    assert np.abs(found[0] - found[1]).max() > 1e-4


@pytest.mark.parametrize("weights", [{0: 0, 1: 0}, {0: 1, 1: -1}, {0: np.nan, 1: 1}])
def test_bad_class_weights(weights, rng):
    with pytest.raises(ValueError, match=r"class_weight=.* allowed are finite weights"):
        KerasClassifier(class_weight=weights, **few()).fit(*blobs(rng))
    with pytest.raises(ValueError, match="class_weight='balanced' needs all samples"):
        KerasClassifier(class_weight="balanced", **few()).partial_fit(*blobs(rng))


@pytest.mark.parametrize("options", [{"loss": own_loss}, {"activation": own_activation}])
def test_own_functions_are_pickled(options, rng):
    X, y = blobs(rng)
    model = KerasRegressor(**few(), **options).fit(X, y)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        again.set_params(warm_start=True).fit(X, y)


def test_optimizers_in_parameters_are_copied(rng):
    options = {"pretrain_optimizer": keras.optimizers.Adam(), "pretrain_steps": 2}
    options = {f"optimizer__{name}": value for name, value in options.items()}
    model = KerasRegressor(**few(), **options)
    for _ in range(2):
        model.fit(*blobs(rng))


def test_a_fit_that_fails_changes_nothing(rng):
    X, y = blobs(rng)
    model = KerasClassifier(**few())
    with pytest.raises(TypeError, match=r"callbacks must be a list .* not \[1\]"):
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


@pytest.mark.parametrize("build", [from_everything, from_keywords])
def test_what_callables_are_given(build, rng):
    X, y = blobs(rng)
    model = KerasClassifier(build, model__n_outputs=2, epochs=2).fit(X, y)
    assert model.model_.output_shape == (None, 2)


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
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"initial_epoch": 2}, ValueError, "epochs is 2; it must be an integer of at least 3"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"batch_size": None}, ValueError, "batch_size is None"),
        ({"foo": 1}, TypeError, r"no parameters \['foo'\]; model.fit takes"),
        ({"callbacks": 3}, TypeError, "callbacks must be a list"),
    ],
)
def test_bad_options_of_fit(options, error, message, rng):
    with pytest.raises(error, match=message):
        KerasClassifier(**few()).fit(*blobs(rng), **options)
    KerasClassifier(**few()).fit(*blobs(rng), callbacks=None)


def test_sparse_indicators(rng):
    X, y = blobs(rng)
    Y = scipy.sparse.csr_matrix(np.c_[y, 1 - y])
    assert KerasClassifier(**few()).fit(X, Y).predict(X).shape == (90, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "foo"}, "loss must be 'auto'"),
        ({"activation": "foo"}, "activation must be a name"),
        ({"metrics": ["foo"]}, "metrics must be names"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes is 0"),
        ({"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes is 2.5"),
        ({"optimizer__pretrain_optimizer": "foo"}, "pretrain_optimizer must be a name"),
        ({"optimizer__learning_rate": -1}, "learning_rate must be a number above 0"),
        ({"early_stopping": True, "validation_split": None}, "which early_stopping makes of None"),
    ],
)
def test_messages_name_the_parameter(options, message, rng):
    X, y = blobs(rng)
    rows = slice(0, 5) if "early_stopping" in options else slice(None)
    with pytest.raises(ValueError, match=message):
        KerasClassifier(**{**few(), **options}).partial_fit(X[rows], y[rows], classes=[0, 1])


def test_true_of_numpy_is_true():
    (found,) = KerasClassifier(early_stopping=np.True_)._callbacks()
    assert found.patience == 10
