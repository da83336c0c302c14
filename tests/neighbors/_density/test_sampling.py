"""Radii and directions of random steps."""

import numpy as np
import pytest
from scipy.stats import kstest

from skhmat.neighbors._density.sampling import draw_steps

from ..densities import VALUES


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("name", VALUES)
def test_steps_have_the_radii_of_the_kernel(name, d):
    """The seed is fixed, because a test of significance fails now and then."""
    steps = draw_steps(name, 4000, d, np.random.RandomState(0))
    radii = np.linalg.norm(steps, axis=1)
    r = np.linspace(0, 1 if VALUES[name](np.float64(1.01)) == 0 else 40, 200_001)
    mass = np.cumsum(VALUES[name](r) * r ** (d - 1))
    assert kstest(radii, lambda x: np.interp(x, r, mass / mass[-1])).pvalue > 1e-3
    # All directions are equally likely.
    assert np.abs((steps / radii[:, np.newaxis]).mean(axis=0)).max() < 0.1
