"""Systems with few modes against dense ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg import KernelMatrix
from skhmat.linalg._fourier.features import FourierFeatures
from skhmat.linalg._fourier.few_modes import FewModes
from skhmat.linalg._fourier.modes import Demand, choose_modes

from .fourier_problems import matrix_and_features

pytest.importorskip("finufft")


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 30.0])
@pytest.mark.parametrize(
    ("d", "bandwidth", "entry_error"), [(1, 0.3, 1e-9), (2, 2.0, 1e-9), (3, 9.0, 1e-3)]
)
def test_against_dense_matrices(d, bandwidth, entry_error, alpha, rng):
    """Of the features: that these are accurate is tested with them."""
    options = {"bandwidth": bandwidth, "entry_error": entry_error}
    _, features = matrix_and_features(rng, 150, d, **options)
    features.tolerance = 1e-13
    weights, Y = rng.uniform(0.2, 3, 150), rng.standard_normal((150, 3))
    few = FewModes(features, weights)
    A = features.to_points(features.to_modes(np.eye(150))) + np.diag(alpha / weights)
    X = few.solve(Y, alpha)
    assert np.linalg.norm(Y - A @ X) <= 1e-7 * np.linalg.norm(Y)
    assert_allclose(few.logdet(alpha), np.linalg.slogdet(A)[1], atol=1e-5)
    exact = 1 - alpha / weights * np.linalg.inv(A).diagonal()
    assert_allclose(few.leverages(alpha), exact, atol=1e-6)
    forms = few.quadratic_forms(alpha, features.at(np.arange(40), 1e-13))
    assert_allclose(forms, exact[:40] / weights[:40], atol=1e-6)
    # The matrix of the modes has the rest of the eigenvalues of A with equal weights.
    few = FewModes(features)
    A = features.to_points(features.to_modes(np.eye(150))) + alpha * np.eye(150)
    n_modes = features.modes.coefficients.size
    trace = np.trace(np.linalg.inv(A)) + (n_modes - 150) / alpha
    diagonal = few.inverse_diagonal(alpha)
    assert (diagonal > 0).all()
    assert_allclose(diagonal.sum(), trace, rtol=1e-6, atol=1e-5 / alpha)
    assert few.inverse_diagonal(2 * alpha).sum() < diagonal.sum()


def test_one_mode_and_equal_points(rng):
    """All points are one: K is a matrix of ones."""
    K = KernelMatrix(np.ones((30, 2)))
    modes = choose_modes("gaussian", 1.0, np.zeros(2), Demand(1e-9, 1.0, 30))
    features = FourierFeatures.of_points(modes, K.X, 1.0, np.ones(2), 1)
    few = FewModes(features)
    assert_allclose(few.leverages(0.5), np.full(30, 1 / 30.5), rtol=1e-6)
    assert_allclose(few.logdet(0.5), np.log(30.5) + 29 * np.log(0.5), rtol=1e-6)


def test_rounding_is_announced(rng):
    few = FewModes(matrix_and_features(rng, 200, 2, bandwidth=3.0)[1])
    with pytest.raises(NotPositiveDefiniteError, match="alpha=-1 is below the rounding"):
        few.solve(np.ones((200, 1)), -1.0)
