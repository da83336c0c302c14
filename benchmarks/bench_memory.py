"""Peak memory of compress

How far the memory of a process rises above what it held when ``compress`` began, in a process of
its own for each row: at most three times what the result holds, and 200 MB. 6-D standard normal
points, Gaussian kernel.
"""

import numpy as np
from common import (
    at_most,
    compress_noting,
    describe_form,
    error_on_rows,
    gaussian,
    in_fresh_process,
    main,
    peak_rss,
    promised_error,
    reset_peak_rss,
    rss,
)

# The peak may be this many times the bytes that the result holds,
FACTOR = 3
# and this many bytes more.
MORE = 200e6


def child(n, dtype, bandwidth, rtol):
    """Measure one case; runs in a process of its own."""
    K = gaussian(n, dtype, bandwidth)
    reset_peak_rss()
    before = rss()
    H, warned = compress_noting(K, rtol=rtol, random_state=0)
    rise = peak_rss() - before
    return rise, H.nbytes, describe_form(H, warned), warned, error_on_rows(H, K)


def measure(n, dtype, bandwidth, rtol):
    """Return one row."""
    case = {"N": n, "dtype": dtype, "bandwidth": bandwidth, "rtol": f"{rtol:.0e}"}
    found = in_fresh_process(child, n, dtype, bandwidth, rtol)
    if found is None:
        return {**case, "peak, MB": at_most(np.inf, 0, "killed")}
    rise, n_bytes, form, warned, error = found
    return {
        **case,
        "error": promised_error(error, rtol, warned),
        "form": form,
        "result, MB": n_bytes / 1e6,
        "peak, MB": at_most(rise / 1e6, (FACTOR * n_bytes + MORE) / 1e6),
    }


def run(quick):
    """Return a row per case."""
    cases = [(n, "float32", 4, 1e-3) for n in ((2048, 4096) if quick else (8192, 32768, 131072))]
    if not quick:
        cases += [
            (32768, "float64", 4, 1e-3),
            (32768, "float32", 4, 2e-5),
            (32768, "float32", 1, 1e-3),
        ]
    return [measure(*case) for case in cases]


if __name__ == "__main__":
    main(run, __doc__)
