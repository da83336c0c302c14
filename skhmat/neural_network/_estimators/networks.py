"""Networks and optimizers, from the parameters of an estimator.

The only module that the estimators import late: whatever needs TensorFlow is reached through it.
"""

import contextlib
import copy
import inspect
import random
import threading

import numpy as np

from ..._utils.validation import check_integer, parameter_error
from .._keras import build_optimizer, check_known_to_keras, keras, seed_generator
from .._newton.newton_cg import NewtonCG
from .._newton.train_step import second_order
from .._preconditioner.optimizer import ProbabilisticPreconditioner
from . import losses, persistence, prediction, training

#: Optimizers that Keras does not have, by the name that estimators take.
OPTIMIZERS = {
    "newton-cg": NewtonCG,
    "probabilistic-preconditioner": ProbabilisticPreconditioner,
}


class _LayerSeeds(threading.local):
    """What Keras draws the seeds of new layers from, for each thread its own."""

    def __init__(self):
        self.generator = random  # as without this class

    def randint(self, a, b):
        """Return a random integer from a to b."""
        return self.generator.randint(a, b)


# Keras has no way but the generator of the whole process, which other threads draw from, too.
_LAYER_SEEDS = _LayerSeeds()
seed_generator.python_random = _LAYER_SEEDS


@contextlib.contextmanager
def seeded(seed):
    """Draw the seeds of layers that this thread makes from `seed`."""
    before, _LAYER_SEEDS.generator = _LAYER_SEEDS.generator, random.Random(seed)
    try:
        yield
    finally:
        _LAYER_SEEDS.generator = before


def build_network(model, parameters, hidden_layer_sizes, activation, head, meta):
    """Return a new network.

    Parameters
    ----------
    model : None, callable or keras.Model
    parameters : dict
        Keywords for a callable.
    hidden_layer_sizes, activation : tuple of int, str or callable
        Of the network that is made if `model` is None.
    head : tuple of (int, str)
        Number of outputs and activation of the last layer of that network.
    meta : dict
        Keywords that a callable may ask for: ``X``, ``y``, ``n_features_in``, ``n_outputs``.
    """
    if isinstance(model, keras.Model):
        return _copy(model, parameters)
    if model is not None:
        return _call(model, parameters, meta)
    if parameters:
        raise ValueError(f"model is None and takes no parameters, but there is {parameters}.")
    for size in hidden_layer_sizes:
        check_integer("hidden_layer_sizes", size, 1)
    allowed = "a name that Keras knows ('relu', 'tanh', ...) or a callable"
    check_known_to_keras("activation", keras.activations.get, activation, allowed)
    layers = [keras.layers.Input((meta["n_features_in"],))]
    layers += [keras.layers.Dense(size, activation) for size in hidden_layer_sizes]
    return keras.Sequential([*layers, keras.layers.Dense(head[0], head[1])])


def _copy(model, parameters):
    if parameters:
        raise ValueError(
            f"model is a keras.Model and takes no parameters, but there is {parameters}. Pass a "
            "callable that builds the model."
        )
    if model.compiled and model.optimizer is not None and int(model.optimizer.iterations) > 0:
        raise ValueError(
            f"model has been trained already, in {int(model.optimizer.iterations)} steps. Pass one "
            "that has not, or a callable that builds it (it may load weights to start from)."
        )
    with persistence.scope(persistence.find_custom_objects(model)):
        try:
            clone = keras.models.clone_model(model)
            _copy_weights(model, clone)
        except Exception as error:
            raise ValueError(
                f"model={model!r} cannot be copied by Keras. Pass a callable that builds the "
                f"model. The reason: {error}"
            ) from error
        if model.compiled:
            clone.compile_from_config(model.get_compile_config())
    return clone


def _copy_weights(model, clone):
    """Copy all weights and state that a template has.

    Which of them were loaded cannot be told, and those must not be lost.
    """
    layers = model._flatten_layers()
    if not any(layer.built and layer.weights for layer in layers):
        return
    if model.built and not clone.built:
        clone.build_from_config(model.get_build_config())
    for layer, other in zip(layers, clone._flatten_layers(), strict=True):
        state = {}
        layer.save_own_variables(state)
        if not state:
            continue
        if not other.built:
            other.build_from_config(layer.get_build_config())
        other.load_own_variables(state)


def _call(model, parameters, meta):
    known = inspect.signature(model).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
    offered = {name: value for name, value in meta.items() if anything or name in known}
    unknown = sorted(set(parameters) - set(known))
    if unknown and not anything:
        raise ValueError(
            f"model takes {sorted(known)}, and not {unknown} (from the parameters "
            f"{['model__' + name for name in unknown]})."
        )
    network = model(**{**offered, **parameters})
    if not isinstance(network, keras.Model):
        raise TypeError(f"model must return a keras.Model, and returned {network!r}.")
    return network


