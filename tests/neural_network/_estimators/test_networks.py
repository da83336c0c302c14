"""Networks, losses and optimizers from parameters."""

import pickle
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skhmat.neural_network import KerasClassifier, KerasRegressor, NewtonCG
from skhmat.neural_network._estimators import networks

from ..networks import keras
from .data import blobs, few, iris, small_network


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


def from_everything(X, y, n_features_in, n_outputs, units=3):
    assert len(X) == len(y)
    return small_network(n_features_in, n_outputs, units)


def from_keywords(**given):
    return small_network(given["n_features_in"], given["n_outputs"])


@pytest.mark.parametrize("build", [from_everything, from_keywords])
def test_what_callables_are_given(build, rng):
    X, y = blobs(rng)
    model = KerasClassifier(build, model__n_outputs=2, epochs=2).fit(X, y)
    assert model.model_.output_shape == (None, 2)


def test_optimizers_in_parameters_are_copied(rng):
    options = {"pretrain_optimizer": keras.optimizers.Adam(), "pretrain_steps": 2}
    options = {f"optimizer__{name}": value for name, value in options.items()}
    model = KerasRegressor(**few(), **options)
    for _ in range(2):
        model.fit(*blobs(rng))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "foo"}, "loss must be 'auto'"),
        ({"activation": "foo"}, "activation must be a name"),
        ({"metrics": ["foo"]}, "metrics must be names"),
        (
            {"hidden_layer_sizes": (5, 0)},
            "hidden_layer_sizes must be an integer of at least 1, got 0",
        ),
        (
            {"hidden_layer_sizes": (2.5,)},
            "hidden_layer_sizes must be an integer of at least 1, got 2.5",
        ),
        ({"optimizer__pretrain_optimizer": "foo"}, "pretrain_optimizer must be a name"),
        ({"optimizer__learning_rate": -1}, "learning_rate must be a number above 0"),
        ({"early_stopping": True}, "early_stopping must be False for partial_fit, .*, got True"),
        ({"early_stopping": 3}, "early_stopping must be False for partial_fit, .*, got 3"),
    ],
)
def test_messages_name_the_parameter(options, message, rng):
    X, y = blobs(rng)
    with pytest.raises(ValueError, match=message):
        KerasClassifier(**{**few(), **options}).partial_fit(X, y, classes=[0, 1])


def test_too_few_samples_to_set_some_aside(rng):
    X = rng.standard_normal((5, 3))
    with pytest.raises(ValueError, match="which early_stopping makes of None"):
        KerasRegressor(early_stopping=True, validation_split=None, **few()).fit(X, X[:, 0])


def test_a_template_keeps_its_weights(rng):
    X = 1000 + 50 * rng.standard_normal((90, 3)).astype(np.float32)
    normalization = keras.layers.Normalization()
    normalization.adapt(X)
    frozen = keras.layers.Dense(2, trainable=False)
    inputs = [keras.layers.Input((3,))]
    hidden = [normalization, keras.Sequential([frozen]), keras.layers.BatchNormalization()]
    model = keras.Sequential([*inputs, *hidden, keras.layers.Dense(1)])
    for layer in model.layers[1:]:
        layer.set_weights([w + rng.uniform(0.1, 1, np.shape(w)) for w in layer.get_weights()])
    copy = networks.build_network(model, {}, (), None, None, {})
    np.testing.assert_array_equal(copy.layers[0](X), normalization(X))
    for expected, found in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_training_starts_from_the_weights_of_a_template(rng):
    X = rng.standard_normal((90, 3))
    y = X @ [1, 2, 3]
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.set_weights([np.array([[1.0], [2], [3]]), np.zeros(1)])
    estimator = KerasRegressor(model, optimizer="sgd", optimizer__learning_rate=1e-6, epochs=1)
    for _ in range(2):
        assert clone(estimator).fit(X, y).score(X, y) > 0.999
        assert estimator.fit(X, y).loss_curve_[0] < 1e-9


