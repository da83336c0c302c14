"""The parts of a hierarchical matrix: what is held, what is read anew, what a pickle has."""

import dataclasses
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._hierarchical.form import exact_form
from skhmat.linalg._hierarchical.report import CompressionReport

from .problems import make_compressed, make_kernel, without_near_blocks


@pytest.fixture(scope="module", params=[0.0, 0.2], ids=["hss", "fmm"])
def H(request):
    return make_compressed(request.param)


def exact(K, n_jobs=None, **options):
    return exact_form(Entries(as_source(K, **options)), CompressionReport(), n_jobs)


def test_kind_of_form(H):
    assert not H.form.is_dense
    assert H.form.is_hss == H.form.structure.is_hss
    dense = exact(np.eye(5))
    assert dense.is_dense
    assert not dense.is_hss


def test_diagonal_blocks_are_held_or_computed_anew(H):
    K = make_kernel()
    s = H.form.structure
    for form in (H.form, without_near_blocks(H, K).form):
        blocks, offset = form.diagonal_blocks()
        assert len(offset) == s.n_leaves
        for leaf in range(s.n_leaves):
            rows = s.permutation[s.leaf_positions(leaf)]
            block = blocks[offset[leaf] : offset[leaf] + len(rows) ** 2]
            assert_array_equal(block.reshape(len(rows), -1), K.block(rows, rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 2.0**40])
def test_diagonal_is_in_the_order_and_the_scale_of_the_user(scale, dtype, rng):
    A = rng.standard_normal((300, 2))
    dense = (scale * (A @ A.T + np.diag(1 + rng.random(300)))).astype(dtype)
    H = compress(dense, rtol=1e-2, leaf_size=32, budget=0, points=A, random_state=0)
    assert not H.is_dense
    assert_array_equal(H.form.diagonal(), dense.diagonal())
    assert H.form.diagonal().dtype == dtype
    assert_array_equal(exact(dense).diagonal(), dense.diagonal())


def test_bytes_are_those_of_what_is_held(H, rng):
    assert H.form.nbytes == H.form.structure.nbytes
    X = rng.standard_normal((50, 3))
    assert exact(KernelMatrix(X)).nbytes == X.nbytes
    assert exact(np.eye(50, dtype=np.float32)).nbytes == 50 * 50 * 4


def test_scale_is_that_of_the_report(H):
    assert exact(np.eye(3)).scale == 1.0
    report = CompressionReport(parameters={"scale": 0.25})
    assert dataclasses.replace(H.form, report=report).scale == 0.25


def test_number_of_threads(H):
    assert dataclasses.replace(H.form, n_jobs=2).n_threads == 2
    assert dataclasses.replace(H.form, n_jobs=None).n_threads >= 1


def test_the_plan_is_made_once(H):
    assert H.form.plan is H.form.plan


# ---- the exact matrix


def test_an_array_is_held_as_it_is(rng):
    K = rng.standard_normal((40, 40))
    assert exact(K).exact.array is K


def test_threads_of_a_kernel_are_those_of_the_form_and_the_users_object_stays(rng):
    K = KernelMatrix(rng.standard_normal((40, 2)), n_jobs=1)
    assert exact(K).exact is K
    form = exact(K, n_jobs=2)
    assert form.exact.n_jobs == 2
    assert form.n_jobs == 2
    assert K.n_jobs == 1
    assert np.shares_memory(form.exact.points, K.points)


def test_a_callable_is_read_once_and_in_batches_of_rows(rng):
    dense, calls = rng.standard_normal((600, 600)), []

    def K(rows, cols):
        calls.append((len(rows), len(cols)))
        return dense[np.ix_(rows, cols)]

    source = as_source(K, shape=dense.shape)
    calls.clear()
    form = exact_form(Entries(source), CompressionReport(), None)
    assert sum(m * n for m, n in calls) == dense.size
    assert max(m for m, n in calls) < 600
    assert_array_equal(form.exact.array, dense)
    assert form.source is form.exact


# ---- pickles


def test_a_pickle_has_entries_only_where_they_are_needed(H):
    dense = make_kernel().toarray()
    from_array = compress(dense, rtol=1e-3, leaf_size=50, budget=0.2, random_state=0).form
    assert from_array.entries is not None
    assert pickle.loads(pickle.dumps(from_array)).entries is None
    assert pickle.loads(pickle.dumps(from_array)).recompress is None
    # Points are small, and new points need them.
    form = pickle.loads(pickle.dumps(H.form))
    assert_array_equal(form.source.points, H.form.source.points)
    assert form.recompress is not None
    lean = without_near_blocks(H, dense).form
    assert_array_equal(pickle.loads(pickle.dumps(lean)).source.array, dense)


def test_a_pickle_has_no_object_of_the_compiled_core(H):
    assert H.form.plan is not None
    form = pickle.loads(pickle.dumps(H.form))
    assert "plan" not in vars(form)
    assert_array_equal(form.diagonal(), H.form.diagonal())
