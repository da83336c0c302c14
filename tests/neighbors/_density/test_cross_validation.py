"""Scores of held-out samples, by the definition."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from skhmat._utils.logging import Log
from skhmat.neighbors._density.cross_validation import score_bandwidths
from skhmat.neighbors._density.mixture import Mixture

from ..densities import distances, slow_logs


@pytest.mark.parametrize("cv", [None, KFold(3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores(weighted, cv, rng):
    Y = rng.random((90, 2))
    w = rng.random(90) if weighted else np.ones(90)
    mixture = Mixture(Y, w, 0.3, metric="euclidean", metric_params=None, leaf_size=16, n_threads=1)
    scores = score_bandwidths(
        mixture,
        "gaussian",
        np.array([0.2, 0.5]),
        w if weighted else None,
        cv,
        rtol=1e-9,
        algorithm="auto",
        log=Log(0),
    )
    every = np.arange(90)
    folds = [(np.delete(every, i), [i]) for i in every] if cv is None else list(cv.split(Y))
    for bandwidth, score in zip((0.2, 0.5), scores, strict=True):
        total = 0.0
        for train, test in folds:
            logs = slow_logs("gaussian", distances(Y[test], Y[train]) / bandwidth, w[train])
            norm = np.log(w[train].sum() * 2 * np.pi * bandwidth**2)
            total += w[test] @ (logs - norm)
        assert score == pytest.approx(total / w.sum())
