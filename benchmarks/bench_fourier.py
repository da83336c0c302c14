"""The Fourier form

Kernel matrices on points with two and three features as sums over Fourier modes, by
``compress(K, form="fourier")``, beside FINUFFT by hand (a rival of eight lines: no choice of the
modes by the points, no measured error), and, for the hard cases, beside what ``compress`` takes
where it may not use this form. All on one thread, wall-clock seconds, in turn. *Error* is relative,
on sampled rows; for the rival it is that of the modes which a Gaussian needs at most.

Densities of standard normal samples: ``KernelDensity(algorithm="fourier")`` and "auto", fit and
first ``score_samples``, beside FINUFFT by hand with the largest tolerance by which it is right to
``log_tol`` at 500 of the queries. *Error* is the largest of a logarithm, at these queries and at
others 20 bandwidths from all samples, which are asked for afterwards. *Ten million*: uniform
samples in float32, a bandwidth of 1/50 of the extent, once.

*Ridge regression*: ``KernelRidge`` on normal points, beside the equations of the modes by hand
(Toeplitz products by FFTs, conjugate gradients without a preconditioner, up to 1,000 iterations),
where these are affordable. The residual is that of the exact system, on 200 rows drawn at random.
"""

import math
import time
from functools import partial

import finufft
import numpy as np
from bench_density import exact_logs, silverman
from common import (
    at_most,
    compress_noting,
    error_on_rows,
    in_fresh_process,
    interleaved,
    main,
    normal_vectors,
    peak_rss,
    promised_error,
    relative_error,
    reset_peak_rss,
    rss,
)
from scipy.fft import fftn, ifftn, next_fast_len
from scipy.sparse.linalg import LinearOperator, cg

from skhmat.kernel_ridge import KernelRidge
from skhmat.linalg import KernelMatrix
from skhmat.neighbors import KernelDensity

MAX_RATIO, MAX_OTHER = 1.5, 1.3
# Rows, features, kernel, bandwidth, alpha, tol, whether by hand, too.
RIDGE = (
    (20_000, 2, "rbf", 0.2, 0.1, 1e-6, True),
    (20_000, 2, "rbf", 0.2, 1e-3, 1e-6, True),
    (1_000_000, 2, "rbf", 0.2, 0.1, 1e-6, False),
    (1_000_000, 2, "rbf", 0.2, 1e-3, 1e-6, False),
    (1_000_000, 2, "matern52", 0.5, 0.1, 1e-6, False),
    (1_000_000, 3, "rbf", 1.0, 0.1, 1e-6, False),
    (1_000_000, 3, "rbf", 1.0, 1e-3, 1e-6, False),
)
QUICK_RIDGE = ((7_000, 2, "rbf", 0.3, 0.1, 1e-6, True),)
MAX_RIDGE_SECONDS, MAX_RIDGE_GIB = 30, 3
# Rows, features, bandwidth, rtol.
PRODUCTS = ((32_768, 2, 0.2, 1e-6), (32_768, 3, 0.5, 1e-6), (200_000, 2, 0.1, 1e-4))
QUICK_PRODUCTS = ((4_096, 2, 0.2, 1e-6), (4_096, 3, 0.5, 1e-4))
N_HARD, N_HARD_QUICK = 20_000, 3_000
# Samples, queries, features, bandwidth; None means Silverman's rule.
DENSITIES = (
    (50_000, 5_000, 2, 0.2),
    (1_000_000, 1_000_000, 2, None),
    (1_000_000, 100_000, 3, None),
)
QUICK_DENSITIES = ((20_000, 2_000, 2, 0.2), (20_000, 2_000, 3, 0.5))
LOG_TOL, MAX_SECONDS = 1e-4, 30
# Bandwidths from all samples, and the queries that are checked.
FAR, N_CHECKED = 20, 500


class ByHand:
    """A Gaussian kernel matrix with FINUFFT, as a user writes it in eight lines."""

    def __init__(self, X, bandwidth, rtol):
        d = X.shape[1]
        reach = math.sqrt(2 * math.log(4 * d * 3**d / rtol))
        width = np.ptp(X, axis=0).max() / bandwidth + reach
        n_half = math.ceil(width * math.sqrt(math.log(4 * d * 4**d / rtol) / 2) / math.pi)
        self.shape, self.rtol = (2 * n_half + 1,) * d, rtol
        self.points = [2 * np.pi / (width * bandwidth) * column for column in (X - X.mean(0)).T]
        squares = (np.arange(-n_half, n_half + 1) / width) ** 2
        total = sum(np.meshgrid(*[squares] * d, indexing="ij", sparse=True))
        self.weights = (math.sqrt(2 * np.pi) / width) ** d * np.exp(-2 * np.pi**2 * total)

    def __matmul__(self, w):
        points = [np.mod(p + np.pi, 2 * np.pi) - np.pi for p in self.points]
        d, options = len(points), {"eps": self.rtol / 10, "nthreads": 1}
        forward, back = (getattr(finufft, f"nufft{d}d{kind}") for kind in (1, 2))
        modes = forward(*points, w + 0j, self.shape, isign=1, **options)
        return back(*points, modes * self.weights, isign=-1, **options).real


