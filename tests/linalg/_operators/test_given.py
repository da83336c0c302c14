import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from skhmat.linalg import KernelMatrix
from skhmat.linalg._operators.given import GivenOperator, as_operator, with_callers_threads
from skhmat.linalg._operators.wrappers import DenseOperator

from ..matrices import symmetric


@pytest.mark.parametrize("kind", ["array", "operator of an array", "operator", "sparse"])
@pytest.mark.parametrize("n", [12, 2300])
def test_products_are_those_of_the_caller(kind, n, rng):
    A = rng.standard_normal((n, n))
    A += A.T
    given = {
        "array": A,
        "operator of an array": aslinearoperator(A),
        "operator": LinearOperator(A.shape, lambda x: A @ x, matmat=lambda W: A @ W, dtype=A.dtype),
        "sparse": sparse.csr_matrix(A),
    }[kind]
    operator, W = as_operator("A", given), rng.standard_normal((n, 3))
    np.testing.assert_allclose(operator @ W, A @ W, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(operator @ W[:, 0], A @ W[:, 0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(operator @ W[:, :1], A @ W[:, :1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(operator @ (W + 1j), A @ (W + 1j), rtol=1e-9, atol=1e-9)


def test_transposes_are_those_of_the_caller(rng):
    A, x = symmetric(np.arange(5) - 1.5, 0), rng.standard_normal(5)
    operator = GivenOperator(aslinearoperator(A))
    np.testing.assert_allclose(operator.T @ x, A @ x)
    np.testing.assert_allclose(operator.H @ x, A @ x)


def test_our_own_operators_stay_as_they_are():
    ours = DenseOperator(np.eye(3)), KernelMatrix(np.eye(3))
    for A in ours:
        assert as_operator("A", A) is A
        assert with_callers_threads(A) is A
    assert with_callers_threads(None) is None
