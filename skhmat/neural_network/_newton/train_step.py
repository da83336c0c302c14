"""A train step for any Keras model that gives NewtonCG the loss, not only gradients."""

import types

from ..._utils.validation import parameter_error
from .._curvature.batch_objective import BatchObjective, check_loss
from .._keras import (
    build_optimizer,
    check_model,
    check_precision,
    check_replicas,
    check_variable_dtype,
    keras,
    tf,
)
from .newton_cg import NewtonCG


def second_order(model):
    """Give a model a train step that :class:`NewtonCG` can use in full.

    Parameters
    ----------
    model : keras.Model
        Sequential, functional or subclassed, compiled or not. Its class, layers and weights do
        not change; the method ``train_step`` of this instance is replaced, so its class must not
        have one of its own.

    Returns
    -------
    model : keras.Model
        The same object.
    """
    check_model(model)
    if getattr(model.train_step, "__func__", None) not in (keras.Model.train_step, _train_step):
        raise parameter_error(
            "model",
            "without a train_step of its own, which would be replaced (a plain compile keeps it)",
            got=f"a {type(model).__name__} with one",
        )
    model.train_step = types.MethodType(_train_step, model)
    model.make_train_function = types.MethodType(_make_train_function, model)
    model.train_function = None
    return model


second_order.__module__ = "skhmat.neural_network"


def _make_train_function(model, force=False):
    build_optimizer(model)
    return type(model).make_train_function(model, force)


def _train_step(model, data):
    optimizer = model.optimizer
    if isinstance(getattr(optimizer, "inner_optimizer", optimizer), NewtonCG):
        check_precision(model._flatten_layers())
    if not isinstance(optimizer, NewtonCG):
        return type(model).train_step(model, data)
    check_loss(model)
    check_replicas()
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if not model.built:
        model(x)
    if not optimizer.built:
        # Keras also calls build without any variables, which is then no error.
        check_variable_dtype("NewtonCG", model.trainable_variables)
        optimizer.build(model.trainable_variables)
    optimizer._check_variables_are_known(model.trainable_variables)
    objective = BatchObjective(
        model,
        x,
        y,
        sample_weight,
        curvature=optimizer.curvature,
        fraction=optimizer.curvature_fraction,
        by_variable=optimizer.blocks == "per_variable",
    )
    optimizer.take_step(objective)
    objective.restore_state()
    n_samples = tf.shape(next(t for t in keras.tree.flatten(x) if t is not None))[0]
    model._loss_tracker.update_state(objective.loss, sample_weight=n_samples)
    return model.compute_metrics(x, y, objective.outputs, sample_weight=sample_weight)
