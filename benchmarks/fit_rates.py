"""Fit the rates of the cost model of `compress` to this machine

python benchmarks/fit_rates.py [--quick]

Prints for each rate of `skhmat.linalg._gofmm.cost_model.Rates` its present value and the one that
was measured here, in nanoseconds of one core, and how far the model is off for the set-up and the
products of all matrices tried. Rates of single operations are timed by themselves; those of bases
and blocks are fitted to compressions, whose costs are linear in them. Only the ratios of rates
matter for what is chosen: change them in the source if they differ by more than a factor of two on
several machines. Run with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

import argparse
import time
from dataclasses import fields, replace

import numpy as np
from scipy.optimize import nnls

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import ArraySource
from skhmat.linalg._gofmm.cluster_tree import build_tree, level_slice
from skhmat.linalg._gofmm.cost_model import RATES, CostModel, Rates
from skhmat.linalg._gofmm.distances import make_distance
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.neighbors import find_neighbors

REPEATS = 5
FITTED_TO_SETUP = ("point", "node", "skeleton", "pair", "touch")
FITTED_TO_PRODUCTS = ("multiply", "block", "row")
WIDTH = 64


def fastest(step, repeats=REPEATS):
    """Return the least processor seconds of a step."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return min(seconds)


def time_operations(rng):
    """Return the rates of single operations, in nanoseconds."""
    n = 2000
    A, W, w = rng.random((2 * n, 2 * n)), rng.random((2 * n, WIDTH)), rng.random(2 * n)
    rates = {
        "multiply": fastest(lambda: A @ W) / A.size / WIDTH,
        "stream": fastest(lambda: A @ w) / A.nbytes,
    }
    rows, cols = np.arange(n // 2), np.arange(n // 2, n)
    source, some = ArraySource(A), np.sort(rng.permutation(2 * n)[: n // 2])
    rates["gather"] = fastest(lambda: source.block(some, some)) / len(some) ** 2
    seconds = {}
    for d in (4, 64):
        X = rng.standard_normal((n, d)) / np.sqrt(d)
        for name in ("gaussian", "inverse_multiquadric", "linear"):
            K = KernelMatrix(X, name)
            seconds[name, d] = fastest(lambda K=K: K.block(rows, cols)) / len(rows) ** 2
    rates["dimension"] = (seconds["gaussian", 64] - seconds["gaussian", 4]) / 60
    for kind, name in (
        ("exponential", "gaussian"),
        ("algebraic", "inverse_multiquadric"),
        ("polynomial", "linear"),
    ):
        rates[kind] = seconds[name, 4] - 4 * rates["dimension"]
    return {name: 1e9 * value for name, value in rates.items()}


def matrices(rng, quick):
    """Yield kernel matrices and tolerances, of low and of high ranks."""
    n = 4000 if quick else 10_000
    for kernel, d, bandwidth, rtol in (
        ("gaussian", 3, 0.5, 1e-4),
        ("exponential", 4, 0.8, 1e-3),
        ("matern52", 3, 0.3, 1e-4),
        ("inverse_multiquadric", 3, 0.5, 1e-4),
    ):
        yield KernelMatrix(rng.random((n, d)), kernel, bandwidth=bandwidth, n_jobs=1), rtol


def interactions_of(K, leaf_size, budget):
    """Return a tree and the pairs of nodes that are near and far, much as `compress` finds them."""
    entries = Entries(K)
    tree = build_tree(make_distance("geometric", entries), K.shape[0], leaf_size, 0)
    entries = entries.in_order(tree.permutation)
    neighbors = find_neighbors(make_distance("geometric", entries), K.shape[0], 32, 0)
    return tree, find_interactions(tree, neighbors.indices, budget)


def measure(rng, quick, measured):
    """Return the costs by rate, and the nanoseconds, of set-ups and products."""
    setups, products = [], []
    for K, rtol in matrices(rng, quick):
        W = rng.standard_normal((K.shape[0], WIDTH))
        for leaf_size in (64, 256):
            for budget in (0.0, 0.03, 0.2):
                tree, interactions = interactions_of(K, leaf_size, budget)
                options = {"leaf_size": leaf_size, "budget": budget, "fallback": "never"}
                start = time.process_time()
                H = compress(K, rtol, n_jobs=1, random_state=0, **options)
                setup = time.process_time() - start
                if H.form.structure.depth != tree.depth:
                    continue
                ranks = mean_ranks(H.form.structure, interactions)
                given = K, tree, interactions, ranks
                setups.append((*costs(*given, "setup", FITTED_TO_SETUP, measured), 1e9 * setup))
                seconds = fastest(lambda H=H, W=W: H @ W, 3)
                products.append(
                    (*costs(*given, "product", FITTED_TO_PRODUCTS, measured), 1e9 * seconds)
                )
    return np.array(setups), np.array(products)


def mean_ranks(structure, interactions):
    """Return the mean rank of the nodes of each level that have a basis."""
    ranks = np.zeros(structure.depth + 1)
    for level, active in enumerate(interactions.active_nodes):
        rank = structure.rank[level_slice(level)]
        ranks[level] = rank[active].mean() if active.any() else 0.0
    return ranks


def costs(K, tree, interactions, ranks, name, fitted, measured):
    """Return what each fitted rate is multiplied with, and the nanoseconds of all other rates."""
    none = dict.fromkeys((field.name for field in fields(Rates)), 0.0)

    def cost(rates):
        model = CostModel(K, WIDTH, rates=rates)
        return 1e9 * getattr(model.hierarchical(tree, interactions, ranks), name)

    others = replace(RATES, **{**measured, **dict.fromkeys(fitted, 0.0)})
    rest = cost(others) if name == "setup" else 0.0
    return *(cost(Rates(**none | {one: 1.0})) for one in fitted), rest


def fit(table):
    """Return the rates that bring the model nearest to what was measured, relative to it."""
    counts, rest, seconds = table[:, :-2], table[:, -2], table[:, -1]
    rates, _ = nnls(counts / seconds[:, None], 1 - rest / seconds)
    return rates, (counts @ rates + rest) / seconds


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller matrices")
    quick = parser.parse_args().quick
    rng = np.random.default_rng(0)
    measured = time_operations(rng)
    setups, products = measure(rng, quick, measured)
    quantiles = {}
    for table, names, what in (
        (setups, FITTED_TO_SETUP, "set-up"),
        (products, FITTED_TO_PRODUCTS, "products"),
    ):
        rates, ratios = fit(table)
        measured |= dict(zip(names, rates, strict=True))
        quantiles[what] = np.quantile(ratios, [0, 0.25, 0.5, 0.75, 1])
    print(f"{'rate':<14}{'source':>10}{'here':>10}")
    for field in fields(Rates):
        here = f"{measured[field.name]:10.3g}" if field.name in measured else f"{'-':>10}"
        print(f"{field.name:<14}{getattr(RATES, field.name):>10.3g}{here}")
    for what, values in quantiles.items():
        print(f"model / measured, {what}: {', '.join(f'{v:.2f}' for v in values)}")


if __name__ == "__main__":
    main()