def products(sizes):
    """Yield a row per matrix: set-up with one product, and further products."""
    for n, d, bandwidth, rtol in sizes:
        X = np.random.default_rng(0).standard_normal((n, d))
        K = KernelMatrix(X, bandwidth=bandwidth, n_jobs=1)
        w = normal_vectors(n, 1, np.float64)[:, 0]
        options = {"rtol": rtol, "form": "fourier", "n_jobs": 1, "random_state": 0}
        H, warned = compress_noting(K, **options)
        rival = ByHand(X, bandwidth, rtol)
        medians, _ = interleaved(
            {
                "first": lambda K=K, o=options, w=w: compress_noting(K, **o)[0] @ w,
                "rival first": lambda X=X, b=bandwidth, r=rtol, w=w: ByHand(X, b, r) @ w,
                "again": lambda H=H, w=w: H @ w,
                "rival again": lambda rival=rival, w=w: rival @ w,
            }
        )
        rows = np.random.default_rng(1).integers(n, size=256)
        exact = K.block(rows, slice(None)) @ w
        yield {
            "table": "Products with one vector",
            "N": n,
            "d": d,
            "bandwidth": bandwidth,
            "rtol": rtol,
            "modes": " x ".join(map(str, H.form.fourier.modes.shape)),
            "set-up and product, s": medians["first"],
            "by hand, s": medians["rival first"],
            "first, ratio": at_most(medians["first"] / medians["rival first"], MAX_RATIO),
            "product, s": medians["again"],
            "product by hand, s": medians["rival again"],
            "ratio": at_most(medians["again"] / medians["rival again"], MAX_RATIO),
            "error": promised_error(error_on_rows(H, K), rtol, warned),
            "error by hand": relative_error((rival @ w)[rows], exact),
        }


def hard_cases(n):
    """Return matrices that are hard for Fourier modes, by name, and the vectors to multiply."""
    rng = np.random.default_rng(0)
    centers, scales = rng.random((30, 3)), 10 ** rng.uniform(-3, -1, 30)
    which = rng.integers(30, size=n)
    clusters = centers[which] + scales[which, None] * rng.standard_normal((n, 3))
    outlier = rng.random((n, 2))
    outlier[0] = 1000
    return {
        "bandwidth of a thousandth": (KernelMatrix(rng.random((n, 2)), bandwidth=1e-3), 1),
        "clusters at three scales": (KernelMatrix(clusters, bandwidth=0.1), 1),
        "64 vectors in 3-D": (KernelMatrix(rng.standard_normal((n, 3)), bandwidth=0.5), 64),
        "Matérn 1/2": (KernelMatrix(rng.random((n, 2)), "matern12", 0.2), 1),
        "an outlier": (KernelMatrix(outlier, bandwidth=0.1), 1),
        "equal points": (KernelMatrix(np.ones((n, 2))), 1),
        "1-D": (KernelMatrix(rng.random((50 * n, 1)), bandwidth=0.01), 1),
    }


def hard(n):
    """Yield a row per hard case: what is taken by itself beside other forms."""
    for name, (K, n_vectors) in hard_cases(n).items():
        K.n_jobs = 1
        W = normal_vectors(K.shape[0], n_vectors, np.float64)
        options = {"rtol": 1e-4, "n_products": n_vectors, "n_jobs": 1, "random_state": 0}
        H, warned = compress_noting(K, **options)
        medians, _ = interleaved(
            {
                "default": lambda K=K, o=options, W=W: compress_noting(K, **o)[0] @ W,
                "other": lambda K=K, o=options, W=W: (
                    compress_noting(K, **o, form="hierarchical")[0] @ W
                ),
            },
            repeats=3,
        )
        yield {
            "table": "Hard for it: set-up and product",
            "case": name,
            "N": K.shape[0],
            "vectors": n_vectors,
            "taken": "Fourier" if H.is_fourier else "dense" if H.is_dense else "blocks",
            "default, s": medians["default"],
            "without it, s": medians["other"],
            "ratio": at_most(medians["default"] / medians["other"], MAX_OTHER),
            "error": promised_error(error_on_rows(H, K), 1e-4, warned),
        }


