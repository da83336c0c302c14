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


class Broken:
    """A splitter whose second fold is wrong."""

    def split(self, X, y=None, groups=None):
        yield np.arange(5), np.arange(5, 9)
        yield np.arange(5), [len(X)]

    def get_n_splits(self, X=None, y=None, groups=None):
        return 2


@pytest.mark.parametrize(
    "cv",
    [
        [1, 2],
        b"x",
        (1,),
        {"a": 1},
        {},
        [],
        range(3),
        [(np.zeros(3), np.ones(3))],
        [([0, 1], [90])],
        [([0, 1], [2], [3])],
        [([0, 1], [[2]])],
        91,
        Broken(),
    ],
)
def test_what_is_no_splitter(cv, rng):
    Y = rng.random((90, 2))
    mixture = Mixture(
        Y, None, 0.3, metric="euclidean", metric_params=None, leaf_size=16, n_threads=1
    )
    options = {"rtol": 1e-9, "algorithm": "auto", "log": Log(0)}
    allowed = "cv must be None, an integer, a splitter or an iterable of pairs .*, got "
    with pytest.raises(ValueError, match=allowed):
        score_bandwidths(mixture, "gaussian", np.array([0.2]), None, cv, **options)


def test_masks_are_indices(rng):
    Y = rng.random((90, 2))
    mixture = Mixture(
        Y, None, 0.3, metric="euclidean", metric_params=None, leaf_size=16, n_threads=1
    )
    options = {"rtol": 1e-9, "algorithm": "auto", "log": Log(0)}
    is_test = rng.random(90) < 0.3
    masks, indices = (
        score_bandwidths(mixture, "gaussian", np.array([0.2]), None, [split], **options)
        for split in (
            (~is_test, is_test),
            (np.flatnonzero(~is_test), np.flatnonzero(is_test)),
        )
    )
    np.testing.assert_array_equal(masks, indices)
