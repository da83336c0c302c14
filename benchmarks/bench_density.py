"""Kernel density

*Accuracy*: the largest error of a logarithm of the density, in nats, compared with sums over all
samples in NumPy, float64, relative to the largest term; also for scikit-learn's KernelDensity with
its defaults. Outliers are points 50 bandwidths away from all samples. *Time*: standard normal
samples and queries, bandwidth by Silverman's rule; medians of runs in turn. All fits are timed with
the first ``score_samples``. *NumPy* is a chunked sum over all samples. *auto over best* compares
``algorithm="auto"`` with the best of the three algorithms. *Larger*: as that, once.
"""

import time

import numpy as np
import sklearn.neighbors
from common import at_least, at_most, interleaved, main, peak_rss, reset_peak_rss, rss
from scipy.special import logsumexp
from sklearn.datasets import load_digits

from skhmat.datasets import load_matrix
from skhmat.neighbors import KernelDensity

LOG_TOL = 1e-4
GIB = 2**30
# Times as fast as scikit-learn with its defaults, with rtol=1e-4, and as NumPy.
FASTER_THAN_DEFAULT, FASTER_THAN_TOLERANT, FASTER_THAN_NUMPY = 40, 8, 8
SLOWER_THAN_BEST = 1.3
LARGE_SECONDS, LARGE_MEMORY = 180, 4
# Queries of which NumPy sums up the samples at once.
_CHUNK = 1 << 22


