"""Gauss-Newton Hessians of small neural networks: functions as in `_operators`."""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

# Inputs of a network: the pixels of a digit.
_N_PIXELS = 64
# Outputs of the classifier.
_N_CLASSES = 10
# Number of parameters: weights and bias of each hidden unit, plus the biases of the outputs.
CLASSIFIER_SIZES = (_N_PIXELS + 1 + _N_CLASSES, _N_CLASSES)
AUTOENCODER_SIZES = (_N_PIXELS + 1 + _N_PIXELS, _N_PIXELS)
# Digits behind a Hessian.
_N_SAMPLES = 100
# Multiple of the identity that is added, relative to the mean diagonal entry.
_REGULARISATION = 1e-3


def classifier_hessian(n, rng):
    """Gauss-Newton Hessian of a digit classifier with one hidden layer, 64 -> h -> 10.

    J'QJ / m + lambda I over all n = 75 h + 10 weights and biases: J is the Jacobian of the outputs
    of m = 100 handwritten digits, Q the Hessian of the cross-entropy, lambda 1e-3 times the mean
    diagonal entry. ReLU units; trained by scikit-learn's MLPClassifier to an accuracy of over 95 %.
    """
    X, y = load_digits(return_X_y=True)
    network = _trained(MLPClassifier, (n - _N_CLASSES) // CLASSIFIER_SIZES[0], rng, X / 16, y)
    X = X[rng.choice(len(X), size=_N_SAMPLES, replace=False)] / 16
    p = network.predict_proba(X)[:, :, None]
    # diag(p) - p p' = B'B, since the p of a digit add up to 1.
    B = np.sqrt(p) * (np.eye(_N_CLASSES) - p.transpose(0, 2, 1))
    return _gauss_newton(B @ _jacobian(network, X))


def autoencoder_hessian(n, rng):
    """Gauss-Newton Hessian of an autoencoder of digits with one hidden layer, 64 -> h -> 64.

    J'J / m + lambda I over all n = 129 h + 64 weights and biases, for the squared error, of m = 100
    handwritten digits; lambda is 1e-3 times the mean diagonal entry. ReLU units; trained by
    scikit-learn's MLPRegressor.
    """
    X = load_digits().data / 16
    network = _trained(MLPRegressor, (n - _N_PIXELS) // AUTOENCODER_SIZES[0], rng, X, X)
    return _gauss_newton(_jacobian(network, X[rng.choice(len(X), size=_N_SAMPLES, replace=False)]))


def _trained(kind, n_hidden, rng, X, y):
    """Return a network of scikit-learn with one hidden layer, after 60 epochs at most."""
    network = kind(
        hidden_layer_sizes=(n_hidden,), max_iter=60, random_state=int(rng.integers(2**31))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # trained well enough for an example
        return network.fit(X, y)


def _jacobian(network, X):
    """Return the derivatives of all outputs by all weights, shape (n_samples, n_outputs, n).

    Weights in the order in which scikit-learn holds them: those into the hidden units, their
    biases, those into the outputs, their biases.
    """
    (first, second), (bias, _) = network.coefs_, network.intercepts_
    hidden = np.maximum(X @ first + bias, 0)
    inner = (hidden > 0)[:, None, :] * second.T  # d output / d input of a hidden unit
    identity = np.eye(second.shape[1])
    m, n_outputs = len(X), len(identity)
    parts = (
        np.einsum("mi,mkj->mkij", X, inner),
        inner,
        np.einsum("mj,kl->mkjl", hidden, identity),
        np.broadcast_to(identity, (m, n_outputs, n_outputs)),
    )
    return np.concatenate([part.reshape(m, n_outputs, -1) for part in parts], axis=2)


def _gauss_newton(factor):
    """Return the rows of factor' factor / m + lambda I."""
    G = factor.reshape(-1, factor.shape[-1]) / np.sqrt(len(factor))
    ridge = _REGULARISATION * np.einsum("ij,ij->", G, G) / G.shape[1]

    def rows(start, stop):
        found = G[:, start:stop].T @ G
        found[np.arange(stop - start), np.arange(start, stop)] += ridge
        return found

    return rows
