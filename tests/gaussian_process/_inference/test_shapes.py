"""Functions of the distance against their formulas and differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skhmat.gaussian_process._inference.shapes import Shape, scale_sums, square_distances

SHAPES = [
    Shape("gaussian"),
    Shape("matern12"),
    Shape("matern32"),
    Shape("matern52"),
    Shape("rational_quadratic", alpha=0.7),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_scale_derivatives(shape, rng):
    """Of the points times a factor: r² h is the derivative by the logarithm of the scale."""
    A, B = rng.standard_normal((7, 3)), rng.standard_normal((9, 3))
    step = 1e-5
    shorter, longer = (shape.block(A / s, B / s) for s in (np.exp(-step), np.exp(step)))
    found = shape.scale_derivative_block(A, B) * square_distances(A, B)
    assert_allclose(found, (longer - shorter) / (2 * step), atol=1e-8)


def test_exponent_derivative(rng):
    A, step = rng.standard_normal((8, 2)), 1e-5
    lower, upper = (Shape("rational_quadratic", alpha=0.7 * np.exp(s)) for s in (-step, step))
    found = Shape("rational_quadratic", alpha=0.7).exponent_derivative_block(A, A)
    assert_allclose(found, (upper.block(A, A) - lower.block(A, A)) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_scale_sums(offset, rng):
    A, B = offset + rng.standard_normal((6, 3)), offset + rng.standard_normal((5, 3))
    W = rng.standard_normal((6, 5))
    expected = (W[..., np.newaxis] * (A[:, np.newaxis] - B) ** 2).sum(axis=(0, 1))
    assert_allclose(scale_sums(W, A, B), expected, atol=1e-7)
