import numpy as np
import pytest

from skhmat.linalg._krylov.lanczos import lower_spectrum_bound
from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.linalg._spectral.chebyshev import chebyshev_filtered

from ..matrices import symmetric

SPECTRA = {
    "crowded at the top": lambda n: np.exp(-1e-3 * np.arange(n) ** 1.5),
    "geometric": lambda n: 0.9 ** np.arange(n),
    "even": lambda n: np.linspace(1, 0, n),
    "indefinite": lambda n: np.linspace(1, -3, n),
    "multiple": lambda n: np.r_[np.ones(3), np.full(4, 0.5), np.full(n - 7, 0.1)],
    "negative": lambda n: -np.linspace(1, 2, n),
    "low rank": lambda n: np.r_[np.arange(5, 0, -1), np.zeros(n - 5)],
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_finds_the_largest(spectrum, rng, global_random_seed):
    eigenvalues = SPECTRA[spectrum](300)
    A = symmetric(eigenvalues, global_random_seed)
    pairs = chebyshev_filtered(DenseOperator(A), rng.standard_normal((300, 12)), 7, 1e-10, 100)
    assert (pairs.residuals <= 1e-10).all()
    np.testing.assert_allclose(pairs.values[:7], eigenvalues[:7], atol=1e-9)
    missed = A @ pairs.vectors - pairs.vectors * pairs.values
    assert np.abs(missed[:, :7]).max() <= 1e-9
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(12), atol=1e-12)


def test_a_good_start_is_not_lost(rng, global_random_seed):
    eigenvalues = SPECTRA["crowded at the top"](300)
    A = symmetric(eigenvalues, global_random_seed)
    exact = np.linalg.eigh(A)[1][:, ::-1][:, :12]
    close = exact + 1e-5 * rng.standard_normal(exact.shape)
    far = rng.standard_normal(exact.shape)
    counts = []
    for V in (close, far):
        operator = CountedOperator(DenseOperator(A))
        chebyshev_filtered(operator, V, 5, 1e-9, 100)
        counts.append(operator.n_products)
    assert counts[0] < 0.7 * counts[1]


def test_time_that_runs_out(rng, global_random_seed):
    A = symmetric(SPECTRA["even"](300), global_random_seed)
    pairs = chebyshev_filtered(DenseOperator(A), rng.standard_normal((300, 8)), 5, 1e-14, 1)
    assert pairs.residuals.max() > 1e-14
    missed = np.linalg.norm(A @ pairs.vectors - pairs.vectors * pairs.values, axis=0)[:5]
    np.testing.assert_allclose(pairs.residuals, missed / np.abs(pairs.values).max(), atol=1e-12)


class Float32Operator(DenseOperator):
    """A matrix whose products are rounded to float32."""

    def _multiply(self, W):
        return self.array @ W.astype(np.float32)


def test_the_rounding_of_products_ends_the_iteration_where_it_may(rng, global_random_seed):
    eigenvalues = 0.9 ** np.arange(300)
    A = symmetric(eigenvalues, global_random_seed)
    V, counts = rng.standard_normal((300, 12)), []
    for ends in (False, True):
        operator = CountedOperator(Float32Operator(A.astype(np.float32)))
        pairs = chebyshev_filtered(operator, V, 7, 1e-12, 100, ends_in_noise=ends)
        counts.append(operator.n_products)
    assert counts[1] < 0.3 * counts[0]
    assert pairs.residuals.max() < 1e-4
    # What is accurate enough ends it as well.
    options = {"is_definite": True, "ends_in_noise": True}
    pairs = chebyshev_filtered(DenseOperator(A), V, 7, 1e-9, 20, **options)
    assert pairs.residuals.max() <= 1e-9


@pytest.mark.parametrize("spectrum", ["crowded at the top", "geometric", "even", "indefinite"])
def test_filters_that_gain_nothing_are_not_repeated(spectrum, rng, global_random_seed):
    """No residual is as small as is asked for, but as small as with a tolerance that is reached."""
    A = symmetric(SPECTRA[spectrum](300), global_random_seed)
    counts = []
    for tol in (1e-13, 1e-18):
        counted, V = CountedOperator(DenseOperator(A)), rng.standard_normal((300, 12))
        pairs = chebyshev_filtered(counted, V, 5, tol, 100)
        assert pairs.residuals.max() <= 1e-13
        counts.append(counted.n_products)
    assert counts[1] <= 3 * counts[0]


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_lower_spectrum_bound(spectrum, global_random_seed):
    eigenvalues = SPECTRA[spectrum](300)
    A = CountedOperator(DenseOperator(symmetric(eigenvalues, global_random_seed)))
    bound = lower_spectrum_bound(A)
    assert bound <= eigenvalues.min() + 1e-10
    assert bound >= eigenvalues.min() - 0.3 * np.ptp(eigenvalues)
    assert A.n_products <= 20
