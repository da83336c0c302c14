"""Targets: labels, indicators, logits and probabilities."""

import numpy as np
import pytest
import scipy.sparse
import scipy.special

from skhmat.neural_network import KerasClassifier
from skhmat.neural_network._estimators import prediction
from skhmat.neural_network._estimators.targets import ClassTarget

from ..networks import keras
from .data import blobs, few, small_network


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


def probabilities(activation, loss, indicators, rng):
    """Return those of a network that is not trained, its outputs and its logits."""
    X, y = blobs(rng, 3)
    X = X.astype(np.float32)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(3, activation)]
    network = keras.Sequential(layers)
    network.compile("sgd", loss)
    target = ClassTarget(np.eye(3, dtype=int)[y] if indicators else y)
    outputs, link = prediction.read_outputs(network, X)
    kernel, bias = network.get_weights()
    logits = (X @ kernel + bias).astype(float)
    return target.probabilities(target.scores(outputs, link)), network.predict(X, verbose=0), logits


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("softmax", "categorical_crossentropy"),
        ("softmax", "mse"),
        ("sigmoid", "mse"),
        ("sigmoid", "bce"),
        ("sigmoid", keras.losses.BinaryFocalCrossentropy()),
        ("hard_sigmoid", "mse"),
    ],
)
@pytest.mark.parametrize("indicators", [False, True])
def test_probabilities_are_the_outputs(activation, loss, indicators, rng):
    p, expected, _ = probabilities(activation, loss, indicators, rng)
    if not indicators:
        expected = expected / expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "sigmoid", "softmax"])
@pytest.mark.parametrize("indicators", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_logits_are_read_as_the_loss_reads_them(activation, indicators, binary, rng):
    kind = keras.losses.BinaryCrossentropy if binary else keras.losses.CategoricalCrossentropy
    p, _, logits = probabilities(activation, kind(from_logits=activation is None), indicators, rng)
    expected = scipy.special.expit(logits) if binary else scipy.special.softmax(logits, axis=1)
    if not indicators:
        expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-6)


def test_one_hot_targets_of_a_softmax(rng):
    X, y = blobs(rng, 3)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(3, "softmax")]
    options = {"loss": "categorical_crossentropy", "optimizer": "adam", "epochs": 1}
    fitted = KerasClassifier(keras.Sequential(layers), **options).fit(X, np.eye(3, dtype=int)[y])
    expected = fitted.model_.predict(X, verbose=0)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-4, atol=1e-6)
    found = fitted.predict(X)
    np.testing.assert_array_equal(found, np.eye(3)[fitted.predict_proba(X).argmax(axis=1)])


@pytest.mark.parametrize(
    ("end", "loss", "several", "expected"),
    [
        ("softmax", "categorical_crossentropy", False, True),
        ("softmax", "mse", False, True),
        (None, keras.losses.CategoricalCrossentropy(from_logits=True), False, True),
        ("softmax", "categorical_crossentropy", True, False),
        ("sigmoid", "binary_crossentropy", False, False),
        ("softmax", "binary_crossentropy", False, False),
    ],
)
def test_one_of_several_labels(end, loss, several, expected, rng):
    """The most probable one is predicted where each sample has one and the network knows it."""
    X, y = blobs(rng, 3)
    Y = np.eye(3, dtype=int)[y]
    Y[0] = [1, several, 0]
    options = {"loss": loss, "optimizer": "adam", "epochs": 1, "random_state": 0}
    layers = [keras.layers.Input((4,)), keras.layers.Dense(3, end)]
    fitted = KerasClassifier(keras.Sequential(layers), **options).fit(X, Y)
    p = fitted.predict_proba(X)
    by_threshold = (p > 0.5).astype(int)
    by_rank = np.eye(3, dtype=int)[p.argmax(axis=1)]
    np.testing.assert_array_equal(fitted.predict(X), by_rank if expected else by_threshold)


def test_log_odds_of_a_softmax(rng):
    target = ClassTarget(np.eye(4, dtype=int)[rng.integers(4, size=9)])
    logits = rng.uniform(-5, 5, (9, 4))
    p = scipy.special.softmax(logits, axis=1)
    scores = target.scores(logits, "softmax")
    np.testing.assert_allclose(scores, np.log(p / (1 - p)), rtol=1e-9, atol=1e-12)
    # One label of nearly all probability, whose complement has no digit in float64.
    scores = target.scores([[300.0, 0, 0, 0]], "softmax")[0]
    np.testing.assert_allclose(scores, [300 - np.log(3), -300, -300, -300])


def own_cross_entropy(y, p):
    return keras.losses.categorical_crossentropy(y, p, from_logits=True)


def test_losses_that_do_not_fit_the_outputs(rng):
    X, y = blobs(rng, 3)
    with pytest.raises(ValueError, match="loss='categorical_crossentropy' takes"):
        KerasClassifier(small_network(4, 3), loss="categorical_crossentropy").fit(X, y)
    fitted = KerasClassifier(small_network(4, 3), loss=own_cross_entropy, epochs=20).fit(X, y)
    with pytest.raises(ValueError, match="Outputs of model are no probabilities"):
        fitted.predict(X)


def test_sparse_indicators(rng):
    X, y = blobs(rng)
    Y = scipy.sparse.csr_matrix(np.c_[y, 1 - y])
    assert KerasClassifier(**few()).fit(X, Y).predict(X).shape == (90, 2)


def test_classes_that_are_too_few_or_without_order(rng):
    X, y = blobs(rng)
    model = KerasClassifier(**few())
    with pytest.raises(ValueError, match=r"y has one class, 0; .* partial_fit, name all of them"):
        model.partial_fit(X, 0 * y)
    with pytest.raises(ValueError, match="classes has one class, 0; a classifier needs"):
        model.partial_fit(X, y, classes=[0])
    with pytest.raises(TypeError, match="y: '<' not supported"):
        ClassTarget(np.array(["a", None] * 5, dtype=object))
    with pytest.raises(TypeError, match="classes: '<' not supported"):
        ClassTarget(y, classes=[0, "a", None])