def numpy_logs(Y, X, bandwidth):
    """Return logarithms of the density by the definition."""
    d = Y.shape[1]
    norm = np.log(len(Y)) + d * (np.log(bandwidth) + 0.5 * np.log(2 * np.pi))
    norms, out = np.einsum("ij,ij->i", Y, Y), np.empty(len(X))
    for rows in np.array_split(np.arange(len(X)), max(1, len(X) * len(Y) // _CHUNK)):
        some = X[rows]
        squares = np.einsum("ij,ij->i", some, some)[:, np.newaxis] + norms - 2 * some @ Y.T
        out[rows] = logsumexp(squares / (-2 * bandwidth**2), axis=1)
    return out - norm


def exact_logs(Y, X, bandwidth):
    """Do the same with differences of coordinates, which lose nothing by cancellation."""
    d, out = Y.shape[1], np.empty(len(X))
    norm = np.log(len(Y)) + d * (np.log(bandwidth) + 0.5 * np.log(2 * np.pi))
    for i, x in enumerate(X):
        difference = Y - x
        squares = np.einsum("ij,ij->i", difference, difference)
        out[i] = logsumexp(squares / (-2 * bandwidth**2))
    return out - norm


def silverman(n, d):
    """Return the bandwidth of Silverman's rule."""
    return (n * (d + 2) / 4) ** (-1 / (d + 4))


def cases(quick):
    """Yield the name of a set of samples, samples, queries, and bandwidth."""
    rng = np.random.default_rng(0)
    digits = rng.permutation(load_digits().data)
    for bandwidth in (1, 2, 4, 8):
        yield f"digits, bandwidth {bandwidth}", digits[:1500], digits[1500:], bandwidth
    for c in (6, 8, 20):
        Y = rng.standard_normal((1000, 2)) + np.repeat([[-c, 0], [c, 0]], 500, axis=0)
        X = np.column_stack([np.linspace(-c, c, 101), np.zeros(101)])
        yield f"clusters at ±{c}", Y, X, 0.4
    n, m = (2000, 200) if quick else (50_000, 5000)
    for d in (1, 2, 3, 6, 10):
        Y, X = rng.standard_normal((n, d)), rng.standard_normal((m, d))
        yield f"normal, {d}-D", Y, X, silverman(n, d)
    Y = rng.standard_normal((n, 3))
    steps = rng.standard_normal((200, 3))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    bandwidth = silverman(n, 3)
    far = np.linalg.norm(Y, axis=1).max() + 50 * bandwidth
    yield "outliers, 3-D", Y, far * steps, bandwidth
    K = load_matrix("K-PATCHES", 2000 if quick else 8192).K
    X = np.asarray(K.points, dtype=np.float64)
    yield "image patches, 147-D", X[200:], X[:200], K.bandwidth


def accuracy(name, Y, X, bandwidth):
    """Return the errors of one set of samples."""
    exact = exact_logs(Y, X, bandwidth)

    def error(model, dtype=np.float64):
        return np.abs(model.fit(Y.astype(dtype)).score_samples(X.astype(dtype)) - exact).max()

    row = {"table": "Accuracy", "samples": name}
    for algorithm in ("auto", "brute", "tree", "gofmm"):
        model = KernelDensity(bandwidth=bandwidth, algorithm=algorithm, random_state=0)
        row[algorithm] = at_most(error(model), LOG_TOL)
    theirs = sklearn.neighbors.KernelDensity(bandwidth=bandwidth)
    return row | {"scikit-learn": error(theirs)}


def beside(n, m, d):
    """Return seconds of all programs, and how many times as fast this one is."""
    rng = np.random.default_rng(d)
    Y, X, bandwidth = rng.standard_normal((n, d)), rng.standard_normal((m, d)), silverman(n, d)

    def fit(make, **options):
        return lambda: make(bandwidth=bandwidth, **options).fit(Y).score_samples(X)

    ours, _ = interleaved(
        {name: fit(KernelDensity, algorithm=name) for name in ("auto", "brute", "tree", "gofmm")},
        repeats=5,
        seconds=30,
    )
    rivals, _ = interleaved(
        {
            "auto": fit(KernelDensity),
            "scikit-learn": fit(sklearn.neighbors.KernelDensity),
            "rtol=1e-4": fit(sklearn.neighbors.KernelDensity, rtol=1e-4),
            "NumPy": lambda: numpy_logs(Y, X, bandwidth),
        },
        repeats=3,
        seconds=1,
    )
    best = min(ours[name] for name in ("brute", "tree", "gofmm"))
    targets = {
        "scikit-learn": FASTER_THAN_DEFAULT,
        "rtol=1e-4": FASTER_THAN_TOLERANT,
        "NumPy": FASTER_THAN_NUMPY,
    }
    times = {f"{name}, s": seconds for name, seconds in ours.items()}
    ratio = {"auto over best": at_most(ours["auto"] / best, SLOWER_THAN_BEST)}
    first = {"table": f"Time, N = {n:,}, {m:,} queries", "dimensions": d} | times | ratio
    row = {"table": f"As fast as others, N = {n:,}, {m:,} queries", "dimensions": d}
    row["auto, s"] = rivals["auto"]
    for name, target in targets.items():
        row[f"{name}, s"] = rivals[name]
        row[f"{name}, times"] = at_least(rivals[name] / rivals["auto"], target)
    return first, row


def large(n, m):
    """Return seconds, memory and error of many samples."""
    rng = np.random.default_rng(0)
    Y, X, bandwidth = rng.standard_normal((n, 3)), rng.standard_normal((m, 3)), silverman(n, 3)
    reset_peak_rss()
    before, start = rss(), time.perf_counter()
    logs = KernelDensity(bandwidth=bandwidth).fit(Y).score_samples(X)
    seconds, rise = time.perf_counter() - start, peak_rss() - before
    some = rng.permutation(m)[:200]
    error = np.abs(logs[some] - exact_logs(Y, X[some], bandwidth)).max()
    return {
        "table": "Larger, 3-D",
        "N": n,
        "queries": m,
        "seconds": at_most(seconds, LARGE_SECONDS),
        "memory, GiB": at_most(rise / GIB, LARGE_MEMORY),
        "error": at_most(error, LOG_TOL),
    }


def run(quick):
    """Return the rows of all tables."""
    rows = [accuracy(*case) for case in cases(quick)]
    sizes = (2000, 200) if quick else (50_000, 5000)
    for table in zip(*(beside(*sizes, d) for d in (2, 3, 5, 10)), strict=True):
        rows += table
    rows.append(large(*((20_000, 2000) if quick else (1_000_000, 100_000))))
    return rows


if __name__ == "__main__":
    main(run, __doc__)
