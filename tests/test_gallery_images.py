"""What the build of the documentation asks of each picture of the gallery."""

import importlib.util
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

PATH = Path(__file__).parents[1] / "docs" / "gallery_images.py"
spec = importlib.util.spec_from_file_location("gallery_images", PATH)
gallery_images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gallery_images)

DRAWN = {
    "line": lambda ax: ax.plot([0, 1]),
    "one point": lambda ax: ax.plot([1], [1], "o"),
    "horizontal line": lambda ax: ax.axhline(0.5),
    "logarithmic": lambda ax: ax.loglog([1e-9, 1], [1e17, 1e18]),
    "scatter": lambda ax: ax.scatter([0, 1], [1, 2]),
    "image": lambda ax: ax.imshow(np.eye(3)),
    "mesh": lambda ax: ax.pcolormesh(np.eye(3)),
    "contour": lambda ax: ax.contour(np.eye(3)),
    "bars": lambda ax: ax.bar([0, 1], [1, 2]),
    "histogram": lambda ax: ax.hist([0, 1, 2]),
    "text": lambda ax: ax.text(0.5, 0.5, "nothing else"),
    "some are NaN": lambda ax: ax.plot([0, 1, np.nan]),
    "legend": lambda ax: ax.legend(handles=[ax.figure.axes[0].plot([0], label="a line")[0]]),
    "colour bar": lambda ax: ax.figure.colorbar(ax.imshow(np.eye(3))),
}
EMPTY = {
    "nothing": lambda ax: None,
    "title": lambda ax: ax.set_title("title"),
    "without frame": lambda ax: ax.set_axis_off(),
    "grid": lambda ax: ax.grid(),
    "no points": lambda ax: ax.plot([], []),
    "all are NaN": lambda ax: ax.plot([np.nan, np.nan]),
    "scatter of nothing": lambda ax: ax.scatter([], []),
    "invisible": lambda ax: ax.plot([0, 1], visible=False),
    "outside": lambda ax: (ax.plot([0, 1]), ax.set_xlim(5, 6)),
}


@pytest.fixture
def axes():
    figure, axes = plt.subplots(1, 2, layout="constrained")
    axes[0].plot([0, 1])
    yield axes
    plt.close(figure)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_axes(name, axes):
    DRAWN[name](axes[1])
    assert gallery_images.empty_axes(axes[1].figure) == []


@pytest.mark.parametrize("name", EMPTY)
def test_empty_axes(name, axes):
    EMPTY[name](axes[1])
    assert gallery_images.empty_axes(axes[1].figure) == [axes[1]]


def test_scraper_refuses_an_empty_axes(axes):
    pytest.importorskip("sphinx_gallery")
    axes[1].set_title("left out")
    with pytest.raises(ValueError, match=r"example.py: nothing .* 1 axes .'left out'."):
        gallery_images.scrape(None, {"src_file": "example.py"}, {})
