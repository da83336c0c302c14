"""Objectives of networks, and their matrices."""

import numpy as np

from skhmat.neural_network._curvature.batch_objective import BatchObjective

from ..networks import keras, tf


def make_objective(model, X, y, sample_weight=None, **options):
    tensors = keras.tree.map_structure(tf.constant, (X, y))
    options = {"curvature": "hessian", "training": False} | options
    return BatchObjective(model, *tensors, sample_weight, **options)


def to_dense(objective):
    """Return the matrix of an objective, from its products with the identity."""
    n = objective.parameters.size
    product = tf.function(objective.product)
    dtype = objective.gradient.dtype
    return np.stack([product(tf.one_hot(i, n, dtype=dtype)).numpy() for i in range(n)], axis=1)


def mean_loss(model, X, y):
    return lambda: model.compute_loss(X, y, model(X, training=False), training=False)
