"""What the estimators share: parameters, training, the way in and out of files."""

import contextlib
import inspect
import pickle
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.utils.validation import validate_data

from ..._utils.validation import check_integer, check_sample_weight

try:
    from cloudpickle import dumps
except ImportError:  # joblib before 1.6 has its own copy
    from joblib.externals.cloudpickle import dumps

#: Parameters of these are routed: ``optimizer__tau`` and the like.
_ROUTES = ("fit", "model", "optimizer")

#: What `fit` decides itself, and nobody else.
_FIT_OWNS = {"x", "y", "sample_weight", "class_weight", "validation_split", "validation_data"}

_PATIENCE = 10


_DOCUMENTED = {
    "model": """
model : callable or keras.Model, default=None
    None builds a multilayer perceptron. A callable returns a new model; of ``n_features_in``,
    ``n_outputs``, ``X`` and ``y`` it is given what its signature names, and the routed
    ``model__...``, which go before those. A model is the template: its layers are copied and its
    weights drawn anew. Compiled or not; `optimizer` and `loss` say what counts.
hidden_layer_sizes : int or tuple of int, default=(100,)
    Where `model` is None.
activation : str or callable, default="relu"
    Of the hidden layers, where `model` is None.
loss : str, callable or keras.losses.Loss, default="auto"
    "auto" is the loss that `model` was compiled with, else cross-entropy for classes and the mean
    squared error for numbers.
optimizer : str, keras.optimizers.Optimizer or its class, default="newton-cg"
    "newton-cg", "probabilistic-preconditioner", any name that Keras knows, an optimizer (its
    settings are copied), or None for that which `model` was compiled with. Routed
    ``optimizer__...`` are its parameters.
epochs : int, default=50
batch_size : int or "auto", default="auto"
    "auto" is 200, or all samples if they are fewer.
validation_split : float, default=None
    Part of the samples that is set aside, drawn at random (for classes in proportion). None means
    0.1 where `early_stopping` is set, and else 0.
early_stopping : bool or int, default=False
    Stop where the loss of the samples set aside has not fallen for so many epochs (True means 10),
    and take back the best weights.
callbacks : list of keras.callbacks.Callback or callable, default=None
    A callable makes a new list for each `fit`.
metrics : list, default=None
    For ``model.compile``; `history_` has them.
""",
    "training": """
warm_start : bool, default=False
    Whether `fit` goes on with the model of the last one.
random_state : int, RandomState instance or None, default=None
    Draws weights, dropout, the order and the split of the samples. The same number gives the same
    result, on a CPU.
verbose : int or "auto", default=0
    For ``model.fit``.
**routed : dict
    ``optimizer__...``, ``model__...`` and ``fit__...``: parameters of the optimizer, of a callable
    `model` and of ``model.fit``. They work in `set_params` and grid searches.
""",
    "attributes": """
model_ : keras.Model
    The fitted model. With "newton-cg", ``model_.optimizer.history`` tells of each step; with
    "probabilistic-preconditioner", ``model_.optimizer.get_log()`` of what it has learned.
history_ : dict
    Losses and metrics by epochs, NaN where one was not evaluated.
loss_curve_ : list of float
    The training loss by epochs.
n_iter_ : int
    Epochs.
n_features_in_ : int
feature_names_in_ : ndarray of shape (``n_features_in_``,)
    Only where X has names for all features.
""",
}


def documented(cls):
    """Fill in the docstring, and leave ``**routed`` out of the signature of a class."""
    for name, text in _DOCUMENTED.items():
        lines = text.strip().splitlines()
        indented = "\n".join("    " + line if line else line for line in lines).strip()
        cls.__doc__ = cls.__doc__.replace("{" + name + "}", indented)
    parameters = inspect.signature(cls.__init__).parameters.values()
    kept = [p for p in parameters if p.name not in ("self", "routed")]
    cls.__signature__ = inspect.Signature(kept)
    return cls


