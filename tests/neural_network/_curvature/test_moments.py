"""Products through layers of all kinds, those that normalize among them."""

import numpy as np
import pytest

from skhmat.neural_network._curvature.moments import twice_differentiable_moments
from skhmat.neural_network._curvature.objectives import FunctionObjective, GradientObjective

from ..networks import L, keras, tf
from .objective import make_objective


class NormalizedCell(L.Layer):
    """A cell whose state is normalized: moments in a loop."""

    state_size = 3

    def __init__(self):
        super().__init__()
        self.cell, self.norm = L.SimpleRNNCell(3), L.LayerNormalization()

    def build(self, shape):
        self.cell.build(shape)
        self.norm.build((None, 3))

    def call(self, x, states):
        """Return the output and the new state."""
        h = self.norm(self.cell(x, states)[0])
        return h, [h]


class NormalizedInFunction(L.Layer):
    """Moments in a function that TensorFlow traces by itself, and keeps."""

    def __init__(self):
        super().__init__()
        self.norm = L.LayerNormalization()

    @tf.function
    def call(self, x):
        """Return the outputs."""
        return self.norm(x)


def _to_itself(layer, shape, together):
    x = L.Input(shape)
    return keras.Model(x, layer([x, x]) if together else layer(x, x))


def _of_words(layer):
    return keras.Sequential([L.Lambda(lambda x: tf.cast(x > 0, tf.int32)), layer])


_SERIES, _IMAGE, _VOLUME = (2, 3), (4, 4, 2), (3, 3, 3, 1)

