"""Diffusion maps by datafold, for bench_diffusion.py; run by the Python that has datafold.

python rival_datafold.py data.npz result.npz

`data.npz` holds X, epsilon, cut_off (infinite for a dense kernel) and k; `result.npz` gets the
eigenvalues, the eigenvectors, the seconds of the fit and how far memory rose in it.
"""

import sys
import time
from pathlib import Path

import numpy as np
from datafold.dynfold import DiffusionMaps
from datafold.pcfold import GaussianKernel


def memory(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def main(data, result):
    data = np.load(data)
    cut_off = float(data["cut_off"])
    distance = {} if np.isinf(cut_off) else {"cut_off": cut_off}
    kernel = GaussianKernel(epsilon=float(data["epsilon"]), distance=distance)
    model = DiffusionMaps(kernel, n_eigenpairs=int(data["k"]))
    before = memory("VmRSS")
    start = time.perf_counter()
    model.fit(data["X"])
    seconds = time.perf_counter() - start
    rise = memory("VmHWM") - before
    values, vectors = np.asarray(model.eigenvalues_), np.asarray(model.eigenvectors_)
    np.savez(result, values=values, vectors=vectors, seconds=seconds, rise=rise)


if __name__ == "__main__":
    main(*sys.argv[1:])
