"""Prove that a change of the code changes no result: the same 30 calls before and after, to the bit

python benchmarks/same_results.py write old.json       # where the old code is installed
python benchmarks/same_results.py compare old.json     # where the new code is: runs the calls, too
python benchmarks/same_results.py compare old.json new.json
python benchmarks/same_results.py compare --python OLD/bin/python
python benchmarks/same_results.py times --python OLD/bin/python --python NEW/bin/python --rounds 7

`write` stores shape, dtype, SHA-256 and a few numbers of everything that the calls return, and the
warnings they give. `compare` prints what is equal and the largest relative difference of what is
not; its exit status is 1 if anything differs. `times` starts processes in turn, A B A B, and prints
the ratio of the medians, B over A, with the quartiles of the ratios of single rounds.

Only public names of skhmat are used here (so not `common`), that one file runs on both commits.
Seeds are fixed, and results are equal from run to run on one machine, with the same packages and
the same OMP_NUM_THREADS, which is the caller's; `compare` warns where these differ. With another
number of threads most results differ in the last digits, as BLAS adds up in another order, and
densities within their tolerance. Take OMP_NUM_THREADS=1 for `write` and `compare`, and an idle
machine for `times`, or else OMP_NUM_THREADS=1 and `--clock cpu`.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist, squareform
from sklearn.datasets import load_breast_cancer, load_digits, make_s_curve

import skhmat
from skhmat.datasets import load_matrix
from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.linalg import (
    CholeskyPreconditioner,
    KernelMatrix,
    compress,
    eigsh,
    from_file,
    inverse_diagonal,
    inverse_trace,
    load,
    logdet,
    pivoted_cholesky,
    spectral_density,
    to_file,
)
from skhmat.manifold import DiffusionMaps, GeometricHarmonics
from skhmat.neighbors import KernelDensity, KernelDensityCV

_KEPT = 16  # numbers of each array that are written, evenly spaced
_PACKAGES = ("numpy", "scipy", "scikit-learn", "keras", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


# ---- what the calls share


def normal(*shape, seed=0, dtype=np.float64):
    """Return standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def s_curve(n):
    """Return points on an S-curve and where they are along it."""
    return make_s_curve(n, random_state=0)


def plane(n):
    """Return a smooth Gaussian kernel matrix of points in the plane."""
    return KernelMatrix(normal(n, 2), kernel="gaussian", bandwidth=0.5)


def hss(K, rtol=1e-6):
    """Compress to the format that can be factorized."""
    return compress(K, rtol=rtol, budget=0, leaf_size=128, random_state=0)


def described(H, k=16):
    """Return what a compressed matrix is, and its products with one vector and with `k`."""
    W = normal(H.shape[0], k, seed=1, dtype=H.dtype)
    return {
        "product with a vector": H @ W[:, 0],
        "product with vectors": H @ W,
        "diagonal": H.diagonal(),
        "ranks": H.ranks_,
        "error": H.error_estimate_,
        "bytes": H.nbytes,
        "dense": H.is_dense,
    }


def labelled(label, values):
    """Put a label before all names."""
    return {f"{label}, {name}": value for name, value in values.items()}


def pairs(result):
    """Name what `eigsh` returns with an `EigenInfo`."""
    values, vectors, info = result
    return {
        "values": values,
        "vectors": vectors,
        "method": info.method,
        "residuals": info.residuals,
        "products": info.n_products,
        "solves": info.n_solves,
    }


def solution(result):
    """Name what `solve` returns with a `SolveInfo`."""
    x, info = result
    return {
        "x": x,
        "solver": info.solver,
        "residuals": info.residuals,
        "iterations": info.n_iterations,
        "raised": info.raised,
    }


def fitted(model, *names):
    """Return attributes of an estimator."""
    return {name: getattr(model, name) for name in names}


# ---- the calls: hierarchical matrices


def compress_float32():
    K = KernelMatrix(normal(8192, 6, dtype=np.float32), bandwidth=4.0)
    return described(compress(K, rtol=1e-3, random_state=0), k=64)


