import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg import HierarchicalMatrix, KernelMatrix, compress


@pytest.fixture(scope="module")
def operator():
    X = np.random.default_rng(0).standard_normal((600, 2))
    return compress(KernelMatrix(X), rtol=1e-3, leaf_size=32, random_state=0)


def test_attributes(operator):
    H = operator
    assert not H.is_dense
    assert 0 < H.error_estimate_ <= 1e-3
    assert H.error_estimate_ == H.report_.error
    assert H.report_.rtol == 1e-3
    assert H.report_.n_read >= 600
    assert all(seconds >= 0 for seconds in H.report_.seconds.values())
    assert {"tree", "neighbors", "skeletons", "blocks", "error"} <= set(H.report_.seconds)
    assert H.ranks_.shape == (2 * 32 - 1,)
    assert H.ranks_[0] == 0
    assert H.compression_ratio_ == pytest.approx(600**2 * 8 / H.nbytes)
    assert H.compression_ratio_ > 2
    with pytest.raises(ValueError, match="read-only"):
        H.ranks_[:] = -1
    assert H.ranks_.min() >= 0


def test_attributes_cannot_be_assigned(operator):
    for name in ("error_estimate_", "ranks_", "nbytes", "compression_ratio_", "is_dense"):
        with pytest.raises(AttributeError):
            setattr(operator, name, 0)


def test_copies_are_independent(operator):
    W = np.random.default_rng(0).standard_normal((600, 2))
    expected = operator @ W
    for other in (operator.copy(), copy.deepcopy(operator)):
        assert type(other) is HierarchicalMatrix
        assert not np.shares_memory(other.form.structure.near, operator.form.structure.near)
        other.form.structure.near[:] = 0
        assert np.any(other @ W != expected)
    assert_array_equal(operator @ W, expected)


def test_number_of_right_hand_sides_changes_no_column_much(operator):
    W = np.random.default_rng(0).standard_normal((600, 700))
    product = operator @ W
    for k in (0, 255, 256, 511, 699):
        np.testing.assert_allclose(operator @ W[:, k], product[:, k], rtol=1e-9, atol=1e-10)


def test_repr(operator):
    assert repr(operator).startswith("<600x600 HierarchicalMatrix of float64: error ")
    dense = compress(np.eye(5) + 1e-3, random_state=0, leaf_size=2)
    assert repr(dense).startswith("<5x5 HierarchicalMatrix of float64: ")


def test_products_before_change_no_bit(operator):
    W = np.random.default_rng(1).standard_normal((600, 512))
    narrow = operator @ W[:, :300]
    operator @ W
    assert_array_equal(operator @ W[:, :300], narrow)


def test_nothing_is_shared_between_products(operator):
    first = operator @ np.ones(600)
    kept = first.copy()
    operator @ np.zeros(600)
    assert_array_equal(first, kept)
