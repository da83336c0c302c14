"""Matplotlib, which is optional, imported when something is plotted."""


def pyplot():
    """Return `matplotlib.pyplot`, or raise an ImportError that says how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plot needs matplotlib, which is not installed: pip install skhmat[plot]"
        ) from error
    return plt
