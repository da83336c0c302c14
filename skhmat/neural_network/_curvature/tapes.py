"""Losses, gradients and Hessian products of Keras models, by gradient tapes."""

import contextlib
import re

from .._keras import tf
from .moments import twice_differentiable_moments


class Hessian:
    """Products with the Hessian of the loss of a batch.

    A product is two backpropagations (B. A. Pearlmutter, Neural Computation 6, 1994).

    Parameters
    ----------
    model : keras.Model
    batch : tuple
        ``x, y, sample_weight``, nested tensors.
    training : bool
        Whether layers behave as in training.
    variables : list of tf.Variable
    parameters : ParameterVector
        Of these variables.

    Attributes
    ----------
    loss : tensor of shape ()
    outputs : nested tensors
    gradients : list of tensors
        One for each variable.
    """

    def __init__(self, model, batch, training, variables, parameters):
        self._variables, self._parameters = variables, parameters
        with tf.GradientTape(persistent=True) as self._outer:
            with tf.GradientTape() as inner, twice_differentiable_moments():
                self.loss, self.outputs = evaluate_model(model, batch, training)
            gradients = compute_gradients(inner, self.loss, variables)
            self.gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]

    def product(self, v):
        """Return the Hessian times a vector of shape (n,)."""
        return differentiate_gradients(
            self._outer, self.gradients, self._variables, self._parameters, v
        )


def call_model(model, x, training):
    """Return the outputs of a model, which may know no `training`."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model, batch, training, outputs):
    """Return the loss of a batch, penalties on the weights included: a tensor of shape ()."""
    x, y, sample_weight = batch
    return model._compute_loss(
        x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=training
    )


def evaluate_model(model, batch, training):
    """Return the loss and the outputs of a batch."""
    outputs = call_model(model, batch[0], training)
    return compute_loss(model, batch, training, outputs), outputs


def compute_gradients(tape, loss, variables):
    """Return the gradient of each variable, zeros where the loss does not depend on it."""
    gradients = tape.gradient(loss, variables, unconnected_gradients="none")
    if all(gradient is None for gradient in gradients):
        raise ValueError("The loss does not depend on any of the variables.")
    return [
        tf.zeros_like(variable) if gradient is None else gradient
        for variable, gradient in zip(variables, gradients, strict=True)
    ]


def differentiate_gradients(tape, gradients, variables, parameters, v):
    """Return the Hessian times v, shape (n,): the derivatives of the gradients along v."""
    parts = parameters.unpack(v)
    with missing_derivatives_named():
        if parameters.by_variable:
            products = [
                tape.gradient(g, x, output_gradients=part)
                for g, x, part in zip(gradients, variables, parts, strict=True)
            ]
        else:
            products = tape.gradient(gradients, variables, output_gradients=parts)
    if all(part is None for part in products):
        raise no_second_derivative()
    return parameters.pack(
        [
            tf.zeros_like(x) if part is None else part
            for x, part in zip(variables, products, strict=True)
        ]
    )


@contextlib.contextmanager
def missing_derivatives_named():
    """Raise ValueError where TensorFlow knows no derivative of an operation."""
    try:
        yield
    except LookupError as error:
        found = re.search(r"(?:no entry for: |op type: )(\w+)", str(error))
        if not found:
            raise
        raise ValueError(
            f"TensorFlow cannot differentiate the operation {found[1]}, so there are no products "
            "with curvature: replace the layer or the function that it comes from, or take a "
            "first-order optimizer."
        ) from error


def no_second_derivative(name="The loss"):
    """Return the exception for a loss without curvature."""
    return ValueError(
        f"{name} has no second derivative, so there is no curvature to use: take a "
        "smooth loss (mean_squared_error, huber, a cross-entropy) or a first-order optimizer."
    )
