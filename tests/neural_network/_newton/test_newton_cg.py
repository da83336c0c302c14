"""NewtonCG on plain functions: what it finds, and its parameters."""

import json

import numpy as np
import pytest

from skhmat.neural_network import NewtonCG, second_order

from ..networks import keras, tf
from .functions import minimize, rastrigin, rosenbrock

PARAMETERS = {
    "tau": 0.25,
    "cg_tol": 0.01,
    "max_cg_steps": 7,
    "armijo": 0.2,
    "curvature": "hessian",
    "blocks": "per_variable",
    "preconditioner": "jacobi",
    "warm_start": 0.5,
    "curvature_fraction": 0.5,
    "trust_radius": 0.1,
    "shrinkage": 0.01,
    "pretrain_steps": 3,
    "history_size": 11,
    "weight_decay": 1e-4,
    "clipnorm": 2.0,
    "use_ema": True,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quadratic_in_one_step(dtype, rng):
    f = lambda x: x[0] ** 2 + 4 * x[1] ** 2  # noqa: E731
    x, optimizer = minimize(f, rng.uniform(-9, 9, 2), 1, dtype)
    np.testing.assert_allclose(x, 0, atol=1e-4 if dtype == "float32" else 1e-12)
    history = optimizer.history
    assert history["cg_steps"][0] <= 2
    assert history["step_length"][0] == 1
    assert history["reduction_ratio"][0] == pytest.approx(1, rel=1e-5)
    assert history["tau"][0] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rosenbrock(dtype):
    x, optimizer = minimize(rosenbrock, [-1.2, 1.0], 60, dtype)
    assert float(rosenbrock(x)) < 1e-10
    assert (np.diff(optimizer.history["loss"]) <= 1e-12).all()


def test_a_step_to_where_the_loss_is_nan_is_shortened():
    """From 3 and 2.5, whole steps end at negative numbers. Graphs are rewritten, as for users."""
    x = keras.Variable([3.0, 2.5])
    optimizer = NewtonCG(tau=0.0)
    step = tf.function(
        lambda: optimizer.minimize(lambda: tf.reduce_sum(x.value - tf.math.log(x.value)), [x]),
        autograph=False,
    )
    for _ in range(12):
        step()
    np.testing.assert_allclose(x.numpy(), 1, rtol=1e-5)
    assert 0 < optimizer.history["step_length"][0] < 1


def test_rastrigin(rng):
    x, _ = minimize(rastrigin, rng.uniform(-3, 3, 2), 40)
    slope = 2 * x + 20 * np.pi * np.sin(2 * np.pi * x)
    bend = 2 + 40 * np.pi**2 * np.cos(2 * np.pi * x)
    assert (bend > 0).all()
    assert np.abs(slope / bend).max() < 1e-8


@pytest.mark.parametrize("start", [(1.0, 0.0), (1.0, 1e-12), (1.0, 1.0), (-0.3, -2.0)])
def test_no_saddle(start):
    """diag(1, -2): from (1, 0) the gradient leads to the saddle and nowhere else."""
    f = lambda x: x[0] ** 2 / 2 - x[1] ** 2  # noqa: E731
    x, optimizer = minimize(f, start, 6)
    assert f(x) < -1
    assert "negative curvature" in optimizer.history["fallback"]


def test_it_stays_at_a_minimum(rng):
    f = lambda x: x[0] ** 2 + 4 * x[1] ** 2  # noqa: E731
    x, _ = minimize(f, [0.0, 0.0], 5)
    assert (x == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"tau": 0.1},
        {"tau": "levenberg-marquardt"},
        {"armijo": 0.3},
        {"cg_tol": 0.5},
        {"preconditioner": "jacobi"},
        {"preconditioner": "empirical_fisher"},
        {"warm_start": 0.5},
        {"blocks": "per_variable"},
        {"learning_rate": 0.5},
        {"pretrain_steps": 5, "pretrain_optimizer": "sgd"},
        {"clipnorm": 5.0},
        {"use_ema": True},
    ],
    ids=str,
)
def test_options_find_the_minimum(options, rng):
    A = rng.standard_normal((6, 6))
    A = A @ A.T + np.eye(6)
    a, b = keras.Variable(rng.standard_normal(4)), keras.Variable(rng.standard_normal(2))

    def loss():
        v = tf.concat([a.value, b.value], 0)
        return tf.tensordot(v, tf.linalg.matvec(tf.constant(A, v.dtype), v), 1) / 2

    optimizer = NewtonCG(**options)
    optimizer.build([a, b])
    step = tf.function(lambda: optimizer.minimize(loss, [a, b]))
    first = float(loss())
    for _ in range(80):
        step()
    assert float(loss()) < 1e-3 * first


def test_infinite_losses_are_left():
    """sqrt is not there for negative numbers; the line search keeps away from them."""
    f = lambda x: tf.sqrt(x[0]) + 1e-3 / x[0]  # noqa: E731
    x, optimizer = minimize(f, [1.0], 30)
    assert np.isfinite(x).all()
    assert np.isfinite(optimizer.history["loss"]).all()


def test_gradients_that_are_not_finite_change_nothing():
    x, optimizer = minimize(lambda x: tf.math.log(-(x[0] ** 2)), [1.0], 3)
    assert x[0] == 1
    assert set(optimizer.history["fallback"]) <= {"not finite", "rejected"}


def test_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.25])
    _, optimizer = minimize(lambda x: x[0] ** 2, [1.0], 5, learning_rate=schedule, armijo=None)
    np.testing.assert_array_equal(optimizer.history["step_length"], [0.5, 0.5, 0.5, 0.25, 0.25])


