"""Means and variances whose second derivatives are right.

`tf.nn.moments`, by which layers of Keras normalize, stops the gradient of the mean where it enters
the variance. What is left out is zero in first derivatives, and not in second ones.
"""

import contextlib
import threading

from .._keras import tf

_lock = threading.Lock()
_originals = []


@contextlib.contextmanager
def twice_differentiable_moments():
    """Let moments that are computed inside, and recorded by tapes, be differentiated twice."""
    from tensorflow.python.ops import nn_impl  # where tf.nn.moments, and so Keras, finds its code

    with _lock:
        _originals.append(nn_impl.moments)
        nn_impl.moments = _moments
    try:
        yield
    finally:
        with _lock:
            # Other threads may be inside.
            nn_impl.moments = _originals.pop()
    if not tf.executing_eagerly():
        # Functions may have been traced before.
        restore_gradients_of_means(tf.compat.v1.get_default_graph())


def _moments(x, axes, shift=None, name=None, keep_dims=None, keepdims=None):
    """Return mean and variance; parameters are those of TensorFlow's function."""
    with tf.name_scope(name or "moments"):
        y = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
        mean = tf.reduce_mean(y, axes, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(y, mean), axes, keepdims=True)
        if not (keep_dims or keepdims):
            mean, variance = tf.squeeze(mean, axes), tf.squeeze(variance, axes)
        return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def restore_gradients_of_means(graph):
    """Let gradients of means pass that `tf.nn.moments` stops, in a graph and its functions.

    This is for `tf.gradients`, which functions and loops of a graph also use; tapes do not ask the
    graph.
    """
    for op in graph.get_operations():
        if op.type == "StopGradient" and _is_of_moments(op):
            # Operations may be differentiated as others: this one as if it were not there.
            op._set_attr("_gradient_op_type", tf.compat.v1.AttrValue(s=b"Identity"))
    for function in graph._functions.values():
        restore_gradients_of_means(function.graph)


def _is_of_moments(op):
    """Return whether an operation stops the gradient of a mean in a squared distance from it."""
    mean = op.inputs[0].op
    return mean.type == "Mean" and any(
        user.type == "SquaredDifference" and user.inputs[0] is mean.inputs[0]
        for user in op.outputs[0].consumers()
    )
