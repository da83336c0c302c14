"""Symmetric sparse matrices against dense ones, for every instruction set of this CPU."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from skhmat._ext.simd import csr as core

from skhmat.linalg._operators.csr import SymmetricCSR

from ...contract.operator_contract import LAWS, Case


def sparse_rows(rng, shape, part=0.2):
    """Return a random matrix, one row and one column of it empty, as an array and by rows."""
    dense = np.where(rng.random(shape) < part, rng.standard_normal(shape), 0.0)
    dense[shape[0] // 2], dense[:, shape[1] // 3] = 0, 0
    A = sparse.csr_matrix(dense)
    return dense, (A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data)


def symmetric_csr(rng, n):
    """Return the Gaussian of points along a line without its small entries, and as an array."""
    x = np.sort(10 * rng.random(n))
    dense = np.exp(-(np.subtract.outer(x, x) ** 2) / 0.1)
    dense[dense < 1e-6] = 0
    A = sparse.csr_matrix(dense)
    return SymmetricCSR(A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data, 1), dense


# ---- the compiled step ----


@pytest.mark.parametrize("k", range(1, 41))
def test_step_is_that_of_the_recurrence(k, isa, rng):
    dense, rows = sparse_rows(rng, (150, 150))
    W, before = rng.standard_normal((150, k)), rng.standard_normal((150, k))
    size = np.abs(dense) @ np.abs(W) + np.abs(W) + np.abs(before)
    for scale, shift, factor in ((1.0, 0.0, 0.0), (-0.7, 1.3, 0.0), (2.5, -0.4, 0.9)):
        expected = scale * (dense @ W - shift * W) - factor * before
        out = np.full_like(W, np.nan)
        core.sparse_step(*rows, W, scale, shift, factor, before, out)
        assert np.all(np.abs(out - expected) <= 1e-14 * 10 * size)
        in_place = before.copy()
        core.sparse_step(*rows, W, scale, shift, factor, in_place, in_place)
        np.testing.assert_array_equal(in_place, out)


@pytest.mark.parametrize("k", [1, 7, 8, 21])
def test_without_a_factor_what_was_there_does_not_matter(k, isa, rng):
    dense, rows = sparse_rows(rng, (50, 50))
    W, out = rng.standard_normal((50, k)), np.full((50, k), np.nan)
    core.sparse_step(*rows, W, 1.0, 0.0, 0.0, out, out)
    np.testing.assert_allclose(out, dense @ W, atol=1e-13)


# ---- the operator ----


@pytest.mark.parametrize("n", [1, 2, 33, 300])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_is_an_operator_like_any_other(law, n, global_random_seed, rng):
    K, dense = symmetric_csr(rng, n)
    law(Case(K, dense, 1e-8, global_random_seed, has_entries=False))


def test_what_is_held(rng):
    K, dense = symmetric_csr(rng, 300)
    A = K.tocsr()
    np.testing.assert_array_equal(A.toarray(), dense)
    assert K.n_entries == A.nnz < 300**2
    assert K.nbytes == A.nnz * 12 + 301 * 8
    again = pickle.loads(pickle.dumps(K))
    np.testing.assert_array_equal(again.tocsr().toarray(), A.toarray())


def test_scaling_keeps_it_symmetric(rng):
    K, dense = symmetric_csr(rng, 200)
    factors = rng.uniform(1e-3, 10, 200)
    K.scale(factors)
    scaled = K.tocsr().toarray()
    np.testing.assert_array_equal(scaled, scaled.T)
    np.testing.assert_allclose(scaled, np.outer(factors, factors) * dense, rtol=1e-14)


@pytest.mark.parametrize("k", [1, 5, 16])
def test_step_of_the_operator(k, rng):
    K, _ = symmetric_csr(rng, 100)
    W, before = rng.standard_normal((100, k)), rng.standard_normal((100, k))
    expected = 1.5 * (K.tocsr() @ W - 0.3 * W)
    coefficients = {"scale": 1.5, "shift": 0.3, "factor": 0.8}
    np.testing.assert_allclose(K.step(W, None, **coefficients), expected, atol=1e-12)
    expected -= 0.8 * before
    np.testing.assert_allclose(K.step(W, before, **coefficients), expected, atol=1e-12)


@pytest.mark.parametrize("n_parts", [1, 2, 7, 40])
def test_components(n_parts, rng):
    parts = np.sort(rng.integers(0, n_parts, 40)) if n_parts < 40 else np.arange(40)
    order = rng.permutation(40)
    A = (parts[:, np.newaxis] == parts)[order][:, order].astype(float)
    rows = sparse.csr_matrix(A)
    start, cols = rows.indptr.astype(np.intp), rows.indices.astype(np.int32)
    labels = SymmetricCSR(start, cols, rows.data, 1).components()
    np.testing.assert_array_equal(labels[:, np.newaxis] == labels, A > 0)
    assert labels.max() + 1 == len(np.unique(parts))


def test_threads_change_nothing(rng):
    K, _ = symmetric_csr(rng, 1000)
    A, W = K.tocsr(), rng.standard_normal((1000, 13))
    two = SymmetricCSR(A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data, 2)
    np.testing.assert_array_equal(two @ W, K @ W)
