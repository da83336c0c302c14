"""Losses and metrics from parameters."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from skhmat.neural_network import KerasClassifier, KerasRegressor

from ..networks import keras
from .data import blobs, few, small_network

SPARSE = keras.losses.SparseCategoricalCrossentropy


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        SPARSE,
        keras.losses.sparse_categorical_crossentropy,
        "categorical_crossentropy",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
        "binary_crossentropy",
        "BinaryCrossentropy",
    ],
    ids=lambda loss: getattr(loss, "__name__", loss),
)
def test_losses_have_several_names(loss, n_classes, rng):
    X, y = blobs(rng, n_classes)
    options = {"optimizer": "adam", "optimizer__learning_rate": 0.1}
    model = KerasClassifier(loss=loss, **few(), **options).set_params(epochs=60).fit(X, y)
    assert model.score(X, y) > 0.8
    assert 0 < model.loss_curve_[-1] < model.loss_curve_[0]


def test_classes_of_which_there_is_one(rng):
    X, y = blobs(rng)
    for loss in ("categorical_crossentropy", SPARSE(from_logits=True)):
        with pytest.raises(ValueError, match="for each class, and model has 1 output"):
            KerasClassifier(small_network(4, 1), loss=loss).fit(X, y)
    with pytest.raises(ValueError, match="index of one class, and y has indicators"):
        KerasClassifier(loss=SPARSE, **few()).fit(X, np.c_[y, 1 - y])


def test_a_class_of_a_loss_is_called(rng):
    X, y = blobs(rng)
    model = KerasRegressor(loss=keras.losses.Huber, **few()).fit(X, y)
    assert isinstance(model.model_.loss, keras.losses.Huber)
    with pytest.raises(ValueError, match="mean_absolute_error has no second derivative"):
        KerasRegressor(loss=keras.losses.MeanAbsoluteError, **few()).fit(X, y)


def named(n_features_in, form, compiled):
    x = keras.layers.Input((n_features_in,))
    y = keras.layers.Dense(1, "sigmoid", name="y")(keras.layers.Dense(3, "tanh")(x))
    model = keras.Model(x, {"bare": y, "list": [y], "dict": {"y": y}}[form])
    if compiled is not None:
        model.compile("sgd", **compiled)
    return model


def of(form, value):
    return {"bare": value, "list": [value], "dict": {"y": value}}[form]


@pytest.mark.parametrize("form", ["bare", "list", "dict"])
@pytest.mark.parametrize("of_model", [False, True])
def test_losses_and_metrics_of_one_output(form, of_model, rng):
    """Keras takes them as lists and dicts, too."""
    X, y = blobs(rng)
    fits = []
    for now in ("bare", form):
        metrics = of(now, ["mse"])
        given = {"loss": of(now, "binary_crossentropy"), "metrics": metrics}
        options = {"optimizer": None} if of_model else {"optimizer": "sgd", **given}
        options |= {"model__form": now, "model__compiled": given if of_model else None}
        fit = KerasClassifier(named, epochs=2, random_state=0, **options).fit(X, y)
        fits.append(pickle.loads(pickle.dumps(clone(fit).fit(X, y))))
    assert fits[0].history_ == fits[1].history_
    assert set(fits[1].history_) == {"loss", "mse"}
    np.testing.assert_array_equal(*(fit.predict_proba(X) for fit in fits))
    assert fits[1].model_.loss == "binary_crossentropy"


def test_losses_and_metrics_of_several_outputs(rng):
    X, y = blobs(rng)
    for name, value in [
        ("loss", ["mse", "mse"]),
        ("loss", {"a": "mse", "b": "mse"}),
        ("loss", {}),
        ("metrics", [["mse"], ["mse"]]),
        ("metrics", {"a": "mse", "b": "mse"}),
    ]:
        with pytest.raises(ValueError, match=f"{name} must be for one output"):
            KerasRegressor(**few(), **{name: value}).fit(X, y)
    x = keras.layers.Input((4,))
    both = [keras.layers.Dense(1)(x), keras.layers.Dense(1)(x)]
    model = keras.Model(x, both)
    model.compile("sgd", ["mse", "mse"])
    with pytest.raises(ValueError, match="model must have one output"):
        KerasRegressor(model).fit(X, y)


def test_a_loss_by_its_configuration(rng):
    X, y = blobs(rng, 3)
    config = {"class_name": "SparseCategoricalCrossentropy", "config": {}}
    fit = KerasClassifier(loss=config, **few()).fit(X, y)
    assert fit.loss_curve_ == KerasClassifier(loss=SPARSE, **few()).fit(X, y).loss_curve_
    with pytest.raises(ValueError, match="loss must be"):
        KerasClassifier(loss={"class_name": "foo", "config": {}}, **few()).fit(X, y)


def two_inputs():
    x, y = keras.layers.Input((2,)), keras.layers.Input((2,))
    return keras.Model([x, y], keras.layers.Dense(1)(keras.layers.Concatenate()([x, y])))


def five_features():
    return keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(1)])


@pytest.mark.parametrize("build", [two_inputs, five_features])
def test_models_of_other_inputs(build, rng):
    X, y = blobs(rng)
    with pytest.raises(ValueError, match=r"model must be for one array of samples of shape \(4,\)"):
        KerasRegressor(build, **few()).fit(X, y)


@pytest.mark.parametrize("of_model", [False, True])
def test_metrics_are_left_as_they_were(of_model, rng):
    X, y = blobs(rng, 3)
    metrics = [keras.metrics.F1Score()]

    def build(n_features_in, n_outputs):
        model = small_network(n_features_in, n_outputs)
        model.compile(loss="categorical_crossentropy", metrics=metrics)
        return model

    model = KerasClassifier(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    model.set_params(epochs=2, model=build, metrics=None if of_model else metrics)
    for n in (3, 2):
        model.set_params(model__n_outputs=n).fit(X[y < n], y[y < n])
        assert np.shape(model.history_["f1_score"]) == (2, n)
    assert metrics[0].variables == []
