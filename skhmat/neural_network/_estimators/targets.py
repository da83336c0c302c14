"""Targets of classifiers and regressors: as users give them, and as networks are trained on them.

Nothing here needs TensorFlow: losses have the names that Keras knows them by.
"""

import numpy as np
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from ..._utils.validation import errors_name, parameter_error


def are_probabilities(outputs, slack=1e-3):
    """Return whether all are from 0 to 1, but for rounding, which is less than the slack."""
    return bool(np.all((outputs >= -slack) & (outputs <= 1 + slack)))


class ClassTarget:
    """Labels of two or more classes, or indicators of several labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
    classes : array-like of shape (n_classes,), default=None
        All labels; None means those in `y`.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel-indicator"}
    classes : ndarray
    one_hot : bool
        Whether `y` is indicators, one of them 1 in each row.
    """

    def __init__(self, y, classes=None):
        with errors_name("y"):  # among others, that labels have no order
            check_classification_targets(y)
            self.kind = type_of_target(y, input_name="y")
        self.one_hot = False
        if self.kind == "multilabel-indicator":
            y = np.asarray(y)
            self.classes = np.arange(y.shape[1])
            self.one_hot = bool((y.sum(axis=1) == 1).all())
            return
        if self.kind == "multiclass-multioutput":
            raise ValueError(
                "y has several columns of more than two classes each; allowed are one column, or "
                "columns of 0 and 1."
            )
        with errors_name("y" if classes is None else "classes"):
            self.classes = np.unique(column_or_1d(y, warn=True) if classes is None else classes)
        if len(self.classes) < 2:
            name, hint = "classes", ""
            if classes is None:
                name, hint = "y", " (in the first call of partial_fit, name all of them, classes=)"
            raise ValueError(
                f"{name} has one class, {self.classes.tolist()[0]!r}; a classifier needs at least "
                f"two{hint}."
            )
        self.kind = "binary" if len(self.classes) == 2 else "multiclass"

    def head(self, one_per_class):
        """Return the number of outputs of the network that is made, and the last activation.

        one_per_class : bool
            Whether the loss needs an output for each class.
        """
        if self.kind == "multilabel-indicator":
            return len(self.classes), "sigmoid"
        if self.kind == "binary" and not one_per_class:
            return 1, "sigmoid"
        return len(self.classes), "softmax"

    def check_classes(self, classes):
        """Raise ValueError unless these are the classes, or None."""
        if classes is not None and not np.array_equal(np.unique(classes), self.classes):
            raise ValueError(
                f"classes is {np.asarray(classes).tolist()}, and was {self.classes.tolist()} in "
                "the first call."
            )

    def code(self, y):
        """Return the index of each label among the classes, (n_samples,), or the indicators."""
        if self.kind == "multilabel-indicator":
            y = np.asarray(y)
            if y.ndim != 2 or y.shape[1] != len(self.classes):
                allowed = f"of shape (n_samples, {len(self.classes)})"
                raise parameter_error("y", allowed, got=f"shape {y.shape}")
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
        """Raise ValueError unless that many outputs can tell the classes apart."""
        allowed = {1, 2} if self.kind == "binary" else {len(self.classes)}
        if width not in allowed:
            raise ValueError(
                f"model has {width} outputs, and y has {len(self.classes)} "
                f"{'labels' if self.kind == 'multilabel-indicator' else 'classes'}; allowed are "
                f"{sorted(allowed)} outputs."
            )

    def default_loss(self, width):
        """Return the name of the cross-entropy for that many outputs."""
        if self.kind == "multilabel-indicator" or width == 1:
            return "binary_crossentropy"
        return "sparse_categorical_crossentropy"

    def encode(self, coded, width, takes_indices):
        """Return what the loss compares outputs with.

        coded : array of shape (n_samples,) or (n_samples, n_labels)
            As `code` returns it.
        width : int
            Outputs of the network.
        takes_indices : bool
            Whether the loss compares several outputs with the index of a class.
        """
        if self.kind == "multilabel-indicator":
            if takes_indices:
                raise ValueError(
                    "loss compares outputs with the index of one class, and y has indicators; pass "
                    "labels, or a loss that takes indicators, such as 'categorical_crossentropy'."
                )
            return coded
        if width == 1:
            return coded.astype(np.float32)[:, None]
        if takes_indices:
            return coded
        return np.eye(width, dtype=np.float32)[coded]

    def strata(self, coded):
        """Return the classes in whose proportion samples are set aside, or None."""
        return None if self.kind == "multilabel-indicator" else coded

    def scores(self, outputs, link):
        """Return log-odds, shape (n_samples,) or (n_samples, n_labels), or log-probabilities.

        Several outputs for one column of labels stand for log-probabilities, shape (n_samples,
        n_classes).

        outputs : array of shape (n_samples, width)
        link : {"sigmoid", "softmax", "any"} or None
            The function that makes probabilities of them; "any" is the one that suits the labels.
            None if they are probabilities.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        one_by_one = outputs.shape[1] == 1 or self.kind == "multilabel-indicator"
        is_softmax = outputs.shape[1] > 1 and link == "softmax"
        if link is None:
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
            logs = _softmax_log_odds(outputs) if is_softmax else outputs
        else:
            # Sigmoids are in proportion to the probabilities of classes that exclude each other.
            logs = log_softmax(log_expit(outputs) if link == "sigmoid" else outputs, axis=1)
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

    def decode(self, probabilities, exclusive):
        """Return labels, or indicators.

        probabilities : array of shape (n_samples, n_classes)
        exclusive : bool
            Whether they are those of classes that exclude each other.
        """
        best = np.argmax(probabilities, axis=1)
        if self.kind != "multilabel-indicator":
            return self.classes[best]
        if exclusive and self.one_hot:
            return np.eye(len(self.classes), dtype=np.int64)[best]
        return (probabilities > 0.5).astype(np.int64)


def _softmax_log_odds(logits):
    """Return log p - log(1 - p), (n_samples, n_labels), of the probabilities p of a softmax."""
    log_p = log_softmax(logits, axis=1)
    # 1 - p loses its digits where p is next to 1: there it is the sum of the others.
    rows, largest = np.arange(len(logits)), np.argmax(logits, axis=1)
    others = log_p.copy()
    others[rows, largest] = -np.inf
    rest = np.log1p(-np.exp(np.minimum(others, np.log(0.5))))
    rest[rows, largest] = logsumexp(others, axis=1)
    return log_p - rest


class ValueTarget:
    """Numbers, one or several per sample."""

    def __init__(self, y):
        self.shape = y.shape[1:]
        self.n_outputs = int(np.prod(self.shape, dtype=int))

    def head(self, one_per_class):
        """Return the number of outputs of the network that is made, and the last activation."""
        return self.n_outputs, "linear"

    def check_width(self, width):
        """Raise ValueError unless a network has one output per target."""
        if width != self.n_outputs:
            raise ValueError(f"model has {width} outputs, and y has {self.n_outputs} targets.")

    def default_loss(self, width):
        """Return the name of the mean squared error."""
        return "mean_squared_error"

    def code(self, y):
        """Return the numbers; raise ValueError unless they have the shape of the first ones."""
        if y.shape[1:] != self.shape:
            allowed = f"of shape {('n_samples', *self.shape)}, as in the first call"
            raise parameter_error("y", allowed, got=f"shape {y.shape}")
        return y

    def encode(self, coded, width, takes_indices):
        """Return what the loss compares outputs with, (n_samples, width)."""
        return coded.reshape(len(coded), -1).astype(np.float64)

    def strata(self, coded):
        """Return None: samples are set aside at random."""
        return None

    def decode(self, outputs, link):
        """Return predictions in the shape of the targets.

        outputs : array of shape (n_samples, width)
        link : {"sigmoid", "softmax", "any"} or None
            The function that makes targets of them where the loss reads logits.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        if link == "sigmoid":
            outputs = expit(outputs)
        elif link == "softmax":
            outputs = softmax(outputs, axis=1)
        return outputs.reshape(len(outputs), *self.shape)
