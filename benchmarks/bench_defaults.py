"""Defaults beside the simplest rival

Every estimator as it comes, on held-out quarters of ordinary data sets, beside the simplest rival
of scikit-learn: R² of regressors beside five nearest neighbours, accuracy of classifiers beside
logistic regression of standardized features, the mean logarithm of densities beside a normal
distribution. Data in their own units, except where a row says standardized. KernelRidge,
KernelDensity and HierarchicalNystroem have scikit-learn's defaults on purpose, and no target; their
columns say where another parameter is needed.
"""

import time
import warnings

import numpy as np
from common import Figure, at_least, main
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.manifold import GeometricHarmonics
from skhmat.neighbors import KernelDensity, KernelDensityCV

# R² or accuracy that a default may be behind its rival.
MARGIN = 0.01


def regression_data(n, seed=0):
    """Yield names, samples and targets of regression problems."""
    rng = np.random.default_rng(seed)
    roll, position = datasets.make_swiss_roll(n, random_state=seed)
    yield "swiss roll, height", roll, roll[:, 1]
    yield "swiss roll, position", roll, position
    yield "S-curve", *datasets.make_s_curve(n, random_state=seed)
    yield "friedman1", *datasets.make_friedman1(n, noise=1.0, random_state=seed)
    yield "friedman2", *datasets.make_friedman2(n, noise=10.0, random_state=seed)
    yield "friedman3", *datasets.make_friedman3(n, noise=0.1, random_state=seed)
    X = rng.uniform(-2, 2, (n, 2))
    waves = np.sin(3 * X[:, 0]) * np.sin(3 * X[:, 1])
    yield "sines in 2-D", X, waves + 0.05 * rng.standard_normal(n)
    yield "diabetes", *datasets.load_diabetes(return_X_y=True)
    X, y = houses(n, rng)
    yield "houses", X, y
    yield "houses, standardized", StandardScaler().fit_transform(X), y
    digits = datasets.load_digits().data
    yield "digits, three coordinates", digits, PCA(3).fit_transform(digits)
    angle = rng.uniform(0, 2 * np.pi, n)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    noise = 0.2 * rng.standard_normal(n)
    yield "circle", circle, np.sin(5 * angle) + 0.3 * np.cos(11 * angle)
    yield "circle, noise", circle, np.sin(5 * angle) + noise
    X = rng.standard_normal((n, 5))
    yield "linear", X, X @ np.array([1.0, 2, 3, 0, 0]) + 0.5 * rng.standard_normal(n)
    yield "far from 0", X, 1e6 + np.sin(X[:, 0])


def houses(n, rng):
    """Return features in six units, two with long tails, and a target like prices of houses."""
    place = rng.uniform([32, -124], [42, -114], (n, 2))
    income, age = rng.lognormal(1.2, 0.4, n), rng.integers(1, 52, n)
    rooms, people = rng.normal(5.4, 1.0, n), rng.lognormal(7, 0.7, n)
    waves = np.sin(0.8 * place[:, 0]) * np.cos(0.7 * place[:, 1])
    y = 0.45 * income + 0.01 * age + waves + 0.3 * rng.standard_normal(n)
    return np.column_stack([income, age, rooms, people, place]), y


def classification_data(n, seed=0):
    """Yield names, samples and classes."""
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True)
    yield "moons", *datasets.make_moons(n, noise=0.2, random_state=seed)
    yield "circles", *datasets.make_circles(n, noise=0.1, factor=0.5, random_state=seed)
    options = {"n_informative": 6, "n_classes": 3, "random_state": seed}
    yield "clusters", *datasets.make_classification(n, **options)


def density_data(n, seed=0):
    """Yield names and samples."""
    rng = np.random.default_rng(seed)
    yield "normal", rng.standard_normal((n, 2))
    yield "normal, in thousandths", 1e3 * rng.standard_normal((n, 2))
    yield "two clusters", rng.standard_normal((n, 2)) + 8 * rng.integers(0, 2, (n, 1))
    yield "moons", datasets.make_moons(n, noise=0.1, random_state=seed)[0]
    yield "long tails", rng.standard_t(2, (n, 1))
    yield "iris", datasets.load_iris().data
    yield "houses, standardized", StandardScaler().fit_transform(houses(n, rng)[0])


