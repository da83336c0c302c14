"""TensorFlow and Keras, imported in one place, and checks and helpers that optimizers share.

This is the lowest layer of `skhmat.neural_network`: every module that needs TensorFlow takes it
from here, so that it is loaded late and quietly, and with the one backend of Keras that works.
"""

import contextlib
import copy
import importlib.util
import os
import sys

import numpy as np

from .._utils.validation import check_real, parameter_error

if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("keras") is None:
    raise ImportError(
        "skhmat.neural_network needs Keras 3 and TensorFlow: pip install skhmat[keras], or "
        "pip install keras tensorflow[and-cuda] on a machine with a GPU."
    )


@contextlib.contextmanager
def _quiet():
    """Hide what TensorFlow's C++ code writes to the terminal while it is loaded."""
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
from keras.src.random import seed_generator  # noqa: E402

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "skhmat.neural_network works with the TensorFlow backend of Keras, and Keras runs on "
        f"{keras.backend.backend()!r}: set the environment variable KERAS_BACKEND=tensorflow "
        "before Keras is imported."
    )


def is_in_xla():
    """Return whether the graph under construction is compiled by XLA (``jit_compile=True``)."""
    from tensorflow.python.ops import control_flow_util  # there is no public way to ask

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def not_converted(function):
    """Decorate a function that AutoGraph would convert, in a ``tf.function``, to no purpose.

    To convert all that a step calls takes several times as long as to trace it. Losses that are
    called in it need `converted_as_here`.
    """
    return tf.autograph.experimental.do_not_convert(function)


@contextlib.contextmanager
def outside_of_graphs():
    """Make variables as if no graph were being built.

    TensorFlow traces a ``tf.function`` a second time if it sees variables made in it, even those in
    `tf.init_scope`: the default graph tells it of them.
    """
    from tensorflow.python.eager import context  # there is no public way to leave a graph alone

    has_strategy, strategy = tf.distribute.has_strategy(), tf.distribute.get_strategy()
    with (
        tf.Graph().as_default(),
        context.eager_mode(),
        strategy.scope() if has_strategy else contextlib.nullcontext(),
    ):
        yield


def converted_as_here(function):
    """Return a function within which AutoGraph converts what it would convert here, not there."""
    context = tf.__internal__.autograph.control_status_ctx()

    def call():
        with context:
            return function()

    return call


# ---- checks: of parameters, and of what surrounds a step


def check_known_to_keras(name, get, value, allowed):
    """Return the object that a ``get`` function of Keras makes of a parameter."""
    try:
        return get(value)
    except (ValueError, TypeError) as error:
        raise parameter_error(name, allowed, value) from error


def check_learning_rate(learning_rate):
    """Return a learning rate as Keras takes it: a positive float, a schedule or a callable."""
    if callable(learning_rate):  # schedules are
        return learning_rate
    return check_real("learning_rate", learning_rate, 0, closed="neither")


def check_optimizer(name, optimizer):
    """Return a new optimizer with the settings of a name, a configuration or an optimizer."""
    allowed = "a name that Keras knows ('adam', 'sgd', ...) or a keras.optimizers.Optimizer"
    known = check_known_to_keras(name, keras.optimizers.get, optimizer, allowed)
    if known is None:
        raise parameter_error(name, allowed, None)
    return type(known).from_config(known.get_config())


def check_model(model):
    """Return a Keras model; raise TypeError for anything else."""
    if not isinstance(model, keras.Model):
        raise parameter_error(
            "model", "a keras.Model", got=f"a {type(model).__name__}", kind=TypeError
        )
    return model


def check_function(loss, variables):
    """Raise unless these are a function and a list of variables that it may be minimized over."""
    if not callable(loss):
        raise parameter_error("loss", "callable without arguments", loss, kind=TypeError)
    if not (isinstance(variables, (list, tuple)) and variables):
        raise parameter_error("variables", "a list of one or more", variables)


def check_variable_dtype(optimizer_name, variables):
    """Return the one floating-point type of all weights; raise ValueError if there are several."""
    if not variables:
        raise ValueError(
            f"There are no trainable weights, so nothing for {optimizer_name} to train."
        )
    dtypes = {keras.backend.standardize_dtype(variable.dtype) for variable in variables}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"{optimizer_name} needs weights of one type, float32 or float64; "
            f"they are {sorted(dtypes)}."
        )
    return dtypes.pop()


def build_optimizer(model):
    """Make the state of a model's optimizer, if the model has its weights by now.

    TensorFlow traces the first step twice where it is made there.
    """
    if model.built and not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)


def check_precision(layers=()):
    """Raise ValueError if any computation is in half precision.

    Products with curvature would have three correct digits. In a graph, everything computed so
    far in it and in the graphs around it is inspected. Samples may arrive in half precision if
    they are cast before anything is computed from them.
    """
    found = {layer.compute_dtype for layer in layers}
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        for operation in graph.get_operations():
            inputs, outputs = (
                {tensor.dtype.name for tensor in tensors}
                for tensors in (operation.inputs, operation.outputs)
            )
            found |= inputs & outputs if operation.type != "Identity" else set()
        graph = getattr(graph, "outer_graph", None)
    half = sorted(found & {"float16", "bfloat16"})
    if half:
        raise ValueError(
            f"Second-order optimizers do not support mixed precision, and there is {half[0]}: "
            "products with curvature need float32. Set keras.config.set_dtype_policy('float32') "
            "before the model is made."
        )


def check_replicas():
    """Raise NotImplementedError under a strategy that merges what its replicas compute.

    Even of one replica TensorFlow cannot merge values within a branch, and steps have branches.
    """
    strategy = tf.distribute.get_strategy()
    is_plain = not tf.distribute.has_strategy()
    if not (is_plain or isinstance(strategy, tf.distribute.OneDeviceStrategy)):
        raise NotImplementedError(
            "Second-order optimizers train on one replica: without a strategy, or under "
            f"tf.distribute.OneDeviceStrategy. This is a {type(strategy).__name__} with "
            f"{strategy.num_replicas_in_sync}."
        )


def as_plain(value):
    """Return what a configuration holds with numbers of Python for those of NumPy, for JSON."""
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    is_number = isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0
    return value.item() if is_number else value


# ---- variables, tensors and objects of Keras


def unwrap_loss(loss):
    """Return the function behind a loss: that of its name, of a keras.losses.Loss, or itself."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    return getattr(loss, "fn", loss)


def unwrap_variables(variables):
    """Return the tf.Variable behind each variable of Keras or TensorFlow."""
    return [
        getattr(variable, "value", variable) if not isinstance(variable, tf.Variable) else variable
        for variable in variables
    ]


def densify(gradient):
    """Return a gradient as a tensor: those of embeddings arrive as slices."""
    return tf.convert_to_tensor(gradient)


def machine_epsilon(tensor):
    """Return the relative rounding error of the type of a tensor."""
    return float(np.finfo(tf.as_dtype(tensor.dtype).as_numpy_dtype).eps)


def deserialize_optimizer(config, key, custom_objects):
    """Return a configuration whose entry `key` is an optimizer, not the configuration of one."""
    config = dict(config)
    if isinstance(config.get(key), dict):
        # Keras writes the name of the class into the configuration in its own spelling.
        own = copy.deepcopy(config[key])
        config[key] = keras.optimizers.deserialize(own, custom_objects=custom_objects)
    return config


__all__ = [
    "as_plain",
    "check_function",
    "check_known_to_keras",
    "check_learning_rate",
    "check_model",
    "check_optimizer",
    "check_precision",
    "check_replicas",
    "check_variable_dtype",
    "converted_as_here",
    "densify",
    "deserialize_optimizer",
    "is_in_xla",
    "keras",
    "machine_epsilon",
    "not_converted",
    "outside_of_graphs",
    "seed_generator",
    "tf",
    "unwrap_loss",
    "unwrap_variables",
]
