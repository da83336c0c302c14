"""Test problems for optimizers: data, network and loss, in the manner of DeepOBS

[1]_, whose 2c2d, 3c3d and mlp are here with data from the network, and smaller with data that
scikit-learn has.

References
----------
.. [1] F. Schneider, L. Balles, P. Hennig, "DeepOBS: a deep learning optimizer benchmark suite",
   ICLR 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn import datasets

from skhmat.neural_network._keras import keras

layers = keras.layers

CROSS_ENTROPY = "sparse_categorical_crossentropy"
BINARY = "binary_crossentropy"
#: The network returns the loss itself: there is no accuracy.
OUTPUT = "output"

#: Patches of each class, and their width.
_PATCHES, _WIDTH = 400, 16
#: Steps of an epoch, and variables, of the quadratics.
_STEPS, _N = 20, 200


@dataclass(frozen=True)
class Problem:
    """A test problem.

    ``load(seed)`` returns three pairs of arrays, for training, validation and test.
    ``network(seed, init)`` returns a model that is not compiled, with weights as the problem has
    them (`init` "problem") or by default of Keras ("keras").
    """

    name: str
    load: Callable
    network: Callable
    loss: str
    batch_size: int
    epochs: int


# ---- data


def split(X, y, seed):
    """Return pairs of 60, 20 and 20 % of the samples, in an order that depends on the seed."""
    order = np.random.default_rng(seed).permutation(len(X))
    ends = [int(0.6 * len(X)), int(0.8 * len(X))]
    return [(X[rows].astype(np.float32), y[rows]) for rows in np.split(order, ends)]


def download(name, instead, channels, seed):
    """Return a data set that Keras downloads; validation takes 10 % of the samples for training."""
    try:
        (X, y), test = getattr(keras.datasets, name).load_data()
    except Exception as error:
        raise RuntimeError(
            f"{name} could not be loaded: it has to be downloaded once, and is then in the cache "
            f"of Keras. A smaller problem that needs no network is {instead!r}."
        ) from error

    def prepared(X, y):
        return X.reshape(-1, *channels).astype(np.float32) / 255, y.ravel().astype(np.int32)

    order = np.random.default_rng(seed).permutation(len(X))
    cut = len(X) // 10
    parts = [prepared(X[rows], y[rows]) for rows in (order[cut:], order[:cut])]
    return [*parts, prepared(*test)]


def digits(shape, seed):
    """Return scikit-learn's images of digits, pixels from 0 to 1."""
    X, y = datasets.load_digits(return_X_y=True)
    return split(X.reshape(-1, *shape) / 16, y.astype(np.int32), seed)


def patches(seed):
    """Return pieces of two photographs; the class is the photograph and the fifth of its width.

    They overlap, also those for training and test: accuracies are no measure of generalisation.
    """
    rng = np.random.default_rng(0)  # the seed is for the split alone
    X, y = [], []
    for number, image in enumerate(datasets.load_sample_images().images):
        fifth = image.shape[1] // 5
        for part in range(5):
            tops = rng.integers(image.shape[0] - _WIDTH + 1, size=_PATCHES)
            lefts = part * fifth + rng.integers(fifth - _WIDTH + 1, size=_PATCHES)
            for top, left in zip(tops, lefts, strict=True):
                X.append(image[top : top + _WIDTH, left : left + _WIDTH])
            y += [5 * number + part] * _PATCHES
    return split(np.stack(X) / 255, np.array(y, dtype=np.int32), seed)


def wisconsin(seed):
    """Return the breast cancer data, standardised by the samples for training."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    parts = split(X, y.astype(np.float32), seed)
    mean, deviation = parts[0][0].mean(axis=0), parts[0][0].std(axis=0)
    return [((X - mean) / deviation, y) for X, y in parts]


def two_classes(seed):
    """Return normal samples with columns of scale 1 to 30, and labels of a logistic model."""
    rng = np.random.default_rng(0)
    scales = np.geomspace(1, 30, 20)
    X = rng.standard_normal((2000, 20)) * scales
    logits = X @ (rng.standard_normal(20) / scales)
    y = rng.random(2000) < 1 / (1 + np.exp(-logits))
    return split(X, y.astype(np.float32), seed)


def shape_of_mnist(seed):
    """Return noise of the shape of MNIST, for timing: an epoch has as many steps as its."""
    rng = np.random.default_rng(seed)

    def noise(n):
        return rng.random((n, 784), dtype=np.float32), rng.integers(10, size=n, dtype=np.int32)

    return [noise(54_000), noise(100), noise(100)]


def no_data(seed):
    """Return samples that are not looked at, one for each step."""
    return [
        (np.zeros((n, 1), dtype=np.float32), np.zeros(n, dtype=np.float32)) for n in (_STEPS, 1, 1)
    ]


# ---- networks


def start(seed, shape):
    """Return a model with nothing but an input; its weights depend on the seed."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential([layers.Input(shape)])


def normal(init, stddev, bias):
    """Return arguments of a layer for truncated normal weights, new ones for each layer."""
    if init == "keras":
        return {}
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=stddev),
        "bias_initializer": keras.initializers.Constant(bias),
    }


