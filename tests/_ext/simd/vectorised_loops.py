"""One call of every vectorised loop of the core, on numbers that are always the same."""

import numpy as np
from skhmat._ext.simd import csr, dispatch, log_sums, nearest, packed, pairwise

from skhmat.linalg._kernels.table import KERNELS
from skhmat.neighbors._density.kernels import DensityKernel
from skhmat.neighbors._density.sums import DensitySums


def results():
    """Return the results by the names of the loops and dtypes."""
    out = {}
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((70, 19)).astype(dtype)
        rows = np.arange(70)
        found = _of_dtype(X, rows, rng.standard_normal((70, 3)).astype(dtype))
        out |= {f"{name} {np.dtype(dtype)}": array for name, array in found.items()}
    return out | _of_one_dtype(np.random.default_rng(1))


def _of_dtype(X, rows, W):
    n, kernel, bandwidth = len(X), KERNELS["gaussian"].id, np.array([3.0])
    out = {"block": np.empty((n, n), X.dtype), "exp": np.empty(X.size, X.dtype)}
    pairwise.kernel_block(X, rows, X, rows, kernel, bandwidth, out["block"])
    dispatch.exp_array(X.ravel(), out["exp"])
    out["product"] = np.empty((n, 3), X.dtype)
    pairwise.kernel_matmat(X, X, W, kernel, bandwidth, out["product"])
    density = DensityKernel("gaussian", 3.0)
    out["log_sums"], largest = np.empty(n), np.empty(n)
    log_sums.log_sums(
        X, X, None, None, density.core_id, density.core_parameters, out["log_sums"], largest
    )
    out["search"], ids = np.full((n, 5), np.inf, X.dtype), np.full((n, 5), -1, np.int32)
    nearest.search_points(X, rows, rows, rows, out["search"], ids)
    out["search_gram"], ids = np.full((n, 5), np.inf, X.dtype), np.full((n, 5), -1, np.int32)
    square, scale = (X * X).sum(1), np.linspace(0.3, 0.7, n).astype(X.dtype)
    nearest.search_gram(out["block"], square, scale, rows, rows, rows, out["search_gram"], ids)
    for name in ("search", "search_gram"):  # in no order but that of the instruction set
        out[name] = np.sort(out[name], axis=1)
    out["projection"] = nearest.project_points(X, rows, X[0], X[1])
    return out


def _of_one_dtype(rng):
    X, Y = rng.standard_normal((40, 3)), rng.standard_normal((900, 3))
    out = {}
    out["tree"], _ = DensitySums(Y, 40, 1).by_tree(X, DensityKernel("exponential", 0.5, 1e-3))
    out["csr"], W = np.empty((40, 17)), rng.standard_normal((40, 17))
    start, cols = np.arange(41) * 6, rng.integers(0, 40, 240).astype(np.int32)
    csr.sparse_step(start, cols, rng.standard_normal(240), W, 1.3, 0.7, 0.0, out["csr"], out["csr"])
    k = packed.tile_lanes()
    tile = rng.standard_normal((20, 20)).astype(np.float32)
    # Columns that every instruction set computes.
    columns = np.repeat(rng.standard_normal((20, 1)).astype(np.float32), k, axis=1)
    sums, zero = np.zeros((1, 20, k), np.float32), np.zeros(1, np.intp)
    packed.multiply_tiles((tile + tile.T).ravel(), zero, zero, zero, columns, 20, sums, 1)
    out["packed"] = sums[0, :, 0]
    return out
