"""All trainable variables as one vector, and its inner products, over everything or by variable."""

import numpy as np

from .._keras import tf


class Layout:
    """Where each variable lies in the vector of all.

    Parameters
    ----------
    variables : list of tf.Variable or keras.Variable
        Of one floating-point type.
    by_variable : bool, default=False
        Whether inner products are taken variable by variable. They are arrays of one number
        per block in any case: one block, or as many as there are variables.
    """

    def __init__(self, variables, by_variable=False):
        self.shapes = [tuple(variable.shape) for variable in variables]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.size = sum(self.sizes)
        self.by_variable = by_variable
        self.n_blocks = len(self.sizes) if by_variable else 1

    def pack(self, tensors):
        """Return the tensors, one per variable, as a vector."""
        return tf.concat([tf.reshape(dense(tensor), [-1]) for tensor in tensors], axis=0)

    def unpack(self, vector):
        """Return the part of each variable, in the shape of the variable."""
        parts = tf.split(vector, self.sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def dot(self, a, b):
        """Return the inner product of each block, an array of shape (n_blocks,)."""
        if not self.by_variable:
            return tf.reshape(tf.tensordot(a, b, 1), [1])
        return tf.stack([tf.reduce_sum(part) for part in tf.split(a * b, self.sizes)])

    def spread(self, values):
        """Return one number per block as factors of a vector."""
        return tf.repeat(values, self.sizes) if self.by_variable else values


def dense(tensor):
    """Return a gradient as a tensor: those of embeddings arrive as slices."""
    return tf.convert_to_tensor(tensor)


def values(variables):
    """Return the tf.Variable behind each variable."""
    return [
        getattr(variable, "value", variable) if not isinstance(variable, tf.Variable) else variable
        for variable in variables
    ]


def epsilon(tensor):
    """Return the rounding of 1 in the type of a tensor."""
    return float(np.finfo(tf.as_dtype(tensor.dtype).as_numpy_dtype).eps)
