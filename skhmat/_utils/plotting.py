"""Matplotlib, which is optional, imported when something is plotted."""

from .validation import parameter_error


def pyplot():
    """Return `matplotlib.pyplot`, or raise an ImportError that says how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plot needs matplotlib, which is not installed: pip install skhmat[plot]"
        ) from error
    return plt


def check_axes(ax, figsize):
    """Return the axes to draw in, new ones for None."""
    plt = pyplot()
    if ax is None:
        return plt.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, plt.Axes):
        raise parameter_error("ax", "matplotlib axes or None", ax, kind=TypeError)
    return ax
