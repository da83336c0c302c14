"""
A swiss roll and an S-curve, unrolled
=====================================

Both are rectangles, bent in space without stretching. Diffusion maps find coordinates along the
rectangle from nothing but distances between near samples. The eigenvectors on a rectangle with
sides :math:`a` and :math:`b` are products of cosines, and their eigenvalues fall with the squared
frequency,

.. math:: \\mu = \\left( \\frac{j \\pi}{a} \\right)^2 + \\left( \\frac{l \\pi}{b} \\right)^2,
   \\qquad j, l = 0, 1, 2, \\dots

So if one side is four to five times as long as the other, the first four coordinates are 1, 2, 3
and 4 half waves along the long side. They are all functions of the first one. The first coordinate
that adds information is the fifth.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_s_curve, make_swiss_roll

from skhmat.manifold import DiffusionMaps

N = 10_000

# %%
# The layers of the roll are :math:`2 \pi` apart, which the models are not told. The default takes
# the smallest bandwidth at which the samples hang together, and widens the kernel up to twice where
# that takes no short cuts between layers; the summary says what it looked at.

data = {
    "swiss roll": make_swiss_roll(N, random_state=0),
    "S-curve": make_s_curve(N, random_state=0),
}
models = {
    name: DiffusionMaps(n_components=6, random_state=0).fit(X) for name, (X, _) in data.items()
}
for model in models.values():
    print(model.summary())

# %%
# Which coordinates add information? If one is a function of the first, samples that are neighbours
# in the first have nearly the same value of it. So the samples are sorted by the first coordinate
# and cut into groups of 100; the fraction of the variance that lies inside the groups is not
# explained by the first coordinate.


def untold(coordinates):
    """Return the fraction of each coordinate's variance that the first one does not explain."""
    groups = coordinates[np.argsort(coordinates[:, 0])].reshape(-1, 100, coordinates.shape[1])
    return groups.var(axis=1).mean(axis=0) / coordinates.var(axis=0)


second = {}
for name, model in models.items():
    parts = untold(model.embedding_)
    second[name] = int(np.argmax(parts > 0.5))
    print(f"{name}: untold", " ".join(f"{part:.3f}" for part in parts))

# %%
# The picture has the true position along the long side as its colour. The first coordinate follows
# it from one end to the other; the second one is a parabola over the first, two half waves instead
# of one; with the fifth the samples fill a rectangle. It is slightly distorted, because the fifth
# and the sixth eigenvalue are close, and which mixture of the two is found depends on the samples.

figure = plt.figure(figsize=(6.4, 10), layout="constrained")
for column, (name, (X, position)) in enumerate(data.items(), 1):
    model, k = models[name], second[name]
    colours = {"c": position, "cmap": "viridis", "s": 1, "linewidths": 0}
    ax = figure.add_subplot(4, 2, column, projection="3d")
    ax.scatter(*X.T, **colours)
    ax.view_init(10, -72)
    ax.set_axis_off()
    ax.set_title(f"{name}, {N:,} samples", fontsize="medium")
    first = model.embedding_[:, 0]
    pairs = [
        (position, first, "true position", "coordinate 1"),
        (first, model.embedding_[:, 1], "coordinate 1", "coordinate 2"),
        (first, model.embedding_[:, k], "coordinate 1", f"coordinate {k + 1}"),
    ]
    for row, (x, y, x_label, y_label) in enumerate(pairs, 1):
        ax = figure.add_subplot(4, 2, 2 * row + column)
        ax.scatter(x, y, **colours)
        ax.set(xlabel=x_label, ylabel=y_label, xticks=[], yticks=[])
plt.show()

# %%
# **The roll cut short.** A bandwidth is too large as soon as the kernel reaches from one layer to
# the next. Then there is a shorter way than along the roll, and the first coordinate follows it.
# ``epsilon="sum"`` looks for the bandwidth at which the sum of the kernel grows fastest; it only
# knows distances in space, and mistakes the roll for the solid that it nearly fills.

figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.6), layout="constrained")
X, position = data["swiss roll"]
for ax, epsilon in zip(axes, ("auto", 4.0, "sum"), strict=True):
    model = DiffusionMaps(n_components=1, epsilon=epsilon, random_state=0).fit(X)
    between = np.exp(-((2 * np.pi) ** 2) / (2 * model.epsilon_))
    ax.scatter(position, model.embedding_, c=position, s=1, linewidths=0)
    chosen = f" ({epsilon})" if isinstance(epsilon, str) else ""
    ax.set_title(
        f"epsilon = {model.epsilon_:.3g}{chosen}\n{between:.1g} between layers", fontsize="medium"
    )
    ax.set(xlabel="true position", ylabel="coordinate 1", xticks=[], yticks=[])
plt.show()
