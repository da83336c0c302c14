import numpy as np
import pytest

from skhmat.linalg._operators.one_norm import OneNormPolicy, estimate_one_norm
from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator

from ..matrices import symmetric

MATRICES = {
    "normal": lambda rng, n: rng.standard_normal((n, n)),
    "diagonal": lambda rng, n: np.diag(rng.standard_normal(n)),
    "spectrum": lambda rng, n: symmetric(np.geomspace(1, 1e-8, n), int(rng.integers(100))),
    "inverse": lambda rng, n: np.linalg.inv(symmetric(np.geomspace(1, 1e-8, n), 0)),
    "one column": lambda rng, n: np.outer(np.eye(n)[n // 2], np.ones(n)),
    "zero": lambda rng, n: np.zeros((n, n)),
}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("n", [1, 2, 40])
def test_a_lower_bound_within_a_factor_of_3(kind, n, rng):
    A = MATRICES[kind](rng, n)
    A = A + A.T
    exact = np.abs(A).sum(axis=0).max()
    operator = CountedOperator(DenseOperator(A))
    found = estimate_one_norm(operator)
    assert exact / 3 <= found <= exact * (1 + 1e-12)
    assert operator.n_products <= 20


def test_with_all_columns_it_is_exact(rng):
    A = rng.standard_normal((30, 30))
    A = A + A.T
    exact = np.abs(A).sum(axis=0).max()
    assert estimate_one_norm(A, policy=OneNormPolicy(n_columns=30)) == pytest.approx(exact)
