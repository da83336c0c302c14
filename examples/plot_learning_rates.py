"""
Learning rates from curvature
=============================

A network on scikit-learn's digits, trained by SGD with five learning rates, and by SGD with the
probabilistic preconditioner, which has none to tune: at the beginning of each epoch it multiplies
the Hessian by a few vectors, from which it derives a learning rate and two large eigenvalues by
which it rescales the gradients.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from skhmat.neural_network import ProbabilisticPreconditioner

EPOCHS = 20

X, y = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(X).astype("float32")


class Log(keras.callbacks.Callback):
    """What the optimizer has learned, after each epoch."""

    def on_train_begin(self, logs=None):
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(self.model.optimizer.get_log())


def train(optimizer, callbacks=()):
    """Return the losses by epochs."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(128, "relu"), keras.layers.Dense(64, "relu")]
    model = keras.Sequential(
        [keras.layers.Input((64,)), *layers, keras.layers.Dense(10, "softmax")]
    )
    # Without XLA, which would take a product in each step.
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    return model.fit(
        X, y, batch_size=128, epochs=EPOCHS, verbose=0, callbacks=list(callbacks)
    ).history["loss"]


log = Log()
learned = train(ProbabilisticPreconditioner("sgd"), [log])
rates = [0.01, 0.03, 0.1, 0.3, 1.0]
given = [train(keras.optimizers.SGD(rate)) for rate in rates]

# %%
# The learning rate follows the remaining curvature :math:`\rho`; the gradients are rescaled by the
# eigenvalues above it.

fig, axes = plt.subplot_mosaic(
    [["loss", "loss"], ["rate", "curvature"]], figsize=(6.4, 6.4), layout="constrained"
)
epochs = np.arange(1, EPOCHS + 1)
for rate, losses, shade in zip(rates, given, np.linspace(0.3, 0.9, len(rates)), strict=True):
    axes["loss"].semilogy(epochs, losses, color=plt.cm.Blues(shade), label=f"SGD, {rate:g}")
axes["loss"].semilogy(epochs, learned, "k", label="preconditioned SGD")
axes["loss"].set(title="training loss", xlabel="epoch", ylim=(None, 50))
axes["loss"].legend(loc="upper right", ncols=2)
axes["rate"].plot(epochs, [row["learning_rate"][0] for row in log.rows], "k")
axes["rate"].set(title="learning rate", xlabel="epoch", ylim=(0, None))
for i in range(3):
    values = [row["spectrum"][0][i] if len(row["spectrum"][0]) > i else np.nan for row in log.rows]
    axes["curvature"].semilogy(epochs, values, f"C{i}.-", label=f"eigenvalue {i + 1}")
levels = [row["level"][0] for row in log.rows]
axes["curvature"].semilogy(epochs, levels, "k", label=r"level $\rho$")
axes["curvature"].set(title="curvature", xlabel="epoch")
axes["curvature"].legend()
for ax in axes.values():
    ax.set_xticks(np.arange(0, EPOCHS + 1, 5))
plt.show()
