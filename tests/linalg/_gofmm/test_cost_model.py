import numpy as np
import pytest

from skhmat.linalg._gofmm.cluster_tree import Tree, level_bounds
from skhmat.linalg._gofmm.cost_model import (
    CostPolicy,
    extrapolate_ranks,
    pays,
    product_cost,
    setup_cost,
)
from skhmat.linalg._gofmm.interaction_lists import find_interactions

N = 1024
DEPTH = 3


@pytest.fixture
def tree():
    return Tree(np.arange(N), level_bounds(N, DEPTH), DEPTH)


@pytest.fixture
def hss(tree):
    return find_interactions(tree, np.empty((N, 0), dtype=np.int32), 0.0)


def test_growth_of_ranks_decays_towards_the_root(tree):
    ranks = np.array([0.0, 0.0, 0.0, 10.0])
    found = extrapolate_ranks(tree, ranks, DEPTH, 1.5)
    np.testing.assert_allclose(found, [0, 15 * (1 + 0.5 * 0.85), 15, 10])
    ranks = np.array([0.0, 0.0, 0.0, 10.0])
    policy = CostPolicy(growth_decay=1.0, max_growth=1.2)
    found = extrapolate_ranks(tree, ranks, DEPTH, 1.5, policy=policy)
    np.testing.assert_allclose(found, [0, 14.4, 12, 10])


def test_ranks_are_limited(tree):
    ranks = np.array([0.0, 0.0, 0.0, 100.0])
    assert extrapolate_ranks(tree, ranks, DEPTH, 2.0, max_rank=120)[1:].tolist() == [120, 120, 100]
    ranks = np.array([0.0, 0.0, 0.0, 400.0])
    found = extrapolate_ranks(tree, ranks, DEPTH, 2.0)
    np.testing.assert_allclose(found[1:], [(1 + 0.85) * 256, 256, 400])


def test_cost_of_a_product_is_the_number_of_entries(tree, hss):
    near, far = product_cost(tree, hss, np.array([0.0, 8, 8, 8]))
    assert near == 8 * 128**2
    interpolation = 2 * (8 * (128 - 8) * 8 + 4 * (16 - 8) * 8 + 2 * (16 - 8) * 8)
    blocks = (8 + 4 + 2) * 8**2
    assert far == interpolation + blocks


def test_what_pays(tree, hss):
    low, high = np.array([0.0, 8, 8, 8]), np.array([0.0, 128, 128, 128])
    assert pays(tree, hss, low, 8)
    assert not pays(tree, hss, high, 8)
    assert not pays(tree, hss, low, 8, policy=CostPolicy(max_product=0.1))
    assert not pays(tree, hss, low, 8, policy=CostPolicy(n_vectors=1, max_total=0.5))
    assert setup_cost(tree, low, 4) == 2 * setup_cost(tree, low, 8)
