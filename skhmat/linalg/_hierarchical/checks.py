"""Checks that the arrays of a hierarchical matrix are consistent: compiled loops trust them."""

import numpy as np

# The arrays of numbers; all others are indices.
DATA = ("interp", "far", "near")
_FLAGS = ("far_transposed", "near_transposed")


def check_structure(arrays, n, dtype):
    """Raise ValueError unless every index that a product follows stays inside its array.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The fields of `BlockStructure`.
    n : int
        Rows of the matrix.
    dtype : dtype
        Of the matrix.
    """
    _check_types(arrays, np.dtype(dtype))
    _check_tree(arrays, n)
    _check_bases(arrays)
    rank, sizes = arrays["rank"], np.diff(arrays["leaf_bounds"])
    _check_pairs("far", arrays["far_ptr"], arrays["far_node"], rank, arrays)
    _check_pairs("near", arrays["near_ptr"], arrays["near_leaf"], sizes, arrays)
    own = np.repeat(np.arange(len(sizes)), np.diff(arrays["near_ptr"]))
    itself = own[(own == arrays["near_leaf"]) & (arrays["near_transposed"] == 0)]
    _require(np.array_equal(itself, np.arange(len(sizes))), "near_leaf", "misses a leaf itself")


def _require(condition, name, what):
    if not condition:
        raise ValueError(f"array {name!r} {what}")


def _check_types(arrays, dtype):
    for name, array in arrays.items():
        wanted = dtype if name in DATA else np.dtype(np.uint8 if name in _FLAGS else np.intp)
        _require(array.ndim == 1, name, f"has {array.ndim} dimensions, allowed is 1")
        _require(array.dtype == wanted, name, f"has dtype {array.dtype}, allowed is {wanted}")


def _check_pointers(name, ptr, length, total):
    """Check that `length` pointers go from 0 to `total` without ever decreasing."""
    _require(len(ptr) == length, name, f"has {len(ptr)} entries, allowed is {length}")
    _require(ptr[0] == 0 and ptr[-1] == total, name, f"does not go from 0 to {total}")
    _require((ptr[1:] >= ptr[:-1]).all(), name, "decreases")


def _check_range(name, values, stop):
    inside = len(values) == 0 or (values.min() >= 0 and values.max() < stop)
    _require(inside, name, f"has entries outside [0, {stop})")


def _check_tree(arrays, n):
    permutation, bounds = arrays["permutation"], arrays["leaf_bounds"]
    _require(len(permutation) == n, "permutation", f"has {len(permutation)} entries, not {n}")
    _check_range("permutation", permutation, n)
    _require((np.bincount(permutation) == 1).all(), "permutation", "repeats an entry")
    n_leaves = len(bounds) - 1
    _require(
        n_leaves > 0 and n_leaves & (n_leaves - 1) == 0,
        "leaf_bounds",
        f"is for {n_leaves} leaves, allowed are powers of two",
    )
    _check_pointers("leaf_bounds", bounds, n_leaves + 1, n)
    _require((np.diff(bounds) > 0).all(), "leaf_bounds", "has an empty leaf")


def _check_bases(arrays):
    """Check ranks, the order of the children's skeletons and the interpolation."""
    rank, order, order_ptr = arrays["rank"], arrays["order"], arrays["order_ptr"]
    n, n_leaves = len(arrays["permutation"]), len(arrays["leaf_bounds"]) - 1
    n_nodes = 2 * n_leaves - 1
    _require(len(rank) == n_nodes, "rank", f"has {len(rank)} entries, allowed is {n_nodes}")
    _check_range("rank", rank, n + 1)
    _check_pointers("skel_ptr", arrays["skel_ptr"], n_nodes + 1, int(rank.sum()))
    _require(np.array_equal(np.diff(arrays["skel_ptr"]), rank), "skel_ptr", "disagrees with rank")
    _check_pointers("order_ptr", order_ptr, n_nodes + 1, len(order))

    inner = n_leaves - 1
    columns = np.concatenate([rank[1::2] + rank[2::2], np.diff(arrays["leaf_bounds"])])
    _require((rank <= columns).all(), "rank", "exceeds the number of columns of a node")
    listed = np.diff(order_ptr)
    fits = (listed[:inner] == columns[:inner]) | ((listed[:inner] == 0) & (rank[:inner] == 0))
    _require(fits.all() and not listed[inner:].any(), "order_ptr", "disagrees with rank")
    _check_order(order, order_ptr, listed)
    _check_pointers("interp_ptr", arrays["interp_ptr"], n_nodes + 1, len(arrays["interp"]))
    blocks = np.diff(arrays["interp_ptr"])
    _require(np.array_equal(blocks, rank * (columns - rank)), "interp_ptr", "disagrees with rank")


def _check_order(order, order_ptr, listed):
    """Check that each node's part of `order` is a permutation of its own positions."""
    _require(
        (order >= 0).all() and (order < np.repeat(listed, listed)).all(),
        "order",
        "has entries outside its node",
    )
    places = np.repeat(order_ptr[:-1], listed) + order
    _require((np.bincount(places, minlength=1) <= 1).all(), "order", "repeats an entry")


def _check_pairs(kind, ptr, partner, sizes, arrays):
    """Check the list of near or far pairs and that each block lies inside the data."""
    partner_name = "far_node" if kind == "far" else "near_leaf"
    offset, transposed = arrays[f"{kind}_offset"], arrays[f"{kind}_transposed"]
    _check_pointers(f"{kind}_ptr", ptr, len(sizes) + 1, len(partner))
    _check_range(partner_name, partner, len(sizes))
    for name, array in ((f"{kind}_offset", offset), (f"{kind}_transposed", transposed)):
        _require(len(array) == len(partner), name, f"disagrees with {partner_name}")
    _check_range(f"{kind}_transposed", transposed, 2)
    own = np.repeat(np.arange(len(sizes)), np.diff(ptr))
    # Subtracted, not added: an absurd offset must not overflow into a valid one.
    last = len(arrays[kind]) - sizes[own] * sizes[partner]
    inside = (offset >= 0).all() and (offset <= last).all()
    _require(inside, f"{kind}_offset", f"points outside {kind!r}")
