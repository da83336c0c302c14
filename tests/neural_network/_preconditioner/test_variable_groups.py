"""Groups of variables, each with a model and a learning rate."""

import numpy as np
import pytest

from skhmat.neural_network import ProbabilisticPreconditioner

from .problems import (
    fit,
    net,
)


def test_parameter_groups(rng):
    seed = int(rng.integers(1000))
    optimizer = ProbabilisticPreconditioner(parameter_groups=["dense.*/kernel", "nothing"])
    model, X, y = net(seed, optimizer)
    with pytest.raises(ValueError, match=r"parameter_groups: 'nothing' matches none"):
        fit(model, X, y)
    optimizer = ProbabilisticPreconditioner(parameter_groups=["bias", "kernel"])
    model, X, y = net(seed, optimizer)
    assert np.isfinite(fit(model, X, y, epochs=6)).all()
    rates = optimizer.get_log()["learning_rate"]
    assert rates.shape == (2,)
    assert rates[0] != rates[1]


def test_a_group_for_each_variable(rng):
    optimizer = ProbabilisticPreconditioner(parameter_groups="per_variable")
    model, X, y = net(int(rng.integers(1000)), optimizer)
    losses = fit(model, X, y, epochs=6)
    assert losses[-1] < losses[0]
    assert len(set(optimizer.get_log()["learning_rate"])) == len(model.trainable_variables)
    assert ProbabilisticPreconditioner.from_config(optimizer.get_config()).parameter_groups == (
        "per_variable"
    )