def compress_hss():
    K = KernelMatrix(s_curve(4096)[0], bandwidth=0.3)
    return described(hss(K, rtol=1e-5))


def compress_array_and_file():
    matrix = load_matrix("K02", 2048)
    options = {"rtol": 1e-3, "leaf_size": 64, "random_state": 0}
    found = labelled("array", described(compress(matrix.K, distance="kernel", **options)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "K.bin"
        to_file(path, matrix.K, dtype="float32")
        K = from_file(path, 2048, "float32")
        H = compress(K, points=matrix.points, distance="geometric", budget=0.1, **options)
        found |= labelled("file", described(H))
        del K, H
    return found


def compress_callable():
    X = normal(2048, 3)

    def entries(rows, cols):
        return np.exp(-np.linalg.norm(X[rows, np.newaxis] - X[cols], axis=2))

    options = {"rtol": 1e-3, "leaf_size": 128, "random_state": 0}
    found = {}
    for distance in ("angle", "lexicographic", "random"):
        H = compress(entries, shape=(2048, 2048), distance=distance, **options)
        found |= labelled(distance, described(H))
    return found


def compress_in_vain():
    K = KernelMatrix(normal(2048, 6), bandwidth=1.0)
    found = labelled("exact form", described(compress(K, rtol=1e-3, random_state=0)))
    K = KernelMatrix(s_curve(2048)[0], bandwidth=0.3)
    H = compress(K, rtol=1e-8, max_rank=8, leaf_size=64, budget=0, random_state=0)
    return found | labelled("promise missed", described(H))


def save_and_load():
    K = KernelMatrix(s_curve(4096)[0], bandwidth=0.3)
    H = compress(K, rtol=1e-4, random_state=0, max_bytes=1 << 30)
    w, found = normal(4096, 4, seed=1), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "H.npz"
        H.save(path)
        with np.load(path) as file:
            found |= {f"{name} in the file": file[name] for name in file.files}
        header = json.loads(found.pop("header in the file").tobytes())
        del header["report"]["seconds"]
        found["header in the file"] = json.dumps(header)
        for mode in (None, "r"):
            found[f"product, mmap_mode={mode}"] = load(path, mmap_mode=mode) @ w
    return found


def exact_products():
    X, w = normal(1500, 4), normal(1500, 3, seed=1)
    names = (
        "gaussian exponential matern12 matern32 matern52 inverse_multiquadric rational_quadratic "
        "laplace_green polynomial linear cosine"
    )
    found = {}
    for kernel in (*names.split(), lambda A, B: np.minimum(1.0, A @ B.T)):
        name = kernel if isinstance(kernel, str) else "callable"
        for dtype in (np.float32, np.float64):
            K = KernelMatrix(X.astype(dtype), kernel=kernel, bandwidth=2.0)
            kind = f"{name}, {np.dtype(dtype).name}"
            found[f"{kind}, product"] = K @ w.astype(dtype)
            found[f"{kind}, block"] = K.block(np.arange(0, 1500, 7), np.arange(50))
            found[f"{kind}, diagonal"] = K.diagonal()
    X = normal(1500, 40)
    found["40-D, product"] = KernelMatrix(X, bandwidth=5.0) @ w
    return found


def evaluate_new_points():
    K = KernelMatrix(s_curve(6000)[0], bandwidth=0.3)
    X, w = s_curve(7000)[0][6000:], normal(6000, 2, seed=1)
    sums, error = compress(K, random_state=0).evaluate(X, w, return_error=True)
    return {"treecode": sums, "error": error, "exact": K.evaluate(X, w)}


# ---- the calls: solving


def factorize():
    H, b = hss(plane(4000)), normal(4000, 3, seed=1)
    found = {}
    for name, shift in (("number", 0.1), ("per row", np.linspace(0.1, 1, 4000))):
        F = H.factorize(shift)
        values = {
            "solution": F.solve(b),
            "logdet": F.logdet(),
            "diagonal of the inverse": F.inverse_diagonal(),
            "condition": F.condition_estimate(),
            "bytes": F.nbytes,
        }
        found |= labelled(name, values)
    return found | labelled("solve", solution(H.solve(b, shift=0.1, return_info=True)))


def solve_iteratively():
    K, b = plane(4000), normal(4000, 2, seed=1)
    rough, near = hss(K, rtol=1e-3), compress(K, rtol=1e-5, budget=0.1, random_state=0)
    return {
        **labelled("exact", solution(rough.solve(b, shift=0.1, operator=K, return_info=True))),
        **labelled("FMM", solution(near.solve(b, shift=0.1, return_info=True))),
        **labelled(
            "minres",
            solution(near.solve(b, shift=-0.5, solver="minres", rtol=1e-4, return_info=True)),
        ),
    }


def solve_with_cholesky():
    K, b = plane(3000), normal(3000, 2, seed=1)
    low_rank = pivoted_cholesky(K, 200, rtol=1e-8, random_state=0)
    M = CholeskyPreconditioner(low_rank, shift=0.1)
    H = compress(K, rtol=1e-3, random_state=0)
    options = {"shift": 0.1, "operator": K, "return_info": True, "random_state": 0}
    return {
        **fitted(low_rank, "pivots", "factor", "trace_error", "n_read"),
        "product": M @ b,
        "other shift": M.with_shift(1.0) @ b,
        **labelled("by hand", solution(H.solve(b, preconditioner=M, **options))),
        **labelled("by name", solution(H.solve(b, preconditioner="cholesky", **options))),
    }


def estimates():
    K = plane(2000)
    density = spectral_density(compress(K, random_state=0), n_vectors=5, random_state=0)
    found = fitted(density, "nodes", "weights", "n_products")
    for function in (logdet, inverse_trace, inverse_diagonal):
        options = {"rtol": 0.05, "random_state": 0, "return_info": True}
        info = function(K, shift=1.0, **options)[1]
        name = function.__name__
        found |= labelled(name, fitted(info, "value", "standard_error", "n_products"))
        found[f"{name}, direct"] = function(hss(K), shift=1.0)
    return found


# ---- the calls: eigenvalues


def eigsh_lanczos():
    H = compress(KernelMatrix(s_curve(4096)[0], bandwidth=0.3), random_state=0)
    found = labelled("LA", pairs(eigsh(H, k=8, random_state=0, return_info=True)))
    options = {"which": "LM", "tol": 1e-6, "ncv": 30, "random_state": 0, "return_info": True}
    return found | labelled("LM", pairs(eigsh(H, k=5, **options)))


def eigsh_nystroem():
    K = KernelMatrix(s_curve(4096)[0], bandwidth=0.3)
    options = {"k": 10, "v0": "nystroem", "tol": 1e-8, "random_state": 0, "return_info": True}
    found = labelled("compressed", pairs(eigsh(compress(K, random_state=0), **options)))
    return found | labelled("exact", pairs(eigsh(K, **options)))


def eigsh_with_inverse():
    H = hss(plane(2000))
    options = {"k": 4, "random_state": 0, "return_info": True}
    top = eigsh(H, k=1, random_state=0, return_eigenvectors=False)[0]
    found = labelled("shift-invert", pairs(eigsh(H, sigma=1.1 * top, **options)))
    options["tol"] = 1e-4
    found |= labelled("LA", pairs(eigsh(H, method="lobpcg", **options)))
    M = H.factorize(1e-2)
    return found | labelled("SA", pairs(eigsh(H, which="SA", preconditioner=M, **options)))


# ---- the calls: densities


def density_tree():
    X, new = normal(30_000, 2), normal(2000, 2, seed=1)
    model = KernelDensity(bandwidth=0.1, algorithm="tree").fit(X)
    weighted = KernelDensity(bandwidth="scaled_scott", rtol=1e-3)
    weighted.fit(X, sample_weight=np.linspace(0.1, 1, len(X)))
    return {
        "logs": model.score_samples(new),
        "score": model.score(new),
        "sample": model.sample(50, random_state=0),
        "weighted": weighted.score_samples(new),
        "bandwidth": weighted.bandwidth_,
    }


def density_ten_features():
    X, new = normal(10_000, 10), normal(1000, 10, seed=1)
    found = {"float32": KernelDensity(bandwidth=0.8).fit(X).score_samples(new.astype(np.float32))}
    for algorithm in ("auto", "brute", "gofmm"):
        model = KernelDensity(bandwidth=0.8, algorithm=algorithm, random_state=0).fit(X)
        found[algorithm] = model.score_samples(new)
    return found


def density_kernels_and_metrics():
    X, new = normal(3000, 3), normal(500, 3, seed=1)
    found = {}
    for kernel in ("tophat", "epanechnikov", "exponential", "linear", "cosine"):
        found[kernel] = KernelDensity(kernel=kernel, bandwidth=0.7).fit(X).score_samples(new)
    for metric in ("manhattan", "chebyshev"):
        found[metric] = KernelDensity(metric=metric, bandwidth=0.7).fit(X).score_samples(new)
    matrix = np.diag([0.1, 0.2, 0.3]) + 0.05
    found["matrix"] = KernelDensity(bandwidth=matrix).fit(X).score_samples(new)
    return found


def density_bandwidth():
    X = normal(4000, 2)
    grid = np.geomspace(0.05, 1, 8)
    found = {}
    for name, model in (
        ("leave one out", KernelDensityCV()),
        ("3 folds", KernelDensityCV(grid, cv=3)),
        ("epanechnikov", KernelDensityCV(grid[4:], kernel="epanechnikov")),
    ):
        model.fit(X)
        found |= labelled(name, fitted(model, "bandwidth_", "bandwidths_", "scores_"))
        found[f"{name}, logs"] = model.score_samples(X[:100])
    return found


# ---- the calls: manifolds


def mapped(model, X, new):
    """Fit diffusion maps and return what they found, at new points, too."""
    model.fit(X)
    names = ("eigenvalues_", "eigenvectors_", "epsilon_", "residuals_", "error_estimate_")
    return {**fitted(model, *names), "new": model.transform(new)}


def diffusion_narrow():
    X = s_curve(6100)[0]
    X, new = X[:6000], X[6000:]
    found = mapped(DiffusionMaps(3, epsilon=0.004, random_state=0), X, new)
    return found | labelled("auto", mapped(DiffusionMaps(random_state=0), X[:3000], new))


def diffusion_wide():
    X = s_curve(21_100)[0]
    model = DiffusionMaps(3, epsilon=0.3, rtol=1e-3, random_state=0)
    return mapped(model, X[:21_000], X[21_000:])


def diffusion_variants():
    X = s_curve(1600)[0]
    X, new = X[:1500], X[1500:]
    distances = squareform(pdist(X))
    variants = {
        "neighbours": DiffusionMaps(epsilon=0.05, knn=20, random_state=0),
        "variable bandwidth": DiffusionMaps(epsilon=0.05, variable_bandwidth=8, random_state=0),
        "dense, alpha=0": DiffusionMaps("auto", epsilon=0.3, alpha=0, t=2, eigen_solver="dense"),
        "lanczos": DiffusionMaps(epsilon=0.3, eigen_solver="lanczos", random_state=0),
    }
    found = {}
    for name, model in variants.items():
        found |= labelled(name, mapped(model, X, new))
    kernel = DiffusionMaps(kernel="precomputed", random_state=0).fit(np.exp(-(distances**2) / 0.2))
    metric = DiffusionMaps(metric="precomputed", epsilon=0.1, random_state=0).fit(distances)
    return {**found, "kernel": kernel.embedding_, "distances": metric.embedding_}


def harmonics():
    X, position = s_curve(6500)
    model = GeometricHarmonics(60, epsilon=0.1, random_state=0)
    model.fit(X[:6000], np.column_stack([position, X[:, 0]])[:6000])
    names = ("eigenvalues_", "eigenvectors_", "error_estimate_", "residual_")
    return {**fitted(model, *names), "new": model.predict(X[6000:])}


# ---- the calls: kernel ridge regression and features

_RIDGE = ("dual_coef_", "residual_", "n_iter_")


def ridge():
    X, new = normal(7000, 4), normal(300, 4, seed=1)
    y = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]]) + 0.1 * normal(7000, 2, seed=2)
    found = {}
    for n, options in (
        (800, {"kernel": "laplacian"}),
        (3000, {"kernel": "rbf", "gamma": 0.5}),
        (7000, {"kernel": "rbf", "gamma": 0.05}),
        (2000, {"kernel": "poly", "degree": 3, "alpha": [0.1, 10.0]}),
    ):
        model = KernelRidge(**{"alpha": 0.1, "random_state": 0, **options})
        weights = np.linspace(0.5, 2, n) if n != 3000 else None
        model.fit(X[:n], y[:n], sample_weight=weights)
        found |= labelled(f"{options['kernel']}, {n}", fitted(model, *_RIDGE))
        found[f"{options['kernel']}, {n}, new"] = model.predict(new)
    return found


