"""Training of Keras models by NewtonCG, by both entry points."""

import warnings
from copy import deepcopy

import numpy as np
import pytest

from skhmat.neural_network import NewtonCG, second_order

from ..networks import L, keras, label, network, tf


def train(name, rng, *, way="second_order", epochs=4, compile_options=None, fit=None, **options):
    """Train on all samples at once, unless `fit` has a batch size."""
    model, X, y = network(name, rng, NewtonCG(**options), **(compile_options or {}))
    if way == "second_order":
        assert second_order(model) is model
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "NewtonCG: the optimizer sees gradients alone")
        fit = {"batch_size": len(X), "epochs": epochs, "verbose": 0} | (fit or {})
        history = model.fit(X, y, **fit)
    return model, X, y, history.history["loss"]


def mean_with_dropout(model, X, y):
    losses = [model.compute_loss(y=y, y_pred=model(X, training=True)) for _ in range(50)]
    return float(np.mean(losses))


def test_it_trains(name, rng):
    before = deepcopy(rng)
    model, X, y, _ = train(name, rng, epochs=3, fit={"batch_size": 8})
    history = model.optimizer.history
    assert len(history["loss"]) == 9
    assert np.isfinite(history["loss"]).all()
    assert (history["curvature"] >= -1e-6 * history["tau"].max()).all()
    assert not any(history["fallback"] == "negative curvature")
    # All samples at once: the line search lets nothing but dropout raise the loss.
    losses = model.fit(X, y, batch_size=24, epochs=6, verbose=0).history["loss"]
    if name == "normalized":
        assert mean_with_dropout(model, X, y) < mean_with_dropout(
            *network(name, before, NewtonCG())
        )
    else:
        assert min(losses) < losses[0]


@pytest.mark.parametrize("name", ["mlp", "convolutional", "normalized", "two outputs"])
def test_it_trains_without_a_change_to_the_model(name, rng):
    model, *_, losses = train(name, rng, way="plain", epochs=6, max_cg_steps=3)
    assert min(losses) < losses[0]
    assert np.isnan(model.optimizer.history["loss"]).all()
    assert model.optimizer.history["cg_steps"].max() <= 3


def test_embeddings_and_recurrence_from_gradients_alone(rng):
    _, _, _, losses = train("recurrent", rng, way="plain", max_cg_steps=2, epochs=6)
    assert np.isfinite(losses).all()


def test_least_squares_in_three_epochs(rng):
    """The exact solution, and it stays there."""
    X = rng.standard_normal((200, 6)).astype("float32")
    X[:, 5] = X[:, 4] + 0.1 * X[:, 5]
    y = (X @ rng.standard_normal(6) + rng.standard_normal(200)).astype("float32")
    A = np.c_[X, np.ones(200)].astype(float)
    best = np.mean((A @ np.linalg.lstsq(A, y, rcond=None)[0] - y) ** 2)
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    second_order(model).compile(NewtonCG(), "mse")
    model.fit(X, y, batch_size=200, epochs=3, verbose=0)
    assert model.evaluate(X, y, verbose=0) <= best * (1 + 1e-6)
    losses = model.fit(X, y, batch_size=200, epochs=40, verbose=0).history["loss"]
    assert max(losses) <= best * (1 + 1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"curvature": "hessian"},
        {"blocks": "per_variable"},
        {"preconditioner": "jacobi"},
        {"preconditioner": "empirical_fisher", "warm_start": 0.5},
        {"curvature_fraction": 0.5},
        {"tau": 0.1, "cg_tol": 0.3, "armijo": None},
        {"tau": "levenberg-marquardt"},
        {"weight_decay": 1e-3, "clipnorm": 1.0},
        {"use_ema": True, "ema_overwrite_frequency": 5},
        {"pretrain_steps": 6},
        {"learning_rate": keras.optimizers.schedules.CosineDecay(1.0, 20)},
    ],
    ids=label,
)
def test_options(options, rng):
    losses = train("mlp", rng, epochs=6, **options)[-1]
    assert min(losses) < losses[0]


@pytest.mark.parametrize(
    "compile_options",
    [{"steps_per_execution": 3}, {"run_eagerly": True}, {"metrics": ["accuracy"]}],
    ids=label,
)
def test_ways_to_compile(compile_options, rng):
    seed = int(rng.integers(2**31))
    runs = [
        train(
            "mlp",
            np.random.default_rng(seed),
            epochs=2,
            compile_options=options,
            fit={"batch_size": 8},
        )
        for options in ({}, compile_options)
    ]
    if "steps_per_execution" in compile_options:
        weights = [run[0].get_weights() for run in runs]
        for a, b in zip(*weights, strict=True):
            np.testing.assert_array_equal(a, b)
    assert runs[1][-1][-1] < 2 * runs[0][-1][-1]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("way", ["second_order", "plain"])
