"""Quadratics and a small network for the probabilistic preconditioner, with dense references."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..networks import keras, tf

TWO_LARGE = np.r_[1000.0, 500.0, np.ones(198)]


L = keras.layers


class Quadratic:
    """x' H x / 2 with the given eigenvalues, and Gaussian noise in H and in the gradient."""

    def __init__(self, values, rng, dtype="float64", noise=0.0):
        n = len(values)
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        self.H = tf.Variable((Q * values) @ Q.T, dtype=dtype)
        self.x = keras.Variable(rng.standard_normal(n), dtype=dtype)
        self.noise = noise
        self._random = tf.random.Generator.from_seed(int(rng.integers(2**31)))

    def loss(self):
        """Return the loss of a new minibatch."""
        x, H = self.x.value, self.H
        loss = tf.tensordot(x, tf.linalg.matvec(H, x), 1) / 2
        if self.noise:
            E = self.noise * self._random.normal(H.shape, dtype=H.dtype)
            e = self.noise * self._random.normal(x.shape, dtype=H.dtype)
            loss += tf.tensordot(x, tf.linalg.matvec(E, x), 1) / 2 + tf.tensordot(e, x, 1)
        return loss

    def stepper(self, optimizer):
        """Return a function that takes a step and returns the loss before."""
        step = tf.function(lambda: optimizer.minimize(self.loss, [self.x]))
        return lambda: float(step())


def eigenvectors(optimizer):
    """Return those of the last estimate, as rows."""
    return np.concatenate([u.numpy() for u in optimizer._descent.estimate.state.U], axis=1).astype(
        float
    )


def preconditioned(optimizer, H):
    """Return the eigenvalues of P H."""
    U = eigenvectors(optimizer)
    factors = optimizer._descent.estimate.state.factors.numpy()[0]
    P = np.eye(len(H)) + (U.T * (factors - 1)) @ U
    return np.sort(np.linalg.eigvals(P @ np.asarray(H, float)).real)


def gradient_descent_steps(problem, reduction):
    """Return the steps that gradient descent takes at its best constant rate."""
    values, Q = np.linalg.eigh(problem.H.numpy())
    c = Q.T @ problem.x.numpy()
    first, rate, steps = np.sum(values * c**2), 2 / (values[0] + values[-1]), 0
    while np.sum(values * c**2) > reduction * first:
        c, steps = c * (1 - rate * values), steps + 1
    return steps


def net(seed, optimizer, **compile_options):
    """Return a small network, compiled, and its data: 48 samples of three classes."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([L.Input((6,)), L.Dense(8, "tanh"), L.Dense(3, "softmax")])
    options = {"jit_compile": False} | compile_options
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    X = rng.standard_normal((48, 6)).astype("float32")
    return model, X, np.argmax(X[:, :3] + 0.3 * rng.standard_normal((48, 3)), axis=1)


def fit(model, X, y, **options):
    """Return the losses. Two samples are so few that much may be remarked on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ProbabilisticPreconditioner", ConvergenceWarning)
        return model.fit(X, y, **({"verbose": 0, "batch_size": 2} | options)).history["loss"]
