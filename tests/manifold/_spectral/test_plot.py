"""The curve of a bandwidth."""

import sys

import numpy as np
import pytest

from skhmat.manifold._spectral.bandwidth import Bandwidth, Links
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


def test_links_and_their_scale():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lengths = np.array([0.1, 0.2, 0.5, 0.6])
    links, scale = plot_bandwidth(Bandwidth(0.04, links=Links(lengths, 0.55, 0.0, 0.1))).get_lines()
    np.testing.assert_array_equal(links.get_ydata(), lengths[::-1])
    np.testing.assert_array_equal(links.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(scale.get_ydata(), [0.55, 0.55])
    plt.close("all")


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skhmat\[plot\]"):
        plot_bandwidth(BANDWIDTH)