def test_a_template_that_is_not_built_is_drawn(rng):
    X, y = blobs(rng)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
    fits = [KerasRegressor(model, **{**few(), "random_state": i}).fit(X, y) for i in (0, 0, 1)]
    p = [fit.predict(X) for fit in fits]
    np.testing.assert_array_equal(p[0], p[1])
    assert (p[0] != p[2]).any()


def test_an_adapted_layer_of_a_template_without_input(rng):
    X = (1000 + 50 * rng.standard_normal((90, 3))).astype(np.float32)
    normalization = keras.layers.Normalization()
    normalization.adapt(X)
    model = keras.Sequential([normalization, keras.layers.Dense(1)])
    copy = networks.build_network(model, {}, (), None, None, {})
    np.testing.assert_array_equal(copy.layers[0](X), normalization(X))


def test_seeds_belong_to_a_thread(rng):
    X, y = blobs(rng)
    template = keras.Sequential([keras.layers.Dropout(0.3), keras.layers.Dense(1)])
    state = random.getstate()
    fits = [KerasRegressor(model, **few(), optimizer="sgd") for model in (None, template)] * 4
    expected = [fit.fit(X, y).predict(X) for fit in fits[:2]] * 4
    assert random.getstate() == state
    started = threading.Barrier(len(fits))

    def fitted(fit):
        started.wait()
        random.seed(0)  # as others may do
        return clone(fit).fit(X, y).predict(X)

    with ThreadPoolExecutor(len(fits)) as pool:
        for found, p in zip(pool.map(fitted, fits), expected, strict=True):
            np.testing.assert_array_equal(found, p)


def test_the_seeds_of_others_are_theirs():
    random.seed(1)
    expected = keras.initializers.GlorotUniform().seed
    random.seed(1)
    with networks.seeded(2):
        first = keras.initializers.GlorotUniform().seed
        with networks.seeded(3):
            keras.initializers.GlorotUniform()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(keras.initializers.GlorotUniform).result().seed == expected
    with networks.seeded(2):
        assert keras.initializers.GlorotUniform().seed == first


def test_outputs_may_be_a_list_of_one(rng):
    X, y = blobs(rng)
    x = keras.layers.Input((4,))
    output = keras.layers.Dense(1)(keras.layers.Dense(3, "tanh")(x))
    p = []
    for outputs in (output, [output]):
        model = keras.Model(x, outputs)
        model.compile("sgd", "huber")
        fit = KerasRegressor(model, optimizer=None, epochs=2, random_state=0).fit(X, y)
        assert fit.model_.loss == "huber"
        p.append(pickle.loads(pickle.dumps(fit)).predict(X))
    np.testing.assert_array_equal(p[0], p[1])


@pytest.mark.parametrize("optimizer", [None, "newton-cg"])
def test_what_a_model_was_compiled_with_is_kept(optimizer, rng):
    X, y = blobs(rng)
    model = small_network(4, 1)
    others = {"loss_weights": [2.0], "weighted_metrics": ["mae"], "run_eagerly": True}
    model.compile("sgd", "mse", metrics=["mse"], **others)
    options = {"epochs": 1, "random_state": 0, "optimizer": optimizer}
    fit = pickle.loads(pickle.dumps(KerasRegressor(model, **options).fit(X, y)))
    assert {"mse", "mae"} < set(fit.history_)
    assert fit.model_.run_eagerly
    assert fit.model_.loss == "mse"
    before, after = (m.evaluate(X, y, return_dict=True, verbose=0) for m in (model, fit.model_))
    for results in (before, after):
        np.testing.assert_allclose(results["loss"], 2 * results["mse"], rtol=1e-5)
    fit = KerasRegressor(model, loss="huber", metrics=["mae"], **options).fit(X, y)
    assert "mse" not in fit.history_
    loss = fit.model_.evaluate(X, y, return_dict=True, verbose=0)["loss"]
    error = fit.predict(X) - y
    huber = np.where(np.abs(error) <= 1, error**2 / 2, np.abs(error) - 0.5)
    np.testing.assert_allclose(loss, huber.mean(), rtol=1e-4)


