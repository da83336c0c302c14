"""Losses and metrics, and what they say of the outputs of a network."""

import inspect
from dataclasses import dataclass

import numpy as np

from ..._utils.validation import parameter_error
from .._keras import check_known_to_keras, keras, tf, unwrap_loss
from .targets import are_probabilities


@dataclass(frozen=True)
class LossPolicy:
    """How much is looked at before a loss is chosen or refused.

    Attributes
    ----------
    n_inspected : int
        Samples whose outputs show what a model without a last activation returns.
    """

    n_inspected: int = 256


POLICY = LossPolicy()


def of_one_output(name, value):
    """Return what a list or dict holds for the one output that a network has; others as is."""
    if not isinstance(value, (list, tuple, dict)):
        return value
    found = list(value.values()) if isinstance(value, dict) else list(value)
    if len(found) != 1:
        raise parameter_error(name, "for one output; several are not supported", value)
    return found[0]


def find_loss(loss):
    """Return the loss of a class, its name or its configuration; others, and "auto", as they are.

    A list or dict of one loss is that loss. Raise ValueError for what Keras does not know.
    """
    is_config = isinstance(loss, dict) and "class_name" in loss
    loss = loss if is_config else of_one_output("loss", loss)
    if loss is None or (isinstance(loss, str) and loss == "auto"):
        return loss
    allowed = "'auto', a name that Keras knows ('mse', 'huber', ...) or a callable"
    found = check_known_to_keras("loss", keras.losses.get, loss, allowed)
    is_made = is_config or isinstance(found, keras.losses.Loss) or inspect.isclass(loss)
    return found if is_made else loss


def check_metrics(metrics):
    """Return metrics as a new list, or None; raise ValueError if Keras does not know a name.

    A dict, or a list in a list, is for one output. Keras ties metrics to a number of classes when
    it uses them, so its own ones are made anew.
    """
    if isinstance(metrics, dict) or (metrics and isinstance(metrics[0], (list, tuple, dict))):
        metrics = of_one_output("metrics", metrics)
        metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    if metrics is None:
        return None
    allowed = "names that Keras knows ('accuracy', 'mse', ...) or keras.metrics.Metric"
    for metric in metrics:
        if isinstance(metric, str) and metric not in ("accuracy", "acc", "crossentropy", "ce"):
            check_known_to_keras("metrics", keras.metrics.get, metric, allowed)
    return [_as_new(metric) for metric in metrics]


def _as_new(metric):
    """Return a metric of Keras without the state of a former use; others as they are."""
    kind = type(metric)
    is_keras = isinstance(metric, keras.metrics.Metric) and kind.__module__.startswith("keras.")
    if not is_keras or kind is keras.metrics.MeanMetricWrapper:  # around a function of the user
        return metric
    return kind.from_config(metric.get_config())


def output_width(network, X):
    """Return the number of outputs per sample; raise ValueError if X is no input of the network."""
    try:
        spec = network.compute_output_spec(keras.KerasTensor((None, *X.shape[1:])))
    except (ValueError, TypeError) as error:
        allowed = f"for one array of samples of shape {X.shape[1:]}"
        raise parameter_error("model", allowed, got=f"one that fails: {error}") from error
    shape = keras.tree.map_structure(lambda spec: spec.shape, spec)
    if not (isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int)):
        raise ValueError(
            f"model must have one output of shape (n_samples, n_outputs); its shape is {shape}."
        )
    return shape[1]


def target_dtype(network):
    """Return "float64" if the outputs have that type, else "float32"."""
    outputs = getattr(network, "outputs", None)
    dtype = outputs[0].dtype if outputs else network.variable_dtype
    return dtype if dtype == "float64" else "float32"


#: Losses that are chosen automatically, by the names that Keras knows them by.
_DEFAULT_LOSSES = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "mean_squared_error": keras.losses.MeanSquaredError,
}


def make_default_loss(name, network, X):
    """Return the loss of a name; a cross-entropy takes logits if the network gives them."""
    kind = _DEFAULT_LOSSES[name]
    dtype = "float64" if target_dtype(network) == "float64" else None
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
    name = _keras_name(loss)
    if not name.endswith("crossentropy") or getattr(loss, "from_logits", False):
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


#: Losses of Keras that are computed from the logits which a softmax or a sigmoid keeps with its
#: outputs, and the function that they take for the one that makes probabilities of logits,
#: whichever of the two the network ends in.
_LINKS = {
    "binary_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
}


def _keras_name(loss):
    """Return the name of the function behind a loss if it is one of Keras, else ""."""
    function = unwrap_loss(loss)
    name, module = (getattr(function, key, "") for key in ("__name__", "__module__"))
    return name if module.startswith("keras.") else ""


def find_link_of_kept_logits(loss):
    """Return the function that a loss assumes between outputs and the logits kept with them.

    None if it does not look for any.
    """
    return _LINKS.get(_keras_name(loss))


def find_link_of_logits(loss):
    """Return the function that a loss makes probabilities of logits with, None if of nothing.

    "any" if that is not known.
    """
    if not getattr(loss, "from_logits", False):
        return None
    name = _keras_name(loss)
    if not name:
        return "any"
    return "softmax" if "categorical" in name else "sigmoid"  # the focal losses as well