def test_pretraining_hands_over():
    _, optimizer = minimize(rosenbrock, [-1.2, 1.0], 6, pretrain_steps=4, pretrain_optimizer="sgd")
    assert optimizer.history["fallback"][:4].tolist() == ["pretraining"] * 4
    assert "pretraining" not in optimizer.history["fallback"][4:]
    assert int(optimizer.pretrain_optimizer.iterations) == 4


def test_config_round_trip():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    inner = keras.optimizers.SGD(0.125, momentum=0.5)
    optimizer = NewtonCG(schedule, pretrain_optimizer=inner, **PARAMETERS)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, NewtonCG)
    assert copy.get_config() == optimizer.get_config()
    for key, value in PARAMETERS.items():
        assert getattr(copy, key) == value
    assert copy.pretrain_optimizer.momentum == 0.5


def test_configuration_is_json():
    parameters = {
        "tau": np.float32(0.25),
        "max_cg_steps": np.int64(7),
        "armijo": np.float32(0.25),
        "curvature": np.str_("hessian"),
        "trust_radius": np.float64(2.0),
        "history_size": np.int32(50),
    }
    config = NewtonCG(**parameters).get_config()
    assert NewtonCG.from_config(json.loads(json.dumps(config))).get_config() == config
    for name, value in parameters.items():
        assert config[name] == value


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("tau", -0.1),
        ("tau", "big"),
        ("tau", float("nan")),
        ("cg_tol", 2.0),
        ("max_cg_steps", 0),
        ("max_cg_steps", 1.5),
        ("armijo", 1.5),
        ("curvature", "fisher"),
        ("blocks", "layers"),
        ("preconditioner", "lu"),
        ("warm_start", -1),
        ("curvature_fraction", 0),
        ("trust_radius", 0),
        ("shrinkage", -1),
        ("pretrain_steps", -1),
        ("history_size", 0),
        ("gradient_accumulation_steps", 2),
        ("loss_scale_factor", 8.0),
    ],
)
def test_bad_parameters(parameter, value):
    with pytest.raises(ValueError, match=parameter):
        NewtonCG(**{parameter: value})


@pytest.mark.parametrize("blocks", ["global", "per_variable"])
@pytest.mark.parametrize("preconditioner", [None, "jacobi"])
def test_flat_functions_move_nothing(blocks, preconditioner, rng):
    """A batch whose samples all weigh 0 has neither gradient nor curvature."""
    start = rng.standard_normal(3)
    x, weight = keras.Variable(start, dtype="float64"), tf.Variable(0.0, dtype="float64")
    optimizer = NewtonCG(blocks=blocks, preconditioner=preconditioner)
    loss = lambda: weight * tf.reduce_sum(tf.cosh(x.value))  # noqa: E731
    for _ in range(2):
        optimizer.minimize(loss, [x])
    np.testing.assert_array_equal(x, start)
    weight.assign(1)
    for _ in range(12):
        optimizer.minimize(loss, [x])
    np.testing.assert_allclose(x, 0, atol=1e-6)


def test_flat_gradients_move_nothing(rng):
    start = rng.standard_normal(3)
    x = keras.Variable(start, dtype="float64")
    optimizer = NewtonCG()
    optimizer.build([x])

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = 0 * tf.reduce_sum(tf.cosh(x.value))
        optimizer.apply(tape.gradient(loss, [x.value]), [x])

    with pytest.warns(UserWarning, match="gradients alone"):
        step()
    np.testing.assert_array_equal(x, start)


def test_bad_input():
    x = keras.Variable([1.0])
    with pytest.raises(TypeError, match="loss must be callable"):
        NewtonCG().minimize(3.0, [x])
    with pytest.raises(ValueError, match="variables must be a list of one"):
        NewtonCG().minimize(lambda: x[0] ** 2, [])
    with pytest.raises(ValueError, match="one type"):
        NewtonCG().minimize(lambda: x[0] ** 2, [x, keras.Variable([1.0], dtype="float64")])
    with pytest.raises(ValueError, match="one type"):
        NewtonCG().minimize(lambda: x[0] ** 2, [keras.Variable([1.0], dtype="float16")])
    with pytest.raises(ValueError, match="no second derivative"):
        NewtonCG().minimize(lambda: 2 * x[0], [x])
    with pytest.raises(RuntimeError, match="second_order"):
        NewtonCG().apply([tf.ones(1)], [x])


def test_minimize_refuses():
    x = tf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="scalar"):
        NewtonCG().minimize(lambda: x**2, [x])
    with pytest.raises(ValueError, match="variables must be a list"):
        NewtonCG().minimize(lambda: x[0] ** 2, x)
    with pytest.raises(ValueError, match="learning_rate must be a number above 0"):
        NewtonCG(-1)
    with pytest.raises(ValueError, match="pretrain_optimizer must be a name"):
        NewtonCG(pretrain_optimizer="foo")


def test_weights_without_a_gradient_do_not_shrink(rng):
    x = keras.layers.Input((3,))
    heads = [keras.layers.Dense(2, name=name) for name in ("trained", "other")]
    model = keras.Model(x, [head(x) for head in heads])
    model.compile(NewtonCG(shrinkage=0.1), ["mse", None], jit_compile=False)
    X, y = rng.standard_normal((64, 3)), rng.standard_normal((64, 2))
    before = heads[1].get_weights()[0]
    second_order(model).fit(X, [y, y], batch_size=8, epochs=5, verbose=0)
    np.testing.assert_array_equal(heads[1].get_weights()[0], before)
