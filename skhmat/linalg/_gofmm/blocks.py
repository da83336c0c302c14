"""Block phase: the exact near blocks and the skeleton blocks of far pairs, in flat arrays."""

from dataclasses import replace

import numpy as np

from ..._utils.parallel import run_tasks
from .cluster_tree import node_number
from .structure import BlockStructure

# Entries from which several threads pay: for fewer, passing the GIL around takes longer.
_THREADED_ENTRIES = 1 << 25


def assemble(entries, tree, interactions, skeletons, max_bytes, n_threads):
    """Evaluate the near and far blocks and put everything into flat arrays.

    The points of each leaf are reordered, skeletons first, so that products can copy skeleton rows
    and multiply the rest by a contiguous block. This order is merged into the permutation of the
    tree; a product still permutes its rows only once on the way in and once on the way out.

    Returns
    -------
    structure : BlockStructure
    entries : Entries
        In the final order.
    """
    moved = _skeletons_first(tree, skeletons)
    entries = entries.in_order(moved)
    new_position = np.empty_like(moved)
    new_position[moved] = np.arange(len(moved))
    moved_bases = replace(skeletons, positions=new_position[skeletons.positions])
    n_leaves = 1 << tree.depth
    order_ptr = skeletons.order_ptr[:n_leaves].copy()
    order_ptr = np.concatenate([order_ptr, np.full(n_leaves, order_ptr[-1])])
    sizes = np.diff(tree.leaf_bounds)
    near_ptr, near_leaf = interactions.near[-1]
    near_offset, near_transposed, near_size = _pair_offsets(near_ptr, near_leaf, sizes)
    far_ptr, far_node = _all_levels(interactions.far)
    far_offset, far_transposed, far_size = _pair_offsets(far_ptr, far_node, skeletons.rank)

    structure = BlockStructure(
        permutation=tree.permutation[moved],
        leaf_bounds=tree.leaf_bounds,
        rank=skeletons.rank,
        skel_ptr=skeletons.skel_ptr,
        order_ptr=order_ptr,
        order=skeletons.order[: order_ptr[-1]],
        interp_ptr=skeletons.interp_ptr,
        interp=skeletons.interp,
        far_ptr=far_ptr,
        far_node=far_node,
        far_offset=far_offset,
        far_transposed=far_transposed,
        far=_blocks(
            entries,
            moved_bases.skeletons_of,
            (far_ptr, far_node, far_offset, far_transposed, far_size),
            n_threads,
        ),
        near_ptr=near_ptr,
        near_leaf=near_leaf,
        near_offset=near_offset,
        near_transposed=near_transposed,
        near=None
        if near_size * entries.dtype.itemsize > max_bytes
        else _blocks(
            entries,
            lambda leaf: np.arange(tree.leaf_bounds[leaf], tree.leaf_bounds[leaf + 1]),
            (near_ptr, near_leaf, near_offset, near_transposed, near_size),
            n_threads,
        ),
    )
    return structure, entries


def _skeletons_first(tree, skeletons):
    """Return the old position of each new one, with the skeletons of each leaf first."""
    moved = np.arange(tree.leaf_bounds[-1])
    first = node_number(tree.depth)
    for leaf in range(1 << tree.depth):
        o = skeletons.order_ptr[first + leaf : first + leaf + 2]
        if o[1] > o[0]:
            start, stop = tree.leaf_bounds[leaf : leaf + 2]
            moved[start:stop] = start + skeletons.order[o[0] : o[1]]
    return moved


def _all_levels(lists):
    """Join the lists of all levels into one over all nodes in heap order."""
    ptr, nodes, offset = [np.zeros(1, dtype=np.intp)], [], 0
    for level, (level_ptr, level_node) in enumerate(lists):
        ptr.append(level_ptr[1:] + offset)
        nodes.append(node_number(level, level_node))
        offset += len(level_node)
    return np.concatenate(ptr), np.concatenate(nodes).astype(np.intp)


def _pair_offsets(ptr, partner, sizes):
    """Assign each block (a, b), a <= b, an offset in one flat array; (b, a) reads it transposed."""
    n = len(ptr) - 1
    own = np.repeat(np.arange(n), np.diff(ptr))
    stored = own <= partner
    block_sizes = sizes[own[stored]] * sizes[partner[stored]]
    ends = np.cumsum(block_sizes)
    offset = np.empty(len(partner), dtype=np.intp)
    offset[stored] = ends - block_sizes
    keys = own[stored] * n + partner[stored]
    mirrored = partner[~stored] * n + own[~stored]
    offset[~stored] = offset[stored][np.searchsorted(keys, mirrored)]
    return offset, (~stored).astype(np.uint8), int(ends[-1]) if len(ends) else 0


def _blocks(entries, indices_of, pairs, n_threads):
    """Evaluate the stored blocks of all pairs into one flat array."""
    ptr, partner, offset, transposed, total = pairs
    data = np.empty(max(total, 1), dtype=entries.dtype)

    def fill(node):
        rows = indices_of(node)
        stored = [p for p in range(ptr[node], ptr[node + 1]) if not transposed[p]]
        if not len(rows) or not stored:
            return
        columns = [indices_of(partner[p]) for p in stored]
        # All in one call, which costs more than many a small block.
        row_of_blocks = entries.block(rows, np.concatenate(columns))
        first = 0
        for p, cols in zip(stored, columns, strict=True):
            size = len(rows) * len(cols)
            block = data[offset[p] : offset[p] + size].reshape(len(rows), len(cols))
            block[:] = row_of_blocks[:, first : first + len(cols)]
            first += len(cols)

    threads = n_threads if entries.thread_safe and total >= _THREADED_ENTRIES else 1
    run_tasks(fill, range(len(ptr) - 1), threads)
    return data
