"""Moments of all nodes against those of their points."""

import numpy as np
import pytest

from skhmat.neighbors._density.box_tree import BoxTree


def test_moments_of_all_nodes(rng):
    Y = rng.standard_normal((500, 3)) + 1e3
    w = rng.random(500)
    w[:100] = 0
    tree = BoxTree(Y, 10)
    for weights in (None, w):
        used = np.ones(500) if weights is None else w
        mean, spread, weight, log_weight = tree.moments(weights)
        for node, (first, last) in enumerate(zip(tree.first, tree.last, strict=True)):
            inside = tree.order[first:last]
            total = used[inside].sum()
            assert weight[node] == pytest.approx(total)
            with np.errstate(divide="ignore"):
                assert log_weight[node] == pytest.approx(np.log(total), abs=1e-12)
            assert np.all(tree.box[0][node] == Y[inside].min(axis=0))
            assert np.all(tree.box[1][node] == Y[inside].max(axis=0))
            if total > 0:
                centre = np.average(Y[inside], axis=0, weights=used[inside])
                np.testing.assert_allclose(tree.box[0][node] + mean[node], centre, rtol=1e-12)
                squares = np.average(((Y[inside] - centre) ** 2).sum(axis=1), weights=used[inside])
                assert spread[node] == pytest.approx(squares, rel=1e-9, abs=1e-18)


def test_moments_are_kept_for_the_same_weights(rng):
    Y, w = rng.standard_normal((50, 2)), rng.random(50)
    tree = BoxTree(Y, 10)
    assert tree.moments(w) is tree.moments(w)
    assert tree.moments(None) is not tree.moments(w)
    np.testing.assert_array_equal(tree.moments(None)[2], tree.moments(np.ones(50))[2])