def density_by_hand(Y, X, bandwidth, tolerance):
    """Return logarithms of a density with FINUFFT, as a user writes it in some lines."""
    n, d = Y.shape
    reach = math.sqrt(2 * math.log(4 * d * 3**d / tolerance))
    low, high = np.minimum(Y.min(0), X.min(0)), np.maximum(Y.max(0), X.max(0))
    width = (high - low).max() / bandwidth + reach
    n_half = math.ceil(width * math.sqrt(math.log(4 * d * 4**d / tolerance) / 2) / math.pi)
    samples, queries = (
        np.ascontiguousarray((points - (low + high) / 2).T * (2 * np.pi / (width * bandwidth)))
        for points in (Y, X)
    )
    squares = (np.arange(-n_half, n_half + 1) / width) ** 2
    total = sum(np.meshgrid(*[squares] * d, indexing="ij", sparse=True))
    weights = np.exp(-2 * np.pi**2 * total) / (width * bandwidth) ** d / n
    forward, back = (getattr(finufft, f"nufft{d}d{kind}") for kind in (1, 2))
    options = {"eps": tolerance, "nthreads": 1}
    modes = forward(*samples, np.ones(n, complex), (2 * n_half + 1,) * d, isign=1, **options)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(back(*queries, modes * weights, isign=-1, **options).real)


def densities(sizes):
    """Yield a row per set of samples."""
    for n, m, d, bandwidth in sizes:
        rng = np.random.default_rng(0)
        Y, X = rng.standard_normal((n, d)), rng.standard_normal((m, d))
        bandwidth = bandwidth or silverman(n, d)
        checked = rng.permutation(m)[:N_CHECKED]
        exact = exact_logs(Y, X[checked], bandwidth)
        for tolerance in 10.0 ** -np.arange(5, 13):
            by_hand = density_by_hand(Y, X, bandwidth, tolerance)[checked]
            error_by_hand = np.abs(by_hand - exact).max()
            if error_by_hand <= LOG_TOL:
                break

        def model(algorithm, h=bandwidth, Y=Y):
            return KernelDensity(bandwidth=h, algorithm=algorithm, n_jobs=1).fit(Y)

        def hand(Y=Y, X=X, h=bandwidth, tolerance=tolerance):
            return density_by_hand(Y, X, h, tolerance)

        medians, _ = interleaved(
            {
                "fourier": lambda X=X, model=model: model("fourier").score_samples(X),
                "hand": hand,
                "auto": lambda X=X, model=model: model("auto").score_samples(X),
                "hand again": hand,
            },
            repeats=5,
        )
        rival = (medians["hand"] + medians["hand again"]) / 2
        steps = rng.standard_normal((50, d))
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        far = (np.linalg.norm(Y, axis=1).max() + FAR * bandwidth) * steps
        fitted = model("fourier")
        errors = np.abs(fitted.score_samples(X)[checked] - exact)
        tails = np.abs(fitted.score_samples(far) - exact_logs(Y, far, bandwidth))
        yield {
            "table": "Densities",
            "N": n,
            "queries": m,
            "d": d,
            "bandwidth": bandwidth,
            "fourier, s": medians["fourier"],
            "auto, s": medians["auto"],
            "by hand, s": rival,
            "fourier, ratio": at_most(medians["fourier"] / rival, MAX_RATIO),
            "auto, ratio": at_most(medians["auto"] / rival, MAX_RATIO),
            "error": at_most(errors.max(), LOG_TOL),
            "error by hand": error_by_hand,
            "error in the tails": at_most(tails.max(), LOG_TOL),
        }


def ten_million(n, m):
    """Yield a row for two and three features, each run once."""
    for d in (2, 3):
        rng = np.random.default_rng(0)
        Y, X = (rng.random((k, d), dtype=np.float32) for k in (n, m))
        start = time.perf_counter()
        logs = KernelDensity(bandwidth=0.02, n_jobs=1).fit(Y).score_samples(X)
        seconds = time.perf_counter() - start
        some = rng.permutation(m)[:10]
        exact = exact_logs(Y.astype(np.float64), X[some].astype(np.float64), 0.02)
        yield {
            "table": "Ten million samples" if n == 10**7 else "Many samples",
            "N": n,
            "queries": m,
            "d": d,
            "seconds": at_most(seconds, MAX_SECONDS),
            "error": at_most(np.abs(logs[some] - exact).max(), LOG_TOL),
        }


