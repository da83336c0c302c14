"""The blocks of a hierarchical matrix and their ranks as a picture."""

import textwrap

import numpy as np

from ..._utils.plotting import check_axes
from .summary import describe_format, format_bytes

_NEAR_COLOR = "#c8452f"
_EMPTY_COLOR = "#f7f7f7"
# Font size below which a rank would be illegible, and is not written in its block.
_MIN_FONT_SIZE = 5.0
# Font size of a rank in a block that has room for more.
_MAX_FONT_SIZE = 11.0
# Ranks that are written: each takes long to draw.
_MAX_TEXTS = 600
# Width of a digit, in units of the font size.
_DIGIT_WIDTH = 0.62
# Height of a digit, in units of the font size.
_DIGIT_HEIGHT = 1.3


def plot(form, ax=None):
    """Draw the blocks of a hierarchical matrix in tree order.

    Far blocks are coloured by their rank relative to their size, on a logarithmic scale, and show
    the rank as a number where it fits. Near blocks, which are stored exactly, have a colour of
    their own. The exact form is drawn as one block that states why it is exact.

    Parameters
    ----------
    form : HierarchicalForm
    ax : matplotlib.axes.Axes, default=None
        None makes a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing; it comes with ``pip install skhmat[plot]``.
    """
    ax = check_axes(ax, figsize=(7.5, 7.5))
    _prepare(ax, form)
    if form.structure is None:
        _draw_whole(ax, form)
        return ax
    bounds, rank = far_blocks(form.structure)
    _draw_near(ax, near_blocks(form.structure), form.shape[0])
    if len(rank):
        _draw_far(ax, bounds, rank)
    _legend(ax)
    return ax


def near_blocks(s):
    """Return first row, last row, first column, last column of each near block, (n_blocks, 4)."""
    return _bounds(s.leaf_bounds[:-1], s.leaf_bounds[1:], s.near_rows(), s.near_leaf)


def far_blocks(s):
    """Return the same for far blocks, and the rank of each."""
    node = np.repeat(np.arange(len(s.rank)), np.diff(s.far_ptr))
    level = np.log2(np.arange(len(s.rank)) + 1).astype(np.intp)
    width = 1 << (s.depth - level)
    first = (np.arange(len(s.rank)) + 1 - (1 << level)) * width
    start, stop = s.leaf_bounds[first], s.leaf_bounds[first + width]
    rank = np.minimum(s.rank[node], s.rank[s.far_node])
    return _bounds(start, stop, node, s.far_node), rank


def _bounds(start, stop, row, col):
    return np.stack([start[row], stop[row], start[col], stop[col]], axis=1)


def _prepare(ax, form):
    n = form.shape[0]
    ax.set(xlim=(0, n), ylim=(n, 0), aspect="equal", facecolor=_EMPTY_COLOR)
    ax.xaxis.tick_top()
    ticks = np.linspace(0, n, 5).astype(int)
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.tick_params(length=2, labelsize="small")
    if form.is_dense:
        text = f"dense, {format_bytes(form.nbytes)}"
    else:
        text = (
            f"{describe_format(form)}\nerror {form.report.error:.1e}, {format_bytes(form.nbytes)}, "
            f"{n**2 * form.dtype.itemsize / form.nbytes:.1f} times smaller than dense"
        )
    ax.set_title(text, fontsize="medium")


def _draw_whole(ax, form):
    n = form.shape[0]
    ax.add_collection(_collection(np.array([[0, n, 0, n]]), n, facecolor=_NEAR_COLOR))
    what = "a sum over Fourier modes" if form.is_fourier else form.report.reason_dense or "exact"
    reason = textwrap.fill(what, 32)
    ax.text(n / 2, n / 2, reason, color="white", ha="center", va="center")


def _draw_near(ax, bounds, n):
    ax.add_collection(_collection(bounds, n, facecolor=_NEAR_COLOR))


def _draw_far(ax, bounds, rank):
    from matplotlib.colors import LogNorm

    size = np.minimum(bounds[:, 1] - bounds[:, 0], bounds[:, 3] - bounds[:, 2])
    relative = rank / size
    positive = relative[relative > 0]
    low = positive.min() if len(positive) else 0.1
    blocks = _collection(
        bounds,
        ax.get_xlim()[1],
        cmap=_far_colors(),
        norm=LogNorm(min(low, 0.5), 1),
    )
    blocks.set_array(np.ma.masked_equal(relative, 0))
    ax.add_collection(blocks)
    bar = ax.figure.colorbar(blocks, ax=ax, fraction=0.046, pad=0.02)
    bar.set_label("rank / size of a far block")
    _label_ticks(bar, low)
    _write_ranks(ax, blocks, bounds, rank)


def _far_colors():
    """Return a map from nearly white to dark blue; blocks of rank 0 are white."""
    import matplotlib as mpl

    colors = mpl.colormaps["GnBu"](np.linspace(0.08, 1, 256))
    return mpl.colors.ListedColormap(colors, name="rank").with_extremes(bad="white")


def _label_ticks(bar, low):
    """Put plain numbers beside the bar: 1, 0.5, 0.2, 0.1, ..."""
    ticks = [m * 10.0**-e for e in range(1, 9) for m in (1, 2, 5)] + [1.0]
    ticks = [tick for tick in sorted(ticks) if tick >= low]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()


def _collection(bounds, n, **style):
    """Return all rectangles as one artist, outlined where that does not hide their colour."""
    from matplotlib.collections import PolyCollection

    top, bottom, left, right = bounds.T
    corners = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)
    size = (right - left) / n
    return PolyCollection(
        corners.reshape(-1, 4, 2),
        edgecolors="white",
        linewidths=np.where(size > 1 / 150, np.minimum(0.8, 40 * size), 0),
        **style,
    )


def _write_ranks(ax, blocks, bounds, rank):
    """Write the rank in each block where it is legible, largest blocks first."""
    size = np.minimum(bounds[:, 1] - bounds[:, 0], bounds[:, 3] - bounds[:, 2])
    digits = np.char.str_len(rank.astype(str))
    points = size * _points_per_row(ax)
    font = np.minimum(0.8 * points / (digits * _DIGIT_WIDTH), 0.8 * points / _DIGIT_HEIGHT)
    legible = np.flatnonzero(font >= _MIN_FONT_SIZE)
    legible = legible[np.argsort(-size[legible], kind="stable")][:_MAX_TEXTS]
    if len(legible) == 0:
        return
    colors = blocks.to_rgba(blocks.get_array()[legible])
    dark = colors[:, :3] @ [0.299, 0.587, 0.114] < 0.55
    for block, is_dark in zip(legible, dark, strict=True):
        ax.text(
            bounds[block, 2:].mean(),
            bounds[block, :2].mean(),
            str(rank[block]),
            fontsize=min(font[block], _MAX_FONT_SIZE),
            color="white" if is_dark else "black",
            ha="center",
            va="center_baseline",
        )


def _points_per_row(ax):
    """Return how many points (1/72 inch) one row of the matrix takes on paper."""
    box = ax.get_window_extent()
    # The colour bar and labels will take up a part of the width.
    return 0.85 * min(box.width, box.height) / ax.figure.dpi * 72 / ax.get_xlim()[1]


def _legend(ax):
    from matplotlib.patches import Patch

    handle = Patch(facecolor=_NEAR_COLOR, label="near, exact")
    ax.legend(
        handles=[handle],
        loc="upper left",
        bbox_to_anchor=(0, -0.01),
        frameon=False,
        borderaxespad=0,
        fontsize="small",
    )
