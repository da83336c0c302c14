"""Products with Gauss-Newton matrices."""

from .._keras import keras, tf
from .tapes import (
    call_model,
    compute_gradients,
    compute_loss,
    missing_derivatives_named,
    no_second_derivative,
)


class GaussNewton:
    """Products with J' H J, J the Jacobian of the outputs, H the Hessian of the loss in them.

    If the loss is a cross-entropy of Keras, J and H are those of the logits, and H is the Fisher
    matrix; otherwise they are those of the outputs of the model. Penalties on the weights add
    their own Hessian. A product is one forward and one backward sweep: N. N. Schraudolph, Neural
    Computation 14 (2002). Parameters and attributes are those of `Hessian`.
    """

    def __init__(self, model, batch, training, variables, parameters):
        self._variables, self._parameters = variables, parameters
        with tf.GradientTape(persistent=True) as inner:
            self.outputs = call_model(model, batch[0], training)
            flat = keras.tree.flatten(self.outputs)
            logits = [find_logits(output) for output in flat]
            with tf.GradientTape(persistent=True) as self._outer:
                self._outer.watch([t for pair in zip(flat, logits, strict=True) for t in pair])
                self.loss = compute_loss(model, batch, training, self.outputs)
                with inner.stop_recording():
                    # A cross-entropy bypasses the outputs and reads the logits.
                    at_outputs = inner.gradient(self.loss, flat)
                    at_logits = inner.gradient(self.loss, logits)
                    used = [
                        (output, d) if d is not None else (logit, e)
                        for output, logit, d, e in zip(
                            flat, logits, at_outputs, at_logits, strict=True
                        )
                        if d is not None or e is not None
                    ]
        if not used:
            raise ValueError("The loss does not depend on the outputs of the model.")
        self._inner = inner
        self._outputs, self._slopes = map(list, zip(*used, strict=True))
        self.gradients = compute_gradients(inner, self.loss, variables)
        # J v is the derivative along v of the map u -> J'u, which is linear: u may be anything.
        with tf.GradientTape(persistent=True) as self._forward:
            self._u = [tf.zeros_like(output) for output in self._outputs]
            self._forward.watch(self._u)
            pulled = inner.gradient(self._outputs, variables, output_gradients=self._u)
            self._connected = [i for i, t in enumerate(pulled) if t is not None]
            self._pulled = [tf.convert_to_tensor(pulled[i]) for i in self._connected]
        self._penalty = PenaltyHessian(variables, model.trainable_variables)

    def product(self, v):
        """Return the Gauss-Newton matrix times a vector of shape (n,)."""
        parts = self._parameters.unpack(v)
        groups = [range(len(parts))]
        if self._parameters.by_variable:
            groups = [[i] for i in groups[0]]
        return self._parameters.pack(
            [product for group in groups for product in self._block(parts, group)]
        )

    def _block(self, parts, group):
        """Return the products with the diagonal block of the variables in a group, by variable."""
        wanted = [self._variables[i] for i in group]
        places = [k for k, i in enumerate(self._connected) if i in group]
        products = [tf.zeros_like(variable) for variable in wanted]
        if places:
            with missing_derivatives_named():
                pushed = self._forward.gradient(
                    [self._pulled[k] for k in places],
                    self._u,
                    output_gradients=[parts[self._connected[k]] for k in places],
                    unconnected_gradients="zero",
                )
            curved = self._outer.gradient(self._slopes, self._outputs, output_gradients=pushed)
            if all(part is None for part in curved):
                raise no_second_derivative()
            curved = [
                tf.zeros_like(output) if part is None else part
                for output, part in zip(self._outputs, curved, strict=True)
            ]
            back = self._inner.gradient(
                self._outputs, wanted, output_gradients=curved, unconnected_gradients="zero"
            )
            products = [tf.convert_to_tensor(part) for part in back]
        return self._penalty.add(products, parts, group)


class PenaltyHessian:
    """Products with the Hessian of the penalties on the weights."""

    def __init__(self, variables, keras_variables):
        self._places = [
            i for i, v in enumerate(keras_variables) if getattr(v, "regularizer", None) is not None
        ]
        self._variables = [variables[i] for i in self._places]
        self._slopes = []
        if self._places:
            with tf.GradientTape(persistent=True) as self._outer:
                with tf.GradientTape() as inner:
                    total = tf.add_n(
                        [keras_variables[i].regularizer(keras_variables[i]) for i in self._places]
                    )
                self._slopes = inner.gradient(total, self._variables)

    def add(self, products, parts, group):
        """Add these products to those of the variables in a group."""
        for place, variable, slope in zip(self._places, self._variables, self._slopes, strict=True):
            if place in group:
                products[group.index(place)] += self._outer.gradient(
                    slope, variable, output_gradients=parts[place], unconnected_gradients="zero"
                )
        return products


def find_logits(output):
    """Return the tensor that Keras' cross-entropies read in place of a softmax or a sigmoid."""
    logits = getattr(output, "_keras_logits", None)
    in_graph = not isinstance(output, tf.__internal__.EagerTensor)
    if logits is None and in_graph and output.op.type in ("Softmax", "Sigmoid"):
        logits = output.op.inputs[0]
    return output if logits is None else logits
