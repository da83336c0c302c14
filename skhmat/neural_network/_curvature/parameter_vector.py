"""All trainable variables as one vector, with inner products over everything or by variable."""

import numpy as np

from .._keras import densify, tf


class ParameterVector:
    """Where each variable lies in the vector of all of them.

    Parameters
    ----------
    variables : list of tf.Variable or keras.Variable
        Of one floating-point type.
    by_variable : bool, default=False
        Whether inner products are taken variable by variable. Either way they are arrays with
        one number per block: there is one block, or one for each variable.

    Attributes
    ----------
    shapes : list of tuple of int
        Shape of each variable.
    sizes : list of int
        Number of entries of each variable.
    size : int
        Length of the vector.
    n_blocks : int
        Length of inner products.
    """

    def __init__(self, variables, by_variable=False):
        self.shapes = [tuple(variable.shape) for variable in variables]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.size = sum(self.sizes)
        self.by_variable = by_variable
        self.n_blocks = len(self.sizes) if by_variable else 1

    def pack(self, tensors):
        """Return one tensor per variable as a vector of shape (size,)."""
        return tf.concat([_flat(densify(tensor)) for tensor in tensors], axis=0)

    def unpack(self, vector):
        """Return the part of each variable, in the shape of the variable."""
        parts = tf.split(vector, self.sizes)
        return [
            part if len(shape) == 1 else tf.reshape(part, shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def dot(self, a, b):
        """Return the inner product of each block, an array of shape (n_blocks,)."""
        if not self.by_variable:
            return tf.reshape(tf.reshape(a, [1, -1]) @ tf.reshape(b, [-1, 1]), [1])
        return tf.stack([tf.reduce_sum(part) for part in tf.split(a * b, self.sizes)])

    def broadcast(self, values):
        """Return one number per block, shape (n_blocks,), as factors of a vector."""
        return tf.repeat(values, self.sizes) if self.by_variable else values


def _flat(tensor):
    """Return all entries as a vector; one that is a vector, such as a bias, as it is."""
    return tensor if tensor.shape.rank == 1 else tf.reshape(tensor, [-1])
