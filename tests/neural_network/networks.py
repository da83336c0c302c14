"""Small networks of all kinds, with data, and dense references of their curvature."""

import re
from functools import partial

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

L = keras.layers
N_SAMPLES = 24


class Subclassed(keras.Model):
    """A model whose layers are not known to Keras before it is called."""

    def __init__(self):
        super().__init__()
        self.hidden = L.Dense(5, "tanh")
        self.out = L.Dense(3, "softmax")

    def call(self, x):
        """Return the outputs."""
        return self.out(self.hidden(x))


def _two_outputs():
    x = L.Input((4,))
    h = L.Dense(5, "tanh")(x)
    return keras.Model(x, [L.Dense(3, "softmax")(h), L.Dense(1)(h)])


def _stack(shape, *layers):
    return keras.Sequential([L.Input(shape), *(layer() for layer in layers)])


_SOFTMAX = partial(L.Dense, 3, "softmax")
_CLASSES = "sparse_categorical_crossentropy"

#: Name: how to make the model, kind of samples, kind of targets, loss.
ZOO = {
    "linear": (lambda: _stack((4,), lambda: L.Dense(2)), "dense", "values", "mse"),
    "mlp": (
        lambda: _stack((4,), lambda: L.Dense(5, "tanh"), _SOFTMAX),
        "dense",
        "classes",
        _CLASSES,
    ),
    "subclassed": (Subclassed, "dense", "classes", _CLASSES),
    "two outputs": (_two_outputs, "dense", "both", [_CLASSES, "mse"]),
    "activation layer": (
        lambda: _stack((4,), lambda: L.Dense(3), lambda: L.Activation("softmax")),
        "dense",
        "classes",
        _CLASSES,
    ),
    "sigmoid": (
        lambda: _stack((4,), lambda: L.Dense(4, "tanh"), lambda: L.Dense(1, "sigmoid")),
        "dense",
        "binary",
        "binary_crossentropy",
    ),
    "squared softmax": (lambda: _stack((4,), _SOFTMAX), "dense", "onehot", "mse"),
    "penalties": (
        lambda: _stack(
            (4,), lambda: L.Dense(4, "tanh", kernel_regularizer="l2"), lambda: L.Dense(2)
        ),
        "dense",
        "values",
        "mse",
    ),
    "convolutional": (
        lambda: _stack(
            (6, 6, 1),
            lambda: L.Conv2D(2, 3, activation="tanh"),
            lambda: L.AveragePooling2D(2),
            L.Flatten,
            _SOFTMAX,
        ),
        "images",
        "classes",
        _CLASSES,
    ),
    "recurrent": (
        lambda: _stack((5,), lambda: L.Embedding(7, 3), lambda: L.LSTM(3), _SOFTMAX),
        "words",
        "classes",
        _CLASSES,
    ),
    "normalized": (
        lambda: _stack(
            (4,), lambda: L.Dense(4), L.BatchNormalization, lambda: L.Dropout(0.4), _SOFTMAX
        ),
        "dense",
        "classes",
        _CLASSES,
    ),
}


def samples(kind, rng, n=N_SAMPLES):
    if kind == "images":
        return rng.standard_normal((n, 6, 6, 1)).astype("float32")
    if kind == "words":
        return rng.integers(0, 7, (n, 5))
    return rng.standard_normal((n, 4)).astype("float32")


def targets(kind, rng, n=N_SAMPLES):
    classes = rng.integers(0, 3, n)
    return {
        "classes": classes,
        "binary": (classes > 0).astype("float32")[:, None],
        "onehot": np.eye(3, dtype="float32")[classes],
        "values": rng.standard_normal((n, 2)).astype("float32"),
        "both": [classes, rng.standard_normal((n, 1)).astype("float32")],
    }[kind]


def network(name, rng, optimizer=None, **compile_options):
    """Return a compiled network of the zoo with new weights, samples and targets."""
    make, of_samples, of_targets, loss = ZOO[name]
    keras.utils.set_random_seed(int(rng.integers(2**31)))
    model = make()
    X, y = samples(of_samples, rng), targets(of_targets, rng)
    model(X[:1])
    model.compile(optimizer=optimizer, loss=loss, **compile_options)
    return model, X, y


def label(options):
    """Return the name of a test case: the same in all processes, so without addresses."""
    return re.sub(" object at 0x[0-9a-f]+", "", str(options))


def flat(tensors):
    return np.concatenate([np.asarray(t).ravel() for t in tensors])


def dense_hessian(loss, variables):
    """Return the matrix of second derivatives, by central differences of gradients."""
    variables = [v if isinstance(v, tf.Variable) else v.value for v in variables]
    start = [v.numpy() for v in variables]

    @tf.function
    def present_gradient():
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(tf.convert_to_tensor(g), [-1]) for g in gradients], axis=0)

    def gradient(w):
        first = 0
        for v in variables:
            size = int(np.prod(v.shape))
            v.assign(w[first : first + size].reshape(v.shape))
            first += size
        return present_gradient().numpy()

    w = flat(start)
    step = 1e-5 if w.dtype == np.float64 else 1e-2
    columns = []
    for i in range(len(w)):
        e = np.zeros_like(w)
        e[i] = step
        columns.append((gradient(w + e) - gradient(w - e)) / (2 * step))
    for v, value in zip(variables, start, strict=True):
        v.assign(value)
    return np.array(columns)
