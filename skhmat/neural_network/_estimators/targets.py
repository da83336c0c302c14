"""Targets of classifiers and regressors, as networks take them and give them back."""

import numpy as np
from scipy.special import expit, log_expit, log_softmax
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from .._keras import keras

_INDEX_LOSSES = (keras.losses.SparseCategoricalCrossentropy,)


def are_probabilities(outputs):
    """Return whether all are from 0 to 1, but for rounding."""
    return bool(np.all((outputs >= -1e-3) & (outputs <= 1 + 1e-3)))


class ClassTarget:
    """Labels of two or more classes, or indicators of several labels.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel-indicator"}
    classes : ndarray
    """

    def __init__(self, y, classes=None):
        check_classification_targets(y)
        self.kind = type_of_target(y, input_name="y")
        if self.kind == "multilabel-indicator":
            y = np.asarray(y)
            self.classes = np.arange(y.shape[1])
            return
        if self.kind == "multiclass-multioutput":
            raise ValueError(
                "y has several columns of more than two classes each; allowed are one column, or "
                "columns of 0 and 1."
            )
        self.classes = np.unique(column_or_1d(y, warn=True) if classes is None else classes)
        if len(self.classes) < 2:
            raise ValueError(
                f"y has one class, {self.classes.tolist()[0]!r}; a classifier needs at least two."
            )
        self.kind = "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def n_outputs(self):
        """Number of outputs of the network that is made for it."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def activation(self):
        """Activation of its last layer."""
        return "softmax" if self.kind == "multiclass" else "sigmoid"

    def indices(self, y):
        """Return the place of each label among the classes, or the indicators."""
        if self.kind == "multilabel-indicator":
            y = np.asarray(y)
            if y.ndim != 2 or y.shape[1] != len(self.classes):
                raise ValueError(
                    f"y has shape {y.shape}; allowed is (n_samples, {len(self.classes)})."
                )
            return y.astype(np.float32)
        y = column_or_1d(y, warn=True)
        unseen = np.setdiff1d(y, self.classes)
        if len(unseen):
            raise ValueError(
                f"y has labels that were not there at first: {unseen[:10].tolist()}; the classes "
                f"are {self.classes.tolist()}. Name all of them in the first call of partial_fit, "
                "as classes=."
            )
        return np.searchsorted(self.classes, y).astype(np.int32)

    def check_width(self, width):
        """Raise ValueError unless a network with so many outputs can tell the classes apart."""
        allowed = {1, 2} if self.kind == "binary" else {len(self.classes)}
        if width not in allowed:
            raise ValueError(
                f"model has {width} outputs, and y has {len(self.classes)} "
                f"{'labels' if self.kind == 'multilabel-indicator' else 'classes'}; allowed are "
                f"{sorted(allowed)} outputs."
            )

    def default_loss(self, width, logits):
        """Return the cross-entropy for that many outputs."""
        if self.kind == "multilabel-indicator" or width == 1:
            return keras.losses.BinaryCrossentropy(from_logits=logits)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)

    def encode(self, indices, width, loss):
        """Return what the loss compares outputs with."""
        if self.kind == "multilabel-indicator":
            return indices
        if width == 1:
            return indices.astype(np.float32)[:, None]
        if isinstance(loss, _INDEX_LOSSES) or "sparse" in _name_of(loss):
            return indices
        return np.eye(width, dtype=np.float32)[indices]

    def scores(self, outputs, are_logits):
        """Return log-odds, shape (n_samples,) or (n_samples, n_labels), else log-probabilities.

        Log-probabilities, shape (n_samples, n_classes), are what several outputs for one column of
        labels stand for.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        one_by_one = outputs.shape[1] == 1 or self.kind == "multilabel-indicator"
        if not are_logits:
            if not are_probabilities(outputs):
                raise ValueError(
                    f"Outputs of model are no probabilities, but from {outputs.min():.3g} to "
                    f"{outputs.max():.3g}. End it with a softmax or a sigmoid, or pass a loss "
                    "that has an attribute from_logits=True."
                )
            outputs = np.clip(outputs, 0, 1)
            with np.errstate(divide="ignore"):
                logs = np.log(outputs)
                if one_by_one:
                    logs -= np.log1p(-outputs)
                else:
                    logs -= np.log(outputs.sum(axis=1, keepdims=True))
        elif one_by_one:
            logs = outputs
        else:
            logs = log_softmax(outputs, axis=1)
        return logs[:, 0] if outputs.shape[1] == 1 and self.kind == "binary" else logs

    def probabilities(self, scores):
        """Return probabilities, shape (n_samples, n_classes), of the classes or of each label."""
        if self.kind == "multilabel-indicator":
            return expit(scores)
        if scores.ndim == 1:
            return expit(np.column_stack([-scores, scores]))
        return np.exp(scores)

    def log_probabilities(self, scores):
        """Return the logarithms of `probabilities`."""
        if self.kind == "multilabel-indicator":
            return log_expit(scores)
        if scores.ndim == 1:
            return log_expit(np.column_stack([-scores, scores]))
        return scores

    def decode(self, probabilities):
        """Return labels, or indicators."""
        if self.kind == "multilabel-indicator":
            return (probabilities > 0.5).astype(np.int64)
        return self.classes[np.argmax(probabilities, axis=1)]


class ValueTarget:
    """Numbers, one or several per sample."""

    activation = "linear"

    def __init__(self, y):
        self.shape = y.shape[1:]

    @property
    def n_outputs(self):
        """Number of outputs."""
        return int(np.prod(self.shape, dtype=int))

    def check_width(self, width):
        """Raise ValueError unless a network has one output per target."""
        if width != self.n_outputs:
            raise ValueError(f"model has {width} outputs, and y has {self.n_outputs} targets.")

    def default_loss(self, width, logits):
        """Return the mean squared error."""
        return keras.losses.MeanSquaredError()

    def encode(self, y, width, loss):
        """Return what the loss compares outputs with."""
        if y.shape[1:] != self.shape:
            raise ValueError(
                f"y has shape {y.shape}; allowed is {('n_samples', *self.shape)}, as at first."
            )
        return y.reshape(len(y), -1).astype(np.float32)

    def decode(self, outputs):
        """Return predictions in the shape of the targets."""
        return np.asarray(outputs, dtype=np.float64).reshape(len(outputs), *self.shape)


def _name_of(loss):
    return loss if isinstance(loss, str) else getattr(loss, "__name__", "")
