"""What a Newton step needs to know of a loss: its gradient, curvature products, values elsewhere.

Each class has `variables` (a list of tf.Variable), `layout`, `loss` (or None), `gradient` (a
vector), `product(v)` and `evaluate()`, the loss at the present values of the variables (or None
where only gradients are known). Everything is at the same batch, and at the same random numbers.
`indefinite` tells whether products may show negative curvature, and `first_error` what the error
of the quadratic model is taken for as long as no step has shown it, and `shrinks` whether the
variables are weights that may be drawn to zero.
"""

from .._keras import in_xla, tf
from .layout import Layout, dense, values
from .tapes import _gradients, _products


class FunctionObjective:
    """A differentiable function of variables.

    Parameters
    ----------
    loss : callable
        Without arguments; returns a scalar tensor.
    variables : list of tf.Variable or keras.Variable
    by_variable : bool
        Whether products are with the diagonal blocks of the Hessian alone.
    """

    indefinite = True
    first_error = 0.0
    shrinks = False

    def __init__(self, loss, variables, by_variable=False):
        self.variables = values(variables)
        self.layout = Layout(self.variables, by_variable)
        self._loss = loss
        with tf.GradientTape(persistent=True) as self._outer:
            with tf.GradientTape() as inner:
                self.loss = loss()
            if tuple(getattr(self.loss, "shape", (None,))) != ():
                raise ValueError(f"loss must return a scalar tensor; it returned {self.loss!r}.")
            gradients = _gradients(inner, self.loss, self.variables)
            self.gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.gradient = self.layout.pack(self.gradients)

    def product(self, v):
        """Return the Hessian times a vector: two backpropagations (Pearlmutter, 1994)."""
        return _products(self._outer, self.gradients, self.variables, self.layout, v)

    def product_where(self, needed, v):
        """Return the product with v where it is needed, else v, whatever that is, at no cost."""
        return tf.cond(needed, lambda: self.product(v), lambda: tf.identity(v))

    def evaluate(self):
        """Return the loss at the present values of the variables."""
        return self._loss()


class GradientObjective:
    """Gradients in a graph, all that an optimizer of Keras is given.

    Products are taken by differentiating them once more, which works in the graph that they
    were made in, and neither in a loop nor in a branch. None stands for no gradient: such a
    variable has zeros in all vectors.
    """

    loss = None
    evaluate = None
    indefinite = True
    first_error = 1.0
    shrinks = True

    def __init__(self, gradients, variables, by_variable=False):
        self.variables = values(variables)
        self.layout = Layout(self.variables, by_variable)
        self._known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        self._differentiated = [dense(gradients[i]) for i in self._known]
        self.gradients = self._filled(self._differentiated)
        self.gradient = self.layout.pack(self.gradients)

    def product_where(self, needed, v):
        """Return the product with v where it is needed, else v, whatever that is, at no cost.

        A branch of tf.cond cannot reach the gradients. But what follows from a dead output of
        Switch is not run, wherever in the graph it stands. (Not in XLA, which knows no such
        thing: there it is run.)
        """
        if in_xla():
            return self.product(v)
        switch = tf.raw_ops.Switch(data=v, pred=needed)
        switch.output_true.set_shape([self.layout.size])
        product = self.product(switch.output_true)
        return tf.raw_ops.Merge(inputs=[switch.output_false, product]).output

    def product(self, v):
        """Return the Hessian times a vector."""
        parts = self.layout.unpack(v)
        parts = [parts[i] for i in self._known]
        variables = [self.variables[i] for i in self._known]
        if self.layout.by_variable:
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
        return self.layout.pack(self._filled(products))

    def _filled(self, tensors):
        filled = [tf.zeros_like(variable) for variable in self.variables]
        for i, tensor in zip(self._known, tensors, strict=True):
            filled[i] = tensor
        return filled
