"""Kernel ridge regression

*Accuracy*: predictions for held-out points against those of scikit-learn, as the largest difference
divided by the largest absolute target, all kernels "rbf". Features are standardised and targets
centred; for the digits the targets are ten, -1 and 1, one for each digit against the rest, and for
the image patches (:func:`skhmat.datasets.load_matrix`) it is the brightness of the pixel in the
middle, from all others. *Fit*: standard normal points in eight dimensions, gamma=1/8, the target is
the sine of the sum of the features and noise of 0.1. Each fit is in a process of its own, and
programs take turns, twice; seconds are medians, memory is how far the process rises above what it
held before the fit. scikit-learn's dense Cholesky factorization is not tried above N = 10,000.
*GPyTorch*, where it is installed, solves the same system by its conjugate gradients, in float64 and
to the same tolerance. The residual is computed anew with the exact matrix. *Cross-validation*:
``KernelRidgeCV`` with 20 penalties against one fit of ``KernelRidge`` with the best of them.
"""

import importlib.util
import statistics
import time
import warnings

import numpy as np
import sklearn.kernel_ridge
from common import (
    at_least,
    at_most,
    in_fresh_process,
    main,
    normal_points,
    peak_rss,
    reset_peak_rss,
    rss,
)
from sklearn.datasets import load_diabetes, load_digits, make_friedman1
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from skhmat.datasets import load_matrix
from skhmat.kernel_ridge import KernelRidge, KernelRidgeCV
from skhmat.linalg import KernelMatrix

ALPHAS = (1e-1, 1e-3)
DIFFERENCE = 1e-3
N_FEATURES = 8
N_BESIDE = 10_000
TOL = 1e-6
FASTER, LESS_MEMORY = 8, 4
REPEATS = 2
# N, the penalties, most seconds, most memory in GiB.
LARGE = ((20_000, ALPHAS, 60, 1.5), (100_000, ALPHAS, 900, 8))
PENALTIES = np.geomspace(1e-3, 1e2, 20)
CV_FACTOR = 3
GIB = 2**30


def sine_data(n, d):
    """Return normal points and the sine of the sum of their features, with noise."""
    X = normal_points(n, np.float64, d)
    return X, np.sin(X.sum(axis=1)) + 0.1 * np.random.default_rng(1).standard_normal(n)


# ---- accuracy


def patches(n):
    """Return the pixels around the middle of image patches, and the brightness of the middle."""
    K = load_matrix("K-PATCHES", n).K
    middle = slice(3 * 24, 3 * 25)  # of 7 x 7 pixels in three colours
    y = K.points[:, middle].mean(axis=1)
    return np.delete(K.points, middle, axis=1), y


def data_sets(quick):
    """Yield the name, points, targets and number of held-out points of each data set."""
    most = 1500 if quick else np.inf
    yield "diabetes", *load_diabetes(return_X_y=True), 100
    X, digits = load_digits(return_X_y=True)
    yield "digits", X, LabelBinarizer(neg_label=-1).fit_transform(digits).astype(float), 297
    n = min(5000, most)
    yield "friedman1", *make_friedman1(n + 1000, noise=1.0, random_state=0), 1000
    n = min(10_000, most)
    yield "6-D synthetic", *sine_data(n + 1000, 6), 1000
    n = min(5000, most)
    yield "image patches", *patches(n + 1000), 1000


def timed_fit(model, X, y):
    """Return the seconds of a fit, and whether there was a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(X, y)
        return time.perf_counter() - start, bool(caught)


def accuracy(name, X, y, n_test, alpha):
    """Return one row."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=n_test, random_state=0)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    y, y_test = y - y.mean(axis=0), y_test - y.mean(axis=0)
    ours = KernelRidge(alpha=alpha, kernel="rbf", random_state=0)
    theirs = sklearn.kernel_ridge.KernelRidge(alpha=alpha, kernel="rbf")
    seconds, warned = timed_fit(ours, X, y)
    their_seconds, _ = timed_fit(theirs, X, y)
    got, expected = ours.predict(X_test), theirs.predict(X_test)
    difference = np.abs(got - expected).max() / np.abs(y).max()
    return {
        "table": "Accuracy",
        "data": name,
        "N": X.shape[0],
        "features": X.shape[1],
        "targets": 1 if y.ndim == 1 else y.shape[1],
        "alpha": f"{alpha:.0e}",
        "iterations": ours.n_iter_,
        "fit, s": seconds,
        "scikit-learn, s": their_seconds,
        "R², scikit-learn": r2_score(y_test, expected),
        "R²": r2_score(y_test, got),
        "difference": at_most(difference, DIFFERENCE, "warned" if warned else ""),
    }


# ---- time and memory