def score(model, X, y):
    """Return the score on a held-out quarter, and CPU seconds of the fit."""
    train, test, *ys = train_test_split(X, *([] if y is None else [y]), random_state=0)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train, *ys[:1])
        seconds = time.process_time() - start
        value = model.score(test, *ys[1:])
    return value / (len(test) if y is None else 1), seconds


def columns(models, rival, X, y, targets):
    """Return the figures of a row: each model, and the rival.

    Parameters
    ----------
    models : dict of str to estimator
    rival : float
    X, y : ndarray
    targets : set of str
        The models that should be no worse than the rival.
    """
    row = {}
    for name, model in models.items():
        value, seconds = score(model, X, y)
        if name in targets:
            row[name] = at_least(value, round(rival - MARGIN, 3))
        else:
            row[name] = Figure(float(value))
        row[f"{name}, CPU s"] = seconds
    return row


def normal_score(X):
    """Return the mean log density of a held-out quarter under a normal distribution."""
    train, test = train_test_split(X, random_state=0)
    mean, covariance = train.mean(axis=0), np.atleast_2d(np.cov(train.T))
    missed = test - mean
    squares = np.einsum("ij,ij->i", missed, np.linalg.solve(covariance, missed.T).T)
    logdet = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return -0.5 * (squares.mean() + logdet)


def keras_models():
    """Return the estimators of neural networks, or nothing without Keras."""
    try:
        from skhmat.neural_network import KerasClassifier, KerasRegressor
    except ImportError:
        return {}, {}
    scaled = [
        make_pipeline(StandardScaler(), kind(random_state=0))
        for kind in (KerasRegressor, KerasClassifier)
    ]
    return {"KerasRegressor, scaled": scaled[0]}, {"KerasClassifier, scaled": scaled[1]}


def run(quick):
    """Return rows for regressors, classifiers and densities."""
    n, rows = 400 if quick else 1333, []
    regressor, classifier = ({}, {}) if quick else keras_models()
    for name, X, y in regression_data(n):
        rival = score(KNeighborsRegressor(), X, y)[0]
        features = HierarchicalNystroem(random_state=0)
        models = {
            "GeometricHarmonics": GeometricHarmonics(random_state=0),
            "KernelRidgeCV": KernelRidgeCV(random_state=0),
            "KernelRidge": KernelRidge(),
            "HierarchicalNystroem and RidgeCV": make_pipeline(features, RidgeCV()),
            **regressor,
        }
        row = columns(models, rival, X, y, {"GeometricHarmonics", "KernelRidgeCV"})
        rows.append({"table": "Regressors, R²", "data": name, "nearest": rival, **row})
    for name, X, y in classification_data(n):
        rival = score(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), X, y)[0]
        models = {
            "KernelRidgeClassifier": KernelRidgeClassifier(),
            "KernelRidgeClassifier, scaled": make_pipeline(
                StandardScaler(), KernelRidgeClassifier()
            ),
            "HierarchicalNystroem, logistic, scaled": make_pipeline(
                StandardScaler(),
                HierarchicalNystroem(random_state=0),
                LogisticRegression(max_iter=500),
            ),
            **classifier,
        }
        row = columns(models, rival, X, y, {"KernelRidgeClassifier, scaled"})
        rows.append({"table": "Classifiers, accuracy", "data": name, "logistic": rival, **row})
    for name, X in density_data(n):
        rival = normal_score(X)
        models = {
            "KernelDensityCV": KernelDensityCV(),
            "KernelDensity": KernelDensity(),
            'bandwidth="scaled_scott"': KernelDensity(bandwidth="scaled_scott"),
        }
        row = columns(models, rival, X, None, set())
        rows.append({"table": "Mean log density", "data": name, "normal": rival, **row})
    return rows


if __name__ == "__main__":
    main(run, __doc__)