def with_one_output(network):
    """Return ``Model(i, o)`` in place of ``Model(i, [o])`` or ``Model(i, {"name": o})``."""
    outputs = getattr(network, "_outputs_struct", None)
    if not (isinstance(outputs, (list, tuple, dict)) and len(outputs) == 1):
        return network
    if not type(network).__module__.startswith("keras."):
        return network
    return keras.Model(network.inputs, losses.of_one_output("outputs", outputs), name=network.name)


def compiled_with(network):
    """Return the arguments that a network was compiled with, but for defaults: {} if it was not."""
    if not network.compiled:
        return {}
    known = inspect.signature(keras.Model.compile).parameters
    given = network._compile_config.config
    changed = {name: value for name, value in given.items() if value is not known[name].default}
    return {**changed, "optimizer": network.optimizer}


def frozen(value):
    """Return a value of a parameter such that no later change of the value changes it."""
    if isinstance(value, keras.optimizers.Optimizer):
        return type(value), {**value.get_config(), "name": None}
    return copy.copy(value) if isinstance(value, (list, dict, np.ndarray)) else value


def make_optimizer(optimizer, parameters, of_model):
    """Return a new optimizer of the given type, with the given parameters.

    of_model : keras.optimizers.Optimizer or None
        That of the model, which `optimizer` is if it is None.
    """
    if optimizer is None:
        if of_model is None:
            raise ValueError(
                "optimizer is None, so the one that model was compiled with is taken, but model "
                "was not compiled."
            )
        optimizer = of_model
    config = {}
    if isinstance(optimizer, str):
        allowed = f"one of {sorted(OPTIMIZERS)} or a name that Keras knows ('adam', 'sgd', ...)"
        kind = OPTIMIZERS.get(optimizer.lower()) or type(
            check_known_to_keras("optimizer", keras.optimizers.get, optimizer, allowed)
        )
    elif isinstance(optimizer, keras.optimizers.Optimizer):
        kind, config = type(optimizer), optimizer.get_config()
    elif inspect.isclass(optimizer) and issubclass(optimizer, keras.optimizers.Optimizer):
        kind = optimizer
    else:
        allowed = (
            f"one of {sorted(OPTIMIZERS)}, a name that Keras knows, a keras.optimizers.Optimizer, "
            "its class, or None"
        )
        raise parameter_error("optimizer", allowed, optimizer)
    known = set()
    for parent in kind.__mro__[:-1]:
        taken = inspect.signature(parent.__init__).parameters
        known |= set(taken) - {"self", "args", "kwargs"}
        if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            break
    known -= getattr(kind, "refused", frozenset())
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(
            f"optimizer {kind.__name__} has no parameters {unknown} (from the parameters "
            f"{['optimizer__' + name for name in unknown]}); it has {sorted(known)}."
        )
    return kind.from_config({**config, **parameters})


def compile_network(network, optimizer, loss, metrics, others):
    """Compile a network for training, by Newton's method if that is the optimizer.

    others : dict
        Further arguments of ``compile``.
    """
    if "loss_weights" in others:
        weight = losses.of_one_output("loss_weights", others["loss_weights"])
        others = {**others, "loss_weights": weight}
    if isinstance(optimizer, tuple(OPTIMIZERS.values())):
        others = {**others, "jit_compile": False}  # XLA takes minutes to compile their products
    network.compile(optimizer=optimizer, loss=loss, metrics=metrics, **others)
    build_optimizer(network)
    return second_order(network) if isinstance(optimizer, NewtonCG) else network


def cast_inputs(network, X):
    """Return samples in the type that a network takes."""
    inputs = getattr(network, "inputs", None)
    dtype = inputs[0].dtype if inputs else network.variable_dtype
    integer = dtype.startswith(("int", "uint"))
    return _cast("X", X, dtype if integer or dtype == "float64" else "float32")


def cast_targets(network, y, sample_weight):
    """Return targets, unless they are indices, and weights in the type of the outputs."""
    dtype = losses.target_dtype(network)
    if y.dtype.kind == "f":
        y = _cast("y", y, dtype)
    return y, None if sample_weight is None else _cast("sample_weight", sample_weight, dtype)


def _cast(name, values, dtype):
    """Return numbers in a type; raise ValueError if some are beyond its range."""
    dtype = np.dtype(dtype)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise ValueError(f"Input {name} contains a value too large for {dtype!r}.")
    return values.astype(dtype, copy=False)


__all__ = [
    "OPTIMIZERS",
    "build_network",
    "cast_inputs",
    "cast_targets",
    "compile_network",
    "compiled_with",
    "frozen",
    "losses",
    "make_optimizer",
    "persistence",
    "prediction",
    "seeded",
    "training",
    "with_one_output",
]