def ridge_penalties_and_classes():
    X, y = normal(2000, 3), np.sin(normal(2000, 3)[:, 0]) + 0.3 * normal(2000, seed=2)
    found = {}
    for n in (800, 2000):
        model = KernelRidgeCV(np.logspace(-2, 2, 5), kernel="rbf", gamma=0.5, random_state=0)
        model.fit(X[:n], y[:n])
        found |= labelled(str(n), fitted(model, "alpha_", "loo_mse_", *_RIDGE))
    X, y = load_digits(return_X_y=True)
    model = KernelRidgeClassifier(alpha=0.1, kernel="rbf", gamma=1e-3, random_state=0)
    model.fit(X[:1500], y[:1500])
    return {**found, **fitted(model, *_RIDGE), "classes": model.decision_function(X[1500:])}


def features():
    X = load_digits().data
    X, new = X[:1500], X[1500:]
    found = {}
    for name, options in {
        "all": {},
        "rpcholesky": {"landmarks": "rpcholesky", "center": True},
        "uniform": {"landmarks": "uniform", "kernel": "poly"},
        "number": {"landmarks": 300, "tol": 1e-2, "n_components": "auto"},
    }.items():
        options = {"gamma": 1e-3, "n_components": 50, "random_state": 0, **options}
        model = HierarchicalNystroem(**options)
        found[f"{name}, samples"] = model.fit_transform(X)
        found[f"{name}, new"] = model.transform(new)
        found |= labelled(name, fitted(model, "normalization_", "trace_error_"))
    X = s_curve(5000)[0]
    model = HierarchicalNystroem(gamma=1.0, n_components=40, random_state=0)
    return {**found, "compressed, samples": model.fit_transform(X)}


