"""Diffusion maps

*Accuracy*: leading eigenvalues and their space against those of the dense matrix in SciPy, with the
form that is chosen and with a hierarchical matrix, rtol=1e-6. *The same coordinates as datafold*:
dense, in the norm of the largest entry, up to sign. *Time*: seven eigenpairs of the S-curve. Each
fit is in a process of its own, and programs take turns, three times where they take seconds;
seconds are medians, memory is how far the process rises above what it held before the fit.
*datafold* runs in an environment of its own (the Python that ``DATAFOLD_PYTHON`` names, or that in
``.venv-datafold``), with the cut-off that its own choice of epsilon goes with: the root of
epsilon ln 1e8.
*Dense Lanczos* is ARPACK on the stored and normalised matrix, which is made by the kernel loops of
this package. The error is that of the seven eigenvectors, in the 2-norm, against those of dense
Lanczos. *Larger*: time and memory, and how they grow at the same epsilon.
"""

import importlib.util
import math
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.sparse.csgraph
import scipy.sparse.linalg
import scipy.stats
from common import at_least, at_most, in_fresh_process, main, peak_rss, reset_peak_rss, rss
from sklearn.datasets import load_digits, make_s_curve, make_swiss_roll
from sklearn.manifold import SpectralEmbedding

from skhmat.datasets import load_matrix
from skhmat.linalg import KernelMatrix
from skhmat.manifold import DiffusionMaps
from skhmat.manifold._spectral.affinity import AffinityPolicy
from skhmat.manifold._spectral.policy import SpectralPolicy

HERE = Path(__file__).resolve().parent
N_PAIRS = 7
GIB = 2**30
EIGENVALUE, ANGLE, EMBEDDING, VECTOR = 1e-5, 1e-3, 1e-5, 1e-5
# Epsilon of the narrow kernel at N = 10,000, and of the wide ones.
NARROW, WIDE = 0.0018, (0.02, 0.1)
FASTER_THAN_SPARSE, FASTER_THAN_DENSE, FASTER_THAN_LANCZOS, FASTER_THAN_EMBEDDING = 2.5, 30, 4, 15
MEMORY, LARGE_MEMORY = 0.4, 4
# N, and most seconds for each epsilon.
LARGE_EPSILONS = (2.1e-4, 0.02)
LARGE = ((100_000, (25, 90)), (200_000, None), (400_000, (600, 600)))
GROWTH = 2.4
# Graphs: N, and how much of the time of the rival with a tolerance of 1e-8 may be taken.
GRAPHS = (10_000, 100_000)
AS_FAST_AS_MULTIGRID = 1.5
RIVAL_TOL = 1e-8
# Every kernel of more than 1,024 samples is held as a hierarchical matrix.
ALWAYS_HIERARCHICAL = SpectralPolicy(
    affinity=AffinityPolicy(max_dense=0, max_float32=0, max_sparse_entries=0)
)


def s_curve(n):
    """Return points of the S-curve."""
    return make_s_curve(n, random_state=0)[0]


