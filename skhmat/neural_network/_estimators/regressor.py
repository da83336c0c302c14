"""A Keras model as a regressor."""

from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn_compat.base import _fit_context

from .base import KerasEstimator, documented


@documented
class KerasRegressor(MultiOutputMixin, RegressorMixin, KerasEstimator):
    """A Keras model as a regressor, trained by Newton's method if not told otherwise.

    Without a model it is a multilayer perceptron, as `sklearn.neural_network.MLPRegressor`.

    Parameters
    ----------
    {model}
    {training}

    Attributes
    ----------
    {attributes}

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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More dimensions are allowed where `model` is given.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            Scaled to a mean of 1.
        **fit_params : dict
            For ``model.fit``, this once: ``epochs``, ``batch_size``, ``callbacks``, ...

        Returns
        -------
        self : KerasRegressor
        """
        fresh = not (self.warm_start and hasattr(self, "model_"))
        with self._unchanged_if_it_fails():
            return self._learn(X, y, sample_weight, fresh, self._fit_options(fit_params))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            Taken as they are, so that calls may weigh differently.

        Returns
        -------
        self : KerasRegressor
        """
        fresh = not hasattr(self, "model_")
        options = self._fit_options({}, epochs=1, initial_epoch=0)
        with self._unchanged_if_it_fails():
            return self._learn(X, y, sample_weight, fresh, options, scale=False)

    def _learn(self, X, y, sample_weight, fresh, options, scale=True):
        from .targets import ValueTarget

        X, y = self._validated(X, y, reset=fresh, multi_output=True, y_numeric=True)
        weights = self._weights(X, y, sample_weight, scale=scale)
        if fresh:
            self._start(X, y, ValueTarget(y))
        encoded = self._target.encode(y, self._width, self.model_.loss)
        self._train(X, encoded, weights, options)
        return self

    def predict(self, X):
        """Predict.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        outputs, _ = self._outputs(X)
        return self._target.decode(outputs)