def matrices():
    found = {}
    for name, n in (
        ("K01", 1024),
        ("K03", 1024),
        ("K06", 1000),
        ("K07", 1000),
        ("K11", 1024),
        ("K13", 1024),
        ("K17", 1000),
        ("G01", 1000),
        ("G03", 1000),
        ("G05", 1296),
        ("K-DIGITS", 1000),
        ("S-CURVE", 1000),
    ):
        matrix = load_matrix(name, n)
        K = matrix.K
        rows, cols = np.arange(0, n, 9), np.arange(n)
        if isinstance(K, np.ndarray):
            found[name] = K[rows]
        else:
            found[name] = (K.block if isinstance(K, KernelMatrix) else K)(rows, cols)
        found[f"{name}, text"] = matrix.DESCR
        if matrix.points is not None:
            found[f"{name}, points"] = matrix.points
    return found


# ---- the calls: neural networks, which import TensorFlow and so come last


def trained(model, X, y):
    """Train a network and return its weights and losses."""
    model.fit(X, y)
    weights = {f"weights {i}": w for i, w in enumerate(model.model_.get_weights())}
    return {**weights, "losses": model.loss_curve_}


def train_classifier():
    from skhmat.neural_network import KerasClassifier

    X, y = load_breast_cancer(return_X_y=True)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    model = KerasClassifier(hidden_layer_sizes=(16,), epochs=3, random_state=0)
    found = trained(model, X, y)
    return {**found, "probabilities": model.predict_proba(X[:100])}


