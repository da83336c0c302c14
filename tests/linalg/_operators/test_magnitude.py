import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._operators.magnitude import divide, large_exponent, unit_exponent
from skhmat.linalg._operators.wrappers import DenseOperator

from ..matrices import symmetric


@pytest.mark.parametrize("power", [-1000, -300, -20, 0, 20, 300, 1000])
@pytest.mark.parametrize(
    "make",
    [
        lambda A: A,
        sparse.csr_array,
        sparse.lil_matrix,
        aslinearoperator,
        DenseOperator,
        lambda A: compress(A, random_state=0),
    ],
    ids=["array", "csr", "lil", "operator", "our operator", "hierarchical"],
)
def test_entries_are_about_one(make, power):
    A = symmetric(np.linspace(1, 2, 40), 0)
    given = make(np.ldexp(A, power))
    exponent = unit_exponent(given, aslinearoperator(given))
    assert exponent % 2 == 0
    assert abs(exponent - power) <= 8 if abs(power) > 40 else exponent == 0
    divided = divide(given, exponent)
    product = divided @ np.eye(40)
    product = product.toarray() if sparse.issparse(product) else product
    np.testing.assert_allclose(np.ldexp(product, exponent - power), A, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(dtype):
    A = np.full((3, 3), 1e12, dtype=dtype)
    exponent = unit_exponent(A, aslinearoperator(A))
    assert exponent == 40
    assert divide(A, exponent).dtype == dtype


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64])
def test_integers(dtype):
    A = np.eye(3, dtype=dtype)
    A[0, 0] = np.iinfo(dtype).min if dtype in (np.int8, np.int64) else 1
    exponent = unit_exponent(A, None)
    assert exponent == (64 if dtype is np.int64 else 0)


@pytest.mark.parametrize("size", [0.0, np.inf, np.nan])
def test_nothing_is_divided_by_no_size(size):
    assert large_exponent(size) == 0


def test_a_diagonal_tells_without_a_product():
    K = KernelMatrix(np.arange(10.0)[:, np.newaxis])
    assert unit_exponent(K, None) == 0


def test_a_diagonal_of_zeros_does_not_tell():
    A = DenseOperator(np.array([[0.0, 1e250], [1e250, 0.0]]))
    A.diagonal = lambda: np.zeros(2)
    assert abs(unit_exponent(A, A) - np.log2(1e250)) < 2
