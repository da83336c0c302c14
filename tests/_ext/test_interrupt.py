"""A signal stops a compiled loop at once: part of the result has not been written then."""

import signal

import numpy as np
import pytest
from skhmat._ext import float32_products
from skhmat._ext.gofmm import matvec, ulv
from skhmat._ext.simd import csr, log_sums, packed, pairwise

from skhmat._utils.parallel import single_threaded_blas
from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._hierarchical.ulv import ULVFactors
from skhmat.neighbors._density.box_tree import BoxTree

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")


class Interrupted(Exception):
    pass


def raise_interrupted(*_):
    raise Interrupted


def assert_stops(call, out):
    """Send a signal while `call` fills `out`, and check that it did not get far."""

    def interrupted_call():
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        call()

    before = signal.signal(signal.SIGALRM, raise_interrupted)
    out.fill(np.nan)
    try:
        with pytest.raises(Interrupted), single_threaded_blas():
            interrupted_call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isnan(out).mean() > 0.1


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("k", [1, 300])
def test_kernel_products(rng, k, n_threads):
    n = 60_000 if k == 1 else 12_000
    X, W, out = rng.normal(size=(n, 20)), np.ones((n, k)), np.empty((n, k))
    K = KernelMatrix(X[:2], "exponential")
    arguments = (pairwise_id("exponential"), K._core_parameters, out, n_threads)
    assert_stops(lambda: pairwise.kernel_matmat(X, X, W, *arguments), out)


def pairwise_id(name):
    return next(row["id"] for row in pairwise.kernel_table() if row["name"] == name)


def test_kernel_blocks(rng):
    n = 3000
    X, out, rows = rng.normal(size=(n, 1000)), np.empty((n, n)), np.arange(n)
    K = KernelMatrix(X[:2], "gaussian")
    arguments = (pairwise_id("gaussian"), K._core_parameters, out)
    assert_stops(lambda: pairwise.kernel_block(X, rows, X, rows, *arguments), out)


def test_sums_of_densities(rng):
    n = 40_000
    X, out, largest = rng.normal(size=(n, 10)), np.empty(n), np.empty(n)
    arguments = (log_sums.DENSITIES["gaussian"], np.array([0.5, np.inf, 0, 0]), out, largest)
    assert_stops(lambda: log_sums.log_sums(X, X, None, None, *arguments), out)


def test_sums_by_a_tree(rng):
    n = 30_000
    X, out, work = rng.normal(size=(n, 6)), np.empty(n), np.empty((n, 2))
    tree = BoxTree(X, 32)
    low, high = tree.box
    moments = tree.moments(None)
    arguments = (tree.first, tree.last, low, high, *moments, tree.columns, None, X, None)
    kernel = (log_sums.DENSITIES["gaussian"], np.array([0.5, np.inf, 1e-12, 0]))
    assert_stops(lambda: log_sums.tree_log_sums(*arguments, *kernel, out, work), out)


def test_sparse_products(rng):
    n, per_row, k = 20_000, 400, 200
    start = np.arange(0, n * per_row + 1, per_row)
    cols = rng.integers(n, size=n * per_row).astype(np.int32)
    entries, W, out = np.ones(n * per_row), np.ones((n, k)), np.empty((n, k))
    arguments = (start, cols, entries, W, 1.0, 0.0, 0.0, out, out)
    assert_stops(lambda: csr.sparse_step(*arguments), out)


def test_packed_products(rng):
    width, n_blocks, k = 512, 30, 256
    n = width * n_blocks
    tile = rng.normal(size=width**2).astype(np.float32)
    rows, cols = (width * i for i in np.tril_indices(n_blocks))
    sums = np.empty((1, n, k), dtype=np.float32)

    def call():
        sums.fill(0)
        W = np.ones((n, k), np.float32)
        packed.multiply_tiles(tile, rows, cols, np.zeros_like(rows), W, width, sums, 1)

    assert_stops(call, np.empty(1))
    assert (sums[0, -1] == 0).all()


def test_products_summed_in_float64(rng):
    F, k = np.ones((3000, 20_000), np.float32), 200
    W, out = np.ones((20_000, k)), np.empty((3000, k))
    assert_stops(lambda: float32_products.multiply_rows(F, W, out, 1), out)
    assert_stops(lambda: float32_products.multiply_columns(F, out, W, 1), W)


@pytest.fixture(scope="module")
def H():
    X = np.linspace(0, 1, 4096)[:, np.newaxis]
    H = compress(KernelMatrix(X, bandwidth=0.1), budget=0, leaf_size=1024, random_state=0)
    assert H.form.is_hss
    return H


def test_compressed_products(H):
    k, plan, s = 2000, H.form.plan, H.form.structure
    W, out = np.ones((4096, k)), np.empty((4096, k))
    charges, potentials = np.empty((2, plan.n_skeletons, k))
    buffers = np.empty((1, plan.buffer_rows * k))
    arguments = (plan, s.interp, s.far, s.near, W, 0, out, charges, potentials, buffers, 1)
    assert_stops(lambda: matvec.multiply(*arguments), out)


def test_solutions(H):
    k = 2000
    factors = ULVFactors.empty(H.form.structure)
    for array in (factors.V, factors.T, factors.L, factors.W):
        array.fill(0)
    core = factors.core()
    B, out, rows = np.ones((4096, k)), np.empty((4096, k)), np.empty((core.n_rows, k))
    assert_stops(lambda: ulv.solve(core, B, out, rows, 1), out)
