"""Nonsense for any parameter of anything public is refused by name, before work starts.

The table is made by inspection: every public class and function, every parameter that its docstring
describes, every value of `VALUES`. What a value may do follows from the type in the docstring: one
of another type is refused; one of that type may be accepted or out of range. An error names the
parameter. A new function joins by itself; `good` has the values of parameters without a default.
"""

import importlib
import inspect
import math
import pkgutil
import re
import time
import warnings
from dataclasses import is_dataclass
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import skhmat
from skhmat.linalg import CholeskyPreconditioner, HierarchicalMatrix, KernelMatrix, compress

# The first has networks to build before some parameters matter, and tests of its own; the checks of
# the second are those of `manifold`.
WITHOUT = {"neural_network", "datafold"}
# Products inside of iterations, whose arguments are not users'.
UNCHECKED = {"product_at_scale", "step"}
# So many samples that arithmetic with their number overflows int8 and uint8.
N, D = 260, 2
SECONDS = 1.0


def a_function(*arguments):
    """Return nothing: no kernel, no metric, no matrix."""


# Each value with the types, of those named in docstrings, for which it may be good.
VALUES = {
    "None": (None, {"None"}),
    "empty string": ("", {"path"}),
    "string": ("nonsense", {"path"}),
    "empty dict": ({}, {"dict"}),
    "empty list": ([], {"array", "tuple"}),
    "list of two": ([1, 2], {"array", "tuple"}),
    "list of strings": (["a", "b"], set()),
    "array of two": (np.array([1.0, 2.0]), {"array", "tuple"}),
    "ragged list": ([[1.0], [1.0, 2.0]], set()),
    "array of strings": (np.array(["auto", "auto"]), set()),
    "as many strings as rows": (np.full(N, "1.5"), set()),
    "as many rows of strings": (np.full((N, D), "1.5"), set()),
    "0-d array": (np.array(3), {"int", "float", "array"}),
    "0-d array of a string": (np.array("auto"), set()),
    "set": ({1, 2}, set()),
    "object": (object(), set()),
    "NaN": (math.nan, set()),
    "infinity": (math.inf, {"inf"}),
    "minus one": (-1, {"int", "float"}),
    "zero": (0, {"int", "float"}),
    "fraction": (1.5, {"float"}),
    "True": (True, {"bool"}),
    "False": (np.False_, {"bool"}),
    "complex": (1j, set()),
    "complex scalar": (np.complex64(1), set()),
    "huge integer": (10**400, {"int"}),
    "huge negative integer": (-(10**400), {"int"}),
    "int8": (np.int8(3), {"int", "float"}),
    "uint8": (np.uint8(255), {"int", "float"}),
    "float16": (np.float16(0.5), {"float"}),
    "callable": (a_function, set()),
    "class": (Ridge, set()),
}
# Types as docstrings name them.
WORDS = {
    "None": r"\bNone\b",
    "inf": r"\binf\b",
    "int": r"\bint\b",
    "float": r"\bfloat\b",
    "bool": r"\bbool\b",
    "dict": r"\bdict\b",
    "array": r"array|iterable",
    "tuple": r"\btuple\b",
    "path": r"\bpath\b",
}


@cache
def data():
    """Return samples and targets; drawn once, since no value is compared with another."""
    X = np.random.default_rng(0).standard_normal((N, D))
    return X, np.sin(X[:, 0])


@cache
def good(name):
    """Return a good value for a parameter that has no default."""
    X, y = data()
    return {
        "A": lambda: instance(HierarchicalMatrix),
        "B": lambda: y,
        "K": lambda: KernelMatrix(X),
        "W": lambda: y,
        "X": lambda: X,
        "X_new": lambda: X[:5],
        "Z": lambda: np.zeros((5, 3)),
        "b": lambda: y,
        "cols": lambda: [0, 1],
        "dtype": lambda: np.float64,
        "factor": lambda: X,
        "k": lambda: 3,
        "n": lambda: 64,
        "name": lambda: "K02",
        "path": lambda: "file",
        "perm": lambda: np.arange(N)[::-1],
        "rank": lambda: 3,
        "rows": lambda: [0, 1],
        "shift": lambda: 1.0,
        "values": lambda: [0.0, 1.0],
        "weights": lambda: y,
        "y": lambda: y,
    }[name]()


@cache
def instance(kind):
    """Return an object of a public class, fitted if it is an estimator."""
    X, _ = data()
    if hasattr(kind, "fit"):
        has_inverse = hasattr(kind, "inverse_transform")
        options = {"fit_inverse_transform": True} if has_inverse else {}
        options |= quick_options(kind)
        return kind(**options).fit(*samples_for(kind))
    H = compress(KernelMatrix(X, bandwidth=0.1), leaf_size=32, budget=0, random_state=0)
    makers = {
        "CholeskyPreconditioner": lambda: CholeskyPreconditioner(X, 1.0),
        "Factorization": lambda: H.factorize(1.0),
        "HierarchicalMatrix": lambda: H,
        "KernelMatrix": lambda: KernelMatrix(X),
        "SpectralDensity": lambda: skhmat.linalg.spectral_density(np.eye(3)),
    }
    return makers[kind.__name__]()


