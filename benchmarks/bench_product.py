"""Set-up and product against the dense product

Gaussian kernel matrices of 6-D standard normal points, ``leaf_size=256``. *Dense* is NumPy's ``K
@ W`` with 512 vectors, K in memory and of the same dtype, on all threads, in the same run.
*Set-up* is the whole of ``compress`` on the points. Medians of runs in turn (five, or three to
five where they take long), each with another ``random_state``; the error is the largest of these,
over all rows, against the dense product; the estimate is that of the same run. At bandwidths 2 and
1, blocks are hardly of low rank: there the promise must be kept, by the dense matrix if need be, or
a warning be given, at no more than 1.5 times the cost of the dense product in total.
"""

import numpy as np
from common import (
    at_least,
    at_most,
    compress_noting,
    describe_form,
    describe_ranks,
    gaussian,
    interleaved,
    main,
    normal_vectors,
    promised_error,
    relative_error,
)

N_VECTORS = 512
# (N, rtol): largest set-up in dense products, smallest speed-up of the product, at bandwidth 4.
TARGETS = {
    (8192, 1e-3): (1.2, 8),
    (8192, 2e-5): (2, 4),
    (32768, 1e-3): (0.35, 28),
    (32768, 2e-5): (1, 12),
}
MAX_TOTAL = 1.5
SECONDS = 90  # per matrix; beyond that three repeats instead of five


class Job:
    """One matrix and one promise, as steps to be timed in turn with the dense product."""

    def __init__(self, K, W, rtol):
        self.K, self.W, self.rtol = K, W, rtol
        self.H = self.Y = None
        self.seed, self.error, self.estimate, self.warned = 0, 0.0, 0.0, False

    def set_up(self):
        options = {"rtol": self.rtol, "leaf_size": 256, "random_state": self.seed}
        self.H, warned = compress_noting(self.K, **options)
        self.warned |= warned

    def product(self):
        self.Y = self.H @ self.W

    def check(self, exact):
        """Keep the largest error, describe the matrix, and make room for the next one."""
        error = relative_error(self.Y, exact)
        if error >= self.error:
            self.error, self.estimate = error, self.H.error_estimate_
        self.form = describe_form(self.H, self.warned)
        self.ranks, self.n_bytes = describe_ranks(self.H), self.H.nbytes
        self.seed += 1
        self.H = self.Y = None

    def row(self, n, dtype, bandwidth, dense, set_up, product, n_runs):
        slower, faster, total = set_up / dense, dense / product, (set_up + product) / dense
        if bandwidth == 4 and (n, self.rtol) in TARGETS:
            most, least = TARGETS[n, self.rtol]
            slower, faster = at_most(slower, most), at_least(faster, least)
        elif bandwidth < 4:
            total = at_most(total, MAX_TOTAL)
        return {
            "table": f"N = {n:,}, {np.dtype(dtype).name}",
            "bandwidth": bandwidth,
            "rtol": f"{self.rtol:.0e}",
            "error": promised_error(self.error, self.rtol, self.warned),
            "estimate": self.estimate,
            "form": self.form,
            "rank, mean / max": self.ranks,
            "MB": self.n_bytes / 1e6,
            "dense, s": dense,
            "set-up, s": set_up,
            "product, s": product,
            "set-up / dense": slower,
            "dense / product": faster,
            "(set-up + product) / dense": total,
            "runs": n_runs,
        }


def measure(n, dtype, bandwidth, rtols):
    """Return one row per promise for one matrix."""
    K = gaussian(n, dtype, bandwidth)
    W = normal_vectors(n, N_VECTORS, dtype)
    dense = K.toarray()
    exact = np.empty((n, N_VECTORS), dtype=dtype)
    jobs = [Job(K, W, rtol) for rtol in rtols]
    steps = {"dense": lambda: np.matmul(dense, W, out=exact)}
    for i, job in enumerate(jobs):
        steps[f"set-up {i}"] = job.set_up
        steps[f"product {i}"] = job.product
        steps[f"_check {i}"] = lambda job=job: job.check(exact)
    seconds, n_runs = interleaved(steps, seconds=SECONDS)
    return [
        job.row(
            n,
            dtype,
            bandwidth,
            dense=seconds["dense"],
            set_up=seconds[f"set-up {i}"],
            product=seconds[f"product {i}"],
            n_runs=n_runs,
        )
        for i, job in enumerate(jobs)
    ]


def run(quick):
    """Return a row per matrix, dtype and promise."""
    rows = []
    for n in (4096,) if quick else (8192, 32768):
        for dtype in (np.float32, np.float64):
            rows += measure(n, dtype, 4, (1e-3, 2e-5))
            for bandwidth in (2, 1):
                rows += measure(n, dtype, bandwidth, (1e-3,))
    return rows


if __name__ == "__main__":
    main(run, __doc__)
