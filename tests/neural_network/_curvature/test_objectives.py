"""Gradients and curvature products of networks against dense matrices."""

import numpy as np
import pytest

from skhmat.neural_network._curvature.batch_objective import BatchObjective
from skhmat.neural_network._curvature.objectives import FunctionObjective, GradientObjective

from ..networks import dense_hessian, flat, keras, network, tf


def objective_of(model, X, y, sample_weight=None, **options):
    tensors = keras.tree.map_structure(tf.constant, (X, y))
    options = {"curvature": "hessian", "training": False} | options
    return BatchObjective(model, *tensors, sample_weight, **options)


def columns(objective):
    """Return the matrix of an objective, from its products with the identity."""
    n = objective.layout.size
    product = tf.function(objective.product)
    dtype = objective.gradient.dtype
    return np.stack([product(tf.one_hot(i, n, dtype=dtype)).numpy() for i in range(n)], axis=1)


def mean_loss(model, X, y):
    return lambda: model.compute_loss(X, y, model(X, training=False), training=False)


@pytest.mark.usefixtures("float64")
def test_hessian(name, rng):
    model, X, y = network(name, rng)
    X, y = (keras.tree.map_structure(tf.constant, part) for part in (X, y))
    expected = dense_hessian(mean_loss(model, X, y), model.trainable_variables)
    found = columns(objective_of(model, X, y))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.usefixtures("float64")
def test_gauss_newton(name, rng):
    """J' H J, with the Jacobian of what the loss is convex in."""
    model, X, y = network(name, rng)
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        outputs = keras.tree.flatten(model(tf.constant(X), training=False))
        logits = [getattr(output, "_keras_logits", output) for output in outputs]
        if name == "squared softmax":
            logits = outputs
    expected = 0
    for output, z in zip(outputs, logits, strict=True):
        J = [tape.jacobian(z, v, unconnected_gradients="zero") for v in variables]
        J = np.concatenate([np.reshape(j, (*z.shape, -1)) for j in J], axis=2)
        p = output.numpy()
        for i in range(len(p)):
            if z is output:
                H = 2 * np.eye(z.shape[1]) / z.shape[1]
            elif z.shape[1] == 1:
                H = (p[i] * (1 - p[i]))[:, None]
            else:
                H = np.diag(p[i]) - np.outer(p[i], p[i])
            expected = expected + J[i].T @ H @ J[i] / len(p)
    if name == "penalties":
        on = [np.full(int(np.prod(v.shape)), 0.0) for v in variables]
        on[0] += 2 * 0.01
        expected = expected + np.diag(np.concatenate(on))
    found = columns(objective_of(model, X, y, curvature="gauss_newton"))
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    assert np.linalg.eigvalsh(found)[0] > -1e-12 * np.abs(found).max()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("name", ["mlp", "penalties", "two outputs"])
def test_blocks(curvature, name, rng):
    model, X, y = network(name, rng)
    whole = columns(objective_of(model, X, y, curvature=curvature))
    objective = objective_of(model, X, y, curvature=curvature, by_variable=True)
    expected = np.zeros_like(whole)
    first = 0
    for size in objective.layout.sizes:
        rows = slice(first, first + size)
        expected[rows, rows] = whole[rows, rows]
        first += size
    found = columns(objective)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(whole).max())


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_gradient_loss_and_products_in_a_graph(curvature, name, rng):
    """The same in a loop of a graph, as training takes them."""
    model, X, y = network(name, rng)
    X, y = (keras.tree.map_structure(tf.constant, part) for part in (X, y))
    eager = objective_of(model, X, y, curvature=curvature)
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

    v = tf.constant(rng.standard_normal(eager.layout.size), tf.float32)
    expected = 2 * eager.product(v).numpy()
    atol = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(in_a_loop(v), expected, atol=atol)


