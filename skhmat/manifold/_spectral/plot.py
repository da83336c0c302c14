"""What bandwidths are chosen from, as pictures."""

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
    if bandwidth.links is not None:
        return _plot_links(bandwidth, check_axes(ax, figsize=(6, 4)))
    epsilons, slopes = bandwidth.curve
    ax = _plot_curve(epsilons, 2 * slopes, bandwidth.epsilon, ax)
    ax.set_ylabel("dimension: 2 d log S / d log epsilon")
    ax.set_ylim(bottom=0)
    return ax


def plot_errors(epsilons, errors, chosen, ax=None):
    """Draw the errors of several bandwidths, and the one that was chosen.

    Parameters
    ----------
    epsilons, errors : ndarray of shape (n_tried,)
        Errors are relative to the variance.
    chosen : float
    ax : matplotlib.axes.Axes, default=None
        None makes a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    ax = _plot_curve(epsilons, errors, chosen, ax)
    ax.set_ylabel("leave-one-out error, relative to the variance")
    if (errors > 0).all():
        ax.set_yscale("log")
    return ax


def _plot_curve(epsilons, values, chosen, ax):
    """Draw values of bandwidths, and a line at the one that was chosen."""
    ax = check_axes(ax, figsize=(6, 4))
    ax.semilogx(epsilons, values, color=_CURVE_COLOR)
    ax.axvline(chosen, color=_CHOSEN_COLOR, linestyle="--", label=f"epsilon = {chosen:.3g}")
    ax.set_xlabel("epsilon")
    ax.legend(frameon=False)
    return ax


def _plot_links(bandwidth, ax):
    """Draw the lengths of links, and a line at the one that was chosen."""
    lengths, scale = bandwidth.links.lengths[::-1], bandwidth.links.scale
    ax.loglog(np.arange(1, len(lengths) + 1), lengths, ".-", color=_CURVE_COLOR)
    label = f"epsilon = {bandwidth.epsilon:.3g}, from {scale:.3g}"
    ax.axhline(scale, color=_CHOSEN_COLOR, linestyle="--", label=label)
    ax.set_xlabel("link, longest first")
    ax.set_ylabel("length")
    ax.legend(frameon=False)
    return ax
