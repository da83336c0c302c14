"""What the modules share: checks of parameters, helpers for variables and tensors."""

from copy import deepcopy

import numpy as np
import pytest
from tensorflow.python.autograph.impl import api

from skhmat.neural_network import NewtonCG, ProbabilisticPreconditioner, _keras

from .networks import keras, tf


def test_learning_rates():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 9)
    assert _keras.check_learning_rate(schedule) is schedule
    assert isinstance(_keras.check_learning_rate(np.float32(0.5)), float)
    with pytest.raises(ValueError, match="learning_rate must be a number above 0, got 0"):
        _keras.check_learning_rate(0)


def test_optimizers_are_copied():
    given = keras.optimizers.SGD(0.25, momentum=0.5)
    copy = _keras.check_optimizer("inner", given)
    assert copy is not given
    assert copy.get_config() == given.get_config()
    for value in ("foo", None):
        with pytest.raises(ValueError, match=f"inner must be a name .* got {value!r}"):
            _keras.check_optimizer("inner", value)


def test_one_type_of_all_weights():
    single, double = keras.Variable([1.0]), keras.Variable([1.0], dtype="float64")
    assert _keras.check_variable_dtype("NewtonCG", [single]) == "float32"
    with pytest.raises(ValueError, match="NewtonCG needs weights of one type"):
        _keras.check_variable_dtype("NewtonCG", [single, double])
    with pytest.raises(ValueError, match="nothing for NewtonCG to train"):
        _keras.check_variable_dtype("NewtonCG", [])


def test_models_and_functions():
    with pytest.raises(TypeError, match=r"model must be a keras.Model, got a str"):
        _keras.check_model("model")
    with pytest.raises(TypeError, match="loss must be callable without arguments, got 3"):
        _keras.check_function(3, [tf.Variable(1.0)])
    with pytest.raises(ValueError, match=r"variables must be a list of one or more, got \[\]"):
        _keras.check_function(lambda: 0, [])


def test_losses_are_unwrapped():
    for loss in ("mse", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error):
        assert _keras.unwrap_loss(loss) is keras.losses.mean_squared_error


def test_tensors():
    keras_variable, variable = keras.Variable([1.0]), tf.Variable([1.0])
    assert _keras.unwrap_variables([keras_variable, variable]) == [keras_variable.value, variable]
    for dtype in ("float32", "float64"):
        assert _keras.machine_epsilon(tf.ones(1, dtype)) == np.finfo(dtype).eps


@pytest.mark.parametrize("kind", [NewtonCG, ProbabilisticPreconditioner])
def test_several_replicas_are_refused(kind):
    x, optimizer = keras.Variable([1.0, 2.0]), kind()
    # The strategy is asked before anything runs, so the second device need not exist.
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    @tf.function(autograph=False)
    def from_gradients():
        optimizer.apply([2 * x.value], [x])

    def from_function():
        optimizer.minimize(lambda: x[0] ** 2 + x[1] ** 2, [x])

    # TensorFlow merges even what one replica assigns, which it cannot do in branches of a step.
    alone = tf.distribute.MirroredStrategy(["CPU:0"])
    for step in (from_gradients, from_function):
        for each, n in ((strategy, 2), (alone, 1)):
            message = f"one replica: .*OneDeviceStrategy. This is a MirroredStrategy with {n}"
            with each.scope(), pytest.raises(NotImplementedError, match=message):
                step()
    np.testing.assert_array_equal(x, [1, 2])


def test_numbers_of_numpy_become_plain():
    given = {"a": np.float32(0.5), "b": [np.int64(3), "x"], "c": np.bool_(True), "d": np.array(2.0)}
    plain = _keras.as_plain(given)
    assert plain == {"a": 0.5, "b": [3, "x"], "c": True, "d": 2.0}
    assert [type(value) for value in (plain["a"], plain["b"][0], plain["c"])] == [float, int, bool]


@pytest.mark.parametrize("make", [NewtonCG, ProbabilisticPreconditioner])
def test_a_step_is_traced_once_and_not_converted(make, monkeypatch):
    """For AutoGraph to convert all of a step takes longer than to trace it; the loss it must."""
    x, optimizer, converted = keras.Variable([3.0, 2.0]), make(), []
    convert = api._convert_actual

    def spy(entity, *args):
        converted.append((entity.__module__, entity.__name__))
        return convert(entity, *args)

    @tf.function
    def step():
        def loss():
            value = tf.reduce_sum(x.value**2)
            if value > 1:  # not of Python: the value is that of each step
                value = 4 * value
            return value

        return optimizer.minimize(loss, [x])

    monkeypatch.setattr(api, "_convert_actual", spy)
    losses = [float(step()) for _ in range(40)]
    assert step.experimental_get_tracing_count() == 1  # the state is made in it
    assert losses[0] == 4 * 13
    assert losses[-1] < 0.1
    assert {name for module, name in converted if module.startswith("skhmat")} <= {
        "minimize",
        "check_function",
        "check_replicas",
    }


@pytest.mark.parametrize("make", [NewtonCG, ProbabilisticPreconditioner])
def test_state_that_is_made_in_a_graph_belongs_to_its_strategy(make):
    x, optimizer = keras.Variable([3.0, 2.0]), make()
    n_before = len(optimizer.variables)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    strategy.run(tf.function(lambda: optimizer.build([x]), autograph=False))
    # Those of the inner optimizer, which are last, were made before.
    made = optimizer.variables[2 : len(optimizer.variables) - n_before + 2]
    assert made
    assert all(strategy.extended.variable_created_in_scope(v.value) for v in made)


@pytest.mark.parametrize("make", [NewtonCG, ProbabilisticPreconditioner])
def test_configurations_are_not_changed_by_reading_them(make):
    """Keras writes its spelling of a class into what it reads: 'adam' in place of 'Adam'."""
    optimizer = make()
    config, expected = optimizer.get_config(), deepcopy(optimizer.get_config())
    copy = make.from_config(config)
    assert config == expected
    assert optimizer.get_config() == copy.get_config() == expected
    keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert optimizer.get_config() == expected