def test_double_precision(way, rng):
    options = {"preconditioner": "jacobi", "warm_start": 0.3, "blocks": "per_variable"}
    model, *_, losses = train("mlp", rng, way=way, epochs=8, max_cg_steps=4, **options)
    assert model.optimizer.history["cg_steps"].max() <= 5
    assert min(losses) < losses[0]


def test_weights_and_callbacks(rng):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    weights = rng.uniform(0, 2, 24)
    losses = train("mlp", rng, fit={"sample_weight": weights, "callbacks": [callback]})[-1]
    assert losses == [logs["loss"] for logs in seen]
    train("mlp", rng, fit={"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}, "validation_split": 0.25})


def test_the_loss_is_counted_once(rng):
    """Line searches evaluate the loss of models that count the loss of each output."""
    model, X, y = network("two outputs", rng, NewtonCG())
    second_order(model)
    before = model.evaluate(X, y, verbose=0)
    after = model.fit(X, y, batch_size=24, epochs=1, verbose=0).history
    np.testing.assert_allclose(after["loss"][0], before[0], rtol=1e-5)


def test_other_optimizers_are_left_alone(rng):
    seed = int(rng.integers(2**31))
    results = []
    for wrap in (second_order, lambda model: model):
        model, X, y = network("mlp", np.random.default_rng(seed), "adam")
        wrap(model).fit(X, y, verbose=0, shuffle=False)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options", [{}, {"warm_start": 0.5, "preconditioner": "jacobi", "pretrain_steps": 4}], ids=label
)
@pytest.mark.parametrize("name", ["mlp", "normalized"])
def test_a_saved_model_goes_on_bit_by_bit(name, options, rng, tmp_path):
    model, X, y = network(name, rng, NewtonCG(**options))
    data = tf.data.Dataset.from_tensor_slices((X, y)).batch(8)
    second_order(model).fit(data, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = second_order(keras.models.load_model(tmp_path / "model.keras"))
    for ours, theirs in zip(model.variables, copy.variables, strict=True):
        if "seed_generator" in ours.path:  # Keras does not save the state of dropout
            theirs.assign(ours)
    assert copy.optimizer.get_config() == model.optimizer.get_config()
    for network_ in (model, copy):
        network_.fit(data, epochs=2, verbose=0)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(copy.optimizer.iterations) == 12


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("epochs", [0, 1])
def test_saved_in_either_format(suffix, epochs, rng, tmp_path):
    model, X, y = network("mlp", rng, NewtonCG())
    second_order(model).fit(X, y, epochs=epochs, verbose=0)
    model.save(tmp_path / f"model.{suffix}")
    loaded = second_order(keras.models.load_model(tmp_path / f"model.{suffix}"))
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    before = loaded.evaluate(X, y, verbose=0)
    loaded.fit(X, y, epochs=3, verbose=0)
    assert loaded.evaluate(X, y, verbose=0) < before


def test_class_and_config_stay_as_they_are(rng):
    model, *_ = network("mlp", rng, NewtonCG())
    before = model.get_config()
    second_order(model)
    assert type(model) is keras.Sequential
    assert model.get_config() == before


def test_gradients_alone_warn_once(rng):
    model, X, y = network("mlp", rng, NewtonCG(max_cg_steps=1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, verbose=0)
        model.fit(X, y, verbose=0)
    assert any("second_order" in str(w.message) for w in caught)
    assert sum("sees gradients alone" in str(w.message) for w in caught) == 1


def test_bad_input(rng):
    with pytest.raises(TypeError, match="model must be a"):
        second_order("model")
    for loss in ("mae", "hinge", keras.losses.MeanAbsoluteError()):
        model, X, y = network("linear", rng)
        second_order(model).compile(NewtonCG(), loss)
        before = model.get_weights()
        with pytest.raises(ValueError, match="no second derivative"):
            model.fit(X, y, verbose=0)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    model, X, y = network("mlp", rng, NewtonCG(tau="levenberg-marquardt"))
    with pytest.raises(ValueError, match="needs the loss"):
        model.fit(X, y, verbose=0)
    model, X, y = network("mlp", rng, NewtonCG())
    second_order(model).fit(X, y, verbose=0)
    model.layers[0].trainable = False
    model.train_function = None
    with pytest.raises(ValueError, match="Compile the model again"):
        model.fit(X, y, verbose=0)
    model, X, y = network("mlp", rng, NewtonCG(), run_eagerly=True)
    with pytest.raises(RuntimeError, match="run_eagerly"):
        model.fit(X, y, verbose=0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_refused(policy, rng):
    layer = keras.layers.Dense(2, dtype=policy)
    model = keras.Sequential([keras.layers.Input((4,)), layer])
    second_order(model).compile(NewtonCG(), "mse")
    with pytest.raises(ValueError, match="mixed precision"):
        model.fit(np.zeros((8, 4)), np.zeros((8, 2)), verbose=0)


def line(loss="mse", optimizer=None):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    second_order(model).compile(optimizer or NewtonCG(), loss)
    return model


@pytest.mark.parametrize("options", [{}, {"warm_start": 0.5}, {"preconditioner": "jacobi"}])
def test_a_batch_that_is_not_finite_leaves_no_trace(options, rng):
    X, y = rng.standard_normal((60, 4)).astype("float32"), rng.standard_normal(60)
    broken = X.copy()
    broken[3] = np.nan
    model = line(optimizer=NewtonCG(**options))
    model.fit(X, y, batch_size=60, epochs=3, verbose=0)
    model.fit(broken, y, batch_size=60, verbose=0)
    losses = model.fit(X, y, batch_size=60, epochs=25, verbose=0).history["loss"]
    history = model.optimizer.history
    assert history["fallback"][3] == "not finite"
    best = np.mean((y - np.c_[X, np.ones(60)] @ np.linalg.lstsq(np.c_[X, np.ones(60)], y)[0]) ** 2)
    assert losses[-1] == pytest.approx(best, rel=1e-4)
    assert np.isfinite(history["tau"][4:]).all()
    assert history["prediction_error"][-1] < 0.9


def test_an_optimizer_belongs_to_one_model(rng):
    X, y = rng.standard_normal((30, 4)).astype("float32"), rng.standard_normal(30)
    optimizer = NewtonCG(weight_decay=0.1)
    first = line(optimizer=optimizer)
    first.fit(X, y, verbose=0)
    before = first.get_weights()
    with pytest.raises(ValueError, match="Unknown variable"):
        line(optimizer=optimizer).fit(X, y, verbose=0)
    np.testing.assert_array_equal(first.get_weights()[0], before[0])


def test_nothing_to_train(rng):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Flatten()])
    second_order(model).compile(NewtonCG(), "mse")
    X = rng.standard_normal((10, 4))
    with pytest.raises(ValueError, match="no trainable weights"):
        model.fit(X, X, verbose=0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_refused_from_gradients_alone(policy, rng):
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(3, dtype=policy), keras.layers.Dense(1)]
    )
    model.compile(NewtonCG(max_cg_steps=1), "mse")
    with pytest.raises(ValueError, match="mixed precision"):
        model.fit(rng.standard_normal((10, 4)), rng.standard_normal(10), verbose=0)


def test_saturated_outputs(rng):
    """Where classes of a batch can be told apart, the curvature runs to nothing."""
    model, X, y = network("activation layer", rng, NewtonCG())
    second_order(model)
    for weight in model.trainable_weights:
        weight.assign(1e3 * rng.standard_normal(weight.shape))
    losses = model.fit(X, y, batch_size=len(X), epochs=20, verbose=0).history["loss"]
    assert min(losses) < 0.9 * losses[0]
    assert np.isfinite(losses).all()
    assert set(model.optimizer.history["fallback"]).isdisjoint({"not finite"})


class Autoencoder(keras.Model):
    """Its only loss is the one that it adds."""

    def __init__(self):
        super().__init__()
        self.code, self.decode = L.Dense(2), L.Dense(4)

    def call(self, x):
        """Return what is left of the samples."""
        decoded = self.decode(self.code(x))
        self.add_loss(tf.reduce_mean((x - decoded) ** 2))
        return decoded


def test_losses_that_layers_add(rng):
    X = rng.standard_normal((40, 4)).astype("float32")
    X[:, 2:] = X[:, :2]
    model = second_order(Autoencoder())
    model.compile(NewtonCG())
    losses = model.fit(X, batch_size=40, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


class StepOfItsOwn(keras.Sequential):
    """A model that trains in its own way."""

    def train_step(self, data):
        """Take a step."""
        return super().train_step(data)


def test_a_train_step_of_the_user_is_not_replaced():
    with pytest.raises(ValueError, match=r"train_step of its own.* got a StepOfItsOwn"):
        second_order(StepOfItsOwn([L.Input((4,)), L.Dense(1)]))
    model = keras.Sequential([L.Input((4,)), L.Dense(1)])
    model.train_step = lambda data: {"loss": 0.0}
    with pytest.raises(ValueError, match="train_step of its own"):
        second_order(model)
    model = line()
    assert second_order(model) is model


@pytest.mark.parametrize("way", ["second_order", "plain"])
def test_weights_that_the_loss_does_not_depend_on(way, rng):
    """They stay as they are, and the others are trained."""
    x = L.Input((4,))
    h = L.Dense(3, "tanh")(x)
    model = keras.Model(x, [L.Dense(1, name="used")(h), L.Dense(2, name="unused")(h)])
    if way == "second_order":
        second_order(model)
    model.compile(NewtonCG(max_cg_steps=3), loss=["mse", None])
    before = model.get_layer("unused").get_weights()
    X, y = rng.standard_normal((40, 4)).astype("float32"), rng.standard_normal((40, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(X, [y, np.zeros((40, 2))], batch_size=13, epochs=6, verbose=0).history
    warned = any("Gradients do not exist" in str(w.message) for w in caught)
    assert warned == (way == "plain")
    assert min(history["loss"]) < history["loss"][0]
    for a, b in zip(before, model.get_layer("unused").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
