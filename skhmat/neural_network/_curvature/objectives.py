"""What an optimizer knows about a loss: gradient, curvature products, values at other weights.

Each objective, `BatchObjective` included, belongs to one batch and one set of random numbers:

- `variables`, a list of tf.Variable, and `parameters`, their `ParameterVector`;
- `loss`, a tensor of shape (), or None if only gradients are known;
- `gradient`, a vector of shape (n,), and `product(v)`, the curvature matrix times a vector;
- `evaluate()`, the loss at the present values of the variables, or None as above;
- `indefinite`, whether products may show negative curvature;
- `first_error`, the relative error assumed of the quadratic model before the first step shows it;
- `shrinks`, whether the variables are weights that may be shrunk towards zero.
"""

from .._keras import converted_as_here, densify, is_in_xla, tf, unwrap_variables
from .moments import restore_gradients_of_means, twice_differentiable_moments
from .parameter_vector import ParameterVector
from .tapes import compute_gradients, differentiate_gradients, missing_derivatives_named


class FunctionObjective:
    """A differentiable function of variables.

    Parameters
    ----------
    loss : callable
        Without arguments; returns a scalar tensor.
    variables : list of tf.Variable or keras.Variable
    by_variable : bool
        Whether products are with the diagonal blocks of the Hessian only.
    """

    indefinite = True
    first_error = 0.0
    shrinks = False

    def __init__(self, loss, variables, by_variable=False):
        self.variables = unwrap_variables(variables)
        self.parameters = ParameterVector(self.variables, by_variable)
        # It may be called again in the step, which is not converted.
        self._loss = converted_as_here(loss)
        with tf.GradientTape(persistent=True) as self._outer:
            with tf.GradientTape() as inner, twice_differentiable_moments():
                self.loss = loss()
            if tuple(getattr(self.loss, "shape", (None,))) != ():
                raise ValueError(f"loss must return a scalar tensor; it returned {self.loss!r}.")
            gradients = compute_gradients(inner, self.loss, self.variables)
            self.gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.gradient = self.parameters.pack(self.gradients)

    def product(self, v):
        """Return the Hessian times a vector: two backpropagations (Pearlmutter, 1994)."""
        return differentiate_gradients(
            self._outer, self.gradients, self.variables, self.parameters, v
        )

    def product_where(self, needed, v):
        """Return the product with v if `needed`; otherwise v itself, at no cost."""
        return tf.cond(needed, lambda: self.product(v), lambda: tf.identity(v))

    def evaluate(self):
        """Return the loss at the present values of the variables."""
        return self._loss()


class GradientObjective:
    """Gradients in a graph, which is all that an optimizer of Keras is given.

    Products differentiate the gradients once more, which works only in the graph that they were
    made in, not in a loop or a branch of it. A variable whose gradient is None has zeros in all
    vectors.
    """

    loss = None
    evaluate = None
    indefinite = True
    first_error = 1.0
    shrinks = True

    def __init__(self, gradients, variables, by_variable=False):
        self.variables = unwrap_variables(variables)
        self.parameters = ParameterVector(self.variables, by_variable)
        self._known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        self._differentiated = [densify(gradients[i]) for i in self._known]
        self.gradients = self._filled(self._differentiated)
        self.gradient = self.parameters.pack(self.gradients)
        if not tf.executing_eagerly():
            restore_gradients_of_means(tf.compat.v1.get_default_graph())

    def product_where(self, needed, v):
        """Return the product with v if `needed`; otherwise v itself, at no cost.

        Gradients cannot be differentiated within a branch of tf.cond. But operations that depend
        on a dead output of Switch are skipped, wherever they are in the graph. XLA has no dead
        outputs: there, the product is always taken.
        """
        if is_in_xla():
            return self.product(v)
        switch = tf.raw_ops.Switch(data=v, pred=needed)
        switch.output_true.set_shape([self.parameters.size])
        product = self.product(switch.output_true)
        return tf.raw_ops.Merge(inputs=[switch.output_false, product]).output

    def product(self, v):
        """Return the Hessian times a vector."""
        parts = self.parameters.unpack(v)
        parts = [parts[i] for i in self._known]
        variables = [self.variables[i] for i in self._known]
        with missing_derivatives_named():
            if self.parameters.by_variable:
                products = [
                    tf.gradients(g, x, grad_ys=part)[0]
                    for g, x, part in zip(self._differentiated, variables, parts, strict=True)
                ]
            else:
                products = tf.gradients(self._differentiated, variables, grad_ys=parts)
        if all(part is None for part in products):
            raise ValueError(
                "The gradients cannot be differentiated again. Either the loss has no second "
                "derivative (hinge, absolute errors), or they were made in another graph (a "
                "branch, a loop, a LossScaleOptimizer); the latter does not matter to NewtonCG "
                "with skhmat.neural_network.second_order(model)."
            )
        products = [
            tf.zeros_like(x) if part is None else part
            for x, part in zip(variables, products, strict=True)
        ]
        return self.parameters.pack(self._filled(products))

    def _filled(self, tensors):
        filled = [tf.zeros_like(variable) for variable in self.variables]
        for i, tensor in zip(self._known, tensors, strict=True):
            filled[i] = tensor
        return filled
