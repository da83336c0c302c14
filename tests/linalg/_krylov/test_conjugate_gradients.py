import numpy as np
import pytest

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg._krylov.conjugate_gradients import conjugate_gradients

from ..matrices import symmetric


def test_as_many_steps_as_distinct_eigenvalues(rng):
    A = symmetric(np.repeat([1.0, 2.0, 5.0], 10), 0)
    B = rng.standard_normal((30, 2))
    X, n_iterations = conjugate_gradients(A, None, B, np.full(2, 1e-12), 100)
    assert n_iterations == 3
    np.testing.assert_allclose(A @ X, B, atol=1e-10)


def test_smoothed_residuals_never_grow(rng):
    A = symmetric(np.geomspace(1, 1e4, 40), 0)
    B = rng.standard_normal((40, 3))
    before = np.linalg.norm(B, axis=0)
    for maxiter in range(1, 30):
        X, _ = conjugate_gradients(A, None, B, np.full(3, 1e-14), maxiter)
        norms = np.linalg.norm(B - A @ X, axis=0)
        assert np.all(norms <= before * (1 + 1e-8))
        before = norms


@pytest.mark.parametrize("which", ["matrix", "preconditioner"])
def test_what_is_indefinite_is_noticed(which, rng):
    indefinite = symmetric(np.linspace(-1, 1, 20), 0)
    A, M = (indefinite, None) if which == "matrix" else (np.eye(20) + 0.1, indefinite)
    with pytest.raises(NotPositiveDefiniteError) as caught:
        conjugate_gradients(A, M, rng.standard_normal((20, 4)), np.full(4, 1e-12), 100)
    assert -1 - 1e-12 <= caught.value.eigenvalue_bound <= 0
