"""Optimizers of Keras that the probabilistic preconditioner wraps, one for each group."""

from ..._utils.validation import check_real
from .._keras import keras, tf


def check_inner(inner, learning_rate, adapt_learning_rate):
    """Raise ValueError unless rescaled gradients, and learned rates, make sense for it."""
    if inner.gradient_accumulation_steps:
        raise ValueError(
            "inner must not accumulate gradients (gradient_accumulation_steps): a product belongs "
            "to one batch. Take larger batches."
        )
    if inner.loss_scale_factor:
        raise ValueError(
            "inner must not have a loss_scale_factor: Keras scales the loss by that of the "
            "optimizer of the model, and inner would divide by its own."
        )
    if getattr(inner, "momentum", 0) >= 1:
        raise ValueError("inner must have a momentum below 1: with 1, steps never end.")
    has_schedule = callable(inner._learning_rate)
    if learning_rate is not None and has_schedule:
        raise ValueError("inner has a schedule of learning rates, so learning_rate must be None.")
    if not (adapt_learning_rate and is_linear(inner)):
        return
    if has_schedule:
        raise ValueError(
            "inner has a schedule of learning rates, which cannot be adapted: give it a number, or "
            "set adapt_learning_rate=False."
        )
    check_real("learning_rate of inner", learning_rate_of(inner), 0, closed="neither")


def is_linear(optimizer):
    """Return whether steps are proportional to gradients, so that a rate is 1 / curvature."""
    keras_classes = {c for c in vars(keras.optimizers).values() if isinstance(c, type)}
    keras_classes -= {keras.optimizers.Optimizer}
    bases = [c for c in type(optimizer).__mro__ if c in keras_classes]
    return not bases or bases[0] is keras.optimizers.SGD


def learning_rate_of(optimizer):
    """Return the present learning rate as a number."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def remaining_part(optimizer):
    """Return the learning rate that has the effect of 1: momentum adds up many gradients.

    SGD adds each gradient up to 1 / (1 - momentum) times itself.
    """
    return 1 - optimizer.momentum if isinstance(optimizer, keras.optimizers.SGD) else 1.0


def apply_inner(optimizer, gradients, is_known, rate=None):
    """Take a step of an inner optimizer.

    gradients : list of tensors
        One for each variable of its group.
    is_known : list of bool
        Whether the loss depends on the variable; the gradient is ignored if not.
    rate : tensor of shape (), optional
        The learning rate to set before.
    """
    pieces = [part if known else None for part, known in zip(gradients, is_known, strict=True)]
    if all(gradient is None for gradient in pieces):
        return  # Keras would raise an error; if only some are None, it warns
    if rate is not None:
        optimizer.learning_rate.assign(tf.cast(rate, optimizer.learning_rate.dtype))
    optimizer.apply(pieces, optimizer._trainable_variables)


def transport_momentum(optimizers, undo, redo):
    """Transport momentum, a sum of rescaled gradients, from the last preconditioner to a new one.

    Otherwise what had built up against a large eigenvalue would go on where nothing holds it back.

    optimizers : list of keras.optimizers.Optimizer
        One for each group.
    undo, redo : callable
        Multiply lists of tensors for each group by the inverse of the last preconditioner, and by
        the new one.
    """
    first = optimizers[0]
    if not (isinstance(first, keras.optimizers.SGD) and first.momentum):
        return
    momentums = [[m.value for m in optimizer.momentums] for optimizer in optimizers]
    for optimizer, group in zip(optimizers, redo(undo(momentums)), strict=True):
        for momentum, new in zip(optimizer.momentums, group, strict=True):
            momentum.assign(new)
