"""Predictions: the same bits whatever samples are predicted together."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from skhmat.neural_network import KerasClassifier, KerasRegressor
from skhmat.neural_network._estimators import prediction

from ..networks import keras


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


ALL_KINDS = pytest.mark.parametrize(
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
    ids=[
        "binary",
        "wide and narrow",
        "regression",
        "narrow and wide",
        "normalized binary",
        "normalized",
        "convolutional",
        "recurrent",
        "float64",
    ],
)


def fitted(estimator, shape, n_classes, n, rng):
    """Return an estimator after one epoch on random samples, and these."""
    X = rng.standard_normal((n, *shape))
    y = X.reshape(n, -1)[:, 0] if n_classes is None else np.arange(n) % n_classes
    model = clone(estimator).set_params(epochs=1, optimizer="adam", random_state=0)
    return model.fit(X, y), X


@pytest.mark.parametrize("n", [150, 1000])
@ALL_KINDS
def test_a_prediction_does_not_depend_on_the_other_rows(estimator, shape, n_classes, n, rng):
    model, X = fitted(estimator, shape, n_classes, n, rng)
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


WITH_GRAPH = replace(prediction.POLICY, min_batches_for_graph=1)


def plain_outputs(network, X, policy=prediction.POLICY):
    return prediction._evaluate_all(network, X, prediction._as_they_are, policy)[0]


@ALL_KINDS
def test_a_graph_predicts_the_same_bits(estimator, shape, n_classes, rng):
    model, X = fitted(estimator, shape, n_classes, 1000, rng)
    X = X.astype(np.float32)
    expected, expected_link = prediction.read_outputs(model.model_, X)
    plain = plain_outputs(model.model_, X)
    assert not hasattr(model.model_, "_skhmat_graphs")  # it would not pay for so few samples
    actual, link = prediction.read_outputs(model.model_, X, WITH_GRAPH)
    assert link == expected_link
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(plain_outputs(model.model_, X, WITH_GRAPH), plain)
    first = prediction.tf.convert_to_tensor(X[: 384 if X.ndim == 2 else 192])
    y = prediction.tf.constant(plain[: len(first)])
    assert prediction._find_graph(model.model_, prediction._as_they_are, first, y)


def test_a_graph_that_differs_is_not_used(rng):
    X = rng.standard_normal((800, 3)).astype(np.float32)
    network = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, "relu")])
    network.compile("sgd", "mse")
    plain_outputs(network, X, WITH_GRAPH)
    network.layers[-1].activation = keras.activations.tanh
    expected = plain_outputs(network, X)
    np.testing.assert_array_equal(plain_outputs(network, X, WITH_GRAPH), expected)


def test_many_samples_are_predicted_by_a_graph(rng):
    X, y = rng.standard_normal((12_500, 3)), rng.standard_normal(12_500)
    model = KerasRegressor(hidden_layer_sizes=(5,), epochs=1, random_state=0).fit(X, y)
    p = model.predict(X)
    assert len(model.model_._skhmat_graphs) == 1
    np.testing.assert_array_equal(model.predict(X[9000:9005]), p[9000:9005])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), p)
