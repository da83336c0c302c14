"""No array that passes the checks leads the compiled loops out of its bounds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skhmat.linalg._gofmm.structure import BlockStructure
from skhmat.linalg._hierarchical.checks import check_structure

from .problems import make_compressed


@pytest.fixture(scope="module")
def H():
    return make_compressed(budget=0.2)


@pytest.mark.parametrize("budget", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_compress_makes_passes(budget, dtype):
    H = make_compressed(budget, dtype)
    check_structure(vars(H.form.structure), 600, dtype)


def put(index, value):
    """Return a change of one entry of an array."""

    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("permutation", lambda a: a[:-1], "'permutation' has 599 entries, not 600"),
        ("permutation", put(0, 600), r"'permutation' has entries outside \[0, 600\)"),
        ("permutation", lambda a: put(0, a[1])(a), "'permutation' repeats an entry"),
        ("leaf_bounds", lambda a: a[:-1], "for 15 leaves, allowed are powers of two"),
        ("leaf_bounds", put(-1, 601), "'leaf_bounds' does not go from 0 to 600"),
        ("leaf_bounds", put(1, 0), "'leaf_bounds' has an empty leaf"),
        ("rank", put(0, -1), r"'rank' has entries outside"),
        ("rank", lambda a: a[1:], "'rank' has 30 entries, allowed is 31"),
        ("skel_ptr", put(1, 1), "'skel_ptr' (disagrees with rank|decreases)"),
        ("order_ptr", put(-1, 0), "'order_ptr' does not go from 0"),
        ("order", put(0, -1), "'order' has entries outside its node"),
        ("order", lambda a: put(0, a[1])(a), "'order' repeats an entry"),
        ("interp_ptr", put(-1, 0), "'interp_ptr' does not go from 0"),
        ("interp", lambda a: a[:-1], "'interp_ptr' does not go from 0"),
        ("interp", lambda a: a.astype(np.float32), "dtype float32, allowed is float64"),
        ("far_node", put(0, 31), r"'far_node' has entries outside \[0, 31\)"),
        ("far_offset", put(0, 2**62), "'far_offset' points outside 'far'"),
        ("far_offset", put(0, -1), "'far_offset' points outside 'far'"),
        ("far_transposed", put(0, 2), r"'far_transposed' has entries outside \[0, 2\)"),
        ("far_transposed", lambda a: a[1:], "'far_transposed' disagrees with far_node"),
        ("near_ptr", lambda a: a[1:], "'near_ptr' has 16 entries, allowed is 17"),
        ("near_leaf", put(0, 1), "'near_leaf' misses a leaf itself"),
        ("near", lambda a: a[:0], "'near_offset' points outside 'near'"),
        ("near", lambda a: a[np.newaxis], "'near' has 2 dimensions, allowed is 1"),
    ],
)
def test_what_is_wrong_is_named(H, name, change, message):
    arrays = dict(vars(H.form.structure))
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=message):
        check_structure(arrays, 600, np.float64)


INDEX_ARRAYS = [
    field.name
    for field in dataclasses.fields(BlockStructure)
    if field.name not in ("interp", "far", "near")
]


@given(
    name=st.sampled_from(INDEX_ARRAYS),
    place=st.integers(0, 10**6),
    value=st.one_of(st.integers(-3, 700), st.sampled_from([-(2**63), 2**63 - 1, 2**62, 10**9])),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None
)
def test_no_single_wrong_index_reaches_the_core_unsafely(H, name, place, value):
    arrays = dict(vars(H.form.structure))
    changed = arrays[name].copy()
    changed[place % len(changed)] = value if changed.dtype == np.intp else value % 256
    arrays[name] = changed
    try:
        check_structure(arrays, H.shape[0], H.dtype)
    except ValueError:
        return
    assert_safe(**arrays)


def assert_safe(*, rank, leaf_bounds, skel_ptr, order_ptr, order, interp_ptr, interp, **rest):
    """Follow every index as the compiled loops do, one by one."""
    inner = len(leaf_bounds) - 2
    for node in range(1, len(rank)):
        if rank[node] == 0:
            continue
        if node >= inner:
            columns = leaf_bounds[node - inner + 1] - leaf_bounds[node - inner]
        else:
            children = rank[2 * node + 1] + rank[2 * node + 2]
            own = order[order_ptr[node] : order_ptr[node + 1]]
            assert sorted(own) == list(range(children))
            columns = children
        assert 0 <= rank[node] <= columns
        assert 0 <= interp_ptr[node] <= len(interp) - rank[node] * (columns - rank[node])
        assert 0 <= skel_ptr[node] <= skel_ptr[-1] - rank[node]
    assert sorted(rest["permutation"]) == list(range(leaf_bounds[-1]))
    sizes = np.diff(leaf_bounds)
    for kind, partner, size in (("far", "far_node", rank), ("near", "near_leaf", sizes)):
        for own in range(len(size)):
            for p in range(rest[kind + "_ptr"][own], rest[kind + "_ptr"][own + 1]):
                other = rest[partner][p]
                assert 0 <= other < len(size)
                block = int(size[own]) * int(size[other])
                assert 0 <= int(rest[kind + "_offset"][p]) <= len(rest[kind]) - block
