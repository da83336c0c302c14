"""Data, a small network and callbacks for the estimators."""

import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.preprocessing import StandardScaler

from ..networks import keras


def small_network(n_features_in, n_outputs, units=6):
    layers = [keras.layers.Input((n_features_in,)), keras.layers.Dense(units, "tanh")]
    return keras.Sequential([*layers, keras.layers.Dense(n_outputs)])


def iris(labels=("setosa", "versicolor", "virginica")):
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(labels)[y]


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


def few():
    return {"epochs": 2, "hidden_layer_sizes": 5, "random_state": 0}


def blobs(rng, n_classes=2):
    X = rng.standard_normal((90, 4))
    return X, np.digitize(X[:, 0], np.linspace(-0.5, 0.5, n_classes - 1))


def quick():
    return {**few(), "optimizer": "adam"}


class Raises(keras.callbacks.Callback):
    """Raises in a method, the first time or in a later epoch."""

    def __init__(self, error, method="on_epoch_end", epoch=0):
        super().__init__()
        self.now, self.due = 0, epoch

        def fail(*_args, **_kwargs):
            if self.now >= self.due:
                raise error

        setattr(self, method, fail)

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch
