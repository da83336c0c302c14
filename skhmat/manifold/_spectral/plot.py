"""What a bandwidth is chosen from, as a picture."""

import numpy as np

from ..._utils.plotting import check_axes

_CURVE_COLOR = "#31688e"
# Of the chosen bandwidth.
_CHOSEN_COLOR = "#c8452f"


def plot_bandwidth(bandwidth, ax=None):
    """Draw what a bandwidth was chosen from.

    For the rule "auto" these are the links between the samples, longest first, and three standard
    deviations of the kernel; for "sum" how fast the sum of the kernel grows.

    Parameters
    ----------
    bandwidth : Bandwidth
        With links or a curve.
    ax : matplotlib.axes.Axes, default=None
        None makes a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    ax = check_axes(ax, figsize=(6, 4))
    chosen = bandwidth.epsilon
    if bandwidth.links is not None:
        lengths = bandwidth.links.lengths[::-1]
        ax.loglog(np.arange(1, len(lengths) + 1), lengths, ".-", color=_CURVE_COLOR)
        label = f"epsilon = {chosen:.3g}, from {bandwidth.links.scale:.3g}"
        ax.axhline(bandwidth.links.scale, color=_CHOSEN_COLOR, linestyle="--", label=label)
        ax.set_xlabel("link, longest first")
        ax.set_ylabel("length")
        ax.legend(frameon=False)
        return ax
    epsilons, slopes = bandwidth.curve
    ax.semilogx(epsilons, 2 * slopes, color=_CURVE_COLOR)
    ax.axvline(chosen, color=_CHOSEN_COLOR, linestyle="--", label=f"epsilon = {chosen:.3g}")
    ax.set_xlabel("epsilon")
    ax.set_ylabel("dimension: 2 d log S / d log epsilon")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return ax
