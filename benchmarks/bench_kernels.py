"""Kernel entries and products

Gaussian kernel of standard normal points, N = 4,096: a block of 512 x 512 entries on one thread,
and exact products with ``KernelMatrix`` on all threads, in billions of point pairs a second;
compared with NumPy (GEMM for the distances, then the exponential in place; products in chunks of
rows). Medians of runs in turn; the error is that of 16 rows, against float64. The targets, for
two cores and one vector, are what a plain C loop reaches that was compiled for the machine.
"""

import numpy as np
from common import REPEATS, at_least, interleaved, main, relative_error

from skhmat._utils.parallel import effective_n_threads, single_threaded_blas
from skhmat.linalg import KernelMatrix

N = 4096
# (dtype, dimension): billions of pairs a second on two cores with AVX-512.
TARGETS = {("float32", 2): 3.1, ("float64", 2): 1.5, ("float32", 6): 2.2, ("float64", 6): 1.0}


def numpy_block(X, Y, bandwidth):
    """What one writes without this library: GEMM for the distances, then exp in place."""
    r2 = X @ Y.T
    r2 *= -2
    r2 += np.einsum("ij,ij->i", X, X)[:, None]
    r2 += np.einsum("ij,ij->i", Y, Y)
    np.maximum(r2, 0, out=r2)
    r2 *= -0.5 / bandwidth**2
    return np.exp(r2, out=r2)


def numpy_product(X, W, bandwidth, step=1024):
    return np.concatenate(
        [numpy_block(X[i : i + step], X, bandwidth) @ W for i in range(0, len(X), step)]
    )


def _error(got, X, rows, W, bandwidth):
    """Relative error of some rows of the product, against float64."""
    Z = X.astype(np.float64)
    exact = np.exp(-((Z[rows, None] - Z) ** 2).sum(axis=-1) / (2 * bandwidth**2))
    exact = exact if W is None else exact @ W.astype(np.float64)
    return relative_error(got, exact)


def _row(job, X, ours, theirs, pairs, error):
    seconds, _ = interleaved({"ours": ours, "numpy": theirs}, REPEATS)
    dtype, d = X.dtype.name, X.shape[1]
    rate = pairs / seconds["ours"] / 1e9
    if job == "product, 1" and (dtype, d) in TARGETS and effective_n_threads(None) == 2:
        rate = at_least(rate, TARGETS[dtype, d])
    return {
        "job": job,
        "dtype": dtype,
        "d": d,
        "Gpairs/s": rate,
        "NumPy, Gpairs/s": pairs / seconds["numpy"] / 1e9,
        "speed-up": seconds["numpy"] / seconds["ours"],
        "error": error,
    }


def _block_row(K, n=512):
    """One block into memory that exists already, as the compression asks for it: on one thread."""
    X, every, out = K.X[:n], np.arange(n), np.empty((n, n), dtype=K.dtype)

    def theirs():
        with single_threaded_blas():
            numpy_block(X, X, K.bandwidth)

    error = _error(K.block(every[:16], every), X, every[:16], None, K.bandwidth)
    return _row("block", X, lambda: K.block(every, every, out=out), theirs, n**2, error)


def run(quick):
    """Return one row per job, dtype and dimension."""
    dims, n_vectors = ((2, 6), (1, 16)) if quick else ((2, 6, 16, 40, 147), (1, 16, 512))
    rng = np.random.default_rng(0)
    some = np.arange(16)
    rows = []
    for dtype in (np.float32, np.float64):
        for d in dims:
            X = rng.standard_normal((N, d)).astype(dtype)
            bandwidth = float(np.sqrt(d))
            K = KernelMatrix(X, bandwidth=bandwidth)
            rows.append(_block_row(K))
            for k in n_vectors:
                W = rng.standard_normal((N, k)).astype(dtype)
                ours = lambda K=K, W=W: K @ W  # noqa: E731
                theirs = lambda X=X, W=W, b=bandwidth: numpy_product(X, W, b)  # noqa: E731
                error = _error(ours()[some], X, some, W, bandwidth)
                rows.append(_row(f"product, {k}", X, ours, theirs, N**2, error))
    return rows


if __name__ == "__main__":
    main(run, __doc__)
