"""
Newton-CG, Adam and SGD on digits
=================================

A network of two hidden layers on scikit-learn's digits, by epochs and by seconds. All start from
the same weights. Newton-CG has its defaults, and no rate to tune.
"""

import time

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skhmat.neural_network import NewtonCG, second_order

X, y = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(X).astype("float32")
X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=0)


class Clock(keras.callbacks.Callback):
    """Seconds at the end of each epoch, from the end of the first, which traces the graph."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter())


def train(optimizer):
    """Return losses, validation losses and seconds by epochs."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(128, "relu"), keras.layers.Dense(64, "relu")]
    model = keras.Sequential(
        [keras.layers.Input((64,)), *layers, keras.layers.Dense(10, "softmax")]
    )
    second_order(model).compile(optimizer, "sparse_categorical_crossentropy")
    clock = Clock()
    history = model.fit(
        X,
        y,
        batch_size=128,
        epochs=20,
        verbose=0,
        validation_data=(X_test, y_test),
        callbacks=[clock],
    ).history
    seconds = np.array(clock.seconds) - clock.seconds[0]
    return history["loss"], history["val_loss"], seconds


runs = {
    "Newton-CG": train(NewtonCG()),
    "Adam, 1e-3": train(keras.optimizers.Adam(1e-3)),
    "SGD, 0.1": train(keras.optimizers.SGD(0.1)),
}

fig, axes = plt.subplot_mosaic(
    [["training", "validation"], ["seconds", "seconds"]], figsize=(6.4, 6.4), layout="constrained"
)
epochs = np.arange(1, 21)
colors = ["k", "C1", "C0"]
for (name, (losses, test_losses, seconds)), color in zip(runs.items(), colors, strict=True):
    style = {"label": name, "color": color}
    axes["training"].semilogy(epochs, losses, **style)
    axes["validation"].semilogy(epochs, test_losses, **style)
    axes["seconds"].semilogy(seconds, losses, **style)
for name in ("training", "validation"):
    axes[name].set(title=f"{name} loss", xlabel="epoch", xticks=range(0, 21, 5))
axes["seconds"].set(title="training loss", xlabel="seconds after the first epoch")
for ax in axes.values():
    ax.legend()
plt.show()
