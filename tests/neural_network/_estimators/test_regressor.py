"""KerasRegressor."""

import numpy as np

from skhmat.neural_network import KerasRegressor, NewtonCG

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
