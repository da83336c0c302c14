"""The choice of format, leaf size and near budget

What ``compress(K, n_products=m)`` chooses by itself, beside all combinations of four leaf sizes and
five near budgets, the dense matrix in memory, and entries computed anew for each product. Compared
is the time of the set-up and of m products, in blocks of 64 vectors, as *default / best*; *memory*
is that of the default over that of the best. Cases are drawn with a fixed seed from kernels,
dimensions, bandwidths, sizes, clouds of points and tolerances. Processor seconds on one thread.
"""

import time

import numpy as np
from common import (
    at_least,
    at_most,
    compress_noting,
    error_on_rows,
    main,
    normal_vectors,
    promised_error,
)
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from skhmat.linalg import KernelMatrix

N_CASES = 60
N_PRODUCTS = (1, 100, 10_000)
WIDTH = 64
LEAF_SIZES = (64, 128, 256, 512)
BUDGETS = (0.0, 0.01, 0.03, 0.1, 0.2)
KERNELS = (
    "gaussian",
    "exponential",
    "matern32",
    "matern52",
    "inverse_multiquadric",
    "rational_quadratic",
    "laplace_green",
)
DIMENSIONS = (2, 3, 4, 6, 10)
# Of the root mean square distance of the points.
BANDWIDTHS = (0.1, 0.3, 1.0)
SIZES = (5_000, 20_000, 60_000)
CLOUDS = ("uniform", "normal", "clusters", "patches")
TOLERANCES = (1e-2, 1e-4, 1e-6)
MAX_RATIO, USUAL_RATIO, USUAL_PART, MAX_MEMORY = 2.0, 1.3, 0.9, 2.0
# Bytes of a dense matrix that is tried.
MAX_DENSE = 4e9


def cloud(name, n, d, rng):
    """Return points of shape (n, d)."""
    if name == "uniform":
        return rng.random((n, d))
    if name == "clusters":
        centers, scales = rng.random((30, d)), 10 ** rng.uniform(-3, -1, 30)
        which = rng.integers(30, size=n)
        return centers[which] + scales[which, None] * rng.standard_normal((n, d))
    if name == "patches":
        image = load_sample_image("china.jpg").mean(axis=2) / 255
        patches = extract_patches_2d(image, (5, 5), max_patches=n, random_state=0).reshape(n, -1)
        return patches[:, rng.permutation(25)[:d]]
    return rng.standard_normal((n, d))


def draw_cases(n_cases, sizes, seed=0):
    """Return cases as dicts, the same for the same seed."""
    rng = np.random.default_rng(seed)
    choices = {
        "kernel": KERNELS,
        "d": DIMENSIONS,
        "bandwidth": BANDWIDTHS,
        "N": sizes,
        "points": CLOUDS,
        "rtol": TOLERANCES,
    }
    cases = []
    while len(cases) < n_cases:
        case = {name: values[rng.integers(len(values))] for name, values in choices.items()}
        if case["kernel"] != "laplace_green" or case["d"] > 2:
            cases.append(case)
    return cases


def make_kernel(case):
    """Return the kernel matrix of a case, on one thread."""
    X = cloud(case["points"], case["N"], case["d"], np.random.default_rng(1))
    scale = np.sqrt(2 * X.var(axis=0).sum())
    if case["kernel"] == "laplace_green":
        return KernelMatrix(X, "laplace_green", n_jobs=1)
    return KernelMatrix(X, case["kernel"], bandwidth=case["bandwidth"] * scale, n_jobs=1)


def seconds_of(step):
    """Return the processor seconds of a step and what it returned."""
    start = time.process_time()
    result = step()
    return time.process_time() - start, result


def seconds_of_products(A, n):
    """Return for each number of products the processor seconds of all of them."""
    seconds = {}
    for width in sorted({min(m, WIDTH) for m in N_PRODUCTS}):
        W = normal_vectors(n, width, A.dtype)
        A @ W
        seconds[width] = min(seconds_of(lambda W=W: A @ W)[0] for _ in range(2))
    return {m: m / min(m, WIDTH) * seconds[min(m, WIDTH)] for m in N_PRODUCTS}


def total_times(K, rtol):
    """Return total seconds by number of products, and bytes, of every way to hold a matrix."""
    n, found = K.shape[0], {}
    fly = seconds_of_products(K, n)
    found["on the fly"] = fly, K.X.nbytes
    if n**2 * K.dtype.itemsize <= MAX_DENSE:
        setup, dense = seconds_of(K.toarray)
        found["in memory"] = _plus(setup, seconds_of_products(dense, n)), dense.nbytes
        del dense
    for leaf_size in LEAF_SIZES:
        for budget in BUDGETS:
            options = {"leaf_size": leaf_size, "budget": budget, "n_products": 10**6}
            setup, (H, warned) = seconds_of(
                lambda options=options: compress_noting(
                    K, rtol=rtol, n_jobs=1, random_state=0, **options
                )
            )
            if not (H.is_dense or warned):
                found[leaf_size, budget] = _plus(setup, seconds_of_products(H, n)), H.nbytes
    return found


def _plus(setup, seconds):
    return {m: setup + s for m, s in seconds.items()}


def measure(case):
    """Return a row for each number of products."""
    K = make_kernel(case)
    others = total_times(K, case["rtol"])
    for m in N_PRODUCTS:
        setup, (H, warned) = seconds_of(
            lambda m=m: compress_noting(
                K, rtol=case["rtol"], n_products=m, n_jobs=1, random_state=0
            )
        )
        total = setup + seconds_of_products(H, case["N"])[m]
        best = min(others, key=lambda name: others[name][0][m])
        seconds, nbytes = others[best]
        yield {
            "table": "Cases",
            **case,
            "products": m,
            "default": _describe(H),
            "best": best if isinstance(best, str) else f"{best[0]}, {best[1]:.0%}",
            "default, s": total,
            "best, s": seconds[m],
            "default / best": at_most(total / seconds[m], MAX_RATIO),
            "memory": at_most(H.nbytes / max(nbytes, K.X.nbytes), MAX_MEMORY),
            "error": promised_error(error_on_rows(H, K), case["rtol"], warned),
        }


def _describe(H):
    if H.is_dense:
        return "in memory" if H.report_.parameters["in_memory"] else "on the fly"
    parameters = H.report_.parameters
    return f"{parameters['leaf_size']}, {parameters['budget']:.0%}"


def run(quick):
    """Return a row per case and number of products, and a summary."""
    cases = draw_cases(4 if quick else N_CASES, SIZES[:1] if quick else SIZES)
    rows = [row for case in cases for row in measure(case)]
    ratios = np.array([row["default / best"].value for row in rows])
    summary = {
        "table": "All cases",
        "cases": len(rows),
        f"part within {USUAL_RATIO}": at_least((ratios <= USUAL_RATIO).mean(), USUAL_PART),
        "median ratio": float(np.median(ratios)),
        "largest ratio": at_most(ratios.max(), MAX_RATIO),
    }
    return [summary, *rows]


if __name__ == "__main__":
    main(run, __doc__)
