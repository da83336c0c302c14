"""What is saved with a model, and restored."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat.neural_network import ProbabilisticPreconditioner
from skhmat.neural_network._preconditioner.estimate_state import Phase

from ..networks import keras, label
from .problems import fit, net


@pytest.mark.parametrize("steps", [4, 12, 20], ids=["prior", "observing", "idle"])
@pytest.mark.parametrize("groups", [None, ["bias"], "per_variable"], ids=label)
def test_saved_and_restored(groups, steps, rng, tmp_path):
    seed = int(rng.integers(1000))
    inner = keras.optimizers.SGD(0.1, momentum=0.5)
    optimizer = ProbabilisticPreconditioner(inner, parameter_groups=groups, restart=30)
    model, X, y = net(seed, optimizer)
    fit(model, X[: 2 * steps], y[: 2 * steps], shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_log()["phase"] == optimizer.get_log()["phase"]
    histories = [fit(m, X, y, shuffle=False, epochs=2) for m in (model, loaded)]
    np.testing.assert_array_equal(*histories)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_saved_before_it_was_used(suffix, tmp_path):
    model, X, y = net(0, ProbabilisticPreconditioner())
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    loaded = keras.models.load_model(path)
    losses = [fit(m, X, y, shuffle=False) for m in (model, loaded)]
    np.testing.assert_array_equal(*losses)


def test_weights_of_a_trained_model(tmp_path):
    model, X, y = net(0, ProbabilisticPreconditioner())
    fit(model, X, y)
    model.save_weights(tmp_path / "model.weights.h5")
    other, *_ = net(1, ProbabilisticPreconditioner())
    with pytest.warns(ConvergenceWarning, match="the saved state was not loaded"):
        other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    logs = [m.optimizer.get_log() for m in (model, other)]
    assert logs[0]["estimates"] == logs[1]["estimates"] > 0


def test_weights_of_the_model_are_no_state(rng, tmp_path):
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner(weight_decay=0.01))
    model.optimizer.exclude_from_weight_decay(var_list=[model.layers[0].bias])
    fit(model, X, y)
    weights = {id(v) for v in model.variables}
    assert not any(id(v) in weights for v in model.optimizer.variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_of_another_is_refused(rng, tmp_path):
    model, X, y = net(1, ProbabilisticPreconditioner())
    fit(model, X, y)
    store = {}
    model.optimizer.save_own_variables(store)
    other, *_ = net(1, ProbabilisticPreconditioner(num_observations=0))
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(ValueError, match="by one with other parameters"):
        other.optimizer.load_own_variables(store)


def test_names_are_those_of_saved_models():
    """In this order: Keras saves state by its number."""
    optimizer = ProbabilisticPreconditioner(restart="auto")
    optimizer.build([keras.Variable(np.zeros(3))])
    names = [variable.name for variable in optimizer.variables]
    assert names == [
        "iteration",
        "learning_rate",
        "requested",
        "steps_since_start",
        "troubles",
        "losses",
        "last_loss",
        "highest_loss",
        "highest_loss_before",
        "recent_losses",
        "samples_of_this_epoch",
        "loss_of_this_epoch",
        "rate",
        "most_of_the_last_rate",
        "has_arrived",
        "has_failed",
        "squares_of_steps",
        "typical_square",
        "shortened",
        "phase",
        "products_of_this_phase",
        "estimates_started",
        "estimates_finished",
        "mean",
        "scale",
        "noise",
        "level",
        "signal",
        "most_negative_curvature",
        "sums",
        "spread",
        "sum_of_gradients",
        "squares_of_gradients",
        "last_direction",
        "last_product",
        "square_of_first_gradient",
        "weight_of_last_direction",
        "images_of_gradients",
        "anchor",
        "directions",
        "products",
        "ritz_values",
        "eigenvectors_0",
        "factors",
        "last_gradient_0",
        "last_weights_0",
        "windows",
        "foretelling",
        "foretold_by_estimate",
        "iteration",
        "learning_rate",
    ]


def test_phases_have_the_numbers_of_saved_models():
    assert [phase.label for phase in Phase] == ["idle", "prior", "observing"]
    assert [int(phase) for phase in Phase] == [0, 1, 2]
