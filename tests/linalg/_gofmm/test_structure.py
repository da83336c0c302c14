"""The flat arrays of a compressed matrix, written by hand and as the phases make them."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skhmat._ext.gofmm import matvec as core

from skhmat.linalg._gofmm.blocks import assemble
from skhmat.linalg._gofmm.structure import BlockStructure

from ..phases import run_to_skeletons


def integers(*values):
    return np.array(values, dtype=np.intp)


@pytest.fixture
def structure():
    """Five points in two leaves, which are far from each other; one skeleton in each leaf."""
    return BlockStructure(
        permutation=integers(3, 1, 4, 0, 2),
        leaf_bounds=integers(0, 2, 5),
        rank=integers(0, 1, 1),
        skel_ptr=integers(0, 0, 1, 2),
        order_ptr=integers(0, 0, 0, 0),
        order=integers(),
        interp_ptr=integers(0, 0, 1, 3),
        interp=np.array([0.5, 0.25, 0.125]),
        far_ptr=integers(0, 0, 1, 2),
        far_node=integers(2, 1),
        far_offset=integers(0, 0),
        far_transposed=np.array([0, 1], dtype=np.uint8),
        far=np.array([3.0]),
        near_ptr=integers(0, 1, 2),
        near_leaf=integers(0, 1),
        near_offset=integers(0, 4),
        near_transposed=np.array([0, 0], dtype=np.uint8),
        near=np.arange(13.0),
    )


def test_sizes(structure):
    assert structure.n_leaves == 2
    assert structure.depth == 1
    assert structure.nbytes == sum(array.nbytes for array in vars(structure).values())
    lean = dataclasses.replace(structure, near=None)
    assert lean.nbytes == structure.nbytes - structure.near.nbytes


def test_one_leaf_is_the_root(structure):
    single = dataclasses.replace(structure, leaf_bounds=integers(0, 5))
    assert (single.n_leaves, single.depth) == (1, 0)


def test_points_of_leaves(structure):
    assert_array_equal(structure.leaf_positions(0), [0, 1])
    assert_array_equal(structure.leaf_positions(1), [2, 3, 4])


def test_hss_has_no_near_pairs_but_leaves_with_themselves(structure):
    assert structure.is_hss
    assert_array_equal(structure.near_rows(), structure.near_leaf)
    more = dataclasses.replace(
        structure, near_ptr=integers(0, 2, 4), near_leaf=integers(0, 1, 0, 1)
    )
    assert not more.is_hss
    assert_array_equal(more.near_rows(), [0, 0, 1, 1])


def test_nothing_can_be_assigned(structure):
    with pytest.raises(dataclasses.FrozenInstanceError):
        structure.rank = integers(0, 0, 0)


def test_the_core_takes_the_plan(structure):
    assert isinstance(structure.plan(), core.Plan)


@pytest.mark.parametrize("budget", [0.0, 0.3])
def test_structure_of_the_phases(budget, global_random_seed):
    entries, tree, interactions, bases = run_to_skeletons(400, 25, budget, global_random_seed)
    structure, _ = assemble(entries, tree, interactions, bases, np.inf, 1)
    assert (structure.n_leaves, structure.depth) == (16, 4)
    assert structure.is_hss == (budget == 0)
    every = np.concatenate([structure.leaf_positions(leaf) for leaf in range(16)])
    assert_array_equal(every, np.arange(400))
    pairs = set(zip(structure.near_rows().tolist(), structure.near_leaf.tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs}
    assert {(leaf, leaf) for leaf in range(16)} <= pairs
