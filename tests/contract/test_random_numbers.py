"""No call draws from NumPy's global generator, or seeds it: it is the user's."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator
from sklearn.utils import check_random_state

from skhmat.linalg import (
    KernelMatrix,
    compress,
    eigsh,
    from_file,
    inverse_diagonal,
    inverse_trace,
    load,
    logdet,
    pivoted_cholesky,
    spectral_density,
    to_file,
)

from ..linalg.matrices import symmetric


@pytest.fixture(scope="module")
def K():
    return KernelMatrix(np.random.default_rng(0).standard_normal((300, 2)), bandwidth=1.0)


@pytest.fixture(scope="module")
def H(K):
    return compress(K, rtol=1e-3, leaf_size=32, budget=0, random_state=0)


@pytest.fixture(scope="module")
def A():
    return symmetric(np.linspace(1, 3, 200) ** 3, 0)


def on_disk(K, H):
    with tempfile.TemporaryDirectory() as folder:
        to_file(Path(folder) / "K.bin", K)
        from_file(Path(folder) / "K.bin", 300, K.dtype)
        H.save(Path(folder) / "H")
        load(Path(folder) / "H")


SEED = {"random_state": 0}
CALLS = {
    "compress": lambda K, H, A: compress(K, rtol=1e-3, leaf_size=32, **SEED),
    "compress an array": lambda K, H, A: compress(A, rtol=1e-3, leaf_size=32, **SEED),
    "product": lambda K, H, A: H @ np.ones((300, 2)),
    "evaluate": lambda K, H, A: H.evaluate(np.zeros((5, 2)), np.ones(300)),
    "diagonal": lambda K, H, A: H.diagonal(),
    "summary": lambda K, H, A: H.summary(),
    "factorize": lambda K, H, A: H.factorize(1.0),
    "condition_estimate": lambda K, H, A: H.factorize(1.0).condition_estimate(),
    "inverse_diagonal of a factor": lambda K, H, A: H.factorize(1.0).inverse_diagonal(),
    "solve": lambda K, H, A: H.solve(np.ones(300), shift=1.0),
    "solve with K": lambda K, H, A: H.solve(np.ones(300), shift=1.0, operator=K),
    "minres": lambda K, H, A: H.solve(np.ones(300), shift=1.0, solver="minres"),
    "lanczos": lambda K, H, A: eigsh(aslinearoperator(A), 3, **SEED),
    "SM": lambda K, H, A: eigsh(A, 3, "SM", **SEED),
    "BE": lambda K, H, A: eigsh(H, 3, "BE", **SEED),
    "sigma": lambda K, H, A: eigsh(A, 3, sigma=2.0123, **SEED),
    "chebyshev": lambda K, H, A: eigsh(A, 3, method="chebyshev", **SEED),
    "lobpcg": lambda K, H, A: eigsh(A, 3, method="lobpcg", sigma=30.0, which="LA", **SEED),
    "nystroem": lambda K, H, A: eigsh(K, 3, v0="nystroem", **SEED),
    "logdet": lambda K, H, A: logdet(H, shift=1.0, **SEED),
    "inverse_trace": lambda K, H, A: inverse_trace(H, shift=1.0, **SEED),
    "inverse_diagonal": lambda K, H, A: inverse_diagonal(H, shift=1.0, **SEED),
    "logdet of an operator": lambda K, H, A: logdet(aslinearoperator(A), **SEED),
    "pivoted_cholesky": lambda K, H, A: pivoted_cholesky(K, 20, **SEED),
    "spectral_density": lambda K, H, A: spectral_density(aslinearoperator(A), **SEED),
    "files": lambda K, H, A: on_disk(K, H),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_global_generator_stays_as_it_is(name, K, H, A):
    before = check_random_state(None).get_state()
    CALLS[name](K, H, A)
    after = check_random_state(None).get_state()
    assert after[2] == before[2]
    np.testing.assert_array_equal(after[1], before[1])


def test_an_estimate_of_the_condition_is_always_the_same(H):
    F = H.factorize(1.0)
    assert F.condition_estimate() == F.condition_estimate()
