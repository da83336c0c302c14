"""Functions of a few variables, and how NewtonCG minimizes them."""

import numpy as np

from skhmat.neural_network import NewtonCG

from ..networks import keras, tf

#: So many steps take longer one by one than the time to trace a graph of them.
_WORTH_A_GRAPH = 30


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def rastrigin(x):
    return 20 + tf.reduce_sum(x.value**2 - 10 * tf.cos(2 * np.pi * x.value))


def minimize(f, start, steps, dtype="float64", **options):
    x = keras.Variable(start, dtype=dtype)
    optimizer = NewtonCG(**options)
    step = lambda: optimizer.minimize(lambda: f(x), [x])  # noqa: E731
    if steps >= _WORTH_A_GRAPH:
        optimizer.build([x])
        step = tf.function(step)
    for _ in range(steps):
        step()
    return x.numpy(), optimizer
