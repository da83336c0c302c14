"""Networks as bytes, and what the user wrote that is in objects of Keras."""

import inspect
import pickle

from .._keras import keras
from .._newton.newton_cg import NewtonCG
from .._newton.train_step import second_order

#: A context in which Keras finds the custom objects of a dict.
scope = keras.saving.custom_object_scope


def find_custom_objects(*parts):
    """Return the functions and classes in objects of Keras that are not Keras' own, by name.

    Keras saves only their names, and finds them again in a scope.

    *parts : objects
        Networks, layers, losses, metrics, optimizers, their classes, functions, and lists, tuples
        and dicts of these; others are passed over.
    """
    found, seen, left = {}, set(), list(parts)
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, (list, tuple)):
            left += part
        elif inspect.isfunction(part) or (inspect.isclass(part) and hasattr(part, "from_config")):
            _note(found, part)
        elif hasattr(part, "get_config") and not inspect.isclass(part):
            _note(found, type(part))
            left += vars(part).values()
            if isinstance(part, keras.Model):
                left += part._flatten_layers()
    return found


def _note(found, named):
    package = named.__module__.split(".")[0]
    if package not in ("keras", "skhmat", "tensorflow") and named.__name__ != "<lambda>":
        found[named.__name__] = named
        found[keras.saving.get_registered_name(named)] = named


def pack_network(network):
    """Return all that training resumes from, ready to be pickled, for `unpack_network`."""
    return pickle.dumps(network), [state.numpy() for state in _find_seeds(network)]


def unpack_network(state):
    """Return the network of `pack_network`, in a scope with its custom objects."""
    network, seeds = state
    network = pickle.loads(network)
    for variable, seed in zip(_find_seeds(network), seeds, strict=True):
        variable.assign(seed)
    return second_order(network) if isinstance(network.optimizer, NewtonCG) else network


def _find_seeds(network):
    """Return the states of random number generators, which Keras does not save."""
    return [v for v in network.non_trainable_variables if v.path.endswith("seed_generator_state")]
