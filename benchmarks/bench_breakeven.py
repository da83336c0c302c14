"""Break-even against the dense product

The N above which ``compress`` and a product with 1,000 vectors together take less time than ``K @
W`` with K already in memory (float32, 6-D standard normal points, Gaussian kernel of bandwidth 4,
rtol=1e-3); medians of five runs in turn. Break-even is the smallest N measured such that it and all
larger ones win. In [1]_ it is 6,000.
"""

import numpy as np
from common import (
    at_most,
    compress_noting,
    describe_form,
    gaussian,
    interleaved,
    main,
    normal_vectors,
    promised_error,
    relative_error,
)

N_VECTORS = 1000
RTOL = 1e-3
LIMIT = 5000


def measure(n):
    """Return one row, and whether compression wins."""
    K = gaussian(n, np.float32)
    W = normal_vectors(n, N_VECTORS, np.float32)
    dense = K.toarray()
    exact = np.empty_like(W)
    last = {}

    def ours():
        H, warned = compress_noting(K, rtol=RTOL, random_state=0)
        last.update(H=H, warned=warned, product=H @ W)

    seconds, _ = interleaved({"dense": lambda: np.matmul(dense, W, out=exact), "ours": ours})
    error = relative_error(last["product"], exact)
    return {
        "table": "Compress and multiply",
        "N": n,
        "dense, s": seconds["dense"],
        "compress + product, s": seconds["ours"],
        "speed-up": seconds["dense"] / seconds["ours"],
        "form": describe_form(last["H"], last["warned"]),
        "error": promised_error(error, RTOL, last["warned"]),
    }


def run(quick):
    """Return a row per N, and one with the break-even."""
    sizes = (1000, 2000, 4000) if quick else (*range(1000, 8001, 500), 10_000, 12_000)
    rows = [measure(n) for n in sizes]
    first = float("inf")
    for row in reversed(rows):
        if row["speed-up"] <= 1:
            break
        first = row["N"]
    return [*rows, {"table": "Break-even", "smallest N that wins": at_most(first, LIMIT)}]


if __name__ == "__main__":
    main(run, __doc__)
