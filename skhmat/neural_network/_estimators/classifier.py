"""A Keras model as a classifier."""

from typing import ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import StrOptions
from sklearn_compat.base import _fit_context

from .base import KerasEstimator, documented


@documented
class KerasClassifier(ClassifierMixin, KerasEstimator):
    """A Keras model as a classifier, trained by Newton's method if not told otherwise.

    Without a model it is a multilayer perceptron, as `sklearn.neural_network.MLPClassifier`.

    Parameters
    ----------
    {model}
    class_weight : dict, list of dict or "balanced", default=None
        Weights of the classes, as in scikit-learn; they multiply `sample_weight`.
    {training}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; with several of them per sample, the numbers of the columns.
    {attributes}

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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More dimensions are allowed where `model` is given.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any type, or indicators of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Scaled to a mean of 1.
        **fit_params : dict
            For ``model.fit``, this once: ``epochs``, ``batch_size``, ``callbacks``, ...

        Returns
        -------
        self : KerasClassifier
        """
        fresh = not (self.warm_start and hasattr(self, "model_"))
        with self._unchanged_if_it_fails():
            return self._learn(X, y, sample_weight, fresh, None, self._fit_options(fit_params))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        classes : array-like of shape (n_classes,), default=None
            All labels there will be. None in the first call means those in `y`.
        sample_weight : array-like of shape (n_samples,), default=None
            Taken as they are, so that calls may weigh differently.

        Returns
        -------
        self : KerasClassifier
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all samples at once, so partial_fit "
                "cannot have it. Pass the weights as a dict."
            )
        fresh = not hasattr(self, "model_")
        options = self._fit_options({}, epochs=1, initial_epoch=0)
        with self._unchanged_if_it_fails():
            return self._learn(X, y, sample_weight, fresh, classes, options, scale=False)

    def _learn(self, X, y, sample_weight, fresh, classes, options, scale=True):
        from .targets import ClassTarget

        X, y = self._validated(X, y, reset=fresh, multi_output=True)
        y = y.toarray() if scipy.sparse.issparse(y) else y
        target = ClassTarget(y, classes) if fresh else self._target
        if classes is not None and not np.array_equal(np.unique(classes), target.classes):
            raise ValueError(
                f"classes is {np.asarray(classes).tolist()}, and was {target.classes.tolist()} in "
                "the first call."
            )
        indices = target.indices(y)
        weights = self._weights(X, y, sample_weight, self.class_weight, scale)
        if fresh:
            self._start(X, y, target)
            self.classes_ = target.classes
        encoded = target.encode(indices, self._width, self.model_.loss)
        stratify = None if target.kind == "multilabel-indicator" else indices
        self._train(X, encoded, weights, options, stratify)
        return self

    def _scores(self, X):
        outputs, are_logits = self._outputs(X)
        return self._target.scores(outputs, are_logits)

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

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        probabilities = self.predict_proba(X)
        return self._target.decode(probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
