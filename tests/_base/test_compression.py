"""Parameters of compression are the same in every estimator: constraints, defaults and text."""

import ast
import importlib
import inspect
import math
import pkgutil
import re
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils._param_validation import make_constraint

import skhmat
from skhmat._base.compression import (
    CONSTRAINTS,
    PARAMETERS,
    CompressionMixin,
    sklearn_constraints,
)
from skhmat._utils.validation import Constraint
from skhmat.linalg import compress
from skhmat.linalg._gofmm.distances import DISTANCES
from skhmat.neighbors import KernelDensity

FAMILIES = [
    importlib.import_module(f"skhmat.{package.name}")
    for package in pkgutil.iter_modules(skhmat.__path__)
    if package.ispkg and not package.name.startswith("_")
]


def shares_the_text(name, thing):
    # A density has other defaults, and says which of its algorithms a parameter is for.
    is_estimator = inspect.isclass(thing) and issubclass(thing, CompressionMixin)
    return is_estimator and name != "KernelDensity"


ESTIMATORS = [
    thing
    for family in FAMILIES
    for name, thing in vars(family).items()
    if name in family.__all__ and shares_the_text(name, thing)
]


def test_the_text_names_every_parameter_and_its_default():
    lines = [line for line in PARAMETERS.splitlines() if not line.startswith(" ")]
    assert [line.partition(" : ")[0] for line in lines] == list(CONSTRAINTS)
    signature = inspect.signature(compress)
    for line in lines:
        name, _, rest = line.partition(" : ")
        assert rest.partition("default=")[2] == str(signature.parameters[name].default) or (
            rest.endswith(('default="auto"', "default=1e-4"))
            and signature.parameters[name].default in ("auto", 1e-4)
        )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_shared_parameters_are_documented(estimator):
    """This test alone keeps the docstrings, written out in every class, equal."""
    text = inspect.getdoc(estimator)
    assert PARAMETERS in text + "\n"
    defaults, shared = inspect.signature(estimator).parameters, inspect.signature(compress)
    for name in CONSTRAINTS:
        assert defaults[name].default == shared.parameters[name].default
        assert estimator._parameter_constraints[name] == CONSTRAINTS[name]


def test_shared_parameters_are_documented_for_datafold():
    """The text of the source, since the module can be imported only beside datafold."""
    with open(find_spec("skhmat.datafold").origin, encoding="utf-8") as file:
        module = ast.parse(file.read())
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    documented = [node.name for node in classes if PARAMETERS in (ast.get_docstring(node) or "")]
    assert documented == ["DiffusionMaps", "GeometricHarmonicsInterpolator"]


def test_every_docstring_names_every_distance():
    names = ", ".join(f'"{name}"' for name in ("auto", *DISTANCES))
    line = f'distance : {{{names}}}, default="auto"'
    package = Path(skhmat.__file__).parent
    # Lines that a backslash joins are one line of the docstring.
    texts = {
        str(path.relative_to(package)): path.read_text(encoding="utf-8").replace("\\\n", "")
        for path in package.rglob("*.py")
    }
    found = {
        path: re.findall(r"^ *(distance : \{.*)", text, re.MULTILINE)
        for path, text in texts.items()
    }
    assert sum(map(len, found.values())) > len(ESTIMATORS)
    assert [path for path, lines in found.items() if set(lines) - {line}] == []


@pytest.mark.parametrize("estimator", [*ESTIMATORS, KernelDensity])
def test_a_generator_is_a_random_state(estimator, rng):
    X, seed = rng.random((1100, 2)), int(rng.integers(2**31))
    found = []
    for _ in range(2):
        generator = np.random.default_rng(seed)
        model = estimator(random_state=generator).fit(X, (X[:, 0] > 0.5).astype(int))
        names = ("predict", "transform", "score_samples")
        found += [getattr(model, name)(X) for name in names if hasattr(model, name)]
        is_drawn_from = generator.random() != np.random.default_rng(seed).random()
        assert is_drawn_from or estimator is KernelDensity
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("constraint", "inside", "outside"),
    [
        (Constraint(Real, 0, 1, "neither"), [0.5], [0, 1, "0", None]),
        (Constraint(Real, 0, 1), [0, 1], [-0.1, 1.1]),
        (Constraint(Real, 0, 1, "left"), [0], [1]),
        (Constraint(Real, 0, 1, "right"), [1], [0]),
        (Constraint(Real, 0, math.inf), [0, 1e300], [-1]),
        (Constraint(Real, high=1), [-5, 1], [2]),
        (Constraint(Integral, 2), [2, 10**9], [1, 2.5]),
        (Constraint(Integral, 1, none=True), [1, None], [0, "None"]),
        (Constraint(Real, 0, 1, options=("auto",)), [0.5, "auto"], ["all", None]),
        (Constraint(options=("a", "b")), ["a", "b"], ["c", 1]),
    ],
)
def test_scikit_learn_allows_the_same(constraint, inside, outside):
    found = [make_constraint(each) for each in sklearn_constraints(constraint)]
    for value in inside:
        assert any(each.is_satisfied_by(value) for each in found)
        constraint.check("p", value)
    for value in outside:
        assert not any(each.is_satisfied_by(value) for each in found)
        with pytest.raises(ValueError, match="p must be"):
            constraint.check("p", value)
