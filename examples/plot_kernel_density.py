"""
A density from few points
=========================

Gaussians around a number of points add up to a density. Their width decides what it shows: if they
are too narrow, single points; if they are too wide, two groups merge into one. Here
:class:`~skhmat.neighbors.KernelDensityCV` tries 30 bandwidths and takes the one with the largest
likelihood of held-out points.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from skhmat.neighbors import KernelDensity, KernelDensityCV

points, _ = make_moons(400, noise=0.08, random_state=0)
chosen = KernelDensityCV(bandwidths=np.geomspace(0.01, 1, 30)).fit(points)
print(f"bandwidth {chosen.bandwidth_:.3f}, mean log likelihood {chosen.best_score_:.3f}")

# %%
# Contours are where a density is a half, a quarter, an eighth and so on of its largest value. The
# last picture has a matrix for the bandwidth, the covariance of all points times the square of
# Scott's factor: right for one group that is longer than it is wide, but not for these.

x, y = np.meshgrid(np.linspace(-1.6, 2.6, 200), np.linspace(-1.1, 1.6, 130))
grid = np.column_stack([x.ravel(), y.ravel()])
bandwidths = {
    "a third of it": chosen.bandwidth_ / 3,
    f"chosen: {chosen.bandwidth_:.2f}": chosen.bandwidth_,
    "three times as wide": 3 * chosen.bandwidth_,
    '"scaled_scott"': "scaled_scott",
}

figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.6), layout="constrained")
for ax, (title, bandwidth) in zip(axes.ravel(), bandwidths.items(), strict=True):
    log_density = KernelDensity(bandwidth=bandwidth).fit(points).score_samples(grid)
    density = np.exp(log_density - log_density.max()).reshape(x.shape)
    ax.contourf(x, y, density, levels=0.5 ** np.arange(7.0, -1, -1), cmap="Blues")
    ax.contour(x, y, density, levels=0.5 ** np.arange(7.0, 0, -1), colors="0.4", linewidths=0.6)
    ax.scatter(*points.T, s=5, color="tab:red", linewidths=0)
    ax.set(title=title, xticks=[], yticks=[], aspect="equal")
plt.show()

# %%
# The likelihood of held-out points, for all bandwidths.

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.semilogx(chosen.bandwidths_, chosen.scores_, "o-", markersize=4)
ax.axvline(chosen.bandwidth_, color="0.6", linewidth=1)
ax.set(xlabel="bandwidth", ylabel="mean log density", ylim=(chosen.best_score_ - 3, None))
plt.show()
