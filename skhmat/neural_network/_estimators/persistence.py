"""Networks as bytes."""

import pickle

from .._keras import keras
from .._newton.newton_cg import NewtonCG
from .._newton.train_step import second_order


def custom_objects(network, *others):
    """Return what a network is made of that is not Keras' own, by the names that Keras gives it.

    Keras saves names of functions and classes, and finds them again in a scope.
    """
    layers = network._flatten_layers()
    parts = [network, *layers, *others]
    if network.compiled:
        parts += [network.optimizer, network.loss]
    parts += [getattr(layer, "activation", None) for layer in layers]
    found = {}
    for part in keras.tree.flatten(parts):
        part = getattr(part, "fn", part)  # the function that a loss wraps
        if not callable(part):
            continue
        named = part if hasattr(part, "__name__") else type(part)
        if named.__module__.split(".")[0] not in ("keras", "skhmat"):
            found[named.__name__] = named
            found[keras.saving.get_registered_name(named)] = named
    return found


def packed(network, *others):
    """Return all of a network that training goes on from, ready to be pickled.

    That goes for functions and classes of the user in it, and in `others`.
    """
    seeds = [state.numpy() for state in _seed_states(network)]
    return pickle.dumps(network), custom_objects(network, *others), seeds


def unpacked(state):
    """Return the network of `packed`."""
    network, objects, seeds = state
    with keras.saving.custom_object_scope(objects):
        network = pickle.loads(network)
    for variable, seed in zip(_seed_states(network), seeds, strict=True):
        variable.assign(seed)
    return second_order(network) if isinstance(network.optimizer, NewtonCG) else network


def _seed_states(network):
    """Return where dropout and the like are in their random numbers; Keras does not save that."""
    return [v for v in network.non_trainable_variables if v.path.endswith("seed_generator_state")]