def test_float64_throughout(rng):
    X = rng.standard_normal((90, 3))
    y = X @ [1, 2, 3]
    layers = [keras.layers.Input((3,), dtype="float64"), keras.layers.Dense(1, dtype="float64")]
    options = {"epochs": 60, "random_state": 0}
    model = KerasRegressor(keras.Sequential(layers), **options).fit(X, y, sample_weight=1 + y**2)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-9, atol=1e-9)


def test_float64_by_default(tmp_path):
    code = [
        "import keras; keras.config.set_floatx('float64'); import numpy as np",
        "from skhmat.neural_network import KerasRegressor",
        "X = np.random.default_rng().standard_normal((90, 3)); y = X @ [1, 2, 3]",
        "layers = [keras.layers.Input((3,)), keras.layers.Dense(1)]",
        "model = KerasRegressor(keras.Sequential(layers), epochs=60, random_state=0).fit(X, y)",
        "np.testing.assert_allclose(model.predict(X), y, rtol=1e-9, atol=1e-9)",
        "KerasRegressor(epochs=1).fit(1e39 * X, X[:, 0])",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, check=True)


@keras.saving.register_keras_serializable()
class LastDigit(keras.layers.Layer):
    def call(self, x):
        return keras.ops.one_hot(x[:, 0] % 10, 10)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_large_integers(dtype, rng):
    X = rng.permutation(np.arange(2**24, 2**24 + 200))[:, None]
    layers = [keras.layers.Input((1,), dtype=dtype), LastDigit(), keras.layers.Dense(1)]
    model = KerasRegressor(keras.Sequential(layers), epochs=60, random_state=0)
    y = X[:, 0] % 10
    np.testing.assert_allclose(model.fit(X, y).predict(X), y, atol=0.1)


def test_numbers_beyond_a_type(rng):
    X, y = blobs(rng)
    with pytest.raises(ValueError, match=r"Input y contains a value too large for dtype.'float32'"):
        KerasRegressor(**few()).fit(X, 1e39 * X[:, 0])
    layers = [keras.layers.Input((4,), dtype="int32"), keras.layers.Dense(1)]
    with pytest.raises(ValueError, match=r"Input X contains a value too large for dtype.'int32'"):
        KerasRegressor(keras.Sequential(layers), epochs=1).fit(2**40 * np.sign(X), y)


def from_sizes(sizes, activation, n_features_in):
    layers = [keras.layers.Dense(size, activation) for size in sizes]
    return keras.Sequential([keras.layers.Input((n_features_in,)), *layers])


def test_numbers_of_numpy(rng):
    X, y = blobs(rng)
    given = {
        "model__sizes": (np.int64(3), np.int8(1)),
        "model__activation": np.str_("tanh"),
        "optimizer__max_cg_steps": np.int32(2),
        "optimizer__tau": np.float32(0.5),
        "fit__shuffle": np.True_,
        "fit__validation_freq": np.int64(1),
        "validation_split": np.float32(0.2),
        "activation": np.str_("relu"),
        "loss": np.str_("mse"),
        "metrics": [np.str_("mae")],
        "early_stopping": np.True_,
        "verbose": np.int64(0),
        "epochs": np.int64(1),
        "batch_size": np.int16(8),
    }
    model = KerasRegressor(from_sizes, **given)
    assert model.get_params()["model__sizes"] is given["model__sizes"]
    clone(model)
    assert model.fit(X, y).model_.optimizer.get_config()["tau"] == 0.5
    model.fit(X, y, epochs=np.int32(2), initial_epoch=np.int64(1), batch_size=np.int8(9))
    assert model.n_iter_ == 1
    small = KerasRegressor(small_network, model__units=np.int64(3), **few())
    assert pickle.loads(pickle.dumps(small.fit(X, y))).model_.layers[0].units == 3
