"""KerasClassifier."""

import numpy as np
import pytest
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from skhmat.neural_network import KerasClassifier

from ..networks import keras
from .data import blobs, few, iris


def test_two_lines():
    X, y = iris()
    model = KerasClassifier(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert model.n_features_in_ == 4
    assert model.n_iter_ == 50 == len(model.loss_curve_) == len(model.history_["loss"])
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), atol=1e-12)
    assert model.decision_function(X).shape == (150, 3)
    np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], model.predict(X))
    assert log_loss(y, p) < 0.1


def test_two_classes():
    X, y = iris()
    X, y = X[50:], y[50:]
    model = KerasClassifier(random_state=0, epochs=10).fit(X, y)
    scores = model.decision_function(X)
    assert scores.shape == (100,)
    p = model.predict_proba(X)
    np.testing.assert_allclose(scores, np.log(p[:, 1] / p[:, 0]), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(scores > 0, model.predict(X) == "virginica")


def test_several_labels():
    X, Y = make_multilabel_classification(120, 6, n_classes=3, random_state=0)
    model = KerasClassifier(random_state=0, epochs=30).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert (model.predict(X) == Y).mean() > 0.75
    assert model.predict_proba(X).shape == (120, 3)


def test_images():
    def build():
        L = keras.layers
        layers = [L.Input((6, 6, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten()]
        return keras.Sequential([*layers, L.Dense(1, "sigmoid")])

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.standard_normal((60, 6, 6, 1)) + y[:, None, None, None]
    assert KerasClassifier(build, epochs=5, random_state=0).fit(X, y).score(X, y) > 0.9


def test_partial_fit():
    X, y = iris()
    model = KerasClassifier(random_state=0)
    model.partial_fit(X[:50], y[:50], classes=np.unique(y))
    steps = int(model.model_.optimizer.iterations)
    for _ in range(15):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.8
    assert int(model.model_.optimizer.iterations) == steps + 15
    assert model.n_iter_ == 16
    with pytest.raises(ValueError, match=r"labels that were not there at first: .'dahlia'."):
        model.partial_fit(X[:2], ["dahlia", "setosa"])
    with pytest.raises(ValueError, match="in the first call"):
        model.partial_fit(X, y, classes=["setosa", "dahlia"])
    with pytest.raises(ValueError, match="one class"):
        KerasClassifier().partial_fit(X[:50], y[:50])


def test_weights():
    X, y = iris()
    weights = np.where(y == "setosa", 1e-6, 1.0)
    model = KerasClassifier(epochs=5, random_state=0).fit(X, y, sample_weight=weights)
    classes = KerasClassifier(
        epochs=5, random_state=0, class_weight={"setosa": 1e-6, "versicolor": 1, "virginica": 1}
    ).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), classes.predict_proba(X), rtol=1e-5)
    scaled = KerasClassifier(epochs=5, random_state=0).fit(X, y, sample_weight=1000 * weights)
    np.testing.assert_allclose(model.predict_proba(X), scaled.predict_proba(X), rtol=1e-4)
    KerasClassifier(epochs=1, class_weight="balanced").fit(X, y)


@pytest.mark.parametrize("weights", [{0: 0, 1: 0}, {0: 1, 1: -1}, {0: np.nan, 1: 1}])
def test_bad_class_weights(weights, rng):
    with pytest.raises(ValueError, match=r"class_weight=.* allowed are finite weights"):
        KerasClassifier(class_weight=weights, **few()).fit(*blobs(rng))
    with pytest.raises(ValueError, match="class_weight='balanced' needs all samples"):
        KerasClassifier(class_weight="balanced", **few()).partial_fit(*blobs(rng))


def test_grid_search_over_the_preconditioner():
    X, y = iris()
    model = KerasClassifier(optimizer="probabilistic-preconditioner", batch_size=4, epochs=3)
    search = GridSearchCV(model, {"optimizer__est_rank": [0, 2]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.6
    rank = search.best_params_["optimizer__est_rank"]
    optimizer = search.best_estimator_.model_.optimizer
    assert optimizer.est_rank == rank
    assert optimizer.get_log()["estimates"] > 0
