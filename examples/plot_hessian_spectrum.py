"""
The Hessian of a network before and after training
==================================================

The eigenvalues of the Hessian of a small network on digits, from products with it alone: its matrix
is never formed. Training leaves a few large eigenvalues, about as many as there are classes, and
the bulk at zero: directions in weight space that change nothing. The Gauss-Newton matrix has
the large ones and no negative ones.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from skhmat.linalg import spectral_density
from skhmat.neural_network import HessianOperator, NewtonCG, second_order

X, y = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(X).astype("float32")
keras.utils.set_random_seed(0)
layers = [keras.layers.Dense(32, "tanh"), keras.layers.Dense(10, "softmax")]
model = keras.Sequential([keras.layers.Input((64,)), *layers])
second_order(model).compile(NewtonCG(), "sparse_categorical_crossentropy")


def densities():
    """Return those of the Hessian and of the Gauss-Newton matrix."""
    return {
        curvature: spectral_density(
            HessianOperator(model, X, y, curvature=curvature),
            n_vectors=3,
            n_steps=40,
            random_state=0,
        )
        for curvature in ("hessian", "gauss_newton")
    }


before = densities()
model.fit(X, y, batch_size=128, epochs=10, verbose=0)
after = densities()

fig, axes = plt.subplots(2, 1, figsize=(6.4, 6), layout="constrained", sharey=True)
for ax, title, found in zip(axes, ["before training", "after"], [before, after], strict=True):
    nodes = np.concatenate([density.nodes for density in found.values()])
    grid = np.linspace(nodes.min() - 0.1, nodes.max() + 0.1, 1000)
    for (name, density), style in zip(found.items(), ["C0", "C1--"], strict=True):
        # Between eigenvalues the density falls to 1e-300, which no axis should show.
        ax.semilogy(grid, np.maximum(density(grid, 0.01 * np.ptp(nodes)), 1e-9), style, label=name)
    ax.set(title=f"{title}: {model.count_params():,} weights", xlabel="eigenvalue")
    ax.set_ylabel("density")
    ax.legend()
axes[0].set_ylim(1e-5, None)
plt.show()
