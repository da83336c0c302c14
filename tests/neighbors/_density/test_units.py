"""Coordinates in units of the bandwidth."""

import numpy as np
import pytest

from skhmat.neighbors._density.units import Units


def bandwidths(rng):
    A = rng.standard_normal((3, 3))
    return 0.37, np.array([0.5, 2.0, 1e-3]), A @ A.T + 0.1 * np.eye(3)


def test_distances_are_in_bandwidths(rng):
    X = rng.standard_normal((20, 3)) + 100
    for bandwidth in bandwidths(rng):
        units = Units.from_bandwidth(bandwidth, X)
        H = np.diag(np.full(3, bandwidth) ** 2) if np.ndim(bandwidth) < 2 else bandwidth
        x, y = X[:2]
        expected = np.sqrt((x - y) @ np.linalg.solve(H, x - y))
        z = np.subtract(*units.transform(X[:2])) / units.radius(bandwidth)
        assert np.linalg.norm(z) == pytest.approx(expected)
        assert units.log_volume(bandwidth, 3) == pytest.approx(np.linalg.slogdet(H)[1] / 2)
        steps = units.scale_steps(rng.standard_normal((5, 3)), bandwidth)
        squares = np.einsum("ij,ij->i", steps, np.linalg.solve(H, steps.T).T)
        inside = units.transform(X[0] + steps) - units.transform(X[:1])
        np.testing.assert_allclose(
            np.linalg.norm(inside, axis=1) / units.radius(bandwidth), np.sqrt(squares), rtol=1e-6
        )


@pytest.mark.parametrize("exponent", [-300, -20, 0, 20, 300])
def test_numbers_round_nothing(exponent, rng):
    X = rng.standard_normal((20, 2))
    units = Units.from_bandwidth(10.0**exponent, X)
    np.testing.assert_array_equal(units.transform(X) / units.scale, X)
    assert np.isfinite(np.square(units.transform(X))).all()


def test_float32_stays_where_squares_are_finite(rng):
    X = rng.standard_normal((20, 2)).astype(np.float32)
    units = Units.from_bandwidth(0.1, X)
    assert units.transform(X).dtype == np.float32
    assert units.transform(np.float32([[1e30, 0]])).dtype == np.float64
    assert units.transform(X.astype(np.float64)).dtype == np.float64
    assert Units.from_bandwidth(np.full(2, 0.1), X).transform(X).dtype == np.float64


def test_points_at_infinity_are_finite(rng):
    X = rng.standard_normal((20, 2))
    for bandwidth in (1e-50, np.full(2, 1e-50)):
        far = Units.from_bandwidth(bandwidth, X).transform(np.full((1, 2), 1e307))
        assert np.isfinite(far).all()
        assert np.all(far >= 1e299)
