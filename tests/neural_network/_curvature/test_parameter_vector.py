"""Variables as one vector."""

import numpy as np
import pytest

from skhmat.neural_network._curvature.parameter_vector import ParameterVector

from ..networks import tf

SHAPES = [(2, 3), (), (4,)]


def variables(rng):
    return [tf.Variable(rng.standard_normal(shape)) for shape in SHAPES]


def test_pack_and_unpack(rng):
    values = variables(rng)
    parameters = ParameterVector(values)
    assert (parameters.size, parameters.sizes, parameters.n_blocks) == (11, [6, 1, 4], 1)
    vector = parameters.pack(values)
    np.testing.assert_array_equal(vector, np.concatenate([np.ravel(v) for v in values]))
    for part, value in zip(parameters.unpack(vector), values, strict=True):
        np.testing.assert_array_equal(part, value)


def test_slices_of_embeddings_are_packed():
    slices = tf.IndexedSlices(tf.ones((1, 3)), tf.constant([1]), tf.constant([2, 3]))
    parameters = ParameterVector([tf.Variable(tf.zeros((2, 3)))])
    np.testing.assert_array_equal(parameters.pack([slices]), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("by_variable", [False, True])
def test_inner_products(by_variable, rng):
    parameters = ParameterVector(variables(rng), by_variable)
    a, b = rng.standard_normal((2, 11))
    own = [slice(0, 6), slice(6, 7), slice(7, 11)] if by_variable else [slice(0, 11)]
    expected = [a[part] @ b[part] for part in own]
    np.testing.assert_allclose(parameters.dot(a, b), expected)
    factors = parameters.broadcast(tf.constant(expected)) * tf.ones(11, tf.float64)
    np.testing.assert_allclose(factors, np.repeat(expected, [p.stop - p.start for p in own]))