class GPyTorch:
    """The same system, solved by GPyTorch."""

    def __init__(self, alpha):
        import gpytorch
        import torch

        self.alpha, self._gpytorch, self._torch = alpha, gpytorch, torch

    def fit(self, X, y):
        settings, torch = self._gpytorch.settings, self._torch
        kernel = self._gpytorch.kernels.RBFKernel().double()
        kernel.lengthscale = np.sqrt(X.shape[1] / 2)
        tolerance, most = settings.cg_tolerance(TOL), settings.max_cg_iterations(1000)
        with torch.no_grad(), tolerance, most, settings.max_cholesky_size(0):
            K = kernel(torch.from_numpy(X)).add_diagonal(torch.tensor(self.alpha).double())
            self.dual_coef_ = K.solve(torch.from_numpy(y)).numpy()


def make_model(name, alpha):
    """Return what is to be fitted."""
    if name == "GPyTorch":
        return GPyTorch(alpha)
    if name == "scikit-learn":
        return sklearn.kernel_ridge.KernelRidge(alpha=alpha, kernel="rbf")
    return KernelRidge(alpha=alpha, kernel="rbf", tol=TOL, random_state=0)


def child(name, n, alpha):
    """Measure one fit; runs in a process of its own."""
    X, y = sine_data(n, N_FEATURES)
    model = make_model(name, alpha)
    reset_peak_rss()
    before = rss()
    seconds, warned = timed_fit(model, X, y)
    rise = peak_rss() - before
    c = model.dual_coef_
    K = KernelMatrix(X, bandwidth=np.sqrt(N_FEATURES / 2))
    residual = float(np.linalg.norm(K @ c + alpha * c - y) / np.linalg.norm(y))
    return seconds, rise, residual, getattr(model, "n_iter_", ""), warned


def fit_row(name, n, alpha, runs):
    """Return the row of one program, from its runs; those that were killed are None."""
    row = {"N": n, "alpha": f"{alpha:.0e}", "program": name}
    if not all(runs):
        return {**row, "what": "the process was killed"}
    seconds, rise, residual, iterations, warned = zip(*runs, strict=True)
    return {
        **row,
        "fit, s": statistics.median(seconds),
        "memory, GiB": max(rise) / GIB,
        "iterations": iterations[0],
        "residual": f"{max(residual):.1e}" + " warned" * any(warned),
    }


def beside(n, alpha):
    """Return a row for each program, ours with what it gains."""
    names = ["skhmat", "scikit-learn"]
    if importlib.util.find_spec("gpytorch"):
        names.append("GPyTorch")
    runs = {name: [] for name in names}
    for _ in range(REPEATS):
        for name in names:
            runs[name].append(in_fresh_process(child, name, n, alpha))
    rows = [fit_row(name, n, alpha, runs[name]) for name in names]
    ours, theirs = rows[:2]
    if "fit, s" in ours and "fit, s" in theirs:
        faster = theirs["fit, s"] / ours["fit, s"]
        ours["times faster than scikit-learn"] = at_least(faster, FASTER)
        less = theirs["memory, GiB"] / ours["memory, GiB"]
        ours["times less memory"] = at_least(less, LESS_MEMORY)
    return [{"table": "Fit", **row} for row in rows]


def large(n, alpha, seconds, gib):
    """Return one row for ours alone."""
    row = fit_row("skhmat", n, alpha, [in_fresh_process(child, "skhmat", n, alpha)])
    row["fit, s"] = at_most(row.get("fit, s", np.inf), seconds)
    row["memory, GiB"] = at_most(row.get("memory, GiB", np.inf), gib)
    return {"table": "Fit, larger", **row}


# ---- cross-validation


def cross_validation(n, d):
    """Return one row; both in one process, and once, for the compression alone takes seconds."""
    X, y = sine_data(n, d)
    chosen = KernelRidgeCV(alphas=PENALTIES, gamma=None, random_state=0)
    cv_seconds, warned = timed_fit(chosen, X, y)
    one = KernelRidge(alpha=chosen.alpha_, kernel="rbf", random_state=0)
    seconds, _ = timed_fit(one, X, y)
    return {
        "table": f"Cross-validation, {len(PENALTIES)} penalties",
        "N": n,
        "features": d,
        "not scored": int(np.isnan(chosen.loo_mse_).sum()),
        "alpha": chosen.alpha_,
        "one fit, s": seconds,
        "cross-validation, s": cv_seconds,
        "times one fit": at_most(cv_seconds / seconds, CV_FACTOR, "warned" if warned else ""),
    }


def run(quick):
    """Return the rows of all tables."""
    rows = [accuracy(*data, alpha) for data in data_sets(quick) for alpha in ALPHAS]
    for alpha in ALPHAS:
        rows += beside(2000 if quick else N_BESIDE, alpha)
    for n, alphas, seconds, gib in ((4000, ALPHAS, 60, 1.5),) if quick else LARGE:
        rows += [large(n, alpha, seconds, gib) for alpha in alphas]
    rows += [cross_validation(2000 if quick else N_BESIDE, d) for d in (N_FEATURES, 3)]
    return rows


if __name__ == "__main__":
    main(run, __doc__)
