"""Growth with N

Time and memory for 6-D standard normal points in float32, Gaussian kernel of bandwidth 4,
rtol=1e-3; the product is with 64 vectors. *Peak* is the largest memory of the process, the
interpreter and the points included. Each N runs in a process of its own: up to five times, as
long as that stays within 40 seconds (medians). The error is that of 512 random rows. Growth is
per doubling of N, against the row before.
"""

import time

import numpy as np
from common import (
    REPEATS,
    at_most,
    compress_noting,
    describe_form,
    describe_ranks,
    error_on_rows,
    gaussian,
    in_fresh_process,
    interleaved,
    main,
    normal_vectors,
    peak_rss,
    promised_error,
)

RTOL = 1e-3
SECONDS = 40
LIMIT = 2.3
MILLION = 1_000_000
# Most seconds of the set-up for a million points.
MILLION_SECONDS = 240
# Largest memory of that process.
MILLION_BYTES = 12 * 2**30
# Largest time of a product there, relative to the set-up.
MILLION_PRODUCT = 0.05


def child(n, repeats):
    """Measure one N; runs in a process of its own."""
    K = gaussian(n, np.float32)
    H, set_ups, peak = None, [], 0
    while len(set_ups) < repeats and (not set_ups or sum(set_ups) < SECONDS):
        H = None
        start = time.perf_counter()
        H, warned = compress_noting(K, rtol=RTOL, random_state=len(set_ups))
        set_ups.append(time.perf_counter() - start)
        peak = peak or peak_rss()
    W = normal_vectors(n, 64, np.float32)
    product = interleaved({"product": lambda: H @ W})[0]["product"]
    return {
        "set_up": float(np.median(set_ups)),
        "n_runs": len(set_ups),
        "product": product,
        "n_bytes": H.nbytes,
        "peak": peak,
        "form": describe_form(H, warned),
        "warned": warned,
        "ranks": describe_ranks(H),
        "error": error_on_rows(H, K),
    }


def growth_row(n, found, before):
    """Return one row; `before` is the N and the figures of the row before."""
    row = {
        "table": f"Doubling N ({LIMIT} allowed per doubling)",
        "N": n,
        "error": promised_error(found["error"], RTOL, found["warned"]),
        "form": found["form"],
        "rank, mean / max": found["ranks"],
        "set-up, s": found["set_up"],
        "product, s": found["product"],
        "MB": found["n_bytes"] / 1e6,
        "peak, MB": found["peak"] / 1e6,
        "runs": found["n_runs"],
    }
    for name, key in (("set-up", "set_up"), ("product", "product"), ("memory", "n_bytes")):
        column = f"growth, {name}"
        if before is None:
            row[column] = ""
        else:
            doublings = np.log2(n / before[0])
            row[column] = at_most((found[key] / before[1][key]) ** (1 / doublings), LIMIT)
    return row


def million_row(found):
    """Return the row for a million points."""
    return {
        "table": "A million points",
        "N": MILLION,
        "error": promised_error(found["error"], RTOL, found["warned"]),
        "form": found["form"],
        "rank, mean / max": found["ranks"],
        "MB": found["n_bytes"] / 1e6,
        "set-up, s": at_most(found["set_up"], MILLION_SECONDS),
        "peak, GiB": at_most(found["peak"] / 2**30, MILLION_BYTES / 2**30),
        "product, s": found["product"],
        "product / set-up": at_most(found["product"] / found["set_up"], MILLION_PRODUCT),
    }


def run(quick):
    """Return a row per N."""
    rows, before = [], None
    sizes = (4000, 8000, 16_000) if quick else (25_000, 50_000, 100_000, 200_000, 400_000)
    for n in sizes:
        found = in_fresh_process(child, n, REPEATS)
        if found is None:
            return [*rows, {"table": "Failed", "N": n, "what": "the process was killed"}]
        rows.append(growth_row(n, found, before))
        before = n, found
    if not quick:
        found = in_fresh_process(child, MILLION, 1)
        failed = {"table": "A million points", "N": MILLION, "peak, GiB": at_most(np.inf, 12)}
        rows.append(failed if found is None else million_row(found))
    return rows


if __name__ == "__main__":
    main(run, __doc__)