class KerasEstimator(BaseEstimator):
    """A Keras model that is trained by `fit`."""

    _parameter_constraints: ClassVar = {
        "model": [callable, None],
        "hidden_layer_sizes": ["array-like", Integral],
        "activation": [str, callable, None],
        "loss": [str, callable, None],
        "optimizer": [str, type, HasMethods(["apply_gradients", "get_config"]), None],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "validation_split": [Interval(Real, 0, 1, closed="left"), None],
        "early_stopping": ["boolean", Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, callable, None],
        "metrics": [list, tuple, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose", StrOptions({"auto"})],
    }

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
        warm_start=False,
        random_state=None,
        verbose=0,
        **routed,
    ):
        self.model = model
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_split = validation_split
        self.early_stopping = early_stopping
        self.callbacks = callbacks
        self.metrics = metrics
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        for name, value in routed.items():
            self._check_routed(name)
            setattr(self, name, value)

    # ---- parameters

    def _check_routed(self, name):
        route, _, rest = name.partition("__")
        if route not in _ROUTES or not rest:
            raise TypeError(
                f"{type(self).__name__} has no parameter {name!r}; routed parameters begin with "
                "'optimizer__', 'model__' or 'fit__'."
            )

    def _routed(self, route):
        prefix = route + "__"
        return {
            name.removeprefix(prefix): value
            for name, value in vars(self).items()
            if name.startswith(prefix)
        }

    def get_params(self, deep=True):
        """Return the parameters, routed ones included.

        Parameters
        ----------
        deep : bool, default=True
            As in scikit-learn.

        Returns
        -------
        params : dict
        """
        params = super().get_params(deep=False)
        for route in _ROUTES:
            params |= {f"{route}__{name}": value for name, value in self._routed(route).items()}
        return params

    def set_params(self, **params):
        """Set parameters, routed ones included.

        Parameters
        ----------
        **params : dict
            ``optimizer__...``, ``model__...`` and ``fit__...`` go to the optimizer, to the callable
            that builds the model, and to ``model.fit``.

        Returns
        -------
        self : estimator
        """
        routed = {name: value for name, value in params.items() if "__" in name}
        for name in routed:
            self._check_routed(name)
        super().set_params(**{name: params[name] for name in params if name not in routed})
        for name, value in routed.items():
            setattr(self, name, value)
        return self

    # ---- training

    @contextlib.contextmanager
    def _unchanged_if_it_fails(self):
        """Leave a first fit, or one that starts anew, as if it had not been tried."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _start(self, X, y, target):
        """Make the network, its loss and its optimizer, before any work."""
        from . import networks

        rng = check_random_state(self.random_state)
        self._seed = int(rng.randint(2**31 - 1))
        with networks.seeded(self._seed):
            head = target.n_outputs, target.activation
            network = networks.build_network(
                self.model,
                self._routed("model"),
                tuple(np.atleast_1d(self.hidden_layer_sizes).tolist()),
                self.activation,
                head,
                {"X": X, "y": y, "n_features_in": X.shape[1], "n_outputs": target.n_outputs},
            )
            if not network.built:
                network.build((None, *X.shape[1:]))
        optimizer = networks.make_optimizer(self.optimizer, self._routed("optimizer"), network)
        width = networks.output_width(network, X)
        target.check_width(width)
        loss = self.loss
        if not (isinstance(loss, str) and loss == "auto"):
            networks.check_loss_name(loss)
        else:
            loss = network.loss if network.compiled else None
            if loss is None:
                loss = target.default_loss(width, networks.gives_logits(network, X))
        networks.check_loss_fits(network, loss, X)
        metrics = networks.checked_metrics(self.metrics)
        networks.compile_network(network, optimizer, loss, metrics)
        self.model_ = network
        self._target = target
        self._width = width
        self.history_ = {}
        self.n_iter_ = 0

    def _weights(self, X, y, sample_weight, class_weight=None, scale=True):
        """Return weights, of mean 1 if they are scaled, or None where there are none."""
        if sample_weight is None and class_weight is None:
            return None
        weights = check_sample_weight(sample_weight, X)
        if class_weight is not None:
            factors = compute_sample_weight(class_weight, y)
            if not (np.isfinite(factors).all() and factors.min() >= 0 and factors.any()):
                raise ValueError(
                    f"class_weight={class_weight!r} gives weights from {factors.min():.3g} to "
                    f"{factors.max():.3g}; allowed are finite weights of at least 0, not all 0."
                )
            weights = weights * factors
        return (weights / weights.mean() if scale else weights).astype(np.float32)

    def _fit_options(self, given, **fixed):
        """Return the options of ``model.fit``: those routed, those given to `fit`, those fixed.

        Anything that ``model.fit`` does not take, or not so, is refused here.
        """
        from .._keras import keras
        from . import networks

        options = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "verbose": self.verbose,
            "shuffle": True,
            **self._routed("fit"),
            **given,
            **fixed,
        }
        owned = sorted(_FIT_OWNS & set(options))
        if owned:
            raise ValueError(
                f"{type(self).__name__} passes {owned} to model.fit itself; use sample_weight, "
                "class_weight and validation_split of the estimator."
            )
        known = set(inspect.signature(keras.Model.fit).parameters) - _FIT_OWNS - {"self"}
        unknown = sorted(set(options) - known)
        if unknown:
            raise TypeError(f"fit has no parameters {unknown}; model.fit takes {sorted(known)}.")
        first = check_integer("initial_epoch", options.get("initial_epoch", 0), 0)
        check_integer("epochs", options["epochs"], first + 1)
        if options["batch_size"] != "auto":
            options["batch_size"] = check_integer("batch_size", options["batch_size"], 1)
        if options["verbose"] != "auto":
            options["verbose"] = int(options["verbose"])
        called = networks.checked_callbacks(options.get("callbacks") or [])
        options["callbacks"] = [*self._callbacks(), *called]
        return options

    def _train(self, X, encoded, sample_weight, options, stratify=None):
        """Run `model.fit` on the samples, less those that are set aside."""
        from . import networks

        batch_size, shuffle = options.pop("batch_size"), options.pop("shuffle")
        train, held_out = self._split(len(X), stratify)
        if batch_size == "auto":
            batch_size = min(200, len(train))

        def data(rows, **how):
            weights = None if sample_weight is None else sample_weight[rows]
            return networks.batches(X[rows], encoded[rows], weights, batch_size, **how)

        seed = self._seed + self.n_iter_
        validation = None if held_out is None else data(held_out, seed=0, shuffle=False)
        with networks.quiet_log():
            history = self.model_.fit(
                data(train, seed=seed, shuffle=shuffle),
                validation_data=validation,
                shuffle=False,  # the batches are
                **options,
            )
        self._extend_history(history, options.get("validation_freq", 1))

    def _extend_history(self, history, frequency):
        """Add the epochs of a `model.fit`; NaN where something was not evaluated."""
        before, n = self.n_iter_, len(history.epoch)
        evaluated = [
            (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency
            for epoch in history.epoch
        ]
        for name in {**self.history_, **history.history}:
            row = np.full(n, np.nan)
            found = history.history.get(name, [])
            row[np.ones(n, bool) if len(found) == n else evaluated] = found or np.nan
            self.history_[name] = [*self.history_.get(name, [np.nan] * before), *row.tolist()]
        self.loss_curve_ = self.history_["loss"]
        self.n_iter_ = len(self.loss_curve_)

    def _callbacks(self):
        from .._keras import keras
        from .networks import checked_callbacks

        given = self.callbacks() if callable(self.callbacks) else self.callbacks
        found = [] if self.callbacks is None else checked_callbacks(given)
        if self.early_stopping:
            switched_on = isinstance(self.early_stopping, (bool, np.bool_))
            patience = _PATIENCE if switched_on else int(self.early_stopping)
            found.append(
                keras.callbacks.EarlyStopping(
                    "val_loss", patience=patience, restore_best_weights=True
                )
            )
        return found

    def _split(self, n, stratify):
        """Return the samples to train with, and those set aside for validation or None."""
        part = self.validation_split
        if part is None:
            part = 0.1 if self.early_stopping else 0.0
        if part == 0:
            if self.early_stopping:
                raise ValueError(
                    "early_stopping needs samples set aside, and validation_split is 0; allowed "
                    "are None and numbers in (0, 1)."
                )
            return np.arange(n), None
        held_out = int(part * n)
        if held_out < 1:
            why = " (which early_stopping makes of None)" if self.validation_split is None else ""
            raise ValueError(
                f"validation_split={part}{why} of {n} samples sets aside none; allowed are numbers "
                f"of at least {1 / n:.3g}."
            )
        if stratify is not None:
            _, counts = np.unique(stratify, return_counts=True)
            if counts.min() < 2 or held_out < len(counts) or n - held_out < len(counts):
                stratify = None
        return train_test_split(
            np.arange(n), test_size=held_out, random_state=self._seed, stratify=stratify
        )

    def _outputs(self, X):
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        from .networks import outputs

        return outputs(self.model_, X)

    def _validated(self, X, y="no_validation", **options):
        # Networks compute in float32, so what does not fit there is refused with NaN.
        options["allow_nd"] = self.model is not None
        return validate_data(self, X, y, dtype=np.float32, **options)

    def plot_loss_curve(self, ax=None):
        """Draw the loss by epochs, and that of the validation samples where there are any.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            None means a new figure.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        check_is_fitted(self)
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        epochs = np.arange(1, len(self.loss_curve_) + 1)
        ax.plot(epochs, self.loss_curve_, label="training")
        if "val_loss" in self.history_:
            losses = np.array(self.history_["val_loss"])
            there = np.isfinite(losses)
            ax.plot(epochs[there], losses[there], label="validation")
            ax.legend()
        if min(self.loss_curve_) > 0:
            ax.set_yscale("log")
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
        return ax

    # ---- files and processes

    def __getstate__(self):
        if callable(self.model):
            try:
                dumps(self.model)
            except Exception as error:
                raise pickle.PicklingError(
                    f"model={self.model!r} cannot be pickled, so {type(self).__name__} can neither "
                    "be saved nor go to other processes (n_jobs). Pass a function that is defined "
                    f"in a module. The reason: {error}"
                ) from error
        state = super().__getstate__()
        if "model_" in state:
            from .persistence import packed

            own = [self.loss, self.activation, self.metrics, *self._routed("optimizer").values()]
            state = {**state, "model_": packed(self.model_, *own)}
        return state

    def __setstate__(self, state):
        if "model_" in state:
            from .persistence import unpacked

            state = {**state, "model_": unpacked(state["model_"])}
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags
