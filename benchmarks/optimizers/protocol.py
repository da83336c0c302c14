"""One training of a test problem with an optimizer, everything noted

Losses and accuracies are of the whole sets after each epoch, penalties of the network included, and
before the first. Times are of training alone.
"""

import os
import platform
import statistics
import time
import warnings
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import numpy as np
import sklearn
from problems import BINARY, CROSS_ENTROPY, OUTPUT, PROBLEMS

import skhmat.neural_network
from skhmat.neural_network import ProbabilisticPreconditioner
from skhmat.neural_network._keras import keras, tf

# TensorFlow takes the graphs of many runs in one process for one that is made over and over.
tf.get_logger().setLevel("ERROR")

#: Learning rates, quarter decades from 1e-4 to 3.16: every other one is tried, and those beside the
#: best of them.
RATES = tuple(float(f"{10 ** (i / 4):.3g}") for i in range(-16, 3))

#: A run has diverged where a loss is more than this many times the first one.
_DIVERGED = 10
#: Epochs before those that are timed in turn.
_WARM_UP = 2
#: Samples that are evaluated at once.
_CHUNK = 1000


def _preconditioned(momentum=0.0, inner_rate=0.01, **settings):
    inner = keras.optimizers.SGD(inner_rate, momentum=momentum)
    return ProbabilisticPreconditioner(inner, **settings)


#: How each is made, and with which settings where no others are given.
OPTIMIZERS = {
    "sgd": (keras.optimizers.SGD, {"learning_rate": 0.01}),
    "momentum": (keras.optimizers.SGD, {"learning_rate": 0.01, "momentum": 0.9}),
    "adam": (keras.optimizers.Adam, {"learning_rate": 0.001}),
    "preconditioned_sgd": (ProbabilisticPreconditioner, {}),
    "adaptive_sgd": (ProbabilisticPreconditioner, {"precondition": False}),
    "only_adaptive_sgd": (
        ProbabilisticPreconditioner,
        {"precondition": False, "num_observations": 0},
    ),
    "preconditioned_tuned_sgd": (
        _preconditioned,
        {"inner_rate": 0.01, "adapt_learning_rate": False},
    ),
    "preconditioned_tuned_momentum": (
        _preconditioned,
        {"inner_rate": 0.01, "adapt_learning_rate": False, "momentum": 0.9},
    ),
    "preconditioned_momentum": (_preconditioned, {"momentum": 0.9}),
}
BASELINES = ("sgd", "momentum", "adam")