def train_regressor():
    from skhmat.neural_network import KerasRegressor

    X = normal(600, 5, dtype=np.float32)
    y = X[:, 0] * X[:, 1] + np.sin(X[:, 2])
    model = KerasRegressor(
        hidden_layer_sizes=(16,),
        optimizer="probabilistic-preconditioner",
        epochs=4,
        batch_size=32,
        random_state=0,
    )
    found = trained(model, X, y)
    return {**found, "new": model.predict(normal(100, 5, seed=1, dtype=np.float32))}


def hessian():
    import keras

    from skhmat.neural_network import HessianOperator

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([layers.Input((8,)), layers.Dense(12, "tanh"), layers.Dense(1)])
    model.compile(loss="mse")
    X = normal(500, 8, dtype=np.float32)
    found = {}
    for curvature in ("hessian", "gauss_newton"):
        H = HessianOperator(model, X, X[:, 0] * X[:, 1], curvature=curvature)
        options = {"tol": 1e-4, "random_state": 0, "return_info": True}
        found |= labelled(curvature, pairs(eigsh(H, k=3, **options)))
        found[f"{curvature}, diagonal"] = H.diagonal(random_state=0).value
    return found


CALLS = {
    call.__name__: call
    for call in (
        compress_float32,
        compress_hss,
        compress_array_and_file,
        compress_callable,
        compress_in_vain,
        save_and_load,
        exact_products,
        evaluate_new_points,
        factorize,
        solve_iteratively,
        solve_with_cholesky,
        estimates,
        eigsh_lanczos,
        eigsh_nystroem,
        eigsh_with_inverse,
        density_tree,
        density_ten_features,
        density_kernels_and_metrics,
        density_bandwidth,
        diffusion_narrow,
        diffusion_wide,
        diffusion_variants,
        harmonics,
        ridge,
        ridge_penalties_and_classes,
        features,
        matrices,
        train_classifier,
        train_regressor,
        hessian,
    )
}


