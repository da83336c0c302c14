import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_digits

from skhmat.datasets import _networks as networks


@pytest.fixture
def trained(monkeypatch):
    """Keep the network that a Hessian is made of."""
    kept = []
    train = networks._trained

    def keep(*args):
        kept.append(train(*args))
        return kept[-1]

    monkeypatch.setattr(networks, "_trained", keep)
    return kept


def outputs(network, weights, X):
    """Return the outputs for other weights, in scikit-learn's order."""
    (i, h), (_, o) = (coefs.shape for coefs in network.coefs_)
    first, bias, second, last = np.split(weights, np.cumsum([i * h, h, h * o]))
    return np.maximum(X @ first.reshape(i, h) + bias, 0) @ second.reshape(h, o) + last


def finite_differences(network, X, eps=1e-6):
    (first, second), (bias, last) = network.coefs_, network.intercepts_
    weights = np.concatenate([first.ravel(), bias, second.ravel(), last])
    columns = [
        (outputs(network, weights + step, X) - outputs(network, weights - step, X)) / (2 * eps)
        for step in eps * np.eye(len(weights))
    ]
    return np.stack(columns, axis=2), outputs(network, weights, X)


@pytest.mark.parametrize(
    ("make", "sizes", "h"),
    [
        (networks.classifier_hessian, networks.CLASSIFIER_SIZES, 3),
        (networks.autoencoder_hessian, networks.AUTOENCODER_SIZES, 2),
    ],
)
def test_hessian_is_that_of_the_trained_network(make, sizes, h, trained, global_random_seed):
    n = sizes[0] * h + sizes[1]
    rng = np.random.default_rng(global_random_seed)
    K = make(n, rng)(0, n)
    np.testing.assert_allclose(K, K.T, atol=1e-12 * np.abs(K).max())
    # The digits are drawn after the seed of the network.
    rng = np.random.default_rng(global_random_seed)
    rng.integers(2**31)
    X = load_digits().data / 16
    X = X[rng.choice(len(X), size=100, replace=False)]
    J, z = finite_differences(trained[0], X)
    H = np.zeros((n, n))
    for Ji, zi in zip(J, z, strict=True):
        p = softmax(zi)
        Q = np.diag(p) - np.outer(p, p) if make is networks.classifier_hessian else np.eye(64)
        H += Ji.T @ Q @ Ji / len(X)
    H += 1e-3 * np.trace(H) / n * np.eye(n)
    np.testing.assert_allclose(K, H, atol=1e-5 * np.abs(H).max())


def test_classifier_is_trained(trained, global_random_seed):
    networks.classifier_hessian(75 * 25 + 10, np.random.default_rng(global_random_seed))
    X, y = load_digits(return_X_y=True)
    assert trained[0].score(X / 16, y) > 0.95
