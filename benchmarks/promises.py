"""Measure every promise on the matrices of the thesis and write a page of the documentation.

python benchmarks/promises.py [names] [--sizes 4096 16384] [--output docs/promises.rst]

All of it takes about two hours on two cores. Each matrix runs in a process of its own and writes
its figures to build/benchmarks/promises; the page is made from everything there. Without names,
only matrices that are not there yet are measured, so an interrupted run can be resumed. Large
matrices are written to files in build/benchmarks/data, 3.2 GB for each, and deleted
again.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

import numpy as np
from common import (
    as_rst,
    at_most,
    compress_noting,
    describe_form,
    describe_machine,
    describe_ranks,
    figures,
    heading,
    in_fresh_process,
    interleaved,
    load_result,
    load_warning,
    normal_vectors,
    promised_error,
    relative_error,
    save_result,
)

from skhmat.datasets import load_matrix
from skhmat.linalg import KernelMatrix

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "benchmarks" / "promises"
DATA = ROOT / "build" / "benchmarks" / "data"
NAMES = [f"K{i:02d}" for i in range(1, 19)] + [f"G{i:02d}" for i in range(1, 6)]
SIZES = (4096, 16384)
BREAK_EVEN_SIZES = (1024, 2048, 4096, 8192, 16384)
ENOUGH = 2  # sizes in a row that are won; larger ones are then left out
RTOLS = (1e-2, 1e-3, 1e-5)
# So many that it hardly depends on them: K may be nearly of rank one, and few would give a ratio of
# two random numbers.
N_VECTORS = 512
N_BREAK_EVEN_VECTORS = 1000
SECONDS = 20  # per size; beyond that three repeats instead of five
BATCH = 1024

INTRODUCTION = """\
Every promise of :func:`skhmat.linalg.compress` on the 23 matrix families of the thesis [1]_
(:func:`skhmat.datasets.load_matrix`): either the error is below what was promised, or there is a
warning. ``make promises`` repeats all of it; the test suite does so with 2,048 rows.

The *error* is that of the product with 512 standard normal vectors, on all rows, in float64; the
*estimate* is that of ``compress``. Beyond 4,096 rows it comes from a sample of the rows, which may
miss an error in very few of them: where *error / estimate* (without errors that are rounding) is
far from 1, two or three rows have nearly all of the error. Where compression does not pay, the
exact matrix is held: *dense*. *Read* is the fraction of the entries that were read, counting
repeated reads; *memory* is that of the result against the dense matrix of the same dtype, nothing
if entries are computed from points. Bytes and seconds are for ``leaf_size=256`` and default
parameters except the distance."""

REFERENCES = """\
.. [1] S. Reiz. On the algorithmic impact of scientific computing on machine learning. PhD thesis,
   Technical University of Munich, 2024.
