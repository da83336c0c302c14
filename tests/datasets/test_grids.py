import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skhmat.datasets._grids import (
    SmoothField,
    advection,
    diffusion,
    grid_points,
    grid_sides,
    nearest_sizes,
)


@given(st.integers(1, 40), st.integers(1, 4), st.data())
def test_sides_are_those_of_a_grid_of_n_points(s, dim, data):
    n_long = data.draw(st.integers(0, dim - 1))
    sides = grid_sides(s**dim * 2**n_long, dim)
    assert sides == (2 * s,) * n_long + (s,) * (dim - n_long)


@given(st.integers(2, 20_000), st.integers(1, 4))
def test_nearest_sizes_have_none_between(n, dim):
    below, above = nearest_sizes(n, dim)
    if below is not None:
        assert grid_sides(below, dim) is not None
    assert below is None or below < n < above
    assert grid_sides(above, dim) is not None
    between = range((below or 0) + 1, above)
    assert all(grid_sides(m, dim) is None for m in between if m != n)


def test_sizes_that_are_powers_of_two_have_a_grid():
    for dim in (1, 2, 3, 4):
        assert all(grid_sides(2**k, dim) for k in range(dim, 20))
    assert grid_sides(2048, 2) == (64, 32)
    assert grid_sides(2000, 2) is None


def stencil(sides, coefficient):
    """Write -div(a grad u) entry by entry."""
    h = 1 / (min(sides) + 1)
    index = {site: i for i, site in enumerate(np.ndindex(*sides))}
    A = np.zeros((len(index), len(index)))
    for site, i in index.items():
        for axis in range(len(sides)):
            for step in (-1, 1):
                face = np.array(site, dtype=float) + 1
                face[axis] += step / 2
                a = coefficient(h * face[None])[0] / h**2
                A[i, i] += a
                neighbor = list(site)
                neighbor[axis] += step
                if tuple(neighbor) in index:
                    A[i, index[tuple(neighbor)]] -= a
    return A


@pytest.mark.parametrize("sides", [(7,), (4, 3), (6, 3), (4, 2, 2)])
def test_diffusion_is_the_stencil(sides, global_random_seed):
    field = SmoothField(np.random.default_rng(global_random_seed), len(sides))
    variable = diffusion(sides, lambda x: np.exp(field(x))).toarray()
    np.testing.assert_allclose(variable, stencil(sides, lambda x: np.exp(field(x))), rtol=1e-12)
    constant = diffusion(sides).toarray()
    np.testing.assert_allclose(constant, stencil(sides, lambda x: np.ones(len(x))), rtol=1e-12)


def test_differences_converge_to_derivatives():
    """-div(a grad u) + b . grad u of a known function, with an error of second order."""
    errors = []
    for s in (15, 31, 63):
        sides = (s, s)
        x, y = grid_points(sides).T
        u = np.sin(np.pi * x) * np.sin(np.pi * y)
        ux = np.pi * np.cos(np.pi * x) * np.sin(np.pi * y)
        uy = np.pi * np.sin(np.pi * x) * np.cos(np.pi * y)
        a = 1 + x
        exact = 2 * np.pi**2 * a * u - ux + 3 * ux - 2 * y * uy
        velocity = np.stack([np.full_like(x, 3.0), -2 * y], axis=1)
        A = diffusion(sides, lambda p: 1 + p[:, 0]) + advection(sides, velocity)
        errors.append(np.abs(A @ u - exact).max())
    assert errors[0] / errors[1] > 3.7
    assert errors[1] / errors[2] > 3.7


def test_field_is_smooth_periodic_and_standardised(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    x = rng.random((4000, 2)) * [2, 1]
    values = []
    for _ in range(50):
        field = SmoothField(rng, 2, periods=(2, 1))
        np.testing.assert_allclose(field(x), field(x + np.array([2, 1])), atol=1e-9)
        values.append(field(x[:10]))
    assert abs(np.mean(values)) < 0.3
    assert 0.7 < np.std(values) < 1.3
    shifted = [(field(x + step) - field(x - step)) / 2e-5 for step in 1e-5 * np.eye(2)]
    np.testing.assert_allclose(field.gradient(x), np.stack(shifted, axis=1), atol=1e-3)
