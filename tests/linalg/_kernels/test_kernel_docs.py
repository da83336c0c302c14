"""What Python says about the kernels, against the table of the core."""

import inspect
import re

import numpy as np
import pytest

from skhmat.linalg import KernelMatrix
from skhmat.linalg._kernels.table import KERNELS, SQEUCLIDEAN, core_parameters

from .parameters import PARAMETERS


@pytest.mark.parametrize("kernel", KERNELS)
def test_docstring_has_the_formula(kernel):
    text = re.sub(r"\s+", " ", KernelMatrix.__doc__)
    lines = [line for line in text.split(" - ") if f'``"{kernel}"``' in line.partition(":")[0]]
    assert len(lines) == 1
    assert lines[0].partition(": ")[2].startswith(KERNELS[kernel].formula)


@pytest.mark.parametrize("kernel", KERNELS)
def test_parameters_are_those_of_the_kernel_matrix(kernel):
    assert set(KERNELS[kernel].parameters) <= inspect.signature(KernelMatrix).parameters.keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [3, 6, 40])
@pytest.mark.parametrize("kernel", KERNELS)
def test_diagonal_is_that_of_the_dense_matrix(kernel, d, dtype, isa, rng):
    X = rng.standard_normal((30, d)).astype(dtype)
    X[0] = 0
    K = KernelMatrix(X, kernel, **PARAMETERS)
    expected = np.diagonal(K.toarray())
    np.testing.assert_allclose(K.diagonal(), expected, rtol=50 * np.finfo(dtype).eps)


def test_the_distance_is_no_kernel():
    assert SQEUCLIDEAN not in {kernel.id for kernel in KERNELS.values()}
    assert len(core_parameters("gaussian", PARAMETERS)) == 1
