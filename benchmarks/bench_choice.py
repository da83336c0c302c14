"""The choice of format, leaf size and near budget

What ``compress(K, n_products=m)`` chooses by itself, beside all combinations of four leaf sizes and
five near budgets, the dense matrix in memory, and entries computed anew for each product. Compared
is the time of the set-up and of m products, in blocks of 64 vectors, as *default / best*; *memory*
is that of the default over that of the best. Cases are drawn with a fixed seed from kernels,
dimensions, bandwidths, sizes, clouds of points and tolerances, given as points, as an array or as a
callable; and from the test matrices of the theses (:func:`skhmat.datasets.load_matrix`). Processor
seconds on one thread.
"""

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
from scipy.spatial.distance import cdist
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from skhmat.datasets import load_matrix
from skhmat.linalg import KernelMatrix

N_CASES = 60
# Of them, test matrices of the theses.
N_FAMILIES = 15
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
FORMS = ("points", "array", "callable")
# Of squared distances in units of the bandwidth, and the dimension: what callables compute.
FUNCTIONS = {
    "gaussian": lambda s, d: np.exp(-s / 2),
    "exponential": lambda s, d: np.exp(-np.sqrt(s)),
    "matern32": lambda s, d: (1 + np.sqrt(3 * s)) * np.exp(-np.sqrt(3 * s)),
    "matern52": lambda s, d: (1 + np.sqrt(5 * s) + 5 / 3 * s) * np.exp(-np.sqrt(5 * s)),
    "inverse_multiquadric": lambda s, d: 1 / np.sqrt(1 + s),
    "rational_quadratic": lambda s, d: 1 / (1 + s / 2),
    "laplace_green": lambda s, d: (s + 1) ** (-(d - 2) / 2),
}
# Rows of the largest array.
MAX_ARRAY = 20_000
FAMILIES = (*(f"K{i:02}" for i in range(1, 19)), *(f"G{i:02}" for i in range(1, 6)))
FAMILY_SIZES = (4_096, 16_384)
# Files of large test matrices.
DATA = Path(__file__).parent.parent / "build" / "benchmarks" / "data"
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
        "form": FORMS,
    }
    n_families = n_cases * N_FAMILIES // N_CASES
    cases = []
    while len(cases) < n_cases - n_families:
        case = {name: values[rng.integers(len(values))] for name, values in choices.items()}
        is_possible = case["kernel"] != "laplace_green" or case["d"] > 2
        if is_possible and (case["form"] != "array" or case["N"] <= MAX_ARRAY):
            cases.append(case)
    allowed = [n for n in FAMILY_SIZES if n <= max(sizes)]
    for name in rng.choice(FAMILIES, n_families, replace=False):
        n, rtol = allowed[rng.integers(len(allowed))], TOLERANCES[rng.integers(len(TOLERANCES))]
        cases.append(dict.fromkeys(choices, "") | {"kernel": str(name), "N": n, "rtol": rtol})
    return cases


@dataclass
class Problem:
    """A matrix as `compress` takes it, and its entries.

    Attributes
    ----------
    given : ndarray, KernelMatrix or callable
    options : dict
        What `compress` needs besides.
    shape : tuple
    dtype : dtype
    block : callable
        ``block(rows, cols)`` returns entries.
    """

    given: object
    options: dict
    shape: tuple
    dtype: np.dtype
    block: object

    @property
    def nbytes(self):
        """Bytes that exact entries need if they are not held."""
        return self.given.X.nbytes if isinstance(self.given, KernelMatrix) else 0


def as_callable(X, kernel, bandwidth):
    """Return the entries of a kernel matrix as a function that users would write."""
    function = FUNCTIONS[kernel]

    def block(rows, cols):
        squares = cdist(X[rows], X[cols], "sqeuclidean")
        return function(squares / bandwidth**2, X.shape[1])

    return block


