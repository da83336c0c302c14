import numpy as np
from numpy.testing import assert_array_equal

from skhmat.linalg._gofmm.nested_bases import NodeBasis, flatten_bases


def test_bases_of_nodes_in_flat_arrays():
    left = NodeBasis(
        np.array([3, 1]), np.array([2, 0, 1]), np.array([[0.5, 0.25]]), np.ones(2), None
    )
    bases = flatten_bases([None, left, NodeBasis.empty()], np.float32)
    assert_array_equal(bases.rank, [0, 2, 0])
    assert_array_equal(bases.skeletons_of(1), [3, 1])
    assert len(bases.skeletons_of(0)) == len(bases.skeletons_of(2)) == 0
    assert_array_equal(bases.order_ptr, [0, 0, 3, 3])
    assert_array_equal(bases.order, [2, 0, 1])
    assert_array_equal(bases.interp_ptr, [0, 0, 2, 2])
    assert_array_equal(bases.interp, np.array([0.5, 0.25], dtype=np.float32))
    assert bases.interp.dtype == np.float32
    for name in ("rank", "skel_ptr", "positions", "order_ptr", "order", "interp_ptr"):
        assert getattr(bases, name).dtype == np.intp
