"""How well the product uses the machine

With 512 vectors: floating-point operations performed per second, as a fraction of what a dense
product (8,192 rows, 512 vectors) of the same dtype does in the same run. With one vector: bytes
of blocks and bases read per second, as a part of what a dense matrix-vector product (8,192 rows)
reads. A block that two nodes share is multiplied, and read, once for each of them; bases are read
on the way up and on the way down. *Stored* counts each block once, as if the second reading came
from the cache. 6-D standard normal points, Gaussian kernel of bandwidth 4.
"""

import numpy as np
from common import (
    at_least,
    compress_noting,
    gaussian,
    gemm_step,
    interleaved,
    main,
    normal_vectors,
    promised_error,
    relative_error,
)

# Smallest part of the dense product's GFLOP/s, with many vectors.
MIN_FLOPS = 0.5
# Smallest part of the dense product's GB/s, with one vector.
MIN_BANDWIDTH = 0.6


def entries_used(H):
    """Return the matrix entries that one product uses, and how many of them are stored.

    From the arrays of the structure: every pair in the lists is one block product, whether its
    block is stored for it or for its mirror image; each basis is used going up and going down.
    """
    s = H.form.structure
    sizes, ranks = np.diff(s.leaf_bounds), s.rank
    near = (np.repeat(sizes, np.diff(s.near_ptr)) * sizes[s.near_leaf]).sum()
    far = (np.repeat(ranks, np.diff(s.far_ptr)) * ranks[s.far_node]).sum()
    stored = s.interp.size + s.far.size + (0 if s.near is None else s.near.size)
    return int(near + far + 2 * s.interp.size), stored


def measure(n, dtype, rtol, n_reference):
    """Return a row for 512 vectors and one for a single vector."""
    K = gaussian(n, dtype)
    H, warned = compress_noting(K, rtol=rtol, random_state=0)
    case = {"N": n, "dtype": np.dtype(dtype).name, "rtol": f"{rtol:.0e}"}
    if H.is_dense:
        return [{"table": "Not measured", **case, "why": H.report_.reason_dense}]
    W = normal_vectors(n, 512, dtype)
    some = np.ascontiguousarray(W[:, :32])
    error = promised_error(relative_error(H @ some, K @ some), rtol, warned)
    used, stored = entries_used(H)
    rows = []
    for k in (512, 1):
        dense, flops, n_bytes = gemm_step(dtype, n_reference, k)
        V = W if k > 1 else W[:, 0].copy()
        seconds, _ = interleaved({"dense": dense, "ours": lambda V=V: H @ V}, repeats=9)
        itemsize, ours = np.dtype(dtype).itemsize, seconds["ours"]
        table = f"{k} vectors" if k > 1 else "One vector"
        row = {"table": table, **case, "error": error, "product, ms": 1e3 * ours}
        if k > 1:
            rate, dense_rate = 2 * used * k / ours / 1e9, flops / seconds["dense"] / 1e9
            row |= {"GFLOP/s": rate, "dense GFLOP/s": dense_rate}
            row["part"] = at_least(rate / dense_rate, MIN_FLOPS)
        else:
            rate, dense_rate = used * itemsize / ours / 1e9, n_bytes / seconds["dense"] / 1e9
            row |= {"GB/s": rate, "dense GB/s": dense_rate}
            row["part"] = at_least(rate / dense_rate, MIN_BANDWIDTH)
            row["part, stored"] = stored * itemsize / ours / 1e9 / dense_rate
        rows.append(row)
    return rows


def run(quick):
    """Return the rows with 512 vectors, then those with one."""
    n, n_reference = (4096, 2048) if quick else (32768, 8192)
    rows = []
    for dtype in (np.float32, np.float64):
        for rtol in (1e-3, 2e-5):
            rows += measure(n, dtype, rtol, n_reference)
    return sorted(rows, key=lambda row: row["table"])


if __name__ == "__main__":
    main(run, __doc__)
