"""The loss of a batch: gradients, products in loops, dropout, parts of batches."""

import numpy as np
import pytest

from skhmat.neural_network._curvature.batch_objective import BatchObjective

from ..networks import flat, keras, network, tf
from .objective import make_objective, mean_loss


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_gradient_loss_and_products_in_a_graph(curvature, name, rng):
    """The same in a loop of a graph, as training takes them."""
    model, X, y = network(name, rng)
    X, y = (keras.tree.map_structure(tf.constant, part) for part in (X, y))
    eager = make_objective(model, X, y, curvature=curvature)
    with tf.GradientTape() as tape:
        loss = mean_loss(model, X, y)()
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    scale = np.abs(flat([tf.convert_to_tensor(g) for g in gradients])).max()
    assert float(eager.loss) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(
        eager.gradient, flat([tf.convert_to_tensor(g) for g in gradients]), atol=1e-5 * scale
    )

    @tf.function
    def in_a_loop(v):
        objective = BatchObjective(model, X, y, None, curvature=curvature, training=False)
        step = lambda i, total: (i + 1, total + objective.product(v))  # noqa: E731
        return tf.while_loop(lambda i, _: i < 2, step, (0, tf.zeros_like(v)))[1]

    v = tf.constant(rng.standard_normal(eager.parameters.size), tf.float32)
    expected = 2 * eager.product(v).numpy()
    atol = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(in_a_loop(v), expected, atol=atol)


def test_same_masks_in_all_products_and_values(rng):
    model, X, y = network("normalized", rng)
    before = [v.numpy() for v in model.non_trainable_variables]
    objective = make_objective(model, X, y, training=True)
    after = [v.numpy() for v in model.non_trainable_variables]
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    v = tf.constant(rng.standard_normal(objective.parameters.size), tf.float32)
    np.testing.assert_array_equal(objective.product(v), objective.product(v))
    for _ in range(2):
        assert float(objective.evaluate()) == pytest.approx(float(objective.loss), rel=1e-6)
    objective.restore_state()
    for a, v in zip(after, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(a, v.numpy())
    other = make_objective(model, X, y, training=True)
    assert float(other.loss) != float(objective.loss)


def test_products_on_a_part_of_the_batch(rng):
    model, X, y = network("mlp", rng)
    part = make_objective(model, X, y, fraction=0.3)
    n = int(np.ceil(0.3 * len(X)))
    alone = make_objective(model, X[:n], y[:n])
    whole = make_objective(model, X, y)
    v = tf.constant(rng.standard_normal(whole.parameters.size), tf.float32)
    np.testing.assert_allclose(part.product(v), alone.product(v), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(part.gradient, whole.gradient)


def test_sample_weights(rng):
    model, X, y = network("mlp", rng)
    weights = rng.uniform(0, 2, len(X)).astype("float32")
    weighted = make_objective(model, X, y, tf.constant(weights), curvature="gauss_newton")
    twice = make_objective(model, X, y, tf.constant(2 * weights), curvature="gauss_newton")
    v = tf.constant(rng.standard_normal(weighted.parameters.size), tf.float32)
    np.testing.assert_allclose(twice.product(v), 2 * weighted.product(v), rtol=1e-5, atol=1e-6)