def test_same_masks_in_all_products_and_values(rng):
    model, X, y = network("normalized", rng)
    before = [v.numpy() for v in model.non_trainable_variables]
    objective = objective_of(model, X, y, training=True)
    after = [v.numpy() for v in model.non_trainable_variables]
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    v = tf.constant(rng.standard_normal(objective.layout.size), tf.float32)
    np.testing.assert_array_equal(objective.product(v), objective.product(v))
    for _ in range(2):
        assert float(objective.evaluate()) == pytest.approx(float(objective.loss), rel=1e-6)
    objective.restore_state()
    for a, v in zip(after, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(a, v.numpy())
    other = objective_of(model, X, y, training=True)
    assert float(other.loss) != float(objective.loss)


def test_products_on_a_part_of_the_batch(rng):
    model, X, y = network("mlp", rng)
    part = objective_of(model, X, y, fraction=0.3)
    n = int(np.ceil(0.3 * len(X)))
    alone = objective_of(model, X[:n], y[:n])
    whole = objective_of(model, X, y)
    v = tf.constant(rng.standard_normal(whole.layout.size), tf.float32)
    np.testing.assert_allclose(part.product(v), alone.product(v), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(part.gradient, whole.gradient)


def test_sample_weights(rng):
    model, X, y = network("mlp", rng)
    weights = rng.uniform(0, 2, len(X)).astype("float32")
    weighted = objective_of(model, X, y, tf.constant(weights), curvature="gauss_newton")
    twice = objective_of(model, X, y, tf.constant(2 * weights), curvature="gauss_newton")
    v = tf.constant(rng.standard_normal(weighted.layout.size), tf.float32)
    np.testing.assert_allclose(twice.product(v), 2 * weighted.product(v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_no_second_derivative(curvature, rng):
    model, X, y = network("linear", rng)
    model.compile(loss=lambda y, p: tf.reduce_sum(p, axis=1))
    objective = objective_of(model, X, y, curvature=curvature)
    with pytest.raises(ValueError, match="no second derivative"):
        objective.product(tf.ones(objective.layout.size))


def test_function_of_variables(rng):
    x = tf.Variable(rng.standard_normal(3))
    Z = tf.Variable(rng.standard_normal((2, 2)))
    loss = lambda: tf.reduce_sum(tf.sin(x)) * tf.reduce_sum(Z**3)  # noqa: E731
    objective = FunctionObjective(loss, [x, Z])
    expected = dense_hessian(loss, [x, Z])
    np.testing.assert_allclose(columns(objective), expected, rtol=1e-6, atol=1e-8)
    assert float(objective.evaluate()) == float(objective.loss)
    with pytest.raises(ValueError, match="does not depend"):
        FunctionObjective(lambda: tf.constant(1.0), [x])


def test_gradients_alone(rng):
    model, X, y = network("mlp", rng)
    X, y = tf.constant(X), tf.constant(y)
    expected = columns(objective_of(model, X, y))

    @tf.function
    def product(v):
        with tf.GradientTape() as tape:
            loss = mean_loss(model, X, y)()
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [w.value for w in variables])
        return GradientObjective(gradients, variables).product(v)

    n = len(expected)
    found = np.stack([product(tf.one_hot(i, n)) for i in range(n)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_gradients_from_elsewhere(rng):
    x = tf.Variable(tf.ones(3))

    @tf.function
    def product():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(2 * x)
        return GradientObjective([tape.gradient(loss, x)], [x]).product(tf.ones(3))

    with pytest.raises(ValueError, match="cannot be differentiated again"):
        product()


def test_a_variable_that_is_linear():
    x, z = tf.Variable(tf.ones(3)), tf.Variable(1.0)

    @tf.function
    def product():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(x**2) + 3 * z
        return GradientObjective(tape.gradient(loss, [x, z]), [x, z]).product(tf.ones(4))

    np.testing.assert_array_equal(product(), [2, 2, 2, 0])


def test_products_that_are_not_needed_are_not_taken():
    taken = []

    @tf.custom_gradient
    def slope(x, upstream):
        def grad(v):
            counted = tf.py_function(lambda _: taken.append(1), [v], [])
            with tf.control_dependencies([counted] if counted is not None else []):
                return 6 * x * upstream * v, 3 * x**2 * v

        return 3 * x**2 * upstream, grad

    @tf.custom_gradient
    def cube(x):
        return x**3, lambda upstream: slope(x, upstream)

    x, v = tf.Variable([1.0, 2.0, 3.0]), tf.constant([1.0, -1.0, 2.0])

    @tf.function
    def product(needed):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cube(x))
        objective = GradientObjective([tape.gradient(loss, x)], [x])
        return objective.product_where(needed, v)

    np.testing.assert_allclose(product(tf.constant(False)), v)
    np.testing.assert_allclose(product(tf.constant(True)), 6 * x.numpy() * v.numpy())
    assert len(taken) == 1
