"""Optimizers of Keras that the probabilistic preconditioner wraps."""

from ..._utils.validation import check_real
from .._keras import keras


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
    check_real("learning_rate of inner", rate_of(inner), 0, closed="neither")


def is_linear(optimizer):
    """Return whether steps are proportional to gradients: a rate is one over a curvature then."""
    of_keras = {c for c in vars(keras.optimizers).values() if isinstance(c, type)}
    bases = [c for c in type(optimizer).__mro__ if c in of_keras - {keras.optimizers.Optimizer}]
    return not bases or bases[0] is keras.optimizers.SGD


def rate_of(optimizer):
    """Return the present learning rate as a number."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
