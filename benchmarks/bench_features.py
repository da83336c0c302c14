"""Features of kernels

*Error*: the fraction of the trace of the kernel matrix not explained by the features; *best* are
the leading eigenvectors of the dense matrix in SciPy. Gaussian kernels: gamma=0.05 for the swiss
roll, and 1 / 64 for digits whose pixels are scaled to variance 1. *Time*: ``fit_transform`` of all
samples of the swiss roll, medians of runs in turn.
"""

import numpy as np
from common import at_least, at_most, interleaved, main
from sklearn.datasets import load_digits, make_swiss_roll
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler

from skhmat.kernel_approximation import HierarchicalNystroem

# Times the best error, times as good as scikit-learn with 500 features, times its seconds.
OVER_BEST, BETTER, SLOWER = 1.05, 10, 2
RANKS = 50, 200, 500


def errors(name, X, gamma):
    """Yield a row for each number of features."""
    values = np.linalg.eigvalsh(rbf_kernel(X, gamma=gamma))[::-1]
    for k in RANKS:
        best = 1 - values[:k].sum() / len(X)
        options = {"gamma": gamma, "n_components": k, "random_state": 0}
        found = {
            landmarks: HierarchicalNystroem(landmarks=landmarks, **options).fit(X).trace_error_
            for landmarks in ("all", "rpcholesky")
        }
        theirs = 1 - np.sum(Nystroem(**options).fit_transform(X) ** 2) / len(X)
        ratio = theirs / found["rpcholesky"]
        is_judged = name.startswith("swiss roll") and k == RANKS[-1]
        yield {
            "table": "Error",
            "samples": name,
            "N": len(X),
            "features": k,
            "best": best,
            "all": found["all"],
            "all over best": at_most(found["all"] / best, OVER_BEST),
            "rpcholesky": found["rpcholesky"],
            "scikit-learn": theirs,
            "scikit-learn over rpcholesky": at_least(ratio, BETTER) if is_judged else ratio,
        }


def seconds(n, k):
    """Return seconds of both."""
    X = make_swiss_roll(n, random_state=0)[0]
    options = {"gamma": 0.05, "n_components": k, "random_state": 0}
    ours = HierarchicalNystroem(landmarks="rpcholesky", **options)
    theirs = Nystroem(**options)
    taken, _ = interleaved(
        {
            "rpcholesky": lambda: ours.fit_transform(X),
            "scikit-learn": lambda: theirs.fit_transform(X),
        },
        repeats=5,
    )
    return {
        "table": "Time",
        "N": n,
        "features": k,
        "rpcholesky, s": taken["rpcholesky"],
        "scikit-learn, s": taken["scikit-learn"],
        "ratio": at_most(taken["rpcholesky"] / taken["scikit-learn"], SLOWER),
    }


def run(quick):
    """Return the rows of all tables."""
    digits = StandardScaler().fit_transform(load_digits().data)
    rows = []
    for n in (1500,) if quick else (3000, 8000):
        rows += errors("swiss roll", make_swiss_roll(n, random_state=0)[0], 0.05)
    rows += errors("digits", digits, 1 / 64)
    rows.append(seconds(10_000 if quick else 100_000, RANKS[-1]))
    return rows


if __name__ == "__main__":
    main(run, __doc__)