# ---- results


def run(names=tuple(CALLS)):
    """Run calls and return their results, and what they were made with."""
    found = {}
    for name in names:
        start = time.perf_counter()
        found[name] = result_of(CALLS[name])
        seconds = time.perf_counter() - start
        print(f"{name:28} {seconds:6.2f} s  {found[name].get('error', '')}", flush=True)
    return {"made with": made_with(), "calls": found}


def result_of(call):
    """Return what identifies the outputs of a call, and the warnings it gave."""
    np.random.seed(0)  # noqa: NPY002 (SciPy's onenormest has no seed of its own)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outputs = call()
        except Exception as error:  # The other calls still tell something.
            return {"error": f"{type(error).__name__}: {error}"}
    printed = {name: fingerprint(value) for name, value in outputs.items()}
    return {"outputs": printed, "warnings": [described_warning(w) for w in caught]}


def fingerprint(value):
    """Return dtype, shape and hash of an array, and some of its numbers."""
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError(f"{type(value).__name__} has no bytes that can be compared.")
    found = {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }
    if array.dtype.kind in "fiub":
        numbers = array.ravel()[:: max(1, array.size // _KEPT)][:_KEPT]
        size = float(np.linalg.norm(array.astype(np.float64).ravel()))
        found |= {"norm": size, "numbers": numbers.tolist()}
    return found


def described_warning(warning):
    """Return the kind of a warning, its text, and whether it points to the lines of this file."""
    where = "here" if Path(warning.filename) == Path(__file__) else "elsewhere"
    return f"{warning.category.__name__} {where}: {warning.message}"


def made_with():
    """Return what results depend on beside the code, and where that code is."""
    found = {"Python": sys.version.partition(" ")[0], "machine": " ".join(os.uname()[1::3])}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    found["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "not set")
    return {**found, "skhmat": str(Path(skhmat.__file__).parent)}


def write(path, names):
    """Run calls and write their results; return 1 if one raised an error."""
    results = run(names)
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return int(any("error" in result for result in results["calls"].values()))


def results_of(python, names):
    """Return the results of another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        print(f"---- {python}", flush=True)
        command = [python, __file__, "write", str(path), "--calls", *names]
        subprocess.run(command, check=False)
        if not path.exists():
            sys.exit(f"{python} has written no results.")
        return json.loads(path.read_text(encoding="utf-8"))


def compare(old, new):
    """Print a line for each call; return 1 if one differs, else 0."""
    ours, theirs = dict(new["made with"]), dict(old["made with"])
    print(f"\nold: {theirs.pop('skhmat')}\nnew: {ours.pop('skhmat')}")
    for name in ours:
        if ours[name] != theirs.get(name):
            print(f"WARNING: {name} was {theirs.get(name)} and is {ours[name]}")
    names = [name for name in CALLS if name in old["calls"] or name in new["calls"]]
    verdicts = {name: difference(old["calls"].get(name), new["calls"].get(name)) for name in names}
    for name, verdict in verdicts.items():
        print(f"{name:28} {verdict}")
    n_equal = sum(verdict == "equal" for verdict in verdicts.values())
    print(f"{n_equal} of {len(names)} calls are equal to the bit.")
    return int(n_equal < len(names) or not names)


def difference(old, new):
    """Say how two results of a call differ, or that they are equal."""
    if old is None or new is None:
        return "not run on the " + ("old" if old is None else "new") + " side"
    if "error" in old or "error" in new:
        return f"error: old {old.get('error', 'none')}; new {new.get('error', 'none')}"
    if old == new:
        return "equal"
    before, after = old["outputs"], new["outputs"]
    other = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not other:
        return f"warnings: old {old['warnings']}; new {new['warnings']}"
    sizes = {name: relative_difference(before.get(name), after.get(name)) for name in other}
    worst = max(other, key=lambda name: sizes[name])
    size = sizes[worst]
    said = f"{size:.1e}" if size > 0 else "not in the numbers that are kept,"
    said = "dtype, shape or text" if size == np.inf else said
    return f"DIFFERS: {said} in {worst!r}; {len(other)} of {len(after)} outputs"


def relative_difference(old, new):
    """Return the largest difference of the numbers kept, relative to the largest of them."""
    kinds = ("dtype", "shape")
    if None in (old, new) or any(old[kind] != new[kind] for kind in kinds) or "norm" not in old:
        return np.inf
    a, b = (np.array([*side["numbers"], side["norm"]], dtype=float) for side in (old, new))
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    sizes = np.append(np.full(max(len(a) - 1, 0), np.abs(a[:-1]).max(initial=0)), a[-1:])
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(sizes), np.finfo(float).tiny), initial=0))


# ---- times

_REPEATS = 7  # of each step in a process, after one that is not counted; the least time counts
_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_IMPORTS = {
    "import skhmat.linalg": "import skhmat.linalg",
    "import skhmat.neural_network": "from skhmat.neural_network import NewtonCG, KerasClassifier",
}


def steps():
    """Return what is timed: name: function of no arguments."""
    K = KernelMatrix(normal(8192, 6, dtype=np.float32), bandwidth=4.0)
    H = compress(K, rtol=1e-3, random_state=0)
    W = normal(8192, 512, seed=1, dtype=np.float32)
    X, new = normal(20_000, 3), normal(5000, 3, seed=1)
    density = KernelDensity(bandwidth=0.2).fit(X)
    curve = s_curve(5000)[0]
    maps = DiffusionMaps(3, epsilon=0.004, random_state=0)
    regression = KernelRidge(alpha=0.1, kernel="rbf", gamma=0.5, random_state=0)
    samples, y = normal(3000, 4), normal(3000, seed=2)
    return {
        "compress": lambda: compress(K, rtol=1e-3, random_state=0),
        "product, 512 vectors": lambda: H @ W,
        "KernelDensity": lambda: density.score_samples(new),
        "DiffusionMaps": lambda: maps.fit(curve),
        "KernelRidge": lambda: regression.fit(samples, y),
    }


def time_steps(clock):
    """Print the seconds of all steps, in this process."""
    taken = {name: least_seconds(step, _CLOCKS[clock]) for name, step in steps().items()}
    print(json.dumps(taken))


def least_seconds(step, clock):
    step()
    taken = []
    for _ in range(_REPEATS):
        start = clock()
        step()
        taken.append(clock() - start)
    return min(taken)


def time_round(python, clock):
    """Return the seconds of all steps, each in fresh processes."""
    command = [python, __file__, "steps", "--clock", clock]
    output = subprocess.check_output(command)
    taken = {name: import_seconds(python, line, clock) for name, line in _IMPORTS.items()}
    return {**taken, **json.loads(output.splitlines()[-1])}


def import_seconds(python, line, clock):
    """Return the least seconds of an import; before it, an editable install looks for changes."""
    now = f"time.{_CLOCKS[clock].__name__}()"
    code = f"import skhmat, time; start = {now}\n{line}\nprint({now} - start)"
    command = [python, "-c", code]
    with tempfile.TemporaryDirectory() as folder:  # `python -c` looks here for modules
        outputs = [subprocess.check_output(command, cwd=folder) for _ in range(2)]
    return min(float(output.split()[-1]) for output in outputs)


def times(pythons, rounds, limit, clock):
    """Time two interpreters in turn and print the ratio of each step."""
    for python in pythons:  # byte code, and files in the memory of the system
        time_round(python, clock)
    taken = [], []
    for i in range(rounds):
        for python, side in zip(pythons, taken, strict=True):
            side.append(time_round(python, clock))
        print(f"round {i + 1} of {rounds}", flush=True)
    print(f"\nA: {pythons[0]}\nB: {pythons[1]}")
    print(f"{clock} seconds, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':28} {'A, s':>8} {'B, s':>8} {'B / A':>7}   quartiles      within {limit:.0%}")
    for name in taken[0][0]:
        a, b = ([seconds[name] for seconds in side] for side in taken)
        ratio = statistics.median(b) / statistics.median(a)
        low, high = np.quantile(np.divide(b, a), [0.25, 0.75])
        verdict = "yes" if ratio <= 1 + limit else "no" if low > 1 + limit else "not clear"
        print(
            f"{name:28} {statistics.median(a):8.4f} {statistics.median(b):8.4f} {ratio:7.3f}   "
            f"{low:.3f}, {high:.3f}   {verdict}"
        )
    return 0


# ---- the command line


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="run the calls and write what they return")
    writing.add_argument("path", type=Path)
    comparing = commands.add_parser("compare", help="compare two files, or two interpreters")
    comparing.add_argument(
        "paths", type=Path, nargs="*", help="old and new results; without new, this Python is run"
    )
    comparing.add_argument("--python", help="run this for the old results")
    for command in (writing, comparing):
        command.add_argument("--calls", nargs="+", choices=CALLS, metavar="CALL", default=[*CALLS])
    timing = commands.add_parser("times", help="time two interpreters, A B A B")
    timing.add_argument("--python", action="append", required=True, help="twice: A and B")
    timing.add_argument("--rounds", type=int, default=7)
    timing.add_argument("--limit", type=float, default=0.03, help="slower by so much is too slow")
    step = commands.add_parser("steps", help="what `times` runs in each process")
    for command in (timing, step):
        command.add_argument("--clock", choices=_CLOCKS, default="wall")
    args = parser.parse_args()
    if args.command == "write":
        return write(args.path, args.calls)
    if args.command == "steps":
        return time_steps(args.clock)
    if args.command == "times":
        if len(args.python) != 2:
            timing.error("give --python twice")
        # Not `Path.resolve`: the link is what tells Python its environment.
        pythons = [os.path.abspath(shutil.which(python) or python) for python in args.python]
        return times(pythons, args.rounds, args.limit, args.clock)
    if len(args.paths) + bool(args.python) not in (1, 2):
        comparing.error("give two files, or one, or --python")
    sides = [args.python, *args.paths] if args.python else [*args.paths]
    sides += [sys.executable] * (2 - len(sides))
    return compare(*(results(side, args.calls) for side in sides))


def results(side, names):
    """Read a file of results, or run an interpreter for them."""
    if isinstance(side, str):
        return results_of(side, names)
    found = json.loads(side.read_text(encoding="utf-8"))
    found["calls"] = {name: call for name, call in found["calls"].items() if name in names}
    return found


if __name__ == "__main__":
    sys.exit(main())
