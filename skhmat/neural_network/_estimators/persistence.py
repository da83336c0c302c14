"""Networks as bytes, with the functions and classes of the user that are in them."""

import pickle

from .._keras import keras
from .._newton.newton_cg import NewtonCG
from .._newton.train_step import second_order


def find_custom_objects(network, *others):
    """Return the functions and classes in a network that are not Keras' own, by name.

    Keras saves only their names, and finds them again in a scope.
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


def pack_network(network, *others):
    """Return what `unpack_network` restores, ready to be pickled.

    That is all that training resumes from, and functions and classes of the user in the network
    and in `others`.
    """
    seeds = [state.numpy() for state in _find_seeds(network)]
    return pickle.dumps(network), find_custom_objects(network, *others), seeds


def unpack_network(state):
    """Return the network of `pack_network`."""
    network, objects, seeds = state
    with keras.saving.custom_object_scope(objects):
        network = pickle.loads(network)
    for variable, seed in zip(_find_seeds(network), seeds, strict=True):
        variable.assign(seed)
    return second_order(network) if isinstance(network.optimizer, NewtonCG) else network


def _find_seeds(network):
    """Return the states of random number generators, which Keras does not save."""
    return [v for v in network.non_trainable_variables if v.path.endswith("seed_generator_state")]
