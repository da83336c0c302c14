import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.linalg._kernels.feature_scales import FeatureScales

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_in_units_of_the_bandwidths(dtype, rng):
    bandwidths = 10 ** rng.uniform(-3, 3, 5)
    X = (bandwidths * rng.standard_normal((60, 5))).astype(dtype)
    scales = FeatureScales.from_bandwidths(bandwidths, X)
    assert scales.bandwidth == pytest.approx(np.exp(np.mean(np.log(bandwidths))))
    Z, Z_new = scales.transform(X), scales.transform(X[:7])
    assert Z.dtype == dtype
    assert Z.flags.c_contiguous
    assert scales.holds(Z)
    np.testing.assert_array_equal(Z_new, Z[:7])
    expected = cdist(X / bandwidths, X / bandwidths)
    atol = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(cdist(Z, Z) / scales.bandwidth, expected, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_bandwidths_are_the_one(dtype, rng):
    X = rng.integers(-8, 9, (20, 3)).astype(dtype)
    bandwidth = float(10 ** rng.uniform(-5, 5))
    scales = FeatureScales.from_bandwidths(np.full(3, bandwidth), X)
    assert scales.bandwidth == bandwidth
    np.testing.assert_array_equal(scales.transform(X) + scales.center, X)


def test_points_far_from_the_origin_are_centred(rng):
    """Years with a bandwidth of months: the rounding is a part of the extent."""
    X = np.float32([2000, -4000]) + rng.integers(0, 64, (50, 2)).astype(np.float32) / 16
    bandwidths = np.array([0.3, 0.7])
    scales = FeatureScales.from_bandwidths(bandwidths, X)
    Z = scales.transform(X).astype(float) / scales.bandwidth
    exact = X.astype(float) / bandwidths
    np.testing.assert_allclose(cdist(Z, Z), cdist(exact, exact), atol=1e-5)


def test_the_order_of_points_changes_no_unit(rng):
    X = rng.standard_normal((40, 3))
    bandwidths = rng.random(3) + 0.1
    scales = FeatureScales.from_bandwidths(bandwidths, X)
    other = FeatureScales.from_bandwidths(bandwidths, X[rng.permutation(40)])
    np.testing.assert_array_equal(other.center, scales.center)


@pytest.mark.parametrize(
    ("X", "bandwidths"),
    [
        (np.float32([[1e30, 0], [0, 1]]), [1e-20, 1.0]),
        (np.float64([[1e200, 0], [0, 1]]), [1e-200, 1e100]),
        (np.float64([[1, 0], [0, 1]]), [5e-324, 1e300]),
    ],
)
def test_units_in_which_coordinates_are_no_numbers(X, bandwidths):
    scales = FeatureScales.from_bandwidths(np.array(bandwidths), X)
    assert not scales.holds(scales.transform(X))


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_points_that_are_too_far_are_put_at_the_end(dtype):
    X = np.array([[0, 0], [1, 1]], dtype)
    scales = FeatureScales.from_bandwidths(np.array([1e-6, 1e6]), X)
    Z = scales.transform(np.array([[np.finfo(dtype).max, 0]], dtype))
    assert np.isfinite(Z).all()
    with np.errstate(over="ignore"):
        assert np.square(Z[0, 0] - scales.transform(X)[0, 0]) == np.inf
