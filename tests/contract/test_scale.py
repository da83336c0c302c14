"""What is known of a matrix follows when the matrix is multiplied by a power of two.

Of entries like these, squares overflow or vanish.
"""

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_ridge import KernelRidge, KernelRidgeCV
from skhmat.linalg import (
    compress,
    inverse_diagonal,
    inverse_trace,
    logdet,
    pivoted_cholesky,
    spectral_density,
)
from skhmat.manifold import DiffusionMaps

N = 150
POWERS = [-900, -530, 530, 900]


def matrix(rng):
    """Return a positive matrix of condition number 10, with positive entries."""
    X = rng.random((N, 2))
    K = np.exp(-np.square(X[:, np.newaxis] - X).sum(axis=-1) / 0.005)
    return np.round(K / np.linalg.norm(K, 2) + 0.1 * np.eye(N), 6)


def column(rng):
    return rng.standard_normal((N, 2))


def features(K, B):
    """Return the scalar products of features."""
    F = HierarchicalNystroem(
        kernel="precomputed", landmarks="all", n_components=N, random_state=0
    ).fit_transform(K)
    return F @ F.T


def iterate(solver):
    def solve(K, B):
        H, options = compress(K, random_state=0), {"solver": solver, "preconditioner": None}
        return H.solve(B, operator=aslinearoperator(K), rtol=1e-9, **options)

    return solve


def chosen_alpha(K, B):
    size = K.diagonal().max()
    alphas = [0.01 * size, 0.1 * size, size]
    return KernelRidgeCV(kernel="precomputed", alphas=alphas).fit(K, B).alpha_


def log_determinant_per_row(K, B):
    # A logarithm is of the scale 0: the power of two is taken off again.
    return np.exp2(logdet(aslinearoperator(K), random_state=0) / np.log(2) / N)


# What is computed, and by which power of the scale it changes.
LAWS = {
    "spectral_density": (lambda K, B: spectral_density(K, random_state=0).nodes, 1),
    "solve": (lambda K, B: compress(K, random_state=0).solve(B), -1),
    "conjugate gradients": (iterate("cg"), -1),
    "minres": (iterate("minres"), -1),
    "logdet": (log_determinant_per_row, 1),
    "inverse_trace": (lambda K, B: inverse_trace(aslinearoperator(K), random_state=0), -1),
    "inverse_diagonal": (lambda K, B: inverse_diagonal(aslinearoperator(K), random_state=0), -1),
    "pivoted_cholesky": (lambda K, B: np.square(pivoted_cholesky(K, 20, random_state=0).factor), 1),
    "KernelRidge": (
        lambda K, B: KernelRidge(K.diagonal().max(), kernel="precomputed").fit(K, B).dual_coef_,
        -1,
    ),
    "KernelRidgeCV": (chosen_alpha, 1),
    "HierarchicalNystroem": (features, 1),
    "DiffusionMaps": (
        lambda K, B: DiffusionMaps(3, kernel="precomputed", random_state=0).fit_transform(K),
        0,
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_scale_of_a_matrix(name, rng):
    compute, degree = LAWS[name]
    K, B = matrix(rng), column(rng)
    expected = np.asarray(compute(K, B))
    for power in POWERS:
        found = np.asarray(compute(np.ldexp(K, power), B))
        found = np.ldexp(found, -degree * power)
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
