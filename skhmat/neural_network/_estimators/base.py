"""The base class of the estimators: parameters, training, pickling."""

import inspect
import pickle
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..._utils.plotting import pyplot
from ..._utils.read_only import ReadOnlyResults
from ..._utils.validation import (
    check_integer,
    check_random_state,
    check_sample_weight,
    errors_name,
    parameter_error,
    validate_data,
)
from ..._utils.warnings import warn

try:
    from cloudpickle import dumps
except ImportError:  # joblib before 1.6 has its own copy
    from joblib.externals.cloudpickle import dumps

#: Parameters of these are routed: ``optimizer__tau`` and the like.
_ROUTES = ("fit", "model", "optimizer")

#: Parameters of ``model.fit`` that the estimator passes itself, so that users cannot.
_FIT_OWNS = {"x", "y", "sample_weight", "class_weight", "validation_split"}


@dataclass(frozen=True)
class TrainingPolicy:
    """Numbers that decide the training unless a parameter does.

    Attributes
    ----------
    patience : int
        Epochs without a lower loss after which ``early_stopping=True`` stops.
    validation_part : float
        Fraction of the samples that early stopping sets aside.
    largest_batch : int
        Samples of a batch with ``batch_size="auto"``, if there are as many.
    """

    patience: int = 10
    validation_part: float = 0.1
    largest_batch: int = 200


POLICY = TrainingPolicy()


def import_networks():
    """Import the module that needs TensorFlow.

    This is the one place that does so, and it is called when a network is made, trained or read:
    importing or constructing an estimator must not take the seconds that TensorFlow takes to load.
    """
    from . import networks

    return networks


def _as_python(value):
    """Return numbers of NumPy, of which searches draw some, as those that Keras accepts."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {key: _as_python(item) for key, item in value.items()}
    return type(value)(map(_as_python, value)) if type(value) in (list, tuple) else value


def _has_keras_objects(value):
    """Return whether a value is a network, a loss, a callback or the like, or contains one."""
    if isinstance(value, dict):
        return any(map(_has_keras_objects, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_keras_objects, value))
    is_one = hasattr(value, "get_config") or hasattr(value, "on_epoch_end")
    return is_one and not inspect.isclass(value)


def _are_equal(a, b):
    """Return whether two values of a parameter are the same."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_are_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_are_equal, a, b))
    if hasattr(a, "shape"):  # arrays, tables
        return np.array_equal(a, b)
    return bool(a == b)


def _rows(samples, rows):
    """Return some of the samples, each array of which may be None."""
    return tuple(None if array is None else array[rows] for array in samples)