def quick_options(kind):
    """Return parameters with which an estimator fits samples without noise in no time."""
    return {"alpha": 0.1, "optimizer": None} if "optimizer" in kind().get_params() else {}


def described(function):
    """Return the type in the docstring of each parameter that it describes and does not ignore."""
    doc = inspect.getdoc(function) or ""
    if other := re.search(r"Parameters, .*? are those of `(\w+)`", doc):
        doc = inspect.getdoc(getattr(importlib.import_module(function.__module__), other[1]))
    section = re.search(r"Parameters\n-+\n(.*?)(\n\n\w[^\n]*\n-+\n|\Z)", doc, re.DOTALL)
    found = {}
    for entry in re.split(r"\n(?=\S)", section[1] if section else ""):
        head, _, text = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        if "Ignored." not in text:
            found |= dict.fromkeys(names.split(", "), kind)
    return {name: found[name] for name in inspect.signature(function).parameters if name in found}


def call_with(function, arguments):
    """Call a function, or make an estimator and fit it."""
    if inspect.isclass(function) and hasattr(function, "fit"):
        return function(**quick_options(function) | arguments).fit(*samples_for(function))
    return function(**arguments)


def samples_for(kind):
    """Return samples and targets of an estimator."""
    X, y = data()
    return X, (y > 0 if kind.__name__ == "KernelRidgeClassifier" else y)


def subjects():
    """Yield the name, the class or None, and the function or class of all that is public."""
    for module in pkgutil.iter_modules(skhmat.__path__):
        if module.name.startswith("_") or module.name in WITHOUT:
            continue
        namespace = importlib.import_module(f"skhmat.{module.name}")
        for name in namespace.__all__:
            public = getattr(namespace, name)
            if not is_dataclass(public):  # a result, which nobody makes
                yield f"{module.name}.{name}", None, public
            if inspect.isclass(public):
                for method, function in inspect.getmembers(public, inspect.isroutine):
                    is_public = method == "__call__" or not method.startswith("_")
                    is_public = is_public and method not in UNCHECKED
                    if is_public and function.__module__.startswith("skhmat"):
                        yield f"{module.name}.{name}.{method}", public, function


PARAMETERS = [
    pytest.param(owner, function, parameter, kind, id=f"{name}-{parameter}")
    for name, owner, function in subjects()
    for parameter, kind in described(function).items()
]


def is_allowed(value, types, kind, parameter):
    """Return whether the docstring lets a value be good."""
    if callable(value) and value is not a_function:
        return "dtype" in kind
    kind = kind.replace("int", "int or bool") if parameter == "verbose" else kind
    return any(re.search(WORDS[word], kind) for word in types)


@pytest.mark.parametrize(("owner", "function", "parameter", "kind"), PARAMETERS)
def test_nonsense(owner, function, parameter, kind, tmp_path, monkeypatch):
    if parameter == "ax":
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    failures = []
    for label, (value, types) in VALUES.items():
        if problem := problem_with(owner, function, parameter, kind, value, types):
            failures.append(f"{label}: {problem}")
    assert not failures, "\n".join(failures)


def problem_with(owner, function, parameter, kind, value, types):
    signature = inspect.signature(function)
    arguments = {
        name: good(name)
        for name, one in signature.parameters.items()
        if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD and name != "self"
    }
    bound = function
    if owner is not None and "self" in signature.parameters:
        bound = getattr(instance(owner), function.__name__)
    if "y" in arguments:
        arguments["y"] = samples_for(owner)[1]
    arguments[parameter] = value
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call_with(bound, arguments)
    except (ValueError, TypeError, IndexError) as error:
        names = re.search(rf"\b{parameter}\b", str(error))
        problem = None if names else f"not named: {error!r}"
    except FileNotFoundError as error:
        is_good = is_allowed(value, types, kind, parameter) or re.search(WORDS["path"], kind)
        problem = None if is_good else repr(error)
    except Exception as error:
        problem = f"raw: {error!r}"
    else:
        return None if is_allowed(value, types, kind, parameter) else "accepted"
    seconds = time.process_time() - start
    if problem is None and seconds > SECONDS:
        problem = f"refused after {seconds:.1f} s"
    return problem


NUMBERS = [
    one
    for one in PARAMETERS
    if hasattr(one.values[1], "fit") and re.search(r"\b(int|float)\b", one.values[3])
]


@pytest.mark.parametrize(("owner", "function", "parameter", "kind"), NUMBERS)
def test_narrow_numbers(owner, function, parameter, kind):
    """NumPy's narrow scalars, as they come out of arrays of parameters, mean their value."""
    for value in (np.int8(3), np.uint8(255), np.float16(0.5)):
        if isinstance(value, np.integer) or "float" in kind:
            narrow, plain = (fitted(function, parameter, one) for one in (value, value.item()))
            np.testing.assert_equal(narrow, plain, err_msg=repr(value))


def fitted(kind, parameter, value):
    """Return the numbers of a fitted estimator, or the kind of the error."""
    seed = {"random_state": 0} if "random_state" in kind().get_params() else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = seed | quick_options(kind) | {parameter: value}
            model = kind(**options).fit(*samples_for(kind))
    except ValueError as error:
        return type(error)
    numbers = (np.ndarray, float, int)
    return {
        name: one
        for name, one in vars(model).items()
        if name.endswith("_") and isinstance(one, numbers)
    }
