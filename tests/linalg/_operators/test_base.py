import numpy as np

from skhmat.linalg._operators.base import SymmetricOperator


class Doubling(SymmetricOperator):
    def __init__(self, n, dtype):
        super().__init__(np.dtype(dtype), (n, n))

    def _multiply(self, W):
        assert W.dtype.kind == "f"
        return 2 * W


def test_products_have_the_common_dtype_and_the_shape_of_the_vectors(rng):
    for dtype in (np.float32, np.float64):
        A = Doubling(5, dtype)
        for other in (np.float32, np.float64, np.complex64, np.complex128):
            W = rng.standard_normal((5, 3)).astype(other)
            assert (A @ W).dtype == np.result_type(dtype, other)
            np.testing.assert_array_equal(A @ W, 2 * W)
        for shape in ((5,), (5, 1)):
            v = rng.standard_normal(shape).astype(dtype)
            np.testing.assert_array_equal(A.matvec(v), 2 * v)


def test_it_is_its_own_transpose():
    A = Doubling(5, float)
    assert A.T is A
    assert A.H is A


def test_a_step_of_a_recurrence_overwrites_the_vectors_before(rng):
    W, before = rng.standard_normal((2, 5, 3))
    expected = 0.5 * (2 * W - 3 * W) - 4 * before
    given = before.copy()
    step = Doubling(5, float).step(W, given, scale=0.5, shift=3.0, factor=4.0)
    np.testing.assert_allclose(step, expected)
    np.testing.assert_allclose(given, 4 * before)
