"""The curve that a bandwidth is chosen from, as a picture."""

from ..._utils.plotting import check_axes

_CURVE_COLOR = "#31688e"
# Of the chosen bandwidth.
_CHOSEN_COLOR = "#c8452f"


def plot_bandwidth(bandwidth, ax=None):
    """Draw how fast the sum of a kernel grows with its bandwidth, and the one that was chosen.

    Parameters
    ----------
    bandwidth : Bandwidth
        With a curve.
    ax : matplotlib.axes.Axes, default=None
        None makes a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    ax = check_axes(ax, figsize=(6, 4))
    epsilons, slopes = bandwidth.curve
    chosen = bandwidth.epsilon
    ax.semilogx(epsilons, 2 * slopes, color=_CURVE_COLOR)
    ax.axvline(chosen, color=_CHOSEN_COLOR, linestyle="--", label=f"epsilon = {chosen:.3g}")
    ax.set_xlabel("epsilon")
    ax.set_ylabel("dimension: 2 d log S / d log epsilon")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return ax