def one_thread():
    """Let TensorFlow use one thread; without effect where it is at work already."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass


def make(optimizer_name, settings):
    """Return an optimizer, and its settings with those it has by default."""
    factory, defaults = OPTIMIZERS[optimizer_name]
    settings = {**defaults, **settings}
    return factory(**settings), settings


def compiled(problem, optimizer, seed, init="problem"):
    """Return the model of a problem, ready for fit."""
    model = problem.network(seed, init=init)
    loss = problem.loss
    if loss == OUTPUT:

        def loss(true, output):
            return keras.ops.mean(output, axis=-1)

    # With XLA, the preconditioner would take a product in each step; so none uses it.
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    return model


def evaluator(model, problem):
    """Return a function of samples and labels, for the loss and the accuracy (None without)."""
    losses = {
        CROSS_ENTROPY: keras.losses.sparse_categorical_crossentropy,
        BINARY: keras.losses.binary_crossentropy,
    }

    def sums(X, y):
        output = model(X, training=False)
        penalty = keras.ops.convert_to_tensor(sum(model.losses), dtype="float32")
        if problem.loss == OUTPUT:
            return keras.ops.sum(output), keras.ops.zeros(()), penalty
        if problem.loss == BINARY:
            y = keras.ops.reshape(y, (-1, 1))
            right = (output > 0.5) == (y > 0.5)
        else:
            y = keras.ops.cast(y, "int32")
            right = keras.ops.argmax(output, axis=-1) == y
        loss = keras.ops.sum(losses[problem.loss](y, output))
        right = keras.ops.sum(keras.ops.cast(right, "float32"))
        return loss, right, penalty

    # Not model.evaluate: that takes longer than an epoch of the small problems.
    batch = tf.TensorSpec([None, *model.input_shape[1:]], "float32")
    labels = tf.TensorSpec([None], "float32")
    graph = tf.function(sums, input_signature=[batch, labels], autograph=False)

    def evaluate(X, y):
        parts = [
            [float(part) for part in graph(X[i : i + _CHUNK], y[i : i + _CHUNK].astype(np.float32))]
            for i in range(0, len(X), _CHUNK)
        ]
        loss, right, penalty = np.array(parts).T
        accuracy = None if problem.loss == OUTPUT else float(right.sum() / len(X))
        return float(loss.sum() / len(X) + penalty[-1]), accuracy

    return evaluate


class Clock(keras.callbacks.Callback):
    """Wall and CPU seconds of each epoch; first of all callbacks, so that nothing else counts."""

    def __init__(self):
        super().__init__()
        self.wall, self.cpu = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.wall.append(time.perf_counter() - self.begin[0])
        self.cpu.append(time.process_time() - self.begin[1])


class Recorder(keras.callbacks.Callback):
    """Losses, accuracies and learning rates after each epoch; stops what has diverged."""

    def __init__(self, evaluate, train, validation, patience):
        super().__init__()
        self.evaluate, self.train, self.validation = evaluate, train, validation
        self.patience = patience
        self.stop = "finished"
        names = "train_loss train_accuracy validation_loss validation_accuracy learning_rate"
        self.history = {name: [] for name in names.split()}

    def on_train_begin(self, logs=None):
        self.note()

    def note(self):
        for name in ("train", "validation"):
            loss, accuracy = self.evaluate(*getattr(self, name))
            self.history[f"{name}_loss"].append(loss)
            self.history[f"{name}_accuracy"].append(accuracy)
        self.history["learning_rate"].append(rates_of(self.model.optimizer))

    def on_epoch_end(self, epoch, logs=None):
        self.note()
        for name in ("train_loss", "validation_loss"):  # in this order: patience is for the latter
            losses = self.history[name]
            if not losses[-1] <= _DIVERGED * losses[0]:  # nor is one that is not finite
                self.stop = "diverged"
        worse = len(losses) - 1 - np.argmin(losses)
        if self.stop == "finished" and self.patience is not None and worse >= self.patience:
            self.stop = f"no improvement for {self.patience} epochs"
        self.model.stop_training = self.stop != "finished"


def rates_of(optimizer):
    """Return the learning rates of an optimizer, one or one for each group of variables."""
    if hasattr(optimizer, "get_log"):
        return np.ravel(optimizer.get_log().get("learning_rate", [])).tolist()
    return [float(keras.ops.convert_to_numpy(optimizer.learning_rate))]


def run(
    problem,
    optimizer_name,
    settings,
    seed,
    *,
    batch_size=None,
    init="problem",
    epochs=None,
    patience=None,
):
    """Train once, and return what was seen as a dict for JSON.

    The lists of losses, accuracies and learning rates begin with those before training, so are one
    longer than the times. `patience` is the number of epochs without a smaller validation loss
    after which training ends; None for no end.
    """
    problem = PROBLEMS[problem] if isinstance(problem, str) else problem
    batch_size = problem.batch_size if batch_size is None else batch_size
    epochs = problem.epochs if epochs is None else epochs
    keras.backend.clear_session()
    train, validation, test = problem.load(seed)
    clock = Clock()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer, settings = make(optimizer_name, settings)
        model = compiled(problem, optimizer, seed, init)
        config = keras.optimizers.serialize(optimizer)
        evaluate = evaluator(model, problem)
        recorder = Recorder(evaluate, train, validation, patience)
        model.fit(
            *train,
            batch_size=batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=[clock, recorder],
        )
    test_loss, test_accuracy = evaluate(*test)
    log = optimizer.get_log() if hasattr(optimizer, "get_log") else {}
    return {
        "problem": problem.name,
        "optimizer": optimizer_name,
        "settings": settings,
        "config": config,
        "seed": seed,
        "batch_size": batch_size,
        "init": init,
        "epochs": epochs,
        "patience": patience,
        "stop": recorder.stop,
        **recorder.history,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "note": "The loss is the output: there is no accuracy." if test_accuracy is None else "",
        **times(clock),
        "log": {key: plain(value) for key, value in log.items()},
        "warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught}),
        "n_weights": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        **circumstances(),
    }


def times(clock, out=1):
    """Return seconds of epochs; medians leave the first ones out, in which graphs are made."""
    return {
        "wall": clock.wall,
        "cpu": clock.cpu,
        "tracing_epochs": list(range(1, out + 1)),
        "median_wall": statistics.median(clock.wall[out:]) if clock.wall[out:] else None,
        "median_cpu": statistics.median(clock.cpu[out:]) if clock.cpu[out:] else None,
    }


def cost(problem, names, seed, *, batch_size=None, rounds=5, epochs=3):
    """Return times of epochs of optimizers in turn, each a dict as of `run`.

    All models are made and trained twice, two epochs in all, before anything counts: then all
    branches of their graphs have been used. Then each trains `epochs` epochs in each of the
    rounds, so that what else the machine does strikes all of them, and in the other order in
    every second one.
    """
    problem = PROBLEMS[problem] if isinstance(problem, str) else problem
    batch_size = problem.batch_size if batch_size is None else batch_size
    keras.backend.clear_session()
    train = problem.load(seed)[0]
    models, clocks, settings = {}, {name: Clock() for name in names}, {}

    def fit(name, epochs):
        models[name].fit(
            *train, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[clocks[name]]
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # times alone are of interest
        for name in names:
            optimizer, settings[name] = make(name, {})
            models[name] = compiled(problem, optimizer, seed)
            for _ in range(_WARM_UP):
                fit(name, 1)
        for i in range(rounds):
            for name in names[:: -1 if i % 2 else 1]:
                fit(name, epochs)
    return [
        {
            "problem": problem.name,
            "optimizer": name,
            "settings": settings[name],
            "seed": seed,
            "batch_size": batch_size,
            "epochs": epochs,
            "rounds": rounds,
            "stop": "finished",
            **times(clocks[name], _WARM_UP),
            **circumstances(),
        }
        for name in names
    ]


def tuned(runs):
    """Return the learning rate with the best median of the last validation losses, or None.

    Of those that diverged with no seed.
    """
    found = {}
    for one in runs:
        found.setdefault(one["settings"]["learning_rate"], []).append(one)
    scores = {
        rate: statistics.median(one["validation_loss"][-1] for one in some)
        for rate, some in found.items()
        if not any(one["stop"] == "diverged" for one in some)
    }
    return min(scores, key=scores.get, default=None)


def beside(rate):
    """Return the learning rates next to one of those that are tried."""
    i = RATES.index(rate)
    return [other for other in RATES[max(i - 1, 0) : i + 2] if other != rate]


# ---- where and with what


def circumstances():
    """Return versions, machine, and date."""
    packages = (tf, keras, np, sklearn, skhmat)  # by module: TensorFlow has several distributions
    versions = {package.__name__: package.__version__ for package in packages}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "source": source(),
        "machine": f"{processor()}, {os.cpu_count()} CPUs, {platform.system()}",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def source():
    """Return a hash of the code of skhmat.neural_network: a version alone says little of it."""
    folder = Path(skhmat.neural_network.__file__).parent
    files = sorted(folder.rglob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def processor():
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def plain(value):
    """Return a value as JSON has it: lists for arrays, None for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
