"""Matplotlib if it is installed, and a message if it is not."""

import sys

import pytest

from skhmat._utils.plotting import pyplot


def test_pyplot_is_that_of_matplotlib():
    plt = pytest.importorskip("matplotlib.pyplot")
    assert pyplot() is plt


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skhmat\[plot\]"):
        pyplot()
