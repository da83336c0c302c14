"""Targets: labels, indicators, logits and probabilities."""

import numpy as np
import pytest
import scipy.sparse

from skhmat.neural_network import KerasClassifier

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
