"""The optimizers that are wrapped: momentum, weight decay, rates of their own."""

import numpy as np
import pytest

from skhmat.neural_network import ProbabilisticPreconditioner

from ..networks import keras, tf
from .problems import TWO_LARGE, Quadratic, fit, net


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_momentum_has_less(momentum, rng):
    problem = Quadratic(np.ones(5), rng)
    optimizer = ProbabilisticPreconditioner(
        keras.optimizers.SGD(0.1, momentum=momentum), est_rank=0, restart=None
    )
    step = problem.stepper(optimizer)
    for _ in range(20):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1 - momentum)


def test_the_given_rate_is_not_divided_with_momentum(rng):
    problem = Quadratic(np.ones(5), rng)
    inner = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer = ProbabilisticPreconditioner(inner, learning_rate=0.05, restart=30)
    step = problem.stepper(optimizer)
    step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.05)


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.Lamb])
def test_rates_of_adaptive_optimizers_are_left_alone(kind, rng):
    own = type("Own", (kind,), {})
    problem = Quadratic(np.ones(5), rng)
    optimizer = ProbabilisticPreconditioner(own(0.002), restart=None)
    with keras.saving.custom_object_scope({"Own": own}):
        step = problem.stepper(optimizer)
        for _ in range(20):
            step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.002)


def test_momentum_goes_over_into_the_new_preconditioner(rng):
    """Steps that have built up against a large eigenvalue do not drift when it is taken down."""
    problem = Quadratic(TWO_LARGE, rng)
    inner = keras.optimizers.SGD(0.003, momentum=0.9)
    optimizer = ProbabilisticPreconditioner(inner, adapt_learning_rate=False, restart=20)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(80)]
    assert max(losses[15:]) <= 2 * losses[0]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["var_list", "var_names"])
def test_excluded_from_weight_decay(when, how):
    """Gradients are 0, so only decay moves weights: those of both groups that are not left out."""
    variables = [keras.Variable(np.ones(2), name=name) for name in ("a", "b", "c", "d")]
    optimizer = ProbabilisticPreconditioner(
        weight_decay=0.1, parameter_groups=["a|b"], adapt_learning_rate=False
    )
    if when == "after":
        optimizer.build(variables)
    excluded = {"var_list": variables[::2], "var_names": ["a", "c"]}
    optimizer.exclude_from_weight_decay(**{how: excluded[how]})

    def loss():
        return 0 * tf.add_n([tf.reduce_sum(v.value**2) for v in variables])

    for _ in range(3):
        optimizer.minimize(loss, variables)
    moved = [bool(np.any(v.numpy() != 1)) for v in variables]
    assert moved == [False, True, False, True]


class Unregistered(keras.optimizers.SGD):
    """Keras does not know its name."""


def test_groups_of_an_optimizer_that_is_not_registered(rng):
    optimizer = ProbabilisticPreconditioner(Unregistered(0.1), parameter_groups=["bias"])
    model, X, y = net(int(rng.integers(1000)), optimizer)
    losses = fit(model, X, y, epochs=4)
    assert losses[-1] < losses[0]
    assert [type(inner) for inner in optimizer._inners] == [Unregistered] * 2


def test_a_schedule_where_the_rate_is_not_adapted(rng):
    inner = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.2, 10, 0.5))
    optimizer = ProbabilisticPreconditioner(inner, adapt_learning_rate=False)
    model, X, y = net(int(rng.integers(1000)), optimizer)
    losses = fit(model, X, y, epochs=3)
    assert losses[-1] < losses[0]
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.2 * 0.5**7.2, rel=1e-3)
