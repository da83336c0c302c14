"""Second-order training

NewtonCG with its defaults, on ``second_order(model)``, against Keras' Adam and SGD with four rates
each, from the same initial weights. Losses are means over all samples, evaluated after each epoch
and not counted in the seconds; neither is the first epoch, which traces the graph. *Tuned* is the
rate with the least median validation loss, or, where it says so, training loss. Data: digits (64
pixels of variance 1, network 64-128-64-10), breast cancer Wisconsin (30-16-1) and diabetes (linear,
and 10-64-1), each split 80 to 20 anew for each of six seeds. Every run is in
build/benchmarks/newton_cg.json, and drawn in newton_cg.png beside it.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
from common import at_least, at_most, interleaved, main
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from skhmat.neural_network import NewtonCG, second_order
from skhmat.neural_network._curvature.batch_objective import BatchObjective
from skhmat.neural_network._keras import keras, tf

FOLDER = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
RATES = {"Adam": (3e-4, 1e-3, 3e-3, 1e-2), "SGD": (1e-2, 3e-2, 1e-1, 3e-1)}
WISCONSIN_RATES = (1e-3, 1e-2, 1e-1)
L = keras.layers


class Problem:
    """Data, split by a seed, and a network for them."""

    def __init__(self, load, hidden, head, loss, seed):
        X, y = load(return_X_y=True)
        parts = train_test_split(X, y, test_size=0.2, random_state=seed)
        X, X_test, self.y, self.y_test = parts
        mean, scale = X.mean(axis=0), X.std(axis=0)
        scale[scale < 1e-6] = 1
        self.X, self.X_test = (((part - mean) / scale).astype("float32") for part in (X, X_test))
        if loss == "mse":
            mean, scale = self.y.mean(), self.y.std()
            self.y, self.y_test = ((part - mean) / scale for part in (self.y, self.y_test))
        self.hidden, self.head, self.loss, self.seed = hidden, head, loss, seed

    def network(self, optimizer):
        keras.utils.set_random_seed(self.seed)
        layers = [L.Input(self.X.shape[1:]), *(L.Dense(size, "relu") for size in self.hidden)]
        model = keras.Sequential([*layers, L.Dense(*self.head)])
        if isinstance(optimizer, NewtonCG):
            second_order(model)
        model.compile(optimizer, self.loss)
        optimizer.build(model.trainable_variables)
        return model


def digits(seed):
    return Problem(load_digits, (128, 64), (10, "softmax"), "sparse_categorical_crossentropy", seed)


def wisconsin(seed):
    return Problem(load_breast_cancer, (16,), (1, "sigmoid"), "binary_crossentropy", seed)


def diabetes(seed):
    return Problem(load_diabetes, (64,), (1,), "mse", seed)


class Clock(keras.callbacks.Callback):
    """Seconds and losses by epochs."""

    def __init__(self, problem):
        super().__init__()
        self.problem, self.seconds, self.train, self.test = problem, [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._start)
        p = self.problem
        # Not model.evaluate, which traces a graph for each model and shape.
        for losses, X, y in ((self.train, p.X, p.y), (self.test, p.X_test, p.y_test)):
            losses.append(float(self.model.compute_loss(X, y, self.model(X, training=False))))


def train(problem, optimizer, batch_size, epochs):
    """Return the curves of one run."""
    model, clock = problem.network(optimizer), Clock(problem)
    batch_size = batch_size or len(problem.X)
    model.fit(
        problem.X,
        problem.y,
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[clock],
    )
    # The first epoch traces the graph: take what the others take.
    clock.seconds[0] = statistics.median(clock.seconds[1:] or clock.seconds)
    return {"seconds": clock.seconds, "train": clock.train, "test": clock.test}


def optimizers(rates):
    """Return name: function that makes the optimizer."""
    made = {"NewtonCG": NewtonCG}
    for name, values in rates.items():
        kind = getattr(keras.optimizers, name)
        made |= {f"{name} {rate:g}": lambda kind=kind, rate=rate: kind(rate) for rate in values}
    return made


def compare(name, make, rates, batch_size, epochs, seeds, curves):
    """Return {optimizer: runs} and note them."""
    runs = {
        label: [train(make(seed), optimizer(), batch_size, epochs) for seed in seeds]
        for label, optimizer in optimizers(rates).items()
    }
    curves[f"{name}, batch {batch_size or 'full'}"] = runs
    return runs


def last(runs, part):
    return statistics.median(run[part][-1] for run in runs)


def best(runs, part="test"):
    return statistics.median(min(run[part]) for run in runs)


def digits_rows(seeds, epochs, curves):
    """Yield the table of digits, and what it takes to reach the loss of Adam."""
    runs = compare("digits", digits, RATES, 128, epochs, seeds, curves)
    adam = {label: found for label, found in runs.items() if label.startswith("Adam")}
    grid = min(last(found, "test") for found in adam.values())
    epoch = statistics.median(np.concatenate([run["seconds"] for run in adam["Adam 0.001"]]))
    for label, found in runs.items():
        ours = label == "NewtonCG"
        test, training = last(found, "test"), last(found, "train")
        seconds = statistics.median(np.concatenate([run["seconds"] for run in found])) / epoch
        worst = max(run["train"][-1] for run in found)
        yield {
            "table": "Digits, batches of 128, 20 epochs",
            "optimizer": label,
            "training loss": at_most(training, 0.0075) if ours else training,
            "worst seed": at_most(worst, 1.0) if ours else worst,
            "validation loss": at_most(test, last(adam["Adam 0.001"], "test")) if ours else test,
            "over the best of Adam": at_most(test / grid, 1.3) if ours else test / grid,
            "seconds per epoch, Adam 1": at_most(seconds, 10) if ours else seconds,
        }
    yield from reach_rows("digits", digits, adam, 128, 2.0, seeds, curves)


def seconds_to(run, loss):
    """Return seconds until the training loss is reached, infinity if it is not."""
    total = np.cumsum(run["seconds"])
    reached = np.flatnonzero(np.array(run["train"]) <= loss)
    return float(total[reached[0]]) if len(reached) else float("inf")


def reach_rows(name, make, adam, batch_size, limit, seeds, curves):
    """Yield times to the loss that tuned Adam reaches, over its time."""
    for size in (batch_size, None):
        runs = [train(make(seed), NewtonCG(), size, 60 if size else 100) for seed in seeds]
        curves[f"{name}, batch {size or 'full'}, longer"] = {"NewtonCG": runs}
        for criterion, part in (("validation", "test"), ("training", "train")):
            tuned = min(adam, key=lambda label: last(adam[label], part))
            ratios = [
                seconds_to(ours, run["train"][-1]) / sum(run["seconds"])
                for ours, run in zip(runs, adam[tuned], strict=True)
            ]
            ratio = statistics.median(ratios)
            yield {
                "table": "Seconds to the training loss of tuned Adam, over its seconds",
                "data": name,
                "tuned by": f"{criterion} loss",
                "Adam": tuned,
                "its loss": last(adam[tuned], "train"),
                "NewtonCG's batch": "all samples" if size is None else str(size),
                "ratio": at_most(ratio, limit),
            }


def diabetes_rows(seeds, epochs, curves):
    """Yield the regression network, and the linear model."""
    rates = {"Adam": RATES["Adam"]}
    runs = compare("diabetes", diabetes, rates, 32, epochs, seeds, curves)
    adam = {label: found for label, found in runs.items() if label.startswith("Adam")}
    yield from reach_rows("diabetes", diabetes, adam, 32, 1.0, seeds, curves)
    for seed in seeds:
        problem = diabetes(seed)
        problem.hidden = ()
        A = np.c_[problem.X, np.ones(len(problem.X))].astype(float)
        w = np.linalg.lstsq(A, problem.y, rcond=None)[0]
        exact = np.mean((A @ w - problem.y) ** 2)
        losses = np.array(train(problem, NewtonCG(), None, 100)["train"])
        yield {
            "table": "Linear least squares, full batch: loss over the exact one, less 1",
            "seed": str(seed),
            "after 3 epochs": at_most(losses[2] / exact - 1, 1e-6),
            "most, epochs 3 to 100": at_most(losses[2:].max() / exact - 1, 1e-6),
        }


def wisconsin_rows(seeds, epochs, curves):
    """Yield the breast cancer table."""
    for batch_size in (32, None):
        rates = {"Adam": WISCONSIN_RATES}
        runs = compare("wisconsin", wisconsin, rates, batch_size, epochs, seeds, curves)
        least = min(best(found) for label, found in runs.items() if label.startswith("Adam"))
        for label, found in runs.items():
            ours = label == "NewtonCG"
            finite = min(np.isfinite(run["train"]).all() for run in found)
            yield {
                "table": f"Wisconsin, {epochs} epochs: validation loss at its best",
                "batch": "all samples" if batch_size is None else str(batch_size),
                "optimizer": label,
                "loss": best(found),
                "over the best of Adam": at_most(best(found) / least, 1.05)
                if ours
                else best(found) / least,
                "finite in all seeds": at_least(finite, 1) if ours else float(finite),
            }


def convolutional(shape, filters, size, width):
    """Return a network of two convolutions, each with pooling, and two dense layers."""
    layers = [L.Input(shape)]
    for n in filters:
        layers += [L.Conv2D(n, size, activation="relu", padding="same"), L.MaxPooling2D()]
    return keras.Sequential([*layers, L.Flatten(), L.Dense(width, "relu"), L.Dense(10, "softmax")])


def cost_rows():
    """Yield seconds of a product over those of a gradient."""
    rng = np.random.default_rng(0)
    models = {
        "MLP 64-128-64-10": digits(0).network(NewtonCG()),
        "CNN 8x8, 16 and 32 filters": convolutional((8, 8, 1), (16, 32), 3, 64),
        "CNN 28x28, 32 and 64 filters": convolutional((28, 28, 1), (32, 64), 5, 256),
    }
    for name, model in models.items():
        model.compile(loss="sparse_categorical_crossentropy")
        X = tf.constant(rng.standard_normal((128, *model.input_shape[1:])), tf.float32)
        y = tf.constant(rng.integers(0, 10, 128))
        for curvature in ("hessian", "gauss_newton"):
            gradient, products = _compiled(model, X, y, curvature)
            n = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
            v = tf.constant(rng.standard_normal(n), tf.float32)
            steps = {"gradient": gradient}
            steps |= {
                str(k): lambda k=k, v=v, products=products: products(v, tf.constant(k))
                for k in (1, 11)
            }
            for step in steps.values():
                step()
            taken, _ = interleaved(steps, repeats=7)
            ratio = (taken["11"] - taken["1"]) / 10 / taken["gradient"]
            yield {
                "table": "Seconds of a step of conjugate gradients, over those of a gradient",
                "model": name,
                "curvature": curvature,
                "ratio": at_most(ratio, 2.3),
            }


def _compiled(model, X, y, curvature):
    """Return functions that take a gradient, and k steps of a loop as conjugate gradients have."""

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(X, y, model(X, training=True))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    @tf.function
    def products(v, k):
        objective = BatchObjective(model, X, y, None, curvature=curvature)

        def step(i, x, r, p, rr):
            Gp = objective.product(p)
            length = rr / (tf.tensordot(p, Gp, 1) + tf.tensordot(p, p, 1))
            x, r = x + length * p, r - length * (Gp + p)
            new = tf.tensordot(r, r, 1)
            return i + 1, x, r, r + new / rr * p, new

        start = (tf.constant(0), tf.zeros_like(v), v, v, tf.tensordot(v, v, 1))
        return tf.while_loop(lambda i, *_: i < k, step, start)[1]

    return gradient, products


def draw(curves, path):
    """Draw training and validation losses by epochs and by seconds."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(curves), 3, figsize=(15, 4 * len(curves)), squeeze=False)
    for row, (name, runs) in zip(axes, curves.items(), strict=True):
        for label, found in runs.items():
            style = {"lw": 2.5, "color": "k"} if label == "NewtonCG" else {"lw": 1}
            for ax, part, x in zip(row, ("train", "test", "train"), (0, 0, 1), strict=True):
                losses = np.median([run[part] for run in found], axis=0)
                seconds = np.cumsum(np.median([run["seconds"] for run in found], axis=0))
                epochs = np.arange(1, len(losses) + 1)
                ax.semilogy(seconds if x else epochs, losses, label=label, **style)
                ax.set_title(f"{name}: {'validation' if part == 'test' else 'training'} loss")
                ax.set_xlabel("seconds" if x else "epoch")
        row[0].legend(fontsize=8)
    fig.tight_layout()
    fig.savefig(path, dpi=80)
    plt.close(fig)


def run(quick):
    """Return the rows of all tables."""
    seeds = range(2 if quick else 6)
    curves, rows = {}, list(cost_rows())
    rows += digits_rows(seeds, 5 if quick else 20, curves)
    rows += diabetes_rows(seeds, 5 if quick else 20, curves)
    rows += wisconsin_rows(seeds, 10 if quick else 100, curves)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "newton_cg.json").write_text(json.dumps(curves), encoding="utf-8")
    draw(curves, FOLDER / "newton_cg.png")
    return rows


if __name__ == "__main__":
    main(run, __doc__)