def ridge_by_hand(X, y, bandwidth, alpha, tol):
    """Return dual coefficients of Gaussian ridge regression by weights of modes."""
    d = X.shape[1]
    K = ByHand(X, bandwidth, tol * alpha / math.sqrt(len(X)))
    shape, roots = K.shape, np.sqrt(K.weights)
    points = [np.mod(p + np.pi, 2 * np.pi) - np.pi for p in K.points]
    options = {"eps": max(K.rtol, 1e-14), "nthreads": 1}
    forward, back = (getattr(finufft, f"nufft{d}d{kind}") for kind in (1, 2))
    double = tuple(2 * m - 1 for m in shape)
    lags = forward(*points, np.ones(len(X)) + 0j, double, isign=1, **options)
    sizes = tuple(next_fast_len(m) for m in double)
    padded = np.zeros(sizes, complex)
    padded[tuple(slice(m) for m in double)] = lags
    symbol = fftn(np.roll(padded, [-(m // 2) for m in double], range(d)))
    crop = tuple(slice(m) for m in shape)

    def system(v):
        product = ifftn(symbol * fftn(roots * v.reshape(shape), sizes))[crop]
        return alpha * v + (roots * product).ravel()

    b = (roots * forward(*points, y + 0j, shape, isign=1, **options)).ravel()
    A = LinearOperator((b.size, b.size), matvec=system, dtype=complex)
    # The residual of the coefficients is thousands of times that of the weights.
    weights, _ = cg(A, b, rtol=tol / 3000, maxiter=1000)
    fitted = back(*points, roots * weights.reshape(shape), isign=-1, **options).real
    return (y - fitted) / alpha


def ridge_data(n, d):
    """Return normal points, and a sum of sines of them with noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, np.sin(2 * X).sum(axis=1) + 0.1 * rng.standard_normal(n)


def ridge_fit(n, d, kernel, bandwidth, alpha, tol, by_hand):
    """Return seconds, bytes and the residual of a fit, in a process of its own."""
    X, y = ridge_data(n, d)
    gamma = 0.5 / bandwidth**2
    if by_hand:
        fit = partial(ridge_by_hand, X, y, bandwidth, alpha, tol)
    else:
        model = KernelRidge(alpha, kernel=kernel, gamma=gamma, tol=tol, n_jobs=1)
        fit = partial(model.fit, X, y)
    # What is loaded and planned for the first time does not count.
    KernelRidge(alpha, kernel=kernel, gamma=gamma, solver="fourier").fit(X[:500], y[:500])
    reset_peak_rss()
    before, start = rss(), time.perf_counter()
    found = fit()
    seconds, nbytes = time.perf_counter() - start, peak_rss() - before
    c = found if by_hand else model.dual_coef_
    rows = np.random.default_rng(1).integers(n, size=200)
    name = "gaussian" if kernel == "rbf" else kernel
    K = KernelMatrix(X, name, bandwidth, n_jobs=1)
    missed = y[rows] - K.evaluate(X[rows], c) - alpha * c[rows]
    residual = np.linalg.norm(missed) / np.linalg.norm(y[rows])
    return seconds, nbytes, residual, 0 if by_hand else model.n_iter_


def ridge(cases):
    """Yield a row per system."""
    for *case, with_rival in cases:
        n, d, kernel, bandwidth, alpha, tol = case
        seconds, nbytes, residual, n_iterations = in_fresh_process(ridge_fit, *case, False)
        row = {
            "table": "Ridge regression",
            "N": n,
            "d": d,
            "kernel": kernel,
            "bandwidth": bandwidth,
            "alpha": f"{alpha:.0e}",
            "iterations": n_iterations,
            "fit, s": at_most(seconds, MAX_RIDGE_SECONDS),
            "memory, GiB": at_most(nbytes / 2**30, MAX_RIDGE_GIB),
            "residual": at_most(residual, tol),
        }
        if with_rival:
            rival, _, missed, _ = in_fresh_process(ridge_fit, *case, True)
            row |= {
                "by hand, s": rival,
                "ratio": at_most(seconds / rival, MAX_RATIO),
                "residual by hand": missed,
            }
        yield row


def run(quick):
    """Return the rows of all tables."""
    sizes = QUICK_PRODUCTS if quick else PRODUCTS
    return [
        *products(sizes),
        *hard(N_HARD_QUICK if quick else N_HARD),
        *densities(QUICK_DENSITIES if quick else DENSITIES),
        *ten_million(*((100_000, 10_000) if quick else (10_000_000, 1_000_000))),
        *ridge(QUICK_RIDGE if quick else RIDGE),
    ]


if __name__ == "__main__":
    main(run, __doc__)