def make_problem(case):
    """Return the matrix of a case."""
    if case["kernel"] in FAMILIES:
        matrix = load_matrix(case["kernel"], case["N"], data_home=DATA)
        K, options = matrix.K, {"points": matrix.points}
        if isinstance(K, KernelMatrix):
            K.n_jobs, options = 1, {}
    else:
        X = cloud(case["points"], case["N"], case["d"], np.random.default_rng(1))
        scale = np.sqrt(2 * X.var(axis=0).sum())
        bandwidth = {} if case["kernel"] == "laplace_green" else {"bandwidth": case["bandwidth"]}
        bandwidth = {name: value * scale for name, value in bandwidth.items()}
        K, options = KernelMatrix(X, case["kernel"], n_jobs=1, **bandwidth), {}
        if case["form"] == "array":
            K = K.toarray()
        elif case["form"] == "callable":
            options = {"points": X, "shape": K.shape, "dtype": K.dtype}
            function = as_callable(X, case["kernel"], K.bandwidth)
            return Problem(function, options, K.shape, K.dtype, function)
    block = (lambda rows, cols: K[np.ix_(rows, cols)]) if isinstance(K, np.ndarray) else K
    block = K.block if isinstance(K, KernelMatrix) else block
    return Problem(K, options, K.shape, K.dtype, block)


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


def measure_one(problem, rtol, **options):
    """Compress; return total seconds by number of products, the matrix, and whether it warned."""
    options = options | problem.options | {"rtol": rtol, "n_jobs": 1, "random_state": 0}
    w = normal_vectors(problem.shape[0], 1, problem.dtype)

    def first_product():
        """Return the matrix when it is ready: an exact one computes its entries when needed."""
        H, warned = compress_noting(problem.given, **options)
        H @ w
        return H, warned

    setup, (H, warned) = seconds_of(first_product)
    products = seconds_of_products(H, problem.shape[0])
    setup = max(setup - products[1], 0.0)
    return {m: setup + seconds for m, seconds in products.items()}, H, warned


class TooSlow(Exception):
    """A way to hold a matrix took longer than would make it the best."""


@contextmanager
def processor_limit(seconds):
    """Raise TooSlow where a block takes more processor seconds than these."""

    def stop(*_):
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def total_times(problem, rtol):
    """Return total seconds by number of products, and bytes, of every way that may be the best.

    A way is given up as soon as its set-up has taken longer than the most products with the best
    way so far: it is the best for no number of products.
    """
    found = {}
    ways = [{"fallback": "exact", "n_products": m, "max_bytes": MAX_DENSE} for m in (1, 10**9)]
    ways += [
        {"leaf_size": leaf_size, "budget": budget, "n_products": 10**6}
        for leaf_size in LEAF_SIZES
        for budget in BUDGETS
    ]
    for way in ways:
        best = min((seconds[max(N_PRODUCTS)] for seconds, _ in found.values()), default=1e9)
        try:
            with processor_limit(best):
                seconds, H, warned = measure_one(problem, rtol, **way)
        except TooSlow:
            continue
        if not warned and H.is_dense == ("fallback" in way):
            name = _describe(H) if H.is_dense else (way["leaf_size"], way["budget"])
            found[name] = seconds, H.nbytes
    return found


def measure(case):
    """Return a row for each number of products."""
    problem = make_problem(case)
    others = total_times(problem, case["rtol"])
    for m in N_PRODUCTS:
        totals, H, warned = measure_one(problem, case["rtol"], n_products=m)
        best = min(others, key=lambda name: others[name][0][m])
        seconds, nbytes = others[best]
        yield {
            "table": "Cases",
            **case,
            "products": m,
            "default": _describe(H),
            "best": best if isinstance(best, str) else f"{best[0]}, {best[1]:.0%}",
            "default, s": totals[m],
            "best, s": seconds[m],
            "default / best": at_most(totals[m] / seconds[m], MAX_RATIO),
            "memory": at_most(H.nbytes / max(nbytes, problem.nbytes, 1), MAX_MEMORY),
            "error": promised_error(error_on_rows(H, problem), case["rtol"], warned),
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
