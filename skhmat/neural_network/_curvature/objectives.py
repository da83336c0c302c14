"""What a Newton step needs to know of a loss: its gradient, curvature products, values elsewhere.

Each class has `variables` (a list of tf.Variable), `layout`, `loss` (or None), `gradient` (a
vector), `product(v)` and `evaluate()`, the loss at the present values of the variables (or None
where only gradients are known). Everything is at the same batch, and at the same random numbers.
`indefinite` tells whether products may show negative curvature, and `first_error` what the error
of the quadratic model is taken for as long as no step has shown it, and `shrinks` whether the
variables are weights that may be drawn to zero.
"""

from .._keras import in_xla, keras, tf
from .layout import Layout, dense, values


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


class BatchObjective:
    """The loss of a Keras model on a batch.

    Parameters
    ----------
    model : keras.Model
        Compiled with a loss.
    x, y, sample_weight : nested tensors
        The batch.
    curvature : {"hessian", "gauss_newton"}
    fraction : float
        Part of the batch that products are taken on, its first samples.
    by_variable : bool
        Whether products are with the diagonal blocks alone.
    training : bool
        Whether layers behave as in training.
    """

    first_error = 1.0
    shrinks = True

    def __init__(
        self,
        model,
        x,
        y,
        sample_weight,
        *,
        curvature,
        fraction=1.0,
        by_variable=False,
        training=True,
    ):
        self.indefinite = curvature == "hessian"
        self._model, self._training = model, training
        self._batch = x, y, sample_weight
        self._state = _state_of(model)
        self.keras_variables = model.trainable_variables
        self.variables = values(self.keras_variables)
        self.layout = Layout(self.variables, by_variable)
        before = [tf.identity(variable) for variable in self._state]
        self._before = before
        linearise = _GaussNewton if curvature == "gauss_newton" else _Hessian
        if fraction == 1.0:
            self._curvature = linearise(model, self._batch, training, self.variables, self.layout)
            self.loss, self.outputs = self._curvature.loss, self._curvature.outputs
            gradients = self._curvature.gradients
        else:
            with tf.GradientTape() as tape:
                self.loss, self.outputs = _forward(model, self._batch, training)
            gradients = _gradients(tape, self.loss, self.variables)
        self._after = [tf.identity(variable) for variable in self._state]
        if fraction < 1.0:
            part = _first_samples(self._batch, fraction)
            self._curvature = linearise(model, part, training, self.variables, self.layout)
            self.restore_state()
        self.gradient = self.layout.pack(gradients)

    def product(self, v):
        """Return the curvature matrix times a vector."""
        return self._curvature.product(v)

    def evaluate(self):
        """Return the loss at the present weights, with the masks of the first evaluation."""
        _assign(self._state, self._before)
        return _forward(self._model, self._batch, self._training)[0]

    def restore_state(self):
        """Leave seeds, moving averages and counts as one evaluation leaves them."""
        _assign(self._state, self._after)


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


class _GaussNewton:
    """Products with J' H J, J the Jacobian of the outputs, H the Hessian of the loss in them.

    H is taken in the logits where the loss is a cross-entropy of Keras (it is the Fisher matrix
    then), else in the outputs of the model: N. N. Schraudolph, Neural Computation 14 (2002).
    Penalties on the weights add their own Hessian.
    """

    def __init__(self, model, batch, training, variables, layout):
        self._variables, self._layout = variables, layout
        with tf.GradientTape(persistent=True) as inner:
            self.outputs = _call(model, batch[0], training)
            flat = keras.tree.flatten(self.outputs)
            logits = [_logits(output) for output in flat]
            with tf.GradientTape(persistent=True) as self._outer:
                self._outer.watch([t for pair in zip(flat, logits, strict=True) for t in pair])
                self.loss = _loss(model, batch, training, self.outputs)
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
        self.gradients = _gradients(inner, self.loss, variables)
        # The Jacobian times v is the derivative of J'u in u, whatever u.
        with tf.GradientTape(persistent=True) as self._forward:
            self._u = [tf.zeros_like(output) for output in self._outputs]
            self._forward.watch(self._u)
            pulled = inner.gradient(self._outputs, variables, output_gradients=self._u)
            self._connected = [i for i, t in enumerate(pulled) if t is not None]
            self._pulled = [tf.convert_to_tensor(pulled[i]) for i in self._connected]
        self._penalty = _Penalty(variables, model.trainable_variables)

    def product(self, v):
        parts = self._layout.unpack(v)
        groups = [range(len(parts))]
        if self._layout.by_variable:
            groups = [[i] for i in groups[0]]
        return self._layout.pack(
            [product for group in groups for product in self._block(parts, group)]
        )

    def _block(self, parts, group):
        """Return the products of the diagonal block of these variables, by variable."""
        wanted = [self._variables[i] for i in group]
        places = [k for k, i in enumerate(self._connected) if i in group]
        products = [tf.zeros_like(variable) for variable in wanted]
        if places:
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


class _Penalty:
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
        """Add to the products of the variables in a group."""
        for place, variable, slope in zip(self._places, self._variables, self._slopes, strict=True):
            if place in group:
                products[group.index(place)] += self._outer.gradient(
                    slope, variable, output_gradients=parts[place], unconnected_gradients="zero"
                )
        return products


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


def _state_of(model):
    """Return the tf.Variable of all that an evaluation changes: seeds, averages, loss counts."""
    found = {id(v): v for v in model.non_trainable_variables}
    found.update((id(v), v) for metric in model.metrics for v in metric.variables)
    return values(found.values())


def _assign(variables, tensors):
    for variable, tensor in zip(variables, tensors, strict=True):
        variable.assign(tensor)


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


def _logits(output):
    """Return what Keras' cross-entropies read in place of a softmax or a sigmoid."""
    logits = getattr(output, "_keras_logits", None)
    in_graph = not isinstance(output, tf.__internal__.EagerTensor)
    if logits is None and in_graph and output.op.type in ("Softmax", "Sigmoid"):
        logits = output.op.inputs[0]
    return output if logits is None else logits


def _first_samples(batch, fraction):
    def take(tensor):
        n = tf.cast(tf.shape(tensor)[0], tf.float32)
        return tensor[: tf.cast(tf.math.ceil(fraction * n), tf.int32)]

    return keras.tree.map_structure(lambda t: None if t is None else take(t), batch)


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
