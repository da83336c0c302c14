"""A Keras model as a regressor."""

from typing import ClassVar

from sklearn.base import MultiOutputMixin, RegressorMixin

from ..._base.fit_context import fit_context
from .base import KerasEstimator, hide_routed, import_networks
from .targets import ValueTarget


@hide_routed
class KerasRegressor(MultiOutputMixin, RegressorMixin, KerasEstimator):
    """A Keras model as a regressor, trained by Newton's method by default.

    Without a model it is a multilayer perceptron, as `sklearn.neural_network.MLPRegressor`.

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
    KerasClassifier : The same for classes.
    NewtonCG, ProbabilisticPreconditioner : Optimizers.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.neural_network import KerasRegressor
    >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> model = KerasRegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> model.score(X, X[:, 0] * X[:, 1]) > 0.9
    True
    """

    __module__ = "skhmat.neural_network"
    _target_checks: ClassVar = {"y_numeric": True}

    @fit_context
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More dimensions are allowed if `model` is given.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            Scaled to a mean of 1.
        **fit_params : dict
            For ``model.fit``, in this call only: ``epochs``, ``batch_size``, ``callbacks``, ...
            With ``validation_data=(X, y)`` or ``(X, y, sample_weight)`` none of the samples are
            set aside.

        Returns
        -------
        self : KerasRegressor

        Warns
        -----
        UserWarning
            Ctrl-C ended the training; the model trained so far is kept.
        """
        return self._fit(X, y, sample_weight, fit_params)

    @fit_context
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            Not scaled, so that some calls may count more than others.

        Returns
        -------
        self : KerasRegressor
        """
        return self._partial_fit(X, y, sample_weight)

    def _find_target(self, y, classes, fresh):
        return ValueTarget(y) if fresh else self._target

    def predict(self, X):
        """Predict.

        Returns the outputs of the network, or, where the loss reads logits
        (``keras.losses.BinaryCrossentropy(from_logits=True)``), the probabilities that it makes
        of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        X = self._check_queries(X)
        outputs, link = import_networks().prediction.read_outputs(self.model_, X)
        return self._target.decode(outputs, link)