def mlp(shape, widths, stddev, seed, init="problem"):
    """Return a dense network; the weights are those of Keras where there is no `stddev`."""
    model = start(seed, shape)
    for i, width in enumerate(widths):
        weights = {} if stddev is None else normal(init, stddev, 0.0)
        last = i == len(widths) - 1
        model.add(layers.Dense(width, activation="softmax" if last else "relu", **weights))
    return model


def conv_2c2d(shape, filters, kernel, width, seed, init="problem"):
    """Return a network of two convolutions and two dense layers."""
    model = start(seed, shape)
    for n in filters:
        weights = normal(init, 0.05, 0.05)
        model.add(layers.Conv2D(n, kernel, padding="same", activation="relu", **weights))
        model.add(layers.MaxPooling2D(2, padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dense(width, activation="relu", **normal(init, 0.05, 0.05)))
    model.add(layers.Dense(10, activation="softmax", **normal(init, 0.05, 0.05)))
    return model


def conv_3c3d(shape, filters, widths, seed, init="problem"):
    """Return a network of three convolutions and three dense layers, with a penalty on kernels."""
    model = start(seed, shape)

    def weights():
        made = {"kernel_regularizer": keras.regularizers.L2(0.002)}
        if init == "problem":
            made["kernel_initializer"] = keras.initializers.GlorotNormal()
        return made

    for n, kernel, padding in zip(filters, (5, 3, 3), ("valid", "valid", "same"), strict=True):
        model.add(layers.Conv2D(n, kernel, padding=padding, activation="relu", **weights()))
        model.add(layers.MaxPooling2D(3, strides=2, padding="same"))
    model.add(layers.Flatten())
    for width in widths:
        model.add(layers.Dense(width, activation="relu", **weights()))
    model.add(layers.Dense(10, activation="softmax", **weights()))
    return model


def two_class_network(n_features, widths, seed, init="problem"):
    """Return a dense network with one probability as output."""
    model = start(seed, (n_features,))
    for width in widths:
        model.add(layers.Dense(width, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


class Quadratic(layers.Layer):
    """A layer whose output is a quadratic of its weights, the same for each sample."""

    def __init__(self, eigenvalues, seed):
        super().__init__()
        rng = np.random.default_rng(seed)
        n = len(eigenvalues)
        # Turned: Adam would have the eigenvectors given where they are the axes.
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        self.matrix = (Q * eigenvalues @ Q.T).astype(np.float32)
        self.first = rng.standard_normal(n).astype(np.float32)

    def build(self, shape):
        def first(shape, dtype=None):
            return keras.ops.convert_to_tensor(self.first)

        self.point = self.add_weight(shape=self.first.shape, initializer=first, name="point")

    def call(self, inputs):
        value = keras.ops.dot(self.point, keras.ops.matmul(self.matrix, self.point)) / 2
        return keras.ops.zeros_like(inputs) + value


def quadratic(eigenvalues, seed, init="problem"):
    """Return a model with a quadratic as output."""
    model = start(seed, (1,))
    model.add(Quadratic(eigenvalues, seed))
    return model


_MNIST = (1000, 500, 100, 10)
_TWO_LARGE = np.array([1000.0, 500.0] + [1.0] * (_N - 2))
_SPREAD = np.linspace(1.0, 100.0, _N)
_FMNIST = partial(download, "fashion_mnist", "digits_2c2d", (28, 28, 1))
_CIFAR10 = partial(download, "cifar10", "patches_3c3d", (32, 32, 3))
_MNIST_DATA = partial(download, "mnist", "digits_mlp", (784,))

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "fmnist_2c2d",
            _FMNIST,
            partial(conv_2c2d, (28, 28, 1), (32, 64), 5, 1024),
            CROSS_ENTROPY,
            128,
            20,
        ),
        Problem(
            "cifar10_3c3d",
            _CIFAR10,
            partial(conv_3c3d, (32, 32, 3), (64, 96, 128), (512, 256)),
            CROSS_ENTROPY,
            128,
            20,
        ),
        Problem(
            "mnist_mlp", _MNIST_DATA, partial(mlp, (784,), _MNIST, 0.03), CROSS_ENTROPY, 128, 20
        ),
        Problem(
            "digits_mlp",
            partial(digits, (64,)),
            partial(mlp, (64,), (128, 64, 10), None),
            CROSS_ENTROPY,
            128,
            30,
        ),
        Problem(
            "digits_2c2d",
            partial(digits, (8, 8, 1)),
            partial(conv_2c2d, (8, 8, 1), (16, 32), 3, 64),
            CROSS_ENTROPY,
            32,
            15,
        ),
        Problem(
            "patches_3c3d",
            patches,
            partial(conv_3c3d, (_WIDTH, _WIDTH, 3), (16, 24, 32), (64, 32)),
            CROSS_ENTROPY,
            64,
            10,
        ),
        Problem("wisconsin", wisconsin, partial(two_class_network, 30, (16,)), BINARY, 32, 30),
        Problem("logistic", two_classes, partial(two_class_network, 20, ()), BINARY, 32, 20),
        Problem("quadratic_two_large", no_data, partial(quadratic, _TWO_LARGE), OUTPUT, 1, 20),
        Problem("quadratic_spread", no_data, partial(quadratic, _SPREAD), OUTPUT, 1, 20),
        Problem(
            "mnist_mlp_shape",
            shape_of_mnist,
            partial(mlp, (784,), _MNIST, 0.03),
            CROSS_ENTROPY,
            128,
            4,
        ),
    )
}
