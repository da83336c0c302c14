"""A fit that is stopped, wherever that is, leaves the estimator as it was."""

import importlib
import inspect
import pickle
import pkgutil
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import skhmat
from skhmat._base.fit_context import fit_context

# Interrupted there, a test would leave BLAS with one thread for those that follow.
UNTOUCHED = "skhmat._utils.parallel"


def estimators():
    """Return the public classes of estimators, less those of Keras: seconds for each fit."""
    found = []
    for package in pkgutil.iter_modules(skhmat.__path__):
        if package.name.startswith("_") or package.name == "neural_network":
            continue
        try:
            module = importlib.import_module(f"skhmat.{package.name}")
        except ImportError:  # datafold is not installed
            continue
        found += [
            thing
            for name, thing in vars(module).items()
            if inspect.isclass(thing)
            and issubclass(thing, BaseEstimator)
            and thing.__module__ == module.__name__
            and not name.startswith("_")
        ]
    return found


ESTIMATORS = estimators()


def is_fitted(model):
    """Return whether scikit-learn takes an estimator as fitted."""
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


class Stopped(BaseException):
    """Like KeyboardInterrupt, but no runner of tests has an interest in it."""


def run(function, *args, stop_at=None):
    """Call a function and raise at one of the calls in skhmat; return how many there were."""
    n_calls = 0

    def profile(frame, event, _):
        nonlocal n_calls
        if event not in ("call", "c_call"):
            return
        module = frame.f_globals.get("__name__", "")
        if not module.startswith("skhmat.") or module == UNTOUCHED:
            return
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # Python ignores what is raised while it closes a generator
        n_calls += 1
        if n_calls == stop_at:
            raise Stopped

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return n_calls


def samples(rng, cls, n_features, n_classes):
    X = rng.normal(size=(30, n_features))
    y = np.arange(30) % n_classes if is_classifier(cls()) else X[:, 0]
    return X, y


def make(cls):
    has_random_state = "random_state" in cls().get_params()
    return cls(n_jobs=1, **({"random_state": 0} if has_random_state else {}))


def stops(rng, n_calls, n=25):
    """Return calls to stop at: the last ones, where results are kept, and some of all others."""
    return {*range(max(1, n_calls - 10), n_calls + 1), *rng.integers(1, n_calls, n).tolist()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("cls", "method"),
    [(cls, name) for cls in ESTIMATORS for name in ("fit", "fit_transform") if hasattr(cls, name)],
)
def test_a_fit_that_is_stopped_leaves_the_estimator_as_it_was(cls, method, rng):
    old, new = samples(rng, cls, 2, 2), samples(rng, cls, 3, 3)
    fitted = make(cls).fit(*old)
    attributes, content = dict(vars(fitted)), pickle.dumps(fitted)
    n_calls = run(getattr(make(cls), method), *new)
    for stop_at in stops(rng, n_calls):
        with pytest.raises(Stopped):
            run(getattr(fitted, method), *new, stop_at=stop_at)
        assert vars(fitted).keys() == attributes.keys()
        assert all(value is attributes[name] for name, value in vars(fitted).items())
        assert pickle.dumps(fitted) == content


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_first_fit_that_is_stopped_leaves_the_estimator_not_fitted(cls, rng):
    X, y = samples(rng, cls, 2, 2)
    make(cls).fit(X, y)  # what is done only once must not count
    n_calls = run(make(cls).fit, X, y)
    for stop_at in stops(rng, n_calls):
        model = make(cls)
        with pytest.raises(Stopped):
            run(model.fit, X, y, stop_at=stop_at)
        assert is_fitted(model) == is_fitted(make(cls))  # some need no fit
        assert vars(model).keys() == vars(make(cls)).keys()


def test_every_estimator_is_tried():
    assert {"KernelDensity", "KernelDensityCV", "KernelRidgeClassifier"} <= {
        cls.__name__ for cls in ESTIMATORS
    }


class Counter(BaseEstimator):
    """Counts its fits, and fails where told to."""

    def __init__(self, limit=1):
        self.limit = limit

    _parameter_constraints = {"limit": [int]}  # noqa: RUF012

    @fit_context
    def fit(self, X, y=None):
        """Count."""
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        self.X_ = X
        if self.n_fits_ > self.limit:
            raise StopIteration("enough")
        return self


def test_what_is_raised_reaches_the_caller_as_it_is():
    model = Counter().fit("first")
    with pytest.raises(StopIteration, match="enough"):
        model.fit("second")
    assert (model.n_fits_, model.X_) == (1, "first")


def test_parameters_are_checked_first():
    with pytest.raises(ValueError, match="'limit' parameter"):
        Counter(limit="none").fit("first")


def test_a_decorated_method_keeps_its_name_and_signature():
    assert Counter.fit.__name__ == "fit"
    assert Counter.fit.__doc__ == "Count."
    assert list(inspect.signature(Counter.fit).parameters) == ["self", "X", "y"]
