"""Networks, losses and optimizers, from the parameters of an estimator.

The only module that the estimators import late: whatever needs TensorFlow is reached through it.
"""

import contextlib
import copy
import functools
import inspect
import logging
import random
import threading
from dataclasses import dataclass

import numpy as np

from ..._utils.validation import check_integer, parameter_error
from .._keras import check_known_to_keras, keras, seed_generator, tf, unwrap_loss
from .._newton.newton_cg import NewtonCG
from .._newton.train_step import second_order
from .._preconditioner.optimizer import ProbabilisticPreconditioner
from . import persistence
from .targets import are_probabilities


@dataclass(frozen=True)
class PredictionPolicy:
    """How networks are evaluated.

    The lengths of batches are multiples of 3 and of 64, so that batches split among 2, 3, 4, 6 or 8
    threads still consist of whole tiles.

    Attributes
    ----------
    rows_of_table : int
        Rows of each batch of a prediction from a table.
    rows_of_others : int
        Rows of each batch of images or sequences, whose samples take more work.
    min_batches_for_graph : int
        Batches from which a graph of the network is made: with two cores that took as long as 4 to
        40 batches do without one.
    n_inspected : int
        Samples whose outputs show what a model without a last activation returns.
    """

    rows_of_table: int = 384
    rows_of_others: int = 192
    min_batches_for_graph: int = 32
    n_inspected: int = 256


POLICY = PredictionPolicy()

# Grappler fuses operations, and fused ones round otherwise.
_UNOPTIMIZED = tf.compat.v1.ConfigProto()
_UNOPTIMIZED.graph_options.rewrite_options.disable_meta_optimizer = True

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


_QUIET = threading.local()


def _is_shown(record):
    return record.levelno >= logging.ERROR or not getattr(_QUIET, "is_on", False)


# The level of the logger would be that of other threads, too.
logging.getLogger("tensorflow").addFilter(_is_shown)


@contextlib.contextmanager
def quiet_log():
    """Hide TensorFlow's remarks, in this thread, that each new network is traced again."""
    _QUIET.is_on = True
    try:
        yield
    finally:
        _QUIET.is_on = False


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


def compiled_with(network):
    """Return the arguments that a network was compiled with, but for defaults: {} if it was not."""
    if not network.compiled:
        return {}
    known = inspect.signature(keras.Model.compile).parameters
    given = network._compile_config.config
    changed = {name: value for name, value in given.items() if value is not known[name].default}
    return {**changed, "optimizer": network.optimizer}


def _of_one_output(name, value):
    """Return what a list or dict holds for the one output that a network has; others as is."""
    if not isinstance(value, (list, tuple, dict)):
        return value
    found = list(value.values()) if isinstance(value, dict) else list(value)
    if len(found) != 1:
        raise parameter_error(name, "for one output; several are not supported", value)
    return found[0]


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


def find_loss(loss):
    """Return the loss of a class, its name or its configuration; others, and "auto", as they are.

    A list or dict of one loss is that loss. Raise ValueError for what Keras does not know.
    """
    is_config = isinstance(loss, dict) and "class_name" in loss
    loss = loss if is_config else _of_one_output("loss", loss)
    if loss is None or (isinstance(loss, str) and loss == "auto"):
        return loss
    allowed = "'auto', a name that Keras knows ('mse', 'huber', ...) or a callable"
    found = check_known_to_keras("loss", keras.losses.get, loss, allowed)
    is_made = is_config or isinstance(found, keras.losses.Loss) or inspect.isclass(loss)
    return found if is_made else loss


def check_metrics(metrics):
    """Return metrics as a new list, or None; raise ValueError if Keras does not know a name.

    A dict, or a list in a list, is for one output.
    """
    if isinstance(metrics, dict) or (metrics and isinstance(metrics[0], (list, tuple, dict))):
        metrics = _of_one_output("metrics", metrics)
        metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    if metrics is None:
        return None
    allowed = "names that Keras knows ('accuracy', 'mse', ...) or keras.metrics.Metric"
    for metric in metrics:
        if isinstance(metric, str) and metric not in ("accuracy", "acc", "crossentropy", "ce"):
            check_known_to_keras("metrics", keras.metrics.get, metric, allowed)
    return list(metrics)


def check_callbacks(callbacks):
    """Return callbacks as a new list; raise TypeError for anything else."""
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    if not isinstance(callbacks, (list, tuple)) or not all(
        isinstance(callback, keras.callbacks.Callback) for callback in callbacks
    ):
        allowed = "a list of keras.callbacks.Callback"
        raise parameter_error("callbacks", allowed, callbacks, kind=TypeError)
    return list(callbacks)


def copy_callbacks(callbacks):
    """Return copies of callbacks: Keras ties those that it calls to a model and to files."""
    callbacks = check_callbacks(callbacks)
    try:
        return copy.deepcopy(callbacks)
    except Exception as error:
        allowed = "callbacks that copy.deepcopy can copy, or a callable that makes new ones"
        got = f"{callbacks!r} ({error})"
        raise parameter_error("callbacks", allowed, got=got, kind=TypeError) from error


def make_early_stopping(patience):
    """Return the callback that stops training, and restores the best weights."""
    return keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)


def fit_parameters():
    """Return the names of the parameters of ``model.fit``."""
    return set(inspect.signature(keras.Model.fit).parameters) - {"self"}


def compile_network(network, optimizer, loss, metrics, others):
    """Compile a network for training, by Newton's method if that is the optimizer.

    others : dict
        Further arguments of ``compile``.
    """
    if "loss_weights" in others:
        weight = _of_one_output("loss_weights", others["loss_weights"])
        others = {**others, "loss_weights": weight}
    if isinstance(optimizer, tuple(OPTIMIZERS.values())):
        others = {**others, "jit_compile": False}  # XLA takes minutes to compile their products
    network.compile(optimizer=optimizer, loss=loss, metrics=metrics, **others)
    # Otherwise, the first trace of the train step makes the variables, and a second one is needed.
    optimizer.build(network.trainable_variables)
    return second_order(network) if isinstance(optimizer, NewtonCG) else network


class _LastEpoch(keras.callbacks.Callback):
    """Remembers the last epoch: Keras' History misses one that a callback before it interrupts."""

    def on_epoch_end(self, epoch, logs=None):
        """Remember the epoch; callbacks that follow may add to its logs."""
        self.epoch, self.logs = epoch, logs


class _Raised(BaseException):
    """Carries past Keras what it would take for the end of the data."""

    def __init__(self, error):
        super().__init__()
        self.error = error


