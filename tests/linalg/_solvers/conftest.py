import pytest

from skhmat.linalg import KernelMatrix

from .problems import N


@pytest.fixture
def K(rng):
    return KernelMatrix(rng.standard_normal((N, 2)))
