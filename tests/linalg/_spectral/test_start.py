import numpy as np
import pytest
from scipy import sparse

from skhmat.linalg import KernelMatrix
from skhmat.linalg._spectral.start import StartPolicy, start_block


def test_vectors_of_the_caller(rng):
    for v0 in (rng.standard_normal(9), rng.integers(1, 5, (9, 2)), np.ones(9).tolist()):
        V = start_block(v0, 9, np.eye(9), 7, "LA", 0)
        assert V.dtype == np.float64
        np.testing.assert_array_equal(V, np.reshape(v0, (9, -1)))


def test_a_random_vector():
    V = start_block(None, 9, np.eye(9), 7, "LA", 3)
    np.testing.assert_array_equal(V, np.random.RandomState(3).standard_normal((9, 1)))


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, sparse.csr_array, "kernel"])
def test_a_subsample_has_about_the_largest_eigenvectors(form, rng):
    K = KernelMatrix(rng.standard_normal((300, 2)), bandwidth=2.0)
    dense = K.toarray()
    A = K if form == "kernel" else form(dense)
    policy = StartPolicy(rows_per_vector=10, min_rows=20)
    V = start_block("nystroem", 300, A, 6, "LA", 0, policy=policy)
    assert V.shape == (300, 6)
    exact = np.linalg.eigh(dense)[1][:, -3:]
    Q = np.linalg.qr(V)[0]
    assert np.linalg.norm(exact - Q @ (Q.T @ exact), axis=0).max() < 0.2


@pytest.mark.parametrize(
    ("v0", "which", "message"),
    [
        (np.ones((8, 2)), "LA", r"v0 must be of shape \(9,\) or \(9, b\), got shape \(8, 2\)"),
        (np.empty((9, 0)), "LA", r"v0 must be of shape .*, got shape \(9, 0\)"),
        (np.ones(9) * 1j, "LA", "v0 must be real, got dtype complex128"),
        (np.full(9, np.inf), "LA", "v0 must be finite, got NaN or infinity"),
        (np.zeros(9), "LA", "v0 must be other than zero, got zeros"),
        ("random", "LA", r"v0 must be None, an array or 'nystroem', got 'random'"),
        ("nystroem", "SA", r"which must be 'LA' where v0 is 'nystroem', got 'SA'"),
    ],
)
def test_bad_starts(v0, which, message):
    with pytest.raises(ValueError, match=message):
        start_block(v0, 9, np.eye(9), 7, which, 0)
