"""A Keras model as a classifier."""

from typing import ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight

from ..._base.fit_context import fit_context
from .base import KerasEstimator, hide_routed, import_networks
from .targets import ClassTarget


@hide_routed
class KerasClassifier(ClassifierMixin, KerasEstimator):
    """A Keras model as a classifier, trained by Newton's method by default.

    Without a model it is a multilayer perceptron, as `sklearn.neural_network.MLPClassifier`.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        None builds a multilayer perceptron. A callable returns a new model; its signature says
        which of ``n_features_in``, ``n_outputs``, ``X`` and ``y`` it is passed, and the routed
        ``model__...`` take precedence over these. A model is a template: each `fit` starts from a
        copy of it, with the weights that it has. (Weights that `random_state` draws need a
        callable, or a model that is not built.) Either may be compiled or not; `optimizer`, `loss`
        and `metrics` take precedence, and whatever else it was compiled with is kept.
    hidden_layer_sizes : int or tuple of int, default=(100,)
        If `model` is None.
    activation : str or callable, default="relu"
        Of the hidden layers, if `model` is None.
    loss : str, callable, keras.losses.Loss, its class, list or dict, default="auto"
        "auto" is the loss that `model` was compiled with, else the cross-entropy for classes and
        the mean squared error for numbers. A list or dict of one loss is that of the one output.
    optimizer : str, keras.optimizers.Optimizer or its class, default="newton-cg"
        "newton-cg", "probabilistic-preconditioner", any name that Keras knows, an optimizer (its
        settings are copied), or None for the one that `model` was compiled with. Routed
        ``optimizer__...`` are its parameters.
    epochs : int, default=50
    batch_size : int or "auto", default="auto"
        "auto" is 200, or all samples if there are fewer.
    validation_split : float, default=None
        Fraction of the samples to set aside, drawn at random (for classes in proportion). None
        means 0.1 with `early_stopping`, and 0 without.
    early_stopping : bool or int, default=False
        Stop when the loss of the samples set aside has not fallen for that many epochs (True means
        10), and restore the best weights.
    callbacks : list of keras.callbacks.Callback or callable, default=None
        A callable makes a new list for each `fit`. Callbacks of a list are copied for each `fit`;
        pass them to `fit` to read from them later.
    metrics : list or dict, default=None
        For ``model.compile``; `history_` has them. None means those that `model` was compiled with.
    class_weight : dict, list of dict or "balanced", default=None
        Weights of the classes, as in scikit-learn; they multiply `sample_weight`.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the last one. A changed `loss` or `metrics` is
        followed, a changed optimizer begins without a state, and whatever the network is made of
        must not change. (`partial_fit` does the same.)
    random_state : int, RandomState, Generator or None, default=None
        Draws weights (but those that `model` has), dropout, the order and the split of the samples.
        The same number gives the same result, on a CPU.
    verbose : int or "auto", default=0
        For ``model.fit``.
    **routed : dict
        ``optimizer__...``, ``model__...`` and ``fit__...``: parameters of the optimizer, of a
        callable `model` and of ``model.fit``. They work in `set_params` and grid searches.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; with several labels per sample, the numbers of the columns.
    model_ : keras.Model
        The fitted model. With "newton-cg", ``model_.optimizer.history`` describes each step; with
        "probabilistic-preconditioner", ``model_.optimizer.get_log()`` says what it has learned.
    history_ : dict
        Losses and metrics by epochs, NaN if one was not evaluated. An epoch has a list where a
        metric has several numbers.
    loss_curve_ : list of float
        The training loss by epochs.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only if X has names for all features.

    See Also
    --------
    KerasRegressor : The same for numbers.
    NewtonCG, ProbabilisticPreconditioner : Optimizers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skhmat.neural_network import KerasClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = KerasClassifier(epochs=20, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    __module__ = "skhmat.neural_network"

    def __init__(
        self,
        model=None,
        *,
        hidden_layer_sizes=(100,),
        activation="relu",
        loss="auto",
        optimizer="newton-cg",
        epochs=50,
        batch_size="auto",
        validation_split=None,
        early_stopping=False,
        callbacks=None,
        metrics=None,
        class_weight=None,
        warm_start=False,
        random_state=None,
        verbose=0,
        **routed,
    ):
        super().__init__(
            model,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            early_stopping=early_stopping,
            callbacks=callbacks,
            metrics=metrics,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            **routed,
        )
        self.class_weight = class_weight

    _parameter_constraints: ClassVar = {
        **KerasEstimator._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    @fit_context
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More dimensions are allowed if `model` is given.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any type, or indicators of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Scaled to a mean of 1.
        **fit_params : dict
            For ``model.fit``, in this call only: ``epochs``, ``batch_size``, ``callbacks``, ...
            With ``validation_data=(X, y)`` or ``(X, y, sample_weight)`` none of the samples are
            set aside. As in Keras, `class_weight` does not count there.

        Returns
        -------
        self : KerasClassifier

        Warns
        -----
        UserWarning
            Ctrl-C ended the training; the model trained so far is kept.
        """
        return self._fit(X, y, sample_weight, fit_params)

    @fit_context
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        classes : array-like of shape (n_classes,), default=None
            All labels of all calls. None in the first call means those in `y`.
        sample_weight : array-like of shape (n_samples,), default=None
            Not scaled, so that some calls may count more than others.

        Returns
        -------
        self : KerasClassifier
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all samples at once, so partial_fit "
                "cannot have it. Pass the weights as a dict."
            )
        return self._partial_fit(X, y, sample_weight, classes)

    def _find_target(self, y, classes, fresh):
        target = ClassTarget(y, classes) if fresh else self._target
        target.check_classes(classes)
        return target

    def _start(self, X, y, target):
        super()._start(X, y, target)
        self.classes_ = target.classes

    def _class_factors(self, y):
        if self.class_weight is None:
            return None
        factors = compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(factors).all() and factors.min() >= 0 and factors.any()):
            raise ValueError(
                f"class_weight={self.class_weight!r} gives weights from {factors.min():.3g} to "
                f"{factors.max():.3g}; allowed are finite weights of at least 0, not all 0."
            )
        return factors

    def _scores(self, X):
        X = self._check_queries(X)
        outputs, link = import_networks().prediction.read_outputs(self.model_, X)
        return self._target.scores(outputs, link)

    def predict_proba(self, X):
        """Return probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; with several labels, the probability of each.
        """
        scores = self._scores(X)
        return self._target.probabilities(scores)

    def predict_log_proba(self, X):
        """Return logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
        """
        scores = self._scores(X)
        return self._target.log_probabilities(scores)

    def decision_function(self, X):
        """Return log-odds of the second class or of each label, else log-probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = self._scores(X)
        if self._target.kind == "binary" and scores.ndim == 2:
            return scores[:, 1] - scores[:, 0]
        return scores

    def predict(self, X):
        """Return the most probable labels.

        With several labels per sample, those of a probability above 0.5; the most probable one if
        the network ends in a softmax and each sample of `fit` had one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        probabilities = self.predict_proba(X)
        exclusive = import_networks().losses.outputs_exclude_each_other(self.model_)
        return self._target.decode(probabilities, exclusive)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
