"""The loss of a Keras model on a batch, with its gradient and curvature products."""

from .._keras import keras, tf, unwrap_loss, unwrap_variables
from .gauss_newton import GaussNewton
from .parameter_vector import ParameterVector
from .tapes import Hessian, compute_gradients, evaluate_model, no_second_derivative

#: Losses of Keras that are piecewise linear in the outputs, and so have no curvature.
_PIECEWISE_LINEAR = {
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "hinge",
    "categorical_hinge",
}


def check_loss(model):
    """Raise ValueError if a loss of the model is one of Keras without a second derivative."""
    for loss in keras.tree.flatten(model.loss):
        function = unwrap_loss(loss)
        if getattr(function, "__name__", None) in _PIECEWISE_LINEAR:
            raise no_second_derivative(function.__name__)


class BatchObjective:
    """The loss of a Keras model on a batch.

    Parameters
    ----------
    model : keras.Model
        Compiled with a loss.
    x, y, sample_weight : nested tensors
        The batch.
    curvature : {"hessian", "gauss_newton"}
        A model without a loss of its outputs, only with those that layers add, has the Hessian.
    fraction : float
        Fraction of the batch that products are taken on: its first samples.
    by_variable : bool
        Whether products are with the diagonal blocks of the variables only.
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
        # Losses that layers add need not be functions of the outputs.
        use_hessian = curvature == "hessian" or model.loss is None
        self.indefinite = use_hessian
        self._model, self._training = model, training
        self._batch = x, y, sample_weight
        self._state = _find_state(model)
        self.keras_variables = model.trainable_variables
        self.variables = unwrap_variables(self.keras_variables)
        self.parameters = ParameterVector(self.variables, by_variable)
        self._before = [tf.identity(variable) for variable in self._state]
        linearize = Hessian if use_hessian else GaussNewton
        if fraction == 1.0:
            self._curvature = linearize(
                model, self._batch, training, self.variables, self.parameters
            )
            self.loss, self.outputs = self._curvature.loss, self._curvature.outputs
            gradients = self._curvature.gradients
        else:
            with tf.GradientTape() as tape:
                self.loss, self.outputs = evaluate_model(model, self._batch, training)
            gradients = compute_gradients(tape, self.loss, self.variables)
        self._after = [tf.identity(variable) for variable in self._state]
        if fraction < 1.0:
            part = _first_samples(self._batch, fraction)
            self._curvature = linearize(model, part, training, self.variables, self.parameters)
            self.restore_state()
        self.gradient = self.parameters.pack(gradients)

    def product(self, v):
        """Return the curvature matrix times a vector."""
        return self._curvature.product(v)

    def evaluate(self):
        """Return the loss at the present weights, with the dropout of the first evaluation."""
        _assign(self._state, self._before)
        return evaluate_model(self._model, self._batch, self._training)[0]

    def restore_state(self):
        """Set seeds, moving averages and counters to their values after one evaluation."""
        _assign(self._state, self._after)


def _find_state(model):
    """Return what an evaluation changes, tf.Variables: seeds, moving averages, loss counts."""
    found = {id(v): v for v in model.non_trainable_variables}
    found.update((id(v), v) for metric in model.metrics for v in metric.variables)
    return unwrap_variables(found.values())


def _assign(variables, tensors):
    for variable, tensor in zip(variables, tensors, strict=True):
        variable.assign(tensor)


def _first_samples(batch, fraction):
    def take(tensor):
        n = tf.cast(tf.shape(tensor)[0], tf.float32)
        return tensor[: tf.cast(tf.math.ceil(fraction * n), tf.int32)]

    return keras.tree.map_structure(lambda t: None if t is None else take(t), batch)
