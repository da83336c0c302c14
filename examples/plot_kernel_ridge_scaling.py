"""
Kernel ridge regression as the data grow
========================================

scikit-learn's ``KernelRidge`` stores the kernel matrix and factorizes it: N² numbers, N³ / 3
operations. That of skhmat solves the same equations by conjugate gradients, preconditioned by an
approximation of low rank or, up to 6,000 samples, by a factorization in float32. This example fits
both to the same samples and compares seconds, memory and predictions.

Memory is the peak of what a process holds, beyond what it held before the fit. Such a peak never
goes down again, so each fit has a process of its own. Up to 1,024 samples skhmat also factorizes
the dense matrix, because nothing is faster.
"""

import json
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np

SIZES = (1000, 2000, 4000, 8000)
MODULES = {"scikit-learn": "sklearn.kernel_ridge", "skhmat": "skhmat.kernel_ridge"}

# %%
# What each process does: fit, and predict 1,000 samples that the fit has not seen. Seconds, bytes
# and predictions go back as one line of text.

FIT = """
import json, re, resource, sys, time
from importlib import import_module
from sklearn.datasets import make_friedman1

def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # What getrusage says on Linux began with the peak of the process that started this one.
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])

n = int(sys.argv[2])
X, y = make_friedman1(n + 1000, n_features=5, noise=1.0, random_state=0)
model = import_module(sys.argv[1]).KernelRidge(alpha=0.1, kernel="rbf", gamma=0.3)
model.fit(X[:100], y[:100])  # loads what is loaded at the first use
before, start = peak(), time.perf_counter()
model.fit(X[:n], y[:n])
seconds, held = time.perf_counter() - start, peak() - before
print(json.dumps([seconds, held, model.predict(X[n:]).tolist()]))
"""


def measure(module, n):
    """Return seconds and bytes of a fit, and what the model predicts."""
    command = [sys.executable, "-c", FIT, module, str(n)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


# %%
# All fits, scikit-learn's first. At the end of each line is the difference of the predictions,
# relative to their spread.

seconds = {name: [] for name in MODULES}
memory = {name: [] for name in MODULES}
for n in SIZES:
    predictions = []
    for name, module in MODULES.items():
        taken, held, predicted = measure(module, n)
        seconds[name].append(taken)
        memory[name].append(held / 1e6)
        predictions.append(np.array(predicted))
    difference = np.linalg.norm(predictions[1] - predictions[0])
    difference /= np.linalg.norm(predictions[0] - predictions[0].mean())
    taken = ", ".join(f"{seconds[name][-1]:5.2f} s {memory[name][-1]:5.0f} MB" for name in MODULES)
    print(f"N = {n}: {taken}, difference {difference:.1e}")

# %%
# Both axes are logarithmic, so that a power of N is a straight line.

figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4), layout="constrained")
for ax, values in ((left, seconds), (right, memory)):
    for (name, measured), marker in zip(values.items(), "so", strict=True):
        ax.loglog(SIZES, measured, marker=marker, label=name)
one_matrix = [8 * n**2 / 1e6 for n in SIZES]
right.loglog(SIZES, one_matrix, color="grey", linestyle="--", linewidth=0.8, label="8 N² bytes")
left.set_title("seconds of fit")
right.set_title("peak memory of fit in MB")
for ax in (left, right):
    ax.set_xticks(SIZES, [f"{n:,}" for n in SIZES])
    ax.minorticks_off()
    ax.set_xlabel("samples N")
    ax.grid(alpha=0.3)
# Above both, where it covers no line whatever is measured.
figure.legend(
    *right.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
)
plt.show()
