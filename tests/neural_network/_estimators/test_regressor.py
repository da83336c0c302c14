"""KerasRegressor."""

import numpy as np
import pytest
import scipy.special

from skhmat.neural_network import KerasRegressor, NewtonCG

from ..networks import keras
from .data import blobs, diabetes, few, small_network


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
    assert np.isfinite(history["loss"]).all()  # which gradients alone would not show
    assert model.loss_curve_[-1] < 0.7 * model.loss_curve_[0]


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


def test_weights_of_partial_fit_are_not_scaled(rng):
    X, y = blobs(rng)
    found = []
    for weight in (1, 3):
        model = KerasRegressor(optimizer="sgd", **few()).partial_fit(X, y)
        found.append(model.partial_fit(X, y, sample_weight=np.full(90, weight)).predict(X))
    assert np.abs(found[0] - found[1]).max() > 1e-4


@pytest.mark.parametrize(("end", "loss"), [("softmax", "auto"), ("sigmoid", "binary_crossentropy")])
def test_predictions_are_the_outputs(end, loss, rng):
    X = rng.standard_normal((60, 3))
    y = 1 / (1 + np.exp(-2 * X[:, 0]))
    layers = [keras.layers.Input((3,)), keras.layers.Dense(2, end)]
    options = {"loss": loss, "optimizer": "adam", "epochs": 1, "random_state": 0}
    model = KerasRegressor(keras.Sequential(layers), **options).fit(X, np.c_[y, 1 - y])
    expected = model.model_.predict(X, verbose=0)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*received `from_logits=True`")
@pytest.mark.parametrize(
    ("end", "from_logits"),
    [(None, True), ("sigmoid", False), ("sigmoid", True), ("softmax", False), ("softmax", True)],
)
@pytest.mark.parametrize("binary", [False, True])
def test_predictions_are_what_the_loss_compares_with_y(end, binary, from_logits, rng):
    X = rng.standard_normal((60, 3)).astype(np.float32)
    y = 1 / (1 + np.exp(-2 * X[:, 0]))
    kind = keras.losses.BinaryCrossentropy if binary else keras.losses.CategoricalCrossentropy
    layers = [keras.layers.Input((3,)), keras.layers.Dense(2, end)]
    options = {"optimizer": "adam", "epochs": 1, "random_state": 0}
    model = KerasRegressor(keras.Sequential(layers), loss=kind(from_logits), **options)
    p = model.fit(X, np.c_[y, 1 - y]).predict(X)
    kernel, bias = model.model_.get_weights()
    logits = X @ kernel + bias
    expected = scipy.special.expit(logits) if binary else scipy.special.softmax(logits, axis=1)
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-6)
