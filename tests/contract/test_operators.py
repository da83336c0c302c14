"""Every operator of the package, run through every law of the contract."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._kernels.table import KERNELS

from ..linalg.matrices import make_matrix
from .operator_contract import LAWS, Case

N = 512


class BlockOf:
    """A callable K that pickles: blocks of a Gaussian kernel matrix."""

    def __init__(self, X, bandwidth=1.0):
        self.X, self.bandwidth = X, bandwidth
        self.shape, self.dtype = (len(X), len(X)), X.dtype

    def __call__(self, rows, cols):
        return np.exp(cdist(self.X[rows], self.X[cols], "sqeuclidean") / (-2 * self.bandwidth**2))


def cityblock_kernel(A, B):
    return np.exp(-cdist(A, B, "cityblock"))


def points(seed, n=N, d=2, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def gaussian(X, bandwidth=1.0):
    return np.exp(cdist(X, X, "sqeuclidean") / (-2 * bandwidth**2))


def kernel(name, dtype, units=1.0):
    def make(seed):
        X = points(seed, 150, 4, dtype)
        bandwidth = 1.5 * np.broadcast_to(units, 4) if np.ndim(units) else 1.5
        K = KernelMatrix(X * np.asarray(units, dtype), name, bandwidth, alpha=0.7)
        return Case(K, KernelMatrix(X.astype(float), name, 1.5, alpha=0.7).toarray(), _exact(dtype))

    return make


def compressed(
    dtype=np.float64,
    *,
    form=None,
    near=None,
    scale=1.0,
    n=N,
    spread=1.0,
    rtol=None,
    held=True,
    **options,
):
    """Return a maker of the compressed Gaussian kernel matrix, given as `form`."""

    def make(seed):
        X = spread * points(seed, n, dtype=dtype)
        dense = scale * gaussian(X.astype(float))
        promise = rtol if rtol is not None else 1e-3 if dtype == np.float32 else 1e-4
        settings = {"leaf_size": 32, "random_state": seed, "rtol": promise, "n_jobs": 1, **options}
        H = compress(_as_form(form, X, dense.astype(dtype)), **settings)
        assert not H.is_dense
        if near is not None:
            n_leaves = len(H.form.structure.leaf_bounds) - 1
            assert (len(H.form.structure.near_leaf) > n_leaves) == near
        assert (H.form.structure.near is not None) == held
        return Case(H, dense, max(2 * promise, _exact(dtype)))

    return make


def fourier(dtype=np.float64):
    """Return a maker of the Fourier form of a Gaussian kernel matrix."""

    def make(seed):
        pytest.importorskip("finufft")
        X, promise = points(seed, dtype=dtype), 1e-3 if dtype == np.float32 else 1e-5
        K = KernelMatrix(X, n_jobs=1)
        H = compress(K, promise, form="fourier", n_jobs=1, random_state=seed)
        return Case(H, gaussian(X.astype(float)), max(2 * promise, _exact(dtype)))

    return make


def _as_form(form, X, dense):
    if form == "kernel":
        return KernelMatrix(X)
    if form == "callable":
        return BlockOf(X)
    if form == "fortran":
        return np.asfortranarray(dense)
    if form == "memmap":
        path = Path(tempfile.mkdtemp(prefix="skhmat")) / "K.bin"
        dense.tofile(path)
        mapped = np.memmap(path, dtype=dense.dtype, mode="r", shape=dense.shape)
        path.unlink()  # the pages live as long as the map
        path.parent.rmdir()
        return mapped
    return dense


def incompressible(form, dtype=np.float64):
    """Return a maker of a matrix that does not pay, held exactly."""

    def make(seed):
        if form in ("kernel", "callable"):
            X = points(seed, 300, 8, dtype)
            dense = gaussian(X.astype(float))
        else:
            X, dense = None, np.array(make_matrix("incompressible", 300, seed).dense)
        H = compress(
            _as_form(form, X, dense.astype(dtype)), rtol=1e-6, leaf_size=32, random_state=seed
        )
        assert H.is_dense
        return Case(H, dense, _exact(dtype))

    return make


def tiny(n, dtype=np.float64):
    def make(seed):
        X = points(seed, n, dtype=dtype)
        H = compress(KernelMatrix(X), leaf_size=8, random_state=seed)
        return Case(H, gaussian(X.astype(float)), max(2e-4, _exact(dtype)))

    return make


def factorized(make_matrix, shift=1.0):
    """Return a maker of the inverse of a matrix with a shift, from its factorization."""

    def make(seed):
        H = make_matrix(seed).operator
        own = (H @ np.eye(H.shape[0], dtype=H.dtype)).astype(np.float64)
        inverse = np.linalg.inv((own + own.T) / 2 + shift * np.eye(len(own)))
        error = 1e-10 if H.dtype == np.float64 else 1e-3
        # All eigenvalues of K near 0 become eigenvalues near 1 / shift.
        return Case(H.factorize(shift), inverse, error, has_entries=False, is_clustered=True)

    return make


def _exact(dtype):
    return 100 * np.finfo(dtype).eps


F32 = np.float32
OPERATORS = {
    **{f"{name}-{np.dtype(t)}": kernel(name, t) for name in KERNELS for t in (F32, np.float64)},
    # Powers of two, so that points are not rounded.
    **{f"features-{np.dtype(t)}": kernel("matern52", t, [0.5, 2, 8, 0.25]) for t in (F32, float)},
    "callable-kernel": kernel(cityblock_kernel, np.float64),
    "hss": compressed(budget=0, near=False),
    "hss-float32": compressed(F32, budget=0, near=False),
    "fmm": compressed(budget=0.2, near=True),
    "fmm-float32": compressed(F32, budget=0.2, near=True),
    "auto": compressed(budget="auto"),
    "loose": compressed(rtol=1e-2, budget=0.1, near=True),
    "recomputed": compressed(max_bytes=0, budget=0.2, near=True, held=False),
    "recomputed-kernel": compressed(form="kernel", max_bytes=0, held=False),
    "recomputed-kernel-float32": compressed(F32, form="kernel", max_bytes=0, held=False),
    "recomputed-callable": compressed(form="callable", max_bytes=0, held=False),
    "recomputed-scaled": compressed(max_bytes=0, scale=1e25, held=False),
    "scaled-up": compressed(scale=1e30),
    "scaled-down": compressed(scale=1e-30, budget=0.2),
    "scaled-up-float32": compressed(F32, scale=1e30),
    "scaled-down-float32": compressed(F32, scale=1e-25),
    "kernel": compressed(form="kernel"),
    "kernel-float32": compressed(F32, form="kernel", budget=0.2),
    "callable": compressed(form="callable"),
    "memmap": compressed(form="memmap"),
    "memmap-recomputed": compressed(form="memmap", max_bytes=0, held=False),
    "fortran": compressed(form="fortran", distance="kernel"),
    "two-threads": compressed(n_jobs=2, budget=0.2),
    "accurate": compressed(n=1000, spread=0.3, rtol=1e-7),
    "depth-0": compressed(leaf_size=N),
    "depth-0-float32": compressed(F32, leaf_size=N),
    "depth-0-recomputed": compressed(leaf_size=N, max_bytes=0, form="kernel", held=False),
    "fourier": fourier(),
    "fourier-float32": fourier(F32),
    "dense": incompressible("array"),
    "dense-float32": incompressible("array", F32),
    "dense-fortran": incompressible("fortran"),
    "dense-memmap": incompressible("memmap"),
    "dense-kernel": incompressible("kernel"),
    "dense-callable": incompressible("callable"),
    "inverse": factorized(compressed(budget=0)),
    "inverse-float32": factorized(compressed(F32, budget=0)),
    "inverse-two-threads": factorized(compressed(budget=0, n_jobs=2)),
    "inverse-of-dense": factorized(incompressible("array")),
    "inverse-of-dense-kernel-float32": factorized(incompressible("kernel", F32)),
    "n=1": tiny(1),
    "n=1-float32": tiny(1, F32),
    "n=2": tiny(2),
    "n=9": tiny(9),
}


@cache
def case_of(name, seed):
    case = OPERATORS[name](seed)
    case.seed = seed
    return case


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name, law, global_random_seed):
    law(case_of(name, global_random_seed))