def hide_routed(cls):
    """Leave ``**routed`` out of the signature of a class: scikit-learn does not support it."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    shown = [p for p in parameters if p.name not in ("self", "routed")]
    cls.__signature__ = inspect.Signature(shown)
    return cls


class KerasEstimator(ReadOnlyResults, BaseEstimator):
    """A Keras model that is trained by `fit`.

    Subclasses have ``_find_target(y, classes, fresh)``, which returns the target of `targets`, and
    say in `_target_checks` what `validate_data` checks of y.
    """

    _policy = POLICY
    _target_checks: ClassVar = {}

    _parameter_constraints: ClassVar = {
        "model": [callable, None],
        "hidden_layer_sizes": ["array-like", Integral],
        "activation": [str, callable, None],
        "loss": [str, callable, dict, list, tuple, None],
        "optimizer": [str, type, HasMethods(["apply_gradients", "get_config"]), None],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "validation_split": [Interval(Real, 0, 1, closed="left"), None],
        "early_stopping": ["boolean", Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, callable, None],
        "metrics": [list, tuple, dict, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
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
            name.removeprefix(prefix): _as_python(value)
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
        prefixes = tuple(route + "__" for route in _ROUTES)
        return params | {
            name: value for name, value in vars(self).items() if name.startswith(prefixes)
        }

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

    def _fit(self, X, y, sample_weight, fit_params):
        """Fit as `fit` does, from the start or, with `warm_start`, from the last fit."""
        fresh = not (self.warm_start and hasattr(self, "model_"))
        options = self._fit_options(fit_params)
        return self._learn(X, y, sample_weight, options, fresh=fresh)

    def _partial_fit(self, X, y, sample_weight, classes=None):
        """Train for one more epoch, as `partial_fit` does."""
        if self.early_stopping:
            allowed = "False for partial_fit, which trains for one epoch"
            raise parameter_error("early_stopping", allowed, self.early_stopping)
        fresh = not hasattr(self, "model_")
        options = self._fit_options({}, epochs=1, initial_epoch=0)
        return self._learn(X, y, sample_weight, options, fresh=fresh, scale=False, classes=classes)

    def _learn(self, X, y, sample_weight, options, *, fresh, scale=True, classes=None):
        """Train the model.

        options : dict
            Of ``model.fit``.
        fresh : bool
            Whether with a new network.
        scale : bool
            Whether weights are scaled to a mean of 1.
        classes : array-like of shape (n_classes,) or None
            All labels, if it is known that `y` may lack some.
        """
        X, y = self._validated_pair(X, y, reset=fresh)
        target = self._find_target(y, classes, fresh)
        coded = target.code(y)
        weights = self._weights(X, y, sample_weight, scale)
        validation = self._check_validation_data(options.pop("validation_data", None), target)
        if fresh:
            self._start(X, y, target)
        else:
            self._follow_changes(X)
        samples = self._prepared(X, coded, weights)
        if validation is not None:
            with errors_name("validation_data"):
                validation = self._prepared(*validation)
        self._train(samples, validation, options, target.strata(coded))
        return self

    def _check_validation_data(self, given, target):
        """Return samples, coded targets and weights of what the user validates with, or None.

        given : None, or (X, y) or (X, y, sample_weight)
        """
        if given is None:
            return None
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            kind, allowed = type(given).__name__, "a tuple (X, y) or (X, y, sample_weight)"
            raise parameter_error("validation_data", allowed, got=f"a {kind}", kind=TypeError)
        with errors_name("validation_data"):
            X, y, sample_weight = (*given, None)[:3]
            X, y = self._validated_pair(X, y, reset=False)
            weights = None
            if sample_weight is not None:
                weights = check_sample_weight(sample_weight, X)
                weights = weights / weights.mean()
            return X, target.code(y), weights

    def _prepared(self, X, coded, weights):
        """Return samples, targets and weights as the network and its loss take them."""
        networks = import_networks()
        takes_indices = networks.losses.takes_indices(self.model_.loss)
        encoded = self._target.encode(coded, self._width, takes_indices)
        X = networks.cast_inputs(self.model_, X)
        return X, *networks.cast_targets(self.model_, encoded, weights)

    def _start(self, X, y, target):
        """Make the network, its loss and its optimizer, before any work."""
        networks = import_networks()
        rng = check_random_state(self.random_state)
        self._seed = int(rng.randint(2**31 - 1))
        loss = networks.losses.find_loss(self.loss)
        head = target.head(networks.losses.takes_classes(loss))
        with networks.seeded(self._seed):
            network = networks.build_network(
                self.model,
                self._routed("model"),
                tuple(np.atleast_1d(self.hidden_layer_sizes).tolist()),
                self.activation,
                head,
                {"X": X, "y": y, "n_features_in": X.shape[1], "n_outputs": head[0]},
            )
            if not network.built:
                network.build((None, *X.shape[1:]))
        self._target = target
        self._compiled_with = networks.compiled_with(network)
        network = networks.with_one_output(network)
        self._compile(network, X)
        self.model_ = network
        self._made_of = self._choices()
        self.history_ = {}
        self.n_iter_ = 0

    def _compile(self, network, X, optimizer=None):
        """Compile a network as the parameters say, with a new optimizer or with the given one."""
        networks = import_networks()
        losses = networks.losses
        of_model = dict(self._compiled_with)
        model_optimizer, model_loss, model_metrics = (
            of_model.pop(name, None) for name in ("optimizer", "loss", "metrics")
        )
        if optimizer is None:
            routed = self._routed("optimizer")
            optimizer = networks.make_optimizer(self.optimizer, routed, model_optimizer)
        X = networks.cast_inputs(network, X)
        self._width = losses.output_width(network, X)
        self._target.check_width(self._width)
        model_loss = losses.find_loss(model_loss)
        loss = self._find_loss(network, X, model_loss)
        if loss is not model_loss:
            of_model.pop("loss_weights", None)  # they belong to the loss of the model
        metrics = losses.check_metrics(model_metrics if self.metrics is None else self.metrics)
        networks.compile_network(network, optimizer, loss, metrics, of_model)

    def _find_loss(self, network, X, model_loss):
        """Return the loss: the parameter, or with "auto" that of the model or of the target.

        model_loss : str, callable or None
            As `find_loss` returns it.
        """
        losses = import_networks().losses
        loss = losses.find_loss(self.loss)
        if isinstance(loss, str) and loss == "auto":
            default = self._target.default_loss(self._width)
            loss = model_loss or losses.make_default_loss(default, network, X)
        losses.check_loss_fits(network, loss, X)
        return loss

    def _choices(self):
        """Return the parameters that decide what the network is and what it is compiled with."""
        names = ["model", "optimizer", "loss", "metrics"]
        names += ["hidden_layer_sizes", "activation"] if self.model is None else []
        chosen = {name: getattr(self, name) for name in names}
        for route in ("model", "optimizer"):
            chosen |= {f"{route}__{name}": value for name, value in self._routed(route).items()}
        return {name: import_networks().frozen(value) for name, value in chosen.items()}

    def _follow_changes(self, X):
        """Compile the network again if parameters that it was compiled with have changed.

        Raise ValueError if others have.
        """
        before, now = self._made_of, self._choices()
        changed = [
            name
            for name in {**before, **now}
            if not (name in before and name in now and _are_equal(before[name], now[name]))
        ]
        for name in changed:
            if name.partition("__")[0] not in ("optimizer", "loss", "metrics"):
                allowed = f"{before.get(name)!r} while training goes on (warm_start, partial_fit)"
                raise parameter_error(name, allowed, now.get(name))
        if changed:
            same = not any(name.partition("__")[0] == "optimizer" for name in changed)
            self._compile(self.model_, X, self.model_.optimizer if same else None)
            # In place: like the network, it stays changed if the training fails.
            before.clear()
            before.update(now)

    def _weights(self, X, y, sample_weight, scale):
        """Return weights of the samples, (n_samples,), or None if they all count the same."""
        factors = self._class_factors(y)
        if sample_weight is None and factors is None:
            return None
        weights = check_sample_weight(sample_weight, X)
        if factors is not None:
            weights = weights * factors
        return weights / weights.mean() if scale else weights

    def _class_factors(self, y):
        """Return the weights of the classes of the samples, (n_samples,), or None."""
        return None

    def _fit_options(self, given, **fixed):
        """Return the options of ``model.fit``: routed ones, those given to `fit`, and fixed ones.

        Anything that ``model.fit`` does not take is refused here.
        """
        training = import_networks().training
        options = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "verbose": self.verbose,
            "shuffle": True,
            **self._routed("fit"),
            **given,
            **fixed,
        }
        options = {name: _as_python(value) for name, value in options.items()}
        owned = sorted(_FIT_OWNS & set(options))
        if owned:
            own = sorted(_FIT_OWNS & set(self.get_params()))
            raise ValueError(
                f"{type(self).__name__} passes {owned} to model.fit itself; it takes "
                f"sample_weight in fit, and has the parameters {own}."
            )
        known = training.fit_parameters() - _FIT_OWNS
        unknown = sorted(set(options) - known)
        if unknown:
            raise TypeError(f"fit has no parameters {unknown}; model.fit takes {sorted(known)}.")
        first = check_integer("initial_epoch", options.get("initial_epoch", 0), 0)
        check_integer("epochs", options["epochs"], first + 1)
        if options["batch_size"] != "auto":
            options["batch_size"] = check_integer("batch_size", options["batch_size"], 1)
        if options["verbose"] != "auto":
            options["verbose"] = int(options["verbose"])
        called = options.get("callbacks") or []
        is_parameter = "callbacks" not in given  # but routed, and so copied like the others
        check = training.copy_callbacks if is_parameter else training.check_callbacks
        options["callbacks"] = [*self._callbacks(), *check(called)]
        return options

    def _train(self, samples, validation, options, strata):
        """Run `model.fit` on the samples, less those that are set aside.

        samples : tuple of X, targets and weights
            As `_prepared` returns them.
        validation : tuple of X, targets and weights, or None
            If it is given, no samples are set aside.
        strata : array of shape (n_samples,) or None
            Classes in whose proportion samples are set aside.
        """
        training = import_networks().training
        batch_size, shuffle = options.pop("batch_size"), options.pop("shuffle")
        if validation is None:
            train, held_out = self._split(len(samples[0]), strata)
            if held_out is not None:
                validation = _rows(samples, held_out)
            samples = _rows(samples, train)
        if batch_size == "auto":
            batch_size = min(self._policy.largest_batch, len(samples[0]))
        validation_size = options.pop("validation_batch_size", None) or batch_size
        if validation is not None:
            validation = training.batches(*validation, validation_size, seed=0, shuffle=False)
        seed = self._seed + self.n_iter_
        history, is_interrupted = training.train(
            self.model_,
            training.batches(*samples, batch_size, seed, shuffle),
            validation_data=validation,
            shuffle=False,  # the batches are
            **options,
        )
        self._extend_history(history, options.get("validation_freq", 1))
        if is_interrupted:
            warn(
                f"{type(self).__name__}: training was interrupted by the user after "
                f"{self.n_iter_} epochs; the model trained so far is kept.",
                UserWarning,
            )

    def _extend_history(self, history, frequency):
        """Add the epochs of a `model.fit`; NaN where something was not evaluated."""
        before, n = self.n_iter_, len(history.epoch)
        evaluated = [
            (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency
            for epoch in history.epoch
        ]
        extended = {}
        for name in {**self.history_, **history.history}:
            found, known = history.history.get(name, []), self.history_.get(name, [])
            shape = np.shape((found or known)[0])  # of metrics with a number for each class
            rows = np.full((n, *shape), np.nan)
            if found:
                rows[np.ones(n, bool) if len(found) == n else evaluated] = found
            known = known or np.full((before, *shape), np.nan).tolist()
            extended[name] = [*known, *rows.tolist()]
        self.history_ = extended
        self.loss_curve_ = self.history_.get("loss", [])
        self.n_iter_ = len(self.loss_curve_)

    def _callbacks(self):
        training = import_networks().training
        if callable(self.callbacks):
            callbacks = training.check_callbacks(self.callbacks())
        else:
            callbacks = training.copy_callbacks([] if self.callbacks is None else self.callbacks)
        if self.early_stopping:
            is_flag = isinstance(self.early_stopping, (bool, np.bool_))
            patience = self._policy.patience if is_flag else int(self.early_stopping)
            callbacks.append(training.make_early_stopping(patience))
        return callbacks

    def _split(self, n, strata):
        """Return the samples to train with, and those set aside for validation or None."""
        part = self.validation_split
        if part is None:
            part = self._policy.validation_part if self.early_stopping else 0.0
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
        if strata is not None:
            _, counts = np.unique(strata, return_counts=True)
            if counts.min() < 2 or held_out < len(counts) or n - held_out < len(counts):
                strata = None
        return train_test_split(
            np.arange(n), test_size=held_out, random_state=self._seed, stratify=strata
        )

    def _check_queries(self, X):
        """Return samples to predict, checked against those of `fit`."""
        check_is_fitted(self)
        return import_networks().cast_inputs(self.model_, self._validated(X, reset=False))

    def _validated_pair(self, X, y, reset):
        X, y = self._validated(X, y, reset=reset, multi_output=True, **self._target_checks)
        return X, y.toarray() if scipy.sparse.issparse(y) else y

    def _validated(self, X, *y, **options):
        allow_nd = self.model is not None
        return validate_data(self, X, *y, dtype="numeric", allow_nd=allow_nd, **options)

    def plot_loss_curve(self, ax=None):
        """Draw the loss by epochs, and that of the validation samples if there are any.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            None means a new figure.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        check_is_fitted(self)
        if ax is None:
            _, ax = pyplot().subplots()
        epochs = np.arange(1, len(self.loss_curve_) + 1)
        ax.plot(epochs, self.loss_curve_, label="training")
        if "val_loss" in self.history_:
            losses = np.array(self.history_["val_loss"])
            there = np.isfinite(losses)
            ax.plot(epochs[there], losses[there], label="validation")
            ax.legend()
        if min(self.loss_curve_, default=0) > 0:
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
        state = dict(super().__getstate__())
        network = state.pop("model_", None)
        has_objects = _has_keras_objects(state)
        if network is None and not has_objects:
            return state
        persistence = import_networks().persistence
        # By value, if they are in no module.
        objects = dumps(persistence.find_custom_objects(network, state))
        # All at once, so that what was one object remains one.
        packed = {"packed": dumps(state)} if has_objects else state
        if network is not None:
            packed["model_"] = persistence.pack_network(network)
        return {"custom_objects": objects, **packed}

    def __setstate__(self, state):
        state = dict(state)
        objects = state.pop("custom_objects", None)
        if objects is not None:
            persistence = import_networks().persistence
            with persistence.scope(pickle.loads(objects)):
                if "packed" in state:
                    state |= pickle.loads(state.pop("packed"))
                if "model_" in state:
                    state["model_"] = persistence.unpack_network(state["model_"])
        super().__setstate__(state)

    def __sklearn_clone__(self):
        # Objects of Keras are copied as they are pickled.
        parameters = self.get_params()
        if not _has_keras_objects(parameters):
            return super().__sklearn_clone__()
        persistence = import_networks().persistence
        with persistence.scope(persistence.find_custom_objects(parameters)):
            return super().__sklearn_clone__()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags
