import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix, inverse_diagonal, inverse_trace, logdet

from ._solvers.problems import FORMS, N, own_dense
from .matrices import small


@pytest.fixture
def K(rng):
    return KernelMatrix(rng.standard_normal((N, 2)))


def dense(H, shift):
    return own_dense(H) + np.diag(np.full(N, shift))


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("form", ["hss", "dense"])
def test_direct(form, vector, K, rng):
    H = small(K, **FORMS[form])
    shift = 0.5 + vector * rng.random(N)
    A = dense(H, shift)
    inverse = np.linalg.inv(A)
    value, info = logdet(H, shift, return_info=True)
    assert value == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-9)
    assert info.standard_error == 0
    assert inverse_trace(H, shift) == pytest.approx(np.trace(inverse), rel=1e-9)
    np.testing.assert_allclose(inverse_diagonal(H, shift), np.diag(inverse), rtol=1e-8)


@pytest.mark.parametrize("kind", ["fmm", "array", "sparse", "operator"])
def test_estimates(kind, K, global_random_seed):
    H = small(K, **FORMS["fmm"])
    A, shift = dense(H, 0.0), 0.5
    given = {"fmm": H, "array": A, "sparse": sparse.csr_array(A), "operator": K}[kind]
    exact = (K.toarray() if kind == "operator" else A) + shift * np.eye(N)
    options = {"random_state": global_random_seed, "max_products": 256, "return_info": True}
    value, info = logdet(given, shift, **options)
    assert info.standard_error > 0
    assert abs(value - np.linalg.slogdet(exact)[1]) <= 0.05 * N
    inverse = np.linalg.inv(exact)
    value, info = inverse_trace(given, shift, **options)
    assert 0 < info.standard_error <= 1e-2 * value
    assert value == pytest.approx(np.trace(inverse), rel=0.05)
    value, info = inverse_diagonal(given, shift, rtol=0.1, **options)
    error = np.linalg.norm(value - np.diag(inverse)) / np.linalg.norm(np.diag(inverse))
    assert error <= 0.3
    np.testing.assert_array_equal(value, inverse_diagonal(given, shift, rtol=0.1, **options)[0])


def test_all_products_are_exact(K):
    """With as many products as rows nothing is random."""
    H = small(K, **FORMS["fmm"])
    A = dense(H, 1.0)
    assert logdet(H, 1.0, max_products=N) == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-8)
    trace = inverse_trace(H, 1.0, max_products=N, rtol=1e-6)
    assert trace == pytest.approx(np.trace(np.linalg.inv(A)), rel=1e-6)


def test_a_miss_is_a_warning(K):
    rough = KernelMatrix(K.X, "exponential", bandwidth=0.3)
    with pytest.warns(ConvergenceWarning) as caught:
        inverse_diagonal(rough, 1e-2, rtol=1e-4, max_products=64, random_state=0)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("function", [logdet, inverse_trace, inverse_diagonal])
@pytest.mark.parametrize("form", FORMS)
def test_indefinite(function, form, K):
    with pytest.raises(np.linalg.LinAlgError, match=r"[Rr]aise shift"):
        function(small(K, **FORMS[form]), -5.0, random_state=0)


@pytest.mark.parametrize("function", [logdet, inverse_trace, inverse_diagonal])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": np.nan}, "shift must be a finite number or .*, got nan"),
        ({"shift": np.ones(2)}, r"shift must be .* of shape \(600,\), got shape \(2,\)"),
        ({"rtol": -1}, "rtol"),
        ({"max_products": 0}, "max_products"),
        ({"A": np.ones((2, 3))}, r"A must be .*, got shape"),
    ],
)
def test_bad_input(function, options, message, K):
    options = {"A": K, "shift": 1.0, **options}
    with pytest.raises(ValueError, match=message):
        function(**options)