"""


class Exact:
    """One matrix and its exact product with random vectors."""

    def __init__(self, name, n, dtype):
        matrix = load_matrix(name, n, dtype, data_home=DATA)
        self.K = matrix.K
        self.has_points = matrix.points is not None
        # A KernelMatrix has its points with it.
        self.options = {} if isinstance(self.K, KernelMatrix) else {"points": matrix.points}
        self.W = normal_vectors(n, N_VECTORS, dtype)
        self.product = self._product()

    def _product(self):
        n, W = self.K.shape[0], self.W.astype(np.float64)
        every = np.arange(n)
        block = self.K.block if isinstance(self.K, KernelMatrix) else self.K
        out = np.empty(W.shape)
        for start in range(0, n, BATCH):
            rows = every[start : start + BATCH]
            batch = block[rows] if isinstance(block, np.ndarray) else block(rows, every)
            out[rows] = batch.astype(np.float64) @ W
        return out

    def row(self, distance, rtol):
        """Compress and measure."""
        start = time.perf_counter()
        H, warned = compress_noting(
            self.K, rtol=rtol, distance=distance, random_state=0, **self.options
        )
        seconds = time.perf_counter() - start
        n, itemsize = self.K.shape[0], self.K.dtype.itemsize
        return {
            "distance": distance,
            "error": promised_error(relative_error(H @ self.W, self.product), rtol, warned),
            "estimate": H.error_estimate_,
            "form": describe_form(H, warned),
            "rank, mean / max": describe_ranks(H),
            "read, %": 100 * H.report_.n_read / n**2,
            "memory, %": 100 * H.nbytes / (n**2 * itemsize),
            "seconds": seconds,
        }


def measure(name, n):
    """Return a row per dtype, distance and promise."""
    rows = []
    for dtype in (np.float64, np.float32):
        exact = Exact(name, n, dtype)
        geometric = ["geometric"] if exact.has_points else []
        for distance in ("kernel", "angle", *geometric, "lexicographic", "random"):
            for rtol in RTOLS:
                row = exact.row(distance, rtol)
                rows.append({"table": f"{name}, n = {n:,}, {np.dtype(dtype).name}", **row})
    return rows


def break_even(name):
    """Return for each size how much faster than dense compression and one product are."""
    row = {"matrix": name, **{f"{n:,}": "" for n in BREAK_EVEN_SIZES}}
    wins = []  # the sizes in a row that are won
    for n in BREAK_EVEN_SIZES:
        if len(wins) == ENOUGH:
            break
        matrix = load_matrix(name, n, np.float32, data_home=DATA)
        options = {} if isinstance(matrix.K, KernelMatrix) else {"points": matrix.points}
        if isinstance(matrix.K, np.memmap):
            matrix.K = np.array(matrix.K)  # dense has it in memory too
        dense = in_memory(matrix.K)
        W = normal_vectors(n, N_BREAK_EVEN_VECTORS, np.float32)
        kept = []

        def job(K=matrix.K, W=W, options=options, kept=kept):
            H, warned = compress_noting(K, rtol=1e-3, random_state=0, **options)
            kept[:] = [describe_form(H, warned)]
            return H @ W

        seconds, _ = interleaved({"dense": lambda K=dense, W=W: K @ W, "job": job}, seconds=SECONDS)
        faster = seconds["dense"] / seconds["job"]
        row[f"{n:,}"] = f"{faster:.2f}" + (" dense" if kept == ["dense"] else "")
        wins = [*wins, n] if faster > 1 else []
    row["break-even N"] = f"{wins[0]:,}" if wins else "-"
    return [row]


def in_memory(K):
    """Return a matrix as an array."""
    if isinstance(K, KernelMatrix):
        return K.toarray()
    every = np.arange(K.shape[0])
    return K if isinstance(K, np.ndarray) else K(every, every)


def summary(rows):
    """Return how many promises of a table were kept in which way."""
    forms = [row["form"] for row in rows]
    # Near the rounding of the dtype an estimate is one of rounding errors.
    honest = [
        row["error"].value / row["estimate"]
        for row in rows
        if row["form"] != "dense" and row["estimate"] > 1e-6
    ]
    return {
        "matrix": rows[0]["table"],
        "compressed": forms.count("compressed"),
        "dense": forms.count("dense"),
        "warned": forms.count("warned"),
        "broken": at_most(sum(not figure.met for figure in figures(rows)), 0),
        "error / estimate": f"{min(honest):.2f} to {max(honest):.2f}" if honest else "-",
    }


def page(machine, results):
    """Return the whole page."""
    tables = [table for result in results["promises"] for table in by_table(result["rows"])]
    parts = [heading("The promise table", "="), INTRODUCTION + "\n"]
    parts.append(as_rst([{"": key, "this run": value} for key, value in machine.items()]))
    parts += [heading("Kept and broken", "-"), as_rst([summary(table) for table in tables])]
    if results["break-even"]:
        parts.append(heading("Break-even", "-"))
        parts.append(
            "How many times faster than dense NumPy (K in memory) ``compress`` and one product "
            "with 1,000 vectors are, in float32 with ``rtol=1e-3`` and the default distance, and "
            "the smallest of these N from which on they win; N that are larger than two which are "
            "won are left out.\n"
        )
        parts.append(as_rst([row for result in results["break-even"] for row in result["rows"]]))
    parts += [heading("Every promise", "-"), *map(as_rst, tables)]
    parts += [heading("References", "-"), REFERENCES]
    return "\n".join(parts)


def by_table(rows):
    found = {}
    for row in rows:
        found.setdefault(row["table"], []).append(row)
    return list(found.values())


def run_one(path, function, *args):
    """Measure in a fresh process and keep the figures."""
    start = time.perf_counter()
    rows = in_fresh_process(function, *args)
    if rows is None:
        print(f"{path.stem}: out of memory", flush=True)
        return
    save_result(path, rows, seconds=time.perf_counter() - start)
    broken = sum(not figure.met for figure in figures(rows))
    print(f"{path.stem}: {time.perf_counter() - start:.0f} s, {broken} broken", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--no-break-even", action="store_true")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "promises.rst")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if warning := load_warning(os.getloadavg()[0]):
        print(f"WARNING: {warning}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    for name in args.names or NAMES:
        jobs = [(FOLDER / f"{name}-{n}.json", measure, name, n) for n in args.sizes]
        if not args.no_break_even:
            jobs.append((FOLDER / f"{name}-break-even.json", break_even, name))
        for path, *job in jobs:
            if args.names or not path.exists():
                run_one(path, *job)
        shutil.rmtree(DATA, ignore_errors=True)
        args.output.write_text(page(machine, all_results()), encoding="utf-8")


def all_results():
    """Read the figures of all matrices measured so far, in the order of their names."""
    found = {"promises": [], "break-even": []}
    for name in NAMES:
        for path in sorted(FOLDER.glob(f"{name}-*.json"), key=lambda path: len(path.stem)):
            kind = "break-even" if path.stem.endswith("break-even") else "promises"
            found[kind].append(load_result(path))
    return found


if __name__ == "__main__":
    main()
