"""Nonuniform transforms against sums over all points and modes."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg._fourier.nonuniform import POLICY, NonuniformTransform, is_installed, require

needs_finufft = pytest.mark.skipif(not is_installed(), reason="FINUFFT is not installed")
SHAPES = [(11,), (7, 5), (5, 3, 7)]


def direct(phases, shape):
    """Return exp(i j.x) for all points, of shape (n, number of modes)."""
    axes = [np.arange(m) - m // 2 for m in shape]
    modes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape))
    return np.exp(1j * phases @ modes.T)


@needs_finufft
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_are_the_sums(shape, dtype, rng):
    phases = rng.uniform(-np.pi, np.pi, (300, len(shape)))
    E = direct(phases, shape)
    # Parts of 100 points each.
    policy = replace(POLICY, min_part=100, points_per_grid=0.0)
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    transform = NonuniformTransform(phases, shape, tolerance, dtype, policy=policy)
    values = rng.standard_normal((3, 300)) + 1j * rng.standard_normal((3, 300))
    modes = transform.to_modes(values, 2)
    error = modes.reshape(3, -1) - values @ E
    assert np.linalg.norm(error) <= 50 * tolerance * np.linalg.norm(values @ E)
    back = transform.to_points(modes, 2)
    expected = modes.reshape(3, -1).astype(complex) @ E.conj().T
    assert np.linalg.norm(back - expected) <= 50 * tolerance * np.linalg.norm(expected)
    # Plans are used again, and threads change nothing.
    assert_array_equal(transform.to_modes(values, 1), modes)
    assert_array_equal(transform.to_points(modes, 1), back)


@needs_finufft
def test_transforms_are_not_pickled(rng):
    transform = NonuniformTransform(rng.random((10, 2)), (3, 3), 1e-3, np.float64)
    with pytest.raises(TypeError, match="plans"):
        pickle.dumps(transform)


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(ImportError, match="skhmat\\[fourier\\]"):
        require()
