"""Curvature of networks as operators."""

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

from skhmat.linalg import compress, eigsh, spectral_density
from skhmat.neural_network import HessianOperator

from ..networks import dense_hessian, keras, network, tf


def reference(model, X, y):
    X, y = (keras.tree.map_structure(tf.constant, part) for part in (X, y))
    return dense_hessian(
        lambda: model.compute_loss(X, y, model(X, training=False), training=False),
        model.trainable_variables,
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["mlp", "normalized", "penalties", "two outputs"])
def test_hessian(name, rng):
    model, X, y = network(name, rng)
    before = [v.numpy() for v in model.variables]
    H = HessianOperator(model, X, y, batch_size=7)
    assert isinstance(H, LinearOperator)
    assert H.dtype == np.float64
    expected = reference(model, X, y)
    atol = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(H.to_dense(), expected, atol=atol)
    B = rng.standard_normal((H.shape[0], 3))
    np.testing.assert_allclose(H @ B, expected @ B, atol=30 * atol)
    np.testing.assert_allclose(H.T @ B[:, 0], H @ B[:, 0])
    np.testing.assert_allclose(H.diagonal().value, np.diag(expected), atol=atol)
    for a, v in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, v.numpy())


@pytest.mark.usefixtures("float64")
def test_eigenvalues(rng):
    model, X, y = network("mlp", rng)
    H = HessianOperator(model, X, y)
    values = np.linalg.eigvalsh(H.to_dense())
    np.testing.assert_allclose(np.sort(eigsh(H, k=3, return_eigenvectors=False)), values[-3:])
    density = spectral_density(H, n_vectors=2, random_state=0)
    np.testing.assert_allclose(density.nodes[[0, -1]], values[[0, -1]], rtol=1e-6)


def test_gauss_newton_can_be_compressed(rng):
    model, X, y = network("sigmoid", rng)
    G = HessianOperator(model, X, y, curvature="gauss_newton").to_dense().astype(np.float64)
    K = G + 1e-3 * np.trace(G) * np.eye(len(G))
    assert compress(K, rtol=1e-3, random_state=0).error_estimate_ <= 1e-3


def test_weighted_samples(rng):
    model, X, y = network("mlp", rng)
    weights = rng.integers(0, 3, len(X))
    H = HessianOperator(model, X, y, weights.astype(float))
    rows = np.repeat(np.arange(len(X)), weights)
    repeated = HessianOperator(model, X[rows], y[rows])
    expected = repeated.to_dense() * len(rows) / len(X)
    np.testing.assert_allclose(H.to_dense(), expected, atol=1e-5 * np.abs(expected).max())


def test_bad_input(rng):
    model, X, y = network("mlp", rng)
    with pytest.raises(TypeError, match="model must be"):
        HessianOperator(3, X, y)
    with pytest.raises(ValueError, match="curvature"):
        HessianOperator(model, X, y, curvature="fisher")
    with pytest.raises(ValueError, match="batch_size"):
        HessianOperator(model, X, y, batch_size=0)
    with pytest.raises(ValueError, match="different lengths"):
        HessianOperator(model, X, y[:-1])
    with pytest.raises(ValueError, match="compiled with a loss"):
        HessianOperator(keras.Sequential([keras.layers.Dense(1)]), X, y)
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile(loss="mse")
    with pytest.raises(ValueError, match="must be built"):
        HessianOperator(unbuilt, X, y)


def straight(loss):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(loss=loss)
    return model


def test_complex_vectors_and_lists(rng):
    X, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
    H = HessianOperator(straight("mse"), X, y)
    v = rng.standard_normal((2, 5))
    np.testing.assert_allclose(H @ (v[0] + 1j * v[1]), H @ v[0] + 1j * (H @ v[1]), rtol=1e-5)
    from_lists = HessianOperator(H._model, X.tolist(), y.tolist())
    np.testing.assert_allclose(from_lists.to_dense(), H.to_dense(), rtol=1e-6)


def test_batches_need_a_mean(rng):
    X, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
    model = straight(keras.losses.MeanSquaredError(reduction="sum"))
    assert HessianOperator(model, X, y).to_dense().max() > 20
    with pytest.raises(ValueError, match=r"batch_size=7 .*'sum' is not the mean"):
        HessianOperator(model, X, y, batch_size=7)
    with pytest.raises(ValueError, match="X is empty"):
        HessianOperator(model, X[:0], y[:0])
    with pytest.raises(ValueError, match="mean_absolute_error has no second derivative"):
        HessianOperator(straight("mae"), X, y)


def test_what_a_loss_raises_reaches_the_caller(rng):
    class Mine(ValueError):
        pass

    def loss(y, y_pred):
        if y_pred.shape[0] == 20:
            raise Mine("not twenty")
        return tf.square(y - y_pred)

    X, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
    with pytest.raises(Mine, match=r"^not twenty$"):
        HessianOperator(straight(loss), X, y).to_dense()


def test_several_operators_do_not_warn(rng, caplog):
    """TensorFlow warns of functions that are traced too often."""
    X, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
    model = straight("mse")
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        for _ in range(8):
            HessianOperator(model, X, y) @ np.ones(5)
    finally:
        logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text
