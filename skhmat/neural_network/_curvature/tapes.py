"""Gradients and products with second derivatives, by tapes."""

from .._keras import tf


class _Hessian:
    """Products with the Hessian: two backpropagations (Pearlmutter, 1994)."""

    def __init__(self, model, batch, training, variables, layout):
        self._variables, self._layout = variables, layout
        with tf.GradientTape(persistent=True) as self._outer:
            with tf.GradientTape() as inner:
                self.loss, self.outputs = _forward(model, batch, training)
            gradients = _gradients(inner, self.loss, variables)
            self.gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]

    def product(self, v):
        return _products(self._outer, self.gradients, self._variables, self._layout, v)


def _call(model, x, training):
    return model(x, training=training) if model._call_has_training_arg else model(x)


def _loss(model, batch, training, outputs):
    x, y, sample_weight = batch
    return model._compute_loss(
        x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=training
    )


def _forward(model, batch, training):
    outputs = _call(model, batch[0], training)
    return _loss(model, batch, training, outputs), outputs


def _gradients(tape, loss, variables):
    gradients = tape.gradient(loss, variables, unconnected_gradients="none")
    if all(gradient is None for gradient in gradients):
        raise ValueError("The loss does not depend on any of the variables.")
    return [
        tf.zeros_like(variable) if gradient is None else gradient
        for variable, gradient in zip(variables, gradients, strict=True)
    ]


def _products(tape, gradients, variables, layout, v):
    parts = layout.unpack(v)
    if layout.by_variable:
        products = [
            tape.gradient(g, x, output_gradients=part)
            for g, x, part in zip(gradients, variables, parts, strict=True)
        ]
    else:
        products = tape.gradient(gradients, variables, output_gradients=parts)
    if all(part is None for part in products):
        raise no_second_derivative()
    return layout.pack(
        [
            tf.zeros_like(x) if part is None else part
            for x, part in zip(variables, products, strict=True)
        ]
    )


def no_second_derivative(name="The loss"):
    """Return the error that says so."""
    return ValueError(
        f"{name} has no second derivative, so there is no curvature to use: take a "
        "smooth loss (mean_squared_error, huber, a cross-entropy) or a first-order optimizer."
    )
