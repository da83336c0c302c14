"""Which matrices count as symmetric."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._entries.symmetry import (
    POLICY,
    check_symmetric_matrix,
    check_symmetric_sample,
    max_asymmetry,
    symmetric_kernel,
)

from .problems import DTYPES, N, spd

# Several tiles, the last of them incomplete.
TILED = replace(POLICY, tile=17)


def asymmetric(rng, dtype, factor):
    """A matrix with one entry off by a multiple of what is allowed."""
    K = spd(rng, dtype=dtype)
    K += K.T
    i, j = rng.choice(N, 2, replace=False)
    K[i, j] += dtype(factor * max_asymmetry(dtype) * np.abs(K).max())
    return K


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_matrix])
def test_every_entry_counts(form, dtype, rng):
    for factor in (0.0, 0.5):
        K = asymmetric(rng, dtype, factor)
        assert check_symmetric_matrix(form(K), "kernel", policy=TILED) == np.abs(K - K.T).max()
    K = asymmetric(rng, dtype, 2.0)
    message = r"X must be symmetric where kernel is 'precomputed', got .* up to .* \(allowed is "
    with pytest.raises(ValueError, match=message):
        check_symmetric_matrix(form(K), "kernel", policy=TILED)
    assert check_symmetric_matrix(form(K), "metric", 1e-3, TILED) > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_of_a_small_matrix_is_all_of_it(dtype, rng):
    check_symmetric_sample(Entries(as_source(asymmetric(rng, dtype, 0.5))), rng)
    with pytest.raises(ValueError, match=r"K must be symmetric, got K\["):
        check_symmetric_sample(Entries(as_source(asymmetric(rng, dtype, 2.0))), rng)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_taken_out(dtype, rng):
    given = asymmetric(rng, dtype, 0.5)
    before = given.copy()
    K = symmetric_kernel(given, "kernel")
    assert K.dtype == np.float64
    assert_array_equal(K, K.T)
    assert_array_equal(K, (given.astype(np.float64) + given.T) / 2)
    assert_array_equal(given, before)


def test_what_is_symmetric_is_not_copied(rng):
    K = asymmetric(rng, np.float64, 0.0)
    assert symmetric_kernel(K, "kernel") is K


def test_entries_that_are_not_positive(rng):
    """A diagonal of zeros says nothing about rounding; a matrix of zeros is symmetric."""
    K = rng.standard_normal((N, N))
    K -= K.T
    np.fill_diagonal(K, 0)
    with pytest.raises(ValueError, match="X must be symmetric"):
        check_symmetric_matrix(K, "kernel")
    assert check_symmetric_matrix(np.abs(K), "kernel") == 0
    assert check_symmetric_matrix(np.zeros((3, 3)), "kernel") == 0
    huge = np.array([[1.0, -3e38], [3e38, 1.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="up to inf"):
        check_symmetric_matrix(huge, "kernel")
