"""TensorFlow and Keras, imported in one place: late, quietly, and only together."""

import contextlib
import importlib.util
import os
import sys

from .._utils.validation import check_real

if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("keras") is None:
    raise ImportError(
        "skhmat.neural_network needs Keras 3 and TensorFlow: pip install skhmat[keras], or "
        "pip install keras tensorflow[and-cuda] on a machine with a GPU."
    )


@contextlib.contextmanager
def _quiet():
    """Keep what TensorFlow's C++ code writes while it is loaded from the terminal."""
    try:
        saved = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


if "tensorflow" in sys.modules:
    import tensorflow as tf
else:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet():
        import tensorflow as tf

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras  # noqa: E402

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "skhmat.neural_network works with the TensorFlow backend of Keras, and Keras runs on "
        f"{keras.backend.backend()!r}: set the environment variable KERAS_BACKEND=tensorflow "
        "before Keras is imported."
    )


def in_xla():
    """Return whether the graph that is being made is for XLA (``jit_compile=True``)."""
    from tensorflow.python.ops import control_flow_util  # there is no public way to ask

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def check_precision(layers=()):
    """Raise ValueError where products with curvature would have three digits.

    In a graph, all that is computed in it and around it so far is looked at. (What comes in with
    half precision, and is cast, is samples.)
    """
    found = {layer.compute_dtype for layer in layers}
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        for operation in graph.get_operations():
            taken, made = (
                {tensor.dtype.name for tensor in tensors}
                for tensors in (operation.inputs, operation.outputs)
            )
            found |= taken & made if operation.type != "Identity" else set()
        graph = getattr(graph, "outer_graph", None)
    half = sorted(found & {"float16", "bfloat16"})
    if half:
        raise ValueError(
            f"Second-order optimizers do not support mixed precision, and there is {half[0]}: "
            "products with curvature need float32. Set keras.config.set_dtype_policy('float32') "
            "before the model is made."
        )


def check_replicas():
    """Raise NotImplementedError where a batch is spread over several devices."""
    n = tf.distribute.get_strategy().num_replicas_in_sync
    if n > 1:
        raise NotImplementedError(
            f"Second-order optimizers train on one replica, and the strategy has {n}."
        )


def checked_rate(learning_rate):
    """Return a learning rate as Keras takes it: a positive float, a schedule or a callable."""
    if callable(learning_rate):  # schedules are
        return learning_rate
    check_real("learning_rate", learning_rate, 0, closed="neither")
    return float(learning_rate)


def known_to_keras(name, get, value, allowed):
    """Return what Keras makes of a value; raise ValueError, which names it, if that is nothing."""
    try:
        return get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be {allowed}, not {value!r}.") from error


def loss_function(loss):
    """Return the function behind a loss: of its name, in a keras.losses.Loss, or itself."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    return getattr(loss, "fn", loss)


def checked_optimizer(name, optimizer):
    """Return an optimizer of its own, from its name, configuration or a pattern."""
    allowed = "a name that Keras knows ('adam', 'sgd', ...) or a keras.optimizers.Optimizer"
    made = known_to_keras(name, keras.optimizers.get, optimizer, allowed)
    if made is None:
        raise ValueError(f"{name} must be {allowed}, not None.")
    return type(made).from_config(made.get_config())


def checked_type(name, variables):
    """Return the one floating-point type of all weights; raise ValueError where there is none."""
    if not variables:
        raise ValueError(f"There are no trainable weights, so nothing for {name} to train.")
    dtypes = {keras.backend.standardize_dtype(variable.dtype) for variable in variables}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"{name} needs weights of one type, float32 or float64; they are {sorted(dtypes)}."
        )
    return dtypes.pop()


def check_function(loss, variables):
    """Raise unless these are a function and a list of variables that it may be minimized over."""
    if not callable(loss):
        raise TypeError(f"loss must be callable without arguments, not {loss!r}.")
    if not (isinstance(variables, (list, tuple)) and variables):
        raise ValueError(f"variables must be a list of one or more, not {variables!r}.")


def with_optimizer(config, key, custom_objects):
    """Return a configuration with an optimizer in place of the configuration of it."""
    config = dict(config)
    if isinstance(config.get(key), dict):
        config[key] = keras.optimizers.deserialize(config[key], custom_objects=custom_objects)
    return config


__all__ = [
    "check_function",
    "check_precision",
    "check_replicas",
    "checked_optimizer",
    "checked_rate",
    "checked_type",
    "in_xla",
    "keras",
    "known_to_keras",
    "loss_function",
    "tf",
    "with_optimizer",
]