def _past_keras(function):
    """Return a function whose exceptions all reach the caller of `train`."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (StopIteration, tf.errors.OutOfRangeError) as error:
            raise _Raised(error) from None

    return wrapper


class _UserCallbacks(keras.callbacks.CallbackList):
    """Callbacks of the user, called where Keras looks for the end of the data."""

    def __init__(self, callbacks):
        super().__init__(callbacks)
        # Otherwise Keras waits for the numbers of each batch, needed or not.
        self.async_safe = self._async_train and self._async_test

    on_train_batch_begin = _past_keras(keras.callbacks.CallbackList.on_train_batch_begin)
    on_train_batch_end = _past_keras(keras.callbacks.CallbackList.on_train_batch_end)
    on_test_batch_begin = _past_keras(keras.callbacks.CallbackList.on_test_batch_begin)
    on_test_batch_end = _past_keras(keras.callbacks.CallbackList.on_test_batch_end)


@contextlib.contextmanager
def _guarded_steps(network):
    """Let exceptions of a loss, a metric or a layer reach the caller of `train`."""
    before = {name: vars(network).get(name) for name in ("train_step", "test_step")}
    for name in before:
        setattr(network, name, _past_keras(getattr(network, name)))
    try:
        yield
    finally:
        for name, step in before.items():
            if step is None:
                delattr(network, name)
            else:
                setattr(network, name, step)


def train(network, data, callbacks, **options):
    """Run ``network.fit``; Ctrl-C ends the training once it has taken a step.

    Parameters
    ----------
    network : keras.Model
    data : tf.data.Dataset
    callbacks : list of keras.callbacks.Callback
    **options : dict
        For ``network.fit``.

    Returns
    -------
    history : keras.callbacks.History
        Of the epochs that were completed.
    is_interrupted : bool
    """
    last, history = _LastEpoch(), keras.callbacks.History()
    users = [_UserCallbacks(callbacks)] if callbacks else []
    n_steps = int(network.optimizer.iterations)
    try:
        with quiet_log(), _guarded_steps(network):
            network.fit(data, callbacks=[last, *users, history], **options)
    except _Raised as carrier:
        raise carrier.error from None
    except KeyboardInterrupt:
        if int(network.optimizer.iterations) == n_steps:
            raise
        if hasattr(last, "epoch") and last.epoch not in history.epoch:
            history.on_epoch_end(last.epoch, last.logs)
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.EarlyStopping):
                callback.on_train_end()  # restores the best weights
        return history, True
    finally:
        # Keras deletes the batches of the validation samples only where nothing is raised.
        network._eval_epoch_iterator = None
    return history, False


def output_width(network, X):
    """Return the number of outputs per sample."""
    shape = keras.tree.map_structure(
        lambda spec: spec.shape,
        network.compute_output_spec(keras.KerasTensor((None, *X.shape[1:]))),
    )
    if not (isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int)):
        raise ValueError(
            f"model must have one output of shape (n_samples, n_outputs); its shape is {shape}."
        )
    return shape[1]


def with_one_output(network):
    """Return ``Model(i, o)`` in place of ``Model(i, [o])`` or ``Model(i, {"name": o})``."""
    outputs = getattr(network, "_outputs_struct", None)
    if not (isinstance(outputs, (list, tuple, dict)) and len(outputs) == 1):
        return network
    if not type(network).__module__.startswith("keras."):
        return network
    return keras.Model(network.inputs, _of_one_output("outputs", outputs), name=network.name)


#: Losses that are chosen automatically, by the names that Keras knows them by.
_DEFAULT_LOSSES = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "mean_squared_error": keras.losses.MeanSquaredError,
}


def make_default_loss(name, network, X):
    """Return the loss of a name; a cross-entropy takes logits if the network gives them."""
    kind = _DEFAULT_LOSSES[name]
    dtype = "float64" if _target_dtype(network) == "float64" else None
    if not name.endswith("crossentropy"):
        return kind(dtype=dtype)
    return kind(from_logits=gives_logits(network, X), dtype=dtype)


def _loss_name(loss):
    """Return the name of the function behind a loss, or that of an object."""
    function = unwrap_loss(loss)
    return getattr(function, "__name__", getattr(function, "name", None)) or ""


def takes_classes(loss):
    """Return whether a loss compares outputs of which there is one for each class."""
    return "categorical" in _loss_name(loss) if loss is not None and loss != "auto" else False


def takes_indices(loss):
    """Return whether a loss compares several outputs with the index of a class."""
    return isinstance(loss, keras.losses.SparseCategoricalCrossentropy) or (
        "sparse" in _loss_name(loss)
    )


#: Layers that do not change the meaning of their input.
_TRANSPARENT = (keras.layers.Dropout, keras.layers.Reshape, keras.layers.Flatten)


def gives_logits(network, X):
    """Return whether outputs are logits, judged by the last layer or, failing that, by values."""
    last = _last_layer(network)
    if isinstance(last, keras.Model) and not last.built:
        return False  # nothing is known of it yet
    if hasattr(last, "activation"):
        return last.activation is keras.activations.linear
    return not are_probabilities(_evaluated(network, X[: POLICY.n_inspected]))


def _last_layer(network):
    """Return the last layer that changes the meaning of the outputs, or None."""
    layers = [layer for layer in network.layers if not isinstance(layer, _TRANSPARENT)]
    last = layers[-1] if layers else None
    if isinstance(last, keras.Model) and last.layers and last.built:
        return _last_layer(last)
    return last


def outputs_exclude_each_other(network):
    """Return whether outputs are the probabilities of classes of which each sample has one.

    The loss decides, as in `read_outputs`, and the last layer where any will do.
    """
    name = _loss_name(network.loss)
    if "crossentropy" in name:
        return "categorical" in name
    last = _last_layer(network)
    return isinstance(last, keras.layers.Softmax) or (
        getattr(last, "activation", None) is keras.activations.softmax
    )


def check_loss_fits(network, loss, X):
    """Raise ValueError if a cross-entropy would compare classes of which there is one.

    Or if one of Keras would take logits for probabilities.
    """
    if takes_classes(loss) and output_width(network, X) == 1:
        raise ValueError(
            f"loss={_loss_name(loss)!r} compares outputs of which there is one for each class, and "
            "model has 1 output: end it with one output for each class, or take "
            "'binary_crossentropy'."
        )
    function = unwrap_loss(loss)
    name, module = (getattr(function, key, "") for key in ("__name__", "__module__"))
    if not (module.startswith("keras.") and name.endswith("crossentropy")):
        return
    if getattr(loss, "from_logits", False):
        return
    outputs = _evaluated(network, X[: POLICY.n_inspected])
    if not are_probabilities(outputs):
        raise ValueError(
            f"loss={name!r} takes probabilities, and outputs of model are from "
            f"{outputs.min():.3g} to {outputs.max():.3g}. End the model with a softmax or a "
            "sigmoid, or leave loss='auto', or pass a loss with from_logits=True."
        )


def _evaluated(network, X):
    return np.asarray(network(tf.convert_to_tensor(X), training=False))


def cast_inputs(network, X):
    """Return samples in the type that a network takes."""
    inputs = getattr(network, "inputs", None)
    dtype = inputs[0].dtype if inputs else network.variable_dtype
    integer = dtype.startswith(("int", "uint"))
    return _cast("X", X, dtype if integer or dtype == "float64" else "float32")


def cast_targets(network, y, sample_weight):
    """Return targets, unless they are indices, and weights in the type of the outputs."""
    dtype = _target_dtype(network)
    if y.dtype.kind == "f":
        y = _cast("y", y, dtype)
    return y, None if sample_weight is None else _cast("sample_weight", sample_weight, dtype)


def _target_dtype(network):
    outputs = getattr(network, "outputs", None)
    dtype = outputs[0].dtype if outputs else network.variable_dtype
    return dtype if dtype == "float64" else "float32"


def _cast(name, values, dtype):
    """Return numbers in a type; raise ValueError if some are beyond its range."""
    dtype = np.dtype(dtype)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise ValueError(f"Input {name} contains a value too large for {dtype!r}.")
    return values.astype(dtype, copy=False)


def batches(X, y, sample_weight, batch_size, seed, shuffle=True):
    """Return the samples as batches, in an order that depends on the seed alone."""
    arrays = tuple(
        map(tf.convert_to_tensor, (X, y) if sample_weight is None else (X, y, sample_weight))
    )
    indices = tf.data.Dataset.range(len(X))
    if shuffle:
        indices = indices.shuffle(len(X), seed=seed, reshuffle_each_iteration=True)
    taken = indices.batch(batch_size).map(lambda i: tuple(tf.gather(a, i) for a in arrays))
    return taken.prefetch(1)


#: Losses of Keras that are computed from the logits which a softmax or a sigmoid keeps with its
#: outputs, and the function that they take for the one that makes probabilities of logits,
#: whichever of the two the network ends in.
_LINKS = {
    "binary_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
}


def read_outputs(network, X, policy=POLICY):
    """Return the outputs for all samples, and what makes predictions of them.

    A network has learned to make the loss small, so the loss decides what its outputs mean. Where
    that reads logits, so do we: they say more than a softmax or a sigmoid in float32 does, where
    probabilities are near 0 or 1.

    Returns
    -------
    outputs : array of shape (n_samples, width)
    link : {"sigmoid", "softmax", "any"} or None
        As `ClassTarget.scores` and `ValueTarget.decode` take it.
    """
    function = unwrap_loss(network.loss)
    name, module = (getattr(function, key, "") for key in ("__name__", "__module__"))
    from_keras = module.startswith("keras.")
    link = _LINKS.get(name) if from_keras else None
    found, kept = _evaluate_all(network, X, _prefer_logits if link else _as_they_are, policy)
    if kept:
        return found, link
    if not getattr(network.loss, "from_logits", False):
        return found, None
    if from_keras:  # the focal losses as well
        link = "softmax" if "categorical" in name else "sigmoid"
    return found, link or "any"


def _evaluate_all(network, X, pick, policy):
    """Return what `pick` takes of the outputs for all samples, and whether it is not themselves."""
    # A matrix product rounds by the length of its batch, and the last rows of a length that is no
    # multiple of the processor's tile otherwise than the rest. So all batches have one length.
    length = policy.rows_of_table if X.ndim == 2 else policy.rows_of_others
    starts = range(0, len(X), length)

    def batch(start):
        return tf.convert_to_tensor(_filled(X[start : start + length], length))

    def evaluate(x):
        return pick(network(x, training=False))

    whole = network(batch(0), training=False)
    first = pick(whole)
    if len(starts) >= policy.min_batches_for_graph and not network.run_eagerly:
        evaluate = _find_graph(network, pick, batch(0), first) or evaluate
    parts = [first, *(evaluate(batch(start)) for start in starts[1:])]
    return np.concatenate(parts)[: len(X)], first is not whole


def _as_they_are(y):
    """Return the outputs."""
    return y


def _prefer_logits(y):
    """Return the logits that Keras keeps with these outputs, or else the outputs."""
    return getattr(y, "_keras_logits", y)


def _find_graph(network, pick, x, y):
    """Return a fast function that evaluates batches like x, or None if it does not map x to y.

    A graph skips the Python code of all layers. Its operations are those that run without it, so
    the bits are the same, and a row among many is predicted like one among few. The comparison is
    for layers that compute something else in a graph, or that were changed since it was made.

    pick : callable
        What it takes of the outputs.
    x : tensor of shape (n_rows, ...)
    y : tensor of shape (n_rows, n_outputs)
    """
    # Kept with the network, like its predict_function: TensorFlow never frees such a graph.
    graphs = vars(network).setdefault("_skhmat_graphs", {})
    key = pick, x.shape, x.dtype
    if key not in graphs:
        graphs[key] = _make_graph(network, pick, tf.TensorSpec(x.shape, x.dtype))
    found = graphs[key](x)
    return graphs[key] if found.numpy().tobytes() == y.numpy().tobytes() else None


def _make_graph(network, pick, spec):
    """Return a function that evaluates a batch of this shape and type by a graph."""
    function = tf.function(lambda x: pick(network(x, training=False)), autograph=False)
    concrete = function.get_concrete_function(spec)

    def evaluate(x):
        # Called as an operation, since only that takes a configuration of its own.
        (y,) = tf.raw_ops.StatefulPartitionedCall(
            args=[x, *concrete.captured_inputs],
            Tout=[concrete.output_dtypes],
            f=concrete,
            config_proto=_UNOPTIMIZED.SerializeToString(),
        )
        return y

    return evaluate


def _filled(rows, length):
    """Return rows, with the last one repeated up to a length: unlike zeros, it is valid input."""
    missing = length - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
