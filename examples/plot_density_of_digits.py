"""
Densities that are right in many dimensions
===========================================

In 64 dimensions most logarithms of densities are far below zero, and a sum of terms of all sizes
is easily lost. Here 1,500 pictures of digits are the samples, and 297 others the queries. The truth
is the sum over all samples, relative to the largest term.
"""

import matplotlib.pyplot as plt
import numpy as np
import sklearn.neighbors
from scipy.special import logsumexp
from sklearn.datasets import load_digits

from skhmat.neighbors import KernelDensity

pictures = load_digits().data
samples, queries = pictures[:1500], pictures[1500:]


def truth(bandwidth):
    """Return logarithms of the density by the definition."""
    squares = ((queries[:, np.newaxis] - samples) ** 2).sum(axis=2)
    log_sums = logsumexp(squares / (-2 * bandwidth**2), axis=1)
    d = samples.shape[1]
    return log_sums - np.log(len(samples)) - d * np.log(bandwidth * np.sqrt(2 * np.pi))


# %%
# scikit-learn's tree, at its default settings, is off by hundreds of nats for narrow bandwidths:
# its sums are rounding errors of larger ones. With the same parameters, ours are right.

figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), layout="constrained")
exact = truth(1.0)
libraries = {"scikit-learn": sklearn.neighbors.KernelDensity, "skhmat": KernelDensity}
for (name, library), colour in zip(libraries.items(), ("tab:red", "tab:blue"), strict=True):
    found = library(bandwidth=1.0).fit(samples).score_samples(queries)
    axes[0].plot(exact, found, ".", markersize=4, color=colour, label=name)
    print(f"bandwidth 1, {name}: off by up to {np.abs(found - exact).max():.1e}")
axes[0].axline((exact.min(), exact.min()), slope=1, color="0.7", linewidth=1, zorder=0)
axes[0].set(xlabel="true log density", ylabel="computed", title="bandwidth 1")
axes[0].legend(frameon=False)

bandwidths = np.geomspace(0.5, 16, 16)
for library, colour in zip(libraries.values(), ("tab:red", "tab:blue"), strict=True):
    errors = [
        np.abs(library(bandwidth=h).fit(samples).score_samples(queries) - truth(h)).max()
        for h in bandwidths
    ]
    axes[1].loglog(bandwidths, np.maximum(errors, 1e-15), "o-", markersize=4, color=colour)
axes[1].axhline(1e-4, color="0.6", linewidth=1, linestyle="--")
axes[1].text(0.5, 1.5e-4, "what is promised", color="0.4")
axes[1].set(xlabel="bandwidth", ylabel="largest error in nats")
plt.show()