def datafold_python():
    """Return the Python that has datafold, or None."""
    given = os.environ.get("DATAFOLD_PYTHON", HERE.parent / ".venv-datafold" / "bin" / "python")
    check = [str(given), "-c", "import datafold"]
    try:
        subprocess.run(check, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return str(given)


def datafold(python, X, epsilon, cut_off=math.inf, k=N_PAIRS):
    """Return what datafold finds: eigenvalues, eigenvectors, seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        data, result = Path(folder, "data.npz"), Path(folder, "result.npz")
        np.savez(data, X=X, epsilon=epsilon, cut_off=cut_off, k=k)
        subprocess.run([python, HERE / "rival_datafold.py", data, result], check=True)
        return dict(np.load(result))


# ---- accuracy


def normalized(X, epsilon):
    """Return the dense symmetric conjugate of the Markov matrix, alpha being 1, and its scaling."""
    A = KernelMatrix(X, bandwidth=math.sqrt(epsilon)).toarray()
    sums = A.sum(axis=1)
    A /= sums
    A /= sums[:, np.newaxis]
    root = np.sqrt(A.sum(axis=1))
    A /= root
    A /= root[:, np.newaxis]
    return A, root


def dense_pairs(X, epsilon, k):
    """Return eigenvalues, largest first, eigenvectors of the symmetric matrix, and its scaling."""
    A, root = normalized(X, epsilon)
    if len(A) <= 2000:
        values, vectors = scipy.linalg.eigh(A, subset_by_index=(len(A) - k, len(A) - 1))
    else:
        values, vectors = scipy.sparse.linalg.eigsh(A, k, which="LA", v0=np.ones(len(A)))
    return values[::-1], vectors[:, ::-1], root


def accuracy(name, X, epsilon, k=10):
    """Yield a row for the form that is chosen, and one for a hierarchical matrix."""
    values, vectors, root = dense_pairs(X, epsilon, k)
    for hierarchical in (False, True):
        model = DiffusionMaps(k - 1, epsilon=epsilon, rtol=1e-6, random_state=0)
        if hierarchical:
            model._policy = ALWAYS_HIERARCHICAL
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X)
        angles = scipy.linalg.subspace_angles(vectors, model.eigenvectors_ * root[:, np.newaxis])
        yield {
            "table": f"Accuracy of the first {k} eigenpairs",
            "data": name,
            "N": len(X),
            "epsilon": epsilon,
            "kernel": "hierarchical" if hierarchical else "auto: " + form(model),
            "error of the kernel": model.error_estimate_,
            "eigenvalues": at_most(np.abs(values - model.eigenvalues_).max(), EIGENVALUE),
            "largest angle": at_most(angles.max(), ANGLE, "warned" if caught else ""),
        }


def form(model):
    """Return the form of the kernel in a few words."""
    return model.summary().splitlines()[1].split("kernel")[1].split(", ")[0].strip()


def patches(n):
    """Return image patches, and the bandwidth that goes with them."""
    K = load_matrix("K-PATCHES", n).K
    return np.ascontiguousarray(K.points, dtype=np.float64), K.bandwidth**2


def same_as_datafold(python, name, X, epsilon):
    """Return a row: the difference of the coordinates from those of datafold."""
    theirs = datafold(python, X, epsilon)
    ours = DiffusionMaps(N_PAIRS - 1, epsilon=epsilon, t=0).fit(X).eigenvectors_
    vectors = theirs["vectors"] * np.sign(np.sum(theirs["vectors"] * ours, axis=0))
    difference = np.abs(vectors - ours).max() / np.abs(vectors).max()
    return {
        "table": "The same coordinates as datafold",
        "data": name,
        "N": len(X),
        "epsilon": epsilon,
        "difference": at_most(difference, EMBEDDING),
    }


# ---- time and memory


def measured(fit):
    """Return what `fit` returns, its seconds, and how far memory rose."""
    reset_peak_rss()
    before = rss()
    start = time.perf_counter()
    result = fit()
    return result, time.perf_counter() - start, peak_rss() - before


def our_fit(n, epsilon):
    """Return eigenvectors, seconds, memory and the form of one fit, in a process of its own."""
    X = s_curve(n)
    model = DiffusionMaps(N_PAIRS - 1, epsilon=epsilon, t=0, random_state=0)
    _, *cost = measured(lambda: model.fit(X))
    return model.eigenvectors_, *cost, form(model)


def lanczos_fit(n, epsilon):
    """Do the same with dense Lanczos."""
    X = s_curve(n)
    (_, vectors, root), *cost = measured(lambda: dense_pairs(X, epsilon, N_PAIRS))
    vectors = vectors / root[:, np.newaxis]
    return vectors / np.linalg.norm(vectors, axis=0), *cost, "dense"


def embedding_fit(n, epsilon):
    """Do the same with the spectral embedding of scikit-learn, which has other eigenvectors."""
    X = s_curve(n)
    model = SpectralEmbedding(N_PAIRS - 1, affinity="rbf", gamma=0.5 / epsilon, random_state=0)
    _, *cost = measured(lambda: model.fit(X))
    return None, *cost, "dense"


def datafold_fit(python, n, epsilon, cut_off):
    """Do the same with datafold."""
    result = datafold(python, s_curve(n), epsilon, cut_off)
    return result["vectors"], float(result["seconds"]), int(result["rise"]), "sparse"


def beside(python, n, epsilon, repeats):
    """Return a row for each program, ours with what it gains."""
    steps = {"skhmat": lambda: in_fresh_process(our_fit, n, epsilon)}
    if python and epsilon == NARROW:
        cut_off = math.sqrt(epsilon * math.log(1e8))
        steps["datafold, sparse"] = lambda: datafold_fit(python, n, epsilon, cut_off)
    runs = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            runs[name].append(step())
    # These take many times longer, so that once is enough.
    runs["dense Lanczos"] = [in_fresh_process(lanczos_fit, n, epsilon)]
    if epsilon != NARROW:
        runs["SpectralEmbedding"] = [in_fresh_process(embedding_fit, n, epsilon)]
    elif python:
        runs["datafold, dense"] = [datafold_fit(python, n, epsilon, math.inf)]
    exact = runs["dense Lanczos"][0][0]
    rows = [time_row(name, n, epsilon, some, exact) for name, some in runs.items()]
    goals = {
        "datafold, sparse": FASTER_THAN_SPARSE,
        "datafold, dense": FASTER_THAN_DENSE,
        "dense Lanczos": FASTER_THAN_LANCZOS if epsilon != NARROW else None,
        "SpectralEmbedding": FASTER_THAN_EMBEDDING,
    }
    ours = rows[0]["fit, s"]
    rows[0]["memory, GiB"] = at_most(rows[0]["memory, GiB"], MEMORY)
    rows[0]["error"] = at_most(rows[0]["error"], VECTOR)
    for row in rows[1:]:
        ratio, goal = row["fit, s"] / ours, goals[row["program"]]
        row["skhmat is faster"] = ratio if goal is None else at_least(ratio, goal)
    return rows


def time_row(name, n, epsilon, runs, exact):
    """Return the row of one program."""
    vectors, seconds, rise, kernel = zip(*runs, strict=True)
    row = {
        "table": f"Time, {N_PAIRS} eigenpairs of the S-curve",
        "N": n,
        "epsilon": epsilon,
        "program": name,
        "kernel": kernel[0],
        "fit, s": statistics.median(seconds),
        "memory, GiB": max(rise) / GIB,
    }
    if vectors[0] is not None:
        signed = vectors[0] * np.sign(np.sum(vectors[0] * exact, axis=0))
        row["error"] = float(np.linalg.norm(signed - exact, axis=0).max())
    return row


def large(n, epsilon, seconds, before):
    """Return a row for one large fit, and its seconds; half as many points took `before`."""
    _, taken, rise, kernel = in_fresh_process(our_fit, n, epsilon)
    row = {
        "table": f"Larger, {N_PAIRS} eigenpairs of the S-curve",
        "epsilon": epsilon,
        "N": n,
        "kernel": kernel,
        "fit, s": taken if seconds is None else at_most(taken, seconds),
        "memory, GiB": at_most(rise / GIB, LARGE_MEMORY) if n == LARGE[0][0] else rise / GIB,
    }
    if before:
        row["times as long as half"] = at_most(taken / before, GROWTH)
    return row, taken


def our_graph_fit(n):
    """Return CPU seconds, rank correlation and residual of a graph of neighbours."""
    X, position = make_s_curve(n, random_state=0)
    start = time.process_time()
    model = DiffusionMaps(2, knn=15, random_state=0).fit(X)
    seconds = time.process_time() - start
    rank = scipy.stats.spearmanr(model.embedding_[:, 0], position)[0]
    return seconds, abs(rank), model.residuals_.max()


def multigrid_fit(n, tol):
    """Do the same with the spectral embedding of scikit-learn."""
    X, position = make_s_curve(n, random_state=0)
    options = {"affinity": "nearest_neighbors", "n_neighbors": 15, "eigen_solver": "amg"}
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SpectralEmbedding(2, eigen_tol=tol, random_state=0, **options).fit(X)
    seconds = time.process_time() - start
    rank = scipy.stats.spearmanr(model.embedding_[:, 0], position)[0]
    options = {"normed": True, "return_diag": True}
    L, root = scipy.sparse.csgraph.laplacian(model.affinity_matrix_, **options)
    V = model.embedding_ * root[:, np.newaxis]
    V /= np.linalg.norm(V, axis=0)
    LV = L @ V
    residuals = np.linalg.norm(LV - V * np.sum(V * LV, axis=0), axis=0)
    return seconds, abs(rank), residuals.max()


def graph_rows(n, repeats=3):
    """Return a row for each program, which take turns."""
    steps = {"skhmat": (our_graph_fit, n)}
    if importlib.util.find_spec("pyamg"):
        steps["SpectralEmbedding, AMG"] = (multigrid_fit, n, "auto")
        steps[f"SpectralEmbedding, AMG, tol {RIVAL_TOL:.0e}"] = (multigrid_fit, n, RIVAL_TOL)
    runs = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            runs[name].append(in_fresh_process(*step))
    rows = []
    for name, some in runs.items():
        seconds, rank, residual = (statistics.median(column) for column in zip(*some, strict=True))
        row = {"table": "Graphs of 15 neighbours, two coordinates of the S-curve", "N": n}
        row |= {"program": name, "fit, CPU s": seconds, "rank correlation": rank}
        rows.append(row | {"residual": residual})
    if len(rows) > 1:
        limit = AS_FAST_AS_MULTIGRID * rows[-1]["fit, CPU s"]
        rows[0]["fit, CPU s"] = at_most(rows[0]["fit, CPU s"], limit)
    return rows


def run(quick):
    """Return the rows of all tables."""
    python = datafold_python()
    if python is None:
        print("datafold was not found: its rows are left out (set DATAFOLD_PYTHON)")
    n = 3000 if quick else 16_384
    rows = [*accuracy("S-curve", s_curve(n), 0.02 if quick else 0.01)]
    rows += accuracy("digits", load_digits().data, 200.0)
    rows += accuracy("image patches", *patches(1500 if quick else 8192))
    if python:
        rows.append(same_as_datafold(python, "S-curve", s_curve(2000), 0.02))
        X = make_swiss_roll(2000, random_state=0)[0]
        rows.append(same_as_datafold(python, "swiss roll", X, 2.0))
    n = 3000 if quick else 10_000
    for epsilon in (NARROW, *WIDE):
        rows += beside(python, n, epsilon, repeats=3)
    for n in GRAPHS[:1] if quick else GRAPHS:
        rows += graph_rows(n)
    for i, epsilon in enumerate(LARGE_EPSILONS):
        before = None
        for n, seconds in ((5000, None), (10_000, None)) if quick else LARGE:
            row, before = large(n, epsilon, seconds and seconds[i], before)
            rows.append(row)
    return rows


if __name__ == "__main__":
    main(run, __doc__)
