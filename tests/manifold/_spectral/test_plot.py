"""The curve of a bandwidth."""

import sys

import numpy as np
import pytest

from skhmat.manifold._spectral.distance_histogram import Bandwidth
from skhmat.manifold._spectral.plot import plot_bandwidth

BANDWIDTH = Bandwidth(0.1, 2.0, (np.array([0.01, 0.1, 1.0]), np.array([0.2, 1.0, 0.1])))


def test_curve_and_chosen_bandwidth():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ax = plot_bandwidth(BANDWIDTH)
    curve, chosen = ax.get_lines()
    np.testing.assert_array_equal(curve.get_xdata(), BANDWIDTH.curve[0])
    np.testing.assert_array_equal(curve.get_ydata(), 2 * BANDWIDTH.curve[1])
    np.testing.assert_array_equal(chosen.get_xdata(), [0.1, 0.1])
    assert plot_bandwidth(BANDWIDTH, ax) is ax
    plt.close("all")


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skhmat\[plot\]"):
        plot_bandwidth(BANDWIDTH)
