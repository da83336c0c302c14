"""
How good features of a kernel are
=================================

The Nystroem method makes features of a kernel from a few landmarks. If these are drawn uniformly,
as in scikit-learn, regions with few samples are missed. Randomly pivoted Cholesky draws the next
landmark where the others explain least, and the leading eigenvectors of the whole matrix are
optimal. The comparison is by the fraction of the trace of the kernel matrix that is not explained.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_swiss_roll
from sklearn.kernel_approximation import Nystroem

from skhmat.kernel_approximation import HierarchicalNystroem

X, position = make_swiss_roll(3000, random_state=0)
ranks = (10, 20, 50, 100, 200, 350, 500)
options = {"gamma": 0.05, "random_state": 0}

errors = {"scikit-learn, uniform": [], '"rpcholesky"': [], '"all"': []}
for k in ranks:
    Z = Nystroem(n_components=k, **options).fit_transform(X)
    errors["scikit-learn, uniform"].append(1 - np.sum(Z**2) / len(X))
    for landmarks in ("rpcholesky", "all"):
        features = HierarchicalNystroem(n_components=k, landmarks=landmarks, **options).fit(X)
        errors[f'"{landmarks}"'].append(features.trace_error_)

# %%
# At 500 features the leading eigenvectors leave 300 times less than uniform landmarks do.

_, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, values in errors.items():
    ax.semilogy(ranks, values, "o-", markersize=4, label=name)
    print(f"{name}: {values[-1]:.1e} with {ranks[-1]} features")
ax.set(xlabel="features", ylabel="relative error of the trace")
ax.legend(frameon=False)
plt.show()

# %%
# Landmarks on the roll, unrolled: those of Cholesky keep their distance from each other, uniform
# ones leave gaps.

chosen = HierarchicalNystroem(n_components=100, landmarks="rpcholesky", **options).fit(X)
drawn = Nystroem(n_components=100, **options).fit(X)
unrolled = np.column_stack([position, X[:, 1]])
_, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.scatter(*unrolled.T, s=2, color="0.85")
for name, features, marker in (("uniform", drawn, "x"), ('"rpcholesky"', chosen, "o")):
    ax.scatter(*unrolled[features.component_indices_].T, s=20, marker=marker, label=name)
ax.set(title="100 landmarks", xticks=[], yticks=[], xlabel="along the roll", ylabel="height")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
plt.show()
