"""The curves that bandwidths are chosen from, as pictures."""

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
