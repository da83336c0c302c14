"""Sums at new points

``H.evaluate`` against the sum over all points, ``KernelMatrix.evaluate``: as many new points as
points, both standard normal in six dimensions, Gaussian kernel of bandwidth 4, rtol=1e-3. Medians
of runs in turn; the sum over all points is timed on a tenth of the new ones, and that times ten is
given. Weights are positive, uniform in [0, 1), or standard normal, where the sums cancel. The
error is that of 1,000 of the sums, in float64; *measured* is what ``return_error`` says. Marked
warned: ``evaluate`` said that the promise is missed.
"""

import time
import warnings

import numpy as np
from common import (
    at_least,
    at_most,
    compress_noting,
    describe_form,
    gaussian,
    interleaved,
    main,
    normal_points,
    normal_vectors,
    relative_error,
)

from skhmat.linalg import KernelMatrix

BANDWIDTH = 4.0
RTOL = 1e-3
SPEED_UP = 10
PART = 10  # the sum over all points is timed on one in this many new points
N_CHECKED = 1000
SECONDS = 30


def make_weights(kind, n, k, dtype):
    """Return the weights of k sums."""
    if kind == "normal":
        return normal_vectors(n, k, dtype)
    return np.random.default_rng(1).random((n, k), dtype=np.dtype(dtype))


def measure(H, K, X_new, kind, k):
    """Return the figures of one kind of weights, as a part of a row."""
    n, n_part = len(X_new), len(X_new) // PART
    W = make_weights(kind, K.shape[0], k, K.dtype)
    got = {}

    def ours():
        got["sums"], got["error"] = H.evaluate(X_new, W, return_error=True)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seconds, _ = interleaved(
            {"ours": ours, "all": lambda: K.evaluate(X_new[:n_part], W)}, seconds=SECONDS
        )
    brute = seconds["all"] * n / n_part
    some = np.sort(np.random.default_rng(2).choice(n, size=min(n, N_CHECKED), replace=False))
    double = KernelMatrix(K.points.astype(np.float64), bandwidth=BANDWIDTH)
    exact = double.evaluate(X_new[some].astype(np.float64), W.astype(np.float64))
    error = relative_error(got["sums"][some], exact)
    return {
        "weights": kind,
        "sums": k,
        "evaluate, s": seconds["ours"],
        "all points, s": brute,
        "speed-up": at_least(brute / seconds["ours"], SPEED_UP),
        "error": at_most(error, RTOL, "warned" if caught else ""),
        "measured": got["error"],
    }


def run(quick):
    """Return a row per dtype, number of sums and kind of weights."""
    n = 4000 if quick else 100_000
    rows = []
    for dtype in (np.float32, np.float64):
        K, X_new = gaussian(n, dtype, BANDWIDTH), normal_points(n, dtype, seed=3)
        start = time.perf_counter()
        H, warned = compress_noting(K, rtol=RTOL, random_state=0)
        case = {
            "N": n,
            "dtype": np.dtype(dtype).name,
            "form": describe_form(H, warned),
            "compress, s": time.perf_counter() - start,
        }
        for k in (1, 16):
            rows += [{**case, **measure(H, K, X_new, kind, k)} for kind in ("positive", "normal")]
    return rows


if __name__ == "__main__":
    main(run, __doc__)
