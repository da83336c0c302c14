"""Matplotlib if it is installed, and a message if it is not."""

import sys

import pytest

from skhmat._utils.plotting import check_axes, pyplot


def test_pyplot_is_that_of_matplotlib():
    plt = pytest.importorskip("matplotlib.pyplot")
    assert pyplot() is plt


def test_axes():
    plt = pytest.importorskip("matplotlib.pyplot")
    ax = check_axes(None, figsize=(3, 2))
    assert tuple(ax.figure.get_size_inches()) == (3, 2)
    assert check_axes(ax, figsize=(1, 1)) is ax
    for value in (ax.figure, [ax], "ax", 0):
        with pytest.raises(TypeError, match="ax must be matplotlib axes or None, got "):
            check_axes(value, figsize=(1, 1))
    plt.close(ax.figure)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skhmat\[plot\]"):
        pyplot()
