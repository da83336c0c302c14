"""Second-order training of Keras models, and Keras models as scikit-learn estimators.

From the bottom up: `_keras` imports TensorFlow; `_curvature` has products with Hessians and
Gauss-Newton matrices; `_newton` and `_preconditioner` are the two optimizers; `_estimators` wraps
models.
"""

import importlib

_HOMES = {
    "HessianOperator": "_curvature.hessian_operator",
    "KerasClassifier": "_estimators.classifier",
    "KerasRegressor": "_estimators.regressor",
    "NewtonCG": "_newton.newton_cg",
    "ProbabilisticPreconditioner": "_preconditioner.optimizer",
    "second_order": "_newton.train_step",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    """Import TensorFlow only when a name that needs it is used."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
