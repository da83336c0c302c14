"""One-off products beside other ways to write them

``K @ W`` for a Gaussian kernel matrix that is not in memory, from the points to the result: in
chunks with NumPy (GEMM for the distances, then the exponential in place), in chunks with
scikit-learn's ``rbf_kernel``, with ``KernelMatrix``, and with ``compress`` (rtol=1e-3) and one
product. Standard normal points, bandwidth 4 in six dimensions and 8 in forty; medians of runs in
turn.
"""

import numpy as np
from bench_kernels import numpy_product
from common import (
    compress_noting,
    describe_form,
    interleaved,
    main,
    normal_points,
    normal_vectors,
    promised_error,
    relative_error,
)
from sklearn.metrics.pairwise import rbf_kernel

from skhmat.linalg import KernelMatrix

RTOL = 1e-3
CHUNK = 1024
SECONDS = 30


def sklearn_product(X, W, bandwidth):
    """What scikit-learn's users write."""
    gamma = 0.5 / bandwidth**2
    return np.concatenate(
        [rbf_kernel(X[i : i + CHUNK], X, gamma=gamma) @ W for i in range(0, len(X), CHUNK)]
    )


def measure(n, d, bandwidth, dtype, k):
    """Return one row."""
    X, W = normal_points(n, dtype, d), normal_vectors(n, k, dtype)
    many = normal_vectors(n, 64, dtype)  # for the errors, which are defined for many vectors
    got = {}

    def ours():
        K = KernelMatrix(X, bandwidth=bandwidth)
        got["H"], got["warned"] = compress_noting(K, rtol=RTOL, random_state=0)
        return got["H"] @ W

    steps = {
        "NumPy": lambda: numpy_product(X, W, bandwidth),
        "scikit-learn": lambda: sklearn_product(X, W, bandwidth),
        "KernelMatrix": lambda: KernelMatrix(X, bandwidth=bandwidth) @ W,
        "compress": ours,
    }
    seconds, _ = interleaved(steps, seconds=SECONDS)
    exact = sklearn_product(X.astype(np.float64), many.astype(np.float64), bandwidth)
    error = relative_error(got["H"] @ many, exact)
    return {
        "N": n,
        "d": d,
        "dtype": np.dtype(dtype).name,
        "vectors": k,
        **{f"{name}, s": value for name, value in seconds.items()},
        "KernelMatrix, speed-up": seconds["NumPy"] / seconds["KernelMatrix"],
        "NumPy, error": relative_error(numpy_product(X, many, bandwidth), exact),
        "KernelMatrix, error": relative_error(KernelMatrix(X, bandwidth=bandwidth) @ many, exact),
        "compress, error": promised_error(error, RTOL, got["warned"]),
        "compress, form": describe_form(got["H"], got["warned"]),
    }


def run(quick):
    """Return a row per dimension, dtype and number of vectors."""
    return [
        measure(2048 if quick else 16384, d, bandwidth, dtype, k)
        for d, bandwidth in ((6, 4.0), (40, 8.0))
        for dtype in (np.float32, np.float64)
        for k in (1, 64)
    ]


if __name__ == "__main__":
    main(run, __doc__)
