"""
Newton-CG on three test functions
=================================

Paths of Newton-CG, gradient descent and Adam on a quadratic, the Rosenbrock function and the
Rastrigin function, from the same points. The quadratic takes Newton's method one step; in
Rosenbrock's valley it follows the curve; on Rastrigin's function all of them end in the minimum
nearest to their start, as local methods do.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops

from skhmat.neural_network import NewtonCG


def quadratic(x, y):
    return x**2 + 4 * y**2


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def rastrigin(x, y):
    return 20 + x**2 + y**2 - 10 * (ops.cos(2 * np.pi * x) + ops.cos(2 * np.pi * y))


def newton(f, start, n_steps):
    """Return the path of Newton-CG."""
    x, optimizer = keras.Variable(start), NewtonCG()
    path = [start]
    for _ in range(n_steps):
        optimizer.minimize(lambda: f(x[0], x[1]), [x])
        path.append(x.numpy())
    return np.array(path)


def first_order(f, start, n_steps, optimizer):
    """Return the path of an optimizer of Keras, with gradients by central differences."""
    x, h = keras.Variable(start), 1e-3
    path = [start]
    for _ in range(n_steps):
        a, b = x.numpy().astype(float)
        slope = [f(a + h, b) - f(a - h, b), f(a, b + h) - f(a, b - h)]
        optimizer.apply([ops.convert_to_tensor(np.float32(slope) / (2 * h))], [x])
        path.append(x.numpy())
    return np.array(path)


PROBLEMS = [
    ("quadratic", quadratic, [-3.0, 2.0], 40, 0.1, (-4, 4), (-3, 3)),
    ("Rosenbrock", rosenbrock, [-1.2, 1.0], 60, 1e-3, (-2, 2), (-1, 3)),
    ("Rastrigin", rastrigin, [1.3, -0.8], 30, 2e-3, (-2, 2), (-2, 2)),
]

fig, axes = plt.subplots(3, 1, figsize=(6.4, 10), layout="constrained")
for ax, (name, f, start, n_steps, rate, xlim, ylim) in zip(axes, PROBLEMS, strict=True):
    grid = np.meshgrid(np.linspace(*xlim, 200), np.linspace(*ylim, 200))
    values = np.asarray(f(*(ops.convert_to_tensor(part.astype("float32")) for part in grid)))
    ax.contour(*grid, np.log10(values + 1e-2), 15, colors="0.8", linewidths=0.7)
    paths = {
        "gradient descent": first_order(f, start, n_steps, keras.optimizers.SGD(rate)),
        "Adam": first_order(f, start, n_steps, keras.optimizers.Adam(0.1)),
        "Newton-CG": newton(f, start, n_steps),
    }
    for (label, path), style in zip(paths.items(), ["C0.-", "C1.-", "k.-"], strict=True):
        ends = float(f(*map(float, path[-1])))
        ax.plot(*path.T, style, lw=1.2, ms=4, label=f"{label}: {ends:.1g}")
    ax.set(title=f"{name}, {n_steps} steps", xlim=xlim, ylim=ylim)
    ax.legend(title="value at the end", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()
