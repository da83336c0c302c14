"""Valid and invalid parameters of the probabilistic preconditioner."""

import json

import numpy as np
import pytest

from skhmat.neural_network import NewtonCG, ProbabilisticPreconditioner

from ..networks import keras, label
from .problems import Quadratic, fit, net


@pytest.mark.parametrize(
    "options",
    [
        {"est_rank": 0},
        {"num_observations": 0},
        {"prior_iterations": 0},
        {"prior_iterations": 1},
        {"prior_iterations": 0, "num_observations": 0},
        {"est_rank": 9},
        {"exponent": 0.5},
        {"exponent": 0.0},
        {"precondition": False},
        {"adapt_learning_rate": False},
        {"inner": "adam"},
        {"inner": keras.optimizers.SGD(0.01, momentum=0.9)},
        {"update_while_estimating": False},
        {"weight_decay": 1e-3},
        {"learning_rate": 0.05},
        {"parameter_groups": ["kernel"]},
        {"restart": "auto"},
        {"restart": 20},
        {"restart": None},
    ],
    ids=label,
)
def test_options(options, rng):
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner(**options))
    # Without an estimate of the noise from the prior, batches must agree.
    is_blind = options.get("prior_iterations") in (0, 1)
    length = {"batch_size": 24, "epochs": 36} if is_blind else {"epochs": 6}
    losses = fit(model, X, y, **length)
    assert losses[-1] < losses[0]
    optimizer = model.optimizer
    n_groups = 2 if "parameter_groups" in options else 1
    assert len(optimizer.get_log()["learning_rate"]) == n_groups
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    configs = [each.get_config() for each in (optimizer, again)]
    inners = [config.pop("inner")["config"] for config in configs]
    assert configs[0] == configs[1]
    assert all(inners[0][key] == inners[1][key] for key in inners[0] if key != "name")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"est_rank": -1}, "est_rank"),
        ({"est_rank": 1.5}, "est_rank"),
        ({"num_observations": "5"}, "num_observations"),
        ({"prior_iterations": -2}, "prior_iterations"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"exponent": 2}, "exponent"),
        ({"restart": "week"}, "restart must be 'epoch', 'auto', a number of steps or None"),
        ({"restart": 15}, "restart=15 steps is too short: an estimate takes 15"),
        ({"restart": True}, "restart"),
        ({"restart": np.array([30, 40])}, "restart must be 'epoch'"),
        ({"precondition": 1}, "precondition must be True or False"),
        ({"update_while_estimating": None}, "update_while_estimating"),
        ({"inner": "nothing"}, "inner"),
        ({"inner": NewtonCG()}, "inner"),
        ({"inner": ProbabilisticPreconditioner()}, "inner must be a first-order"),
        ({"inner": keras.optimizers.SGD(gradient_accumulation_steps=2)}, "accumulate"),
        (
            {"inner": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9))},
            "schedule",
        ),
        ({"inner": keras.optimizers.SGD(loss_scale_factor=128)}, "loss_scale_factor"),
        ({"inner": keras.optimizers.SGD(momentum=1.0)}, "momentum below 1"),
        ({"restart": "auto", "precondition": False}, "restart='auto' looks at"),
        ({"restart": "auto", "est_rank": 0}, "restart='auto' looks at"),
        ({"parameter_groups": "bias"}, "parameter_groups must be None, 'per_variable' or"),
        ({"parameter_groups": ["("]}, "parameter_groups"),
        ({"parameter_groups": 5}, "parameter_groups must be None"),
        ({"parameter_groups": np.array(["bias", "kernel"])}, "parameter_groups must be None"),
        ({"parameter_groups": {"bias"}}, "parameter_groups must be None"),
        ({"inner": None}, "inner must be a name that Keras knows"),
        ({"inner": keras.optimizers.RMSprop(momentum=2.0)}, "momentum below 1"),
        ({"inner": keras.optimizers.SGD(0.0)}, "learning_rate of inner must be a number above 0"),
    ],
    ids=label,
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        ProbabilisticPreconditioner(**options)


def test_wrong_learning_rates():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 9)
    with pytest.raises(ValueError, match="learning_rate must be None"):
        ProbabilisticPreconditioner(
            keras.optimizers.SGD(schedule), adapt_learning_rate=False, learning_rate=0.1
        )
    with pytest.raises(ValueError, match="cannot be a schedule where it is learned"):
        ProbabilisticPreconditioner().learning_rate = schedule


def test_nothing_to_do():
    optimizer = ProbabilisticPreconditioner()
    log = optimizer.get_log()
    optimizer.finalize_variable_values([])
    problem = Quadratic(np.ones(3), np.random.default_rng(0))
    optimizer.minimize(problem.loss, [problem.x])
    assert set(optimizer.get_log()) == set(log)


def test_wrong_ways_in(rng):
    model, X, y = net(1, ProbabilisticPreconditioner(), run_eagerly=True)
    with pytest.raises(RuntimeError, match="run_eagerly=False"):
        fit(model, X, y)
    optimizer = ProbabilisticPreconditioner()
    with pytest.raises(TypeError, match="loss must be callable"):
        optimizer.minimize(3.0, [keras.Variable(1.0)])
    with pytest.raises(ValueError, match="variables must be a list"):
        optimizer.minimize(lambda: 0.0, [])
    x, z = keras.Variable(1.0), keras.Variable(1.0)
    optimizer.minimize(lambda: x.value**2 + z.value**2, [x, z])
    with pytest.raises(ValueError, match="1 of the 2 that the optimizer was built with"):
        optimizer.minimize(lambda: x.value**2, [x])
    mixed = [keras.Variable(1.0, dtype="float32"), keras.Variable(1.0, dtype="float64")]
    with pytest.raises(ValueError, match="of one type"):
        ProbabilisticPreconditioner().build(mixed)


def test_set_weights_sets_all_state(rng):
    problem = Quadratic(np.r_[50.0, np.ones(5)], rng)
    first, second = (
        ProbabilisticPreconditioner(keras.optimizers.SGD(0.01, momentum=0.5)) for _ in range(2)
    )
    with pytest.raises(ValueError, match="no state yet"):
        second.set_weights(first.variables)
    step = problem.stepper(first)
    first.build([problem.x])
    for _ in range(20):
        step()
    second.build([problem.x])
    second.set_weights(first.variables)
    assert len(first.inner.momentums) == 1
    assert np.abs(first.inner.momentums[0]).max() > 0
    for expected, found in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    values = [variable.numpy() for variable in first.variables]
    second.set_weights(values)
    with pytest.raises(ValueError, match=r"weights must be the .* got"):
        second.set_weights(values[:-1])
    with pytest.raises(ValueError, match=r"weights must be the .* got shape \(7,\) at index"):
        second.set_weights([*values[:-1], np.zeros(7)])


@pytest.mark.parametrize(
    "parameters",
    [
        {"est_rank": np.int64(1), "num_observations": np.int32(4), "exponent": np.float32(0.5)},
        {"prior_iterations": np.int64(3), "restart": np.int64(40), "name": np.str_("own")},
        {"weight_decay": np.float32(0.1), "learning_rate": np.float32(0.1)},
        {"precondition": np.bool_(True), "adapt_learning_rate": np.bool_(False)},
        {"update_while_estimating": np.bool_(False), "parameter_groups": (np.str_("kernel"),)},
    ],
)
def test_configurations_are_json(parameters):
    config = ProbabilisticPreconditioner(**parameters).get_config()
    again = ProbabilisticPreconditioner.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    for name, value in parameters.items():
        assert config[name] == (list(value) if isinstance(value, tuple) else value)
