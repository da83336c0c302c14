"""Pickled estimators."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

from skhmat.neural_network import KerasClassifier, KerasRegressor

from ..networks import keras
from .data import blobs, few, iris, small_network


def with_dropout(n_features_in, n_outputs):
    L = keras.layers
    layers = [L.Input((n_features_in,)), L.Dense(6, "tanh"), L.Dropout(0.3), L.Dense(n_outputs)]
    return keras.Sequential(layers)


@pytest.mark.filterwarnings("ignore:ProbabilisticPreconditioner. . epochs ended")
@pytest.mark.parametrize("optimizer", ["newton-cg", "probabilistic-preconditioner", "adam"])
def test_a_pickled_estimator_goes_on_bit_by_bit(optimizer):
    X, y = iris()
    model = KerasClassifier(with_dropout, epochs=2, optimizer=optimizer, random_state=0).fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    for estimator in (model, twin):
        estimator.partial_fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert twin.n_iter_ == 3


def own_loss(y, p):
    return keras.ops.mean((y - p) ** 2, axis=-1)


def own_activation(x):
    return keras.ops.tanh(x)


@pytest.mark.parametrize("options", [{"loss": own_loss}, {"activation": own_activation}])
def test_own_functions_are_pickled(options, rng):
    X, y = blobs(rng)
    model = KerasRegressor(**few(), **options).fit(X, y)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        again.set_params(warm_start=True).fit(X, y)


class OwnMetric(keras.metrics.MeanAbsoluteError):
    pass


class OwnLoss(keras.losses.Loss):
    def call(self, y, p):
        return own_loss(y, p)


class OwnInitializer(keras.initializers.Zeros):
    pass


class OwnLayer(keras.layers.Layer):
    def call(self, x):
        return own_activation(x)


class OwnSchedule(keras.optimizers.schedules.InverseTimeDecay):
    pass


class OwnSGD(keras.optimizers.SGD):
    pass


def own_template():
    L = keras.layers
    end = L.Dense(1, own_activation, kernel_initializer=OwnInitializer())
    return keras.Sequential([L.Input((4,)), keras.Sequential([OwnLayer()]), end])


OWN = {
    "metric": lambda: {"metrics": [OwnMetric(), own_loss]},
    "class of a loss": lambda: {"loss": OwnLoss},
    "loss": lambda: {"loss": OwnLoss()},
    "class of an optimizer": lambda: {"optimizer": OwnSGD},
    "optimizer": lambda: {"optimizer": OwnSGD()},
    "schedule": lambda: {"optimizer__learning_rate": OwnSchedule(0.1, 10, 0.5)},
    "template": lambda: {"model": own_template()},
    "inner optimizer": lambda: {
        "optimizer": "probabilistic-preconditioner",
        "optimizer__inner": OwnSGD(),
    },
}


@pytest.mark.filterwarnings("ignore:ProbabilisticPreconditioner. . epochs ended")
@pytest.mark.parametrize("name", OWN)
def test_own_objects_are_pickled(name, rng):
    X, y = blobs(rng)
    options = {**few(), "optimizer": "sgd", "warm_start": True, **OWN[name]()}
    estimator = KerasRegressor(**options)
    pickle.loads(pickle.dumps(estimator))
    model = estimator.fit(X, y)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
    network = again.model_
    assert again.fit(X, y).model_ is network
    np.testing.assert_array_equal(again.predict(X), model.fit(X, y).predict(X))
    if hasattr(BaseEstimator, "__sklearn_clone__"):
        clone(estimator)


def test_classes_that_are_in_no_module(rng, tmp_path):
    """Those of a notebook are pickled by value, so that workers and later processes have them."""
    code = [
        "import keras, pickle, numpy as np",
        "from skhmat.neural_network import KerasRegressor",
        "class OwnLoss(keras.losses.Loss):",
        "    def call(self, y, p): return keras.ops.mean((y - p) ** 2, axis=-1)",
        "X = np.load('X.npy')",
        "model = KerasRegressor(loss=OwnLoss(), optimizer='sgd', epochs=1).fit(X, X[:, 0])",
        "pickle.dump(model, open('model.pickle', 'wb'))",
        "np.save('p.npy', model.predict(X))",
    ]
    X = rng.standard_normal((40, 3))
    np.save(tmp_path / "X.npy", X)
    subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, check=True)
    model = pickle.loads((tmp_path / "model.pickle").read_bytes())
    np.testing.assert_array_equal(model.predict(X), np.load(tmp_path / "p.npy"))


def test_pickling_changes_nothing(rng):
    X, y = blobs(rng)
    for options in ({}, {"optimizer": keras.optimizers.SGD()}):
        model = KerasRegressor(**{**few(), **options}).fit(X, y)
        before = vars(model).copy()
        pickle.dumps(model)
        assert vars(model) == before


def test_arrays_are_read_only(rng):
    X, y = blobs(rng)
    model = KerasClassifier(**few()).fit(X, y)
    for estimator in (model, pickle.loads(pickle.dumps(model))):
        arrays = [value for value in vars(estimator).values() if isinstance(value, np.ndarray)]
        assert arrays
        assert not any(array.flags.writeable for array in arrays)


def test_model_that_cannot_be_pickled():
    X, y = iris()
    lock = __import__("threading").Lock()

    def build(n_features_in, n_outputs):
        with lock:
            return small_network(n_features_in, n_outputs)

    model = KerasClassifier(build, epochs=1).fit(X, y)
    with pytest.raises(pickle.PicklingError, match="cannot be pickled"):
        pickle.dumps(model)


@pytest.mark.filterwarnings("ignore:ProbabilisticPreconditioner. . epochs ended")
def test_a_new_process_reads_pickles(rng, tmp_path):
    """It has not imported the optimizers, which Keras finds by their registered names."""
    X, y = blobs(rng)
    code = ["import pickle, numpy as np; X = np.load('X.npy')"]
    for name in ("newton-cg", "probabilistic-preconditioner"):
        model = KerasClassifier(optimizer=name, **few()).fit(X, y)
        (tmp_path / f"{name}.pickle").write_bytes(pickle.dumps(model))
        np.save(tmp_path / f"{name}.npy", model.predict_proba(X))
        code.append(f"model = pickle.load(open('{name}.pickle', 'rb'))")
        code.append(f"assert (model.predict_proba(X) == np.load('{name}.npy')).all()")
    np.save(tmp_path / "X.npy", X)
    # The optimizer that nothing else has imported comes first.
    code[1:] = code[3:] + code[1:3]
    subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, check=True)


def test_callbacks_with_lambdas(rng):
    X, y = blobs(rng)
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 * 0.5**epoch)
    model = KerasRegressor(optimizer="sgd", callbacks=[callback], **few()).fit(X, y)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict(X), model.predict(X))
    assert clone(copied).fit(X, y).loss_curve_ == model.loss_curve_
