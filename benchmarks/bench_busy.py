"""Beside busy processes

Fits whose work is mostly small: eigenvalues, orthogonalisation and systems of some hundred rows
between parallel loops. *Quiet* and *busy* are wall-clock seconds, with nothing else to do and
beside two processes that compute without end; on two cores fair shares are half of the time for two
threads and two thirds for one. *CPU* are seconds of all threads together on the quiet machine, with
the threads that BLAS has by default and with one: what it takes more is spent waiting. Each fit is
in a process of its own, which fits once before the three that are timed; medians, quiet and busy in
turn. The S-curve has a kernel of some nearest neighbours of each sample (epsilon 0.0018).
"""

import os
import statistics
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager

import numpy as np
import threadpoolctl
from common import PAUSE, at_most, in_fresh_process, main, normal_points
from sklearn.datasets import make_s_curve

from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_ridge import KernelRidge
from skhmat.manifold import DiffusionMaps

N_BUSY = 2
REPEATS, ROUNDS = 3, 3
SLOWER, MORE_CPU = 2.2, 1.3


def nystroem(quick):
    """Return a fit of the kernel approximation, and its number of samples."""
    n = 500 if quick else 1500
    X = normal_points(n, np.float64, 3)
    return lambda: HierarchicalNystroem(n_components=100, random_state=0).fit(X), n


def diffusion(quick):
    """Return a fit of the coordinates of an S-curve, and its number of samples."""
    n = 3000 if quick else 10_000
    X = make_s_curve(n, random_state=0)[0]
    return lambda: DiffusionMaps(epsilon=0.0018 * 10_000 / n, random_state=0).fit(X), n


def ridge(quick):
    """Return a fit of kernel ridge regression, and its number of samples."""
    n = 1000 if quick else 3000
    X = normal_points(n, np.float64, 5)
    y = np.sin(X.sum(axis=1))
    return lambda: KernelRidge(kernel="rbf").fit(X, y), n


FITS = {"HierarchicalNystroem": nystroem, "DiffusionMaps": diffusion, "KernelRidge": ridge}


@contextmanager
def busy_processes():
    """Keep processes computing meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(N_BUSY)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds_of_fit(name, quick, blas_threads):
    """Return the median wall-clock and CPU seconds of a fit; None leaves BLAS as it is."""
    warnings.simplefilter("ignore")
    fit, _ = FITS[name](quick)
    walls, times = [], []
    with threadpoolctl.threadpool_limits(blas_threads, user_api="blas"):
        fit()
        for _ in range(REPEATS):
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            fit()
            walls.append(time.perf_counter() - wall)
            times.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(times)


def beside(name, quick):
    """Return the row of one fit."""
    quiet, one, busy = [], [], []
    for _ in range(1 if quick else ROUNDS):
        quiet.append(in_fresh_process(seconds_of_fit, name, quick, None))
        with busy_processes():
            busy.append(in_fresh_process(seconds_of_fit, name, quick, None))
        one.append(in_fresh_process(seconds_of_fit, name, quick, 1))
    wall, cpu = map(statistics.median, zip(*quiet, strict=True))
    wall_busy = statistics.median(seconds for seconds, _ in busy)
    cpu_one = statistics.median(seconds for _, seconds in one)
    return {
        "table": f"Beside {N_BUSY} busy processes, {os.cpu_count()} cores",
        "fit": name,
        "N": FITS[name](quick)[1],
        "quiet, s": wall,
        "busy, s": wall_busy,
        "busy over quiet": at_most(wall_busy / wall, SLOWER),
        "CPU, s": cpu,
        "CPU with one thread of BLAS, s": cpu_one,
        "CPU over that": at_most(cpu / cpu_one, MORE_CPU),
    }


def run(quick):
    """Return the rows of the table."""
    return [beside(name, quick) for name in FITS]


if __name__ == "__main__":
    main(run, __doc__)