#: What is tested: the shape of a sample, and how to make the layer.
LAYERS = {
    "Dense": ((3,), lambda: L.Dense(2)),
    "EinsumDense": (_SERIES, lambda: L.EinsumDense("btc,cd->btd", (2, 2), bias_axes="d")),
    "Embedding": ((3,), lambda: _of_words(L.Embedding(2, 3))),
    "PReLU": ((3,), lambda: L.PReLU("random_normal")),
    "Conv1D": (_SERIES, lambda: L.Conv1D(2, 2)),
    "Conv2D": (_IMAGE, lambda: L.Conv2D(2, 2, dilation_rate=2)),
    "Conv3D": (_VOLUME, lambda: L.Conv3D(1, 2)),
    "Conv1DTranspose": (_SERIES, lambda: L.Conv1DTranspose(2, 2)),
    "Conv2DTranspose": (_IMAGE, lambda: L.Conv2DTranspose(2, 2)),
    "Conv3DTranspose": (_VOLUME, lambda: L.Conv3DTranspose(1, 2)),
    "DepthwiseConv1D": (_SERIES, lambda: L.DepthwiseConv1D(2)),
    "DepthwiseConv2D": (_IMAGE, lambda: L.DepthwiseConv2D(2)),
    "SeparableConv1D": (_SERIES, lambda: L.SeparableConv1D(2, 2)),
    "SeparableConv2D": (_IMAGE, lambda: L.SeparableConv2D(2, 2)),
    "MaxPooling2D": (_IMAGE, lambda: L.MaxPooling2D()),
    "AveragePooling2D": (_IMAGE, lambda: L.AveragePooling2D(2)),
    "UpSampling2D": (_IMAGE, lambda: L.UpSampling2D()),
    "SimpleRNN": (_SERIES, lambda: L.SimpleRNN(2)),
    "GRU": (_SERIES, lambda: L.GRU(2, unroll=True)),
    "LSTM": (_SERIES, lambda: L.LSTM(2, unroll=True)),
    "Bidirectional": (_SERIES, lambda: L.Bidirectional(L.SimpleRNN(2, unroll=True))),
    "TimeDistributed": (_SERIES, lambda: L.TimeDistributed(L.Dense(2))),
    "ConvLSTM1D": ((2, 4, 2), lambda: L.ConvLSTM1D(1, 2, unroll=True)),
    "ConvLSTM2D": ((2, 3, 3, 1), lambda: L.ConvLSTM2D(1, 2, unroll=True)),
    "ConvLSTM3D": ((2, 2, 2, 2, 1), lambda: L.ConvLSTM3D(1, 2, unroll=True)),
    "Attention": (_SERIES, lambda: _to_itself(L.Attention(use_scale=True), _SERIES, True)),
    "AdditiveAttention": (_SERIES, lambda: _to_itself(L.AdditiveAttention(), _SERIES, True)),
    "MultiHeadAttention": (
        _SERIES,
        lambda: _to_itself(L.MultiHeadAttention(2, 2), _SERIES, False),
    ),
    "GroupQueryAttention": (
        _SERIES,
        lambda: _to_itself(L.GroupQueryAttention(2, 2, 1), _SERIES, False),
    ),
    "LayerNormalization": ((3,), lambda: L.LayerNormalization()),
    "LayerNormalization of two axes": (_SERIES, lambda: L.LayerNormalization(axis=(1, 2))),
    "GroupNormalization": (_IMAGE, lambda: L.GroupNormalization(2)),
    "BatchNormalization": (_IMAGE, lambda: L.BatchNormalization()),
    "RMSNormalization": ((3,), lambda: L.RMSNormalization()),
    "UnitNormalization": ((3,), lambda: L.UnitNormalization()),
    "SpectralNormalization": ((3,), lambda: L.SpectralNormalization(L.Dense(2))),
    "normalization in a loop": (_SERIES, lambda: L.RNN(NormalizedCell())),
    "normalization in a function": ((3,), NormalizedInFunction),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer, rng):
    """Products from losses and from gradients alone, in training."""
    shape, make = LAYERS[layer]
    keras.utils.set_random_seed(int(rng.integers(2**31)))
    first = L.Dense(shape[-1], "tanh")
    rest = [L.Activation("tanh"), L.Flatten(), L.Dense(1)]
    model = keras.Sequential([L.Input(shape), first, make(), *rest])
    model.compile(loss="mse")
    X, y = tf.constant(rng.standard_normal((5, *shape))), tf.constant(rng.standard_normal((5, 1)))
    # In training this layer changes the weights themselves, with each evaluation.
    training = layer != "SpectralNormalization"
    variables = model.trainable_variables

    @tf.function
    def from_gradients(v):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(X, y, model(X, training=training), training=training)
        gradients = tape.gradient(loss, [w.value for w in variables])
        objective = GradientObjective(gradients, variables)
        return objective.gradient, objective.product(v)

    @tf.function
    def from_loss(v):
        return make_objective(model, X, y, training=training).product(v)

    start = np.concatenate([w.numpy().ravel() for w in variables])
    v = rng.standard_normal(len(start))
    sizes = np.cumsum([np.prod(w.shape, dtype=int) for w in variables])[:-1]

    def gradient(weights):
        for w, part in zip(variables, np.split(weights, sizes), strict=True):
            w.assign(part.reshape(w.shape))
        return from_gradients(v)[0].numpy()

    step = 1e-6
    expected = (gradient(start + step * v) - gradient(start - step * v)) / (2 * step)
    gradient(start)
    atol = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(from_loss(v), expected, atol=atol)
    np.testing.assert_allclose(from_gradients(v)[1], expected, atol=atol)


@pytest.mark.parametrize("in_graph", [False, True])
def test_functions_of_variables(in_graph, rng):
    """The variance as a function of its numbers has the matrix 2 (I / n - 1 1' / n^2)."""
    n = 4
    x = tf.Variable(rng.standard_normal(n))
    v = tf.constant(rng.standard_normal(n))
    before = tf.nn.moments(x, [0])

    def product():
        return FunctionObjective(lambda: tf.nn.moments(x, [0])[1], [x]).product(v)

    found = tf.function(product)() if in_graph else product()
    np.testing.assert_allclose(found, 2 * (v - tf.reduce_mean(v)) / n, atol=1e-12)
    for a, b in zip(before, tf.nn.moments(x, [0]), strict=True):
        assert float(a) == float(b)


def test_the_same_mean_and_variance_in_all_forms(rng):
    x = tf.constant(rng.standard_normal((3, 4, 2)))
    for dtype in ("float16", "float32", "float64"):
        for options in ({}, {"keepdims": True}):
            expected = tf.nn.moments(tf.cast(x, dtype), [0, 2], **options)
            with twice_differentiable_moments():
                found = tf.nn.moments(tf.cast(x, dtype), [0, 2], **options)
            for a, b in zip(found, expected, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
